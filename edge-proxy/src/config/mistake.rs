//! What is wrong in the files: all of it, each with its file, line and key.

use std::fmt;

use serde::Serialize;

/// Where in a file a value stands, such as `apps.learn.routes[2].path`. The whole file is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct At(String);

impl At {
    /// The top of a file.
    pub(super) fn top() -> Self {
        Self::default()
    }

    /// A key of this table.
    pub(super) fn key(&self, name: &str) -> Self {
        let bare = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let dot = if self.0.is_empty() { "" } else { "." };
        Self(match bare {
            true => format!("{}{dot}{name}", self.0),
            false => format!("{}{dot}{name:?}", self.0),
        })
    }

    /// An element of this array, counted from 0.
    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// What this is a part of, from the nearest to the top.
    pub(super) fn parents(&self) -> impl Iterator<Item = Self> {
        self.0
            .rmatch_indices(['.', '['])
            .map(|(end, _)| Self(self.0[..end].to_owned()))
    }
}

impl From<String> for At {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The file as it was named.
    file: String,
    /// Counted from 1; none: of the whole file.
    line: Option<usize>,
    /// Such as `apps.learn.routes[2].path`; empty: of the whole file.
    key: String,
    /// What is wrong and what to write instead.
    message: String,
}

impl Mistake {
    /// A mistake at a key of a file.
    pub(super) fn new(
        file: &str,
        line: Option<usize>,
        at: &At,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line,
            key: at.0.clone(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All mistakes of a config, by file and line; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(transparent)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Puts them in the order in which they are read.
    pub(super) fn sorted(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Self(mistakes)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

/// The known name that was probably meant.
pub(super) fn meant<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Two slips in a short name, one in three letters of a long one: what a hand does, not what a guess would.
    let slips = (typed.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, name)| *distance <= slips && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// Names as they are listed in a message.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
