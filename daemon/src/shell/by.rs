//! On whose word does something happen?

use std::sync::Arc;

use serde_json::{Value, json};

use crate::control::Asker;

/// Who said so.
#[derive(Debug, Clone)]
pub(super) enum By {
    /// A client; `None` where the system does not tell which.
    Client(Option<Arc<Asker>>),
    /// A signal to mcpd. Who sent it is not known.
    Signal,
    /// The keeper, by not being there any more.
    Keeper,
}

impl By {
    /// As the subject of a sentence.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Client(Some(asker)) => asker.words(),
            Self::Client(None) => "somebody".into(),
            Self::Signal => "a signal".into(),
            Self::Keeper => "the end of mcpd's keeper".into(),
        }
    }

    /// `data.by` of an event.
    pub(super) fn data(&self) -> Value {
        match self {
            Self::Client(asker) => json!(asker.as_deref()),
            Self::Signal => json!({ "signal": true }),
            Self::Keeper => json!({ "keeper": true }),
        }
    }
}
