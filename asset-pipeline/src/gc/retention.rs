//! Which releases stay.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::error::GcError;
use crate::id::{AppId, EdgeId, ReleaseId};
use crate::store::{InUse, ReleaseRef, seconds};

/// What an edge said counts for so long: over a holiday's outage it is not forgotten.
pub(super) const REPORT_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The rule by which releases stay that nobody uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) keep: usize,
    pub(super) younger_than: Duration,
    pub(super) now: SystemTime,
}

impl Rule {
    /// The releases of an app that stay: the last ones, the young ones, and those in use.
    ///
    /// # Errors
    ///
    /// An edge uses one that is not there.
    pub(super) fn retained(
        &self,
        app: &AppId,
        mut releases: Vec<&ReleaseRef>,
        reports: &[(EdgeId, InUse)],
    ) -> Result<BTreeSet<ReleaseId>, GcError> {
        releases.sort_by(|a, b| (b.published_s, &b.id).cmp(&(a.published_s, &a.id)));
        let last = releases.iter().take(self.keep);
        let young = releases
            .iter()
            .filter(|release| self.age_s(release.published_s) < self.younger_than.as_secs());
        let mut retained: BTreeSet<ReleaseId> = last
            .chain(young)
            .map(|release| release.id.clone())
            .collect();
        for (edge, id) in self.in_use(reports) {
            if !releases.iter().any(|release| release.id == *id) {
                return Err(GcError::Gone {
                    app: app.clone(),
                    release: id.clone(),
                    edge: edge.clone(),
                });
            }
            retained.insert(id.clone());
        }
        Ok(retained)
    }

    /// What edges use, as far as they said so lately.
    pub(super) fn in_use<'a>(
        &self,
        reports: &'a [(EdgeId, InUse)],
    ) -> impl Iterator<Item = (&'a EdgeId, &'a ReleaseId)> {
        let fresh = reports
            .iter()
            .filter(|(_, report)| self.age_s(report.reported_s) < REPORT_LIFE.as_secs());
        fresh.flat_map(|(edge, report)| report.releases.iter().map(move |id| (edge, id)))
    }

    /// Of what a clock that is ahead has written, nothing.
    fn age_s(&self, at_s: u64) -> u64 {
        seconds(self.now).saturating_sub(at_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    const DAY: u64 = 24 * 3600;

    fn release(id: &str, day: u64) -> ReleaseRef {
        ReleaseRef {
            id: id.parse().expect("a name"),
            manifest: Digest::of(id.as_bytes()),
            published_s: day * DAY,
        }
    }

    fn report(day: u64, ids: &[&str]) -> (EdgeId, InUse) {
        let text = format!(
            r#"{{"format":1,"releases":{},"reported_s":{}}}"#,
            serde_json::to_string(ids).expect("JSON"),
            day * DAY
        );
        let report = serde_json::from_str(&text).expect("a report");
        ("e1".parse().expect("a name"), report)
    }

    #[test]
    fn the_last_the_young_and_the_used_stay() {
        let all = [
            release("r1", 1),
            release("r2", 2),
            release("r3", 95),
            release("r4", 96),
            release("r5", 97),
        ];
        let app = "learn".parse().expect("a name");
        let rule = |keep, days| Rule {
            keep,
            younger_than: Duration::from_secs(days * DAY),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(100 * DAY),
        };
        for (rule, reports, expected) in [
            (rule(1, 0), vec![], "r5"),
            (rule(2, 0), vec![], "r4 r5"),
            (rule(1, 6), vec![], "r3 r4 r5"),
            (rule(1, 5), vec![], "r4 r5"),
            (rule(9, 0), vec![], "r1 r2 r3 r4 r5"),
            (rule(1, 0), vec![report(94, &["r1"])], "r1 r5"),
            (rule(1, 0), vec![report(200, &["r1"])], "r1 r5"),
            (rule(1, 0), vec![report(93, &["r1"])], "r5"),
            (
                rule(1, 0),
                vec![report(93, &["r9"]), report(99, &["r2"])],
                "r2 r5",
            ),
        ] {
            let retained = rule.retained(&app, all.iter().collect(), &reports);
            let retained = retained.expect("all are there");
            let names: Vec<&str> = retained.iter().map(ReleaseId::as_str).collect();
            assert_eq!(names.join(" "), expected, "{rule:?} {reports:?}");
        }
        let gone = rule(1, 0).retained(&app, all.iter().collect(), &[report(99, &["r9"])]);
        assert!(gone.expect_err("refused").is_refusal());
    }
}
