//! A job object: one service's process tree, which nothing leaves and which ends as one.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::time::Duration;

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_ASSOCIATE_COMPLETION_PORT, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION,
    JOBOBJECT_BASIC_PROCESS_ID_LIST, JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS,
    JobObjectAssociateCompletionPortInformation, JobObjectBasicAccountingInformation,
    JobObjectBasicProcessIdList, JobObjectExtendedLimitInformation, QueryInformationJobObject,
    SetInformationJobObject, TerminateJobObject,
};

use crate::sys::Key;

/// The exit code of processes that the daemon terminates: what a Unix shell reports for SIGKILL, 128 + 9.
pub(super) const TERMINATED: u32 = 137;

/// A job. Closing it, also by the daemon's own end, ends every process in it.
#[derive(Debug)]
pub(super) struct Job(OwnedHandle);

/// So many processes of a job are named; more than any sentence has room for.
const LISTED: usize = 256;

impl Job {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: both pointers may be null: default security, no name.
        let handle = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle was just created and belongs to no one else.
        let job = Self(unsafe { OwnedHandle::from_raw_handle(handle) });
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        job.set(JobObjectExtendedLimitInformation, &limits)?;
        Ok(job)
    }

    /// Takes a process in; all that it starts from now on is in as well.
    pub(super) fn assign(&self, process: &impl AsRawHandle) -> io::Result<()> {
        // SAFETY: both handles are open while they are borrowed.
        succeeded(unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle()) })
    }

    /// Has the job tell `port` of its processes' ends, under the name `key`.
    pub(super) fn report_to(&self, port: &OwnedHandle, key: Key) -> io::Result<()> {
        let key = usize::try_from(key).map_err(io::Error::other)?;
        let target = JOBOBJECT_ASSOCIATE_COMPLETION_PORT {
            CompletionKey: std::ptr::without_provenance_mut(key),
            CompletionPort: port.as_raw_handle(),
        };
        self.set(JobObjectAssociateCompletionPortInformation, &target)
    }

    /// Ends every process in it. They are gone a moment later.
    pub(super) fn terminate(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        succeeded(unsafe { TerminateJobObject(self.0.as_raw_handle(), TERMINATED) })
    }

    /// How many processes in it live; 0 when the system does not tell.
    pub(super) fn living(&self) -> usize {
        self.accounting().and_then(|accounting| usize::try_from(accounting.ActiveProcesses).ok()).unwrap_or(0)
    }

    /// The processor time, user and system, that its processes have used.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let accounting = self.accounting()?;
        let hundreds_of_nanoseconds =
            accounting.TotalUserTime.unsigned_abs().checked_add(accounting.TotalKernelTime.unsigned_abs())?;
        Some(Duration::from_nanos(hundreds_of_nanoseconds.checked_mul(100)?))
    }

    /// One process in it that lives.
    pub(super) fn any_process(&self) -> Option<u32> {
        // The system fills in as many as there is room for and says that there were more; one is enough.
        let mut list = JOBOBJECT_BASIC_PROCESS_ID_LIST::default();
        // SAFETY: the pointer is to writable memory of the size given, of the type that the class asks for.
        unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicProcessIdList,
                (&raw mut list).cast(),
                size_of_u32::<JOBOBJECT_BASIC_PROCESS_ID_LIST>(),
                std::ptr::null_mut(),
            )
        };
        (list.NumberOfProcessIdsInList > 0).then(|| u32::try_from(list.ProcessIdList[0]).ok()).flatten()
    }

    /// The processes in it that live: the first [`LISTED`] of them, when there are more.
    pub(super) fn processes(&self) -> Vec<u32> {
        // The system's structure is two numbers of 32 bits, then a list of pointer-sized ones.
        let header = (2 * size_of::<u32>()).div_ceil(size_of::<usize>());
        let mut buffer = vec![0_usize; header + LISTED];
        let bytes = u32::try_from(size_of_val(buffer.as_slice())).unwrap_or(0);
        // SAFETY: the pointer is to writable memory of the size given, aligned as the structure that the class asks for.
        unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicProcessIdList,
                buffer.as_mut_ptr().cast(),
                bytes,
                std::ptr::null_mut(),
            )
        };
        // SAFETY: the buffer is larger than the structure, aligned as it is, and all bit patterns are numbers.
        let listed =
            unsafe { (*buffer.as_ptr().cast::<JOBOBJECT_BASIC_PROCESS_ID_LIST>()).NumberOfProcessIdsInList };
        let count = usize::try_from(listed).unwrap_or(0).min(LISTED);
        buffer[header..header + count].iter().filter_map(|&pid| u32::try_from(pid).ok()).collect()
    }

    fn accounting(&self) -> Option<JOBOBJECT_BASIC_ACCOUNTING_INFORMATION> {
        let mut accounting = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        // SAFETY: the pointer is to writable memory of the size given, of the type that the class asks for.
        let done = unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicAccountingInformation,
                (&raw mut accounting).cast(),
                size_of_u32::<JOBOBJECT_BASIC_ACCOUNTING_INFORMATION>(),
                std::ptr::null_mut(),
            )
        };
        (done != 0).then_some(accounting)
    }

    /// `T` must be the structure that `class` asks for; a wrong one is an error of the system, not of memory.
    fn set<T>(&self, class: JOBOBJECTINFOCLASS, value: &T) -> io::Result<()> {
        // SAFETY: the pointer is to readable memory of the size given.
        succeeded(unsafe {
            SetInformationJobObject(
                self.0.as_raw_handle(),
                class,
                std::ptr::from_ref(value).cast(),
                size_of_u32::<T>(),
            )
        })
    }
}

fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(0)
}

/// The result of a call that returns 0 on failure.
pub(super) fn succeeded(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
