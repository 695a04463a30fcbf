//! What the commands do: read, decide by a pure function, commit, and wait until requests see it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use asset_pipeline::id::AppId;
use cache_rules::host::Authority;
use cache_rules::tag::Tag;
use cache_rules::tenant::TenantId;
use http::{StatusCode, Uri};
use jiff::Timestamp;

use super::super::api::{
    CacheReport, CacheRequest, FreezeReport, FreezeRequest, Problem, PurgeReport, PurgeRequest,
    ShiftReport, ShiftRequest, Weights,
};
use super::super::edge::Estimate;
use super::super::event::{Event, Purge, PurgePath};
use super::super::rollout::Step;
use super::super::shift::{self, NotAWeight, Weight};
use super::super::state::{AppState, CacheState, described, written};
use super::super::store::{Change, Key, Note, Sequence, StoreError};
use super::Admin;
use super::rollout::despite;
use crate::colour::Colour;

/// A change that requests do not see after this long is an error of ours.
const APPLY: Duration = Duration::from_secs(5);

/// Changes that meet another operator's change are decided again this often.
pub(super) const TRIES: usize = 3;

/// The longest reason that is kept.
const REASON_CHARS_MAX: usize = 200;

impl Admin {
    /// Moves weight. `seen` is the revision that the operator looked at, if they said so.
    pub(super) async fn shift(
        &self,
        app: &str,
        asked: ShiftRequest,
        seen: Option<Sequence>,
        who: &str,
    ) -> Result<ShiftReport, Problem> {
        let weight: Weight = asked
            .weight
            .parse()
            .map_err(|error: NotAWeight| Problem::usage(error.to_string()))?;
        let app = self.app(app).await?;
        despite(asked.despite_freeze, asked.reason.as_deref())?;
        let asked = Asked {
            weight,
            dry_run: asked.dry_run,
            despite_freeze: asked.despite_freeze,
            why: one_line(asked.reason),
        };
        let mut tried = 0;
        loop {
            tried += 1;
            match self.try_shift(&app, &asked, seen, who).await {
                Err(problem) if problem.is_conflict() && seen.is_none() && tried < TRIES => {}
                ended => return ended,
            }
        }
    }

    async fn try_shift(
        &self,
        app: &AppId,
        asked: &Asked,
        seen: Option<Sequence>,
        who: &str,
    ) -> Result<ShiftReport, Problem> {
        let (revision, now) = self.state_of(app).await?;
        if let Some(seen) = seen
            && seen != revision
        {
            let detail = format!(
                "{app} was at revision {seen}, and is at {revision} now; nothing was changed"
            );
            let title = "changed since it was seen";
            return Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "changed",
                title,
                detail,
            ));
        }
        let weight = asked.weight;
        let gaining = shift::gaining(&now, weight);
        let mut reasons = match gaining {
            Some(colour) => self.edge.colour(app, colour).await.reasons(),
            None => Vec::new(),
        };
        if let Some(newest) = gaining.filter(|colour| Some(*colour) == now.newest)
            && !asked.despite_freeze
        {
            let steps = [
                now.split.weight_bp(newest),
                weight.split().weight_bp(newest),
            ];
            let plan = self.plan(app, newest, &steps.map(Step::Weight));
            let moved = plan.iter().skip(1).flat_map(|planned| &planned.rings);
            reasons.extend(self.frozen(&now, moved));
        }
        let next = shift::decide(&now, weight, reasons).map_err(|reasons| {
            let detail = format!(
                "{app} {weight}: the colour cannot take traffic on this edge; nothing was changed"
            );
            Problem::refused(detail, reasons)
        })?;
        let mut report = ShiftReport {
            app: app.to_string(),
            from: weights(&now),
            to: weights(&next),
            changed: next != now,
            dry_run: asked.dry_run,
            revision: revision.0,
        };
        if report.changed && !asked.dry_run {
            let what = format!("shift {app} {weight}");
            let said = (who, what, asked.why.clone());
            report.revision = self.put(app, revision, (&now, &next), said).await?.0;
        }
        Ok(report)
    }

    /// Lets no more go to a newer version of an app for a time, or again.
    pub(super) async fn freeze(
        &self,
        app: &str,
        asked: FreezeRequest,
        who: &str,
    ) -> Result<FreezeReport, Problem> {
        let app = self.app(app).await?;
        let until = asked
            .until
            .as_deref()
            .map(str::parse::<Timestamp>)
            .transpose();
        let until = until.map_err(|_| {
            Problem::usage("a time is written as 2026-12-01T16:00:00+01:00, with its offset")
        })?;
        if until.is_some_and(|until| until <= Timestamp::now()) {
            return Err(Problem::usage(
                "that time is over; without one a freeze ends",
            ));
        }
        let mut tried = 0;
        loop {
            tried += 1;
            let (revision, now) = self.state_of(&app).await?;
            let next = AppState {
                frozen_until: until,
                ..now.clone()
            };
            let report = FreezeReport {
                app: app.to_string(),
                until: until.map(|until| until.to_string()),
                dry_run: asked.dry_run,
            };
            if asked.dry_run || next == now {
                return Ok(report);
            }
            let what = match until {
                Some(until) => format!("freeze {app} until {until}"),
                None => format!("freeze {app} off"),
            };
            let said = (who, what, one_line(asked.reason.clone()));
            match self.put(&app, revision, (&now, &next), said).await {
                Err(problem) if problem.is_conflict() && tried < TRIES => {}
                ended => return ended.map(|_| report),
            }
        }
    }

    /// Purges. What it covers is checked here, so the log never holds what cannot be applied.
    pub(super) async fn purge(
        &self,
        asked: PurgeRequest,
        who: &str,
    ) -> Result<PurgeReport, Problem> {
        let began = Instant::now();
        let purge = self.purge_asked(&asked)?;
        let purged = purge.to_string();
        let estimate = self.covered(&purge).await;
        let mut sequence = None;
        if !asked.dry_run {
            let note = Note {
                at: Timestamp::now(),
                who: who.to_owned(),
                what: if asked.soft { "purge softly" } else { "purge" }.into(),
                from: String::new(),
                to: purged.clone(),
                why: one_line(asked.reason),
                receipt: None,
            };
            let change = Change::Append(match asked.soft {
                true => Event::SoftPurge(purge),
                false => Event::Purge(purge),
            });
            sequence = Some(self.commit(change, note).await?.0);
        }
        Ok(PurgeReport {
            sequence,
            purged,
            objects: estimate.objects,
            exact: estimate.exact,
            micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            dry_run: asked.dry_run,
        })
    }

    /// What a purge would end. A walk over many entries, so beside those who serve.
    pub(super) async fn covered(&self, purge: &Purge) -> Estimate {
        let (edge, purge) = (Arc::clone(&self.edge), purge.clone());
        let walked = tokio::task::spawn_blocking(move || edge.covered(&purge)).await;
        walked.unwrap_or_default()
    }

    /// Whether a school of that name is configured.
    pub(in crate::control) fn is_tenant(&self, tenant: &TenantId) -> bool {
        self.edge.is_tenant(tenant)
    }

    /// Turns the cache of reads off or on.
    pub(super) async fn switch_cache(
        &self,
        asked: CacheRequest,
        who: &str,
    ) -> Result<CacheReport, Problem> {
        let began = Instant::now();
        let record = self.store.record(&Key::cache()).await?;
        let expected = record
            .as_ref()
            .map_or(Sequence::ZERO, |record| record.revision);
        let was = self.applied.borrow().state.cache;
        let next = CacheState { off: asked.off };
        let changed = next != was;
        if changed && !asked.dry_run {
            let word = |state: CacheState| if state.off { "off" } else { "on" };
            let note = Note {
                at: Timestamp::now(),
                who: who.to_owned(),
                what: format!("cache {}", word(next)),
                from: word(was).into(),
                to: word(next).into(),
                why: one_line(asked.reason),
                receipt: None,
            };
            let change = Change::Put {
                key: Key::cache(),
                expected,
                value: serde_json::to_vec(&next).expect("a flag always has a JSON form"),
            };
            self.commit(change, note).await?;
        }
        Ok(CacheReport {
            off: if asked.dry_run { was.off } else { next.off },
            changed,
            micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            dry_run: asked.dry_run,
        })
    }

    fn purge_asked(&self, asked: &PurgeRequest) -> Result<Purge, Problem> {
        let tenant: TenantId = asked
            .tenant
            .parse()
            .map_err(|error: cache_rules::tenant::NotATenant| Problem::usage(error.to_string()))?;
        if !self.edge.is_tenant(&tenant) {
            return Err(Problem::unknown(format!("no school is called `{tenant}`")));
        }
        match (&asked.tag, &asked.url, asked.all) {
            (Some(tag), None, false) => Tag::parse(tag)
                .map(|tag| Purge::Tag(tenant, tag))
                .map_err(|error| Problem::usage(error.to_string())),
            (None, Some(url), false) => {
                let path = self.path_of(url, &tenant)?;
                Ok(Purge::Path(tenant, path))
            }
            (None, None, true) => Ok(Purge::Tenant(tenant)),
            _ => Err(Problem::usage(
                "a purge takes exactly one of `tag`, `url` and `all`",
            )),
        }
    }

    /// The path of a URL of this school. Its query is cut off and goes nowhere.
    fn path_of(&self, url: &str, tenant: &TenantId) -> Result<PurgePath, Problem> {
        let path = if url.starts_with('/') {
            url.split(['?', '#']).next().unwrap_or(url).to_owned()
        } else {
            let not_a_url = || {
                Problem::usage("the URL is a path, or `https://` with one of the school's hosts")
            };
            let uri: Uri = url.parse().map_err(|_| not_a_url())?;
            let authority = uri.authority().ok_or_else(not_a_url)?;
            let authority = Authority::parse(authority.as_str()).map_err(|_| not_a_url())?;
            if self.edge.tenant_of(&authority.host).as_ref() != Some(tenant) {
                let host = authority.host.as_str();
                return Err(Problem::usage(format!("`{host}` is no host of {tenant}")));
            }
            uri.path().to_owned()
        };
        PurgePath::parse(&path).map_err(|error| Problem::usage(error.to_string()))
    }

    pub(super) async fn app(&self, name: &str) -> Result<AppId, Problem> {
        let state = self.applied.borrow().state.clone();
        let app = name.parse::<AppId>().ok();
        app.filter(|app| state.apps.contains_key(app))
            .ok_or_else(|| {
                let known: Vec<_> = state.apps.keys().map(AppId::as_str).collect();
                Problem::unknown(format!("no such app; there is: {}", known.join(", ")))
            })
    }

    pub(super) async fn state_of(&self, app: &AppId) -> Result<(Sequence, AppState), Problem> {
        let record = self.store.record(&Key::app(app)).await?;
        let record = record.ok_or_else(|| Problem::unknown(format!("{app} has no state")))?;
        let state = serde_json::from_slice(&record.value).map_err(|error| {
            let detail = format!("the state of {app} cannot be read: {error}");
            let title = "the state could not be used";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "state", title, detail)
        })?;
        Ok((record.revision, state))
    }

    /// Changes an app's state from one to the other, if it is still the one; `said`: who, what and why.
    pub(super) async fn put(
        &self,
        app: &AppId,
        revision: Sequence,
        (from, to): (&AppState, &AppState),
        (who, what, why): (&str, String, Option<String>),
    ) -> Result<Sequence, Problem> {
        let change = Change::Put {
            key: Key::app(app),
            expected: revision,
            value: written(to),
        };
        let note = Note {
            at: Timestamp::now(),
            who: who.to_owned(),
            what,
            from: described(from),
            to: described(to),
            why,
            receipt: None,
        };
        self.commit(change, note).await
    }

    /// Changes an app's state as `decide` says, again when somebody else changed it meanwhile, and
    /// returns what it was; `said`: who, what and why.
    pub(super) async fn change(
        &self,
        app: &AppId,
        (who, what, why): (&str, &str, Option<String>),
        decide: impl Fn(&AppState) -> Result<AppState, Problem>,
    ) -> Result<AppState, Problem> {
        let mut tried = 0;
        loop {
            tried += 1;
            let (revision, now) = self.state_of(app).await?;
            let next = decide(&now)?;
            if next == now {
                return Ok(now);
            }
            let said = (who, what.to_owned(), why.clone());
            match self.put(app, revision, (&now, &next), said).await {
                Err(problem) if problem.is_conflict() && tried < TRIES => {}
                ended => return ended.map(|_| now),
            }
        }
    }

    /// Makes a change and waits until requests see it.
    pub(super) async fn commit(&self, change: Change, note: Note) -> Result<Sequence, Problem> {
        let said = format!("{} by {}: {}", note.what, note.who, note.to);
        let sequence = self.store.commit(change, note).await?;
        tracing::info!("change {sequence}, {said}");
        let mut applied = self.applied.clone();
        let seen = applied.wait_for(|applied| applied.sequence >= sequence);
        match tokio::time::timeout(APPLY, seen).await {
            Ok(Ok(_)) => Ok(sequence),
            Ok(Err(_)) => Err(StoreError::Closed.into()),
            Err(_) => Err(Problem::late(format!(
                "change {sequence} is kept, but requests did not see it within {APPLY:?}; `status` shows when they do"
            ))),
        }
    }
}

struct Asked {
    weight: Weight,
    dry_run: bool,
    despite_freeze: bool,
    why: Option<String>,
}

pub(super) fn weights(state: &AppState) -> Weights {
    Weights {
        blue_bp: state.split.weight_bp(Colour::Blue),
        green_bp: state.split.weight_bp(Colour::Green),
    }
}

/// A reason as it is kept: one line, not too long.
pub(super) fn one_line(given: Option<String>) -> Option<String> {
    given.map(|text| {
        let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        line.take(REASON_CHARS_MAX).collect()
    })
}
