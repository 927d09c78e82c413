//! What a reload would do: the document of `config.plan`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `config.plan`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanParams {
    /// What `daemon.reload` with `restart` would do.
    pub restart: bool,
}

/// What a reload would do now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// Stands for exactly this plan: `daemon.reload` with it carries this one out, or nothing.
    pub id: String,
    /// Processes that a change waits for would be replaced.
    pub restart: bool,
    /// What would happen to services, by name. Those without a step stay as they are.
    pub steps: Vec<Step>,
    /// So many have no step.
    pub unchanged: usize,
    /// Keys of `[daemon]` that are in force at once.
    #[serde(default)]
    pub daemon: Vec<KeyChange>,
    /// What changed but needs a restart of the daemon: `daemon.state_dir` and such.
    pub needs_daemon_restart: Vec<String>,
    /// What the file allows but probably does not mean, in sentences.
    pub warnings: Vec<String>,
}

/// What would happen to one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub service: String,
    /// What.
    pub action: StepAction,
    /// Why, in one sentence.
    pub why: String,
    /// The keys that change, by name; empty where the service comes or goes.
    pub keys: Vec<KeyChange>,
}

/// What would happen to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepAction {
    /// It starts: it is new, or what kept it down changed, or one that is started needs or wants it.
    Start,
    /// It is new and stays down.
    Add,
    /// It stops; one that is gone from the configuration is forgotten then.
    Stop,
    /// It is not running and is forgotten.
    Remove,
    /// Its process is replaced.
    Restart,
    /// Something of it waits for the next start; its process is not touched.
    Pending,
    /// Its settings are in force at once; no process is touched.
    Change,
}

impl StepAction {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Add => "add",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Restart => "restart",
            Self::Pending => "pending",
            Self::Change => "change",
        }
    }
}

/// One key that changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyChange {
    /// Below the service's table, or `[daemon]`, dotted: `restart.delay`.
    pub key: String,
    /// What it was; null when it had no value. Secrets are redacted.
    pub old: Value,
    /// What it becomes; null when it loses its value.
    pub new: Value,
    /// Where the new value comes from: `mcpd.toml:12`, `default`.
    pub origin: Option<String>,
    /// It takes a new process: it waits for the next start, or for the restart that this step is.
    pub needs_restart: bool,
}
