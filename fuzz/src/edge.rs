//! Parsers of edge-proxy. Also compiled into its tests.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use edge_proxy::listener::frames::{FrameLimits, Incoming};
use edge_proxy::listener::proxy_protocol;
use edge_proxy::response::range::{Asked, asked};

/// A part is never empty and never beyond the end, however long the thing is.
pub fn range(data: &[u8]) {
    for length in [0, 1, 2, 10, 1 << 40, u64::MAX] {
        if let Asked::Part(part) = asked(data, length) {
            assert!(
                part.start < part.end && part.end <= length,
                "{part:?} of {length}"
            );
        }
    }
}

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
