//! Windows: nobody keeps anything.

use super::{Handle, Legacy};

/// What a daemon has of its keeper: nothing.
#[derive(Debug, Clone, Default)]
pub struct Line;

/// What the keeper says: nothing, ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A process has ended.
    Dead(crate::sys::Dead),
    /// Are you there?
    Asks(u64),
    /// All that it knew is told.
    Synced,
    /// It is gone.
    Gone,
}

impl Line {
    /// A daemon without a keeper.
    #[must_use]
    pub fn none() -> Self {
        Self
    }

    /// There is no keeper.
    ///
    /// # Errors
    /// Always.
    pub fn take_up() -> std::io::Result<(Self, Legacy)> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// What is known of the keeper: there is none.
    #[must_use]
    pub fn about(&self) -> Option<&super::About> {
        None
    }

    /// Keeps nothing.
    pub fn keep(&self, name: &str, text: Option<String>, handles: &[Handle<'_>]) {
        let _ = (name, text, handles);
    }

    /// Keeps nothing.
    pub fn keep_now(&self, name: &str, text: Option<String>, handles: &[Handle<'_>]) {
        let _ = (name, text, handles);
    }

    /// Nothing is kept.
    pub fn drop_kept(&self, name: &str) {
        let _ = name;
    }

    /// Nobody goes on.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        false
    }

    /// Nothing is known here.
    pub fn forget(&self) {}

    /// There is no keeper to leave.
    pub fn leave(&self) {}

    /// Nothing is handed over.
    #[must_use]
    pub fn estate(&self) -> Option<Vec<super::papers::Item>> {
        None
    }

    /// Nobody takes over.
    pub fn upgrade(&self, program: &std::path::Path) {
        let _ = program;
    }

    /// Tells nobody.
    pub fn ready(&self, stopping: bool) {
        let _ = stopping;
    }

    /// Nobody answers.
    pub fn sync(&self) {}

    /// Nobody has told of one.
    pub fn seen(&self, pid: u32) {
        let _ = pid;
    }

    /// Answers nobody.
    pub fn answer(&self, number: u64) {
        let _ = number;
    }

    /// False: there is no keeper to do it.
    #[must_use]
    pub fn notify(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// Hears nothing.
    ///
    /// # Errors
    /// None.
    pub fn listen<M: Send + 'static>(
        &self,
        outbox: tokio::sync::mpsc::Sender<M>,
        message: impl Fn(Heard) -> M + Send + 'static,
    ) -> std::io::Result<()> {
        let _ = (outbox, message);
        Ok(())
    }
}
