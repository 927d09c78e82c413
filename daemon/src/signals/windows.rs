//! Console events. Ends of children come through `sys::Children`'s waker, reloads through the control pipe.

use std::io;

use tokio::signal::windows;

use super::Wish;

/// The daemon's console events.
pub struct Signals {
    ctrl_c: windows::CtrlC,
    ctrl_break: windows::CtrlBreak,
    close: windows::CtrlClose,
    shutdown: windows::CtrlShutdown,
}

impl Signals {
    /// From here on these events are wishes.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            ctrl_c: windows::ctrl_c()?,
            ctrl_break: windows::ctrl_break()?,
            close: windows::ctrl_close()?,
            shutdown: windows::ctrl_shutdown()?,
        })
    }

    /// The next wish.
    ///
    /// # Errors
    /// None on this system.
    pub async fn next(&mut self) -> io::Result<Wish> {
        tokio::select! {
            Some(()) = self.ctrl_c.recv() => Ok(Wish::Stop),
            Some(()) = self.ctrl_break.recv() => Ok(Wish::Stop),
            Some(()) = self.close.recv() => Ok(Wish::Stop),
            Some(()) = self.shutdown.recv() => Ok(Wish::Stop),
            else => std::future::pending().await,
        }
    }
}
