//! What a cgroup of its own changes, and that it changes nothing else.

use std::fs;

use mcpd::sys::{self, Cgroups, SpawnStep, Whom};

use crate::lab::*;

/// Whatever holds of a program holds of one that is started in a cgroup: all of these tests again. Trap 8 of
/// docs/traps.md: it is there before its first instruction.
#[test]
fn the_same_holds_in_cgroups() {
    if cgroups().is_some() {
        return;
    }
    // It would take this test's child for its own, and this one that one's.
    let _lab = Lab::new();
    let state = tempfile::tempdir().unwrap();
    match Cgroups::claim(state.path(), None, None) {
        Ok(cgroups) => cgroups.leave(),
        Err(why) => return skipped(&format!("{why}: nothing is tested with cgroups")),
    }
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .env(IN_CGROUPS, state.path())
        .output()
        .unwrap();
    // What the tests have not removed themselves: in some of them processes are left to be killed.
    let cgroups = Cgroups::claim(state.path(), None, None).unwrap();
    let base = cgroups.path().to_path_buf();
    cgroups.leave();
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.status.success(), "{said}\n{}", String::from_utf8_lossy(&again.stderr));
    assert!(said.contains("test cgroups::a_cgroup_holds_what_leaves_everything_else ... ok"), "{said}");
    assert!(!base.exists(), "{} is left", base.display());
}

/// A session of its own, nobody's child, an environment without a mark: only the cgroup knows whose it is.
#[test]
fn a_cgroup_holds_what_leaves_everything_else() {
    if cgroups().is_none() {
        return;
    }
    let mut lab = Lab::new();
    let deaf = "trap \"\" TERM; /bin/sleep 1000 >/dev/null & echo away; exec >/dev/null; wait";
    let away = format!("( setsid env -i /bin/sh -c '{deaf}' & )");
    // The last word comes after the end of `cat`: one more process that lives would be one more that is left.
    let plan = shell(1, &format!("{away}; cat /proc/self/cgroup; echo placed; exec sleep 1000"));
    let cgroup = plan.cgroup.clone().unwrap();
    let mut started = lab.start(1, &plan);
    let (mut lines, name) = (String::new(), cgroup.path().file_name().unwrap().to_str().unwrap().to_owned());
    while !(lines.contains("away") && lines.contains(&name) && lines.contains("placed")) {
        lines += &started.line();
    }
    assert_eq!(lab.children.cgroup(1), Some(&cgroup));
    lab.children.signal(1, SIGTERM, Whom::Main).unwrap();
    assert_eq!(lab.exit_of(1).signal, Some(SIGTERM));
    // The shell and its sleep.
    lab.left(1, 2);
    assert!(cgroup.is_populated() && cgroup.remove().is_err());
    lab.kill_leftovers(1);
    assert!(!cgroup.is_populated());
    cgroup.remove().unwrap();
    assert!(!cgroup.path().exists());
    cgroup.remove().unwrap();
}

/// Its whole cgroup gets SIGKILL, not only its group; cgroups that it has made below its own go as well.
#[test]
fn killing_the_group_kills_the_cgroup() {
    if cgroups().is_none() {
        return;
    }
    let mut lab = Lab::new();
    let plan = shell(1, "( setsid env -i sleep 1000 & ) ; echo away; exec sleep 1000");
    let cgroup = plan.cgroup.clone().unwrap();
    let mut started = lab.start(1, &plan);
    assert_eq!(started.line(), "away");
    let below = cgroup.path().join("below/deeper");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("cgroup.procs"), started.pid.to_string()).unwrap();
    lab.children.signal(1, SIGKILL, Whom::Group).unwrap();
    lab.exit_of(1);
    lab.collect_until("the end of all", |_, _| !cgroup.is_populated());
    lab.left(1, 0);
    assert_eq!(lab.children.forget(1), Some(cgroup.clone()));
    cgroup.remove().unwrap();
    assert!(!cgroup.path().exists());
}

/// A cgroup that cannot be entered is a step of its own, so that whoever starts it can do without.
#[test]
fn a_cgroup_that_is_gone_is_told_from_a_program_that_is() {
    if cgroups().is_none() {
        return;
    }
    let _lab = Lab::new();
    let plan = shell(1, "true");
    plan.cgroup.as_ref().unwrap().remove().unwrap();
    let error = sys::spawn(&plan).unwrap_err();
    assert_eq!(error.step, SpawnStep::Cgroup, "{error}");
}
