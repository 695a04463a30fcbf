//! A record as one line of JSON, written by hand: it is on the way of every request.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Record;

/// The longest string a field may have; config and ids are shorter.
const TEXT_BYTES_MAX: usize = 256;

/// What a thread keeps from line to line.
struct Scratch {
    line: Vec<u8>,
    /// The last second and how it is written.
    second: i64,
    second_text: String,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { line: Vec::new(), second: i64::MIN, second_text: String::new() })
    };
}

/// Writes the record and gives the line to `take`.
pub(super) fn with(record: &Record<'_>, take: impl FnOnce(&[u8])) {
    SCRATCH.with_borrow_mut(|scratch| {
        let Scratch {
            line,
            second,
            second_text,
        } = scratch;
        line.clear();
        let since = record.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        if at != *second {
            *second = at;
            *second_text = second_of(record.at);
        }
        write(line, record, second_text, since.subsec_millis());
        take(line);
    });
}

/// `2026-11-22T08:00:00`, UTC.
fn second_of(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

fn write(line: &mut Vec<u8>, record: &Record<'_>, second: &str, millis: u32) {
    line.extend_from_slice(b"{\"v\":1,\"time\":\"");
    line.extend_from_slice(second.as_bytes());
    line.push(b'.');
    line.extend([millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8));
    line.extend_from_slice(b"Z\"");
    text(line, "request", Some(record.request_id));
    text(line, "tenant", record.tenant);
    text(line, "app", record.app);
    text(line, "route", Some(record.route));
    text(line, "rule", record.rule);
    word(line, "method", Some(record.method.as_str()));
    number(line, "status", record.status.into());
    word(line, "cache", Some(record.cache.as_str()));
    text(line, "reason", record.reason);
    word(line, "colour", record.colour.map(|colour| colour.as_str()));
    text(line, "release", record.release);
    number(line, "bytes_sent", record.bytes_sent);
    number(line, "bytes_received", record.bytes_received);
    number(line, "duration_us", micros(record.duration));
    if let Some(upstream) = record.upstream {
        number(line, "upstream_us", micros(upstream));
    }
    word(line, "http", Some(version(record.http)));
    word(line, "tls", record.tls);
    if let Some(client) = record.client {
        network(line, client);
    }
    line.extend_from_slice(b"}\n");
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_09 => "0.9",
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_11 => "1.1",
        http::Version::HTTP_2 => "2",
        http::Version::HTTP_3 => "3",
        _ => "other",
    }
}

fn name(line: &mut Vec<u8>, name: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

fn number(line: &mut Vec<u8>, field: &str, value: u64) {
    name(line, field);
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A word of ours, which needs no escaping.
fn word(line: &mut Vec<u8>, field: &str, value: Option<&'static str>) {
    let Some(value) = value else {
        return;
    };
    name(line, field);
    line.push(b'"');
    line.extend_from_slice(value.as_bytes());
    line.push(b'"');
}

/// Any text: escaped, and cut when it is too long.
fn text(line: &mut Vec<u8>, field: &str, value: Option<&str>) {
    let Some(value) = value else {
        return;
    };
    let value = &value[..value.floor_char_boundary(TEXT_BYTES_MAX)];
    name(line, field);
    line.push(b'"');
    // Without a way out in the middle: sixteen bytes are looked at in one step.
    if value
        .bytes()
        .fold(true, |plain, byte| plain & is_plain(byte))
    {
        line.extend_from_slice(value.as_bytes());
    } else {
        value.chars().for_each(|c| escaped(line, c));
    }
    line.push(b'"');
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn escaped(line: &mut Vec<u8>, c: char) {
    match c {
        '"' | '\\' => line.extend([b'\\', c as u8]),
        ' '..='~' => line.push(c as u8),
        // Controls, and the line and direction marks that make a terminal lie.
        c if c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
        {
            line.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
        }
        c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// The network of a client: enough to find a school's uplink, too little to find a child.
fn network(line: &mut Vec<u8>, client: IpAddr) {
    name(line, "client");
    line.push(b'"');
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            for octet in [a, b, c] {
                line.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
                line.push(b'.');
            }
            line.extend_from_slice(b"0/24");
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            // A Vec takes everything.
            let _never_fails = write!(line, "{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0));
        }
    }
    line.push(b'"');
}
