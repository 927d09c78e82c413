//! How long a run was: from when its process began, not from when the core heard of it.

use std::time::Duration;

use mcpd_core::policy::{Commands, ExitSet, Relations, RestartPolicy, When};
use mcpd_core::{Action, Core, Event, Exit, Mono, NoteId, Policy, ServiceId};

#[test]
fn a_run_begins_when_its_process_does() {
    let restart = RestartPolicy {
        when: When::Always,
        delay: Duration::ZERO,
        multiplier: 1.0,
        max_delay: Duration::ZERO,
        jitter: 0.0,
        reset_after: Duration::from_secs(60),
        max_restarts: 0,
        park_at_limit: true,
        prevent: ExitSet::default(),
    };
    let policy = Policy {
        commands: Commands::default(),
        start_timeout: Duration::from_secs(90),
        stop_timeout: Duration::from_secs(10),
        stop_signal: 15,
        success: ExitSet::default(),
        restart,
        ready: None,
        health: None,
        relations: Relations::default(),
        watch: None,
        watchdog: None,
    };
    let service = ServiceId(0);
    let (asked, began, heard) = (Mono(1_000), Mono(2_000), Mono(9_000));
    let mut core = Core::new(0, NoteId(1));
    let mut out = Vec::new();
    core.handle(asked, Event::Begun, &mut out);
    let policy = Box::new(policy);
    core.handle(
        asked,
        Event::Define { service, policy, start: true, program_missing: false, left: 0 },
        &mut out,
    );
    core.handle(heard, Event::Spawned { service, generation: 1, pid: 7, at: began }, &mut out);
    assert_eq!(core.view(service).and_then(|view| view.started), Some(began));
    core.handle(heard, Event::Exited { service, generation: 1, exit: Exit::Code(1), oom: false }, &mut out);
    core.handle(heard, Event::Drained { service, generation: 1 }, &mut out);
    let crash = out.iter().find_map(|action| {
        let Action::RecordCrash(crash) = action else { return None };
        Some((crash.started, crash.ended))
    });
    assert_eq!(crash, Some((began, heard)));
    // A clock that is read on another processor never makes a run begin in the future.
    core.handle(heard, Event::CrashRecorded { service, generation: 1 }, &mut out);
    core.handle(heard, Event::TreeLeft { service, generation: 1, left: 0 }, &mut out);
    core.handle(heard, Event::Spawned { service, generation: 2, pid: 8, at: Mono(99_000) }, &mut out);
    assert_eq!(core.view(service).and_then(|view| view.started), Some(heard));
}
