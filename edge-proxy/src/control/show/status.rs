//! How everything is, as people read it.

use std::fmt::Write as _;

use super::super::api::{Certificate, ColourStatus, Mirror, Status, Traffic};
use super::super::shift::Percent;
use super::{bytes, duration, grouped, in_flight, row, table};

pub(in crate::control) fn status(status: &Status) -> String {
    let mut text = format!(
        "edge {} (pid {}), up {}, {}\n{} open connections, change {}\n",
        status.version,
        status.pid,
        duration(status.uptime_s),
        if status.not_ready.is_empty() {
            "ready"
        } else {
            "NOT READY"
        },
        grouped(status.connections),
        status.sequence,
    );
    for reason in &status.not_ready {
        text.push_str(&format!("  ! {reason}\n"));
    }
    text.push('\n');
    text.push_str(&apps(status));
    text.push('\n');
    text.push_str(&cache_and_certificates(status));
    text
}

fn apps(status: &Status) -> String {
    let mut rows = vec![row([
        "APP",
        "COLOUR",
        "WEIGHT",
        "PHASE",
        "RELEASE",
        "FILES",
        "HEALTHY MEMBERS",
    ])];
    let mut notes = String::new();
    for (name, app) in &status.apps {
        if app.paused {
            let held = grouped(app.held);
            // Writing to a String does not fail.
            let _never = writeln!(notes, "  ! {name} is PAUSED: {held} requests wait");
        }
        for (place, colour) in app.colours.iter().enumerate() {
            // Writing to a String does not fail.
            let files = match (colour.complete, colour.missing) {
                (true, _) => "complete".into(),
                (false, 0) => "unknown".into(),
                (false, missing) => format!("{missing} missing"),
            };
            let mut services: Vec<(&str, usize, usize)> = Vec::new();
            for member in &colour.members {
                let healthy = usize::from(member.healthy);
                match services
                    .iter_mut()
                    .find(|(name, ..)| *name == member.service)
                {
                    Some((_, up, all)) => (*up, *all) = (*up + healthy, *all + 1),
                    None => services.push((&member.service, healthy, 1)),
                }
            }
            let members = services
                .iter()
                .map(|(name, up, all)| format!("{name} {up}/{all}"));
            rows.push(vec![
                if place == 0 {
                    name.clone()
                } else {
                    String::new()
                },
                colour.colour.clone(),
                format!("{:>6}", Percent(colour.weight_bp).to_string()),
                colour.phase.clone(),
                colour.release.clone(),
                files,
                members.collect::<Vec<_>>().join(", "),
            ]);
            if colour.traffic.requests > 0 {
                let said = traffic(&colour.traffic);
                let _never = writeln!(notes, "  {name} {}, last minute: {said}", colour.colour);
            }
            for reason in &colour.refused {
                let _never = writeln!(notes, "  ! {name} {}: {reason}", colour.colour);
            }
            if let Some(mirror) = &colour.mirror {
                let _never = writeln!(notes, "  = {name} {}: {}", colour.colour, compared(mirror));
            }
            if let Some(holds) = who_holds_on(colour) {
                let _never = writeln!(notes, "  ~ {name} {}: {holds}", colour.colour);
            }
        }
    }
    table(&rows) + &notes
}

/// In few words.
pub(super) fn traffic(traffic: &Traffic) -> String {
    let mut text = format!("{} requests", grouped(traffic.requests));
    if traffic.failures > 0 {
        text += &format!(", {} FAILED", grouped(traffic.failures));
    }
    if let (Some(p50), Some(p95)) = (traffic.p50_ms, traffic.p95_ms) {
        text += &format!(", p50 {p50} ms, p95 {p95} ms");
    }
    text
}

/// How a version does with copies of what the other one is asked.
fn compared(mirror: &Mirror) -> String {
    let copies = mirror.same + mirror.differ + mirror.failed;
    let mut text = format!(
        "of {} copies {} had the same status, {} another, {} no answer; 95 of 100 took {:.0} ms at most, the originals {:.0} ms",
        grouped(copies),
        grouped(mirror.same),
        grouped(mirror.differ),
        grouped(mirror.failed),
        mirror.copied_p95_ms,
        mirror.given_p95_ms,
    );
    if mirror.left_out > 0 {
        text.push_str(&format!("; {} were not made", grouped(mirror.left_out)));
    }
    text
}

/// Who is still with a colour without weight.
fn who_holds_on(colour: &ColourStatus) -> Option<String> {
    if colour.weight_bp > 0 {
        return None;
    }
    let bound = colour.bound_s.filter(|_| colour.phase == "draining");
    let bound = bound.map(|ago| format!("a bound browser came {} ago", duration(ago)));
    let lines = in_flight(&colour.in_flight);
    let parts: Vec<String> = lines.into_iter().chain(bound).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn cache_and_certificates(status: &Status) -> String {
    let cache = &status.cache;
    let reads = cache.hits + cache.misses;
    let ratio = if reads == 0 {
        "no reads yet".into()
    } else {
        let percent = cache.hits as f64 * 100.0 / reads as f64;
        format!("{percent:.1}% of {} reads were hits", grouped(reads))
    };
    let switch = if cache.off { "OFF, " } else { "" };
    let mut rows = vec![row([
        "CACHE",
        &format!("{switch}{} entries", grouped(cache.entries)),
        &format!(
            "{} of {}, {ratio}",
            bytes(cache.bytes),
            bytes(cache.bytes_max)
        ),
    ])];
    for (place, certificate) in status.certificates.iter().enumerate() {
        let left = left(certificate);
        rows.push(vec![
            if place == 0 {
                "CERTIFICATES".into()
            } else {
                String::new()
            },
            certificate.file.clone(),
            format!("{left}, {}", certificate.names.join(" ")),
        ]);
    }
    table(&rows)
}

pub(super) fn left(certificate: &Certificate) -> String {
    match certificate.days_left {
        days if days < 0 => format!("EXPIRED {} days ago", -days),
        1 => "1 day left".into(),
        days => format!("{days} days left"),
    }
}
