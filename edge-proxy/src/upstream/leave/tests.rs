use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const SOCKET: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

/// A connection and the origin's end of it.
fn connection(ledger: &Arc<Ledger>) -> (Connection<DuplexStream>, DuplexStream) {
    let (ours, origin) = tokio::io::duplex(64 * 1024);
    (Connection::new(ours, Arc::clone(ledger)), origin)
}

async fn some(connection: &mut Connection<DuplexStream>) -> String {
    let mut bytes = vec![0; 4096];
    let read = connection.read(&mut bytes).await.expect("it goes on");
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test]
async fn an_idle_event_stream_ends_at_once_and_a_busy_one_after_its_event() {
    let ledger = Arc::new(Ledger::default());
    let (mut idle, mut idle_origin) = connection(&ledger);
    let (mut busy, mut busy_origin) = connection(&ledger);
    let event = "9\r\ndata: a\n\n\r\n";
    let head = format!("{STREAM}{event}");
    idle_origin.write_all(head.as_bytes()).await.expect("open");
    let begun = format!("{head}9\r\ndata:");
    busy_origin.write_all(begun.as_bytes()).await.expect("open");
    assert_eq!(some(&mut idle).await, head);
    assert_eq!(some(&mut busy).await, begun);
    ledger.set_leaving(true);

    let mut rest = String::new();
    idle.read_to_string(&mut rest).await.expect("it ends well");
    assert!(
        rest.contains("retry: ") && rest.ends_with("\n\n\r\n0\r\n\r\n"),
        "{rest:?}"
    );
    assert_eq!(ledger.parted_so_far(), 1);

    let more = format!(" a\n\n\r\n{event}9\r\ndata: never");
    busy_origin.write_all(more.as_bytes()).await.expect("open");
    let mut rest = String::new();
    busy.read_to_string(&mut rest).await.expect("it ends well");
    let said = rest
        .strip_prefix(&format!(" a\n\n\r\n{event}"))
        .expect("whole events");
    assert!(
        said.contains("retry: ") && said.ends_with("0\r\n\r\n"),
        "{rest:?}"
    );
    assert!(!rest.contains("never"));
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_closed_between_two_messages_and_the_origin_hears_the_answer() {
    let ledger = Arc::new(Ledger::default());
    let (mut client, mut origin) = connection(&ledger);
    origin.write_all(SOCKET.as_bytes()).await.expect("open");
    assert_eq!(some(&mut client).await, SOCKET);
    origin.write_all(&[0x81, 3, b'a']).await.expect("open");
    let begun = some(&mut client).await;
    assert!(begun.ends_with("\u{3}a"), "{begun:?}");
    ledger.set_leaving(true);
    origin.write_all(b"bc\x81\x01x").await.expect("open");
    let mut end = vec![0; 64];
    let read = client.read(&mut end).await.expect("it goes on");
    assert_eq!(&end[..read], b"bc\x81\x01x", "whole messages go out");
    let read = client.read(&mut end).await.expect("it goes on");
    assert_eq!(&end[..read], [0x88, 2, 0x03, 0xf4], "1012");
    // The client's answer still reaches the origin, which then ends.
    client.write_all(b"\x88\x80abcd").await.expect("open");
    let mut heard = vec![0; 6];
    origin
        .read_exact(&mut heard)
        .await
        .expect("it is passed on");
    origin.write_all(b"\x88\x00").await.expect("open");
    drop(origin);
    assert_eq!(client.read(&mut end).await.expect("it ends"), 0);
    assert_eq!(ledger.parted_so_far(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_does_not_end_is_not_waited_for() {
    let ledger = Arc::new(Ledger::default());
    let (mut client, mut origin) = connection(&ledger);
    ledger.set_leaving(true);
    origin.write_all(SOCKET.as_bytes()).await.expect("open");
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.expect("it ends");
    assert!(all.ends_with(&[0x88, 2, 0x03, 0xf4]));
}

#[tokio::test]
async fn what_is_no_stream_goes_on_to_its_end() {
    let ledger = Arc::new(Ledger::default());
    let (mut client, mut origin) = connection(&ledger);
    ledger.set_leaving(true);
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    origin.write_all(whole.as_bytes()).await.expect("open");
    drop(origin);
    let mut all = String::new();
    client.read_to_string(&mut all).await.expect("it ends");
    assert_eq!(all, whole);
    assert_eq!(ledger.parted_so_far(), 0);
}
