//! Who asks? What the socket tells of whoever connected, for the events that follow from it.

use std::sync::Arc;

use interprocess::local_socket::tokio::Stream;
use serde::Serialize;
use tokio::sync::OnceCell;

use super::Desk;
use super::method::blocking;
use crate::sys;

/// The process that connected, and its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asker {
    /// The process.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// That user's name, if `/etc/passwd` has it: no name service is asked.
    pub user: Option<String>,
    /// The name of the program, as the kernel has it.
    pub program: Option<String>,
}

impl Asker {
    /// "alice (mcpctl, pid 4711)"
    #[must_use]
    pub fn words(&self) -> String {
        let Self { pid, uid, user, program } = self;
        let who = user.clone().unwrap_or_else(|| format!("uid {uid}"));
        let with = program.as_ref().map_or_else(String::new, |program| format!("{program}, "));
        format!("{who} ({with}pid {pid})")
    }
}

/// The peer of a session, asked after when it orders something.
#[derive(Clone)]
pub(super) struct Peer {
    credentials: Option<(u32, u32)>,
    known: Arc<OnceCell<Arc<Asker>>>,
}

impl Peer {
    pub(super) fn of(stream: &Stream) -> Self {
        Self { credentials: sys::peer(stream), known: Arc::default() }
    }

    /// `None` where the system does not say.
    pub(super) async fn asker(&self, desk: &Desk) -> Option<Arc<Asker>> {
        let (pid, uid) = self.credentials?;
        let find = move || Asker { pid, uid, user: sys::user_name(uid), program: sys::program_name(pid) };
        let known = self.known.get_or_init(|| async {
            let found = blocking(desk, find).await;
            Arc::new(found.unwrap_or(Asker { pid, uid, user: None, program: None }))
        });
        Some(known.await.clone())
    }
}
