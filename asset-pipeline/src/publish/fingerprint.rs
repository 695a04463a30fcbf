//! Names that follow content: SHA-256 over a file's own bytes, over everything it refers to, and
//! over the version of what is done to it.
//!
//! What a file refers to is taken as a set, with all that those refer to, so a circle of style
//! sheets that import each other needs no order and no cut: all its members see the same set.

use std::collections::BTreeSet;

use crate::digest::Digest;

/// Another rewriting gives other bytes under the same sources, so it must give other names.
const SETTINGS: &[u8] = b"plain 3";
/// 64 bits: enough that no two files of one name meet, and every publish checks that they did not.
const HEX_DIGITS: usize = 16;

/// A file among others.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) path: String,
    pub(super) digest: Digest,
    /// The places of what it refers to.
    pub(super) references: Vec<usize>,
}

/// What a file's name is made from.
pub(super) fn of(nodes: &[Node], file: usize) -> Digest {
    let mut reached = BTreeSet::from([file]);
    let mut open = vec![file];
    while let Some(at) = open.pop() {
        open.extend(
            nodes[at]
                .references
                .iter()
                .filter(|to| reached.insert(**to)),
        );
    }
    let mut parts: Vec<(&str, &Digest)> = reached
        .iter()
        .map(|at| (nodes[*at].path.as_str(), &nodes[*at].digest))
        .collect();
    parts.sort_unstable();
    let mut framed = Vec::new();
    let mut put = |bytes: &[u8]| {
        framed.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        framed.extend_from_slice(bytes);
    };
    put(SETTINGS);
    put(nodes[file].path.as_bytes());
    for (path, digest) in parts {
        put(path.as_bytes());
        put(digest.as_bytes());
    }
    Digest::of(&framed)
}

/// `app.css` and a fingerprint make `app-0123456789abcdef.css`.
pub(super) fn twin(name: &str, fingerprint: &Digest) -> String {
    let hex = fingerprint.to_string();
    let hash = &hex[..HEX_DIGITS];
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}-{hash}.{extension}"),
        _ => format!("{name}-{hash}"),
    }
}

/// Whether a name ends its stem with the digest of the content, as `photo-2cf24dba5fb0a30e.jpg`.
pub(super) fn is_named_by(name: &str, digest: &Digest) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let hash = stem.rsplit(['-', '.']).next().unwrap_or(stem);
    hash.len() >= 8 && digest.to_string().starts_with(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(edges: &[Vec<usize>], contents: &[u8]) -> Vec<Node> {
        edges
            .iter()
            .zip(contents)
            .enumerate()
            .map(|(at, (references, content))| Node {
                path: format!("/{at}.css"),
                digest: Digest::of(&[*content]),
                references: references.clone(),
            })
            .collect()
    }

    /// The oracle: whether `to` can be reached from `from`.
    fn reaches(edges: &[Vec<usize>], from: usize, to: usize) -> bool {
        let mut reached = vec![false; edges.len()];
        reached[from] = true;
        for _ in edges {
            for at in 0..edges.len() {
                if reached[at] {
                    edges[at].iter().for_each(|next| reached[*next] = true);
                }
            }
        }
        reached[to]
    }

    proptest! {
        #[test]
        fn a_name_changes_exactly_with_what_the_file_reaches(
            edges in proptest::collection::vec(proptest::collection::vec(0_usize..6, 0..3), 6),
            contents in proptest::collection::vec(any::<u8>(), 6),
            changed in 0_usize..6,
        ) {
            let before = nodes(&edges, &contents);
            let mut contents = contents;
            contents[changed] ^= 1;
            let after = nodes(&edges, &contents);
            for file in 0..6 {
                let same = of(&before, file) == of(&after, file);
                prop_assert_eq!(same, !reaches(&edges, file, changed));
            }
        }
    }

    #[test]
    fn the_hash_stands_before_the_extension() {
        let digest = Digest::of(b"hello");
        for (name, named) in [
            ("app.css", "app-2cf24dba5fb0a30e.css"),
            ("app.min.js", "app.min-2cf24dba5fb0a30e.js"),
            ("LICENSE", "LICENSE-2cf24dba5fb0a30e"),
        ] {
            assert_eq!(twin(name, &digest), named);
        }
    }

    #[test]
    fn a_name_is_believed_only_when_it_is_true() {
        let digest = Digest::of(b"hello");
        for (name, own) in [
            ("photo-2cf24dba.jpg", true),
            ("photo.2cf24dba5fb0a30e.jpg", true),
            ("2cf24dba5fb0a30e.jpg", true),
            ("photo-2cf24db.jpg", false),
            ("photo-2cf24dbb.jpg", false),
            ("photo.jpg", false),
        ] {
            assert_eq!(is_named_by(name, &digest), own, "{name}");
        }
    }
}
