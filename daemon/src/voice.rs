//! Where mcpd's own events go: to the journal with fields when systemd connected stderr to it, else to stderr, for
//! people. `MCPD_LOG` sets what is said, as `tracing-subscriber`'s `EnvFilter` reads it (default `info`).

use std::io::IsTerminal;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format;
use tracing_subscriber::prelude::*;

/// Sets the process's subscriber. Once; a second call does nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env("MCPD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    #[cfg(target_os = "linux")]
    if crate::sys::stderr_is_the_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        // Fields arrive under their own names: MCPD_SERVICE, MCPD_EVENT, MESSAGE_ID.
        let journal = journal
            .with_field_prefix(None)
            .with_syslog_identifier("mcpd".into())
            .with_priority_mappings(priorities());
        let _ = registry.with(journal).try_init();
        return;
    }
    // For people: the sentence; the fields are in the events.
    let only_message =
        format::debug_fn(
            |writer, field, value| {
                if field.name() == "message" { write!(writer, "{value:?}") } else { Ok(()) }
            },
        );
    let people = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .fmt_fields(only_message);
    let _ = registry.with(people).try_init();
}

/// syslog(3)'s levels. What is as it should be is no notice, which journalctl prints in bold.
#[cfg(target_os = "linux")]
fn priorities() -> tracing_journald::PriorityMappings {
    use tracing_journald::{Priority, PriorityMappings};
    PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    }
}
