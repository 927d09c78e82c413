//! What would a new configuration change? Nothing is touched here; `reload` carries a plan out.

use std::hash::{DefaultHasher, Hash, Hasher};

use mcpd_config::plan::{self, changes, daemon_changes, diff, settle};
use mcpd_config::redact::{self, Redactor};
use mcpd_config::{Origins, ServiceSpec, dotted};
use mcpd_core::ServiceId;
use mcpd_core::event::Change;
use mcpd_core::verdict::ParkReason;
use mcpd_core::view::{Effect, StateView, View};
use mcpd_proto::SCHEMA;
use mcpd_proto::plan::{KeyChange, Plan, Step, StepAction};
use serde_json::{Value, json};

use super::Shell;
use super::load::Loaded;
use crate::spawner::Secrets;

/// A plan, and what it takes to carry it out.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) works: Vec<Work>,
}

/// What is to be done about one service.
pub(super) enum Work {
    /// It is new.
    Define(String),
    /// It is gone.
    Remove(ServiceId),
    /// It changed, or its process is to be replaced.
    Redefine(String, Change),
}

impl Shell {
    /// What a reload of this configuration would do now.
    pub(super) fn plan(&self, loaded: &Loaded, restart: bool) -> Planned {
        let diff = diff(&self.config, &loaded.config);
        let holds = |list: &[String], name: &String| list.binary_search(name).is_ok();
        let (mut steps, mut works, mut unchanged) = (Vec::new(), Vec::new(), 0_usize);
        for (name, spec) in &loaded.config.services {
            if holds(&diff.added, name) {
                steps.push(new_one(spec, loaded));
                works.push(Work::Define(name.clone()));
                continue;
            }
            let Some(id) = self.names.get(name).copied() else { continue };
            let case = Case {
                changed: holds(&diff.update, name) || holds(&diff.restart, name),
                definition: holds(&diff.restart, name),
                restart,
            };
            match self.plan_one(id, spec, loaded, case) {
                Some((step, change)) => {
                    steps.push(step);
                    works.extend(change.map(|change| Work::Redefine(name.clone(), change)));
                }
                None => unchanged += 1,
            }
        }
        // Last, when nobody needs them any more.
        for name in &diff.removed {
            let Some(id) = self.names.get(name).copied() else { continue };
            let action = if self.core.is_at_rest(id) { StepAction::Remove } else { StepAction::Stop };
            steps.push(step(name, action, "it is no longer in the configuration"));
            works.push(Work::Remove(id));
        }
        unchanged -= self.foresee_along(loaded, &works, &mut steps);
        let daemon: Vec<KeyChange> = daemon_changes(&self.config.daemon, &loaded.config.daemon)
            .into_iter()
            .map(|change| key(change, false, &["daemon"], &loaded.places))
            .collect();
        let id = id(&json!([steps, daemon, diff.needs_daemon_restart, restart]), &steps, &loaded.config);
        for step in &mut steps {
            let (old, new) =
                (self.config.services.get(&step.service), loaded.config.services.get(&step.service));
            let entry = self.names.get(&step.service).and_then(|id| self.entries.get(id));
            let of_run = entry.and_then(|entry| entry.secrets_of_run());
            redact(step, [old, new].into_iter().flatten(), of_run);
        }
        steps.sort_by(|a, b| a.service.cmp(&b.service));
        let plan = Plan {
            schema: SCHEMA,
            id,
            restart,
            steps,
            unchanged,
            daemon,
            needs_daemon_restart: diff.needs_daemon_restart,
            warnings: loaded.warnings.clone(),
        };
        Planned { plan, works }
    }

    /// A service that stays. None: it stays as it is.
    fn plan_one(
        &self,
        id: ServiceId,
        spec: &ServiceSpec,
        loaded: &Loaded,
        case: Case,
    ) -> Option<(Step, Option<Change>)> {
        let (entry, view) = (self.entries.get(&id)?, self.core.view(id)?);
        let at_rest = self.core.is_at_rest(id);
        let settled =
            if at_rest { spec.clone() } else { settle(&entry.spec, spec, self.limits(entry, spec)) };
        let waits = settled != *spec;
        // Limits are live, but not where there is no process, or none that they can be given to.
        let limits = if at_rest { &entry.spec } else { &settled };
        let definition =
            case.definition || (case.changed && limits.resources.cgroup != spec.resources.cgroup);
        // Its definition is the same, but what kept it down is gone.
        let appeared = at_rest && entry.missing.is_some() && !loaded.missing.contains_key(&spec.name);
        // It is parked because starting it failed, for a reason that only a try can tell to be gone.
        let parked = [ParkReason::CannotStart, ParkReason::Lacking].map(StateView::Parked);
        let tries = spec.enabled && parked.contains(&view.state);
        // A parked service stays so until asked or changed; this is a change, whatever it is.
        let parked = matches!(view.state, StateView::Parked(_)) && spec.enabled && case.changed;
        let change = if case.restart && waits {
            Some(Change::Replace)
        } else if appeared || tries || parked || (definition && (at_rest || waits)) {
            Some(Change::Definition)
        } else {
            case.changed.then_some(Change::Settings)
        };
        if change.is_none() && !waits {
            return None;
        }
        let effect = change.map_or(Some(Effect::Pending), |change| self.core.foresee(id, change))?;
        let action = match effect {
            Effect::Restart => StepAction::Restart,
            Effect::Start => StepAction::Start,
            Effect::Pending => StepAction::Pending,
            Effect::Live if waits => StepAction::Pending,
            Effect::Live => StepAction::Change,
        };
        let why = match action {
            StepAction::Start if appeared && !case.changed => "its program can be found now",
            StepAction::Start if tries && !case.changed => "it could not be started: a reload tries again",
            _ => why(action, &view, at_rest, case.changed),
        };
        let starts = matches!(action, StepAction::Start | StepAction::Restart | StepAction::Pending);
        let missing = loaded.missing.get(&spec.name).filter(|_| starts);
        let why = why.to_owned() + &missing.map_or_else(String::new, |missing| format!("; but {missing}"));
        let live = changes(&entry.spec, &settled).into_iter().map(|change| (change, false));
        let waiting = changes(&settled, spec).into_iter().map(|change| (change, true));
        let mut keys: Vec<KeyChange> = live
            .chain(waiting)
            .map(|(change, needs_restart)| {
                key(change, needs_restart, &["service", &spec.name], &loaded.places)
            })
            .collect();
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        Some((Step { keys, ..step(&spec.name, action, &why) }, change))
    }
}

/// What is known of a service that stays, against the configuration that was read last.
#[derive(Clone, Copy)]
struct Case {
    changed: bool,
    definition: bool,
    restart: bool,
}

pub(super) fn step(name: &str, action: StepAction, why: &str) -> Step {
    Step { service: name.to_owned(), action, why: why.to_owned(), keys: Vec::new() }
}

fn new_one(spec: &ServiceSpec, loaded: &Loaded) -> Step {
    match (spec.enabled, loaded.missing.get(&spec.name)) {
        (false, _) => step(&spec.name, StepAction::Add, "it is new, and not enabled: it stays down"),
        (true, None) => step(&spec.name, StepAction::Start, "it is new"),
        (true, Some(why)) => {
            step(&spec.name, StepAction::Add, &format!("it is new, but it will be parked: {why}"))
        }
    }
}

fn why(action: StepAction, view: &View, at_rest: bool, changed: bool) -> &'static str {
    match action {
        StepAction::Restart if changed => "what it runs changed",
        StepAction::Restart => "what it runs changed in an earlier reload",
        StepAction::Pending if changed && view.state == StateView::Exited => {
            "it has done its work, and what it runs changes with its next start"
        }
        StepAction::Pending if changed => {
            "its process goes on with what it was started with until its next start"
        }
        StepAction::Pending => "changes of an earlier reload wait for its next start",
        StepAction::Start => match view.state {
            StateView::Parked(_) => "it is parked, and its configuration changed",
            StateView::Backoff { .. } => "it waits for its restart, and what it runs changed",
            StateView::Down(_)
            | StateView::Waiting(_)
            | StateView::Spawning
            | StateView::Starting(_)
            | StateView::Up
            | StateView::Leaving { .. }
            | StateView::Exited
            | StateView::Stopping(_)
            | StateView::Ending { .. } => "its process is ending, and what it runs changed",
        },
        StepAction::Change if at_rest => "it is not running",
        StepAction::Change => "its process is not touched",
        StepAction::Add | StepAction::Stop | StepAction::Remove => "",
    }
}

fn key(change: plan::KeyChange, needs_restart: bool, table: &[&str], places: &Origins) -> KeyChange {
    let plan::KeyChange { key, old, new } = change;
    let full: Vec<&str> = table.iter().copied().chain(key.iter().map(String::as_str)).collect();
    let origin = places.get(&dotted(&full)).map(ToString::to_string);
    let (old, new) = (old.unwrap_or(Value::Null), new.unwrap_or(Value::Null));
    KeyChange { key: dotted(&key), old, new, origin, needs_restart }
}

/// The same for the same plan, in this daemon. Made before secrets are redacted, so that it stands for them too.
fn id(all: &Value, steps: &[Step], config: &mcpd_config::Config) -> String {
    let mut hasher = DefaultHasher::new();
    all.to_string().hash(&mut hasher);
    // Of a new service there are no keys: what it is counts as a whole.
    for step in steps.iter().filter(|step| step.keys.is_empty()) {
        format!("{:?}", config.services.get(&step.service)).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Takes out the secrets of the old definition and of the new one, and those that its run has.
fn redact<'s>(step: &mut Step, specs: impl Iterator<Item = &'s ServiceSpec>, of_run: Option<&Secrets>) {
    let mut redactors: Vec<Redactor> = specs.map(Redactor::of).collect();
    redactors.extend(of_run.map(|secrets| Redactor::clone(secrets)));
    for change in &mut step.keys {
        let last = change.key.rsplit('.').next().unwrap_or_default().trim_matches('"');
        for redactor in &redactors {
            redact::value(last, &mut change.old, redactor);
            redact::value(last, &mut change.new, redactor);
        }
    }
}
