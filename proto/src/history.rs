//! What mcpd remembers of each service for years, in few bytes: when it was up, and what crashed. One JSON object a line,
//! `state_dir/history.jsonl`. Availability, the time between failures, groups of crashes are counted from it.
//!
//! It is no index of crash reports: a report that is pruned or deleted still has happened.

use serde::{Deserialize, Serialize};

use crate::crash::CrashKind;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Is {
    /// From now on the service is available.
    Up,
    /// From now on it is not, and should be.
    Down,
    /// From now on it is not wanted.
    Off,
    /// It failed.
    Crash,
    /// mcpd begins. What was between `seen` and now, nobody knows.
    Life,
    /// Records were lost: what was between the one before and now, nobody knows.
    Gap,
    /// What older records said, added up.
    Past,
    /// Of a later version: nothing is made of it.
    #[serde(other)]
    Unknown,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When, microseconds since 1970-01-01 UTC. Of [`Is::Past`]: the last of what it adds up.
    pub at: i64,
    /// The service; empty: mcpd itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// What.
    pub is: Is,
    /// So many crashes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub n: u64,
    /// The newest crash's report, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What kind of end it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CrashKind>,
    /// [`crate::crash::CrashReport::fingerprint`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What the cause was, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How long it had run, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<f64>,
    /// So many of these crashes were followed by a restart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u64,
    /// Of [`Is::Past`] and of several crashes: when the first was, as `at`. Of [`Is::Life`]: when the life before was last
    /// seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Of [`Is::Past`]: for so long it was up, microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub up: u64,
    /// Of [`Is::Past`]: for so long it was down, microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub down: u64,
}

fn one() -> u64 {
    1
}

// serde hands over references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(n: &u64) -> bool {
    *n == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Record {
    /// A record that says nothing but this.
    #[must_use]
    pub fn new(at: i64, of: &str, is: Is) -> Self {
        Self {
            at,
            of: of.to_owned(),
            is,
            n: 1,
            id: None,
            kind: None,
            group: None,
            cause: None,
            ran: None,
            restarts: 0,
            since: None,
            up: 0,
            down: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that are on some disk: they have to load for ever.
    const LINES: [&str; 4] = [
        r#"{"at":1764160000000000,"of":"web","is":"up"}"#,
        r#"{"at":1764160000000000,"of":"web","is":"crash","id":"20261122T113000.123456Z-0a1b2c","kind":"exit","group":"0123456789abcdef","cause":"KeyError: 'x'","ran":1.5,"restarts":1}"#,
        r#"{"at":1764160000000000,"is":"life","since":1764150000000000}"#,
        r#"{"at":1764160000000000,"of":"web","is":"past","n":812,"restarts":800,"since":1764150000000000,"up":17,"down":4}"#,
    ];

    #[test]
    fn lines_of_the_first_version_load() {
        for line in LINES {
            let record: Record = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
        let later = r#"{"at":1,"of":"a","is":"weather","more":{}}"#;
        assert_eq!(serde_json::from_str::<Record>(later).unwrap().is, Is::Unknown);
    }
}
