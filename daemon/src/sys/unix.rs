//! Linux: processes by `posix_spawn`, reaped by the loop's thread, descendants found through `/proc`.
//!
//! Where to go next: [`spawn`](spawn::spawn) starts, `exec_step/` sets up what has to be set between the process and its
//! program, `explain.rs` turns an errno of exec into its cause, `children.rs`
//! reaps and signals, `descendants.rs` finds what a dead leader left behind, `proc_files.rs` reads `/proc`.

mod children;
mod descendants;
mod exec_step;
mod explain;
mod files;
mod limits;
mod notify;
mod proc_files;
mod sockets;
mod spawn;

pub use children::Children;
pub use exec_step::{exec_step, unknown_account};
pub(super) use explain::is_permanent;
pub use files::{
    async_pipe, ctrl_c_helper, is_pipe, make_private_dir, make_runtime_dir, open_lock, private,
    remove_stale_socket, set_socket_mode, stderr_is_the_journal,
};
pub use limits::{is_shortage, raise_open_files_limit};
pub use notify::{Barrier, NotifySocket};
pub use sockets::port_holder;
pub use spawn::{Process, spawn};

#[cfg(not(target_os = "linux"))]
compile_error!("mcpd runs on Linux and on Windows: it needs a child subreaper or job objects");

/// The read end of a service's output, non-blocking.
pub type LogPipe = mio::unix::pipe::Receiver;

/// Nanoseconds of the system-wide monotonic clock: the same for every process until the machine restarts.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The clock starts at 0 with the machine and its nanoseconds stay below 1e9: neither part is ever negative.
    now.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.unsigned_abs())
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

/// Whether the daemon runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
