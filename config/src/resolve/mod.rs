//! The second step: from trees to a [`Config`]. Defaults, variables, types and every check that needs no second file.
//!
//! It reads nothing but what it is given; [`crate::load`] brings the texts.

mod cgroup;
mod commands;
pub(crate) mod context;
pub(crate) mod daemon;
mod health;
mod notify;
mod order;
mod ready;
pub(crate) mod relations;
mod resources;
pub(crate) mod scalar;
pub(crate) mod section;
mod service;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::assemble::Assembled;
use crate::raw::{EMPTY, Table};
use crate::resolve::context::Context;
use crate::source::FileId;
use crate::spec::{Config, ServiceSpec};

/// One file's tree. Files with syntax errors are not among them.
pub(crate) struct Document {
    pub(crate) file: FileId,
    pub(crate) root: Table,
}

/// The configuration that the main file's tree and the assembled services make. It means something only if no error was
/// reported.
pub(crate) fn resolve(cx: &mut Context<'_>, main: Option<&Table>, assembled: Vec<Assembled>) -> Config {
    let main = main.unwrap_or(&EMPTY);
    let daemon = daemon::resolve(cx, main);
    let mut services: BTreeMap<String, ServiceSpec> = BTreeMap::new();
    for Assembled { entry, instance } in assembled {
        cx.instance = instance;
        if let Some(spec) = service::resolve(cx, &entry) {
            services.insert(entry.key.clone(), spec);
        }
        cx.instance = None;
    }
    relations::check(cx, &services);
    daemon::check_notify_socket(cx, main, &daemon, services.values());
    let files: Vec<PathBuf> = cx.sources.iter().map(|source| source.path.clone()).collect();
    Config { daemon, services, files }
}

/// The file that was asked for is read first.
pub(crate) const MAIN: FileId = 0;

pub(crate) use service::bad_name;
