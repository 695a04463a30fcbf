//! Answers in words: what a person at a terminal reads.

pub(super) mod rollout;
mod status;

pub(super) use self::status::status;
use self::status::{left, traffic};
use super::api::{
    AuditReport, CacheReport, CertificateReport, CertificateStage, DeployReport, DrainReport,
    Explanation, FreezeReport, InFlight, PauseReport, Problem, PurgeReport, ShiftReport, Status,
    UpgradeReport,
};
use super::shift::Percent;

/// Lines of cells in columns as wide as their widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, &width)| format!("{cell:<width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Such as `still answering 2 stream (oldest 3m 2s), 1 api (oldest 1s)`.
pub(super) fn in_flight(lines: &[InFlight]) -> Option<String> {
    let line = |line: &InFlight| {
        let (count, oldest) = (grouped(line.count), duration(line.oldest_s));
        format!("{count} {} (oldest {oldest})", line.class)
    };
    let lines: Vec<String> = lines.iter().map(line).collect();
    (!lines.is_empty()).then(|| format!("still answering {}", lines.join(", ")))
}

pub(super) fn drain(report: &DrainReport) -> String {
    let DrainReport {
        app,
        colour,
        seconds,
        parted,
        ..
    } = report;
    if report.dry_run {
        let now = in_flight(&report.in_flight).unwrap_or_else(|| "nobody is there".to_owned());
        return format!("{app}: {colour} would be left; {now}; nothing was changed");
    }
    let asked = match parted {
        0 => String::new(),
        parted => format!(", {} streams were asked to end and did", grouped(*parted)),
    };
    format!(
        "{app}: nobody is with {colour} any more after {seconds} s{asked}; 0 were cut: its members can stop"
    )
}

pub(super) fn pause(report: &PauseReport) -> String {
    let PauseReport { app, held, .. } = report;
    match (report.dry_run, report.paused) {
        (true, paused) => {
            let now = if paused { "paused" } else { "not paused" };
            format!("{app} is {now}; nothing was changed")
        }
        (false, true) => {
            format!(
                "{app} is paused: no origin is answering anybody, {} wait",
                grouped(*held)
            )
        }
        (false, false) if report.changed => format!("{app} goes on"),
        (false, false) => format!("{app} was not paused"),
    }
}

pub(super) fn certificates(status: &Status) -> String {
    let mut sorted: Vec<_> = status.certificates.iter().collect();
    sorted.sort_by_key(|certificate| certificate.days_left);
    let mut rows = vec![row(["CERTIFICATE", "SOURCE", "LEFT", "NEXT", "NAMES"])];
    rows.extend(sorted.into_iter().map(|certificate| {
        vec![
            certificate.file.clone(),
            certificate.source.clone(),
            left(certificate),
            certificate.next.clone(),
            certificate.names.join(" "),
        ]
    }));
    let problems = status.certificate_problems.iter();
    table(&rows)
        + &problems
            .map(|problem| format!("  ! {problem}\n"))
            .collect::<String>()
}

pub(super) fn certificate(report: &CertificateReport) -> String {
    let host = &report.host;
    let authority = report.authority.as_deref().unwrap_or("an authority");
    match report.stage {
        CertificateStage::Waiting => format!("{host}: waiting for other orders"),
        CertificateStage::Checking => format!("{host}: asking its addresses for this edge's token"),
        CertificateStage::Ordering => format!("{host}: ordered from {authority}"),
        CertificateStage::Issued => {
            let until = report.not_after.as_deref().unwrap_or("an unknown time");
            format!("{host}: issued by {authority}, live until {until}; renewed by itself")
        }
        CertificateStage::Failed => {
            let why = report.why.as_deref().unwrap_or("no reason was given");
            let again = report.retry_at.as_deref().unwrap_or("an unknown time");
            format!("{host}: {why}; tried again by itself at {again}, or now with `certs issue`")
        }
    }
}

pub(super) fn shift(report: &ShiftReport) -> String {
    let app = &report.app;
    let from = format!(
        "blue {}, green {}",
        Percent(report.from.blue_bp),
        Percent(report.from.green_bp)
    );
    let to = format!(
        "blue {}, green {}",
        Percent(report.to.blue_bp),
        Percent(report.to.green_bp)
    );
    match (report.changed, report.dry_run) {
        (false, _) => format!("{app}: it is so already ({to})"),
        (true, true) => format!("{app}: would move from {from} to {to}; nothing was changed"),
        (true, false) => format!("{app}: moved from {from} to {to}; requests see it now"),
    }
}

pub(super) fn deploy(report: &DeployReport) -> String {
    let DeployReport {
        app,
        colour,
        release,
        seconds,
        ..
    } = report;
    if report.dry_run {
        return format!("{app}: {colour} would become release {release}; nothing was changed");
    }
    format!(
        "{app}: {colour} is release {release}, whole and healthy after {seconds} s; `shift {app} {colour}=10%` gives it traffic"
    )
}

pub(super) fn upgrade(report: &UpgradeReport) -> String {
    let version = report.version.as_deref().unwrap_or("another version");
    let mut text = if report.dry_run {
        format!(
            "{version} ({}) could take over; nothing was changed\n",
            report.binary
        )
    } else {
        format!(
            "{version} ({}) accepts connections after {} s; processes from before that still answer: {}\n",
            report.binary, report.seconds, report.retiring
        )
    };
    if report.inherited > 0 {
        text.push_str(&format!(
            "  {} of the most read stored answers ({}) came along\n",
            grouped(report.inherited),
            bytes(report.inherited_bytes)
        ));
    }
    if let Some(why) = &report.not_inherited {
        text.push_str(&format!("  stored answers stay behind: {why}\n"));
    }
    for probe in &report.probes {
        text.push_str(&format!("  - {probe}\n"));
    }
    text.trim_end().to_owned()
}

pub(super) fn freeze(report: &FreezeReport) -> String {
    let app = &report.app;
    let now = match &report.until {
        Some(until) => format!("nothing goes to a newer version until {until}; back is possible"),
        None => "not frozen by a command".into(),
    };
    match report.dry_run {
        true => format!("{app}: would be so: {now}; nothing was changed"),
        false => format!("{app}: {now}"),
    }
}

pub(super) fn purge(report: &PurgeReport) -> String {
    let objects = match (report.objects, report.exact) {
        (0, true) => "nothing that is stored carries it".to_owned(),
        (1, true) => "1 stored answer".to_owned(),
        (objects, true) => format!("{} stored answers", grouped(objects)),
        (objects, false) => format!("about {} stored answers", grouped(objects)),
    };
    match report.sequence {
        None => format!(
            "would purge {}: {objects}; nothing was changed",
            report.purged
        ),
        Some(sequence) => format!(
            "purged {}: {objects}, in {} us (change {sequence})",
            report.purged,
            grouped(report.micros)
        ),
    }
}

pub(super) fn cache(report: &CacheReport) -> String {
    let now = if report.off {
        "off: every request passes"
    } else {
        "on"
    };
    match (report.dry_run, report.changed) {
        (true, true) => format!("would change it; the cache is {now}"),
        (_, false) => format!("the cache was so already: {now}"),
        (false, true) => format!(
            "the cache is {now} (seen by requests after {} us)",
            grouped(report.micros)
        ),
    }
}

pub(super) fn audit(report: &AuditReport) -> String {
    let mut rows = vec![row(["CHANGE", "AT", "WHO", "WHAT", "FROM", "TO", "WHY"])];
    rows.extend(report.entries.iter().map(|entry| {
        row([
            &entry.sequence.to_string(),
            &entry.at,
            &entry.who,
            &entry.what,
            &entry.from,
            &entry.to,
            entry.why.as_deref().unwrap_or(""),
        ])
    }));
    let records = grouped(report.records);
    let said = match (&report.broken, report.entries.first()) {
        (Some(broken), _) => format!(
            "BROKEN at record {}: {}; the log was changed by something else than the edge",
            broken.sequence, broken.why
        ),
        (None, None) => "no records".into(),
        (None, Some(last)) => format!(
            "{records} records, none was changed; keep the last one's name elsewhere and ask later with `--seen {}:{}`",
            last.sequence, last.hash
        ),
    };
    format!("{}\n{said}", table(&rows))
}

pub(super) fn explanation(explanation: &Explanation) -> String {
    let rows: Vec<_> = explanation
        .steps
        .iter()
        .map(|step| {
            row([
                &step.room,
                &step.outcome,
                step.detail.as_deref().unwrap_or(""),
            ])
        })
        .collect();
    format!("{}\n\n{}", explanation.summary, table(&rows))
}

pub(super) fn problem(problem: &Problem) -> String {
    let word = if problem.refused { "refused" } else { "error" };
    let mut text = format!("{word}: {}\n", problem.detail);
    for reason in &problem.reasons {
        text.push_str(&format!("  - {reason}\n"));
    }
    text
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
