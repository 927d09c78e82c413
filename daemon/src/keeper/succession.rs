//! How another program takes the keeper's place: the process stays, with its children and all that it has open, and
//! executes that program. What it knows goes along in a file in memory.

use std::collections::VecDeque;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::SigSet;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

use super::decide::Memory;
use super::papers::Item;
use super::{Kept, Last, RUN};
use crate::sys::{self, Dead};

/// Of what is handed over. A program that knows it only by another number is not executed.
pub(super) const FORMAT: u32 = 1;

/// The argument before the number of the descriptor; the first of all.
pub(super) const ARGUMENT: &str = "--keeper-state";

/// What a keeper knows when there is no daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) format: u32,
    pub(super) memory: Memory,
    pub(super) kept: Vec<Item>,
    pub(super) dead: VecDeque<Dead>,
    pub(super) last: Option<Last>,
    /// The file that the program was started from.
    pub(super) program: PathBuf,
    /// The program that was here before, open.
    pub(super) before: Option<RawFd>,
    pub(super) not_upgraded: Option<String>,
    pub(super) open_files: Option<(Option<u64>, Option<u64>)>,
}

/// The words after the program's name, as they were given first.
pub(super) fn words() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == ARGUMENT) {
        words.drain(..words.len().min(2));
    }
    if words.first().is_some_and(|word| word == RUN) {
        words.remove(0);
    }
    words
}

/// Executes a program in the place of this one. Comes back only with what was in the way. To be called with
/// [signals blocked](block_signals): one that comes meanwhile waits for whoever comes.
pub(super) fn execute(program: &Path, state: &State, open: &[&OwnedFd]) -> io::Error {
    let text = serde_json::to_vec(state).map_err(io::Error::from);
    let file = match text.and_then(|text| sys::in_memory(&text)) {
        Ok(file) => OwnedFd::from(file),
        Err(error) => return error,
    };
    let all = || open.iter().copied().chain([&file]);
    let inherited = all().try_for_each(|open| rustix::io::fcntl_setfd(open, FdFlags::empty()));
    let error = inherited.map_err(io::Error::from).and_then(|()| replace(program, file.as_raw_fd()));
    for open in all() {
        // It was so before.
        let _ = rustix::io::fcntl_setfd(open, FdFlags::CLOEXEC);
    }
    error.err().unwrap_or_else(|| io::ErrorKind::Other.into())
}

/// Not as the standard library does it, which lets signals through before.
fn replace(program: &Path, state: RawFd) -> io::Result<()> {
    let name = std::env::args_os().next().unwrap_or_else(|| OsString::from("mcpd"));
    let own = [name, ARGUMENT.into(), state.to_string().into()];
    let words: Vec<CString> =
        own.into_iter().chain(words()).map(|word| CString::new(word.into_vec())).collect::<Result<_, _>>()?;
    nix::unistd::execv(&CString::new(program.as_os_str().as_bytes())?, &words)?;
    Ok(())
}

/// From now on signals wait.
pub(super) fn block_signals() {
    let _ = SigSet::all().thread_block();
}

/// They have waited for long enough.
pub(super) fn let_signals_through() {
    let _ = SigSet::all().thread_unblock();
}

/// What whoever was here before has left.
///
/// # Errors
/// When it is nothing that this program knows.
pub(super) fn take_up(state: i32) -> io::Result<State> {
    let mut text = Vec::new();
    let mut file = File::from(own(state)?);
    file.rewind()?;
    file.read_to_end(&mut text)?;
    let found: serde_json::Value = serde_json::from_slice(&text)?;
    if found["format"] != FORMAT {
        return Err(io::Error::other(format!("what it is given has format {}", found["format"])));
    }
    Ok(serde_json::from_value(found)?)
}

/// Kept things, open again as this program's own.
///
/// # Errors
/// When one is not open.
pub(super) fn own_all(items: &[Item]) -> io::Result<Vec<(String, Kept)>> {
    let one = |Item { name, text, handles }: &Item| {
        let handles = handles.iter().map(|&handle| own(handle)).collect::<io::Result<Vec<_>>>()?;
        Ok((name.clone(), Kept { text: text.clone(), handles }))
    };
    items.iter().map(one).collect()
}

/// A descriptor that the program before this one has left for it.
pub(super) fn own(number: RawFd) -> io::Result<OwnedFd> {
    sys::take_descriptor(number)
}

/// This program as it is now, whatever file takes its place.
pub(super) fn this_program() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/self/exe")?.into())
}

/// By this path a descriptor's file is executed.
pub(super) fn path_of(open: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", open.as_fd().as_raw_fd()))
}
