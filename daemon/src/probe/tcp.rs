//! Does an address accept a connection?

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::resolve::{self, Failure};
use super::{Verdict, words};

/// Connects to `host:port` (an IPv6 address in brackets) and hangs up: `connected after 1 ms`, `connection refused`,
/// `timed out after 5 s`, `cannot resolve HOST: why`.
///
/// Each address of the host is tried, in turn, within `timeout` as a whole; the verdict is the last one's.
#[must_use]
pub fn tcp(address: &str, timeout: Duration) -> Verdict {
    let start = Instant::now();
    let Some((host, port)) = split(address) else {
        return Verdict::bad(format!("{address:?} is no host:port"));
    };
    let timed_out = || Verdict::bad(format!("timed out after {}", words::duration(timeout)));
    let addresses = match resolve::resolve(host, port, start + timeout) {
        Ok(addresses) => addresses,
        Err(Failure::TimedOut) => return timed_out(),
        Err(Failure::Unknown(why)) => return Verdict::bad(format!("cannot resolve {host}: {why}")),
    };
    match connect(&addresses, start + timeout) {
        Ok(_) => Verdict::good(format!("connected after {}", words::duration(start.elapsed()))),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => timed_out(),
        Err(error) => Verdict::bad(words::io_error(&error)),
    }
}

fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

/// The first connection that comes about. Every address gets an equal share of the time that is left, so that one
/// which swallows packets does not keep the next from being tried.
fn connect(addresses: &[SocketAddr], deadline: Instant) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::TimedOut.into();
    let mut to_try = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()) / to_try.max(1);
        to_try -= 1;
        if share.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn addresses_split() {
        assert_eq!(split("127.0.0.1:80"), Some(("127.0.0.1", 80)));
        assert_eq!(split("[::1]:80"), Some(("[::1]", 80)));
        assert_eq!(split("db:5432"), Some(("db", 5432)));
        for bad in ["", "80", ":80", "::1:80", "db:", "db:65536", "db:http"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_listener_is_well() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let verdict = tcp(&listener.local_addr().unwrap().to_string(), LIMIT);
        assert!(verdict.ok && verdict.detail.starts_with("connected after "), "{verdict:?}");
        let port = listener.local_addr().unwrap().port();
        assert!(tcp(&format!("localhost:{port}"), LIMIT).ok);
    }

    #[test]
    fn every_address_is_tried() {
        // Where there is IPv6, `localhost` is two addresses and only the second one listens.
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        assert!(tcp(&format!("localhost:{port}"), LIMIT).ok);
        assert!(tcp(&format!("[::1]:{port}"), LIMIT).ok);
    }

    #[test]
    fn a_closed_port_refuses() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let verdict = tcp(&format!("127.0.0.1:{port}"), LIMIT);
        assert_eq!(verdict, Verdict::bad("connection refused"));
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(tcp("nonsense", LIMIT).detail, "\"nonsense\" is no host:port");
    }

    #[test]
    fn no_time_is_a_timeout() {
        assert_eq!(tcp("127.0.0.1:9", Duration::ZERO).detail, "timed out after 0 ms");
    }
}
