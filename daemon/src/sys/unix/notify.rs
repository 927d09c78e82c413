//! The socket on which services say things about themselves (`sd_notify(3)`): one for all of them. The kernel says who
//! has sent what, so that nobody speaks for somebody else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with, sockopt};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::sys::Datagram;

/// As long as a message may be. systemd's own limit is the size of a page; nothing that is understood comes near.
const LONGEST: usize = 4096;
/// Room for what comes with a message: its sender, and as many descriptors as the kernel lets through (`SCM_MAX_FD`,
/// 253). What did not fit would be closed at once, before the message is dealt with.
const CONTROL: usize = 2048;
/// Any user's service may write; the kernel says who did.
const MODE: u32 = 0o666;

/// The receiving end. Its name stays when it is dropped: the next daemon goes on with it.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
}

/// Descriptors that came with a message. Closing them tells a sender that waits (`sd_notify_barrier(3)`) that what it
/// has sent before has been dealt with.
#[derive(Debug, Default)]
pub struct Barrier {
    _descriptors: Vec<OwnedFd>,
}

impl NotifySocket {
    /// Makes the socket at `path`. One that is there is the corpse of an earlier daemon's: the caller holds the lock that
    /// says so.
    ///
    /// # Errors
    /// When the system refuses, or when something that is no socket is in the way.
    pub fn bind(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        if !super::remove_stale_socket(path)? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        // Before it has a name: nothing arrives without its sender.
        sockopt::set_socket_passcred(&socket, true)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        let socket = UnixDatagram::from_std(socket.into())?;
        Ok(Self { socket })
    }

    /// One that an earlier daemon has made.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(kept: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(kept);
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket)? })
    }

    /// For the keeper.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn receive(&self) -> io::Result<Datagram> {
        loop {
            match self.socket.async_io(Interest::READABLE, || receive(&self.socket)).await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

fn receive(socket: &UnixDatagram) -> io::Result<Datagram> {
    let mut bytes = [0_u8; LONGEST];
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeroes is a valid header: without a name, parts or control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points to memory that is writable, as long as it says, and outlives the call.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let length = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let (pid, descriptors) = accompanying(&header);
    Ok(Datagram {
        pid,
        bytes: bytes[..length.min(LONGEST)].to_vec(),
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        barrier: Barrier { _descriptors: descriptors },
    })
}

/// The sender and the descriptors that the kernel has put beside a message.
fn accompanying(header: &libc::msghdr) -> (Option<u32>, Vec<OwnedFd>) {
    let mut pid = None;
    let mut descriptors = Vec::new();
    // SAFETY: the header was filled by recvmsg, so that the macros of cmsg(3) stay within its control data; each
    // descriptor in it is open, this process's own from now on, and seen only here. Credentials are plain numbers.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(one) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            // What a header of this kind would have without data.
            let bytes = one.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            match (one.cmsg_level, one.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if bytes >= size_of::<libc::ucred>() => {
                    let sender = data.cast::<libc::ucred>().read_unaligned();
                    // 0: a process outside of this pid namespace.
                    pid = u32::try_from(sender.pid).ok().filter(|&pid| pid > 0);
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for place in 0..bytes / size_of::<RawFd>() {
                        let descriptor = data.cast::<RawFd>().add(place).read_unaligned();
                        descriptors.push(OwnedFd::from_raw_fd(descriptor));
                    }
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    (pid, descriptors)
}

/// Aligned as the kernel's headers want it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read};
    use std::os::unix::net::UnixDatagram as Sender;
    use std::time::Duration;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg_addr};

    use super::*;

    const BOUND: Duration = Duration::from_secs(20);

    async fn next(socket: &NotifySocket) -> Datagram {
        tokio::time::timeout(BOUND, socket.receive()).await.expect("a message").unwrap()
    }

    #[tokio::test]
    async fn a_message_comes_with_its_sender() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        drop(NotifySocket::bind(&path).unwrap());
        // The corpse of one that was killed is no obstacle, a file that is somebody's is.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(NotifySocket::bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        std::fs::remove_file(&path).unwrap();
        std::mem::forget(Sender::bind(&path).unwrap());
        let socket = NotifySocket::bind(&path).unwrap();

        let sender = Sender::unbound().unwrap();
        sender.send_to(b"READY=1\nSTATUS=a", &path).unwrap();
        sender.send_to(b"", &path).unwrap();
        sender.send_to(&[b'x'; LONGEST + 1], &path).unwrap();
        let first = next(&socket).await;
        assert_eq!((first.pid, first.truncated), (Some(std::process::id()), false));
        assert_eq!(first.bytes, b"READY=1\nSTATUS=a");
        assert!(next(&socket).await.bytes.is_empty());
        let long = next(&socket).await;
        assert!(long.truncated && long.bytes.len() == LONGEST);
    }

    #[tokio::test]
    async fn a_barrier_falls_when_its_message_has_been_dealt_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let socket = NotifySocket::bind(&path).unwrap();
        let (mut waits, held) = io::pipe().unwrap();
        let rights = [held.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        assert!(with.push(SendAncillaryMessage::ScmRights(&rights)));
        let sender = Sender::unbound().unwrap();
        let to = SocketAddrUnix::new(&path).unwrap();
        sendmsg_addr(&sender, &to, &[IoSlice::new(b"BARRIER=1")], &mut with, SendFlags::empty()).unwrap();
        drop(held);
        let message = next(&socket).await;
        assert_eq!(message.bytes, b"BARRIER=1");
        let ended = std::thread::spawn(move || waits.read(&mut [0; 1]).unwrap());
        assert!(!ended.is_finished());
        drop(message);
        assert_eq!(ended.join().unwrap(), 0);
    }
}
