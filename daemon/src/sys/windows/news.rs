//! Word of ended processes, from the system's threads to the loop's.
//!
//! Two sources: a wait of the thread pool on each main process, and one completion port on which all jobs tell of each
//! process that leaves them. Both only say that it is worth looking; [`Children`](super::Children) looks.

use std::fmt;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::SystemServices::{
    JOB_OBJECT_MSG_ABNORMAL_EXIT_PROCESS, JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO, JOB_OBJECT_MSG_EXIT_PROCESS,
};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE,
};

use super::job::succeeded;
use crate::sys::{Key, Waker};

/// Ends the port's thread; no message of a job has this number.
const QUIT: u32 = u32::MAX;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The main process of this run has ended.
    MainEnded(Key),
    /// A process of this run's job has ended.
    ProcessEnded(Key, u32),
    /// The last process of this run's job has ended.
    JobEmpty(Key),
}

/// Where the system's threads put their news. It holds at most three entries for each process that ended.
pub(super) struct Inbox {
    news: Mutex<Vec<News>>,
    wake: Waker,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("news", &self.news).finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(wake: Waker) -> Arc<Self> {
        Arc::new(Self { news: Mutex::new(Vec::new()), wake })
    }

    /// All news since the last call.
    pub(super) fn take(&self) -> Vec<News> {
        std::mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, news: News) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        (self.wake)();
    }
}

/// A wait of the thread pool for the end of one process.
#[derive(Debug)]
pub(super) struct Wait {
    handle: HANDLE,
    context: *mut Context,
}

struct Context {
    key: Key,
    inbox: Arc<Inbox>,
}

// SAFETY: the handle is valid on every thread, and the context is only touched by the callback, through a shared
// reference to `Send` and `Sync` parts, and by `drop`, after the callback.
unsafe impl Send for Wait {}

impl Wait {
    pub(super) fn start(process: &OwnedHandle, key: Key, inbox: &Arc<Inbox>) -> io::Result<Self> {
        let context = Box::into_raw(Box::new(Context { key, inbox: Arc::clone(inbox) }));
        let mut wait = Self { handle: std::ptr::null_mut(), context };
        // SAFETY: the process handle is open, and the caller keeps it open as long as the wait (a closed one would only
        // end the wait with an error); `context` lives until `drop` has ended the wait.
        succeeded(unsafe {
            RegisterWaitForSingleObject(
                &raw mut wait.handle,
                process.as_raw_handle(),
                Some(ended),
                context.cast_const().cast(),
                INFINITE,
                WT_EXECUTEONLYONCE,
            )
        })?;
        Ok(wait)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the wait was registered and is ended only here. INVALID_HANDLE_VALUE: the call returns when the
            // callback is not running and never will. It does not wait for long, for the callback does not.
            unsafe { UnregisterWaitEx(self.handle, INVALID_HANDLE_VALUE) };
        }
        // SAFETY: it came from `Box::into_raw`, and the callback, its only other user, is over.
        drop(unsafe { Box::from_raw(self.context) });
    }
}

unsafe extern "system" fn ended(context: *mut std::ffi::c_void, _timed_out: bool) {
    // SAFETY: the pointer is the one given at registration; `Wait::drop` frees it only after this call.
    let context = unsafe { &*context.cast::<Context>().cast_const() };
    context.inbox.put(News::MainEnded(context.key));
}

/// The completion port of all jobs and the thread that waits on it.
#[derive(Debug)]
pub(super) struct Port {
    handle: Arc<OwnedHandle>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    pub(super) fn open(inbox: Arc<Inbox>) -> io::Result<Self> {
        // SAFETY: without a file handle the call creates a port of its own.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 1) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle was just created and belongs to no one else.
        let handle = Arc::new(unsafe { OwnedHandle::from_raw_handle(handle) });
        let port = Arc::clone(&handle);
        let thread =
            std::thread::Builder::new().name("mcpd-jobs".to_owned()).spawn(move || listen(&port, &inbox))?;
        Ok(Self { handle, thread: Some(thread) })
    }

    pub(super) fn handle(&self) -> &OwnedHandle {
        &self.handle
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // SAFETY: the handle is open; a null pointer is what a message without data has.
        let posted =
            unsafe { PostQueuedCompletionStatus(self.handle.as_raw_handle(), QUIT, 0, std::ptr::null()) };
        if posted != 0
            && let Some(thread) = self.thread.take()
        {
            // It cannot panic, and a panic would have been printed.
            let _ = thread.join();
        }
    }
}

fn listen(port: &OwnedHandle, inbox: &Inbox) {
    loop {
        let (mut message, mut key, mut about) = (0, 0, std::ptr::null_mut::<OVERLAPPED>());
        // SAFETY: the port is open and the pointers are to writable memory of the right types.
        let got = unsafe {
            GetQueuedCompletionStatus(
                port.as_raw_handle(),
                &raw mut message,
                &raw mut key,
                &raw mut about,
                INFINITE,
            )
        };
        if got == 0 || message == QUIT {
            return;
        }
        let Ok(key) = Key::try_from(key) else { continue };
        match message {
            JOB_OBJECT_MSG_EXIT_PROCESS | JOB_OBJECT_MSG_ABNORMAL_EXIT_PROCESS => {
                // Here the pointer is a process id.
                inbox.put(News::ProcessEnded(key, u32::try_from(about.addr()).unwrap_or(0)));
            }
            JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO => inbox.put(News::JobEmpty(key)),
            _ => (),
        }
    }
}
