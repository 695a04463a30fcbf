use proptest::prelude::*;

use super::*;

const LIMITS: FrameLimits = FrameLimits {
    resets: 5,
    control: 10,
};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a small payload")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn opening() -> Vec<u8> {
    [PREFACE.as_slice(), &frame(4, 0, 0, &[])].concat()
}

/// What comes of an opening and then `frames`, fed `piece` bytes at a time.
fn fed(frames: &[Vec<u8>], piece: usize) -> (Incoming, Result<(), Breach>) {
    let now = Instant::now();
    let mut incoming = Incoming::new(LIMITS, now);
    let all = [opening(), frames.concat()].concat();
    let outcome = all
        .chunks(piece)
        .try_for_each(|bytes| incoming.read(bytes, now, 0));
    (incoming, outcome)
}

#[test]
fn each_breach_of_the_frame_rules_has_its_reason_however_it_is_cut() {
    let table: &[(&str, Vec<Vec<u8>>)] = &[
        ("", vec![frame(1, 0x5, 1, b"x"), frame(0, 1, 1, b"x")]),
        (
            "",
            vec![
                frame(1, 0, 1, b"x"),
                frame(9, 4, 1, b"y"),
                frame(1, 5, 3, b""),
            ],
        ),
        ("", vec![frame(0xfa, 0, 0, b"grease")]),
        ("h2_bad_stream", vec![frame(1, 5, 0, b"x")]),
        ("h2_bad_stream", vec![frame(1, 5, 2, b"x")]),
        ("h2_bad_stream", vec![frame(0, 1, 0, b"x")]),
        ("h2_bad_stream", vec![frame(6, 0, 1, &[0; 8])]),
        ("h2_bad_stream", vec![frame(4, 0, 1, &[])]),
        ("h2_bad_stream", vec![frame(3, 0, 0, &[0; 4])]),
        ("h2_bad_frame_length", vec![frame(6, 0, 0, &[0; 7])]),
        ("h2_bad_frame_length", vec![frame(4, 0, 0, &[0; 5])]),
        ("h2_bad_frame_length", vec![frame(4, 1, 0, &[0; 6])]),
        ("h2_bad_frame_length", vec![frame(3, 0, 1, &[0; 5])]),
        ("h2_bad_frame_length", vec![frame(8, 0, 1, &[0; 3])]),
        ("h2_bad_frame_length", vec![frame(2, 0, 1, &[0; 4])]),
        ("h2_bad_frame_length", vec![frame(7, 0, 0, &[0; 4])]),
        ("h2_push_from_client", vec![frame(5, 4, 1, &[0; 4])]),
        ("h2_header_interrupted", vec![frame(9, 4, 1, b"x")]),
        (
            "h2_header_interrupted",
            vec![frame(1, 0, 1, b"x"), frame(9, 4, 3, b"x")],
        ),
        (
            "h2_header_interrupted",
            vec![frame(1, 0, 1, b"x"), frame(6, 0, 0, &[0; 8])],
        ),
        ("h2_frame_too_large", vec![frame(0, 0, 1, &vec![0; 16_385])]),
        ("h2_reset_flood", vec![frame(3, 0, 1, &[0; 4]); 6]),
        ("h2_ping_flood", vec![frame(6, 0, 0, &[0; 8]); 11]),
        ("h2_settings_flood", vec![frame(4, 0, 0, &[]); 11]),
        ("h2_priority_flood", vec![frame(2, 0, 1, &[0; 5]); 11]),
        ("h2_empty_data_flood", vec![frame(0, 0, 1, &[]); 11]),
        ("h2_unknown_frame_flood", vec![frame(0xfa, 0, 0, &[]); 11]),
        ("h2_window_flood", vec![frame(8, 0, 0, &[0, 0, 0, 1]); 1001]),
        (
            "h2_continuation_flood",
            [vec![frame(1, 0, 1, b"x")], vec![frame(9, 0, 1, b""); 16]].concat(),
        ),
        (
            "h2_continuation_flood",
            [
                vec![frame(1, 0, 1, b"x")],
                vec![frame(9, 0, 1, &[0; 16_384]); 9],
            ]
            .concat(),
        ),
    ];
    for (expected, frames) in table {
        for piece in [1, 7, 100_000] {
            let (incoming, outcome) = fed(frames, piece);
            let reason = outcome.err().map_or("", |breach| breach.reason);
            assert_eq!(reason, *expected, "in pieces of {piece}");
            if expected.is_empty() {
                assert!(!incoming.in_header() && !incoming.in_frame());
            }
        }
    }
    for bad in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nXX",
    ] {
        let outcome = Incoming::new(LIMITS, Instant::now()).read(bad, Instant::now(), 0);
        assert_eq!(
            outcome.err().map(|breach| breach.reason),
            Some("h2_bad_preface")
        );
    }
    let unsettled = [PREFACE.as_slice(), &frame(6, 0, 0, &[0; 8])].concat();
    let outcome = Incoming::new(LIMITS, Instant::now()).read(&unsettled, Instant::now(), 0);
    assert_eq!(
        outcome.err().map(|breach| breach.reason),
        Some("h2_no_settings_first")
    );
}

#[test]
fn a_header_is_half_here_from_its_first_frame_to_the_last_byte_of_its_last() {
    let now = Instant::now();
    let mut incoming = Incoming::new(LIMITS, now);
    assert!(incoming.in_header(), "the opening is awaited");
    let mut feed = |bytes: &[u8]| {
        incoming.read(bytes, now, 0).expect("nothing is wrong");
        (incoming.in_header(), incoming.headers())
    };
    assert_eq!(feed(&opening()), (false, 0));
    assert_eq!(feed(&frame(1, 0, 1, b"abc")), (true, 0));
    let last = frame(9, 4, 1, b"de");
    assert_eq!(feed(&last[..10]), (true, 0));
    assert_eq!(feed(&last[10..]), (false, 1));
    assert_eq!(feed(&frame(1, 5, 3, b"")), (false, 2));
}

#[test]
fn what_was_spent_is_earned_again_in_ten_seconds_and_by_requests() {
    let began = Instant::now();
    let mut incoming = Incoming::new(LIMITS, began);
    incoming.read(&opening(), began, 0).expect("a good opening");
    let ping = frame(6, 0, 0, &[0; 8]);
    let mut at = |seconds: u64, bytes: &[u8]| {
        incoming
            .read(bytes, began + Duration::from_secs(seconds), 0)
            .is_ok()
    };
    // The opening's SETTINGS was the first of ten.
    assert!(at(0, &ping.repeat(9)));
    assert!(at(0, &frame(1, 5, 1, b"x")), "a request");
    assert!(at(0, &ping.repeat(4)));
    assert!(at(5, &ping.repeat(5)));
    assert!(!at(5, &ping));
}

#[test]
fn errors_that_the_edge_tells_are_read_wherever_they_are_cut() {
    let sent = [
        frame(1, 4, 1, b"header"),
        frame(3, 0, 1, &[0, 0, 0, 1]),
        frame(0, 0, 3, &[7; 300]),
        frame(3, 0, 3, &[0, 0, 0, 8]),
        frame(7, 0, 0, b"\0\0\0\x03\0\0\0\x0bgo away"),
        goodbye(PROTOCOL_ERROR).to_vec(),
    ]
    .concat();
    for piece in [1, 5, 1000] {
        let mut outgoing = Outgoing::default();
        let mut told = Vec::new();
        for bytes in sent.chunks(piece) {
            outgoing.wrote(bytes, |word| told.push(word));
        }
        assert_eq!(
            told,
            [
                "h2_protocol_error",
                "h2_enhance_your_calm",
                "h2_protocol_error"
            ]
        );
        assert!(outgoing.between_frames());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_cuts_change_nothing(bytes: Vec<u8>, cut in 1_usize..40) {
        let now = Instant::now();
        let all = [opening(), bytes].concat();
        let mut whole = Incoming::new(LIMITS, now);
        let mut pieces = Incoming::new(LIMITS, now);
        let at_once = whole.read(&all, now, 0);
        let piecewise = all.chunks(cut).try_for_each(|bytes| pieces.read(bytes, now, 0));
        prop_assert_eq!(at_once, piecewise);
        let mut outgoing = Outgoing::default();
        all.chunks(cut).for_each(|bytes| outgoing.wrote(bytes, |_| ()));
    }
}
