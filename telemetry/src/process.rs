//! What this process uses of the machine: its part of `NodeLoad`.

use std::{path::Path, time::Duration};

/// What could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A call to the operating system failed.
    #[error("{what}: {source}")]
    System {
        /// Which call.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The resident size is not where Linux shows it.
    #[error("/proc/self/status has no VmRSS")]
    NoRss,
}

/// Free and whole size of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes this process may still write.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// Processor time used by this process so far, user and system.
pub fn cpu_time() -> Result<Duration, ProcessError> {
    use nix::sys::{resource, time::TimeValLike};
    let usage = resource::getrusage(resource::UsageWho::RUSAGE_SELF)
        .map_err(|errno| ProcessError::System { what: "getrusage", source: errno.into() })?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// Resident memory of this process.
pub fn rss_bytes() -> Result<u64, ProcessError> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|source| ProcessError::System { what: "read /proc/self/status", source })?;
    rss_in(&status).ok_or(ProcessError::NoRss)
}

fn rss_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Space on the disk that holds `path`, which must exist.
pub fn disk_space(path: &Path) -> Result<DiskSpace, ProcessError> {
    let stat = nix::sys::statvfs::statvfs(path)
        .map_err(|errno| ProcessError::System { what: "statvfs", source: errno.into() })?;
    // The types differ between platforms; none is wider than 64 bits.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let (block, free, all) =
        (stat.fragment_size() as u64, stat.blocks_available() as u64, stat.blocks() as u64);
    Ok(DiskSpace { free_bytes: block * free, total_bytes: block * all })
}

/// Turns processor time into cores used, from one call to the next.
#[derive(Clone, Debug, Default)]
pub struct CpuMeter {
    last: Option<Duration>,
}

impl CpuMeter {
    /// Cores used since the last call, `elapsed` ago; 0 on the first call.
    pub fn cores(&mut self, elapsed: Duration) -> Result<f64, ProcessError> {
        let now = cpu_time()?;
        let used = self.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_sub(last));
        Ok(if elapsed.is_zero() { 0.0 } else { used.as_secs_f64() / elapsed.as_secs_f64() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work() {
        let mut meter = CpuMeter::default();
        assert_eq!(meter.cores(Duration::from_secs(1)).unwrap(), 0.0);
        let mut x = 1_u64;
        while cpu_time().unwrap() < meter.last.unwrap() + Duration::from_millis(20) {
            (0..100_000).for_each(|i| x = std::hint::black_box(x.wrapping_mul(i | 1)));
        }
        let cores = meter.cores(Duration::from_millis(10)).unwrap();
        assert!(cores >= 2.0, "20 ms of work in 10 ms is two cores, not {cores}");
    }

    #[test]
    fn memory_and_disk_are_plausible() {
        assert!(rss_bytes().unwrap() > 1 << 20);
        let disk = disk_space(Path::new("/")).unwrap();
        assert!(disk.total_bytes > 0 && disk.free_bytes <= disk.total_bytes, "{disk:?}");
        assert!(disk_space(Path::new("/no/such/place")).is_err());
        assert_eq!(rss_in("Name:\tx\nVmRSS:\t   12 kB\n"), Some(12_288));
        assert_eq!(rss_in("Name:\tx\n"), None);
    }
}
