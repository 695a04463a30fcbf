//! Leaving a colour: nobody new comes, who is there may finish, and it ends when nobody is left or the
//! time is over.

use std::time::{Duration, Instant};

use asset_pipeline::id::AppId;
use tokio::sync::watch;

use super::super::api::{DrainReport, DrainRequest, DrainStage, InFlight, Problem, Reason};
use super::super::drain;
use super::super::state::AppState;
use super::Admin;
use super::commands::one_line;
use super::underway::Progress;
use crate::colour::Colour;

/// How long requests get, unless it is said: longer than any answer should take.
const WAIT_S: u32 = 600;

/// The longest wait that can be asked for.
pub(super) const WAIT_S_MAX: u32 = 3600;

/// After this time streams and WebSockets are asked to end, unless it is said: most clients have left by then.
const STREAMS_S: u32 = 10;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Looks in a row at which nobody was there: a request that was given this colour a moment ago is on
/// its way into the book.
pub(super) const LOOKS: u32 = 2;

/// A colour that is being left.
pub(super) struct Leaving<'a> {
    pub(super) admin: &'a Admin,
    pub(super) app: &'a AppId,
    pub(super) colour: Colour,
    /// How long who is there may go on.
    pub(super) wait: Duration,
    /// When streams and WebSockets are asked to end.
    pub(super) streams: Duration,
    pub(super) who: &'a str,
    pub(super) why: Option<String>,
}

/// Who was still there at the end.
pub(super) struct Left {
    pub(super) in_flight: Vec<InFlight>,
    pub(super) parted: u64,
}

impl Admin {
    /// Begins to drain a colour, or says at once why it must not be.
    pub(super) async fn drain(
        &self,
        app: &str,
        asked: DrainRequest,
        who: &str,
    ) -> Result<DrainReport, Problem> {
        let app = self.app(app).await?;
        let colour: Colour = asked
            .colour
            .parse()
            .map_err(|error: crate::colour::NotAColour| Problem::usage(error.to_string()))?;
        let wait_s = asked.wait_s.unwrap_or(WAIT_S);
        if wait_s > WAIT_S_MAX {
            let text = format!("a drain waits at most {WAIT_S_MAX} seconds");
            return Err(Problem::usage(text));
        }
        let streams_s = asked.streams_s.unwrap_or_else(|| streams_s(wait_s));
        let (_, now) = self.state_of(&app).await?;
        let facts = self.colour(&app, colour).await;
        self.decide_drain(&app, &now, colour).await?;
        let report = DrainReport {
            app: app.to_string(),
            colour: colour.to_string(),
            stage: DrainStage::Draining,
            in_flight: facts.lines,
            parted: 0,
            seconds: 0,
            dry_run: asked.dry_run,
        };
        if asked.dry_run {
            return Ok(report);
        }
        let progress = self.drains.begin(&app, report.clone())?;
        let (admin, who, why) = (self.clone(), who.to_owned(), one_line(asked.reason));
        tokio::spawn(async move {
            let leaving = Leaving {
                admin: &admin,
                app: &app,
                colour,
                wait: Duration::from_secs(wait_s.into()),
                streams: Duration::from_secs(streams_s.into()),
                who: &who,
                why,
            };
            leaving.to_its_end(&progress).await;
        });
        Ok(report)
    }

    /// The last drain of an app.
    pub(super) async fn last_drain(&self, app: &str) -> Result<DrainReport, Problem> {
        let app = self.app(app).await?;
        self.drains.last(&app)
    }

    /// The state in which a colour is left, or why it must not be.
    pub(super) async fn decide_drain(
        &self,
        app: &AppId,
        now: &AppState,
        colour: Colour,
    ) -> Result<AppState, Problem> {
        let other = self.colour(app, colour.other()).await;
        drain::decide(now, colour, other.reasons()).map_err(|reasons| refused(app, colour, reasons))
    }
}

fn refused(app: &AppId, colour: Colour, reasons: Vec<Reason>) -> Problem {
    let detail = format!("{app}: {colour} cannot be left now; nothing was changed");
    Problem::refused(detail, reasons)
}

/// Streams end within the first half of a short wait.
pub(super) fn streams_s(wait_s: u32) -> u32 {
    STREAMS_S.min(wait_s / 2)
}

impl Leaving<'_> {
    async fn to_its_end(&self, progress: &watch::Sender<Progress<DrainReport>>) {
        let began = Instant::now();
        let say = |stage, left: &Left| {
            progress.send_modify(|progress| {
                if let Ok(report) = progress {
                    report.stage = stage;
                    report.in_flight.clone_from(&left.in_flight);
                    report.parted = left.parted;
                    report.seconds = began.elapsed().as_secs();
                }
            });
        };
        match self.finish(|left| say(DrainStage::Draining, left)).await {
            Ok(left) if left.in_flight.is_empty() => say(DrainStage::Drained, &left),
            Ok(left) => say(DrainStage::Late, &left),
            Err(problem) => {
                let _looked_at = progress.send_replace(Err(problem));
            }
        }
    }

    /// Leaves the colour, and waits for those who are there; who still is when the time is over is returned.
    pub(super) async fn finish(&self, say: impl Fn(&Left)) -> Result<Left, Problem> {
        let Self {
            admin, app, colour, ..
        } = *self;
        let what = format!("drain {app} {colour}");
        let other = admin.colour(app, colour.other()).await.reasons();
        let decide = |now: &AppState| {
            drain::decide(now, colour, other.clone())
                .map_err(|reasons| refused(app, colour, reasons))
        };
        let said = (self.who, what.as_str(), self.why.clone());
        admin.change(app, said, decide).await?;
        let left_at = admin.applied().sequence;
        let began = Instant::now();
        let before = admin.colour(app, colour).await.parted;
        let (mut hastened, mut looks) = (false, 0);
        loop {
            let facts = admin.colour(app, colour).await;
            let mut left = Left {
                parted: facts.parted.saturating_sub(before),
                in_flight: facts.still_there(),
            };
            left.in_flight.extend(admin.unheard(left_at));
            looks = if left.in_flight.is_empty() {
                looks + 1
            } else {
                0
            };
            if looks >= LOOKS || began.elapsed() >= self.wait {
                return Ok(left);
            }
            say(&left);
            if !hastened && began.elapsed() >= self.streams && !left.in_flight.is_empty() {
                hastened = true;
                let what = format!("drain {app} {colour}: streams");
                let said = (self.who, what.as_str(), self.why.clone());
                let hasten = |now: &AppState| Ok(drain::hasten(now, colour));
                admin.change(app, said, hasten).await?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// As a refusal says it.
pub(super) fn reasons(colour: Colour, left: &[InFlight]) -> Vec<Reason> {
    let requests = left.iter().map(|line| line.count).sum();
    let colour = colour.to_string();
    match requests {
        0 => Vec::new(),
        _ => vec![Reason::InFlight { colour, requests }],
    }
}
