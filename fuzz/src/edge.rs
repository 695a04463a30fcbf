//! Parsers of edge-proxy. Also compiled into its tests.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use edge_proxy::listener::frames::{FrameLimits, Incoming};
use edge_proxy::listener::pace::{Await, BEHIND_HEADER_BYTES, Pace, Received};
use edge_proxy::listener::proxy_protocol;

/// What a header comes to depends on its own bytes alone; a header that is cut off is none.
pub fn proxy_header(data: &[u8]) {
    let read = |bytes: &mut &[u8]| {
        let read = pin!(proxy_protocol::read(bytes));
        match read.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read,
            Poll::Pending => panic!("bytes in memory do not wait"),
        }
    };
    let mut rest = data;
    let Ok(source) = read(&mut rest) else { return };
    let header = &data[..data.len() - rest.len()];
    let again = read(&mut &*header);
    assert!(matches!(again, Ok(again) if again == source), "{again:?}");
    let cut = read(&mut &header[..header.len() - 1]);
    assert!(cut.is_err(), "{cut:?}");
}

/// What has its deadline, and what is a breach, does not depend on where the bytes are cut: the first byte of an input says
/// where, the rest is what a client sends after its preface.
pub fn frames(data: &[u8]) {
    let [piece, frames @ ..] = data else { return };
    let opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let all = [opening, frames].concat();
    let limits = FrameLimits {
        resets: 5,
        control: 10,
    };
    let now = Instant::now();
    let fed = |piece: usize| {
        let mut incoming = Incoming::new(limits, now);
        let read = all
            .chunks(piece)
            .try_for_each(|bytes| incoming.read(bytes, now, 0));
        let state = (
            incoming.in_header(),
            incoming.in_frame(),
            incoming.headers(),
        );
        read.map(|()| state)
    };
    assert_eq!(fed(all.len()), fed(usize::from(*piece).max(1)));
}

/// A header of HTTP/1.1 has one deadline, from its first byte until its request begins, and an end, whatever comes
/// before, in whatever pieces, and beside whatever bodies. Each pair of bytes is one thing that happens: pieces that
/// come in, of that size, or the next step of a request.
pub fn header(data: &[u8]) {
    const HEADER_BYTES_MAX: usize = 64 * 1024;
    let pace = Pace::new(false, HEADER_BYTES_MAX);
    // What the request side knows: a request that is answered, and whether its body is awaited.
    let mut request: Option<bool> = None;
    let mut asked = false;
    // Of the header under way, while no request is: its bytes and how often its deadline began.
    let (mut bytes, mut begun) = (0, 0);
    for step in data.chunks_exact(2) {
        let size = usize::from(step[1]) * 64 + 1;
        match (step[0] % 4, request) {
            (0 | 1, _) => {
                let came = pace.received(size);
                if request.is_some() {
                    assert_eq!(came, Received::Anew, "what is sent to a request earns time");
                    continue;
                }
                bytes += size;
                begun += u32::from(came == Received::Anew);
                let too_large = bytes > HEADER_BYTES_MAX + BEHIND_HEADER_BYTES;
                assert_eq!(came == Received::TooLarge, too_large, "{bytes} bytes");
                if too_large {
                    return;
                }
                assert_eq!(pace.awaited(), Await::Header);
                assert_eq!(begun, 1, "a drip earns nothing");
            }
            // pingora has a header when bytes of one came.
            (2, None) if bytes > 0 => {
                let body = step[1] % 2 == 1;
                pace.request_began(body);
                request = Some(body);
                asked = true;
                (bytes, begun) = (0, 0);
                assert!(!pace.header_began());
            }
            (2, Some(true)) => {
                pace.body_ended();
                request = Some(false);
            }
            (3, Some(false)) => {
                pace.request_ended();
                request = None;
            }
            _ => {}
        }
        let expected = match request {
            Some(true) => Await::Body,
            Some(false) => Await::Nothing,
            // Behind a request nothing has to come; a connection that never asks has a deadline.
            None if bytes == 0 && asked => Await::Nothing,
            None => Await::Header,
        };
        assert_eq!(pace.awaited(), expected);
    }
}
