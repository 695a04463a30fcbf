//! The PROXY protocol, versions 1 and 2: a load balancer says whose connection it passes on.
//!
//! Read before TLS, and only from addresses that the config trusts; from those it is demanded, since
//! a balancer that leaves it out would make all its clients one. What comes behind the header is not
//! touched: it is read to its last byte and no further.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Twelve bytes that no other protocol begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// Addresses and what balancers add: certificates of clients are the longest.
const BINARY_BYTES_MAX: usize = 4096;

/// Reads the header; none: the balancer speaks for itself (a health check).
///
/// # Errors
/// `InvalidData` when there is none or a bad one; what the socket says otherwise.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if head == SIGNATURE {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if length > BINARY_BYTES_MAX {
            return Err(bad());
        }
        let mut addresses = vec![0; length];
        stream.read_exact(&mut addresses).await?;
        return binary(rest[0], rest[1], &addresses).ok_or_else(bad);
    }
    let mut line = head.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(bad());
    }
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_BYTES_MAX {
            return Err(bad());
        }
        line.push(stream.read_u8().await?);
    }
    text(&line).ok_or_else(bad)
}

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "bad_proxy_header")
}

/// Version 1; the outer none: bad.
fn text(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, target): (IpAddr, IpAddr) =
        (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let port = |word: &str| {
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| word.parse::<u16>().ok()).flatten()
    };
    let (source_port, _) = (port(words.next()?)?, port(words.next()?)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && target.is_ipv4(),
        "TCP6" => source.is_ipv6() && target.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then_some(Some((source, source_port).into()))
}

/// Version 2; the outer none: bad.
fn binary(version_command: u8, family: u8, bytes: &[u8]) -> Option<Option<SocketAddr>> {
    match version_command {
        0x20 => return Some(None),
        0x21 => {}
        _ => return None,
    }
    let port = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    match family {
        0x11 => {
            let source: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
            Some(Some((Ipv4Addr::from(source), port(8)?).into())).filter(|_| bytes.len() >= 12)
        }
        0x21 => {
            let source: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
            Some(Some((Ipv6Addr::from(source), port(32)?).into())).filter(|_| bytes.len() >= 36)
        }
        0x00 => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    /// What a header comes to, and what is left behind it; a header that is cut off waits for ever.
    fn parsed(bytes: &[u8]) -> Result<(Option<SocketAddr>, usize), io::ErrorKind> {
        let mut stream = bytes;
        let read = read(&mut stream).now_or_never();
        let source = read
            .expect("bytes in memory do not wait")
            .map_err(|error| error.kind())?;
        Ok((source, stream.len()))
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).expect("short");
        [
            &SIGNATURE[..],
            &[command, family],
            &length.to_be_bytes(),
            addresses,
        ]
        .concat()
    }

    #[test]
    fn both_versions_say_whose_connection_it_is_and_leave_the_rest() {
        let at = |text: &str| Some(text.parse().expect("an address"));
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        six[15] = 7;
        six[32..34].copy_from_slice(&[0xdc, 0x04]);
        for (header, source) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(),
                at("192.0.2.7:56324"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n".to_vec(),
                at("[2001:db8::7]:56324"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), at("192.0.2.7:56324")),
            (
                v2(0x21, 0x11, &[&four[..], &[3, 0, 4, 1, 2, 3, 4]].concat()),
                at("192.0.2.7:56324"),
            ),
            (v2(0x21, 0x21, &six), at("[2001:db8::7]:56324")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x00, &[9; 20]), None),
        ] {
            let all = [&header[..], b"\x16\x03\x01 hello"].concat();
            assert_eq!(
                parsed(&all),
                Ok((source, 9)),
                "{:?}",
                String::from_utf8_lossy(&header)
            );
            // Cut off anywhere it is no header.
            for cut in 0..header.len() {
                assert_eq!(
                    parsed(&header[..cut]).err(),
                    Some(io::ErrorKind::UnexpectedEof)
                );
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(120));
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 x\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 10.0.0.1 56324 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +5632 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 66000 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(),
            long.into_bytes(),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x11, &[0; 5000]),
        ] {
            assert_eq!(
                parsed(&bytes).err(),
                Some(io::ErrorKind::InvalidData),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(version: bool, command: u8, family: u8, bytes: Vec<u8>) {
            let header = match version {
                true => v2(command, family, &bytes),
                false => [b"PROXY ", &bytes[..], b"\r\n"].concat(),
            };
            let _ = parsed(&header);
        }
    }
}
