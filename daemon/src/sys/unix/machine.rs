//! How is the machine, and what does a living process hold? Small files of `/proc`, each read when somebody asks.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use crate::sys::{Machine, Sample};

/// Descriptors and threads of a living process; `None` when there is none of this number. Two calls and a short file: cheap
/// enough for the loop.
pub fn sample(pid: u32) -> Option<Sample> {
    let directory = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the size of the directory is the number of descriptors; before, it is 0.
    let fds = fs::metadata(&directory).ok().map(|found| found.len()).filter(|&count| count > 0);
    let fds = fds.or_else(|| Some(fs::read_dir(&directory).ok()?.count() as u64));
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let threads = threads(&stat)?;
    // One that has ended has given all back: the last look before that is what tells.
    (threads > 0)
        .then(|| Sample { fds: fds.and_then(|count| u32::try_from(count).ok()), threads: Some(threads) })
}

/// Field 20 of `/proc/PID/stat`; 0 of one that has ended.
fn threads(stat: &[u8]) -> Option<u32> {
    let end = memchr::memrchr(b')', stat)?;
    let mut fields = str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return Some(0);
    }
    fields.nth(16)?.parse().ok()
}

/// Pressure, memory and load.
pub fn machine() -> Machine {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let pressure = |of: &str| some10(&fs::read_to_string(format!("/proc/pressure/{of}")).ok()?);
    Machine {
        cpu_pressure: pressure("cpu"),
        memory_pressure: pressure("memory"),
        io_pressure: pressure("io"),
        memory_available: kibibytes(&meminfo, "MemAvailable:"),
        memory_total: kibibytes(&meminfo, "MemTotal:"),
        load: fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok()),
    }
}

/// `some avg10=1.53 avg60=...`
fn some10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Where the kernel puts cores: `core(5)`.
pub fn core_pattern() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    let uses_pid = fs::read_to_string("/proc/sys/kernel/core_uses_pid").is_ok_and(|text| text.trim() == "1");
    let text = text.trim();
    // As the kernel does it, when the pattern has no number of its own.
    let adds = uses_pid && !text.starts_with('|') && !text.contains("%p") && !text.contains("%P");
    Some(if adds { format!("{text}.%p") } else { text.to_owned() }).filter(|text| !text.is_empty())
}

/// When a file was last changed in any way: also one that was put in place of another with the old one's times.
pub fn changed_at(found: &Metadata) -> Option<SystemTime> {
    let seconds = Duration::from_secs(u64::try_from(found.ctime()).ok()?);
    SystemTime::UNIX_EPOCH
        .checked_add(seconds + Duration::from_nanos(u64::try_from(found.ctime_nsec()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let pressure = "some avg10=1.53 avg60=0.87 avg300=0.20 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(some10(pressure), Some(1.53));
        assert_eq!(some10(""), None);
        let meminfo = "MemTotal:        8039284 kB\nMemFree:          123 kB\nMemAvailable:    4019642 kB\n";
        assert_eq!(kibibytes(meminfo, "MemAvailable:"), Some(4_019_642 * 1024));
        assert_eq!(kibibytes(meminfo, "SwapFree:"), None);
        assert_eq!(threads(b"1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 5 1 1"), Some(9));
        assert_eq!(threads(b"1 (a) Z 0"), Some(0));
        assert_eq!(threads(b"1 (a"), None);
    }

    #[test]
    fn what_this_process_holds() {
        let own = sample(std::process::id()).unwrap();
        assert!(
            own.fds.is_some_and(|count| count >= 3) && own.threads.is_some_and(|count| count >= 1),
            "{own:?}"
        );
        assert_eq!(sample(u32::MAX), None);
        let machine = machine();
        assert!(machine.memory_total > machine.memory_available && machine.load.is_some(), "{machine:?}");
    }
}
