//! Who opens what, and when: classes that begin their lesson within five minutes.

use super::Options;

/// What one person does at one moment: a page, and then everything that it reads at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) second: u64,
    pub(super) school: usize,
    pub(super) person: String,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Signs in.
    SignIn,
    /// Opens a page; `shared` are the reads that rules cover, `own` is what is nobody else's.
    Page {
        page: &'static str,
        shared: Vec<String>,
        own: String,
    },
    /// A teacher changes a course.
    Write { course: String },
    /// An operator, or the platform, purges a tag.
    Purge { tag: &'static str },
}

/// All pupils of a class are there within so many seconds.
const ARRIVAL_S: u64 = 45;
/// From the last class's first pupil on there is still time for the pages.
const TAIL_S: u64 = ARRIVAL_S + 25;
/// Between purges of a school's announcements.
const PURGE_EVERY_S: u64 = 20;

/// Everything, in order of time; the same each time.
pub(super) fn plan(options: &Options) -> Vec<Visit> {
    let mut visits = Vec::new();
    let mut chance = Chance(0x5EED);
    for school in 0..options.schools {
        for class in 0..options.classes {
            let begins = chance.below(options.seconds.saturating_sub(TAIL_S).max(1));
            let course = format!("c{class}");
            let visit = |second, person: &str, what| Visit {
                second,
                school,
                person: person.to_owned(),
                what,
            };
            let teacher = format!("{school}-{class}-teacher");
            visits.push(visit(begins, &teacher, What::SignIn));
            let write = What::Write {
                course: course.clone(),
            };
            visits.push(visit(begins + 30, &teacher, write));
            for pupil in 0..options.pupils {
                let person = format!("{school}-{class}-{pupil}");
                let comes = begins + chance.below(ARRIVAL_S);
                visits.push(visit(comes, &person, What::SignIn));
                for (after, page) in pages(&course) {
                    visits.push(visit(comes + after, &person, page));
                }
            }
        }
        for second in (0..options.seconds).step_by(PURGE_EVERY_S as usize) {
            visits.push(Visit {
                second,
                school,
                person: String::new(),
                what: What::Purge {
                    tag: "announcements",
                },
            });
        }
    }
    // Stable: who signs in at a moment does so before their first page.
    visits.sort_by_key(|visit| visit.second);
    visits
}

/// What a pupil opens, and how many seconds after signing in.
fn pages(course: &str) -> [(u64, What); 3] {
    let page = |page, shared: &[&str], own: String| What::Page {
        page,
        shared: shared
            .iter()
            .map(|path| format!("/api/v1/{}", path.replace("{c}", course)))
            .collect(),
        own,
    };
    [
        (
            1,
            page(
                "/dashboard",
                &[
                    "school",
                    "terms",
                    "bell_schedule",
                    "announcements",
                    "courses",
                ],
                "/api/v1/notifications".to_owned(),
            ),
        ),
        (
            7,
            page(
                "/course",
                &[
                    "courses/{c}",
                    "courses/{c}/units",
                    "courses/{c}/assignments",
                ],
                format!("/api/v1/progress/{course}"),
            ),
        ),
        (
            20,
            page(
                "/unit",
                &["units/{c}", "units/{c}/lessons", "lessons/{c}"],
                format!("/api/v1/progress/{course}"),
            ),
        ),
    ]
}

/// xorshift64*: the same morning each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_signs_in_before_the_first_page_and_is_done_in_time() {
        let options = Options {
            schools: 2,
            classes: 3,
            pupils: 4,
            seconds: 120,
        };
        let visits = plan(&options);
        assert_eq!(visits, plan(&options), "the same each time");
        let pages = visits
            .iter()
            .filter(|visit| matches!(visit.what, What::Page { .. }));
        assert_eq!(pages.count(), 2 * 3 * 4 * 3);
        let mut signed_in = std::collections::HashSet::new();
        for visit in &visits {
            match visit.what {
                What::SignIn => assert!(signed_in.insert(&visit.person)),
                What::Page { .. } | What::Write { .. } => {
                    assert!(signed_in.contains(&visit.person));
                }
                What::Purge { .. } => {}
            }
            assert!(visit.second < options.seconds, "{visit:?}");
        }
    }
}
