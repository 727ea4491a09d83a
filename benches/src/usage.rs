//! CPU time and memory of processes, from `/proc`.

use std::{fs, io, time::Duration};

/// Clock ticks per second of `/proc/PID/stat`; 100 on every Linux that Rust runs on.
const TICKS_PER_S: u64 = 100;

/// User and system time that a process has used, its ended threads included.
pub fn process_cpu(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).ok_or_else(|| io::Error::other("an unreadable /proc/PID/stat"))?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_S))
}

/// Memory of a process that is in RAM, bytes; what it shares with others is counted in full.
pub fn process_rss_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    rss_bytes(&status).ok_or_else(|| io::Error::other("an unreadable /proc/PID/status"))
}

/// Fields 14 and 15; the name in field 2 may contain anything but ends with the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 1 1 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("nonsense"), None);
        assert_eq!(rss_bytes("Name:\tVmRSS\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(rss_bytes("Name:\tzombie\n"), None);
    }

    #[test]
    fn our_own_use_can_be_read() {
        process_cpu(std::process::id()).expect("Linux has /proc");
        assert!(process_rss_bytes(std::process::id()).expect("Linux has /proc") > 100_000);
    }
}
