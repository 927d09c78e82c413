//! Where may the daemon have cgroups of its own?
//!
//! In a subtree that is its to write to: of the cgroup that it was started in, when whoever manages the tree has given it
//! away. systemd marks what it has (`Delegate=yes`) with an attribute, or the unit says so in a variable; where no systemd
//! runs, what can be written to is free to use (a container, another init). Everything is below one directory that is named for the state directory, so
//! that daemons with different ones never meet, and the next life finds what this one left:
//!
//! ```text
//! .../mcpd.service/mcpd-0123456789ab/daemon               mcpd itself: a cgroup with children holds no processes
//!                                   /web@1f2e-63a1b2c-1   one run of the service web
//! ```
//!
//! Limits take controllers, which are handed down level by level (`controllers.rs`). A cgroup that hands some down holds
//! no processes, so systemd cannot start the daemon in the unit's own one again as long as a killed life's processes
//! are below it; it can in a subgroup (`DelegateSubgroup=`), and then the unit's own one is above that.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::allowance::{self, Machine};
use super::cgroup::{self, Cgroup};
use super::controllers::Controllers;
use crate::sys::{Allowance, Controller, Disallowed};

/// Where systemd says that it runs (`sd_booted(3)`).
const SYSTEMD: &str = "/run/systemd/system";
/// The attributes by which systemd marks what it has given away: the first since 251, the second before, for root only.
const DELEGATED: [&str; 2] = ["user.delegate", "trusted.delegate"];
/// The managers of users do not mark what they give away in all versions (252 does not): the unit says it by this.
const DELEGATED_VARIABLE: &str = "MCPD_DELEGATED";
/// The daemon's own.
const DAEMON: &str = "daemon";

/// The daemon's part of the tree. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cgroups {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The one that the daemon was started in.
    start: PathBuf,
    base: PathBuf,
    /// The highest one that can be seen.
    root: PathBuf,
    /// The process of the daemon's keeper.
    keeper: Option<u32>,
    controllers: Controllers,
}

/// As systemd has it: what memory a run takes and how many processes it has is counted for each, limits or not, so that
/// a kill for want of memory is seen. The others cost more, and come with the first limit that needs them.
const ALWAYS: [Controller; 2] = [Controller::Memory, Controller::Pids];

impl Cgroups {
    /// Takes possession of the daemon's part of the tree and moves the daemon and its keeper, if it has one, into the leaf
    /// of it. `started_in`: [`Self::started_in`] of the daemon before this one, whose keeper has started this one in that leaf.
    ///
    /// # Errors
    /// A sentence that says why there is none: processes are held together by sessions and groups then.
    pub fn claim(state_dir: &Path, keeper: Option<u32>, started_in: Option<&Path>) -> Result<Self, String> {
        let (found, root) = start()?;
        let start = started_in.filter(|place| place.is_dir()).map_or(found, Path::to_path_buf);
        let home = given(&start)?;
        let base = home.join(base_name(state_dir));
        let daemon = base.join(DAEMON);
        let claimed = make(&base).and_then(|()| make(&daemon)).and_then(|()| enter(&daemon, keeper));
        match claimed {
            Ok(()) => {
                let controllers = Controllers::of(&home, &base);
                for controller in ALWAYS {
                    // Who needs it is told why it is not there.
                    let _ = controllers.hand_down(controller);
                }
                Ok(Self { shared: Arc::new(Shared { start, base, root, keeper, controllers }) })
            }
            Err(error) => {
                // Removed if they are empty: they may be an earlier life's, with processes in them.
                let _ = fs::remove_dir(&daemon);
                let _ = fs::remove_dir(&base);
                Err(format!("the cgroup {} is not writable: {error}", home.display()))
            }
        }
    }

    /// Where the first daemon of this keeper was started.
    pub fn started_in(&self) -> &Path {
        &self.shared.start
    }

    /// The directory of all of them.
    pub fn path(&self) -> &Path {
        &self.shared.base
    }

    /// Makes one for a run.
    ///
    /// # Errors
    /// What the system says.
    pub fn make(&self, service: &str, run_id: &str) -> io::Result<Cgroup> {
        let cgroup = Cgroup::make(self.shared.base.join(cgroup::name(service, run_id)))?;
        kill_as_one(&cgroup);
        Ok(cgroup)
    }

    /// Gives one what its processes may use together. What is not named stays as it is.
    ///
    /// # Errors
    /// The first one that is not to be had.
    pub fn allow(&self, cgroup: &Cgroup, allowances: &[Allowance]) -> Result<(), Disallowed> {
        if allowances.is_empty() {
            return Ok(());
        }
        for allowance in allowances {
            self.shared.controllers.hand_down(allowance.resource.controller()).map_err(|lack| {
                let Disallowed { message, permanent } = lack;
                let controller = allowance.resource.controller().name();
                let message =
                    format!("{} needs the cgroup controller {controller}, and {message}", allowance.key);
                Disallowed { message, permanent }
            })?;
        }
        if allowances.iter().any(|allowance| allowance.resource.controller() == Controller::Memory) {
            // The controller may have come only now.
            kill_as_one(cgroup);
        }
        let machine = Machine::look(&self.shared.root);
        allowances.iter().try_for_each(|&allowance| allowance::give(cgroup.path(), allowance, &machine))
    }

    /// Whether the controllers for all of these are there. That one is can still be refused.
    pub fn may_allow(&self, allowances: &[Allowance]) -> bool {
        allowances.iter().all(|allowance| self.shared.controllers.are_there(allowance.resource.controller()))
    }

    /// Those of earlier lives in which something lives, and of which service it is. Empty ones are removed.
    pub fn inherited(&self) -> Vec<(String, Cgroup)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.shared.base).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some((service, _)) = name.to_str().and_then(cgroup::parse) else { continue };
            let cgroup = Cgroup::at(entry.path());
            if cgroup.is_populated() {
                found.push((service, cgroup));
            } else {
                let _ = cgroup.remove();
            }
        }
        found
    }

    /// The daemon's end: back to where it was started, nothing of its own left.
    pub fn leave(&self) {
        let Shared { start, base, root: _, keeper, controllers } = &*self.shared;
        for (_, cgroup) in self.inherited() {
            let _ = cgroup.remove();
        }
        // What hands controllers down holds no processes, unless it is the root of all.
        controllers.withdraw(false);
        let back = enter(start, *keeper).or_else(|_| {
            controllers.withdraw(true);
            enter(start, *keeper)
        });
        if back.is_ok() {
            let _ = fs::remove_dir(base.join(DAEMON));
            let _ = fs::remove_dir(base);
        }
    }
}

/// Short of memory the kernel kills all of a run or nothing of it: what is left of half a service is no service. Linux
/// before 4.19 cannot do that; then what is left is ended once the main process is gone.
fn kill_as_one(cgroup: &Cgroup) {
    let _ = allowance::set(&cgroup.path().join("memory.oom.group"), "1");
}

/// Made already by an earlier life is as good.
fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Moves the daemon, and its keeper. For either the kernel waits until every processor has passed through its scheduler: it
/// waits for both at once.
fn enter(path: &Path, keeper: Option<u32>) -> io::Result<()> {
    let procs = path.join("cgroup.procs");
    let Some(keeper) = keeper else { return fs::write(procs, "0") };
    std::thread::scope(|scope| {
        let moved = scope.spawn(|| fs::write(&procs, keeper.to_string()));
        fs::write(&procs, std::process::id().to_string())?;
        moved.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })
}

/// The cgroup that the daemon is in, as a directory, and the one above all that it can see.
fn start() -> Result<(PathBuf, PathBuf), String> {
    let text = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let own = own_path(&text("/proc/self/cgroup")?).ok_or("the kernel has no cgroup v2 hierarchy")?;
    let mounts = text("/proc/self/mountinfo")?;
    let mut places = mounts
        .lines()
        .filter_map(mount)
        .filter_map(|(root, point)| below(&own, &root, &point).map(|place| (place, point)));
    places.find(|(place, _)| place.join("cgroup.procs").exists()).ok_or_else(|| {
        format!("no cgroup2 file system is mounted that shows mcpd's own cgroup {}", own.display())
    })
}

/// The line of the one hierarchy that v2 has.
fn own_path(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from)
}

/// Root and mount point of a cgroup2 file system (`proc_pid_mountinfo(5)`).
fn mount(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (place, kind) = line.split_once(" - ")?;
    if kind.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = place.split(' ').skip(3);
    Some((PathBuf::from(unescape(fields.next()?)), PathBuf::from(unescape(fields.next()?))))
}

/// Blanks and such are written in octal: `\040`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn below(own: &Path, root: &Path, point: &Path) -> Option<PathBuf> {
    // Outside of what this cgroup namespace shows.
    if own.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let rest = own.strip_prefix(root).ok()?;
    Some(if rest.as_os_str().is_empty() { point.to_path_buf() } else { point.join(rest) })
}

/// The cgroup below which whoever manages the tree lets the daemon have what it wants.
fn given(start: &Path) -> Result<PathBuf, String> {
    let marked = |path: &Path| DELEGATED.iter().any(|name| is_set(path, name));
    let said = || std::env::var_os(DELEGATED_VARIABLE).is_some_and(|value| value == "yes");
    if marked(start) || said() {
        return Ok(start.to_path_buf());
    }
    if let Some(unit) = start.parent().filter(|unit| !is_unit(start) && marked(unit)) {
        return Ok(unit.to_path_buf());
    }
    if !Path::new(SYSTEMD).exists() {
        return Ok(start.to_path_buf());
    }
    Err(format!("systemd has not delegated the cgroup {} (Delegate=yes in the unit)", start.display()))
}

/// A unit's own cgroup, and no subgroup of one: what is above it is somebody else's.
fn is_unit(path: &Path) -> bool {
    let kinds = [".service", ".scope", ".slice", ".socket", ".mount", ".swap"];
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    kinds.iter().any(|kind| name.ends_with(kind))
}

fn is_set(path: &Path, attribute: &str) -> bool {
    let mut value = [0_u8; 8];
    rustix::fs::getxattr(path, attribute, &mut value[..]).is_ok_and(|length| value[..length] == *b"1")
}

/// Named for the state directory: FNV-1a of its path, 48 bits of it.
fn base_name(state_dir: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let path = fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_path_buf());
    let hash = path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("mcpd-{:012x}", hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_below_a_mount() {
        let hybrid = "9:name=systemd:/user\n0::/system.slice/mcpd.service\n";
        let own = own_path(hybrid).unwrap();
        assert_eq!(own, Path::new("/system.slice/mcpd.service"));
        assert_eq!(own_path("4:memory:/x\n"), None);
        let line = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let (root, point) = mount(line).unwrap();
        assert_eq!(
            below(&own, &root, &point).unwrap(),
            Path::new("/sys/fs/cgroup/system.slice/mcpd.service")
        );
        assert_eq!(mount("35 24 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
        // A part of the tree is mounted somewhere else, in a directory with a blank.
        let (root, point) = mount("1 2 0:30 /system.slice /run/a\\040b rw - cgroup2 x rw").unwrap();
        assert_eq!(below(&own, &root, &point).unwrap(), Path::new("/run/a b/mcpd.service"));
        assert_eq!(below(Path::new("/other"), &root, &point), None);
        assert_eq!(below(Path::new("/system.slice"), &root, &point).unwrap(), Path::new("/run/a b"));
        assert_eq!(below(Path::new("/../x"), Path::new("/"), &point), None);
    }

    #[test]
    fn a_subgroup_is_no_unit() {
        let kinds = ["/a/mcpd.service", "/a/init.scope", "/a/app.slice", "/a/supervisor", "/a/b.c", "/"];
        let found = kinds.map(|path| is_unit(Path::new(path)));
        assert_eq!(found, [true, true, true, false, false, false]);
    }

    #[test]
    fn each_state_directory_has_its_own_name() {
        let [one, other] =
            ["/var/lib/mcpd", "/home/a/.local/state/mcpd"].map(|dir| base_name(Path::new(dir)));
        assert!(one != other && one.len() == "mcpd-".len() + 12, "{one} {other}");
    }
}
