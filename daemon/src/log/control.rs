//! What every thread of the log path holds: how to ask the pump for something, and how to say what happened.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use mcpd_config::spec::LogSpec;
use mcpd_proto::log::LogLine;
use tokio::sync::oneshot;

use super::follow::{Sink, Start};
use super::pipe::LogPipe;
use super::queue::{Shared, lock};
use super::watch::Watch;
use super::{LogEvent, Tails};

/// What the pump is asked for, in order.
pub(super) enum Command {
    Define {
        shared: Arc<Shared>,
        spec: LogSpec,
        tail_lines: u32,
    },
    Remove(u32),
    Attach {
        service: u32,
        generation: u64,
        stdout: Option<LogPipe>,
        stderr: Option<LogPipe>,
    },
    Watch {
        service: u32,
        watch: Option<Watch>,
    },
    /// The run was begun by another daemon: `began` is when, in microseconds since 1970.
    AttachAgain {
        service: u32,
        generation: u64,
        began: i64,
        stdout: Option<LogPipe>,
        stderr: Option<LogPipe>,
    },
    /// What was written of a service before this daemon.
    Recalled {
        service: u32,
        lines: Vec<LogLine>,
    },
    /// Every pipe of a daemon before this one is attached.
    TakenOver,
    Drain {
        service: u32,
        generation: u64,
        done: Box<dyn FnOnce(Tails) + Send>,
    },
    Tail {
        service: u32,
        lines: usize,
        done: Box<dyn FnOnce(Vec<LogLine>) + Send>,
    },
    Follow {
        service: u32,
        start: oneshot::Sender<Start>,
        sink: Sink,
    },
    Reopen,
    Flush(Box<dyn FnOnce() + Send>),
    Stop {
        until: std::time::Instant,
        done: mpsc::Sender<()>,
    },
}

#[derive(Default)]
struct Commands {
    list: Vec<Command>,
    /// The pump is gone: what is asked now would wait for ever, so it is dropped.
    closed: bool,
}

pub(super) struct Control {
    waker: mio::Waker,
    commands: Mutex<Commands>,
    /// The pump waits for room in a queue and wants to be woken when there may be some.
    pub(super) wants_room: AtomicBool,
    /// How often the pump woke up.
    pub(super) wakeups: AtomicU64,
    pub(super) services: Mutex<HashMap<u32, Arc<Shared>>>,
    on_event: Arc<dyn Fn(LogEvent) + Send + Sync>,
}

impl Control {
    pub(super) fn new(waker: mio::Waker, on_event: Arc<dyn Fn(LogEvent) + Send + Sync>) -> Self {
        Self {
            waker,
            commands: Mutex::default(),
            wants_room: AtomicBool::new(false),
            wakeups: AtomicU64::new(0),
            services: Mutex::default(),
            on_event,
        }
    }

    pub(super) fn ask(&self, command: Command) {
        let mut commands = lock(&self.commands);
        if commands.closed {
            return;
        }
        commands.list.push(command);
        let first = commands.list.len() == 1;
        drop(commands);
        if first {
            self.wake();
        }
    }

    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut lock(&self.commands).list)
    }

    /// The pump ends. What is still asked for is dropped, and with it everyone who waits for an answer hears so.
    pub(super) fn close(&self) {
        let mut commands = lock(&self.commands);
        commands.closed = true;
        let rest = std::mem::take(&mut commands.list);
        drop(commands);
        drop(rest);
    }

    /// A queue has become shorter.
    pub(super) fn made_room(&self) {
        if self.wants_room.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        // It can fail only when the poll is gone, and then nobody is to be woken.
        let _ = self.waker.wake();
    }

    pub(super) fn say(&self, event: LogEvent) {
        (self.on_event)(event);
    }
}
