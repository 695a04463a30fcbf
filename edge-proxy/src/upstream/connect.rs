//! How a connection to a member is opened.
//!
//! The limit is tokio's, not pingora's: pingora's runs out on a thread of its own, so an edge that got no processor for
//! that long gives up connections that have stood all the while. Tokio looks at what its sockets have become before it
//! looks at the time. Over TLS pingora's limit holds as well, of connection and handshake together.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::{Error, ErrorType, Result};
use tokio::net::TcpStream;

/// Connects to members.
#[derive(Debug)]
pub struct Connector {
    /// How long a connection may take.
    pub limit: Duration,
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        Ok(connect(address, self.limit).await?.into())
    }
}

/// A connection to a member.
///
/// # Errors
/// When there is none within `limit`.
pub(super) async fn connect(address: &SocketAddr, limit: Duration) -> Result<TcpStream> {
    let SocketAddr::Inet(address) = address else {
        return Error::e_explain(ErrorType::ConnectError, "members have addresses");
    };
    let (kind, cause) = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => return Ok(tcp),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            (ErrorType::ConnectRefused, error)
        }
        Ok(Err(error)) => (ErrorType::ConnectError, error),
        Err(late) => (ErrorType::ConnectTimedout, late.into()),
    };
    Error::e_because(kind, "no connection to the member", cause)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Instant;

    use futures_util::poll;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn an_edge_that_got_no_processor_does_not_give_up_a_connection_that_stands() -> Result<()>
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = SocketAddr::Inet(listener.local_addr().expect("it is bound"));
        let connector = Connector { limit: LIMIT };
        let mut connecting = pin!(connector.connect(&address));
        assert!(poll!(&mut connecting).is_pending());
        let begin = Instant::now();
        while begin.elapsed() < 2 * LIMIT {
            std::hint::spin_loop();
        }
        connecting.await.map(drop)
    }

    #[tokio::test]
    async fn who_does_not_listen_and_who_does_not_accept_are_told_apart() {
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = closed.local_addr().expect("it is bound");
        drop(closed);
        let refused = failure(address).await.expect("nobody listens");
        assert_eq!(refused, ErrorType::ConnectRefused);

        let socket = TcpSocket::new_v4().expect("a socket");
        let bound = socket.bind(([127, 0, 0, 1], 0).into());
        bound.expect("a free port");
        let full = socket.listen(1).expect("it is bound");
        let address = full.local_addr().expect("it is bound");
        let mut held = Vec::new();
        while let Ok(tcp) = connect(&SocketAddr::Inet(address), LIMIT).await {
            held.push(tcp);
            assert!(held.len() < 16, "its queue has an end");
        }
        assert_eq!(failure(address).await, Some(ErrorType::ConnectTimedout));
    }

    async fn failure(address: std::net::SocketAddr) -> Option<ErrorType> {
        let connected = connect(&SocketAddr::Inet(address), LIMIT).await;
        connected.err().map(|error| error.etype().clone())
    }
}
