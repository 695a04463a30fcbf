//! Holding an app: requests wait before they are led to a colour, so that something can be changed under both.

use std::time::{Duration, Instant};

use asset_pipeline::id::AppId;

use super::super::api::{InFlight, PauseReport, PauseRequest, Problem};
use super::super::state::AppState;
use super::Admin;
use super::commands::one_line;
use super::drain::LOOKS;
use crate::colour::Colour;

/// How long a pause waits for those under way, unless it is said.
const WAIT_S: u32 = 5;

/// A longer one would be answered after those who wait have been sent away.
const WAIT_S_MAX: u32 = 10;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Those that may take hours: what is changed must get along with them.
const LONG: [&str; 2] = ["stream", "websocket"];

impl Admin {
    /// Holds an app's requests, or lets them go on.
    pub(super) async fn pause(
        &self,
        app: &str,
        asked: PauseRequest,
        who: &str,
    ) -> Result<PauseReport, Problem> {
        let app = self.app(app).await?;
        let wait_s = asked.wait_s.unwrap_or(WAIT_S);
        if wait_s > WAIT_S_MAX {
            let text = format!("a pause waits at most {WAIT_S_MAX} seconds for those under way");
            return Err(Problem::usage(text));
        }
        let paused = asked.paused;
        let (_, before) = self.state_of(&app).await?;
        if !asked.dry_run {
            let what = format!("{} {app}", if paused { "pause" } else { "unpause" });
            let said = (who, what.as_str(), one_line(asked.reason));
            let decide = |now: &AppState| {
                Ok(AppState {
                    paused,
                    ..now.clone()
                })
            };
            self.change(&app, said, decide).await?;
        }
        let since = self.applied().sequence;
        let deadline = Instant::now() + Duration::from_secs(wait_s.into());
        let mut looks = 0;
        loop {
            let (mut in_flight, held) = self.short_ones(&app).await;
            in_flight.extend(self.unheard(since));
            looks = if in_flight.is_empty() { looks + 1 } else { 0 };
            let ended = looks >= LOOKS || !paused || asked.dry_run;
            if ended || Instant::now() >= deadline {
                return Ok(PauseReport {
                    app: app.to_string(),
                    paused: if asked.dry_run { before.paused } else { paused },
                    changed: before.paused != paused,
                    in_flight,
                    held,
                    dry_run: asked.dry_run,
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The requests of both colours that should end soon, and how many wait.
    async fn short_ones(&self, app: &AppId) -> (Vec<InFlight>, u64) {
        let (mut lines, mut held) = (Vec::<InFlight>::new(), 0);
        for colour in Colour::BOTH {
            let facts = self.colour(app, colour).await;
            held = facts.held.max(held);
            for line in facts.still_there() {
                if LONG.contains(&line.class.as_str()) {
                    continue;
                }
                match lines.iter_mut().find(|other| other.class == line.class) {
                    Some(other) => {
                        other.count += line.count;
                        other.oldest_s = other.oldest_s.max(line.oldest_s);
                    }
                    None => lines.push(line),
                }
            }
        }
        (lines, held)
    }
}
