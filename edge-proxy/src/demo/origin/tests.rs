use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::*;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn origin() -> Origin {
    let release = "one".parse().expect("a name");
    let registry = Arc::new(Registry::new());
    Origin::start(Colour::Blue, release, registry)
        .await
        .expect("a port of the loopback interface")
}

async fn ask(
    origin: &Origin,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", origin.addr()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(bytes::Bytes::from(body.to_owned())))
        .expect("a request");
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (parts, body) = client
        .request(request)
        .await
        .expect("an answer")
        .into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

async fn signed_in(origin: &Origin, school: &str, login: &str) -> String {
    let answer = ask(
        origin,
        "POST",
        "/api/v1/session",
        &[
            ("x-edge-tenant", school),
            ("content-type", "application/json"),
        ],
        &format!(r#"{{"login":"{login}","passphrase":"wool"}}"#),
    )
    .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let cookie = answer.headers["set-cookie"].to_str().expect("text");
    cookie.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn reads_of_a_school_say_who_may_share_them_and_set_no_cookie() {
    let origin = origin().await;
    let cookie = signed_in(&origin, "maple", "ada").await;
    let with = [("x-edge-tenant", "maple"), ("cookie", cookie.as_str())];

    let courses = ask(&origin, "GET", "/api/v1/courses", &with, "").await;
    assert_eq!(courses.status, StatusCode::OK);
    assert_eq!(courses.headers["x-edge-cache-scope"], "tenant");
    assert_eq!(
        courses.headers["surrogate-key"],
        "courses course:1 course:2 course:3 course:4"
    );
    assert!(!courses.headers.contains_key("set-cookie"));

    let catalogue = ask(&origin, "GET", "/api/v1/catalogue", &with[..1], "").await;
    assert_eq!(catalogue.headers["x-edge-cache-scope"], "public");

    let grades = ask(&origin, "GET", "/api/v1/grades", &with, "").await;
    assert_eq!(grades.headers["cache-control"], "private, no-store");
    assert!(!grades.headers.contains_key("x-edge-cache-scope"));
    assert_eq!(origin.asked("courses"), 1);
}

#[tokio::test]
async fn a_session_opens_its_own_school_only_and_ends() {
    let origin = origin().await;
    let cookie = signed_in(&origin, "cedar", "ben").await;
    let at = |school| [("x-edge-tenant", school), ("cookie", cookie.as_str())];

    let me = ask(&origin, "GET", "/api/v1/me", &at("cedar"), "").await;
    assert_eq!(me.body["school"]["id"], "cedar");
    let other = ask(&origin, "GET", "/api/v1/courses", &at("maple"), "").await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);

    ask(&origin, "DELETE", "/api/v1/session", &at("cedar"), "").await;
    let me = ask(&origin, "GET", "/api/v1/me", &at("cedar"), "").await;
    assert_eq!(me.status, StatusCode::UNAUTHORIZED);
    assert_eq!(me.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_plain_form_signs_in_and_goes_back_to_the_page() {
    let origin = origin().await;
    let form = [
        ("x-edge-tenant", "maple"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let right = ask(
        &origin,
        "POST",
        "/api/v1/session",
        &form,
        "login=noor&passphrase=wool",
    )
    .await;
    assert_eq!(right.status, StatusCode::SEE_OTHER);
    assert_eq!(right.headers["location"], "/");
    let wrong = ask(
        &origin,
        "POST",
        "/api/v1/session",
        &form,
        "login=noor&passphrase=hay",
    )
    .await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_note_reaches_those_who_listen_at_the_same_school() {
    let origin = origin().await;
    let cookie = signed_in(&origin, "maple", "ada").await;
    let request = Request::get(format!("http://{}/api/v1/events", origin.addr()))
        .header("x-edge-tenant", "maple")
        .body(Full::<bytes::Bytes>::default())
        .expect("a request");
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut stream = client.request(request).await.expect("a stream").into_body();
    let mut heard = String::new();

    let sent = ask(
        &origin,
        "POST",
        "/api/v1/courses/2/notes",
        &[
            ("x-edge-tenant", "maple"),
            ("cookie", &cookie),
            ("content-type", "application/json"),
        ],
        r#"{"text":"Bring a compass."}"#,
    )
    .await;
    assert_eq!(sent.status, StatusCode::CREATED);
    while !heard.contains("Bring a compass.") {
        let frame = stream
            .frame()
            .await
            .expect("an open stream")
            .expect("a frame");
        heard.push_str(&String::from_utf8_lossy(
            &frame.into_data().unwrap_or_default(),
        ));
    }
    assert!(heard.contains("event: tick"), "{heard}");
}

#[tokio::test]
async fn a_socket_says_everything_back() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    let origin = origin().await;
    let mut request = format!("ws://{}/api/v1/socket", origin.addr())
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("x-edge-tenant", http::HeaderValue::from_static("cedar"));
    let io = tokio::net::TcpStream::connect(origin.addr())
        .await
        .expect("connected");
    let (mut socket, _) = tokio_tungstenite::client_async(request, io)
        .await
        .expect("upgraded");
    socket.send(Message::text("baa")).await.expect("sent");
    let said = socket.next().await.expect("open").expect("a message");
    assert_eq!(said, Message::text("baa"));
}
