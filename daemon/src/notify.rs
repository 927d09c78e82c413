//! What does a service say of itself? The messages of `sd_notify(3)`: from the socket to the loop, from bytes to words.

use std::path::PathBuf;
use std::time::Duration;

use mcpd_core::Said;
use tokio::sync::mpsc;

use crate::crash::clean;
use crate::keeper::{Legacy, Line};
use crate::probe::words;
use crate::shell::message::Message;
use crate::sys;

/// Characters of `STATUS=` that are kept: a line for people.
const MAX_STATUS: usize = 200;

/// One assignment that is understood. All others are for other service managers and mean nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Something that the core has to know.
    Said(Said),
    /// `STATUS=`
    Status(String),
    /// `MAINPID=`
    MainPid(String),
}

/// The assignments of a message, in its order.
#[must_use]
pub fn parse(message: &[u8]) -> Vec<Word> {
    message.split(|&byte| byte == b'\n').filter_map(word).collect()
}

fn word(line: &[u8]) -> Option<Word> {
    let line = String::from_utf8_lossy(line);
    let (name, value) = line.split_once('=')?;
    let said = match (name, value) {
        ("READY", "1") => Said::Ready,
        ("RELOADING", "1") => Said::Reloading,
        ("STOPPING", "1") => Said::Stopping,
        ("WATCHDOG", "1") => Said::Alive,
        ("WATCHDOG", "trigger") => Said::Trigger,
        ("EXTEND_TIMEOUT_USEC", micros) => Said::Extend(Duration::from_micros(micros.parse().ok()?)),
        ("STATUS", text) => {
            return Some(Word::Status(words::shortened(clean::text(text).trim(), MAX_STATUS)));
        }
        ("MAINPID", pid) => return Some(Word::MainPid(words::shortened(&clean::text(pid), 20))),
        _ => return None,
    };
    Some(Word::Said(said))
}

/// Name of the socket with the keeper.
const KEPT: &str = "notification socket";

/// Makes the socket, or takes the kept one over, and hands what arrives to the loop. The socket's path for services, or why
/// they cannot have one.
pub fn listen(
    path: PathBuf,
    outbox: mpsc::Sender<Message>,
    line: &Line,
    legacy: &mut Legacy,
) -> Result<PathBuf, String> {
    let place = || Some(format!("{} {}", path.display(), sys::identity(&path)?));
    let kept = legacy.take(KEPT).filter(|kept| kept.text.is_some() && kept.text == place());
    let socket = match kept.and_then(|mut kept| kept.handles.pop()) {
        Some(kept) => sys::NotifySocket::of(kept),
        None => sys::NotifySocket::bind(&path),
    };
    let socket = socket
        .map_err(|error| format!("the notification socket {} cannot be made: {error}", path.display()))?;
    line.keep(KEPT, place(), &[socket.handle()]);
    tokio::spawn(async move {
        loop {
            let heard = match socket.receive().await {
                Ok(datagram) => datagram,
                Err(error) => {
                    tracing::error!(%error, "the notification socket is broken: services are not heard any more");
                    break;
                }
            };
            if outbox.send(Message::Notified(heard)).await.is_err() {
                // The daemon ends.
                break;
            }
        }
    });
    Ok(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_understood() {
        let status = |text: &str| Word::Status(text.into());
        for (message, words) in [
            ("READY=1", vec![Word::Said(Said::Ready)]),
            ("READY=1\n", vec![Word::Said(Said::Ready)]),
            ("READY=0\nREADY= 1\nready=1\nREADY", vec![]),
            ("STATUS=up: 3 of 4\nREADY=1", vec![status("up: 3 of 4"), Word::Said(Said::Ready)]),
            ("STATUS=a=b", vec![status("a=b")]),
            ("STATUS=", vec![status("")]),
            ("STATUS=\x1b[31mred\x1b[0m", vec![status("red")]),
            ("RELOADING=1\nMONOTONIC_USEC=7", vec![Word::Said(Said::Reloading)]),
            ("STOPPING=1", vec![Word::Said(Said::Stopping)]),
            ("WATCHDOG=1\nWATCHDOG=trigger", vec![Word::Said(Said::Alive), Word::Said(Said::Trigger)]),
            ("WATCHDOG_USEC=1\nFDSTORE=1\nERRNO=2\nX_OWN=1\n=\n\n", vec![]),
            ("EXTEND_TIMEOUT_USEC=1500000", vec![Word::Said(Said::Extend(Duration::from_millis(1500)))]),
            ("EXTEND_TIMEOUT_USEC=-1\nEXTEND_TIMEOUT_USEC=x\nEXTEND_TIMEOUT_USEC=", vec![]),
            ("EXTEND_TIMEOUT_USEC=99999999999999999999", vec![]),
            ("MAINPID=4711", vec![Word::MainPid("4711".into())]),
        ] {
            assert_eq!(parse(message.as_bytes()), words, "{message:?}");
        }
        assert_eq!(parse(b"\xff=1\nSTATUS=\xff\xfe"), [status("\u{fffd}\u{fffd}")]);
        let long = format!("STATUS={}", "x".repeat(5000));
        let [Word::Status(text)] = &parse(long.as_bytes())[..] else { panic!("no status") };
        assert_eq!(text.chars().count(), MAX_STATUS);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let words = parse(&bytes);
            prop_assert!(words.len() <= bytes.split(|&byte| byte == b'\n').count());
        }
    }
}
