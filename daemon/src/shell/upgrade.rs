//! Another program takes over, because somebody asked for it: it has been asked whether it would, and from then on it is as
//! after the death of a daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mcpd_proto::SCHEMA;
use mcpd_proto::error::{ErrorObject, Kind};
use serde_json::json;

use super::Shell;
use super::by::By;
use super::message::Inventory;
use crate::control::Asker;
use crate::keeper::papers::Inheritance;
use crate::scribe::Level;

/// So long the disk may take with what is told last.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

impl Shell {
    /// For whoever is asked whether it would go on.
    pub(super) fn inventory(&mut self) -> Result<Inventory, ErrorObject> {
        self.may_make_way()?;
        let program = self.line.about().map(|keeper| PathBuf::from(&keeper.program)).unwrap_or_default();
        let refused = |why: String| ErrorObject::new(Kind::NotUpgraded, why);
        let Some(ledger) = self.estate.ledger() else {
            return Err(refused(
                "nothing can be written down of what runs: see the event ledger_failing".into(),
            ));
        };
        let ledger = ledger.copy().map_err(|error| refused(format!("the ledger cannot be read: {error}")))?;
        Ok(Inventory { ledger, program })
    }

    pub(super) fn may_make_way(&self) -> Result<(), ErrorObject> {
        if self.core.is_shutting_down() {
            return Err(ErrorObject::new(Kind::ShuttingDown, "mcpd is shutting down"));
        }
        if self.line.about().is_none() {
            let why = "mcpd runs without a keeper here, and nobody else could hold what its services need: stop it, and start \
                       the other one";
            return Err(ErrorObject::new(Kind::NotUpgraded, why));
        }
        Ok(())
    }

    /// For another mcpd that ends this process next. What would be decided meanwhile it could not know of, so nothing is.
    pub(super) fn hand_over(&mut self, heir: u32) -> Result<Inheritance, ErrorObject> {
        let refused = |why: &str| Err(ErrorObject::new(Kind::NotUpgraded, why));
        if self.line.about().is_some() {
            return refused("this daemon has a keeper: see \"mcpctl daemon upgrade\"");
        }
        if self.core.is_shutting_down() {
            return Err(ErrorObject::new(Kind::ShuttingDown, "mcpd is shutting down"));
        }
        let Some(items) = self.line.estate() else {
            return refused("it is not known what there is to be handed over");
        };
        #[cfg(unix)]
        crate::sys::let_trace(heir);
        let message = format!("another mcpd (pid {heir}) takes over");
        self.tell_own(Level::Info, None, "upgrading", message, json!({ "pid": heir }));
        Ok(Inheritance { schema: SCHEMA, pid: std::process::id(), items })
    }

    /// The keeper ends this process, executes the program, and has it take over: once it is on disk that this was asked for.
    pub(super) fn make_way(&mut self, program: PathBuf, version: &str, by: Option<Arc<Asker>>) {
        let by = By::Client(by);
        let path = program.display();
        let message = format!(
            "{} asked for it: making way for mcpd {version} ({path}); no service is touched",
            by.words()
        );
        let data = json!({ "by": by.data(), "program": path.to_string(), "version": version });
        self.tell_own(Level::Info, None, "upgrading", message, data);
        self.write_down();
        let (scribe, line) = (self.scribe.clone(), self.line.clone());
        let last_words = move || {
            scribe.settle(LAST_WORDS);
            line.upgrade(&program);
        };
        if let Err(error) = self.workers.run(last_words) {
            let message = format!("mcpd does not make way: there is no thread for it: {error}");
            self.tell_own(Level::Error, None, "upgrade_failed", message, json!({}));
        }
    }
}
