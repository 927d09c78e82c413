//! What would a reload bring upon services by way of others? A copy of the core is told of the new configuration, and what
//! it makes of it is looked at. So the plan knows exactly what the core will do, and nothing is decided twice.

use std::collections::BTreeMap;

use mcpd_config::plan::settle;
use mcpd_core::action::{Action, Note, NoteKind, StopCause};
use mcpd_core::event::Redefinition;
use mcpd_core::view::{StateView, View};
use mcpd_core::{Event, ServiceId};
use mcpd_proto::plan::{Step, StepAction};

use super::Shell;
use super::load::Loaded;
use super::order::relations;
use super::plan::{Work, step};
use super::policy::policy;
use crate::words;

impl Shell {
    /// Completes the steps of a plan by what befalls services because of others: that is another step, or the one that a
    /// service has comes to something else. Returns how many services have a step now that had none.
    pub(super) fn foresee_along(&self, loaded: &Loaded, works: &[Work], steps: &mut Vec<Step>) -> usize {
        let ids = self.numbers(loaded);
        let mut core = self.core.clone();
        let (now, mut actions) = (self.now().0, Vec::new());
        for event in self.events_of(loaded, works, &ids) {
            core.handle(now, event, &mut actions);
        }
        let names: BTreeMap<ServiceId, &str> = ids.iter().map(|(&name, &id)| (id, name)).collect();
        let name_of =
            |id: ServiceId| names.get(&id).map_or_else(|| self.name_of(id), |name| (*name).to_owned());
        let mut places: BTreeMap<String, usize> =
            steps.iter().enumerate().map(|(place, step)| (step.service.clone(), place)).collect();
        let mut more = 0;
        for (&name, &id) in &ids {
            let (before, after) = (self.core.view(id), core.view(id));
            let Some((action, why)) = befalls(before.as_ref(), after.as_ref(), &actions, &name_of) else {
                continue;
            };
            match places.get(name).and_then(|place| steps.get_mut(*place)) {
                // It comes to the same.
                Some(own) if own.action == action => {}
                Some(own) => (own.action, own.why) = (action, why),
                None => {
                    places.insert(name.to_owned(), steps.len());
                    steps.push(step(name, action, &why));
                    more += 1;
                }
            }
        }
        more
    }

    /// Every service of the new configuration, by the number that it has or would get.
    fn numbers<'l>(&self, loaded: &'l Loaded) -> BTreeMap<&'l str, ServiceId> {
        let mut next = self.next_service;
        let number = |name: &'l String| {
            let id = self.names.get(name).copied().unwrap_or_else(|| {
                next += 1;
                ServiceId(next - 1)
            });
            (name.as_str(), id)
        };
        loaded.config.services.keys().map(number).collect()
    }

    /// What a reload would tell the core.
    fn events_of(&self, loaded: &Loaded, works: &[Work], ids: &BTreeMap<&str, ServiceId>) -> Vec<Event> {
        let parallel_starts = loaded.config.daemon.max_parallel_starts;
        let mut events = vec![Event::Limit { parallel_starts }, Event::Reloading { by: None }];
        let id = |name: &str| ids.get(name).copied();
        for work in works {
            match work {
                Work::Remove(service) => events.push(Event::Remove { service: *service }),
                Work::Define(name) => {
                    if let (Some(spec), Some(service)) = (loaded.config.services.get(name), id(name)) {
                        events.push(Event::Define {
                            service,
                            policy: Box::new(policy(spec, relations(spec, id))),
                            start: spec.enabled,
                            program_missing: loaded.missing.contains_key(name),
                            left: 0,
                        });
                    }
                }
                Work::Redefine(name, change) => {
                    if let (Some(spec), Some(service)) = (loaded.config.services.get(name), id(name)) {
                        let running = self.entries.get(&service).filter(|_| !self.core.is_at_rest(service));
                        let live = running.map(|entry| settle(&entry.spec, spec, self.limits(entry, spec)));
                        let live = policy(live.as_ref().unwrap_or(spec), relations(spec, id));
                        let policy = policy(spec, relations(spec, id));
                        let to = Box::new(Redefinition { policy, live, change: *change });
                        events.push(Event::Redefine { service, to });
                    }
                }
            }
        }
        events.push(Event::Begun);
        events
    }
}

/// What others bring upon a service, if they do. None: what happens to it, if anything, is its own doing.
fn befalls(
    before: Option<&View>,
    after: Option<&View>,
    actions: &[Action],
    name_of: &impl Fn(ServiceId) -> String,
) -> Option<(StepAction, String)> {
    let after = after?;
    let was_wanted = before.is_some_and(|view| view.wanted);
    if !after.wanted {
        // It is new and was to start, or it was wanted.
        let cause = stopping(after).filter(|_| was_wanted || before.is_none())?;
        return Some((StepAction::Stop, words::stop_cause(cause, name_of)));
    }
    if let Some(cause) = stopping(after).filter(|_| before.and_then(stopping).is_none()) {
        let action = if let StopCause::RestartedWith(_) = cause {
            StepAction::Restart
        } else if let StopCause::Unbound(_) = cause {
            // It comes back when that one does.
            StepAction::Stop
        } else {
            return None;
        };
        return Some((action, words::stop_cause(cause, name_of)));
    }
    if was_wanted {
        let waited = before.is_some_and(|view| matches!(view.state, StateView::Waiting(_)));
        let starts = waited && after.state == StateView::Spawning;
        return starts.then(|| (StepAction::Start, "nothing is left that it waits for".to_owned()));
    }
    let by = actions.iter().find_map(|action| match action {
        Action::Note(Note { service: Some(id), kind: NoteKind::Wanted { by }, .. })
            if *id == after.service =>
        {
            Some(*by)
        }
        _ => None,
    })?;
    Some((StepAction::Start, format!("{} needs or wants it", name_of(by))))
}

/// Why it is stopped, or is to be as soon as others are gone, or is down: because of another one.
fn stopping(view: &View) -> Option<StopCause> {
    use mcpd_core::action::DownReason;
    match view.state {
        StateView::Leaving { cause, .. } | StateView::Stopping(cause) => match cause {
            StopCause::StoppedWith(_)
            | StopCause::RestartedWith(_)
            | StopCause::Unbound(_)
            | StopCause::Conflict(_) => Some(cause),
            StopCause::Asked
            | StopCause::Restart
            | StopCause::Changed
            | StopCause::Removed
            | StopCause::Shutdown
            | StopCause::EarlierLife
            | StopCause::Watch
            | StopCause::Announced
            | StopCause::Failure(_) => None,
        },
        StateView::Down(DownReason::Conflict(other)) => Some(StopCause::Conflict(other)),
        StateView::Down(DownReason::StoppedWith(other)) => Some(StopCause::StoppedWith(other)),
        StateView::Down(_)
        | StateView::Waiting(_)
        | StateView::Spawning
        | StateView::Starting(_)
        | StateView::Up
        | StateView::Exited
        | StateView::Ending { .. }
        | StateView::Backoff { .. }
        | StateView::Parked(_) => None,
    }
}
