//! Which addresses has a host?
//!
//! The system's resolver cannot be interrupted and may take half a minute. A literal address and `localhost` therefore
//! never reach it; any other name is looked up on a thread of its own, once at a time: probes that ask for a name while
//! its look-up is under way wait for that one. So a resolver that hangs costs one thread per name, not one per probe.
//! How long somebody waits is that one's own business: whoever stops waiting leaves the look-up to the others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{LazyLock, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::words;
use crate::workers::start_thread;

/// Look-ups under way at once; each is a thread that waits in the system's resolver. A further name is not asked for.
const MAX_LOOKUPS: usize = 128;

/// Why there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The resolver's word.
    Unknown(String),
    /// The resolver could not be asked, and why.
    NotAsked(String),
}

type Answer = Result<Vec<IpAddr>, String>;
type Lookup = fn(&str) -> Answer;

/// The look-ups under way, by name, and who waits for each.
static PENDING: LazyLock<Mutex<HashMap<String, Vec<oneshot::Sender<Answer>>>>> =
    LazyLock::new(Mutex::default);

/// The addresses of `host` (an IPv6 address may stand in brackets) with `port`; never an empty list.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let addresses = resolve_with(host, system).await?;
    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

async fn resolve_with(host: &str, lookup: Lookup) -> Result<Vec<IpAddr>, Failure> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    // RFC 6761, section 6.3: the name means loopback and needs no question. IPv4 first: a refused connection to `::1`
    // costs two seconds on Windows, and most servers of `localhost` listen on IPv4.
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    match join_or_start(name, lookup)?.await {
        Ok(answer) => answer.map_err(Failure::Unknown),
        Err(_) => Err(Failure::NotAsked("the look-up failed".to_owned())),
    }
}

fn join_or_start(name: String, lookup: Lookup) -> Result<oneshot::Receiver<Answer>, Failure> {
    let (waiter, answer) = oneshot::channel();
    let mut all = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    let full = all.len() >= MAX_LOOKUPS;
    match all.entry(name) {
        Entry::Occupied(mut entry) => {
            // Who went away is not waited for: a resolver that hangs for long must not gather a crowd.
            entry.get_mut().retain(|waiter| !waiter.is_closed());
            entry.get_mut().push(waiter);
        }
        Entry::Vacant(_) if full => {
            return Err(Failure::NotAsked(format!("{MAX_LOOKUPS} other names are being looked up")));
        }
        Entry::Vacant(entry) => {
            let name = entry.key().clone();
            start_thread("resolve", move || tell(&name, lookup)).map_err(|error| {
                Failure::NotAsked(format!("no thread to ask: {}", words::io_error(&error)))
            })?;
            entry.insert(vec![waiter]);
        }
    }
    Ok(answer)
}

fn tell(name: &str, lookup: Lookup) {
    let answer = lookup(name);
    // Out of the list before the answer shows, so that a probe which comes later asks anew: nothing here is a cache.
    let waiters = PENDING.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    for waiter in waiters.into_iter().flatten() {
        let _ = waiter.send(answer.clone());
    }
}

fn system(name: &str) -> Answer {
    let found = (name, 0).to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
    })?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn literals_and_localhost_ask_nobody() {
        let never: Lookup = |_| panic!("asked");
        for (host, expected) in
            [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("LocalHost.", "127.0.0.1")]
        {
            let found = resolve_with(host, never).await.unwrap();
            assert_eq!(found[0], expected.parse::<IpAddr>().unwrap());
        }
    }

    #[tokio::test]
    async fn one_look_up_per_name_and_nobody_waits_longer_than_wanted() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static OPEN: AtomicBool = AtomicBool::new(false);
        let slow: Lookup = |_| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            while !OPEN.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        };
        for _ in 0..3 {
            let asked = resolve_with("slow.invalid", slow);
            assert!(tokio::time::timeout(Duration::from_millis(20), asked).await.is_err());
        }
        OPEN.store(true, Ordering::SeqCst);
        assert_eq!(resolve_with("slow.invalid", slow).await.unwrap().len(), 1);
        // The last question may have come after the answer, and then it was a new one.
        assert!(ASKED.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn the_resolvers_no_is_passed_on() {
        let no: Lookup = |_| Err("Name or service not known".to_owned());
        let found = resolve_with("nowhere.invalid", no).await;
        assert_eq!(found, Err(Failure::Unknown("Name or service not known".to_owned())));
    }
}
