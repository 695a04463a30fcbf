//! Prometheus' classic text format, version 0.0.4.
//!
//! The library writes OpenMetrics, where the family of `a_total` is called `a`. Every scraper and
//! `promtool check metrics` read the classic format, where the family has the counter's own name.

use std::collections::HashSet;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

/// What an answer with this text says it is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    if encode_registry(&mut text, registry).is_err() {
        // Writing to a String does not fail; a collector of ours would have to.
        tracing::error!("the metrics could not be written");
    }
    classic(&text)
}

fn classic(open_metrics: &str) -> String {
    let family = |line: &str, keyword: &str| -> Option<(String, String)> {
        let rest = line.strip_prefix("# ")?.strip_prefix(keyword)?;
        let (name, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    let counters: HashSet<String> = open_metrics
        .lines()
        .filter_map(|line| family(line, "TYPE"))
        .filter(|(_, kind)| kind == "counter")
        .map(|(name, _)| name)
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + counters.len() * 12);
    for line in open_metrics.lines() {
        let named = ["HELP", "TYPE"].iter().find_map(|keyword| {
            let (name, rest) = family(line, keyword)?;
            counters
                .contains(&name)
                .then(|| format!("# {keyword} {name}_total {rest}"))
        });
        text.push_str(named.as_deref().unwrap_or(line));
        text.push('\n');
    }
    text
}
