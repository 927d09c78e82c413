//! Windows: a job object per service, exits by the thread pool's waits, CTRL+C through a helper.
//!
//! Where to go next: `spawn.rs` starts, `job.rs` holds a process tree together, `children.rs` reaps and signals, `news.rs`
//! brings word of ended processes to it, `console.rs` sends CTRL+C.

mod cgroup;
mod children;
mod console;
mod files;
mod job;
mod news;
mod notify;
mod remains;
mod shared_memory;
mod slots;
mod spawn;

pub use cgroup::{Cgroup, Cgroups};
pub use children::Children;
pub use console::{CTRL_C_ARGUMENT, ctrl_c_helper};
pub use files::{
    async_pipe, control_listener, identity, inode, is_pipe, log_pipe, make_private_dir, make_runtime_dir,
    open_lock, pipe_handle, private, remove_stale_socket, set_socket_mode, stderr_is_the_journal,
};
pub use notify::{Barrier, NotifySocket};
pub use remains::{Remains, RemainsWaker};
pub use shared_memory::{Passage, SharedMemory};
pub use slots::Slots;
pub(super) use spawn::is_permanent;
pub use spawn::{Process, in_memory, spawn, spawn_announced};

use mcpd_proto::status::Tree;
use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::Foundation::{
    ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_TOO_MANY_OPEN_FILES,
};
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};
use windows_sys::Win32::System::SystemInformation::{
    ComputerNamePhysicalDnsHostname, GetComputerNameExW, OSVERSIONINFOW,
};

/// The read end of a service's output, non-blocking. Reading starts once it is registered with a `mio` poll.
pub type LogPipe = mio::windows::NamedPipe;

/// Windows is not asked who has connected.
#[must_use]
pub fn peer(_: &interprocess::local_socket::tokio::Stream) -> Option<(u32, u32)> {
    None
}

/// Users have no numbers here.
#[must_use]
pub fn user_name(_: u32) -> Option<String> {
    None
}

/// Nobody is asked for, see [`peer`].
#[must_use]
pub fn program_name(_: u32) -> Option<String> {
    None
}

/// Windows is not asked who listens on a port.
pub fn port_holder(_: u16) -> Option<crate::sys::PortHolder> {
    None
}

/// What is to be done about something that takes a cgroup.
pub const CGROUP_ADVICE: &str = "take the key out";

/// How the processes of a run are held together.
pub const TREE: Tree = Tree::Job;
/// No plan names an account on Windows.
pub fn unknown_account(_: &[crate::sys::Setup]) -> Option<String> {
    None
}

/// There is no exec step on Windows.
pub fn exec_step() -> Option<i32> {
    None
}

/// Nanoseconds of the system-wide monotonic clock: the same for every process until the machine restarts. It is the
/// clock of the standard library's `Instant` too, so that deadlines and timers agree.
pub fn monotonic_ns() -> u64 {
    let (mut ticks, mut per_second) = (0_i64, 0_i64);
    // SAFETY: the pointers are to writable memory of the right type. The calls cannot fail since Windows XP.
    unsafe {
        QueryPerformanceCounter(&raw mut ticks);
        QueryPerformanceFrequency(&raw mut per_second);
    }
    let nanoseconds =
        u128::from(ticks.unsigned_abs()) * 1_000_000_000 / u128::from(per_second.unsigned_abs().max(1));
    // It overflows after 584 years.
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

/// Not needed here: a job ends with the daemon that holds it, so that nothing is left to be recognised.
pub fn boot_id() -> Option<String> {
    None
}

/// Not needed here, as [`boot_id`].
pub fn start_ticks(pid: u32) -> Option<u64> {
    let _ = pid;
    None
}

/// Not asked here.
pub fn sample(pid: u32) -> Option<crate::sys::Sample> {
    let _ = pid;
    None
}

/// Not asked here.
pub fn machine() -> crate::sys::Machine {
    crate::sys::Machine::default()
}

/// There are no core files.
pub fn core_pattern() -> Option<String> {
    None
}

/// When a file was last written to.
pub fn changed_at(found: &std::fs::Metadata) -> Option<std::time::SystemTime> {
    found.modified().ok()
}

/// The machine's host name; empty when the system does not tell.
pub fn host_name() -> String {
    // A DNS label has at most 63 characters; the system never needs more than 256.
    let mut buffer = [0_u16; 256];
    let mut length: u32 = 256;
    // SAFETY: `length` says how many characters `buffer` has room for, and receives how many were written.
    let done =
        unsafe { GetComputerNameExW(ComputerNamePhysicalDnsHostname, buffer.as_mut_ptr(), &raw mut length) }
            != 0;
    let length = usize::try_from(length).unwrap_or(0);
    buffer.get(..length).filter(|_| done).map(String::from_utf16_lossy).unwrap_or_default()
}

/// The system, its version and its processor, as in `Windows 10.0.19045 x86_64`.
pub fn os_release() -> String {
    let size = u32::try_from(size_of::<OSVERSIONINFOW>()).unwrap_or(0);
    let mut version = OSVERSIONINFOW { dwOSVersionInfoSize: size, ..Default::default() };
    // SAFETY: the structure is writable and holds its own size. The call cannot fail.
    unsafe { RtlGetVersion(&raw mut version) };
    format!(
        "Windows {}.{}.{} {}",
        version.dwMajorVersion,
        version.dwMinorVersion,
        version.dwBuildNumber,
        std::env::consts::ARCH
    )
}

/// Whether a user may do whatever the daemon may: users have no numbers here.
pub fn is_master(_uid: u32) -> bool {
    false
}

/// Whether the daemon runs as root: there is none on Windows.
pub fn is_root() -> bool {
    false
}

/// Does this error say that the machine, or the daemon's share of it, has no room: no handle, socket or memory?
pub fn is_shortage(error: &std::io::Error) -> bool {
    const SHORTAGES: [u32; 6] = [
        ERROR_TOO_MANY_OPEN_FILES,
        ERROR_NOT_ENOUGH_MEMORY,
        ERROR_OUTOFMEMORY,
        ERROR_NO_SYSTEM_RESOURCES,
        // Winsock's own numbers of the same: WSAEMFILE, WSAENOBUFS.
        10_024,
        10_055,
    ];
    let raw = error.raw_os_error().and_then(|raw| u32::try_from(raw).ok());
    raw.is_some_and(|raw| SHORTAGES.contains(&raw))
}

/// The system's own allocator does that by itself.
pub fn give_back_memory() {}

/// Windows has no limit of open files that could be raised.
pub fn raise_open_files_limit() {}
