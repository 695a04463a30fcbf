use super::*;
use crate::colour::Colour;

fn limits() -> Limits {
    Limits {
        header_bytes_max: 200,
        header_count_max: 4,
        target_bytes_max: 40,
        ..Limits::default()
    }
}

fn header(target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut header = RequestHeader::build("GET", target.as_bytes(), None).expect("a target");
    for (name, value) in fields {
        header.append_header(*name, *value).expect("a field");
    }
    header
}

fn imagined(host: &str, url: &str) -> Request {
    let tenant = "oak".parse().expect("a tenant id");
    let authority = Authority::parse(host).expect("a host");
    let url = url.parse().expect("a URL");
    Request::imagined(tenant, authority, Method::HEAD, &url)
}

#[test]
fn the_client_is_the_last_address_that_no_trusted_proxy_is() {
    let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"]
        .iter()
        .map(|text| text.parse().expect("a network"))
        .collect();
    for (peer, chain, found) in [
        ("198.51.100.1", "192.0.2.7", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.7, 10.9.9.9", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, fd00::1", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "192.0.2.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", chain.parse().expect("a value"));
        let peer = peer.parse().expect("an address");
        let client = client(peer, &headers, &trusted);
        assert_eq!(client.to_string(), found, "{peer}: {chain}");
    }
    // Two fields are one list.
    let mut headers = HeaderMap::new();
    headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.7"));
    headers.append("x-forwarded-for", HeaderValue::from_static("10.1.1.1"));
    let peer = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(client(peer, &headers, &trusted).to_string(), "192.0.2.7");
    assert_eq!(client(peer, &headers, &[]), peer);
}

#[test]
fn a_header_may_be_as_long_as_the_limits_say_and_no_longer() {
    let check = |header: &RequestHeader| check_size(header, &limits());
    // As it is on its way: a name, a colon, a space, a value, and the end of the line.
    let of_bytes = |bytes: usize| {
        let half = bytes / 2;
        let (one, two) = ("b".repeat(half - 5), "b".repeat(bytes - half - 5));
        header("/a", &[("a", &one), ("c", &two)])
    };
    assert_eq!(check(&of_bytes(200)), Ok(()));
    assert_eq!(check(&of_bytes(201)), Err(Refusal::HeaderTooLarge));

    let of_count = |count: usize| header("/a", &vec![("a", "b"); count]);
    assert_eq!(check(&of_count(4)), Ok(()));
    assert_eq!(check(&of_count(5)), Err(Refusal::HeaderTooLarge));

    let to = |bytes: usize| header(&format!("/?{}", "a".repeat(bytes - 2)), &[]);
    assert_eq!(check(&to(40)), Ok(()));
    assert_eq!(check(&to(41)), Err(Refusal::TargetTooLong));
}

#[test]
fn a_request_has_one_host() {
    let named = |header: &RequestHeader| {
        authority(header).map(|authority| (authority.host.as_str().to_owned(), authority.port))
    };
    let oak = |port| Ok(("oak.example".to_owned(), port));
    assert_eq!(named(&header("/a", &[("host", "Oak.Example")])), oak(None));
    let with_port = header("/a", &[("host", "oak.example:8443")]);
    assert_eq!(named(&with_port), oak(Some(8443)));
    // HTTP/2 names it in the target.
    let mut h2 = header("/a", &[]);
    h2.set_uri("https://oak.example/a".parse().expect("a URL"));
    assert_eq!(named(&h2), oak(None));
    for (hosts, word) in [
        (&[][..], "no_host"),
        (&["oak.example", "oak.example"], "not_exactly_one_host"),
        (&["oak example"], "bad_host"),
        (&["ö.example"], "bad_host"),
    ] {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let refused = Err(Refusal::Malformed(word));
        assert_eq!(named(&header("/a", &hosts)), refused, "{hosts:?}");
    }
}

#[test]
fn a_length_is_digits_and_nothing_else() {
    let length = |fields: &[(&'static str, &str)]| content_length(&header("/a", fields));
    assert_eq!(length(&[]), Ok(None));
    for (text, bytes) in [("0", 0), ("8", 8), ("18446744073709551615", u64::MAX)] {
        assert_eq!(length(&[("content-length", text)]), Ok(Some(bytes)));
    }
    for text in ["", "+8", "-8", "8, 8", "0x8", "8 8", "18446744073709551616"] {
        let refused = Err(Refusal::Malformed("bad_content_length"));
        assert_eq!(length(&[("content-length", text)]), refused, "{text}");
    }
}

#[test]
fn of_a_long_chain_only_the_end_is_looked_at() {
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let peer = IpAddr::from([10, 0, 0, 1]);
    let found = |proxies: usize| {
        let chain = format!("192.0.2.7{}", ", 10.0.0.2".repeat(proxies));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", chain.parse().expect("a value"));
        client(peer, &headers, &trusted).to_string()
    };
    assert_eq!(found(CHAIN_MAX - 1), "192.0.2.7");
    assert_eq!(found(CHAIN_MAX), "10.0.0.2");
}

#[test]
fn fields_that_only_the_edge_may_set_are_gone_and_all_others_stay() {
    let mut header = header(
        "/a",
        &[
            ("x-edge-tenant", "elm"),
            ("cookie", "_session=1"),
            ("x_user_id", "7"),
            ("via", "1.1 a"),
            ("via", "1.1 b"),
            ("accept", "*/*"),
        ],
    );
    stripped::strip(&mut header);
    let mut left: Vec<&str> = header.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "cookie"]);
}

#[test]
fn an_upgrade_looks_as_if_a_body_came_and_the_origin_does_not_hear_of_it() {
    let mut without = header("/a", &[]);
    leave_open(&mut without).expect("plain text");
    assert_eq!(without.headers["transfer-encoding"], "chunked");
    close_again(&mut without);
    assert!(!without.headers.contains_key(TRANSFER_ENCODING));

    let mut with = header("/a", &[("content-length", "8")]);
    leave_open(&mut with).expect("plain text");
    close_again(&mut with);
    assert_eq!(with.headers["content-length"], "8");
    assert!(!with.headers.contains_key(TRANSFER_ENCODING));
}

#[test]
fn tables_are_asked_for_the_path_decoded_once_where_that_is_without_doubt() {
    for (sent, asked) in [
        ("/a/b", "/a/b"),
        ("/a%20b", "/a b"),
        ("/%5Bid%5D", "/[id]"),
        ("/a%2Fb", "/a%2Fb"),
    ] {
        let request = imagined("oak.example", &format!("https://oak.example{sent}?q=%20"));
        assert_eq!(request.lookup_path(), asked);
        assert_eq!(
            (request.path.as_str(), request.query.as_deref()),
            (sent, Some("q=%20"))
        );
        assert_eq!(request.method, Method::HEAD);
    }
}

fn said_of(request: &Request, surface: Surface, colour: Colour) -> HeaderMap {
    let mut said = HeaderMap::new();
    let introduction = Introduction {
        request,
        surface,
        colour,
    };
    introduction.put(&mut said);
    let mut passed_on = header("/a", &[("x-edge-tenant", "elm")]);
    introduction
        .put_on(&mut passed_on)
        .expect("there is room for it");
    assert_eq!(passed_on.headers, said, "however it is put");
    said
}

#[test]
fn the_origin_is_told_who_asks_for_what_and_in_which_trace() {
    let mut request = imagined("oak.example:8443", "https://oak.example:8443/a");
    request.client = IpAddr::from([192, 0, 2, 7]);
    let said = said_of(&request, Surface::Public, Colour::Green);
    let id = request.id.as_str();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(request.id.to_value(), id);
    assert_eq!(format!("{:?}", request.id), id);
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "oak.example:8443"),
        ("x-request-id", id),
        ("traceparent", &format!("00-{id}-{}-00", &id[..16])),
        ("x-edge-tenant", "oak"),
        ("x-edge-colour", "green"),
    ] {
        assert_eq!(said[name], value, "{name}");
    }
    assert_eq!(said.len(), 7);
    let other = imagined("oak.example", "http://oak.example/a");
    let said = said_of(&other, Surface::DangerPlain, Colour::Blue);
    assert_eq!(said["x-forwarded-proto"], "http");
    assert_eq!(said["x-forwarded-host"], "oak.example");
    assert_ne!(other.id, request.id);
}
