//! Linux: processes as `posix_spawn` makes them, reaped by the loop's thread, descendants found through `/proc`.
//!
//! Where to go next: [`spawn`](spawn::spawn) starts, `exec_step/` sets up what has to be set between the process and
//! its program, `explain.rs` turns an errno of exec into its cause, `children.rs` reaps and signals, `children/fostered.rs`
//! minds what a dead daemon started, `ends.rs` says how a child ended, `descendants.rs` finds what a dead leader left
//! behind, `remains.rs` what a killed daemon did, `proc_files.rs` reads `/proc`.
//! `delegation.rs` finds out where runs can have cgroups, `cgroup.rs` is one, `launch.rs` starts a program in it,
//! `cgroup_watch.rs` hears that it is empty. `controllers.rs` brings the controllers there, `allowance.rs` writes
//! limits, `usage.rs` reads counters, `machine.rs` how the machine and a process are doing. `slots.rs`, `shared_memory.rs` and
//! `passage.rs` are for what must outlive the daemon, `fork.rs` starts one, `strangers.rs` hears of the ends of processes
//! that are nobody's children here.

mod allowance;
mod census;
mod cgroup;
mod cgroup_watch;
mod children;
mod controllers;
mod delegation;
mod descendants;
mod ends;
mod exec_step;
mod explain;
mod files;
mod fork;
mod launch;
mod limits;
mod machine;
mod notify;
mod passage;
mod peers;
mod proc_files;
mod remains;
mod shared_memory;
mod slots;
mod sockets;
mod spawn;
mod strangers;
mod usage;

pub use cgroup::Cgroup;
pub use children::Children;
pub use delegation::Cgroups;
pub use ends::{Changed, any_news};
pub use exec_step::{exec_step, unknown_account};
pub(super) use explain::is_permanent;
pub use files::{
    async_pipe, control_listener, ctrl_c_helper, identity, inode, is_pipe, log_pipe, make_private_dir,
    make_runtime_dir, open_lock, pipe_handle, private, remove_stale_socket, set_socket_mode,
    stderr_is_the_journal,
};
pub use fork::fork_and_execute;
pub use limits::{
    close_on_exec, give_back_memory, inherited_open_files_limit, is_shortage, let_trace,
    open_files_limit_was, raise_open_files_limit, take_descriptor, with_descriptor,
    write_from_the_background,
};
pub use machine::{changed_at, core_pattern, machine, sample};
pub use notify::{Barrier, NotifySocket};
pub use passage::Passage;
pub use peers::{peer, program_name, user_name};
pub use remains::{Remains, RemainsWaker};
pub use shared_memory::SharedMemory;
pub use slots::Slots;
pub use sockets::port_holder;
pub use spawn::{Process, in_memory, spawn, spawn_announced};

use mcpd_proto::status::Tree;

#[cfg(not(target_os = "linux"))]
compile_error!("mcpd runs on Linux and on Windows: it needs a child subreaper or job objects");

/// The read end of a service's output, non-blocking.
pub type LogPipe = mio::unix::pipe::Receiver;

/// What is to be done so that runs have cgroups.
pub const CGROUP_ADVICE: &str =
    "start mcpd where it may have some (Delegate=yes in its unit), or take the key out";

/// How the processes of a run are held together when it has no cgroup.
pub const TREE: Tree = Tree::Session;

/// Nanoseconds of the system-wide monotonic clock: the same for every process until the machine restarts.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The clock starts at 0 with the machine and its nanoseconds stay below 1e9: neither part is ever negative.
    now.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.unsigned_abs())
}

/// A different text after each start of the machine: process numbers and start times of another one mean nothing.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// When a living process started, as [`Process::start_ticks`] says; `None`: there is none of this number.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = proc_files::stat(libc::pid_t::try_from(pid).ok()?)?;
    (!stat.dead).then_some(stat.started)
}

/// The machine's host name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The system, its release and its processor, as in `Linux 6.1.0 x86_64`.
pub fn os_release() -> String {
    let uname = rustix::system::uname();
    [uname.sysname(), uname.release(), uname.machine()].map(|part| part.to_string_lossy()).join(" ")
}

/// Whether a user may do whatever the daemon may: root, and the daemon's own.
pub fn is_master(uid: u32) -> bool {
    uid == 0 || rustix::process::geteuid().as_raw() == uid
}

/// Whether the daemon runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
