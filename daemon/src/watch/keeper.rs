//! The thread that keeps the right directories watched: where topics change, directories come and go, or links point
//! elsewhere. And tells the loop, once for as many changes as come together.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::eyes::{Blind, Eyes};
use super::map::{Branch, Guard, Tiding, Which};
use super::resolve::{Found, Resolved, resolve};
use super::{Reach, Seen, Shared, Sign, Target, Topic};

/// Changes are gathered for this long before the loop is told: a burst does not wake it for every file.
const GATHER: Duration = Duration::from_millis(20);
/// A path that means something else each time it is looked at is left alone after so many looks. Its next event brings
/// another look.
const MOST_LOOKS: usize = 8;

/// What is watched for one target.
struct Plan {
    target: Target,
    shown: Arc<Path>,
    /// What the path, and the interpreter of a script, meant at the last look.
    found: (Found, Found),
    /// The directories that are watched for it.
    spots: BTreeSet<PathBuf>,
}

pub(super) struct Keeper<E> {
    shared: Arc<Shared>,
    eyes: E,
    plans: BTreeMap<Which, Plan>,
    /// Troubles that were told: each is told once.
    told: BTreeSet<String>,
}

impl<E: Eyes> Keeper<E> {
    pub(super) fn new(shared: Arc<Shared>, eyes: E) -> Self {
        Self { shared, eyes, plans: BTreeMap::new(), told: BTreeSet::new() }
    }

    #[cfg(test)]
    pub(super) fn eyes(&self) -> &E {
        &self.eyes
    }

    /// For as long as the process lives.
    pub(super) fn run(mut self) {
        loop {
            self.turn();
        }
    }

    /// Waits until there is something to do, and does it.
    pub(super) fn turn(&mut self) {
        let (wishes, tidings, lost, unsure, tell) = {
            let shared = self.shared.clone();
            let mut state = shared.lock();
            loop {
                if !state.pending.is_empty() && !state.told && state.due.is_none() {
                    state.due = Some(Instant::now() + GATHER);
                }
                let wait = state.due.map(|due| due.saturating_duration_since(Instant::now()));
                let due = wait.is_some_and(|wait| wait.is_zero());
                if due || state.lost || !state.wishes.is_empty() || !state.tidings.is_empty() {
                    break;
                }
                state = match wait {
                    Some(wait) => match shared.filled.wait_timeout(state, wait) {
                        Ok((state, _)) => state,
                        Err(poisoned) => poisoned.into_inner().0,
                    },
                    None => shared.filled.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner),
                };
            }
            let tell = state.due.is_some_and(|due| due <= Instant::now()) && !state.pending.is_empty();
            if state.due.is_some_and(|due| due <= Instant::now()) {
                state.due = None;
                state.told |= tell;
            }
            let lost = std::mem::take(&mut state.lost);
            let unsure = std::mem::take(&mut state.unsure);
            (std::mem::take(&mut state.wishes), std::mem::take(&mut state.tidings), lost, unsure, tell)
        };
        for (topic, targets) in wishes {
            self.set(topic, targets);
        }
        if lost {
            self.look_at_everything(unsure);
        } else {
            for tiding in tidings {
                self.follow(tiding);
            }
        }
        if tell {
            (self.shared.tell)(Sign::Changed);
        }
    }

    fn set(&mut self, topic: Topic, targets: Vec<Target>) {
        let old: Vec<Which> =
            self.plans.range((topic, 0)..=(topic, usize::MAX)).map(|(which, _)| *which).collect();
        // Each start has one, and what changed before it was watched is found: nobody needs to know.
        let quiet = targets.iter().all(|target| matches!(target.reach, Reach::Program(_)));
        // The new ones first: what both watch goes on being watched. Numbers are not used twice.
        let next = old.last().map_or(0, |(_, number)| number.wrapping_add(1));
        for (number, target) in targets.into_iter().enumerate() {
            let shown = target.path.strip_prefix(&target.base).unwrap_or(&target.path);
            let shown: Arc<Path> = shown.into();
            let plan = Plan { target, shown, found: NOTHING, spots: BTreeSet::new() };
            let which = (topic, next.wrapping_add(number));
            self.plans.insert(which, plan);
            self.look(which, false);
        }
        for which in old {
            if let Some(plan) = self.plans.remove(&which) {
                self.drop_spots(which, &plan.spots);
            }
        }
        let new = self.plans.range((topic, 0)..=(topic, usize::MAX));
        let directories = new.flat_map(|(_, plan)| &plan.spots).collect::<BTreeSet<_>>().len();
        if directories > 0 && !quiet {
            (self.shared.tell)(Sign::Watching { topic, directories });
        }
    }

    fn follow(&mut self, tiding: Tiding) {
        match tiding {
            Tiding::Resolve(which) => self.look(which, true),
            Tiding::Gone(directory) => self.gone(&directory),
            Tiding::New(path, as_file) => self.arrived(path, as_file),
        }
    }

    /// Directories may have come and gone without a word. `unsure`: and files have changed so.
    fn look_at_everything(&mut self, unsure: bool) {
        let all: Vec<Which> = self.plans.keys().copied().collect();
        // Each may be another one by now.
        self.shared.lock().map.values_mut().for_each(|spot| spot.open = false);
        for which in all {
            self.look(which, true);
            if unsure {
                self.suspect(which);
            }
        }
    }

    /// A target may have changed. A program can be compared with what it was; of everything else nobody knows.
    fn suspect(&self, which: Which) {
        let Some(Plan { target, shown, .. }) = self.plans.get(&which) else { return };
        match &target.reach {
            Reach::Program(Some(seen)) if Seen::of(&target.path) == Some(*seen) => {}
            Reach::Program(Some(_)) => self.shared.lock().pending.entry(which.0).or_default().add(shown),
            Reach::Program(None) | Reach::Needed | Reach::Tree(_) => {
                self.shared.lock().pending.entry(which.0).or_default().add_unknown();
            }
        }
    }

    // ---- targets

    /// Looks at what a target's path means by now, and watches that. `changes`: what is new there has changed.
    fn look(&mut self, which: Which, changes: bool) {
        for _ in 0..MOST_LOOKS {
            let Some(plan) = self.plans.get(&which) else { return };
            let (target, shown, before) = (plan.target.clone(), plan.shown.clone(), plan.found.clone());
            let looked = looked(&target);
            let mut spots = BTreeSet::new();
            for Mark { directory, name, counts } in &looked.marks {
                let attributes = matches!(target.reach, Reach::Needed);
                let guard = Guard { which, shown: shown.clone(), counts: *counts, attributes };
                self.guard(directory, name, guard);
                spots.insert(directory.clone());
            }
            // It may have changed before it was watched.
            if self::looked(&target) != looked {
                if let Some(plan) = self.plans.get_mut(&which) {
                    plan.spots.append(&mut spots);
                }
                continue;
            }
            let differs = match (&target.reach, &looked.found.0) {
                (Reach::Tree(filter), Found::Directory(root)) => {
                    let (root, filter) = (root.as_path().into(), filter.clone());
                    let branch = Branch { which, root, shown: shown.clone(), filter };
                    self.cover(&branch, branch.root.to_path_buf(), changes, &mut spots);
                    false
                }
                (Reach::Tree(_), Found::File(_)) => changes && looked.found != before,
                (Reach::Tree(_), Found::Nothing) => false,
                (Reach::Program(Some(seen)), _) if !changes => Seen::of(&target.path) != Some(*seen),
                (Reach::Program(_) | Reach::Needed, _) => changes && looked.found != before,
            };
            if differs {
                self.shared.lock().pending.entry(which.0).or_default().add(&shown);
            }
            let Some(plan) = self.plans.get_mut(&which) else { return };
            plan.found = looked.found;
            let old = std::mem::replace(&mut plan.spots, spots);
            let stale: BTreeSet<PathBuf> = old.difference(&plan.spots).cloned().collect();
            self.drop_spots(which, &stale);
            return;
        }
    }

    fn guard(&mut self, directory: &Path, name: &OsStr, guard: Guard) {
        let open = {
            let mut state = self.shared.lock();
            let spot = state.map.entry(directory.to_owned()).or_default();
            let guards = spot.guards.entry(name.to_owned()).or_default();
            guards.retain(|other| other.which != guard.which);
            guards.push(guard);
            spot.open
        };
        if !open {
            self.watch(directory);
        }
    }

    /// Watches a directory of a tree and everything below it; `changes`: where that is new, its files are.
    fn cover(&mut self, branch: &Branch, directory: PathBuf, changes: bool, spots: &mut BTreeSet<PathBuf>) {
        let mut left = vec![directory];
        while let Some(directory) = left.pop() {
            let (known, open) = {
                let mut state = self.shared.lock();
                let spot = state.map.entry(directory.clone()).or_default();
                let before = spot.branches.len();
                spot.branches.retain(|other| other.which != branch.which);
                let known = spot.branches.len() < before;
                spot.branches.push(branch.clone());
                (known, spot.open)
            };
            spots.insert(directory.clone());
            if !open {
                self.watch(&directory);
            }
            // Only now: whatever comes after this look is told.
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                // It is gone already, as will be told.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.trouble(format!("cannot look into {} for changes: {error}", directory.display()));
                    continue;
                }
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let relative = branch.relative(&path);
                // Links are not followed: they may lead back up.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if branch.filter.enters(relative) {
                        left.push(path);
                    }
                } else if changes && !known && branch.filter.counts(relative) {
                    let shown = branch.shown.join(relative);
                    self.shared.lock().pending.entry(branch.which.0).or_default().add(&shown);
                }
            }
        }
    }

    // ---- directories

    /// A directory that belongs to trees, or so it seemed.
    fn arrived(&mut self, path: PathBuf, as_file: bool) {
        let directory = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        let branches = {
            let mut state = self.shared.lock();
            let parent = path.parent().and_then(|parent| state.map.get(parent));
            let branches: Vec<Branch> = parent.map(|spot| spot.branches.clone()).unwrap_or_default();
            for branch in branches.iter().filter(|_| as_file && !directory) {
                let relative = branch.relative(&path);
                if branch.filter.counts(relative) {
                    let shown = branch.shown.join(relative);
                    state.pending.entry(branch.which.0).or_default().add(&shown);
                }
            }
            branches
        };
        for branch in
            branches.iter().filter(|branch| directory && branch.filter.enters(branch.relative(&path)))
        {
            let mut spots = BTreeSet::new();
            self.cover(branch, path.clone(), true, &mut spots);
            if let Some(plan) = self.plans.get_mut(&branch.which) {
                plan.spots.append(&mut spots);
            }
        }
    }

    /// A directory is gone, and what was below it. Targets that it was on the way to are looked at again.
    fn gone(&mut self, directory: &Path) {
        let (spots, concerned) = {
            let mut state = self.shared.lock();
            let below =
                state.map.range(directory.to_owned()..).take_while(|(path, _)| path.starts_with(directory));
            let spots: Vec<PathBuf> = below.map(|(path, _)| path.clone()).collect();
            let mut concerned = BTreeSet::new();
            let mut members = BTreeSet::new();
            for path in &spots {
                let Some(spot) = state.map.remove(path) else { continue };
                concerned.extend(spot.guards.into_values().flatten().map(|guard| guard.which));
                for branch in spot.branches {
                    if branch.root.starts_with(directory) {
                        concerned.insert(branch.which);
                    }
                    members.insert(branch.which);
                }
            }
            (spots, (concerned, members))
        };
        let (concerned, members) = concerned;
        for path in &spots {
            self.eyes.unwatch(path);
        }
        for which in concerned.union(&members) {
            if let Some(plan) = self.plans.get_mut(which) {
                for path in &spots {
                    plan.spots.remove(path);
                }
            }
        }
        for which in concerned {
            if let Some(plan) = self.plans.get_mut(&which) {
                plan.found = NOTHING;
            }
            self.look(which, true);
        }
        // There may be another one in its place by now.
        self.arrived(directory.to_owned(), false);
    }

    fn drop_spots(&mut self, which: Which, spots: &BTreeSet<PathBuf>) {
        for path in spots {
            let empty = {
                let mut state = self.shared.lock();
                let Some(spot) = state.map.get_mut(path) else { continue };
                spot.forget(which);
                let empty = spot.is_empty();
                if empty {
                    state.map.remove(path);
                }
                empty
            };
            if empty {
                self.eyes.unwatch(path);
            }
        }
    }

    fn watch(&mut self, directory: &Path) {
        let watched = self.eyes.watch(directory);
        if let Ok(()) | Err(Blind::Instead(_)) = &watched
            && let Some(spot) = self.shared.lock().map.get_mut(directory)
        {
            spot.open = true;
        }
        match watched {
            // Its end is told by the directory above it.
            Ok(()) | Err(Blind::Gone) => {}
            Err(Blind::Instead(why)) => self.trouble(why),
            Err(Blind::Refused(why)) => {
                self.trouble(format!("cannot watch {} for changes: {why}", directory.display()));
            }
        }
    }

    fn trouble(&mut self, what: String) {
        /// More are not remembered, so that what is remembered has an end.
        const MOST_TOLD: usize = 1000;
        if self.told.len() < MOST_TOLD && self.told.insert(what.clone()) {
            (self.shared.tell)(Sign::Trouble(what));
        }
    }
}

/// A name in a directory that decides what a target is.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    directory: PathBuf,
    name: OsString,
    /// Its changes are changes of the target.
    counts: bool,
}

/// A target as it is now.
#[derive(Debug, PartialEq, Eq)]
struct Looked {
    marks: Vec<Mark>,
    found: (Found, Found),
}

const NOTHING: (Found, Found) = (Found::Nothing, Found::Nothing);

fn looked(target: &Target) -> Looked {
    let Resolved { guards, found } = resolve(&target.path);
    let mut marks: Vec<Mark> = Vec::new();
    let mut mark = |guards: Vec<(PathBuf, OsString)>, found: &Found| {
        for (directory, name) in guards {
            let path = directory.join(&name);
            let counts = match (found, &target.reach) {
                (Found::File(file), _) => *file == path,
                (Found::Directory(at), Reach::Needed) => *at == path,
                (Found::Directory(_), Reach::Tree(_) | Reach::Program(_)) | (Found::Nothing, _) => false,
            };
            marks.push(Mark { directory, name, counts });
        }
    };
    mark(guards, &found);
    if let (Found::File(file), Reach::Program(_) | Reach::Needed) = (&found, &target.reach)
        && let Some(interpreter) = mcpd_config::program::interpreter(file)
    {
        let behind = resolve(&interpreter);
        mark(behind.guards, &behind.found);
        return Looked { marks, found: (found, behind.found) };
    }
    Looked { marks, found: (found, Found::Nothing) }
}
