//! One cgroup (v2) per run: a set that no process leaves by a double fork or a session of its own.
//!
//! Where the daemon may have some is found out in `delegation.rs`; how a program comes into one before it runs, in
//! `launch.rs`; how its emptiness is heard of, in `cgroup_watch.rs`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How often the processes of a cgroup are killed one by one where the kernel cannot kill all at once (before Linux
/// 5.14): one that forks faster than it is read is met again by whoever kills again.
const ROUNDS: usize = 16;
/// Depth to which cgroups that a service has made below its own are looked into and removed.
const DEPTH: usize = 16;

/// A cgroup of the daemon's. It stays when this is dropped: [`Self::remove`] removes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup in this directory, which may be gone.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The cgroup that an earlier life has written down for a run; `None`: it does not carry the run's name, or is gone.
    pub fn of_a_run(path: &Path, run_id: &str) -> Option<Self> {
        let (_, of) = parse(path.file_name()?.to_str()?)?;
        (of == run_id && path.join("cgroup.procs").exists()).then(|| Self::at(path.to_path_buf()))
    }

    /// Makes it.
    pub(super) fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Its directory: where its limits are set and its counters read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The processes in it and in those below it. Zombies are in none.
    pub(super) fn processes(&self) -> Vec<libc::pid_t> {
        let mut found = Vec::new();
        each(&self.path, DEPTH, &mut |directory| {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            // 0: somebody of another pid namespace, whom a number of this one cannot name.
            found.extend(
                text.lines().filter_map(|line| line.parse::<libc::pid_t>().ok()).filter(|&pid| pid > 0),
            );
        });
        found
    }

    /// Whether anything lives in it or below it; `false` also when it is gone.
    pub fn is_populated(&self) -> bool {
        let text = fs::read_to_string(self.path.join("cgroup.events")).unwrap_or_default();
        text.lines().any(|line| line == "populated 1")
    }

    /// Kills everything in it and below it, what is being forked at this moment included.
    pub(super) fn kill(&self) {
        if fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        let mut killed = HashSet::new();
        for _ in 0..ROUNDS {
            let mut any = false;
            for pid in self.processes().into_iter().filter(|pid| killed.insert(*pid)) {
                // Between the look and this a number would have to be given up and given out again.
                any |= super::descendants::kill(pid, libc::SIGKILL);
            }
            if !any {
                break;
            }
        }
    }

    /// Removes it and those below it, if nothing lives in them.
    ///
    /// # Errors
    /// What the system says; that it is gone is none.
    pub fn remove(&self) -> io::Result<()> {
        let mut all = Vec::new();
        each(&self.path, DEPTH, &mut |directory| all.push(directory.to_path_buf()));
        // The deepest first.
        for directory in all.iter().rev() {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// This directory and those below it, parents first.
fn each(directory: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    visit(directory);
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each(&entry.path(), depth - 1, visit);
        }
    }
}

/// The name of a run's cgroup: `SERVICE@RUN_ID`. The kernel's own files hold a dot and no `@`, so that the two never
/// meet.
pub(super) fn name(service: &str, run_id: &str) -> String {
    let mut name = String::with_capacity(service.len() + run_id.len() + 1);
    for byte in service.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b':' | b'@' => {
                name.push(char::from(byte))
            }
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name.push('@');
    name.push_str(run_id);
    name
}

/// Which service and run a cgroup's name says; `None`: it is not a run's.
pub(super) fn parse(name: &str) -> Option<(String, &str)> {
    let (escaped, run_id) = name.rsplit_once('@')?;
    let mut bytes = Vec::new();
    let mut rest = escaped.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Some((String::from_utf8(bytes).ok()?, run_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_component_and_is_read_back() {
        for service in
            ["web", "worker@a", "a.b", ".", "..", "../../etc", "ä/ö", "cgroup.procs", "%41", "\n", "x y"]
        {
            let made = name(service, "1f-5e-2");
            assert!(!made.contains('/') && made != "." && made != ".." && made.is_ascii(), "{made}");
            assert!(made.bytes().all(|byte| byte.is_ascii_graphic()), "{made}");
            assert_eq!(parse(&made), Some((service.to_owned(), "1f-5e-2")));
        }
        assert_eq!(name("worker@a", "1-2-3"), "worker@a@1-2-3");
        assert_eq!([parse("daemon"), parse("a%4@1"), parse("%ff@1")], [None, None, None]);
    }
}
