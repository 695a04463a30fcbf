//! The memory that a process holds, as the kernel counts it.

use std::fs;

use crate::cpu;

/// Resident bytes of a process and its children: nginx works in a child of the one that was started.
pub(crate) fn resident(process: u32) -> u64 {
    let children = cpu::children(process);
    children.into_iter().chain([process]).map(of_one).sum()
}

fn of_one(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    parse(&status).unwrap_or(0)
}

fn parse(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(parse("Name:\tx\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
        assert_eq!(parse("Name:\tx\n"), None);
        assert!(resident(std::process::id()) > 1 << 20);
    }
}
