//! What mcpd writes down of each run, one JSON object a line, so that its next life recognises what this one left when it
//! was killed (`state_dir/runs.jsonl`).

use serde::{Deserialize, Serialize};

/// A life of mcpd, or a run in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`crate::SCHEMA`]
    pub schema: u32,
    /// Which start of the machine (`/proc/sys/kernel/random/boot_id`): in another one nothing here means anything.
    pub boot_id: String,
    /// Which life of mcpd: its run ids begin with this and a dash.
    pub life: String,
    /// mcpd's own process in it.
    pub mcpd_pid: u32,
    /// When that started, as [`Run::start_ticks`].
    #[serde(default)]
    pub mcpd_start_ticks: u64,
    /// The state directory's device and inode: who finds its own here has its lock, and that daemon is dead. A copy of
    /// somebody's state directory has others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<String>,
    /// When the life or the run began, RFC 3339 UTC.
    pub time: String,
    /// The run; absent in the line with which a life begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// A run whose process has started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The service.
    pub service: String,
    /// `MCPD_RUN_ID` in the environment of its processes.
    pub run_id: String,
    /// Which start of the service.
    pub generation: u64,
    /// The main process.
    pub pid: u32,
    /// When that started, in clock ticks since the machine's start (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// What asks it to end, by number.
    pub stop_signal: i32,
    /// After this, SIGKILL.
    pub stop_timeout_seconds: f64,
    /// The directory of its cgroup, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that is on some disk: it has to load for ever.
    const FIRST: &str = r#"{"schema":1,"boot_id":"b","life":"1f-5e","mcpd_pid":31,"mcpd_start_ticks":4000,"time":"2026-11-23T09:00:00.000000Z","run":{"service":"a","run_id":"1f-5e-2","generation":3,"pid":812,"start_ticks":4711,"stop_signal":15,"stop_timeout_seconds":10.0}}"#;

    #[test]
    fn lines_of_the_first_version_load() {
        let record: RunRecord = serde_json::from_str(FIRST).unwrap();
        assert_eq!(record.run.as_ref().map(|run| (run.pid, run.start_ticks)), Some((812, 4711)));
        assert_eq!(serde_json::to_string(&record).unwrap(), FIRST);
        // A later version has added something.
        let later = FIRST.replace("\"schema\":1", "\"schema\":1,\"more\":[]");
        assert_eq!(serde_json::from_str::<RunRecord>(&later).unwrap(), record);
    }
}
