//! Where reports are kept, and how they are found again: `state_dir/crashes/NAME/ID.json`.

use std::collections::{BinaryHeap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use mcpd_proto::crash::{CrashReport, CrashSummary};

use super::{durable, name};

/// Bytes of a report's file that are read. A report is at most two tails of long lines; a larger file is not ours.
const MAX_REPORT: u64 = 64 * 1024 * 1024;

/// Ids that an ambiguous prefix is answered with; damaged files that a list names.
const MAX_CANDIDATES: usize = 10;

/// Of so many newest reports not all folders need be read.
const FEW: usize = 1000;

/// A clock may have been set back by so much in the moment between a crash and the writing of its report.
const CLOCK: Duration = Duration::from_secs(2);

/// The reports of one state directory. Cheap to clone; every method blocks on the disk, so call it from a worker.
///
/// Reports are found by reading folders: there is no index that could go stale, and a report that a person deletes or
/// copies in is gone or there. The newest of many cost one look at the names and one file each.
#[derive(Debug, Clone)]
pub struct CrashStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// One prune at a time: two of the same folder would trip over each other's victims. Writes need no lock.
    prune: Mutex<()>,
    /// Files that were said to be unreadable, so that each is said once.
    said: Mutex<HashSet<PathBuf>>,
}

/// A list of crashes and what could not be listed.
#[derive(Debug, Default, PartialEq)]
pub struct Listing {
    /// Newest first.
    pub crashes: Vec<CrashSummary>,
    /// Files among the ones looked at that are named like reports but are torn, empty or of another make.
    pub skipped: u64,
    /// The newest of those, ten at most.
    pub damaged: Vec<PathBuf>,
}

/// Why there is no report for an id.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// No report's id begins like this.
    #[error("there is no crash report whose id begins with {0:?}; `mcpctl crashes` lists them")]
    NotFound(String),
    /// Several reports' ids do: the newest of them, newest first.
    #[error("several crash reports' ids begin like this; give more of it: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// The report is there, and is none.
    #[error("its report is damaged: {}: {why}; nothing of it can be shown, the file may be deleted", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The report is there but cannot be read.
    #[error("the crash report cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// One report's file, not yet opened.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: String,
    path: PathBuf,
}

impl CrashStore {
    /// Opens `state_dir/crashes`, makes it where it is missing, and finishes or removes what interrupted writes left there. Only the
    /// holder of the state directory's lock may call this.
    ///
    /// # Errors
    /// When the folder can be neither made nor read.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let store = Self::at(state_dir);
        let root = &store.shared.root;
        durable::make_dir(root).map_err(|error| named(&error, "make", root))?;
        for folder in store.folders()? {
            for file in file_names(&folder)?.filter(|file| name::is_temporary(file)) {
                let path = folder.join(file);
                if let Err(error) = finish(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot finish or remove an unfinished crash report");
                }
            }
        }
        Ok(store)
    }

    /// The same where nothing can be made at present: the folder comes with the first report that can be written.
    #[must_use]
    pub fn at(state_dir: &Path) -> Self {
        let root = state_dir.join("crashes");
        let shared = Shared { root, prune: Mutex::default(), said: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// A new id: sorts by time, unique, fit for a file name. It is the `id` of a report and its file's stem.
    #[must_use]
    pub fn new_id(time: Timestamp) -> String {
        name::new_id(time)
    }

    /// Writes a report, whole or not at all and there after a power cut, then removes the service's oldest ones beyond
    /// `keep` (at least 1; the report just written always stays). Gives the file's path.
    ///
    /// # Errors
    /// When the report is not on disk: a full or unwritable one, an `id` that is not from [`Self::new_id`], an
    /// impossible service name. A failure to remove old reports is only logged.
    pub fn write(&self, report: &CrashReport, keep: u32) -> io::Result<PathBuf> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        if !name::is_id(&report.id) {
            return Err(invalid(&format!("{:?} is no id of a crash report", report.id)));
        }
        let folder = self
            .folder(&report.service)
            .ok_or_else(|| invalid(&format!("{:?} is no service", report.service)))?;
        let mut contents = serde_json::to_vec_pretty(report)?;
        contents.push(b'\n');
        let path = folder.join(format!("{}{}", report.id, name::EXTENSION));

        if !folder.is_dir() {
            durable::make_dir(&folder).map_err(|error| named(&error, "make", &folder))?;
            durable::sync_dir(&self.shared.root).map_err(|error| named(&error, "sync", &self.shared.root))?;
        }
        durable::write(&path, &folder.join(name::temporary(&report.id)), &contents)
            .map_err(|error| named(&error, "write", &path))?;
        self.prune(&folder, &report.id, keep);
        Ok(path)
    }

    /// Removes the oldest reports of a folder beyond `keep`. The one just written stays even when the clock went back
    /// and it counts as the oldest.
    fn prune(&self, folder: &Path, written: &str, keep: u32) {
        let _one = self.shared.prune.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = match entries(folder) {
            Ok(entries) => entries,
            Err(error) => return tracing::warn!(%error, "cannot look for old crash reports"),
        };
        let all = others.len();
        others.retain(|entry| entry.id != written);
        // It is not there when another thread's newer reports pushed it out between its write and now.
        let ours = all - others.len();
        let keep = usize::try_from(keep).unwrap_or(usize::MAX).max(1) - ours.min(1);
        let excess = others.len().saturating_sub(keep);
        for old in &others[..excess] {
            let removed = fs::remove_file(&old.path);
            if let Err(error) =
                removed.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            {
                tracing::warn!(path = %old.path.display(), %error, "cannot remove an old crash report");
            }
            self.shared.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&old.path);
        }
    }

    /// The crashes of one service, or of all (also those that the configuration no longer has), newest first, at most
    /// `last` of them. Files that are no whole reports are left out; see [`Self::listing`].
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self, service: Option<&str>, last: Option<usize>) -> io::Result<Vec<CrashSummary>> {
        Ok(self.listing(service, last)?.crashes)
    }

    /// As [`Self::list`], with the number of files that had to be left out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn listing(&self, service: Option<&str>, last: Option<usize>) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let last = last.unwrap_or(usize::MAX);
        for entry in self.newest_first(service, last)? {
            let entry = entry?;
            if listing.crashes.len() >= last {
                break;
            }
            match self.read(&entry) {
                Ok(report) => listing.crashes.push(report.summary()),
                // Gone between the look at the folder and now: pruned.
                Err(GetError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => {
                    listing.skipped += 1;
                    if listing.damaged.len() < MAX_CANDIDATES {
                        listing.damaged.push(entry.path);
                    }
                }
            }
        }
        Ok(listing)
    }

    /// A whole report, by its id or a beginning of it that no other id shares.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get(&self, id: &str) -> Result<CrashReport, GetError> {
        let mut found = self.entries_newest_first(None)?;
        found.retain(|entry| !id.is_empty() && entry.id.starts_with(id));
        if let Some(exact) = found.iter().position(|entry| entry.id == id) {
            return self.read(&found[exact]);
        }
        match found.as_slice() {
            [] => Err(GetError::NotFound(id.to_owned())),
            [only] => self.read(only),
            several => {
                let ids = several.iter().take(MAX_CANDIDATES).map(|entry| entry.id.clone());
                Err(GetError::Ambiguous(ids.collect()))
            }
        }
    }

    /// Where the report of this service with this id is, if it is.
    #[must_use]
    pub fn path_of(&self, service: &str, id: &str) -> Option<PathBuf> {
        Some(self.folder(service)?.join(format!("{id}{}", name::EXTENSION)))
    }

    /// A report of this service by its whole id, without a look at any other.
    #[must_use]
    pub fn report_of(&self, service: &str, id: &str) -> Option<CrashReport> {
        let path = self.path_of(service, id).filter(|_| name::is_id(id))?;
        self.read(&Entry { id: id.to_owned(), path }).ok()
    }

    /// The service's reports of about this time that can be read.
    #[must_use]
    pub fn around(&self, service: &str, time: Timestamp, within: Duration) -> Vec<CrashReport> {
        let Some(entries) = self.folder(service).and_then(|folder| entries(&folder).ok()) else {
            return Vec::new();
        };
        let span = jiff::SignedDuration::try_from(within).unwrap_or_default();
        let (Ok(from), Ok(to)) = (time.checked_sub(span), time.checked_add(span)) else { return Vec::new() };
        let (from, to) = (name::time_of(from), name::time_of(to));
        let is_near = |entry: &&Entry| entry.id.as_str() >= from.as_str() && entry.id.as_str() < to.as_str();
        entries.iter().filter(is_near).filter_map(|entry| self.read(entry).ok()).collect()
    }

    /// The service's last crash that can be read.
    #[must_use]
    pub fn newest(&self, service: &str) -> Option<CrashSummary> {
        self.list(Some(service), Some(1)).ok()?.pop()
    }

    /// How many reports of the service are kept; none is opened.
    #[must_use]
    pub fn count(&self, service: &str) -> u64 {
        let entries = self.folder(service).and_then(|folder| entries(&folder).ok());
        entries.map_or(0, |entries| u64::try_from(entries.len()).unwrap_or(u64::MAX))
    }

    fn folder(&self, service: &str) -> Option<PathBuf> {
        Some(self.shared.root.join(name::folder(service, cfg!(windows))?))
    }

    /// Every service's folder.
    fn folders(&self) -> io::Result<Vec<PathBuf>> {
        let root = &self.shared.root;
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(named(&error, "read", root)),
        };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        Ok(folders.map(|entry| entry.path()).collect())
    }

    /// As [`Self::entries_newest_first`]; of all services for a few, only the folders that can hold one of them are read: a
    /// folder changes when a report comes into it, and no later than that is what is in it.
    fn newest_first(
        &self,
        service: Option<&str>,
        last: usize,
    ) -> io::Result<Box<dyn Iterator<Item = io::Result<Entry>>>> {
        if service.is_some() || last > FEW {
            return Ok(Box::new(self.entries_newest_first(service)?.into_iter().map(Ok)));
        }
        let changed = |folder: PathBuf| Some((fs::metadata(&folder).ok()?.modified().ok()?, folder));
        let mut folders: Vec<(SystemTime, PathBuf)> =
            self.folders()?.into_iter().filter_map(changed).collect();
        folders.sort_unstable();
        Ok(Box::new(Newest { folders, found: BinaryHeap::new() }))
    }

    fn entries_newest_first(&self, service: Option<&str>) -> io::Result<Vec<Entry>> {
        let folders = match service {
            Some(service) => self.folder(service).into_iter().collect(),
            None => self.folders()?,
        };
        let mut all = Vec::new();
        for folder in folders {
            all.append(&mut entries(&folder)?);
        }
        all.sort_unstable_by(|a, b| b.cmp(a));
        Ok(all)
    }

    fn read(&self, entry: &Entry) -> Result<CrashReport, GetError> {
        read(&entry.path).inspect_err(|error| {
            let path = &entry.path;
            // Gone between the look at the folder and now: pruned, which is no news.
            let gone = matches!(error, GetError::Io(error) if error.kind() == io::ErrorKind::NotFound);
            let mut said = self.shared.said.lock().unwrap_or_else(PoisonError::into_inner);
            if !gone && said.insert(path.clone()) {
                tracing::warn!(path = %path.display(), %error, "not a whole crash report, left out");
            }
        })
    }
}

/// Reports of all folders, newest first, as long as somebody wants them.
struct Newest {
    /// Those that are not read yet, the one that changed last at the end.
    folders: Vec<(SystemTime, PathBuf)>,
    found: BinaryHeap<Entry>,
}

impl Iterator for Newest {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((changed, _)) = self.folders.last() {
            // A folder that has not changed since holds nothing that is newer. Of what lies in the future nothing follows.
            let id_at =
                |time: SystemTime| Some(name::time_of(Timestamp::try_from(time.checked_add(CLOCK)?).ok()?));
            let (latest, sane) = (id_at(*changed), id_at(SystemTime::now()));
            let newest = self.found.peek().map(|entry| entry.id.as_str());
            let is_newer =
                |newest: &str| latest.is_some_and(|it| *newest > *it) && sane.is_some_and(|it| *newest < *it);
            if newest.is_some_and(is_newer) {
                break;
            }
            let (_, folder) = self.folders.pop()?;
            match entries(&folder) {
                Ok(entries) => self.found.extend(entries),
                Err(error) => return Some(Err(error)),
            }
        }
        self.found.pop().map(Ok)
    }
}

/// The reports of one folder, oldest first; none where there is no folder.
fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let entry = |file: String| {
        let id = name::id_of_file(&file)?.to_owned();
        Some(Entry { id, path: folder.join(&file) })
    };
    let mut entries: Vec<Entry> = file_names(folder)?.filter_map(entry).collect();
    entries.sort_unstable();
    Ok(entries)
}

fn file_names(folder: &Path) -> io::Result<impl Iterator<Item = String>> {
    let found = match fs::read_dir(folder) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(named(&error, "read", folder)),
    };
    Ok(found.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()))
}

fn read(path: &Path) -> Result<CrashReport, GetError> {
    let damaged = |why: String| GetError::Damaged { path: path.to_path_buf(), why };
    let mut contents = Vec::new();
    if !fs::metadata(path)?.is_file() {
        return Err(damaged("it is no regular file".to_owned()));
    }
    fs::File::open(path)?.take(MAX_REPORT + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > MAX_REPORT {
        return Err(damaged("it is too large for a crash report".to_owned()));
    }
    if contents.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    serde_json::from_slice(&contents).map_err(|error| damaged(error.to_string()))
}

/// A report that was written and not renamed when mcpd was killed gets its name: it was decided upon. What is no whole
/// report goes.
fn finish(temporary: &Path) -> io::Result<()> {
    let whole = read(temporary).ok().filter(|report| {
        temporary.file_name().and_then(|name| name.to_str()) == Some(&name::temporary(&report.id))
    });
    match whole {
        Some(report) => {
            let folder = temporary.parent().unwrap_or(temporary);
            fs::rename(temporary, folder.join(format!("{}{}", report.id, name::EXTENSION)))?;
            durable::sync_dir(folder)
        }
        None => fs::remove_file(temporary),
    }
}

/// The error with what was tried on what.
fn named(error: &io::Error, verb: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {verb} {}: {error}", path.display()))
}
