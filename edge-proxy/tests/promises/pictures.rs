//! A school's picture is for whoever shows an address that the app signed for that school, until its time is over, and
//! for nobody else. What is sent is made of pixels alone; what is no picture is not sent.

use std::io::Cursor;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder as _, Rgb, RgbImage};
use tempfile::TempDir;

use super::support::apart::sum;
use super::support::client::{Answer, Ask, Client, Http};
use super::support::origin::Origin;
use super::support::reply::{Gate, Reply};
use super::support::stage::{MAPLE, OAK, Plan, Stage, plan};

const KEY: &str = "the key of the pictures, long enough to be one";
const HILL: &str = "/media/hill.jpg";
const SHOWN: &str = "image/avif,image/webp,image/apng,*/*;q=0.8";
const PLACE: &[u8] = b"52.5200 13.4050 a secret place";

fn planned() -> (Plan, TempDir) {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let keys = folder.path().join("picture.keys");
    std::fs::write(&keys, format!("{KEY}\n")).expect("the test's folder can be written");
    let line = format!(
        "pictures = {{ path = \"/media\", keys = \"{}\", qualities = [40, 75], lifetime_s_max = 3600 }}",
        keys.display()
    );
    (plan().app(&line), folder)
}

async fn stage() -> (Stage, TempDir) {
    let (plan, folder) = planned();
    (plan.start().await, folder)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

/// The query of an address for the school, as the README says it.
fn signed(school: &str, path: &str, terms: [&str; 3], expires: u64) -> String {
    let [width, quality, format] = terms;
    let text =
        format!("bellwether picture 1\n{school}\n{path}\n{width}\n{quality}\n{format}\n{expires}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let mac = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes()));
    format!("{path}?w={width}&q={quality}&f={format}&exp={expires}&sig={mac}")
}

/// An address of 64 pixels that is good for ten minutes.
fn good(school: &str, path: &str) -> String {
    signed(school, path, ["64", "75", "auto"], now() + 600)
}

fn shown(address: &str) -> Ask {
    Ask::get(address).header("accept", SHOWN)
}

fn hill(width: u32, height: u32, shade: u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let top = y < height / 2 + (x % 7);
        Rgb(if top {
            [shade, 180, 250]
        } else {
            [40, shade / 2, 30]
        })
    })
}

/// A photo of 72 x 96, lying on its side in the file, that says where it was taken.
fn photo(shade: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    exif.extend(PLACE);
    let image = hill(96, 72, shade);
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 92);
    encoder.set_exif_metadata(exif).expect("it takes it");
    encoder
        .write_image(&image, 96, 72, ExtendedColorType::Rgb8)
        .expect("it is encoded");
    bytes
}

/// The same photo for everybody at this path; `lines` are what the origin says beside.
fn serve(origin: &Origin, path: &str, shade: u8, lines: &'static [(&'static str, &'static str)]) {
    origin.on(path, move |_| async move {
        let reply = Reply::of("image/jpeg", photo(shade));
        lines
            .iter()
            .fold(reply, |reply, (name, value)| reply.header(name, value))
    });
}

const HOUR: &[(&str, &str)] = &[
    ("cache-control", "public, max-age=3600"),
    ("surrogate-key", "student:anna album:7"),
];

fn counted(stage: &Stage, outcome: &str) -> u64 {
    let line = format!("edge_pictures_total{{outcome=\"{outcome}\"}}");
    sum(&stage.edge.metrics().text(), &[&line])
}

fn refused(stage: &Stage, reason: &str) -> u64 {
    let line = format!("edge_malformed_total{{reason=\"{reason}\"}}");
    sum(&stage.edge.metrics().text(), &[&line])
}

async fn picture(client: &Client, address: &str) -> Answer {
    let answer = client.ask(shown(address)).await;
    assert_eq!(answer.status, 200, "{address}: {:?}", answer.body);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_app_signed_gets_the_picture_upright_and_without_its_place() {
    let (stage, _keys) = stage().await;
    serve(&stage.blue, HILL, 200, HOUR);
    assert!(photo(200).windows(PLACE.len()).any(|part| part == PLACE));
    for (accept, content_type) in [(SHOWN, "image/webp"), ("*/*", "image/jpeg")] {
        for http in Http::BOTH {
            let client = stage.client(MAPLE, http).await;
            let ask = || {
                Ask::get(&good("maple", HILL))
                    .header("accept", accept)
                    .header("cookie", "_session=secret-cookie")
                    .header("authorization", "Bearer secret-token")
                    .header("x-edge-picture", "forged")
            };
            let answer = client.ask(ask()).await;
            assert_eq!(answer.status, 200, "{:?}", answer.body);
            assert_eq!(answer.header("content-type"), content_type);
            assert_eq!(answer.header("vary"), "accept, save-data");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert_eq!(answer.header("content-disposition"), "attachment");
            assert!(answer.header("content-security-policy").contains("sandbox"));
            assert_eq!(
                answer.header("server-timing"),
                "",
                "it would tell who was here"
            );
            let kept = answer.header("cache-control");
            let left = kept.strip_prefix("private, max-age=").expect("private");
            assert!(left.parse::<u64>().expect("seconds") <= 600, "{kept}");
            // The file lies on its side.
            let image = image::load_from_memory(&answer.body).expect("it decodes");
            assert_eq!((image.width(), image.height()), (64, 85));
            for word in [PLACE, b"Exif", b"EXIF", b"XMP"] {
                let told = answer.body.windows(word.len()).any(|part| part == word);
                assert!(!told, "{word:?}");
            }
            let etag = answer.header("etag").to_owned();
            let again = client.ask(ask().header("if-none-match", &etag)).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
            assert!(
                again
                    .header("cache-control")
                    .starts_with("private, max-age=")
            );
            let head = client.ask(ask().method(&Method::HEAD)).await;
            assert_eq!((head.status.as_u16(), head.header("etag")), (200, &*etag));
            let part = client.ask(ask().header("range", "bytes=0-9")).await;
            assert_eq!(
                (part.status.as_u16(), &part.body[..]),
                (206, &answer.body[..10])
            );
        }
    }
    let seen = stage.blue.seen_at(HILL);
    assert_eq!(seen.len(), 2, "once for each format: {seen:?}");
    for seen in seen {
        assert_eq!(seen.target, HILL, "what was signed is the edge's business");
        assert_eq!(seen.header("x-edge-tenant"), "maple");
        assert_eq!(seen.header("x-edge-picture"), "signed");
        assert_eq!(seen.header("host"), MAPLE);
    }
    assert!(!stage.blue.was_sent("secret"));
    assert_eq!((counted(&stage, "made"), counted(&stage, "kept")), (2, 14));
    let log = stage.access_log();
    for word in ["sig=", "hill", "secret"] {
        assert!(!log.contains(word), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_anything_there_and_each_reason_is_counted() {
    let (stage, _keys) = stage().await;
    serve(&stage.blue, HILL, 200, HOUR);
    let maple = stage.h2(MAPLE).await;
    let address = good("maple", HILL);
    picture(&maple, &address).await;
    let later = signed("maple", HILL, ["64", "75", "auto"], now() + 7200);
    let over = signed("maple", HILL, ["64", "75", "auto"], now() - 1);
    let table = [
        ("picture_unsigned", HILL.to_owned(), 403),
        ("picture_unsigned", "/media".to_owned(), 403),
        ("picture_unsigned", "/%6Dedia/hill.jpg".to_owned(), 403),
        ("picture_query", format!("{HILL}?w=64"), 403),
        ("picture_query", format!("{address}&x=1"), 403),
        ("picture_query", address.replace("w=64", "w=064"), 403),
        ("picture_signature", good("oak", HILL), 403),
        ("picture_signature", address.replace("hill", "hall"), 403),
        ("picture_signature", address.replace("w=64", "w=128"), 403),
        ("picture_signature", address.replace("q=75", "q=40"), 403),
        (
            "picture_signature",
            address.replace("f=auto", "f=webp"),
            403,
        ),
        ("picture_signature", address.replace("exp=1", "exp=2"), 403),
        ("picture_expired", over, 403),
        ("picture_for_too_long", later, 403),
        (
            "picture_width",
            signed("maple", HILL, ["65", "75", "auto"], now() + 9),
            400,
        ),
        (
            "picture_quality",
            signed("maple", HILL, ["64", "76", "auto"], now() + 9),
            400,
        ),
        ("picture_path", good("maple", "/media/a%2Fb.jpg"), 400),
    ];
    for (reason, address, status) in table {
        let before = refused(&stage, reason);
        let answer = maple.ask(shown(&address)).await;
        assert_eq!(answer.status.as_u16(), status, "{reason} {address}");
        assert_eq!(answer.header("cache-control"), "no-store", "{reason}");
        assert_eq!(refused(&stage, reason), before + 1, "{reason}");
    }
    let post = maple.ask(shown(&address).method(&Method::POST)).await;
    assert_eq!(post.status, 405);
    let elsewhere = stage.h2(OAK).await.ask(shown(&address)).await;
    assert_eq!(elsewhere.status, 403);
    assert_eq!(stage.blue.hits(HILL), 1);
    // Its time is over by the edge's clock, for who has it too.
    stage.edge.clock().advance(Duration::from_secs(601));
    assert_eq!(maple.ask(shown(&address)).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schools_with_one_path_have_two_pictures_and_a_purge_ends_those_of_one() {
    let (plan, _keys) = planned();
    let secrets = tempfile::tempdir().expect("there is a place for temporary files");
    let secret = "the secret of maple, long enough to be one";
    std::fs::write(secrets.path().join("maple.secret"), secret).expect("a file");
    let table = format!(
        "[events]\nlisten = \"127.0.0.1:0\"\nsecrets = \"{}\"\n",
        secrets.path().display()
    );
    let stage = plan.table(&table).start().await;
    stage.blue.on(HILL, |asked| async move {
        let shade = match asked.seen.header("x-edge-tenant") {
            "maple" => 90,
            _ => 220,
        };
        HOUR.iter().fold(
            Reply::of("image/jpeg", photo(shade)),
            |reply, (name, value)| reply.header(name, value),
        )
    });
    let (maple, oak) = (stage.h2(MAPLE).await, stage.h2(OAK).await);
    let (of_maple, of_oak) = (good("maple", HILL), good("oak", HILL));
    let (first, second) = (
        picture(&maple, &of_maple).await,
        picture(&oak, &of_oak).await,
    );
    assert_ne!(first.body, second.body);
    assert_eq!(stage.blue.hits(HILL), 2);
    picture(&maple, &of_maple).await;
    picture(&oak, &of_oak).await;
    assert_eq!(stage.blue.hits(HILL), 2, "both are kept");
    let mut hits = 2;
    for what in [
        serde_json::json!({ "tenant": "maple", "tag": "album:7" }),
        serde_json::json!({ "tenant": "maple", "url": HILL }),
        serde_json::json!({ "tenant": "maple", "all": true }),
    ] {
        let (status, answer) = stage.admin("POST", "/v1/purge", Some(what.clone())).await;
        assert_eq!(status, 200, "{what}: {answer}");
        assert_eq!(answer["objects"], 1, "{what}: {answer}");
        picture(&maple, &of_maple).await;
        hits += 1;
        assert_eq!(stage.blue.hits(HILL), hits, "{what}");
    }
    let event = r#"{"id":"e","tenant":"maple","event":"student.erased","student":"anna"}"#;
    let (status, receipt) = super::platform_events::posted(&stage, secret, event).await;
    assert_eq!((status, &receipt["objects"]), (200, &1.into()), "{receipt}");
    // The app has no such file any more: an address that was good shows nothing.
    stage.blue.on(HILL, |_| async { Reply::new(404) });
    assert_eq!(maple.ask(shown(&of_maple)).await.status, 404);
    picture(&oak, &of_oak).await;
    assert_eq!(counted(&stage, "unknown"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_picture_is_not_passed_off_as_one() {
    let (stage, _keys) = stage().await;
    let client = stage.h2(MAPLE).await;
    // Sixty bytes that say they are 30,000 pixels wide.
    let mut bomb = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::new(1, 1))
        .write_to(&mut bomb, image::ImageFormat::Png)
        .expect("it is encoded");
    let mut bomb = bomb.into_inner();
    bomb[16..20].copy_from_slice(&30_000u32.to_be_bytes());
    let large = [&photo(9)[..], &vec![0; 20_000_001]].concat();
    let half = photo(9)[..300].to_vec();
    let of = |content_type: &str, body: &[u8]| {
        let body = body.to_vec();
        let content_type = content_type.to_owned();
        move || Reply::of(&content_type, body.clone()).header("cache-control", "max-age=60")
    };
    let page = b"<html><script>steal()</script></html>";
    let origin = &stage.blue;
    let answer = |path: &str, reply: Box<dyn Fn() -> Reply + Send + Sync>| {
        origin.on(path, move |_| std::future::ready(reply()));
    };
    answer("/media/page", Box::new(of("image/jpeg", page)));
    answer(
        "/media/svg",
        Box::new(of(
            "image/svg+xml",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        )),
    );
    answer("/media/bomb", Box::new(of("image/png", &bomb)));
    answer("/media/large", Box::new(of("image/jpeg", &large)));
    answer("/media/half", Box::new(of("image/jpeg", &half)));
    let packed = of("image/jpeg", &photo(9));
    answer(
        "/media/packed",
        Box::new(move || packed().header("content-encoding", "br")),
    );
    answer("/media/gone", Box::new(|| Reply::new(410)));
    answer(
        "/media/moved",
        Box::new(|| Reply::new(302).header("location", HILL)),
    );
    answer("/media/secret", Box::new(|| Reply::new(401)));
    answer("/media/broken", Box::new(|| Reply::new(500)));
    for (path, status, outcome) in [
        ("/media/page", 404, "unfit"),
        ("/media/svg", 404, "unfit"),
        ("/media/bomb", 404, "unfit"),
        ("/media/large", 404, "unfit"),
        ("/media/half", 404, "unfit"),
        ("/media/packed", 404, "unfit"),
        ("/media/gone", 404, "unknown"),
        ("/media/moved", 404, "unknown"),
        ("/media/secret", 404, "unknown"),
        ("/media/broken", 502, "failed"),
    ] {
        let before = counted(&stage, outcome);
        let answer = client.ask(shown(&good("maple", path))).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(
            !answer.header("content-type").starts_with("image/"),
            "{path}"
        );
        assert_eq!(counted(&stage, outcome), before + 1, "{path}");
    }
    // A file that is no picture is looked at once a minute, whatever the origin says.
    assert_eq!(
        client
            .ask(shown(&good("maple", "/media/bomb")))
            .await
            .status,
        404
    );
    assert_eq!(stage.blue.hits("/media/bomb"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_opens_a_page_together_costs_one_picture() {
    let (stage, _keys) = stage().await;
    let gate = Gate::closed();
    let held = gate.clone();
    stage.blue.on(HILL, move |_| {
        let held = held.clone();
        async move {
            held.pass().await;
            Reply::of("image/jpeg", photo(200)).header("cache-control", "max-age=60")
        }
    });
    let address = good("maple", HILL);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(stage.h2(MAPLE).await);
    }
    let asks = clients.iter().map(|client| picture(client, &address));
    let all = futures_util::future::join_all(asks);
    let open = async {
        while stage.blue.hits(HILL) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gate.open();
    };
    let (answers, ()) = tokio::join!(all, open);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!((stage.blue.hits(HILL), counted(&stage, "made")), (1, 1));
    assert_eq!(counted(&stage, "joined") + counted(&stage, "kept"), 7);
    // What the app does not let be kept, and what an operator has switched off, is made each time.
    serve(
        &stage.blue,
        "/media/own",
        99,
        &[("cache-control", "private, max-age=60")],
    );
    let own = good("maple", "/media/own");
    for turn in 1..=2 {
        let answer = picture(&clients[0], &own).await;
        assert_eq!(answer.header("cache-control"), "private, no-store");
        assert_eq!(stage.blue.hits("/media/own"), turn);
    }
    let (status, _) = stage
        .admin(
            "POST",
            "/v1/cache",
            Some(serde_json::json!({ "off": true })),
        )
        .await;
    assert_eq!(status, 200);
    picture(&clients[0], &address).await;
    assert_eq!(stage.blue.hits(HILL), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_comes_from_the_schools_colour_and_the_command_signs_as_the_app_does() {
    let (plan, _keys) = planned();
    let stage = plan.start().await;
    for origin in [&stage.blue, &stage.green] {
        serve(origin, HILL, 200, &[]);
    }
    stage.colour_ready(edge_proxy::colour::Colour::Green).await;
    let file = format!("https://{MAPLE}{HILL}");
    let words = ["images", "sign", &file, "--width", "64", "--for", "10m"];
    let output = stage.command(&words).await;
    assert!(output.status.success(), "{output:?}");
    let url = String::from_utf8(output.stdout).expect("text");
    let address = url.trim().strip_prefix(&format!("https://{MAPLE}"));
    let address = address.expect("on the same host").to_owned();
    let client = stage.h2(MAPLE).await;
    picture(&client, &address).await;
    assert_eq!((stage.blue.hits(HILL), stage.green.hits(HILL)), (1, 0));
    stage.shift("green=100%").await;
    picture(&client, &address).await;
    assert_eq!((stage.blue.hits(HILL), stage.green.hits(HILL)), (1, 1));
    let explained = stage.command(&["explain", url.trim()]).await;
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("signed for maple"), "{text}");
    let explained = stage.command(&["explain", &file]).await;
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("403: picture_unsigned"), "{text}");
    for (words, problem) in [
        (
            vec!["images", "sign", &file, "--width", "65"],
            "picture_width",
        ),
        (
            vec!["images", "sign", &file, "--for", "2h"],
            "picture_for_too_long",
        ),
        (
            vec!["images", "sign", "https://elm.school.test/media/a"],
            "no school",
        ),
        (
            vec!["images", "sign", "https://maple.school.test/a"],
            "pictures",
        ),
    ] {
        let output = stage.command(&words).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(problem), "{said}");
    }
}
