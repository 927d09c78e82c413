//! Every process of the machine, each asked whose run it is, so that none escapes by forking away while it is asked.
//!
//! A list of all processes is old by the time that those on it are asked: one that has ended meanwhile may have left a
//! successor that is not on it. So whoever is new on the next list is asked, and so on, until all that are new on a list
//! answer. Who is left then and was not asked has been started by one that was: numbers are given out in ascending order,
//! in which the list is made, unless they began anew meanwhile.

use std::collections::{HashMap, HashSet};

use super::descendants::Member;
use super::proc_files::{self, Environment, Marks, Stat};

/// How many lists are made. The first one takes milliseconds, those after it a fraction of one: so many are more than a
/// process that only forks and ends can outrun for long. The caller may begin again.
const LISTS: usize = 64;

/// Who was there.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Each living process, without the kernel's own.
    pub(super) family: HashMap<libc::pid_t, Stat>,
    /// What those say that have a mark.
    pub(super) marks: HashMap<libc::pid_t, Marks>,
    /// Who could not be asked before the lists came to an end.
    pub(super) unasked: HashSet<libc::pid_t>,
    /// Numbers began anew while the last list was made: whoever got a low one is not on it.
    pub(super) began_anew: bool,
}

impl Census {
    /// Asks everybody. `found` is told of each that has a mark, in the moment in which it has answered.
    pub(super) fn take(mut found: impl FnMut(Member, &Marks)) -> Self {
        let mut census = Self::default();
        let mut asked = HashSet::new();
        for _ in 0..LISTS {
            census.unasked.clear();
            let newest = proc_files::newest_number();
            let list: Vec<_> = proc_files::all().filter(|pid| !asked.contains(pid)).collect();
            census.began_anew = proc_files::newest_number() < newest;
            for pid in list {
                let Some(stat) = proc_files::stat(pid).filter(|stat| !stat.dead) else {
                    // What it has started is on the next list.
                    census.unasked.insert(pid);
                    asked.insert(pid);
                    continue;
                };
                match proc_files::marks(pid) {
                    _ if stat.kernel => {}
                    Environment::Says(marks) => {
                        found(Member { pid, started: stat.started }, &marks);
                        census.marks.insert(pid, marks);
                    }
                    Environment::Silent => {}
                    // In exec, or on its way out: it is asked again.
                    Environment::Away => {
                        census.unasked.insert(pid);
                        census.family.insert(pid, stat);
                        continue;
                    }
                }
                asked.insert(pid);
                if !stat.kernel {
                    census.family.insert(pid, stat);
                }
            }
            if census.unasked.is_empty() && !census.began_anew {
                break;
            }
            std::thread::yield_now();
        }
        census
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::RUN_ID_VARIABLE;

    #[test]
    fn everybody_is_asked_and_the_marked_are_told() {
        let own = libc::pid_t::try_from(std::process::id()).unwrap();
        let child =
            std::process::Command::new("/bin/sleep").arg("1000").env(RUN_ID_VARIABLE, "census-1").spawn();
        let mut child = child.unwrap();
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        let mut told = Vec::new();
        let census = Census::take(|member, marks| {
            if marks.run_id == b"census-1" {
                told.push(member.pid);
            }
        });
        assert!(census.family.contains_key(&own) && census.family.contains_key(&pid));
        assert_eq!((told, &census.marks[&pid].run_id[..]), (vec![pid], &b"census-1"[..]));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
