//! What keeper and daemon tell each other: one JSON object a packet, with descriptors beside it.
//!
//! The two may be of different versions, in the middle of an upgrade: a field that is not known is skipped, one that is
//! added has a default, and a packet that is not understood is left out by whoever gets it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::About;
use crate::sys::Dead;

/// As long as a packet may be.
const LONGEST: usize = 8 * 1024;
/// Descriptors in one packet, at most.
pub(super) const MOST: usize = 8;

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum ToKeeper {
    /// Keep the descriptors of this packet and this text for whoever comes after me, in place of what had this name.
    Keep {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// Nobody needs them any more.
    Drop { name: String },
    /// Give me all that is kept.
    Take,
    /// Tell me when you have told me all that you know by now.
    Sync,
    /// I do my work. `stopping`: that I am to end is known to me.
    Ready {
        #[serde(default)]
        stopping: bool,
    },
    /// I have written down that this one has ended.
    Seen { pid: u32 },
    /// I am there: the answer to a question.
    Answer { number: u64 },
    /// Let this program take the place of yours and mine: end me, execute it, and let it start the next one.
    Upgrade { program: PathBuf },
    /// End; I go on without you.
    Leave,
    /// Tell the service manager (`sd_notify(3)`), which listens to its own child alone.
    Notify { text: String },
}

/// From the keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum ToDaemon {
    /// One thing that was kept, the descriptors beside it.
    Kept {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// That was all of it.
    All(About),
    /// A process has ended that was started by a daemon before you, or fell to me. Told until it is [`ToKeeper::Seen`].
    Dead(Dead),
    /// Are you there?
    Ask { number: u64 },
    /// The answer to [`ToKeeper::Sync`].
    Synced,
}

/// Sends a packet. Waits where the socket does.
///
/// # Errors
/// When nobody is there, or there is no room and the socket does not wait.
pub(super) fn send(to: impl AsFd, packet: &impl Serialize, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(packet)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if with.len() > MOST || !with.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(with)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for a packet"));
    }
    loop {
        match rustix::net::sendmsg(&to, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next packet and what came with it; `None`: one that says nothing that is understood.
///
/// # Errors
/// `UnexpectedEof` when nobody is there any more, `WouldBlock` when there is none and the socket does not wait.
pub(super) fn receive<P: DeserializeOwned>(from: impl AsFd) -> io::Result<Option<(P, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&from, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => break got,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut with = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            with.extend(descriptors);
        }
    }
    if got.bytes == 0 && with.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&bytes[..got.bytes]).ok().map(|packet| (packet, with)))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn packets_carry_words_and_descriptors() {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let (mut read, write) = io::pipe().unwrap();
        let keep = ToKeeper::Keep { name: "a".into(), text: Some("b".into()) };
        send(&one, &keep, &[write.as_fd()]).unwrap();
        drop(write);
        send(&one, &ToKeeper::Take, &[]).unwrap();
        let (heard, mut with) = receive::<ToKeeper>(&other).unwrap().unwrap();
        assert_eq!((heard, with.len()), (keep, 1));
        io::Write::write_all(&mut std::fs::File::from(with.remove(0)), b"through").unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(receive::<ToKeeper>(&other).unwrap().unwrap().0, ToKeeper::Take);

        // One of a later version.
        send(&one, &serde_json::json!({ "do": "dance" }), &[]).unwrap();
        assert!(receive::<ToKeeper>(&other).unwrap().is_none());
        send(&one, &serde_json::json!({ "do": "keep", "name": "x", "well": 1 }), &[]).unwrap();
        let keep = ToKeeper::Keep { name: "x".into(), text: None };
        assert_eq!(receive::<ToKeeper>(&other).unwrap().unwrap().0, keep);
        let all = ToDaemon::All(About { pid: 7, ..About::default() });
        send(&other, &all, &[]).unwrap();
        assert_eq!(receive::<ToDaemon>(&one).unwrap().unwrap().0, all);

        drop(one);
        assert_eq!(receive::<ToKeeper>(&other).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn more_descriptors_than_fit_are_an_error() {
        let (one, _other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let many = vec![one.as_fd(); MOST + 1];
        assert!(send(&one, &ToKeeper::Take, &many).is_err());
    }
}
