//! What can arrive in the loop's one inbox.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use mcpd_core::action::Probing;
use mcpd_core::{NoteId, ServiceId, Verb};
use mcpd_proto::crash::CrashSummary;
use mcpd_proto::error::ErrorObject;
use mcpd_proto::log::LogLine;
use mcpd_proto::method::{Outcome, ReloadParams, Reloaded};
use mcpd_proto::plan::{Plan, PlanParams};
use mcpd_proto::status::{DaemonStatus, ServiceStatus, StatusDocument};
use tokio::sync::{mpsc, oneshot};

use super::around::Place;
use super::limits::Limited;
use super::load::Loaded;
use super::owed::Debt;
use super::why::Known;
use crate::control::Asker;
use crate::crash::lack::Lack;
use crate::keeper::Heard;
use crate::keeper::papers::Inheritance;
use crate::leftovers::Told;
use crate::log::{LogEvent, Tails};
use crate::notifier::{News, Owed};
use crate::probe::Verdict;
use crate::spawner::{Answer, Secrets};
use crate::watch::Sign;
use crate::{recorder, sys};

/// Something for the loop.
pub enum Message {
    /// The keeper has said something.
    Keeper(Heard),
    /// The spawner is done with a job.
    Spawned(Answer),
    /// What a dead process had written is read.
    Drained {
        /// Whose.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// Its last lines.
        tails: Tails,
    },
    /// Somebody has looked at what it had written, for something that it lacks.
    Examined {
        /// Whose.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// What it lacks.
        lack: Option<Lack>,
    },
    /// A crash report is on disk, or not.
    CrashRecorded {
        /// Whose.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// What it says.
        recorded: Recorded,
    },
    /// The last life of mcpd was killed before it had written a report.
    Owed(Box<Debt>),
    /// That report is on disk, or not.
    OwedRecorded {
        /// Whose.
        service: ServiceId,
        /// Which start of it, in that life.
        generation: u64,
        /// The event that told of the failure.
        failed: NoteId,
        /// What it says.
        recorded: Recorded,
    },
    /// A command beside a service has ended.
    RunEnded {
        /// Beside which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// Which command beside that start.
        number: u64,
        /// How.
        verdict: Verdict,
    },
    /// A command around a service has ended, and its last words are read.
    Ran {
        /// Which one.
        place: Place,
        /// How.
        exit: sys::Exit,
        /// Its last lines.
        tails: Tails,
    },
    /// Somebody wrote to the notification socket.
    Notified(sys::Datagram),
    /// A line of output said that a service is ready.
    SaidReady {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
    },
    /// A probe has its verdict.
    Probed {
        /// Whose.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// Which probe of that start.
        probe: u64,
        /// What it was to find out.
        of: Probing,
        /// What it found.
        verdict: Verdict,
    },
    /// A health probe's program took too long: end it.
    KillHelper(sys::Key),
    /// The limits of a run were changed, or refused.
    Limited {
        /// Which one.
        service: ServiceId,
        /// Which start of it.
        generation: u64,
        /// What came of it.
        limited: Limited,
    },
    /// Some process ended: collect it.
    Collect,
    /// The log path has something to say.
    Log(LogEvent),
    /// A configuration has been read for a reload.
    Loaded(Box<Result<Loaded, String>>),
    /// Files changed, or cannot be watched.
    Watch(Sign),
    /// The notifier wants something, or has something to say.
    Notifier(News),
    /// A program of the notifier's has ended so.
    NotifierRan(Owed, Verdict),
    /// What an earlier life of the daemon left in the crash store.
    Recalled {
        /// Whose.
        service: ServiceId,
        /// So many reports.
        count: u64,
        /// The newest of them.
        newest: Option<CrashSummary>,
    },
    /// There is news of what earlier lives of the daemon left.
    Leftovers(Told),
    /// The runs cannot be written down: where, and why.
    Register(PathBuf, String),
    /// What is remembered of services cannot be written down: where, and why.
    History(PathBuf, String),
    /// The journal has something to say.
    Journal(crate::journal::News),
    /// A client wants something.
    Ask(Ask),
}

/// A crash whose report has been made.
pub struct Recorded {
    /// The report in short.
    pub summary: CrashSummary,
    /// The end of its output, for whoever waits for a start.
    pub last_lines: Vec<LogLine>,
    /// What became of the report.
    pub became: recorder::Recorded,
}

/// The loop's answer, or why not.
pub type Reply<T> = oneshot::Sender<Result<T, ErrorObject>>;

/// What a client wants of the loop.
pub enum Ask {
    /// The daemon as it is.
    DaemonStatus(Reply<DaemonStatus>),
    /// These services as they are, by name or pattern; none named: everything.
    Status(Vec<String>, Reply<StatusDocument>),
    /// One service as it is, and what else there is to be looked at.
    ServiceStatus(String, Reply<About>),
    /// Why a service is as it is, as far as the loop knows.
    Why(String, Reply<Box<Known>>),
    /// Whether there is such a service, or one that fits the pattern.
    Known(String, Reply<()>),
    /// Where a service's log is.
    Find(String, Reply<Found>),
    /// Something of services.
    Command {
        /// Which ones, by name or pattern.
        names: Vec<String>,
        /// What.
        verb: Verb,
        /// Answer when it is done, not when it is taken.
        wait: bool,
        /// Who asks.
        by: Option<Arc<Asker>>,
        /// To whom.
        reply: Reply<Answers>,
    },
    /// What would a reload do?
    Plan(PlanParams, Reply<Plan>),
    /// Read the configuration again.
    Reload {
        /// How.
        params: ReloadParams,
        /// Who asks.
        by: Option<Arc<Asker>>,
        /// To whom.
        reply: Reply<Reloaded>,
    },
    /// Let another mcpd take over, where there is no keeper.
    HandOver {
        /// The process that asks.
        heir: u32,
        /// To whom.
        reply: Reply<Inheritance>,
    },
    /// What would another program have to go on from?
    Inventory(Reply<Inventory>),
    /// Let a program take over that has said that it would.
    Upgrade {
        /// Its file.
        program: PathBuf,
        /// Its version.
        version: String,
        /// Who asks.
        by: Option<Arc<Asker>>,
        /// To whom: it may be the last that this daemon says.
        reply: Reply<()>,
    },
    /// Stop everything and end; answered when all is down.
    Shutdown {
        /// Who asks.
        by: Option<Arc<Asker>>,
        /// To whom.
        reply: Reply<()>,
    },
}

/// What this daemon leaves.
pub struct Inventory {
    /// A copy of the ledger's descriptor, with a place of its own in the file.
    pub ledger: File,
    /// The file that mcpd was started from.
    pub program: PathBuf,
}

/// What becomes of a command, service by service.
pub struct Answers {
    /// So many services are meant.
    pub of: usize,
    /// The outcomes as they come, each with the service's place in the order asked for. It ends early when the daemon does.
    pub outcomes: mpsc::Receiver<(usize, Outcome)>,
}

/// One service as it is.
pub struct About {
    /// Its number.
    pub service: ServiceId,
    /// What the loop knows.
    pub status: ServiceStatus,
    /// Where what it uses is counted.
    pub cgroup: Option<sys::Cgroup>,
    /// What must not be seen of its output.
    pub secrets: Option<Secrets>,
}

/// Where a service's log is.
pub struct Found {
    /// The service's number.
    pub service: ServiceId,
    /// How its log is written.
    pub log: mcpd_config::spec::LogSpec,
    /// What takes its secrets out of texts that are shown.
    pub redactors: Vec<Secrets>,
    /// It has not run in this life of mcpd: what its environment files hold has not been read.
    pub unread: Option<Arc<mcpd_config::ServiceSpec>>,
}
