//! What would happen to a request, room by room, without making one: the answer to "why was this
//! not cached?".

use std::time::{SystemTime, UNIX_EPOCH};

use cache_rules::host::Authority;
use cache_rules::target;
use http::{HeaderMap, Method, Uri};

use crate::assets::release::Hashed;
use crate::cache::Cache;
use crate::colour::Colour;
use crate::config::checked::{Pictures, RouteKind, covers};
use crate::control::api::{Explanation, Step};
use crate::pictures::address::admit;
use crate::rule::{self, Ruling};
use crate::session::Request;
use crate::split::claims::Claims;
use crate::split::order::OrderKeys;
use crate::split::{Choice, Reason, SplitBy};
use crate::world::{AppWorld, Asking, World};

mod read;

pub use read::{Asker, NotAnAsker};

/// The rooms' decisions so far.
struct Tour(Vec<Step>);

impl Tour {
    fn step(&mut self, room: &str, outcome: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Step {
            room: room.to_owned(),
            outcome: outcome.into(),
            detail: Some(detail.into()),
        });
    }

    fn end(self, summary: impl Into<String>) -> Explanation {
        Explanation {
            summary: summary.into(),
            steps: self.0,
        }
    }
}

/// Walks a request for `url` through the rooms of `world`, as `asker` if one is given.
///
/// # Errors
/// When the URL is not one that the edge could be asked for.
pub fn explain(
    world: &World,
    cache: &Cache,
    method: &Method,
    url: &Uri,
    asker: Option<&Asker>,
) -> Result<Explanation, String> {
    let authority = url
        .authority()
        .ok_or("the URL needs a host, as in https://oak.example/api/v1/courses")?;
    let authority = Authority::parse(authority.as_str()).map_err(|error| error.to_string())?;
    let raw = url.path_and_query().map_or("/", |target| target.as_str());
    target::check(raw).map_err(|error| format!("400: {error}"))?;
    let mut tour = Tour(Vec::new());
    let Some(tenant) = world.config.tenants.of_host(&authority.host) else {
        tour.step(
            "session",
            "421: unknown_host",
            "no tenant of tenants.toml has this host",
        );
        return Ok(tour.end("refused: the host is no tenant's"));
    };
    tour.step(
        "session",
        format!("tenant {}", tenant.as_str()),
        "the host names the tenant",
    );
    let request = Request::imagined(tenant.clone(), authority, method.clone(), url);
    let path = request.lookup_path();
    let Some((route, app)) = world.place(path) else {
        tour.step(
            "route",
            "404: no_route",
            "no service of any app has a prefix of this path",
        );
        return Ok(tour.end("refused: no app serves this path"));
    };
    let service = app
        .app
        .services
        .keys()
        .nth(route.service)
        .map_or("", String::as_str);
    let kind = match route.kind {
        Some(RouteKind::Stream) => " as a stream: never buffered, stored or compressed",
        Some(RouteKind::Pass) => " as a pass: never stored",
        None => "",
    };
    let place = format!("{}/{service}", app.app.id);
    tour.step("route", place, format!("prefix `{}`{kind}", route.prefix));
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let mut below = false;
    if is_read && route.kind.is_none() {
        match app.files.hashed(path) {
            Hashed::Found(_) => {
                tour.step(
                    "assets",
                    "hashed file",
                    "served from the releases, whatever the weights are",
                );
                return Ok(
                    tour.end("a hashed file of a retained release: immutable, no origin is asked")
                );
            }
            Hashed::Below => below = true,
            Hashed::Elsewhere => {}
        }
    }
    // Who asks here has neither an order nor a cookie; a deployment id may be in the URL.
    let claims = request
        .said
        .prove(&app.app.id, tenant, &OrderKeys::default(), None, 0);
    let asking = Asking {
        tenant,
        client: request.client,
        claims: &claims,
        now_s: 0,
    };
    let Some((choice, _)) = app.choose(&asking) else {
        tour.step(
            "split",
            "503: no_member",
            "the colour with this tenant's weight was never deployed",
        );
        return Ok(tour.end("refused: nothing is deployed"));
    };
    tour.step(
        "split",
        format!("{}, release {}", choice.colour, choice.release),
        reason(app, &choice, &claims),
    );
    if app.is_paused() {
        tour.step(
            "hold",
            "paused",
            "what needs no origin is answered; the rest waits, and is led to a colour anew by `unpause`",
        );
    }
    let pictures = app.app.pictures.as_ref();
    if let Some(terms) = pictures.filter(|terms| covers(&terms.path, path)) {
        return Ok(picture(tour, terms, &request));
    }
    let of_release = || app.files.release_file(&choice.release, path).is_some();
    if below {
        let known = of_release();
        let outcome = if known {
            "release file"
        } else {
            "404: unknown_file"
        };
        tour.step(
            "assets",
            outcome,
            "below a hashed prefix: the origin is not asked",
        );
        return Ok(tour.end(if known {
            "a file of a release"
        } else {
            "refused: no retained release has this file"
        }));
    }
    if is_read && route.kind.is_none() {
        let query = request.query.as_deref();
        let made_here = world.config.images.make;
        match app.files.picture(&choice.release, path, query) {
            Ok(Some(wanted)) if wanted.is_ours(made_here) => {
                let detail =
                    "in the smallest form that the client shows: it follows Accept and Save-Data";
                tour.step("images", "picture", detail);
                return Ok(tour.end(format!("a picture of release {}", choice.release)));
            }
            Ok(_) => {}
            Err(refusal) => {
                let (status, _, reason) = refusal.map();
                let outcome = format!("{}: {reason}", status.as_u16());
                tour.step("images", outcome, refusal.public());
                return Ok(tour.end("refused: no picture is made like that"));
            }
        }
    }
    if let Some(kind) = route.kind {
        let outcome = if kind == RouteKind::Stream {
            "pass: stream_route"
        } else {
            "pass: pass_route"
        };
        tour.step("rule", outcome, "the route says so, whatever the rules say");
        return Ok(tour.end(format!(
            "passed to {service} of {}: the route is not for reads",
            choice.colour
        )));
    }
    match rule::of(world, &request, &HeaderMap::new()) {
        Err(refusal) => {
            let (status, _, reason) = refusal.map();
            tour.step(
                "rule",
                format!("{}: {reason}", status.as_u16()),
                refusal.public(),
            );
            Ok(tour.end("refused: a rule covers it, but the request is ambiguous"))
        }
        Ok(Ruling::Read(plan)) => {
            let identity = world.config.identity.as_ref();
            let summary =
                read::explain(&mut tour, cache, &plan, &request, &choice, asker, identity);
            Ok(tour.end(summary))
        }
        Ok(Ruling::Pass(reason)) => {
            tour.step("rule", format!("pass: {reason}"), why(reason));
            if is_read && of_release() {
                tour.step(
                    "assets",
                    "release file",
                    format!("served from release {}", choice.release),
                );
                return Ok(tour.end(format!(
                    "a file of release {}: revalidated each time",
                    choice.release
                )));
            }
            tour.step(
                "upstream",
                format!("{service} of {}", choice.colour),
                "passed through",
            );
            Ok(tour.end(format!(
                "passed to {service} of {}, not cached: {reason}",
                choice.colour
            )))
        }
    }
}

/// A school's picture: whether its address is good now.
fn picture(mut tour: Tour, terms: &Pictures, request: &Request) -> Explanation {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = since.map_or(0, |since| since.as_secs());
    let query = request.query.as_deref();
    match admit(terms, &request.tenant, &request.path, query, now_s) {
        Ok(wanted) => {
            let (tenant, left_s) = (&request.tenant, wanted.left_s);
            let detail = format!(
                "signed for {tenant}, good for {left_s} s more; the file is at {}",
                wanted.source
            );
            tour.step("pictures", "a school's picture", detail);
            tour.end("a picture of a school: kept for it alone, or made of the app's file")
        }
        Err(refusal) => {
            let (status, _, reason) = refusal.map();
            let outcome = format!("{}: {reason}", status.as_u16());
            let detail = "`edge-proxy images sign` makes an address that is good";
            tour.step("pictures", outcome, detail);
            tour.end("refused: below this prefix only signed addresses are answered")
        }
    }
}

/// Why this colour, and what would lead elsewhere.
fn reason(app: &AppWorld, choice: &Choice, claims: &Claims) -> String {
    let green = app.splitter().split().weight_bp(Colour::Green);
    let ignored = match (&claims.deployment, choice.reason) {
        (Some(_), Reason::Weight { .. }) => {
            "; the URL's deployment id is of no release that is live or draining"
        }
        _ => "",
    };
    match choice.reason {
        Reason::Order => "the operator's order says so".to_owned(),
        Reason::Deployment => "the URL's deployment id is that of this release".to_owned(),
        Reason::Ring => "its school is in a ring that goes first".to_owned(),
        Reason::Pin => "the browser's cookie binds it to this release".to_owned(),
        Reason::Weight { bucket } => match app.app.split_by {
            SplitBy::Tenant => {
                format!("the tenant's bucket is {bucket}, green has those below {green}{ignored}")
            }
            SplitBy::Client => format!(
                "the unit is the client: a browser stays where its cookie binds it; one without a cookie goes by its network, here to bucket {bucket}, and green has those below {green}{ignored}"
            ),
            SplitBy::Request => format!(
                "the unit is the request: another bucket each time, now {bucket}, and green has those below {green}{ignored}"
            ),
        },
    }
}

/// What would make it cacheable.
fn why(reason: &str) -> &'static str {
    match reason {
        "cache_off" => "the cache is switched off: `edge-proxy cache on` ends that",
        "no_rule" => "no rule of rules.toml has this path: without a rule nothing is cached",
        "method" => "the rule is for other methods",
        "authorization" => "a public rule is not for requests with `Authorization`",
        "query_unlisted" => "a query name is neither in the rule's `query` nor in its `ignore`",
        _ => "see rules.toml",
    }
}
