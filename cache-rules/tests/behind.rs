//! What stands behind the edge reads a target as the rules do, or the rules do not let it in.
//!
//! The parsers of Node, which Next.js runs on, and of Rack, which Rails runs on, are asked about thousands of targets that
//! were put together from what parsers are known to disagree about: as a client sends them (Node), and as the origin of a
//! cached read is asked. Rack 2 reads `;` between pairs as it reads `&`; what it is asked never holds one that is not encoded.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use cache_rules::rules::{RawRules, RuleSet};
use cache_rules::target;
use cache_rules::verdict::{Ask, Verdict};
use http::{HeaderMap, Method};

/// Rules for two, three and four segments.
fn rules() -> RuleSet {
    let text: String = [
        "/strict/{a}",
        "/below/{a}",
        "/below/{a}/{b}",
        "/below/{a}/{b}/{c}",
    ]
    .into_iter()
    .enumerate()
    .map(|(n, path)| {
        format!(
            "[[rule]]\nname = \"r{n}\"\npath = \"{path}\"\nscope = \"public\"\nttl_s = 60\n\
                 query = [\"page\", \"sort[]\"]\nignore = [\"utm_source\"]\n"
        )
    })
    .collect();
    let raw: RawRules = toml::from_str(&text).expect("TOML");
    RuleSet::compile(raw).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// For each line: the path with its segments decoded, then names and values of the query, in hex. `!`: it is no URL.
const NODE: &str = r#"
const hex = text => Buffer.from(text, 'utf8').toString('hex');
const lines = require('fs').readFileSync(0, 'latin1').split('\n').slice(0, -1);
for (const line of lines) {
    let said = '!';
    try {
        const url = new URL('http://oak.example' + line);
        const path = url.pathname.split('/').map(decodeURIComponent).join('/');
        const pairs = [...url.searchParams].map(([name, value]) => hex(name) + '=' + hex(value));
        said = [hex(path), ...pairs].join(' ');
    } catch {}
    console.log(said);
}
"#;

/// As [`NODE`].
const RACK: &str = r#"
require 'rack/utils'
hex = ->(text) { text.to_s.unpack1('H*') }
STDIN.binmode.each_line(chomp: true) do |line|
  path, query = line.split('?', 2)
  # One by one: of a name that is there twice, Rack keeps what Rails makes of it.
  pairs = query.to_s.split(Rack::QueryParser::DEFAULT_SEP).flat_map do |pair|
    Rack::Utils.parse_query(pair).map { |name, value| hex.(name) + '=' + hex.(value) }
  end
  puts [hex.(Rack::Utils.unescape_path(path)), *pairs].join(' ')
end
"#;

const TARGETS: usize = 40_000;
const SEGMENTS: &[&str] = &[
    "7", "a", "%37", "%41", "~", "%7e", "%7E", ".", "..", "%2e", "%2E%2e", ".%2e", "", "%2F",
    "%2f..", "%5c", "\\", ";", "a;b=c", "%3b", "%25", "%2541", "%252e", "%00", "%zz", "%", "%e4",
    "%C3%A4", "%c3", "+", "%20", "%2B", "@", ":", "*", "'", "\"", "%22", "|", "^", "{", "!$&'()",
    "%0a", "%09", "%3F", "%23", "=", "[", "%5B", "<", "`",
];
const PIECES: &[&str] = &[
    "page",
    "=",
    "1",
    "&",
    "page=1",
    "p%61ge=2",
    "page=a+b",
    "page=%20",
    "page=%2B",
    "sort[]=a",
    "sort%5B%5D=b",
    "sort%5b%5d=%5B",
    "utm_source=x",
    "utm%5Fsource=y",
    "?",
    "&&",
    "%26",
    "%3D",
    ";",
    "page=1;page=2",
    "%",
    "%zz",
    "%00",
    "%C3%A4",
    "%e4",
    "\"",
    "'",
    "<",
    "|",
    "%2541",
    "Page=1",
    "page==",
    "page=%27",
    "\\",
    "/",
    "..",
];

/// xorshift64*: the same targets each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }

    fn of(&mut self, list: &[&'static str]) -> &'static str {
        list[self.below(list.len())]
    }

    fn target(&mut self) -> String {
        let mut target = self
            .of(&["/strict", "/below", "/below", "/%73trict"])
            .to_owned();
        for _ in 0..=self.below(3) {
            target.push('/');
            // Half of them hold nothing odd: what is accepted is tried as well.
            let list = if self.below(2) == 0 {
                &SEGMENTS[..7]
            } else {
                SEGMENTS
            };
            target.push_str(self.of(list));
        }
        if self.below(3) > 0 {
            target.push('?');
            for _ in 0..self.below(6) {
                let piece = self.of(PIECES);
                target.push_str(piece);
            }
        }
        target
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        // Writing into a text does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What a program makes of each; none: it is not installed.
fn asked(program: &str, script: &str, targets: &[String]) -> Option<Vec<String>> {
    let mut program = Command::new(program)
        .args(["-e", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = program.stdin.take().expect("it is piped");
    // Beside reading, or both would wait for the other one.
    let text: String = targets.iter().map(|target| format!("{target}\n")).collect();
    let writing = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = program.wait_with_output().expect("it ends");
    let wrote = writing.join().expect("it writes");
    if !output.status.success() {
        // Ruby without Rack.
        return None;
    }
    wrote.expect("it reads");
    let said = String::from_utf8(output.stdout).expect("hex");
    Some(said.lines().map(str::to_owned).collect())
}

/// Path and pairs, these in the order of their names.
fn parts(said: &str) -> (&str, Vec<&str>) {
    let mut words = said.split(' ');
    let path = words.next().unwrap_or_default();
    let mut pairs: Vec<&str> = words.collect();
    pairs.sort_by_key(|pair| pair.split('=').next());
    (path, pairs)
}

/// Targets that the rules let in, as they were sent and as the origin is asked.
fn let_in() -> (Vec<String>, Vec<String>) {
    let rules = rules();
    let mut chance = Chance(0x0005_EED0_FA11);
    let (mut sent, mut canonical) = (Vec::new(), Vec::new());
    for _ in 0..TARGETS {
        let target = chance.target();
        if target::check(&target).is_err() {
            continue;
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*target, None),
        };
        let verdict = rules.verdict(&Ask {
            method: &Method::GET,
            path,
            query,
            headers: &HeaderMap::new(),
            has_body: false,
        });
        if let Verdict::Store(plan) = verdict {
            canonical.push(plan.target().to_owned());
            sent.push(target);
        }
    }
    assert!(sent.len() > TARGETS / 20, "only {} were let in", sent.len());
    (sent, canonical)
}

/// The path is the one that the rules matched.
fn same_path(said: &str, target: &str) {
    let ours = target.split('?').next().unwrap_or_default();
    let ours = target::decoded(ours).expect("what is canonical is decoded");
    assert_eq!(hex(&ours), parts(said).0, "{target}");
}

#[test]
fn what_the_rules_let_in_means_the_same_to_node() {
    let (sent, canonical) = let_in();
    let Some(of_sent) = asked("node", NODE, &sent) else {
        eprintln!("SKIPPED: node is not installed: its URL parser was not asked");
        return;
    };
    let of_canonical = asked("node", NODE, &canonical).expect("it was there");
    assert_eq!(
        (of_sent.len(), of_canonical.len()),
        (sent.len(), sent.len())
    );
    let ignored = hex("utm_source");
    for (n, target) in sent.iter().enumerate() {
        let (path, mut pairs) = parts(&of_sent[n]);
        let (canonical_path, canonical_pairs) = parts(&of_canonical[n]);
        same_path(&of_canonical[n], &canonical[n]);
        assert_eq!(path, canonical_path, "{target}: {}", canonical[n]);
        pairs.retain(|pair| pair.split('=').next() != Some(&ignored));
        assert_eq!(pairs, canonical_pairs, "{target}: {}", canonical[n]);
        for pair in canonical_pairs {
            let name = pair.split('=').next();
            let listed = ["page", "sort[]"].map(hex);
            assert!(
                listed.iter().any(|listed| Some(&**listed) == name),
                "{target}"
            );
        }
    }
}

#[test]
fn what_an_origin_is_asked_means_the_same_to_rack_as_to_node() {
    let (_, canonical) = let_in();
    let programs = [("node", NODE), ("ruby", RACK)];
    let [Some(node), Some(rack)] = programs.map(|(name, text)| asked(name, text, &canonical))
    else {
        eprintln!(
            "SKIPPED: node, or ruby with rack, is not installed: their parsers were not asked"
        );
        return;
    };
    assert_eq!((node.len(), rack.len()), (canonical.len(), canonical.len()));
    for ((node, rack), target) in node.iter().zip(&rack).zip(&canonical) {
        assert_eq!(parts(rack), parts(node), "{target}");
        same_path(rack, target);
    }
}
