//! One TOML file as it was typed: its values, and the line of each.
//!
//! The values become JSON, because that is what a schema is checked against; serde alone would stop
//! at the first unknown key.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Number, Value as Json};
use toml_edit::{Item, TableLike, Value};

use super::mistake::{At, Mistake};

/// A parsed file.
#[derive(Debug)]
pub(super) struct Document {
    name: Arc<str>,
    json: Json,
    lines: HashMap<At, usize>,
}

impl Document {
    /// Reads the values of a file; what TOML can say and JSON cannot is a mistake.
    pub(super) fn parse(name: &Arc<str>, text: &str, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let starts = line_starts(text);
        let parsed = match toml_edit::Document::parse(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let line = error.span().map(|span| line_of(&starts, span.start));
                // The message of the parser may span lines and begins in lower case.
                let message = error.message().replace('\n', ", ");
                let message = format!("not TOML: {message}");
                mistakes.push(Mistake::new(name, line, &At::top(), message));
                return None;
            }
        };
        let mut walk = Walk {
            name,
            starts,
            lines: HashMap::new(),
            mistakes,
        };
        let json = walk.table(&At::top(), parsed.as_table());
        Some(Self {
            name: name.clone(),
            json,
            lines: walk.lines,
        })
    }

    /// All values.
    pub(super) fn json(&self) -> &Json {
        &self.json
    }

    /// A mistake at a key, or at what the missing key should stand in.
    pub(super) fn mistake(&self, at: &At, message: impl Into<String>) -> Mistake {
        Mistake::new(&self.name, self.line(at), at, message)
    }

    /// How another mistake names this place.
    pub(super) fn place(&self, at: &At) -> String {
        match self.line(at) {
            Some(line) => format!("{}:{line}", self.name),
            None => self.name.to_string(),
        }
    }

    /// The line of a key, or of what it should stand in.
    pub(super) fn line(&self, at: &At) -> Option<usize> {
        let known = |at: &At| self.lines.get(at).copied();
        known(at).or_else(|| at.parents().find_map(|parent| known(&parent)))
    }
}

struct Walk<'a> {
    name: &'a Arc<str>,
    starts: Vec<usize>,
    lines: HashMap<At, usize>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Walk<'_> {
    fn table(&mut self, at: &At, table: &dyn TableLike) -> Json {
        let mut values = Map::new();
        for (name, item) in table.iter() {
            let at = at.key(name);
            let key = table.key(name).and_then(|key| key.span());
            self.note(&at, key.or_else(|| item.span()));
            if let Some(value) = self.item(&at, item) {
                values.insert(name.to_owned(), value);
            }
        }
        Json::Object(values)
    }

    fn item(&mut self, at: &At, item: &Item) -> Option<Json> {
        match item {
            Item::None => None,
            Item::Value(value) => self.value(at, value),
            Item::Table(table) => Some(self.table(at, table)),
            Item::ArrayOfTables(tables) => {
                let mut values = Vec::new();
                for (index, table) in tables.iter().enumerate() {
                    let at = at.index(index);
                    self.note(&at, table.span());
                    values.push(self.table(&at, table));
                }
                Some(Json::Array(values))
            }
        }
    }

    fn value(&mut self, at: &At, value: &Value) -> Option<Json> {
        match value {
            Value::String(text) => Some(Json::String(text.value().clone())),
            Value::Integer(number) => Some(Json::Number((*number.value()).into())),
            Value::Boolean(truth) => Some(Json::Bool(*truth.value())),
            Value::Float(number) => match number_of(*number.value()) {
                Some(number) => Some(Json::Number(number)),
                None => self.refuse(at, "is no number that can be used"),
            },
            Value::Datetime(_) => {
                self.refuse(at, "is a date, which no key takes: write text in quotes")
            }
            Value::InlineTable(table) => Some(self.table(at, table)),
            Value::Array(array) => {
                let mut values = Vec::new();
                for (index, value) in array.iter().enumerate() {
                    let at = at.index(index);
                    self.note(&at, value.span());
                    // A refused element keeps its place, or the ones behind it would move.
                    values.push(self.value(&at, value).unwrap_or(Json::Null));
                }
                Some(Json::Array(values))
            }
        }
    }

    fn note(&mut self, at: &At, span: Option<std::ops::Range<usize>>) {
        if let Some(span) = span {
            self.lines
                .insert(at.clone(), line_of(&self.starts, span.start));
        }
    }

    fn refuse(&mut self, at: &At, message: &str) -> Option<Json> {
        let line = self.lines.get(at).copied();
        self.mistakes
            .push(Mistake::new(self.name, line, at, message));
        None
    }
}

/// A whole number is one, however it was written: `1e3` bytes are 1000 bytes.
fn number_of(typed: f64) -> Option<Number> {
    const EXACT_UP_TO: f64 = 9_007_199_254_740_992.0;
    if typed.fract() == 0.0 && typed.abs() <= EXACT_UP_TO {
        return Some(Number::from(typed as i64));
    }
    Number::from_f64(typed)
}

fn line_starts(text: &str) -> Vec<usize> {
    let ends = text.match_indices('\n').map(|(end, _)| end + 1);
    std::iter::once(0).chain(ends).collect()
}

fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<Document>, Vec<String>) {
        let mut mistakes = Vec::new();
        let document = Document::parse(&"a.toml".into(), text, &mut mistakes);
        (document, mistakes.iter().map(Mistake::to_string).collect())
    }

    #[test]
    fn every_key_and_element_knows_its_line() {
        let text = "top = 1\n\n[apps.learn]\nlist = [\n  1,\n  { a = 2 },\n]\n\n[[rule]]\nname = 'a'\n[[rule]]\nname = 'b'\n[\"a.b\"]\nc.d = 1\n";
        let (document, mistakes) = parse(text);
        let document = document.expect("the text is TOML");
        assert_eq!(mistakes, [""; 0]);
        for (at, line) in [
            ("top", 1),
            ("apps", 3),
            ("apps.learn", 3),
            ("apps.learn.missing", 3),
            ("apps.learn.list", 4),
            ("apps.learn.list[0]", 5),
            ("apps.learn.list[1].a", 6),
            ("rule[0]", 9),
            ("rule[1].name", 12),
            ("rule[1].missing[3].deep", 11),
            ("\"a.b\".c.d", 14),
        ] {
            assert_eq!(document.line(&At::from(at.to_owned())), Some(line), "{at}");
        }
        assert_eq!(document.line(&At::from("missing".to_owned())), None);
    }

    #[test]
    fn what_is_no_toml_is_named_with_its_line() {
        let (document, mistakes) = parse("a = 1\nb = = 2\n");
        assert!(document.is_none());
        assert_eq!(mistakes.len(), 1);
        assert!(
            mistakes[0].starts_with("a.toml:2: not TOML: "),
            "{mistakes:?}"
        );
    }

    #[test]
    fn dates_and_infinities_are_refused_where_they_stand() {
        let (document, mistakes) = parse("a = [1, 2026-11-22]\nb = inf\n");
        assert!(document.is_some());
        assert_eq!(
            mistakes,
            [
                "a.toml:1: a[1]: is a date, which no key takes: write text in quotes",
                "a.toml:2: b: is no number that can be used",
            ]
        );
    }
}
