//! An origin that sends bytes as they are: what no HTTP library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is sent, and whether the connection stays open behind it.
pub(crate) type Sent = (String, bool);

/// Listens until the test is over; `answer` gets the target of each request.
pub(crate) async fn origin(answer: fn(&str) -> Sent) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound socket has a name");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, answer));
        }
    });
    address
}

/// Until either side has had enough.
async fn talk(mut stream: TcpStream, answer: fn(&str) -> Sent) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8_lossy(&head);
        let (sent, stays) = answer(head.split(' ').nth(1).unwrap_or_default());
        stream.write_all(sent.as_bytes()).await.ok()?;
        if !stays {
            return stream.shutdown().await.ok();
        }
    }
}
