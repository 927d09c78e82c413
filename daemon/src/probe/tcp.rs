//! Does an address accept a connection?

use std::time::Duration;

use tokio::time::Instant;

use super::connect::connect;
use super::{Verdict, deadline, words};

/// Connects to `host:port` (an IPv6 address in brackets) and hangs up: `connected after 1 ms`, `connection refused`,
/// `timed out after 5 s`, `cannot resolve HOST: why`.
///
/// Each address of the host is tried, in turn, within `timeout` as a whole; the verdict is the last one's.
pub async fn tcp(address: &str, timeout: Duration) -> Verdict {
    let start = Instant::now();
    let Some((host, port)) = split(address) else {
        return Verdict::bad(format!("{address:?} is no host:port"));
    };
    match connect(host, port, deadline(start, timeout)).await {
        Ok(_) => Verdict::good(format!("connected after {}", words::duration(start.elapsed()))),
        Err(why) => why.verdict(timeout),
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

    #[tokio::test]
    async fn a_listener_is_well() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let verdict = tcp(&listener.local_addr().unwrap().to_string(), LIMIT).await;
        assert!(verdict.is_good() && verdict.detail.starts_with("connected after "), "{verdict:?}");
        let port = listener.local_addr().unwrap().port();
        assert!(tcp(&format!("localhost:{port}"), LIMIT).await.is_good());
    }

    #[tokio::test]
    async fn every_address_is_tried() {
        // Where there is IPv6, `localhost` is two addresses and only the second one listens.
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        assert!(tcp(&format!("localhost:{port}"), LIMIT).await.is_good());
        assert!(tcp(&format!("[::1]:{port}"), LIMIT).await.is_good());
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let verdict = tcp(&format!("127.0.0.1:{port}"), LIMIT).await;
        assert_eq!(verdict, Verdict::bad("connection refused"));
    }

    #[tokio::test]
    async fn nonsense_is_named() {
        assert_eq!(tcp("nonsense", LIMIT).await.detail, "\"nonsense\" is no host:port");
    }

    #[tokio::test]
    async fn no_time_is_a_timeout() {
        assert_eq!(tcp("127.0.0.1:9", Duration::ZERO).await.detail, "timed out after 0 ms");
    }
}
