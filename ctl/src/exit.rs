//! Which number does the process end with?
//!
//! Scripts depend on these numbers; they never change their meaning.

use mcpd_proto::error::{ErrorObject, Kind};
use mcpd_proto::status::State;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Tried and failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// `status NAME`: known, not running (LSB's 3).
    StatusNotRunning,
    /// `status NAME`: no such service (LSB's 4).
    StatusUnknown,
    /// The caller may not do this.
    Denied,
    /// No service of that name, for every verb but `status`.
    NoSuchService,
    /// The configuration has errors.
    ConfigInvalid,
    /// The service is not running and the verb needs it to.
    NotRunning,
    /// No daemon answers.
    Unreachable,
    /// It took longer than `--timeout`.
    TimedOut,
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::StatusNotRunning => 3,
            Self::StatusUnknown | Self::Denied => 4,
            Self::NoSuchService => 5,
            Self::ConfigInvalid => 6,
            Self::NotRunning => 7,
            Self::Unreachable => 10,
            Self::TimedOut => 11,
        }
    }

    /// For an error that the daemon answered with; one of a later version's kinds is a plain failure.
    pub(crate) fn of_error(error: &ErrorObject) -> Self {
        match error.kind() {
            Some(Kind::NoSuchService) => Self::NoSuchService,
            Some(Kind::NotRunning) => Self::NotRunning,
            Some(Kind::ConfigInvalid) => Self::ConfigInvalid,
            Some(Kind::Denied) => Self::Denied,
            Some(Kind::Timeout) => Self::TimedOut,
            // A daemon on its way down takes no orders: for the caller it is no longer there.
            Some(Kind::ShuttingDown) => Self::Unreachable,
            // No pattern, say: what was written on the command line.
            Some(Kind::InvalidParams) => Self::Usage,
            Some(
                Kind::ParseError
                | Kind::InvalidRequest
                | Kind::MethodNotFound
                | Kind::LineTooLong
                | Kind::NoSuchCrash
                | Kind::DamagedCrash
                | Kind::StartFailed
                | Kind::NoReload
                | Kind::ReloadFailed
                | Kind::Superseded
                | Kind::PlanChanged
                | Kind::NotUpgraded
                | Kind::DaemonBusy
                | Kind::Internal,
            )
            | None => Self::Failed,
        }
    }

    /// `status NAME` for a service in this state.
    pub(crate) const fn of_state(state: State) -> Self {
        match state {
            State::Up | State::Starting => Self::Done,
            State::Down
            | State::Waiting
            | State::Spawning
            | State::Stopping
            | State::Backoff
            | State::Parked => Self::StatusNotRunning,
        }
    }

    /// Of several services: done when all are, the common answer when all failures agree, else a plain failure.
    pub(crate) fn together(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter()
            .filter(|exit| *exit != Self::Done)
            .fold(Self::Done, |sum, exit| if sum == Self::Done || sum == exit { exit } else { Self::Failed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let table = [
            (Kind::ParseError, 1),
            (Kind::InvalidRequest, 1),
            (Kind::MethodNotFound, 1),
            (Kind::InvalidParams, 2),
            (Kind::LineTooLong, 1),
            (Kind::NoSuchService, 5),
            (Kind::NoSuchCrash, 1),
            (Kind::DamagedCrash, 1),
            (Kind::StartFailed, 1),
            (Kind::NotRunning, 7),
            (Kind::Superseded, 1),
            (Kind::PlanChanged, 1),
            (Kind::NotUpgraded, 1),
            (Kind::ConfigInvalid, 6),
            (Kind::ShuttingDown, 10),
            (Kind::DaemonBusy, 1),
            (Kind::Denied, 4),
            (Kind::Timeout, 11),
            (Kind::Internal, 1),
        ];
        for (kind, code) in table {
            assert_eq!(Exit::of_error(&ErrorObject::new(kind, "no")).code(), code, "{kind:?}");
        }
        let later = ErrorObject {
            code: -32000,
            message: "no".into(),
            data: serde_json::json!({"kind": "from_a_later_version"}),
        };
        assert_eq!(Exit::of_error(&later).code(), 1);
    }

    #[test]
    fn status_is_lsb() {
        for state in [State::Up, State::Starting] {
            assert_eq!(Exit::of_state(state).code(), 0);
        }
        for state in
            [State::Down, State::Waiting, State::Spawning, State::Stopping, State::Backoff, State::Parked]
        {
            assert_eq!(Exit::of_state(state).code(), 3);
        }
        assert_eq!(Exit::StatusUnknown.code(), 4);
    }

    #[test]
    fn several_failures_agree_or_are_a_plain_failure() {
        let table: [(&[Exit], Exit); 5] = [
            (&[], Exit::Done),
            (&[Exit::Done, Exit::Done], Exit::Done),
            (&[Exit::Done, Exit::TimedOut], Exit::TimedOut),
            (&[Exit::NotRunning, Exit::Done, Exit::NotRunning], Exit::NotRunning),
            (&[Exit::NotRunning, Exit::TimedOut], Exit::Failed),
        ];
        for (all, sum) in table {
            assert_eq!(Exit::together(all.iter().copied()), sum, "{all:?}");
        }
    }
}
