//! Which addresses has a host, within a time limit?
//!
//! The system's resolver cannot be interrupted and may take half a minute. A literal address and `localhost` therefore
//! never reach it; any other name is looked up on a thread of its own, once at a time: probes that ask for a name while
//! its look-up is under way wait for that one. So a resolver that hangs costs one thread per name, not one per probe.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Look-ups under way at once; each is a thread that waits in the system's resolver. A further name gets an error.
const MAX_LOOKUPS: usize = 128;

/// Why there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The resolver had not answered by the deadline.
    TimedOut,
    /// The resolver's word, or ours.
    Unknown(String),
}

type Answer = Result<Vec<IpAddr>, String>;
type Lookup = fn(&str) -> Answer;

/// One look-up under way, and who waits for it.
#[derive(Default)]
struct Pending {
    answer: Mutex<Option<Answer>>,
    done: Condvar,
}

static PENDING: LazyLock<Mutex<HashMap<String, Arc<Pending>>>> = LazyLock::new(Mutex::default);

/// The addresses of `host` (an IPv6 address may stand in brackets) with `port`; never an empty list.
pub(crate) fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
    let addresses = resolve_with(host, deadline, system)?;
    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

fn resolve_with(host: &str, deadline: Instant, lookup: Lookup) -> Result<Vec<IpAddr>, Failure> {
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
    let pending = join_or_start(name, lookup)?;
    let mut answer = pending.answer.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(answer) = answer.as_ref() {
            return answer.clone().map_err(Failure::Unknown);
        }
        let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        else {
            return Err(Failure::TimedOut);
        };
        answer = pending.done.wait_timeout(answer, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn join_or_start(name: String, lookup: Lookup) -> Result<Arc<Pending>, Failure> {
    let mut all = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    let full = all.len() >= MAX_LOOKUPS;
    match all.entry(name) {
        Entry::Occupied(entry) => Ok(Arc::clone(entry.get())),
        Entry::Vacant(_) if full => {
            Err(Failure::Unknown(format!("{MAX_LOOKUPS} other names are being looked up")))
        }
        Entry::Vacant(entry) => {
            let pending = Arc::new(Pending::default());
            let (name, shared) = (entry.key().clone(), Arc::clone(&pending));
            thread::Builder::new()
                .name("resolve".to_owned())
                .spawn(move || answer(&name, &shared, lookup))
                .map_err(|error| Failure::Unknown(format!("no thread to ask: {error}")))?;
            entry.insert(Arc::clone(&pending));
            Ok(pending)
        }
    }
}

fn answer(name: &str, pending: &Pending, lookup: Lookup) {
    let answer = lookup(name);
    // Out of the list before the answer shows, so that a probe which comes later asks anew: nothing here is a cache.
    PENDING.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    *pending.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    pending.done.notify_all();
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn literals_and_localhost_ask_nobody() {
        let never: Lookup = |_| panic!("asked");
        for (host, expected) in
            [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("LocalHost.", "127.0.0.1")]
        {
            let found = resolve_with(host, soon(), never).unwrap();
            assert_eq!(found[0], expected.parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn one_look_up_per_name_and_nobody_waits_longer_than_told() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static GATE: Mutex<()> = Mutex::new(());
        let slow: Lookup = |_| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            let _open = GATE.lock().unwrap();
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        };
        let closed = GATE.lock().unwrap();
        let start = Instant::now();
        for _ in 0..3 {
            let found = resolve_with("slow.invalid", Instant::now() + Duration::from_millis(20), slow);
            assert_eq!(found, Err(Failure::TimedOut));
        }
        assert!(start.elapsed() < Duration::from_secs(5));
        drop(closed);
        assert_eq!(resolve_with("slow.invalid", soon(), slow).unwrap().len(), 1);
        // The last question may have come after the answer, and then it was a new one.
        assert!(ASKED.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn the_resolvers_no_is_passed_on() {
        let no: Lookup = |_| Err("Name or service not known".to_owned());
        let found = resolve_with("nowhere.invalid", soon(), no);
        assert_eq!(found, Err(Failure::Unknown("Name or service not known".to_owned())));
    }
}
