//! What services have to do with each other: from names to the core's numbers, and back into words.

use mcpd_config::{ServiceSpec, spec};
use mcpd_core::policy::Relations;
use mcpd_core::view::{StateView, View};
use mcpd_core::{ServiceId, WaitingFor};
use mcpd_proto::status::{Relations as Shown, State};

use super::Shell;
use super::entry::Entry;
use super::status::state;

/// So many that wait for each other are looked at for the words of one of them.
const FAR: usize = 100;

/// A service's relations with the numbers that `id` has for names.
pub(super) fn relations(spec: &ServiceSpec, id: impl Fn(&str) -> Option<ServiceId>) -> Relations {
    let spec::Relations { requires, wants, after, before, conflicts, part_of, binds_to } = &spec.relations;
    let ids = |names: &[String]| names.iter().filter_map(|name| id(name)).collect();
    Relations {
        requires: ids(requires),
        wants: ids(wants),
        after: ids(after),
        before: ids(before),
        conflicts: ids(conflicts),
        part_of: ids(part_of),
        binds_to: ids(binds_to),
    }
}

impl Shell {
    /// Gives every service of a configuration its number, so that they can name each other whatever comes first.
    pub(super) fn number<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            self.new_service(name);
        }
    }

    /// A service's relations as the core knows them. The configuration has made sure that all these services exist.
    pub(super) fn relations(&self, spec: &ServiceSpec) -> Relations {
        relations(spec, |name| self.names.get(name).copied())
    }

    pub(super) fn name_of(&self, service: ServiceId) -> String {
        self.entries
            .get(&service)
            .map_or_else(|| "a service that is gone".into(), |entry| entry.name.to_string())
    }

    /// What it waits for, and how far that is: "waiting for database to be up (parked: ...)".
    pub(super) fn waiting(&self, on: Option<WaitingFor>) -> String {
        match on {
            Some(WaitingFor::Up(other)) => format!("waiting for {}", self.how_far(other)),
            Some(WaitingFor::Started(other)) => {
                format!("waiting for {}, which starts first", self.how_far(other))
            }
            Some(WaitingFor::Gone(other)) => format!("waiting for {} to be gone", self.how_far(other)),
            Some(WaitingFor::Place) => {
                let most = self.config.daemon.max_parallel_starts;
                format!("waiting for a place: {most} services are starting (max_parallel_starts)")
            }
            None => "waiting".into(),
        }
    }

    /// "database (starting)", "database (parked: its program ...)"
    fn how_far(&self, service: ServiceId) -> String {
        let (Some(view), Some(entry)) = (self.core.view(service), self.entries.get(&service)) else {
            return self.name_of(service);
        };
        let name = &entry.name;
        let is = match view.state {
            StateView::Up | StateView::Exited => return name.to_string(),
            // One sentence for the next one is enough; that one says what it waits for itself.
            StateView::Waiting(on) => match on.and_then(WaitingFor::service) {
                Some(next) => format!("waiting for {}{}", self.name_of(next), self.stuck_behind(next)),
                None => "waiting".into(),
            },
            StateView::Down(_)
            | StateView::Spawning
            | StateView::Starting(_)
            | StateView::Leaving { .. }
            | StateView::Stopping(_)
            | StateView::Ending { .. }
            | StateView::Backoff { .. }
            | StateView::Parked(_) => match self.state(&view, entry) {
                (state, Some(reason)) => format!("{}: {reason}", state.name()),
                (state, None) => state.name().into(),
            },
        };
        format!("{name} ({is})")
    }

    /// ", which is parked", ", in the end for database, which is parked": whether what is at the end of those who wait for
    /// each other will come by itself.
    fn stuck_behind(&self, first: ServiceId) -> String {
        let mut last = first;
        for _ in 0..FAR {
            let Some(view) = self.core.view(last) else { return String::new() };
            let state = match view.state {
                StateView::Waiting(on) => match on.and_then(WaitingFor::service) {
                    Some(next) => {
                        last = next;
                        continue;
                    }
                    None => return String::new(),
                },
                StateView::Parked(_) => State::Parked,
                StateView::Down(_) => State::Down,
                StateView::Spawning
                | StateView::Starting(_)
                | StateView::Up
                | StateView::Exited
                | StateView::Leaving { .. }
                | StateView::Stopping(_)
                | StateView::Ending { .. }
                | StateView::Backoff { .. } => return String::new(),
            };
            let whom = if last == first {
                String::new()
            } else {
                format!(", in the end for {}", self.name_of(last))
            };
            return format!("{whom}, which is {}", state.name());
        }
        String::new()
    }

    /// The state's name, and why it is so when that needs saying.
    pub(super) fn state(&self, view: &View, entry: &Entry) -> (State, Option<String>) {
        let (state, reason) = state(view, entry, &|other| self.name_of(other));
        match view.state {
            StateView::Waiting(on) => (state, Some(self.waiting(on))),
            StateView::Down(_)
            | StateView::Spawning
            | StateView::Starting(_)
            | StateView::Up
            | StateView::Exited
            | StateView::Leaving { .. }
            | StateView::Stopping(_)
            | StateView::Ending { .. }
            | StateView::Backoff { .. }
            | StateView::Parked(_) => (state, reason),
        }
    }

    /// What the configuration says of a service and others.
    pub(super) fn shown_relations(&self, spec: &ServiceSpec) -> Shown {
        let spec::Relations { requires, wants, after, before, conflicts, part_of, binds_to } =
            spec.relations.clone();
        Shown { requires, wants, after, before, conflicts, part_of, binds_to, required_by: Vec::new() }
    }

    /// Services that are stopped when this one is. Looks at every service: for one status, not for a list of all.
    pub(super) fn required_by(&self, name: &str) -> Vec<String> {
        let names = |list: &[String]| list.iter().any(|other| other == name);
        let with = |entry: &Entry| {
            let relations = &entry.spec.relations;
            names(&relations.requires) || names(&relations.binds_to) || names(&relations.part_of)
        };
        let mut all: Vec<String> =
            self.entries.values().filter(|entry| with(entry)).map(|e| e.name.to_string()).collect();
        all.sort();
        all
    }
}
