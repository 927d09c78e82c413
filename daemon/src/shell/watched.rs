//! Which files are of interest, and what changed?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcpd_config::ServiceSpec;
use mcpd_config::watched::Filter;
use mcpd_core::action::Note;
use mcpd_core::{Event, NoteKind, ServiceId};
use serde_json::json;

use super::Shell;
use crate::scribe::Level;
use crate::watch::{Changes, Sign, Target, Topic};

impl Shell {
    /// Watches what the service's `[watch]` names, or nothing.
    pub(super) fn watch(&mut self, service: ServiceId, spec: &ServiceSpec) {
        let targets = match &spec.watch {
            None => Ok(Vec::new()),
            Some(watch) => Filter::new(&watch.include, &watch.ignore).map(|filter| {
                let filter = Arc::new(filter);
                let base = self.base(spec);
                let target = |path: &PathBuf| Target {
                    path: path.clone(),
                    base: base.clone(),
                    filter: filter.clone(),
                };
                watch.paths.iter().map(target).collect()
            }),
        };
        let topic = Topic::Files(service);
        let set =
            targets.and_then(|targets| self.watcher.set(topic, targets).map_err(|error| error.to_string()));
        if let Err(why) = set {
            let why = format!("its files cannot be watched: {why}");
            self.tell_own(Level::Error, Some(&spec.name), "watch_trouble", why, json!({}));
        }
    }

    /// What the paths of `[watch]` are relative to, as people wrote them.
    fn base(&self, spec: &ServiceSpec) -> PathBuf {
        let file = self.source.path().parent().unwrap_or(Path::new(""));
        spec.working_directory.clone().unwrap_or_else(|| file.to_owned())
    }

    pub(super) fn unwatch(&mut self, service: ServiceId) {
        // Nothing is started for no targets.
        let _ = self.watcher.set(Topic::Files(service), Vec::new());
    }

    pub(super) fn watch_sign(&mut self, sign: Sign) {
        match sign {
            Sign::Changed => {
                for (topic, changes) in self.watcher.take() {
                    match topic {
                        Topic::Files(service) => self.files_changed(service, changes),
                    }
                }
            }
            Sign::Watching { topic: Topic::Files(service), directories } => {
                let Some(name) = self.entries.get(&service).map(|entry| entry.name.clone()) else { return };
                let them =
                    if directories == 1 { "1 directory" } else { &format!("{directories} directories") };
                let message = format!("watching {them} for changes");
                let data = json!({ "directories": directories });
                self.tell_own(Level::Debug, Some(&name), "watching", message, data);
            }
            Sign::Trouble(what) => self.tell_own(Level::Warn, None, "watch_trouble", what, json!({})),
        }
    }

    fn files_changed(&mut self, service: ServiceId, changes: Changes) {
        let Some(entry) = self.entries.get_mut(&service) else { return };
        entry.changes.merge(changes);
        self.events.push_back(Event::FilesChanged { service });
    }

    /// What followed from changes has been told: the next ones are others.
    pub(super) fn consequences_told(&mut self, note: &Note) {
        let told = matches!(note.kind, NoteKind::FilesChanged { .. } | NoteKind::WatchSuspended { .. });
        if told && let Some(entry) = note.service.and_then(|id| self.entries.get_mut(&id)) {
            entry.changes = Changes::default();
        }
    }
}
