//! Why is a service as it is, what follows, and what can a person do?

use serde::{Deserialize, Serialize};

use crate::crash::CrashSummary;
use crate::stats::CrashGroup;
use crate::status::{Next, State};

/// `service.why`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// The service.
    pub service: String,
    /// Where it is in its life.
    pub state: State,
    /// In one word what that means for a person.
    pub condition: Condition,
    /// One sentence: "web is parked: 10 restarts in a row did not help".
    pub summary: String,
    /// Since when, RFC 3339 UTC.
    pub since: String,
    /// What led there, oldest first: each brought about the one after it.
    pub chain: Vec<Link>,
    /// So many more steps are left out after the first of the chain: they are like those that follow.
    #[serde(default)]
    pub chain_skipped: usize,
    /// Those whom it waits for, the one that holds up all of them last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<Obstacle>,
    /// What mcpd will do next, one sentence.
    pub then: String,
    /// The same with its time; null when nothing is due.
    pub next: Option<Next>,
    /// What a person can do, the most useful first.
    pub advice: Vec<Advice>,
    /// The crash that has to do with it; null when none has.
    pub crash: Option<CrashSummary>,
    /// How often that has happened; null when nothing is on record.
    pub group: Option<CrashGroup>,
}

/// What the state means for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All is well.
    Well,
    /// It is on its way up.
    Starting,
    /// It waits for another service, or for its turn.
    Waiting,
    /// It is up, and its health check fails.
    Unhealthy,
    /// It fails again and again, and comes up in between.
    Flapping,
    /// It failed, and its next start has a time.
    Failing,
    /// It is given up.
    Parked,
    /// It is up, and older than what is on disk or in the configuration.
    Stale,
    /// It is on its way down.
    Stopping,
    /// Somebody or something stopped it.
    Stopped,
    /// It has ended, and its policy does not restart it.
    Finished,
    /// It failed, and its policy does not restart it.
    Failed,
    /// It does not start with the daemon, and nobody has started it.
    Disabled,
    /// It has not been started yet.
    NeverStarted,
}

/// Something that happened, and brought about what comes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The event's number: `mcpctl events` shows it.
    pub id: u64,
    /// When, RFC 3339 UTC.
    pub time: String,
    /// Whose, when it is not this service's; null: this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The event's name.
    pub event: String,
    /// One sentence.
    pub message: String,
}

/// A service that another one waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Its name.
    pub service: String,
    /// Where it is in its life.
    pub state: State,
    /// Why, one sentence; null when all is well.
    pub reason: Option<String>,
}

/// Something that a person can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What for, one sentence.
    pub text: String,
    /// The exact command; null when it is nothing that a command does.
    pub command: Option<String>,
}
