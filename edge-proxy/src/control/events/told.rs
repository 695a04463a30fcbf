//! What the platform says, as it is posted, and what it ends.

use cache_rules::tag::Tag;
use cache_rules::tenant::TenantId;
use serde::Deserialize;

use super::Problem;

/// What one event may name; more is a purge of the whole school.
const TAGS_MAX: usize = 500;
/// An id is a UUID and a little more.
const ID_BYTES_MAX: usize = 128;

/// What the platform says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) event: Kind,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    student: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    /// Things changed: `tags`.
    #[serde(rename = "purge")]
    Purge,
    /// Somebody signed out: `subject`.
    #[serde(rename = "session.ended")]
    SessionEnded,
    /// Somebody may do other things now: `subject`.
    #[serde(rename = "roles.changed")]
    RolesChanged,
    /// Everything of a student is gone: `student`.
    #[serde(rename = "student.erased")]
    StudentErased,
}

impl Kind {
    /// As it is posted.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Purge => "purge",
            Kind::SessionEnded => "session.ended",
            Kind::RolesChanged => "roles.changed",
            Kind::StudentErased => "student.erased",
        }
    }
}

impl Told {
    /// What an event ends. An event with what belongs to another kind is a mistake of its sender.
    pub(super) fn tags(&self) -> Result<Vec<Tag>, Problem> {
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX {
            return Err(Problem::usage(format!(
                "`id` has 1 to {ID_BYTES_MAX} bytes"
            )));
        }
        let texts = match (self.event, &*self.tags, &self.subject, &self.student) {
            (Kind::Purge, [_, ..], None, None) => self.tags.clone(),
            (Kind::SessionEnded | Kind::RolesChanged, [], Some(subject), None) => {
                vec![format!("u:{subject}")]
            }
            // What is stored of them, and that they are anybody at all.
            (Kind::StudentErased, [], None, Some(student)) => {
                vec![format!("student:{student}"), format!("u:{student}")]
            }
            _ => {
                return Err(Problem::usage(
                    "`purge` has `tags`, `session.ended` and `roles.changed` have `subject`, `student.erased` has `student`, and nothing else",
                ));
            }
        };
        if texts.len() > TAGS_MAX {
            return Err(Problem::usage(format!(
                "an event has at most {TAGS_MAX} tags"
            )));
        }
        let tags = texts
            .iter()
            .map(|text| Tag::parse(text))
            .collect::<Result<_, _>>();
        tags.map_err(|error| Problem::usage(error.to_string()))
    }
}

/// Whether all of the school is ended. A tag that stands for another one is a mistake of its sender.
pub(super) fn of_the_school(tags: &[Tag], tenant: &TenantId) -> Result<bool, Problem> {
    let mut schools = tags
        .iter()
        .filter_map(|tag| tag.as_str().strip_prefix("t:"))
        .peekable();
    let found = schools.peek().is_some();
    if schools.all(|school| school == tenant.as_str()) {
        Ok(found)
    } else {
        let text = "a tag `t:` names another school than the event's";
        Err(Problem::usage(text))
    }
}
