//! What the demo promises, step by step, asked of the real listeners.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::client::{Ask, Client, Seen, Speak, Surprise};
use super::origin::Origin;
use super::school::PASSPHRASE;
use super::stage::{APP, Stage};
use crate::colour::{Colour, PerColour};

const MAPLE: &str = "maple.localhost";
const CEDAR: &str = "cedar.localhost";
const COURSES: &str = "/api/v1/courses";
/// A stream that the edge held back would show nothing for much longer.
const FIRST_EVENT_WITHIN: Duration = Duration::from_secs(3);

/// One thing to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Page,
    HashedAsset,
    UnknownAsset,
    Redirect,
    Refused,
    SignIn,
    CachedRead,
    OtherSchool,
    Personal,
    Public,
    Purge,
    Shift,
    Stream,
    ShiftBack,
}

impl Step {
    /// In this order: later steps use what earlier ones saw.
    pub(super) const ALL: [Self; 14] = [
        Self::Page,
        Self::HashedAsset,
        Self::UnknownAsset,
        Self::Redirect,
        Self::Refused,
        Self::SignIn,
        Self::CachedRead,
        Self::OtherSchool,
        Self::Personal,
        Self::Public,
        Self::Purge,
        Self::Shift,
        Self::Stream,
        Self::ShiftBack,
    ];

    /// What is promised.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Page => "A page arrives over TLS and HTTP/2, brotli-coded",
            Self::HashedAsset => "A hashed file is kept for good, and asked for again costs a 304",
            Self::UnknownAsset => "A hashed name that nobody published is a 404 that nobody keeps",
            Self::Redirect => "The plain port only sends to https",
            Self::Refused => "Without a session the edge refuses by itself",
            Self::SignIn => "A pupil of each school signs in",
            Self::CachedRead => "A school's read is asked of the origin once",
            Self::OtherSchool => "The other school sees its own, and a session opens no other door",
            Self::Personal => "What belongs to one person is never kept",
            Self::Public => "What belongs to everybody is kept, for HTTP/1.1 and HTTP/2 alike",
            Self::Purge => "A purge by tag is seen by the next request",
            Self::Shift => {
                "At 50 % one school moves, the other stays, and the old page keeps its files"
            }
            Self::Stream => "Events arrive as they happen",
            Self::ShiftBack => "Back to 0 %: both schools see release one",
        }
    }
}

/// Somebody who walks through the demo.
pub(super) struct Tour<'a> {
    client: Client,
    origins: &'a PerColour<Origin>,
    style_sheet: String,
    maple: String,
    cedar: String,
}

type Told = Result<String, Surprise>;

impl<'a> Tour<'a> {
    pub(super) fn new(stage: &'a Stage) -> Self {
        Self {
            client: Client::new(
                stage.public,
                stage.plain,
                stage.admin(),
                stage.ca.certificate(),
            ),
            origins: &stage.origins,
            style_sheet: String::new(),
            maple: String::new(),
            cedar: String::new(),
        }
    }

    /// Takes a step and says what was seen.
    pub(super) async fn take(&mut self, step: Step) -> Told {
        match step {
            Step::Page => self.page().await,
            Step::HashedAsset => self.hashed_asset().await,
            Step::UnknownAsset => self.unknown_asset().await,
            Step::Redirect => self.redirect().await,
            Step::Refused => self.refused().await,
            Step::SignIn => self.sign_in().await,
            Step::CachedRead => self.cached_read().await,
            Step::OtherSchool => self.other_school().await,
            Step::Personal => self.personal().await,
            Step::Public => self.public().await,
            Step::Purge => self.purge().await,
            Step::Shift => self.shift().await,
            Step::Stream => self.stream().await,
            Step::ShiftBack => self.shift_back().await,
        }
    }

    async fn page(&mut self) -> Told {
        let br = [("accept-encoding", "br")];
        let seen = self
            .client
            .ask(Ask {
                headers: &br,
                ..Ask::get(MAPLE, "/")
            })
            .await?;
        expect(seen.status == 200, &seen, "a page")?;
        expect(seen.header("content-encoding") == "br", &seen, "brotli")?;
        let plain = self.client.ask(Ask::get(MAPLE, "/")).await?;
        let page = String::from_utf8_lossy(&plain.body);
        let name = page
            .split('"')
            .find(|text| text.starts_with("/css/accent-") && text.ends_with(".css"))
            .ok_or_else(|| Surprise::Seen("the page names no hashed style sheet".to_owned()))?;
        self.style_sheet = name.to_owned();
        Ok(format!(
            "{:?} {}, {} bytes of {} sent, and the page asks for {name}",
            seen.version,
            seen.status.as_u16(),
            seen.body.len(),
            plain.body.len()
        ))
    }

    async fn hashed_asset(&mut self) -> Told {
        let first = self.client.ask(Ask::get(MAPLE, &self.style_sheet)).await?;
        let kept = first.header("cache-control").to_owned();
        expect(kept.contains("immutable"), &first, "an immutable file")?;
        let tag = first.header("etag").to_owned();
        let known = [("if-none-match", tag.as_str())];
        let again = Ask {
            headers: &known,
            ..Ask::get(MAPLE, &self.style_sheet)
        };
        let again = self.client.ask(again).await?;
        expect(
            again.status == 304 && again.body.is_empty(),
            &again,
            "304 without a body",
        )?;
        Ok(format!("200 with `{kept}`, then 304 for {tag}"))
    }

    async fn unknown_asset(&mut self) -> Told {
        let path = "/css/accent-0000000000000000.css";
        let seen = self.client.ask(Ask::get(MAPLE, path)).await?;
        let kept = seen.header("cache-control").to_owned();
        expect(
            seen.status == 404 && kept.contains("no-store"),
            &seen,
            "404 with no-store",
        )?;
        Ok(format!("404 with `{kept}` for {path}"))
    }

    async fn redirect(&mut self) -> Told {
        let seen = self.client.plain(MAPLE, "/?from=plain").await?;
        let to = seen.header("location").to_owned();
        let is_right = seen.status.is_redirection() && to.starts_with("https://maple.localhost");
        expect(is_right, &seen, "a redirect to https")?;
        Ok(format!("{} to {to}", seen.status.as_u16()))
    }

    async fn refused(&mut self) -> Told {
        let before = self.asked("courses");
        let seen = self.client.ask(Ask::get(MAPLE, COURSES)).await?;
        expect(seen.status == 401, &seen, "401")?;
        expect(
            self.asked("courses") == before,
            &seen,
            "an origin that was not asked",
        )?;
        Ok(format!(
            "401 as {}, and the origin was not asked",
            seen.header("content-type")
        ))
    }

    async fn sign_in(&mut self) -> Told {
        self.maple = self.session(MAPLE, "ada").await?;
        self.cedar = self.session(CEDAR, "ben").await?;
        Ok("Ada Brook at Maple Grove, Ben Okoye at Cedar Hill".to_owned())
    }

    async fn session(&self, host: &str, login: &str) -> Result<String, Surprise> {
        let ask = Ask {
            method: Method::POST,
            json: Some(json!({ "login": login, "passphrase": PASSPHRASE })),
            ..Ask::get(host, "/api/v1/session")
        };
        let seen = self.client.ask(ask).await?;
        expect(seen.status == 201, &seen, "a session")?;
        let cookie = seen.header("set-cookie").split(';').next();
        Ok(cookie.unwrap_or_default().to_owned())
    }

    async fn cached_read(&mut self) -> Told {
        let before = self.asked("courses");
        let miss = self.read(Speak::H2, MAPLE, COURSES, &self.maple).await?;
        let hit = self.read(Speak::H2, MAPLE, COURSES, &self.maple).await?;
        let asked = self.asked("courses") - before;
        expect(asked == 1, &hit, "one request to the origin")?;
        expect(serial(&miss) == serial(&hit), &hit, "the same answer twice")?;
        expect(
            !hit.headers.contains_key("x-edge-cache-scope"),
            &hit,
            "no inner headers",
        )?;
        Ok(format!(
            "answer {} twice, the second {} s old from the edge's memory",
            serial(&hit),
            hit.header("age")
        ))
    }

    async fn other_school(&mut self) -> Told {
        let cedar = self.read(Speak::H2, CEDAR, COURSES, &self.cedar).await?;
        let maple = self.read(Speak::H2, MAPLE, COURSES, &self.maple).await?;
        let title = |seen: &Seen| seen.json()["courses"][0]["title"].to_string();
        let own = cedar.json()["school"]["id"] == "cedar" && title(&cedar) != title(&maple);
        expect(own, &cedar, "Cedar Hill's own courses")?;
        let headers = [("cookie", self.maple.as_str())];
        let wrong = Ask {
            headers: &headers,
            ..Ask::get(CEDAR, COURSES)
        };
        let wrong = self.client.ask(wrong).await?;
        expect(wrong.status == 403, &wrong, "403 for Maple Grove's session")?;
        Ok(format!(
            "Cedar Hill reads {}, Maple Grove {}; Ada's session at Cedar Hill: 403",
            title(&cedar),
            title(&maple)
        ))
    }

    async fn personal(&mut self) -> Told {
        let one = self
            .read(Speak::H2, MAPLE, "/api/v1/grades", &self.maple)
            .await?;
        let two = self
            .read(Speak::H2, MAPLE, "/api/v1/grades", &self.maple)
            .await?;
        expect(serial(&one) != serial(&two), &two, "a new answer each time")?;
        Ok(format!(
            "grades are answer {}, then {}: `{}`",
            serial(&one),
            serial(&two),
            two.header("cache-control")
        ))
    }

    async fn public(&mut self) -> Told {
        let before = self.asked("catalogue");
        let h2 = self.read(Speak::H2, MAPLE, "/api/v1/catalogue", "").await?;
        let h1 = self.read(Speak::H1, MAPLE, "/api/v1/catalogue", "").await?;
        let asked = self.asked("catalogue") - before;
        expect(
            asked == 1 && serial(&h1) == serial(&h2),
            &h1,
            "one request to the origin",
        )?;
        Ok(format!(
            "answer {} over {:?} and {:?}",
            serial(&h1),
            h2.version,
            h1.version
        ))
    }

    async fn purge(&mut self) -> Told {
        let before = self.read(Speak::H2, MAPLE, COURSES, &self.maple).await?;
        let order = json!({ "tenant": "maple", "tag": "course:2" });
        self.client.command("/v1/purge", order).await?;
        let after = self.read(Speak::H2, MAPLE, COURSES, &self.maple).await?;
        expect(
            serial(&before) != serial(&after),
            &after,
            "a new answer after the purge",
        )?;
        let cedar = self.asked("courses");
        let other = self.read(Speak::H2, CEDAR, COURSES, &self.cedar).await?;
        expect(
            self.asked("courses") == cedar,
            &other,
            "Cedar Hill still from memory",
        )?;
        Ok(format!(
            "tag `course:2` of maple: answer {} became {}; Cedar Hill's stayed",
            serial(&before),
            serial(&after)
        ))
    }

    async fn shift(&mut self) -> Told {
        self.weight("green=50%").await?;
        let maple = self.colours(MAPLE, &self.maple).await?;
        let cedar = self.colours(CEDAR, &self.cedar).await?;
        if (maple, cedar) != (Colour::Blue, Colour::Green) {
            return Err(Surprise::Seen(format!(
                "Maple Grove sees {maple}, Cedar Hill {cedar}"
            )));
        }
        // A page that Cedar Hill opened before the shift asks for the style sheet of release one.
        let old = self.client.ask(Ask::get(CEDAR, &self.style_sheet)).await?;
        expect(old.status == 200, &old, "the old page's style sheet")?;
        Ok(format!(
            "Maple Grove sees {maple}, Cedar Hill {cedar}; {} of release one is still served there",
            self.style_sheet
        ))
    }

    async fn stream(&mut self) -> Told {
        let began = Instant::now();
        let response = self.client.open(Ask::get(MAPLE, "/api/v1/events")).await?;
        let mut body = response.into_body();
        let mut heard = String::new();
        let mut first = None;
        while heard.matches("event: tick").count() < 3 {
            let left = FIRST_EVENT_WITHIN.saturating_sub(began.elapsed());
            let frame = tokio::time::timeout(left, body.frame()).await;
            let frame = frame.map_err(|_| Surprise::Seen(format!("no third event: {heard:?}")))?;
            let Some(frame) = frame.transpose()? else {
                return Err(Surprise::Seen("the stream ended".to_owned()));
            };
            first.get_or_insert_with(|| began.elapsed());
            heard.push_str(&String::from_utf8_lossy(
                &frame.into_data().unwrap_or_default(),
            ));
        }
        Ok(format!(
            "the first after {} ms, the third after {} ms",
            first.unwrap_or_default().as_millis(),
            began.elapsed().as_millis()
        ))
    }

    async fn shift_back(&mut self) -> Told {
        self.weight("green=0%").await?;
        let maple = self.colours(MAPLE, &self.maple).await?;
        let cedar = self.colours(CEDAR, &self.cedar).await?;
        if (maple, cedar) != (Colour::Blue, Colour::Blue) {
            return Err(Surprise::Seen(format!(
                "Maple Grove sees {maple}, Cedar Hill {cedar}"
            )));
        }
        Ok("Maple Grove and Cedar Hill see blue, and stayed signed in".to_owned())
    }

    async fn weight(&self, weight: &str) -> Result<Value, Surprise> {
        let path = format!("/v1/apps/{APP}/shift");
        self.client
            .command(&path, json!({ "weight": weight }))
            .await
    }

    /// The colour that a school sees: its page and its reads must agree.
    async fn colours(&self, host: &str, cookie: &str) -> Result<Colour, Surprise> {
        let page = self.client.ask(Ask::get(host, "/")).await?;
        let text = String::from_utf8_lossy(&page.body);
        let page_colour = match text.contains("data-release=\"two\"") {
            true => Colour::Green,
            false => Colour::Blue,
        };
        let read = self.read(Speak::H2, host, COURSES, cookie).await?;
        let agree = read.json()["origin"]["colour"] == page_colour.as_str();
        expect(agree, &read, "a page and reads of one colour")?;
        Ok(page_colour)
    }

    async fn read(
        &self,
        speak: Speak,
        host: &str,
        path: &str,
        cookie: &str,
    ) -> Result<Seen, Surprise> {
        let with = [("cookie", cookie)];
        let headers = if cookie.is_empty() {
            &[][..]
        } else {
            &with[..]
        };
        let ask = Ask {
            speak,
            headers,
            ..Ask::get(host, path)
        };
        let seen = self.client.ask(ask).await?;
        expect(seen.status == 200, &seen, "200")?;
        Ok(seen)
    }

    /// How often both origins were asked.
    fn asked(&self, route: &str) -> u64 {
        self.origins.blue.asked(route) + self.origins.green.asked(route)
    }
}

fn serial(seen: &Seen) -> u64 {
    seen.json()["origin"]["serial"].as_u64().unwrap_or(0)
}

fn expect(is_so: bool, seen: &Seen, what: &str) -> Result<(), Surprise> {
    if is_so {
        return Ok(());
    }
    let headers: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
    Err(Surprise::Seen(format!(
        "expected {what}, saw {:?} {} with {}",
        seen.version,
        seen.status,
        headers.join(", ")
    )))
}
