//! TCP options of clients' sockets. They are set on the listening socket, once: Linux hands them on to every socket that it
//! accepts, which saves five system calls per connection.

use std::io;
use std::net::TcpListener;

use socket2::{SockRef, TcpKeepalive};

use crate::config::checked::Tcp;

/// Sets what the config says, on a listener that was bound here or inherited.
///
/// # Errors
/// When the kernel does not know an option, such as a congestion control that is not loaded.
pub(crate) fn set(listener: &TcpListener, options: &Tcp) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_nodelay(options.nodelay)?;
    socket.set_tcp_notsent_lowat(options.notsent_lowat_bytes)?;
    let keepalive = TcpKeepalive::new()
        .with_time(options.keepalive_idle)
        .with_interval(options.keepalive_interval)
        .with_retries(options.keepalive_retries);
    socket.set_tcp_keepalive(&keepalive)?;
    if let Some(congestion) = &options.congestion {
        socket.set_tcp_congestion(congestion.as_bytes()).map_err(|error| {
            let text = format!(
                "the kernel has no congestion control `{congestion}` ({}): /proc/sys/net/ipv4/tcp_available_congestion_control lists those that it has",
                error.kind()
            );
            io::Error::new(error.kind(), text)
        })?;
    }
    // On a socket that listens already this changes the length of its queue alone.
    socket.listen(options.backlog)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn an_accepted_socket_has_the_options_of_its_listener() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let bare = SockRef::from(&listener).tcp_congestion()?;
        let bare = String::from_utf8_lossy(&bare);
        let options = Tcp {
            // The one that every kernel has.
            congestion: Some("reno".to_owned()),
            notsent_lowat_bytes: 77_777,
            ..Tcp::default()
        };
        set(&listener, &options)?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (accepted, _) = listener.accept()?;
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay()? && socket.keepalive()?);
        assert_eq!(socket.tcp_notsent_lowat()?, 77_777);
        assert_eq!(socket.tcp_keepalive_time()?, options.keepalive_idle);
        assert_eq!(socket.tcp_keepalive_interval()?, options.keepalive_interval);
        assert_eq!(socket.tcp_keepalive_retries()?, options.keepalive_retries);
        let congestion = socket.tcp_congestion()?;
        let congestion = String::from_utf8_lossy(&congestion);
        assert_eq!(congestion.trim_end_matches('\0'), "reno", "before: {bare}");
        drop(client);
        Ok(())
    }

    #[test]
    fn a_congestion_control_that_the_kernel_does_not_have_is_named() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let options = Tcp {
            congestion: Some("nonesuch".to_owned()),
            ..Tcp::default()
        };
        let error = set(&listener, &options).expect_err("there is none of that name");
        assert!(error.to_string().contains("`nonesuch`"), "{error}");
        Ok(())
    }
}
