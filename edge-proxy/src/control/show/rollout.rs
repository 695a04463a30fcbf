//! A rollout as people read it.

use super::super::api::{RolloutReport, RolloutStep};
use super::super::shift::Percent;
use super::{duration, row, table, traffic};

/// Names of schools that are listed in one line.
const NAMED: usize = 5;

pub(in crate::control) fn rollout(report: &RolloutReport) -> String {
    let RolloutReport {
        app,
        to,
        release,
        status,
        ..
    } = report;
    let said = match (report.dry_run, status.as_str()) {
        (true, _) => "nothing was changed; this is what would be".to_owned(),
        (false, "rolled_back") => format!(
            "ROLLED BACK: {}",
            report.why.as_deref().unwrap_or("it was worse")
        ),
        (false, "aborted") => "aborted".to_owned(),
        (false, "promoted") => format!("{to} has all the traffic"),
        (false, status) => status.to_owned(),
    };
    let weights = &report.weights;
    let mut text = format!(
        "{app} to {to}, release {release}: {said}\nblue {}, green {}\n\n",
        Percent(weights.blue_bp),
        Percent(weights.green_bp)
    );
    text += &table(&steps(report));
    if report.dry_run || !matches!(status.as_str(), "running" | "paused") {
        return text;
    }
    text += &format!("\nin this step   blue: {}\n", asked(&report.blue));
    text += &format!("              green: {}\n", asked(&report.green));
    if let Some(evidence) = report.evidence {
        text += &format!("evidence against {to}: {evidence:.1} to 1 (100 is a verdict)\n");
    }
    if let Some(left_s) = report.left_s {
        text += &format!("time left in this step: {}\n", duration(left_s));
    }
    for said in [&report.holds, &report.alone].into_iter().flatten() {
        text += &format!("  ! {said}\n");
    }
    text
}

fn asked(of: &super::super::api::Traffic) -> String {
    match of.requests {
        0 => "no requests".into(),
        _ => traffic(of),
    }
}

fn steps(report: &RolloutReport) -> Vec<Vec<String>> {
    let mut rows = vec![row(["", "STEP", "SCHOOLS", "TRAFFIC", "MOVES"])];
    for (index, step) in report.steps.iter().enumerate() {
        let mark = match index.cmp(&report.step) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal => "now",
            std::cmp::Ordering::Greater => "",
        };
        let share = match step.share {
            Some(share) => format!("{:.1}%", share * 100.0),
            None => "unknown".into(),
        };
        let tenants = step
            .tenants
            .map_or_else(String::new, |count| count.to_string());
        rows.push(row([mark, &step.step, &tenants, &share, &moves(step)]));
    }
    rows
}

fn moves(step: &RolloutStep) -> String {
    let named: Vec<&str> = step.adds.iter().take(NAMED).map(String::as_str).collect();
    let mut text = named.join(", ");
    if step.adds.len() > NAMED {
        text += &format!(" and {} more", step.adds.len() - NAMED);
    }
    match (step.skipped, text.is_empty()) {
        (true, true) => "skipped: it moves no school".into(),
        (true, false) => format!("skipped, none of them has traffic: {text}"),
        (false, _) => text,
    }
}
