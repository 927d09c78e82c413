//! How is a connection to a host made, within a time limit and without a thread?

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::resolve::{self, Failure};
use super::{Verdict, words};
use crate::sys;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Unconnected {
    /// Nothing happened in time.
    TimedOut,
    /// The name means no address, in a sentence.
    NoAddress(String),
    /// What the last address said.
    Refused(io::Error),
    /// This machine could not even ask, and why.
    NotAsked(String),
}

impl Unconnected {
    /// What that says of the service.
    pub(crate) fn verdict(self, limit: Duration) -> Verdict {
        match self {
            Self::TimedOut => Verdict::timed_out(limit),
            Self::NoAddress(why) => Verdict::bad(why),
            Self::Refused(error) => Verdict::bad(words::io_error(&error)),
            Self::NotAsked(why) => Verdict::unknown(&why),
        }
    }
}

/// The first connection that comes about to an address of `host` (an IPv6 address in brackets).
///
/// Every address gets an equal share of the time that is left, so that one which swallows packets does not keep the
/// next from being tried. The error is the last one that another machine is behind.
pub(crate) async fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Unconnected> {
    let resolved = tokio::time::timeout_at(deadline, resolve::resolve(host, port)).await;
    let addresses = match resolved.map_err(|_| Unconnected::TimedOut)? {
        Ok(addresses) => addresses,
        Err(Failure::Unknown(why)) => {
            return Err(Unconnected::NoAddress(format!("cannot resolve {host}: {why}")));
        }
        Err(Failure::NotAsked(why)) => {
            return Err(Unconnected::NotAsked(format!("cannot resolve {host}: {why}")));
        }
    };
    first(&addresses, deadline).await
}

async fn first(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Unconnected> {
    let mut last = None;
    let mut to_try = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for &address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()) / to_try.max(1);
        to_try -= 1;
        if share.is_zero() {
            return Err(Unconnected::TimedOut);
        }
        last = Some(match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Unconnected::TimedOut,
            Ok(Err(error)) if is_ours(&error, address) => {
                let why = Unconnected::NotAsked(words::io_error(&error));
                match last {
                    Some(said @ (Unconnected::TimedOut | Unconnected::Refused(_))) => said,
                    Some(Unconnected::NoAddress(_) | Unconnected::NotAsked(_)) | None => why,
                }
            }
            Ok(Err(error)) => Unconnected::Refused(error),
            Err(_) => Unconnected::TimedOut,
        });
    }
    Err(last.unwrap_or(Unconnected::TimedOut))
}

/// Does this error say that there was no room here to ask from, and so nothing of the other side? That no local
/// address is left means on IPv4 that all ports are taken; on IPv6 it is what a machine without any says.
fn is_ours(error: &io::Error, to: SocketAddr) -> bool {
    sys::is_shortage(error) || (to.is_ipv4() && error.kind() == io::ErrorKind::AddrNotAvailable)
}
