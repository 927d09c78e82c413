//! What can a person do, with which command?

use mcpd_proto::status::{ServiceStatus, State};
use mcpd_proto::why::{Advice, Condition, Obstacle};

use super::Facts;

/// The most useful first.
pub(super) fn advice(condition: Condition, facts: &Facts) -> Vec<Advice> {
    let status = &facts.status;
    let name = &status.name;
    let mut all = Vec::new();
    let mut say =
        |text: &str, command: String| all.push(Advice { text: text.into(), command: Some(command) });
    let start = || format!("mcpctl start {name}");
    let restart = || format!("mcpctl restart {name}");
    let logs = || format!("mcpctl logs {name} -n 50");
    let last_crash = status.last_crash.as_ref().map(|crash| format!("mcpctl crashes show {}", crash.id));
    match condition {
        Condition::Parked => {
            if let Some((port, holder)) = &facts.port {
                say(
                    &format!("See who holds port {port}; end that, or give this service another port"),
                    if cfg!(windows) {
                        format!("tasklist /fi \"pid eq {}\"", holder.pid)
                    } else {
                        format!("ps -fp {}", holder.pid)
                    },
                );
            }
            if let Some(show) =
                last_crash.filter(|_| status.reason_code.as_deref() != Some("program_missing"))
            {
                say("Read why it failed the last time, with its last output", show);
            }
            if status.reason_code.as_deref() == Some("program_missing") {
                say(
                    "Where it was looked for, and every other problem of the file",
                    "mcpctl config check".into(),
                );
            }
            say("Once that is mended, start it", start());
        }
        Condition::Failing => {
            say("Read why it failed, with its last output", last_crash.unwrap_or_else(logs));
            say("Start it now, without waiting", restart());
            say("Give it up for now", format!("mcpctl stop {name}"));
        }
        Condition::Flapping => {
            say("See what it fails of, and how often", format!("mcpctl crashes {name} --groups"));
            if let Some(show) = last_crash {
                say("Read the newest report", show);
            }
            say("Give it up for now", format!("mcpctl stop {name}"));
        }
        Condition::Failed => {
            say("Read why it failed, with its last output", last_crash.unwrap_or_else(logs));
            say("Start it again", start());
        }
        Condition::Unhealthy => {
            say("See what it says", logs());
            say("Restart it now", restart());
        }
        Condition::Waiting => return waiting(&facts.waits_for, status),
        Condition::Starting => {
            say("Watch it start", format!("mcpctl logs {name} -f"));
        }
        Condition::Stopping => {
            say("See what it still does", logs());
        }
        Condition::Stale => {
            say("Let it run what is there now", restart());
        }
        Condition::Stopped | Condition::Finished | Condition::NeverStarted => {
            say("Start it", start());
        }
        Condition::Disabled => {
            say("Start it now", start());
            let place = status.config.as_deref().unwrap_or("the configuration");
            all.push(Advice {
                text: format!("To start it with mcpd, remove enabled = false ({place}), then reload"),
                command: Some("mcpctl daemon reload".into()),
            });
        }
        Condition::Well => {}
    }
    if status.watch.as_ref().is_some_and(|watch| watch.state == "suspended") {
        all.push(Advice {
            text: "Changed files have no consequences any more; name what it writes itself in watch.ignore, then reset it"
                .into(),
            command: Some(format!("mcpctl reset {name}")),
        });
    }
    all
}

/// What holds it up is what somebody has to look at.
fn waiting(waits_for: &[Obstacle], status: &ServiceStatus) -> Vec<Advice> {
    let Some(last) = waits_for.last() else {
        let text = "Its turn comes; more start at a time with a larger daemon.max_parallel_starts".into();
        return vec![Advice { text, command: None }];
    };
    let other = &last.service;
    let why = Advice {
        text: format!("See why {other} is not ready"),
        command: Some(format!("mcpctl why {other}")),
    };
    let give_up =
        Advice { text: "Do without it".into(), command: Some(format!("mcpctl stop {}", status.name)) };
    if matches!(last.state, State::Parked | State::Down) {
        let start = Advice { text: format!("Start {other}"), command: Some(format!("mcpctl start {other}")) };
        return vec![why, start, give_up];
    }
    vec![why, give_up]
}
