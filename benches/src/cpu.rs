//! The CPU time that a process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// What is read of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system time of all its threads, those that ended too.
    ticks: u64,
    /// Those of children that have ended.
    waited: u64,
}

/// The line has the process's name in brackets, and a name may hold brackets and spaces itself.
fn parse(line: &str) -> Option<Stat> {
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let waited_user: u64 = fields.next()?.parse().ok()?;
    let waited_system: u64 = fields.next()?.parse().ok()?;
    Some(Stat {
        parent,
        ticks: user + system,
        waited: waited_user + waited_system,
    })
}

/// Used by a process and its children: nginx works in a child of the process that was started.
pub(crate) fn used(process: u32) -> Duration {
    ticks(of_family(process).map(|(_, stat)| stat.ticks).sum())
}

/// Used by this process, its children left out.
pub(crate) fn own() -> Duration {
    ticks(of_this_process().map_or(0, |stat| stat.ticks))
}

/// Used by children of this process that have ended and been waited for.
pub(crate) fn waited() -> Duration {
    ticks(of_this_process().map_or(0, |stat| stat.waited))
}

fn of_this_process() -> Option<Stat> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// What the host of a virtual machine took of a core since it started.
pub(crate) fn stolen(core: usize) -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    ticks(parse_stolen(&text, core).unwrap_or(0))
}

/// The eighth number of the core's line.
fn parse_stolen(text: &str, core: usize) -> Option<u64> {
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    line.split_ascii_whitespace().nth(7)?.parse().ok()
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The children of a process.
pub(crate) fn children(process: u32) -> Vec<u32> {
    of_family(process)
        .map(|(id, _)| id)
        .filter(|id| *id != process)
        .collect()
}

fn of_family(process: u32) -> impl Iterator<Item = (u32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        // A process may end while the list is read.
        .filter_map(|id: u32| {
            let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            Some((id, parse(&line)?))
        })
        .filter(move |(id, stat)| *id == process || stat.parent == process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_shifts_nothing() {
        let line = "4242 (a (b) c) S 17 4242 4242 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 3 0 99 1 2";
        let expected = Stat {
            parent: 17,
            ticks: 300,
            waited: 15,
        };
        assert_eq!(parse(line), Some(expected));
    }

    #[test]
    fn a_cut_line_is_no_stat() {
        assert_eq!(parse("4242 (nginx) S 17 4242"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn each_core_has_a_line() {
        let text =
            "cpu  1 2 3 4 5 6 7 99 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 1 2 3 4 5 6 7 91 0 0\n";
        assert_eq!(parse_stolen(text, 0), Some(8));
        assert_eq!(parse_stolen(text, 1), Some(91));
        assert_eq!(parse_stolen(text, 10), None);
    }

    #[test]
    fn this_process_has_used_some() {
        let own = std::process::id();
        assert!(of_family(own).any(|(id, _)| id == own));
    }
}
