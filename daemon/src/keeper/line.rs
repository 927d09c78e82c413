//! The daemon's end of the line to its keeper.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{Notify, mpsc};

use super::packet::{self, ToDaemon, ToKeeper};
use super::papers::Item;
use super::record::Record;
use super::{About, Handle, Kept, Legacy};
use crate::sys::{self, Dead};

/// What a daemon has of its keeper. Cheap to clone. Without a keeper nothing is kept, and nobody is told.
#[derive(Debug, Clone, Default)]
pub struct Line {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    socket: OwnedFd,
    /// Nobody is at its other end any more.
    gone: AtomicBool,
    /// What the keeper has, for whoever is to take over without one; `None`: nobody is.
    record: Mutex<Option<Record>>,
    about: About,
    waiting: Mutex<VecDeque<(ToKeeper, Vec<OwnedFd>)>>,
    filled: Notify,
}

/// How often, and after which pause, room is looked for: a keeper that does not read for 2 s hangs.
const TRIES: usize = 2000;
const PAUSE: Duration = Duration::from_millis(1);

/// What the keeper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A process that no living daemon has started has ended. To be answered with [`Line::seen`] once that is written down.
    Dead(Dead),
    /// Are you there? To be answered by whoever is asked, with [`Line::answer`].
    Asks(u64),
    /// All that it knew when it was asked for that ([`Line::sync`]) is told.
    Synced,
    /// It is gone.
    Gone,
}

impl Line {
    /// A daemon without a keeper.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes up the line that the keeper has given as stdin, and what it has kept. Waits for that.
    ///
    /// # Errors
    /// When nobody is there, or stdin is none.
    pub fn take_up() -> io::Result<(Self, Legacy)> {
        let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        // The kernel names a process for the file that it runs, and that was a link of another name.
        let _ = rustix::thread::set_name(c"mcpd");
        sys::write_from_the_background();
        packet::send(&socket, &ToKeeper::Take, &[])?;
        let mut legacy = Legacy::default();
        let about = loop {
            match packet::receive::<ToDaemon>(&socket)? {
                Some((ToDaemon::Kept { name, text }, handles)) => {
                    legacy.kept.insert(name, Kept { text, handles });
                }
                Some((ToDaemon::Dead(dead), _)) => legacy.dead.push(dead),
                Some((ToDaemon::All(about), _)) => break about,
                Some((ToDaemon::Ask { .. } | ToDaemon::Synced, _)) | None => {}
            }
        };
        if let Some((soft, hard)) = about.open_files {
            sys::open_files_limit_was(soft, hard);
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        let mut record = Record::default();
        for (name, Kept { text, handles }) in &legacy.kept {
            let handles: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
            record.note(name, text.as_deref(), &handles);
        }
        let inner = Inner {
            socket,
            gone: AtomicBool::new(false),
            record: Mutex::new(Some(record)),
            about,
            waiting: Mutex::default(),
            filled: Notify::new(),
        };
        Ok((Self { inner: Some(Arc::new(inner)) }, legacy))
    }

    /// What is known of the keeper; `None`: there is none, or none any more.
    #[must_use]
    pub fn about(&self) -> Option<&About> {
        let inner = self.inner.as_ref().filter(|inner| !inner.gone.load(Ordering::Acquire));
        inner.map(|inner| &inner.about)
    }

    /// Somebody may go on where this daemon ends: the keeper's next one, or an mcpd that [asks](Self::estate).
    #[must_use]
    pub fn has_successor(&self) -> bool {
        let Some(inner) = &self.inner else { return false };
        !inner.gone.load(Ordering::Acquire) || inner.record().is_some()
    }

    /// Nobody will ask what the keeper has: this needs not be known here.
    pub fn forget(&self) {
        if let Some(inner) = &self.inner {
            *inner.record() = None;
        }
    }

    /// The keeper is to end, and this daemon goes on without it.
    pub fn leave(&self) {
        self.say(ToKeeper::Leave, &[]);
    }

    /// What the keeper had when it ended, for whoever takes over from this daemon. `None`: it has not ended, or it is not known.
    #[must_use]
    pub fn estate(&self) -> Option<Vec<Item>> {
        let inner = self.inner.as_ref().filter(|inner| inner.gone.load(Ordering::Acquire))?;
        inner.record().as_ref().map(Record::items)
    }

    /// Has descriptors and a text kept by a name, in place of what had it.
    pub fn keep(&self, name: &str, text: Option<String>, descriptors: &[Handle<'_>]) {
        self.note(name, text.as_deref(), descriptors);
        let packet = ToKeeper::Keep { name: name.to_owned(), text };
        self.say(packet, descriptors);
    }

    fn note(&self, name: &str, text: Option<&str>, descriptors: &[Handle<'_>]) {
        if let Some(inner) = &self.inner
            && let Some(record) = inner.record().as_mut()
        {
            record.note(name, text, descriptors);
        }
    }

    /// The same, and it is with the keeper when this comes back, unless that hangs. Not for the loop.
    pub fn keep_now(&self, name: &str, text: Option<String>, descriptors: &[Handle<'_>]) {
        let Some(inner) = &self.inner else { return };
        self.note(name, text.as_deref(), descriptors);
        let packet = ToKeeper::Keep { name: name.to_owned(), text };
        for _ in 0..TRIES {
            let room = {
                let waiting = inner.waiting();
                // What waits is older, and may be about the same.
                waiting.is_empty()
                    && match packet::send(&inner.socket, &packet, descriptors) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                        Ok(()) | Err(_) => return,
                    }
            };
            if !room {
                std::thread::sleep(PAUSE);
            }
        }
        self.say(packet, descriptors);
    }

    /// What has that name is not needed any more.
    pub fn drop_kept(&self, name: &str) {
        if let Some(inner) = &self.inner
            && let Some(record) = inner.record().as_mut()
        {
            record.drop(name);
        }
        self.say(ToKeeper::Drop { name: name.to_owned() }, &[]);
    }

    /// The work has begun. `stopping`: and its end, which needs not be asked for again.
    pub fn ready(&self, stopping: bool) {
        self.say(ToKeeper::Ready { stopping }, &[]);
    }

    /// Asks to be told all ends that are known by now: [`Heard::Synced`] comes after them.
    pub fn sync(&self) {
        self.say(ToKeeper::Sync, &[]);
    }

    /// That this one has ended is known, and written down.
    pub fn seen(&self, pid: u32) {
        self.say(ToKeeper::Seen { pid }, &[]);
    }

    /// The answer to [`Heard::Asks`].
    pub fn answer(&self, number: u64) {
        self.say(ToKeeper::Answer { number }, &[]);
    }

    /// Lets this program take the place of this one; the keeper ends this process for it.
    pub fn upgrade(&self, program: &Path) {
        self.say(ToKeeper::Upgrade { program: program.to_owned() }, &[]);
    }

    /// Tells the service manager. False: there is no keeper to do it.
    #[must_use]
    pub fn notify(&self, text: &str) -> bool {
        self.say(ToKeeper::Notify { text: text.to_owned() }, &[]);
        self.inner.is_some()
    }

    /// Does not wait: what there is no room for is sent by whoever [listens](Self::listen).
    fn say(&self, packet: ToKeeper, descriptors: &[Handle<'_>]) {
        let Some(inner) = &self.inner else { return };
        let mut waiting = inner.waiting();
        if waiting.is_empty() {
            match packet::send(&inner.socket, &packet, descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Of a keeper that is gone the listener hears.
                Ok(()) | Err(_) => return,
            }
        }
        let copies = descriptors.iter().filter_map(|descriptor| descriptor.try_clone_to_owned().ok());
        waiting.push_back((packet, copies.collect()));
        inner.filled.notify_one();
    }

    /// Hears what the keeper says until it is gone, as a task of the current runtime, and puts it into an inbox.
    ///
    /// # Errors
    /// When the system has no room for it.
    pub fn listen<M: Send + 'static>(
        &self,
        outbox: mpsc::Sender<M>,
        message: impl Fn(Heard) -> M + Send + 'static,
    ) -> io::Result<()> {
        let Some(inner) = self.inner.clone() else { return Ok(()) };
        // Of this type only the registration is used: the socket keeps the borders of its packets as well.
        let socket = UnixDatagram::from_std(inner.socket.try_clone()?.into())?;
        tokio::spawn(async move {
            loop {
                let heard = tokio::select! {
                    heard = next(&socket) => heard,
                    sent = inner.send_waiting(&socket) => sent.map(|()| None),
                };
                let heard = match heard {
                    Ok(Some(heard)) => heard,
                    Ok(None) => continue,
                    Err(_) => Heard::Gone,
                };
                let gone = heard == Heard::Gone;
                inner.gone.fetch_or(gone, Ordering::AcqRel);
                // Full: what the keeper has to say waits like everybody's.
                if outbox.send(message(heard)).await.is_err() || gone {
                    break;
                }
            }
        });
        Ok(())
    }
}

impl Inner {
    fn record(&self) -> MutexGuard<'_, Option<Record>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(ToKeeper, Vec<OwnedFd>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits, once something does and as soon as there is room.
    async fn send_waiting(&self, socket: &UnixDatagram) -> io::Result<()> {
        while self.waiting().is_empty() {
            self.filled.notified().await;
        }
        let sent = socket.async_io(Interest::WRITABLE, || {
            let mut waiting = self.waiting();
            while let Some((packet, descriptors)) = waiting.front() {
                let with: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                packet::send(socket, packet, &with)?;
                waiting.pop_front();
            }
            Ok(())
        });
        sent.await
    }
}

/// The next thing that means something.
async fn next(socket: &UnixDatagram) -> io::Result<Option<Heard>> {
    let heard = socket.async_io(Interest::READABLE, || packet::receive::<ToDaemon>(socket)).await?;
    Ok(match heard {
        Some((ToDaemon::Ask { number }, _)) => Some(Heard::Asks(number)),
        Some((ToDaemon::Dead(dead), _)) => Some(Heard::Dead(dead)),
        Some((ToDaemon::Synced, _)) => Some(Heard::Synced),
        Some((ToDaemon::Kept { .. } | ToDaemon::All(_), _)) | None => None,
    })
}
