//! Which pattern matches a path: a tree of segments, built when the rules are loaded.
//!
//! A literal wins over a parameter at the leftmost place where two patterns differ. Only patterns of one scope may
//! overlap, so that the choice never decides who sees an answer.

use super::pattern::{Pattern, Segment};

/// Nodes by number; the root is 0.
#[derive(Debug)]
pub(super) struct Table {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by text.
    literals: Vec<(Box<str>, usize)>,
    parameter: Option<usize>,
    rest: Option<usize>,
    /// The place of the rule whose pattern ends here.
    rule: Option<usize>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

impl Table {
    /// Adds a pattern; gives back the rule that has the same one already.
    pub(super) fn add(&mut self, pattern: &Pattern, rule: usize) -> Option<usize> {
        let mut at = 0;
        for segment in pattern.segments() {
            let new = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match segment {
                Segment::Literal(text) => match node.find(text) {
                    Ok(place) => node.literals[place].1,
                    Err(place) => {
                        node.literals.insert(place, (text.clone(), new));
                        new
                    }
                },
                Segment::Parameter(_) => *node.parameter.get_or_insert(new),
                Segment::Rest => *node.rest.get_or_insert(new),
            };
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        let taken = self.nodes[at].rule;
        if taken.is_none() {
            self.nodes[at].rule = Some(rule);
        }
        taken
    }

    /// The rule whose pattern matches these segments.
    pub(super) fn find<'p>(
        &self,
        segments: impl Iterator<Item = &'p str> + Clone,
    ) -> Option<usize> {
        self.find_from(0, segments)
    }

    /// Visits each node at most once, so the worst path costs no more than the table is large.
    fn find_from<'p>(
        &self,
        at: usize,
        mut segments: impl Iterator<Item = &'p str> + Clone,
    ) -> Option<usize> {
        let node = &self.nodes[at];
        let Some(segment) = segments.next() else {
            return node.rule;
        };
        let literal = node.find(segment).ok().map(|place| node.literals[place].1);
        let parameter = node.parameter.filter(|_| !segment.is_empty());
        let rest = node.rest.filter(|_| !segment.is_empty());
        [literal, parameter]
            .into_iter()
            .flatten()
            .find_map(|next| self.find_from(next, segments.clone()))
            .or_else(|| self.nodes[rest?].rule)
    }
}

impl Node {
    fn find(&self, text: &str) -> Result<usize, usize> {
        self.literals
            .binary_search_by(|(have, _)| (**have).cmp(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(patterns: &[&str]) -> Table {
        let mut table = Table::default();
        for (rule, text) in patterns.iter().enumerate() {
            let pattern = Pattern::parse(text).expect("a pattern");
            assert_eq!(table.add(&pattern, rule), None);
        }
        table
    }

    fn find(table: &Table, path: &str) -> Option<usize> {
        table.find(path[1..].split('/'))
    }

    #[test]
    fn a_path_finds_its_rule_and_a_literal_wins() {
        let patterns = [
            "/a",
            "/a/{x}",
            "/a/b",
            "/a/{x}/c",
            "/{y}/b/d",
            "/z/{x}/{y}",
            "/rest/**",
        ];
        let table = table(&patterns);
        for (path, expected) in [
            ("/a", Some(0)),
            ("/a/", None),
            ("/a/7", Some(1)),
            ("/a/b", Some(2)),
            ("/a/B", Some(1)),
            ("/a/b/c", Some(3)),
            ("/a/b/d", Some(4)),
            ("/q/b/d", Some(4)),
            ("/a/b/c/", None),
            ("/z/1/2", Some(5)),
            ("/z//2", None),
            ("/", None),
            ("/b", None),
            ("/rest/1/2", Some(6)),
            ("/rest/", None),
        ] {
            assert_eq!(find(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn one_pattern_has_one_rule() {
        let mut table = table(&["/a/{x}"]);
        let again = Pattern::parse("/a/{other}").expect("a pattern");
        assert_eq!(table.add(&again, 9), Some(0));
    }

    proptest! {
        /// The oracle tries every pattern by itself.
        #[test]
        fn the_table_agrees_with_trying_each_pattern(
            patterns in proptest::collection::btree_set("(/(a|b|\\{x\\}))(/(a|b|\\{y\\})(/(a|b|\\{z\\}))?)?", 1..12),
            path in "(/(a|b|c)?){1,3}",
        ) {
            let patterns: Vec<Pattern> = patterns.iter().map(|p| Pattern::parse(p).expect("a pattern")).collect();
            let mut table = Table::default();
            for (rule, pattern) in patterns.iter().enumerate() {
                prop_assert_eq!(table.add(pattern, rule), None);
            }
            let segments: Vec<&str> = path[1..].split('/').collect();
            let matches = |pattern: &Pattern| {
                pattern.segments().len() == segments.len()
                    && pattern.segments().iter().zip(&segments).all(|(have, seen)| match have {
                        Segment::Literal(text) => **text == **seen,
                        Segment::Parameter(_) | Segment::Rest => !seen.is_empty(),
                    })
            };
            // Literals first: the order in which the tree is walked.
            let rank = |pattern: &Pattern| -> Vec<bool> {
                pattern.segments().iter().map(|s| matches!(s, Segment::Parameter(_))).collect()
            };
            let expected = (0..patterns.len()).filter(|&i| matches(&patterns[i])).min_by_key(|&i| rank(&patterns[i]));
            prop_assert_eq!(find(&table, &path), expected);
        }
    }
}
