//! What must hold from a start to its end, one named function per promise: commands, readiness, the watchdog.

use mcpd_core::Mono;
use mcpd_core::action::{Command, Probing, UpBy};
use mcpd_core::view::{StateView, View};

use super::invariants::broken;
use super::ledger::{Check, Ledger};
use super::life::Life;

// ---- readiness

/// The health check is armed only once the service is ready, and readiness is asked for only before.
pub(super) fn health_waits_for_readiness(life: &Life, of: Probing) -> Check {
    if life.start.unready == (of == Probing::Ready) {
        Ok(())
    } else {
        broken!("health_waits_for_readiness", "{of:?}: {life:?}")
    }
}

/// What has to be seen has been seen, in this run, since it was last said what that is.
pub(super) fn up_means_ready(life: &Life, by: UpBy) -> Check {
    if by == UpBy::Completion {
        return completion_is_the_end_of_the_last(life);
    }
    if life.start.unready == (by == UpBy::Ready) && life.start.unready == life.start.seen {
        Ok(())
    } else {
        broken!("up_means_ready", "by {by:?}: {life:?}")
    }
}

/// Only silence for as long as the policy allows, or longer where it asked for that, or its own word.
pub(super) fn the_watchdog_waits_its_time(life: &Life, now: Mono) -> Check {
    match life.watchdog {
        Some(due) if now >= due || life.triggered => Ok(()),
        due => broken!("the_watchdog_waits_its_time", "now {now:?}, due {due:?}: {life:?}"),
    }
}

/// Nobody who hangs is missed.
pub(crate) fn the_watchdog_is_watched(ledger: &Ledger, deadline: Option<Mono>) -> Check {
    match ledger.lives.values().filter_map(|life| life.watchdog.filter(|_| life.alive)).min() {
        Some(due) if deadline.is_none_or(|at| at > due) => {
            broken!("the_watchdog_is_watched", "at {deadline:?}, due {due:?}")
        }
        Some(_) | None => Ok(()),
    }
}

/// A oneshot is up once its last command has ended well and nothing is left of it.
pub(super) fn completion_is_the_end_of_the_last(life: &Life) -> Check {
    if life.completed && life.at_rest() {
        Ok(())
    } else {
        broken!("completion_is_the_end_of_the_last", "{life:?}")
    }
}

/// From the first on, each after one that has ended well; from the first again after anything else.
pub(super) fn commands_come_in_order(life: &Life, command: Command, first: bool) -> Check {
    // A definition that waited for the next start is in force from its first command on.
    let commands = &life.next_policy.as_ref().filter(|_| first).unwrap_or(&life.policy).commands;
    let begin = if commands.start_pre.is_empty() { Command::Exec(0) } else { Command::StartPre(0) };
    let next = match life.command {
        Command::StartPre(at) if at + 1 < commands.start_pre.len() => Command::StartPre(at + 1),
        Command::StartPre(_) => Command::Exec(0),
        Command::Exec(at) => Command::Exec(at + 1),
        Command::StartPost(_) | Command::Reload(_) | Command::Stop(_) | Command::StopPost(_) => {
            return broken!("commands_come_in_order", "{life:?}");
        }
    };
    let passed = life.end.as_ref().is_some_and(|end| !end.unexpected && !end.report_due) && life.passes;
    if if first { command == begin } else { passed && !life.completed && command == next } {
        Ok(())
    } else {
        broken!("commands_come_in_order", "{command:?} after {life:?}")
    }
}

pub(super) fn unready_is_no_failure(life: &Life) -> Check {
    if life.start.unready { broken!("unready_is_no_failure", "{life:?}") } else { Ok(()) }
}

/// Nobody is told that it is up before.
pub(crate) fn up_is_ready(ledger: &Ledger, views: impl Iterator<Item = View>) -> Check {
    for view in views {
        let life = ledger.lives.get(&view.service);
        let unready = life.is_some_and(|life| life.start.unready || life.up.is_none());
        if unready && view.state == StateView::Up {
            return broken!("up_is_ready", "{view:?}");
        }
    }
    Ok(())
}
