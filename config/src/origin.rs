//! Where each value of a configuration came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where one value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is written in a file.
    File {
        /// As it was named when it was asked for.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// The variables whose values went into it; those that fell back to their default are left out.
        variables: Vec<String>,
        /// The template whose table it stands in, as `worker@`; for values of its instances.
        template: Option<String>,
    },
    /// Nobody said anything.
    Default,
    /// A variable decided, over the default and over the file: systemd's `RUNTIME_DIRECTORY` and its like.
    Environment {
        /// Its name.
        variable: String,
    },
}

impl fmt::Display for Origin {
    /// `mcpd.toml:12`, `mcpd.toml:12 of worker@`, `mcpd.toml:12 with PORT`, `default` or `environment: STATE_DIRECTORY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, variables, template, .. } => {
                write!(f, "{}:{line}", file.display())?;
                if let Some(template) = template {
                    write!(f, " of {template}")?;
                }
                if variables.is_empty() { Ok(()) } else { write!(f, " with {}", variables.join(", ")) }
            }
            Self::Default => f.write_str("default"),
            Self::Environment { variable } => write!(f, "environment: {variable}"),
        }
    }
}

/// The origin of every value, by dotted path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// The origin of `service.web.restart.delay` and the like; see [`dotted`] for names that need quotes.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Origin> {
        self.0.get(key)
    }

    /// All of them, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.0.iter().map(|(key, origin)| (key.as_str(), origin))
    }

    pub(crate) fn set(&mut self, key: String, origin: Origin) {
        self.0.insert(key, origin);
    }
}

/// The path as TOML writes it: parts that are no bare keys are quoted, as in `service."a.b".exec`.
#[must_use]
pub fn dotted<S: AsRef<str>>(parts: &[S]) -> String {
    let keys: Vec<String> = parts.iter().map(|part| crate::write::key(part.as_ref())).collect();
    keys.join(".")
}
