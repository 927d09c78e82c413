//! How is what a cgroup may use written down for the kernel?
//!
//! One file of the cgroup's directory per resource, `Documentation/admin-guide/cgroup-v2.rst`. The values are those
//! that systemd writes for the settings of the same names.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::sys::{Allowance, Amount, Disallowed, Resource};

/// `cpu.max` counts in periods of this many microseconds, the kernel's own default and systemd's.
const PERIOD: u64 = 100_000;
/// The shortest quota, and the longest period, that the kernel takes.
const SHORTEST_QUOTA: u64 = 1_000;
const LONGEST_PERIOD: u64 = 1_000_000;
/// Shares are in hundredths of a percent.
const WHOLE: u64 = 10_000;

/// What shares are shares of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    pub(super) memory: u64,
    pub(super) tasks: u64,
}

impl Machine {
    /// As systemd counts: what the kernel has, or the limits of the cgroup at the root of what can be seen (a
    /// container) if they are lower.
    pub(super) fn look(root: &Path) -> Self {
        let info = rustix::system::sysinfo();
        // The fields are as wide as the machine's words.
        #[allow(clippy::useless_conversion, reason = "on other machines it is none")]
        let memory = u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit));
        let at_most = |path: &Path| number(path).unwrap_or(u64::MAX);
        let tasks = at_most(Path::new("/proc/sys/kernel/pid_max"))
            .min(at_most(Path::new("/proc/sys/kernel/threads-max")));
        Self {
            memory: memory.min(at_most(&root.join("memory.max"))),
            tasks: tasks.min(at_most(&root.join("pids.max"))),
        }
    }
}

/// The file's number; `None`: there is none, or the file says `max`.
pub(super) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Gives a cgroup what it may use. The controller is there.
pub(super) fn give(cgroup: &Path, allowance: Allowance, machine: &Machine) -> Result<(), Disallowed> {
    let Allowance { key, resource, amount } = allowance;
    let mut written = false;
    for (file, text) in texts(resource, amount, machine) {
        let path = cgroup.join(file);
        // Two files stand for one thing where it depends on the kernel which of them is there.
        if resource == Resource::IoWeight && !path.exists() {
            continue;
        }
        set(&path, &text).map_err(|error| refused(key, &path, &text, &error))?;
        written = true;
    }
    if written {
        return Ok(());
    }
    let message = format!(
        "{key} cannot be set: this kernel has no weights for disks (neither io.weight, its io.cost controller, nor \
         io.bfq.weight, its BFQ scheduler); take the key out"
    );
    Err(Disallowed { message, permanent: true })
}

/// Writes to a file of the kernel's: one that is not there cannot be made, and is not to look as if that were
/// forbidden.
pub(super) fn set(path: &Path, text: &str) -> io::Result<()> {
    fs::File::options().write(true).truncate(true).open(path)?.write_all(text.as_bytes())
}

/// What the kernel has refused.
fn refused(key: &str, path: &Path, text: &str, error: &io::Error) -> Disallowed {
    let passes =
        matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ENOMEM | libc::ENODEV));
    Disallowed {
        message: format!("{key} cannot be set: writing \"{text}\" to {}: {error}", path.display()),
        // The whole directory goes with its run.
        permanent: !passes && path.parent().is_some_and(Path::exists),
    }
}

/// The files and what is written into them.
fn texts(resource: Resource, amount: Amount, machine: &Machine) -> Vec<(&'static str, String)> {
    let of = |whole: u64| match amount {
        Amount::Unlimited => "max".to_owned(),
        Amount::Number(number) => number.to_string(),
        Amount::Share(share) => share_of(whole, share).to_string(),
    };
    match resource {
        Resource::MemoryMax => vec![("memory.max", of(machine.memory))],
        Resource::MemoryHigh => vec![("memory.high", of(machine.memory))],
        Resource::MemorySwapMax => vec![("memory.swap.max", of(machine.memory))],
        Resource::TasksMax => vec![("pids.max", of(machine.tasks))],
        Resource::CpuQuota => vec![("cpu.max", quota(amount))],
        Resource::CpuWeight => vec![("cpu.weight", weight(amount).to_string())],
        Resource::IoWeight => {
            let weight = weight(amount);
            vec![("io.weight", format!("default {weight}")), ("io.bfq.weight", bfq(weight).to_string())]
        }
    }
}

fn share_of(whole: u64, share: u32) -> u64 {
    let part = u128::from(whole) * u128::from(share) / u128::from(WHOLE);
    u64::try_from(part).unwrap_or(u64::MAX).max(1)
}

/// Quota and period in microseconds. A quota that is too short for the usual period gets a longer one.
fn quota(amount: Amount) -> String {
    let share = match amount {
        Amount::Unlimited => return format!("max {PERIOD}"),
        Amount::Share(share) => u64::from(share),
        // Whole processors.
        Amount::Number(number) => number.saturating_mul(WHOLE),
    };
    let period = (SHORTEST_QUOTA * WHOLE).div_ceil(share.max(1)).clamp(PERIOD, LONGEST_PERIOD);
    let quota = (period.saturating_mul(share) / WHOLE).max(SHORTEST_QUOTA);
    format!("{quota} {period}")
}

/// The kernel's default is 100.
fn weight(amount: Amount) -> u64 {
    match amount {
        Amount::Unlimited => 100,
        Amount::Number(number) => number,
        Amount::Share(share) => u64::from(share),
    }
}

/// BFQ's weights end at 1000; both have 100 in the middle (systemd's `BFQ_WEIGHT`).
fn bfq(weight: u64) -> u64 {
    if weight <= 100 { weight } else { 100 + (weight - 100) * (1000 - 100) / (10_000 - 100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { memory: 8 << 30, tasks: 32_768 };

    #[test]
    fn each_resource_has_its_file_and_text() {
        use Amount::{Number, Share, Unlimited};
        use Resource::{CpuQuota, CpuWeight, MemoryHigh, MemoryMax, MemorySwapMax, TasksMax};
        for (resource, amount, file, text) in [
            (MemoryMax, Number(64 << 20), "memory.max", "67108864"),
            (MemoryMax, Share(5_000), "memory.max", "4294967296"),
            (MemoryMax, Share(1), "memory.max", "858993"),
            (MemoryMax, Unlimited, "memory.max", "max"),
            (MemoryHigh, Number(1), "memory.high", "1"),
            (MemorySwapMax, Number(0), "memory.swap.max", "0"),
            (TasksMax, Number(12), "pids.max", "12"),
            (TasksMax, Share(1_000), "pids.max", "3276"),
            (TasksMax, Unlimited, "pids.max", "max"),
            (CpuQuota, Share(20_000), "cpu.max", "200000 100000"),
            (CpuQuota, Share(3_333), "cpu.max", "33330 100000"),
            (CpuQuota, Share(100), "cpu.max", "1000 100000"),
            // Half a percent: the shortest quota, in a longer period.
            (CpuQuota, Share(50), "cpu.max", "1000 200000"),
            (CpuQuota, Share(10), "cpu.max", "1000 1000000"),
            (CpuQuota, Unlimited, "cpu.max", "max 100000"),
            (CpuWeight, Number(10_000), "cpu.weight", "10000"),
            (CpuWeight, Unlimited, "cpu.weight", "100"),
        ] {
            assert_eq!(
                texts(resource, amount, &MACHINE),
                [(file, text.to_owned())],
                "{resource:?} {amount:?}"
            );
        }
    }

    #[test]
    fn weights_of_disks_go_where_the_kernel_has_them() {
        let directory = tempfile::tempdir().unwrap();
        let allowance =
            Allowance { key: "io_weight", resource: Resource::IoWeight, amount: Amount::Number(550) };
        let none = give(directory.path(), allowance, &MACHINE).unwrap_err();
        assert!(none.permanent && none.message.starts_with("io_weight cannot be set: this kernel has no"));
        fs::write(directory.path().join("io.bfq.weight"), "100").unwrap();
        give(directory.path(), allowance, &MACHINE).unwrap();
        fs::write(directory.path().join("io.weight"), "default 100").unwrap();
        give(directory.path(), allowance, &MACHINE).unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!((read("io.bfq.weight").as_str(), read("io.weight").as_str()), ("140", "default 550"));
        assert_eq!([bfq(1), bfq(100), bfq(10_000)], [1, 100, 1000]);
    }

    #[test]
    fn what_is_refused_names_file_value_and_error() {
        let directory = tempfile::tempdir().unwrap();
        let allowance =
            Allowance { key: "memory_max", resource: Resource::MemoryMax, amount: Amount::Number(4096) };
        fs::create_dir(directory.path().join("memory.max")).unwrap();
        let refused = give(directory.path(), allowance, &MACHINE).unwrap_err();
        let path = directory.path().join("memory.max");
        let expected = format!(
            "memory_max cannot be set: writing \"4096\" to {}: Is a directory (os error 21)",
            path.display()
        );
        assert_eq!(refused, Disallowed { message: expected, permanent: true });
        // Swap is not counted everywhere.
        let swap = Allowance { key: "memory_swap_max", resource: Resource::MemorySwapMax, ..allowance };
        let refused = give(directory.path(), swap, &MACHINE).unwrap_err();
        assert!(refused.permanent && refused.message.contains("No such file"), "{refused}");
        assert!(!give(&directory.path().join("gone"), swap, &MACHINE).unwrap_err().permanent);
    }
}
