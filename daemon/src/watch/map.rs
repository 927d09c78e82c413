//! Which topics does an event concern?

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcpd_config::watched::Filter;

use super::meaning::{Meaning, meaning};
use super::{State, Topic};

/// Tidings that wait for the keeper. With more everything is looked at again, which takes longer and loses nothing.
const MOST_TIDINGS: usize = 4096;

/// A target of a topic.
pub(super) type Which = (Topic, usize);

/// Something for the keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tiding {
    /// A target's path may mean something else now.
    Resolve(Which),
    /// Perhaps a directory that belongs to a watched tree. The flag: as a file it counts.
    New(PathBuf, bool),
    /// A watched directory is not there any more.
    Gone(PathBuf),
}

/// The watched directories. Descendants of a directory are its neighbours.
pub(super) type Map = BTreeMap<PathBuf, Spot>;

/// Why a directory is watched.
#[derive(Default)]
pub(super) struct Spot {
    /// Names in it that are of interest.
    pub(super) guards: HashMap<OsString, Vec<Guard>>,
    /// Trees that it belongs to.
    pub(super) branches: Vec<Branch>,
    /// It is really watched, as far as is known.
    pub(super) open: bool,
}

pub(super) struct Guard {
    pub(super) which: Which,
    /// How people call the target.
    pub(super) shown: Arc<Path>,
    /// The target is this very file, or a directory that counts as one.
    pub(super) counts: bool,
    /// Its mode counts, too.
    pub(super) attributes: bool,
}

#[derive(Clone)]
pub(super) struct Branch {
    pub(super) which: Which,
    /// The tree's own directory.
    pub(super) root: Arc<Path>,
    /// How people call it.
    pub(super) shown: Arc<Path>,
    pub(super) filter: Arc<Filter>,
}

impl Branch {
    /// The path as the globs and people see it.
    pub(super) fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

impl Spot {
    pub(super) fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.branches.is_empty()
    }

    pub(super) fn forget(&mut self, which: Which) {
        self.branches.retain(|branch| branch.which != which);
        self.guards.retain(|_, guards| {
            guards.retain(|guard| guard.which != which);
            !guards.is_empty()
        });
    }
}

impl State {
    /// Takes in what notify says; whether that is anything to the keeper.
    pub(super) fn hear(&mut self, event: &notify::Event) -> bool {
        if event.need_rescan() {
            self.lost = true;
            self.unsure = true;
            return true;
        }
        let meaning = meaning(event.kind);
        if meaning == Meaning::Nothing {
            return false;
        }
        let mut heard = false;
        for path in &event.paths {
            heard |= self.happened(path, meaning);
        }
        heard
    }

    pub(super) fn happened(&mut self, path: &Path, meaning: Meaning) -> bool {
        let mut changed: Vec<(Topic, PathBuf)> = Vec::new();
        let mut tidings = Vec::new();
        if matches!(meaning, Meaning::Left | Meaning::Removed)
            && let Some(spot) = self.map.get(path)
        {
            for branch in spot.branches.iter().filter(|_| meaning == Meaning::Left) {
                // Renamed away with all that was in it, of which nobody tells.
                changed.push((branch.which.0, branch.shown.join(branch.relative(path))));
            }
            tidings.push(Tiding::Gone(path.to_owned()));
        }
        if let (Some(directory), Some(name)) = (path.parent(), path.file_name())
            && let Some(spot) = self.map.get(directory)
        {
            guards(spot, name, meaning, &mut changed, &mut tidings);
            branches(spot, path, meaning, &mut changed, &mut tidings);
        }
        let heard = !changed.is_empty() || !tidings.is_empty();
        for (topic, shown) in changed {
            self.pending.entry(topic).or_default().add(&shown);
        }
        for tiding in tidings {
            if self.tidings.len() >= MOST_TIDINGS {
                self.lost = true;
            } else if self.tidings.last() != Some(&tiding) {
                self.tidings.push(tiding);
            }
        }
        heard
    }
}

fn guards(
    spot: &Spot,
    name: &OsStr,
    meaning: Meaning,
    changed: &mut Vec<(Topic, PathBuf)>,
    tidings: &mut Vec<Tiding>,
) {
    for guard in spot.guards.get(name).into_iter().flatten() {
        if guard.counts && (guard.attributes || meaning != Meaning::Attributes) {
            changed.push((guard.which.0, guard.shown.to_path_buf()));
        }
        match meaning {
            Meaning::Written | Meaning::Attributes | Meaning::Nothing => {}
            Meaning::Appeared
            | Meaning::Directory
            | Meaning::Something
            | Meaning::Arrived
            | Meaning::Left
            | Meaning::Removed => {
                tidings.push(Tiding::Resolve(guard.which));
            }
        }
    }
}

fn branches(
    spot: &Spot,
    path: &Path,
    meaning: Meaning,
    changed: &mut Vec<(Topic, PathBuf)>,
    tidings: &mut Vec<Tiding>,
) {
    let mut enters = false;
    for branch in &spot.branches {
        let relative = branch.relative(path);
        enters |= branch.filter.enters(relative);
        let counts = match meaning {
            Meaning::Written | Meaning::Appeared | Meaning::Arrived | Meaning::Left => {
                branch.filter.counts(relative)
            }
            // A directory alone is no change. What is not known to be one is looked at.
            Meaning::Directory
            | Meaning::Something
            | Meaning::Removed
            | Meaning::Attributes
            | Meaning::Nothing => false,
        };
        if counts {
            changed.push((branch.which.0, branch.shown.join(relative)));
        }
    }
    match meaning {
        Meaning::Directory | Meaning::Arrived if enters => tidings.push(Tiding::New(path.to_owned(), false)),
        Meaning::Something if enters => tidings.push(Tiding::New(path.to_owned(), true)),
        Meaning::Directory | Meaning::Arrived | Meaning::Something => {}
        Meaning::Written
        | Meaning::Attributes
        | Meaning::Appeared
        | Meaning::Left
        | Meaning::Removed
        | Meaning::Nothing => {}
    }
}
