//! How is a command carried out that runs beside a service? As a helper, as the programs of probes are; with `MAINPID`.

use std::time::Duration;

use mcpd_core::action::Command;
use mcpd_core::event::RunEnd;
use mcpd_core::{Event, Finding, ServiceId};

use super::Shell;
use super::message::Message;
use crate::probe::Verdict;
use crate::sys;

/// The command that runs beside a service.
pub(super) struct Beside {
    generation: u64,
    number: u64,
    key: sys::Key,
}

impl Shell {
    pub(super) fn run_beside(
        &mut self,
        service: ServiceId,
        generation: u64,
        number: u64,
        command: Command,
        timeout: Duration,
    ) {
        let Some(entry) = self.entries.get_mut(&service) else { return };
        let mut argv = entry.command_of(command);
        let mut variables = Vec::new();
        if let Some(run) = entry.run(generation) {
            let pid = run.pid.to_string();
            // As systemd: what such a command needs most stands in its words, and no shell is run.
            argv.iter_mut().for_each(|word| *word = word.replace("$MAINPID", &pid));
            variables.push(("MAINPID".to_owned(), pid));
        }
        let spec = entry.spec.clone();
        entry.beside_detail = None;
        let report = move |verdict| Message::RunEnded { service, generation, number, verdict };
        let key = self.help((service, generation), &spec, argv, variables, timeout, report);
        if let Some(entry) = self.entries.get_mut(&service) {
            entry.beside = Some(Beside { generation, number, key });
        }
    }

    /// How it ended.
    pub(super) fn ran_beside(&mut self, service: ServiceId, generation: u64, number: u64, verdict: Verdict) {
        let ok = verdict.finding == Finding::Good;
        if let Some(entry) = self.entries.get_mut(&service) {
            let over = |beside: &mut Beside| (beside.generation, beside.number) == (generation, number);
            if entry.beside.take_if(over).is_some() {
                entry.beside_detail = Some(entry.clean(&verdict.detail));
            }
        }
        let end = if ok { RunEnd::Well } else { RunEnd::Badly(None) };
        self.events.push_back(Event::RunEnded { service, generation, number, end });
    }

    /// Nobody waits for it any more.
    pub(super) fn end_run(&mut self, service: ServiceId, generation: u64, number: u64) {
        let Some(entry) = self.entries.get_mut(&service) else { return };
        let is = |beside: &mut Beside| (beside.generation, beside.number) == (generation, number);
        if let Some(beside) = entry.beside.take_if(is) {
            self.kill_helper(beside.key);
        }
    }
}
