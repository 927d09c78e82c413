//! Cgroups are Linux's. Here a job object holds the processes of a run together.

use std::io;
use std::path::Path;

use crate::sys::{Allowance, Disallowed, Shortage, Usage};

/// There is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cgroup {}

/// There are none.
#[derive(Debug, Clone)]
pub enum Cgroups {}

impl Cgroup {
    /// None.
    pub fn of_a_run(path: &Path, run_id: &str) -> Option<Self> {
        let _ = (path, run_id);
        None
    }

    /// Where it would be.
    pub fn path(&self) -> &Path {
        match *self {}
    }

    /// Nothing.
    pub fn usage(&self) -> Usage {
        match *self {}
    }

    /// Nothing.
    pub fn shortage(&self) -> Shortage {
        match *self {}
    }

    /// Never.
    pub fn met_its_limit(&self) -> bool {
        match *self {}
    }

    /// Never.
    pub fn is_populated(&self) -> bool {
        match *self {}
    }

    /// Nothing to remove.
    ///
    /// # Errors
    /// None.
    pub fn remove(&self) -> io::Result<()> {
        match *self {}
    }
}

impl Cgroups {
    /// None here.
    ///
    /// # Errors
    /// Always.
    pub fn claim(state_dir: &Path, keeper: Option<u32>, started_in: Option<&Path>) -> Result<Self, String> {
        let _ = (state_dir, keeper, started_in);
        Err("Windows has none: a job object holds the processes of each run".into())
    }

    /// Nobody is in one.
    pub fn started_in(&self) -> &Path {
        match *self {}
    }

    /// Where they would be.
    pub fn path(&self) -> &Path {
        match *self {}
    }

    /// Makes none.
    ///
    /// # Errors
    /// None.
    pub fn make(&self, service: &str, run_id: &str) -> io::Result<Cgroup> {
        let _ = (service, run_id);
        match *self {}
    }

    /// Gives none anything.
    ///
    /// # Errors
    /// None.
    pub fn allow(&self, cgroup: &Cgroup, allowances: &[Allowance]) -> Result<(), Disallowed> {
        let _ = (cgroup, allowances);
        match *self {}
    }

    /// Nothing.
    pub fn may_allow(&self, allowances: &[Allowance]) -> bool {
        let _ = allowances;
        match *self {}
    }

    /// None.
    pub fn inherited(&self) -> Vec<(String, Cgroup)> {
        match *self {}
    }

    /// Nothing to leave.
    pub fn leave(&self) {
        match *self {}
    }
}
