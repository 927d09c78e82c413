//! The third step: what changed between two configurations, and what it takes to follow.

use crate::spec::{Config, DaemonSpec, LogSpec, ReadySpec, ServiceSpec};

/// What a reload has to do. Services are named; each is in at most one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Services that are new.
    pub added: Vec<String>,
    /// Services that are gone.
    pub removed: Vec<String>,
    /// Services whose process has to be replaced: what it runs, with what, where, or where its output goes has changed.
    pub restart: Vec<String>,
    /// Services that changed in a way that their process does not notice.
    pub update: Vec<String>,
    /// How many services stay as they are.
    pub unchanged: usize,
    /// Keys of `[daemon]`, dotted, that take effect only when the daemon itself is started again.
    pub needs_daemon_restart: Vec<String>,
}

impl Plan {
    /// Nothing has to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { added, removed, restart, update, unchanged: _, needs_daemon_restart } = self;
        [added, removed, restart, update, needs_daemon_restart].iter().all(|list| list.is_empty())
    }
}

/// What turns `old` into `new`. Every list is sorted.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Plan {
    let mut plan = Plan { needs_daemon_restart: daemon_keys(&old.daemon, &new.daemon), ..Plan::default() };
    for (name, before) in &old.services {
        match new.services.get(name) {
            None => plan.removed.push(name.clone()),
            Some(after) if after == before => plan.unchanged += 1,
            Some(after) if needs_restart(before, after) => plan.restart.push(name.clone()),
            Some(_) => plan.update.push(name.clone()),
        }
    }
    plan.added = new.services.keys().filter(|&name| !old.services.contains_key(name)).cloned().collect();
    plan
}

fn daemon_keys(old: &DaemonSpec, new: &DaemonSpec) -> Vec<String> {
    let DaemonSpec { control_socket, state_dir, log_dir } = old;
    let changed = [
        ("daemon.control_socket", *control_socket != new.control_socket),
        ("daemon.log_dir", *log_dir != new.log_dir),
        ("daemon.state_dir", *state_dir != new.state_dir),
    ];
    changed.into_iter().filter(|&(_, changed)| changed).map(|(key, _)| key.to_owned()).collect()
}

/// Whether the running process was started with something that is no longer so. Every field is named, so that a new one
/// has to be put on one side or the other.
fn needs_restart(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    let ServiceSpec {
        exec,
        oneshot,
        kind,
        working_directory,
        environment,
        environment_files,
        user,
        group,
        supplementary_groups,
        umask,
        resources,
        watchdog,
        ready,
        log: LogSpec { target, format, max_size: _, max_files: _ },
        name: _,
        description: _,
        // It has been run, or is going to be.
        exec_start_pre: _,
        exec_reload: _,
        enabled: _,
        stop_signal: _,
        stop_timeout: _,
        start_timeout: _,
        success_exit_status: _,
        restart: _,
        health: _,
        crash: _,
    } = old;
    *exec != new.exec
        || *oneshot != new.oneshot
        || *kind != new.kind
        || *working_directory != new.working_directory
        || *environment != new.environment
        || *environment_files != new.environment_files
        || *user != new.user
        || *group != new.group
        || *supplementary_groups != new.supplementary_groups
        || *umask != new.umask
        || *resources != new.resources
        // It is told at its start.
        || *watchdog != new.watchdog
        // It has its notification socket from its start.
        || (*ready == Some(ReadySpec::Notify)) != (new.ready == Some(ReadySpec::Notify))
        || *target != new.log.target
        || *format != new.log.format
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Environment, load_text};
    use std::path::Path;

    fn config(text: &str) -> Config {
        let environment: Environment = [("HOME", "/home/u")].into_iter().collect();
        load_text(Path::new("/etc/mcpd.toml"), text, &environment).unwrap().config
    }

    const BASE: &str = "[service.a]\nexec = [\"a\"]\n";

    #[test]
    fn nothing_changed() {
        let plan = diff(&config(BASE), &config(BASE));
        assert_eq!(plan, Plan { unchanged: 1, ..Plan::default() });
        assert!(plan.is_empty());
    }

    #[test]
    fn services_come_and_go() {
        let other = config("[service.c]\nexec = \"c\"\n[service.b]\nexec = \"b\"\n");
        let plan = diff(&config(BASE), &other);
        assert_eq!((plan.added, plan.removed), (vec!["b".into(), "c".into()], vec!["a".into()]));
    }

    #[test]
    fn what_the_process_was_started_with_needs_a_restart() {
        for change in [
            "[service.a]\nexec = [\"a\", \"b\"]",
            "[service.a]\nexec = \"a\"\nworking_directory = \"/tmp\"",
            "[service.a]\nexec = \"a\"\nenvironment = { A = \"1\" }",
            "[service.a]\nexec = \"a\"\nenvironment_files = [\"e\"]",
            "[service.a]\nexec = \"a\"\nuser = \"u\"",
            "[service.a]\nexec = \"a\"\ngroup = 1",
            "[service.a]\nexec = \"a\"\nsupplementary_groups = [\"g\"]",
            "[service.a]\nexec = \"a\"\numask = \"077\"",
            "[service.a]\nexec = \"a\"\nresources.limit_nofile = 99",
            "[service.a]\nexec = \"a\"\nresources.nice = 1",
            "[service.a]\nexec = \"a\"\nlog.target = \"none\"",
            "[service.a]\nexec = \"a\"\nlog.format = \"json\"",
            "[service.a]\nexec = \"b\"\ndescription = \"x\"",
            "[service.a]\nexec = \"a\"\ntype = \"exec\"",
            "[service.a]\nexec = \"a\"\ntype = \"oneshot\"",
        ] {
            let plan = diff(&config(BASE), &config(change));
            assert_eq!(plan, Plan { restart: vec!["a".into()], ..Plan::default() }, "{change}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_a_process_is_told_of_notification_needs_a_restart() {
        for change in ["type = \"notify\"", "ready.notify = true", "watchdog = 1"] {
            let plan = diff(&config(BASE), &config(&format!("{BASE}{change}")));
            assert_eq!(plan, Plan { restart: vec!["a".into()], ..Plan::default() }, "{change}");
        }
    }

    #[test]
    fn what_only_the_daemon_knows_is_an_update() {
        for change in [
            "description = \"x\"",
            "enabled = false",
            "stop_signal = \"INT\"",
            "stop_timeout = 1",
            "start_timeout = 1",
            "success_exit_status = [1]",
            "restart.when = \"always\"",
            "restart.delay = 2",
            "restart.max_restarts = 0",
            "health.tcp = \"h:1\"",
            "ready.log = \"x\"",
            "exec_start_pre = [[\"b\"]]",
            "exec_reload = [[\"b\"]]",
            "log.max_size = \"1M\"",
            "log.max_files = 1",
            "crash.keep = 1",
        ] {
            let plan = diff(&config(BASE), &config(&format!("{BASE}{change}")));
            assert_eq!(plan, Plan { update: vec!["a".into()], ..Plan::default() }, "{change}");
        }
    }

    #[test]
    fn the_daemons_own_places_need_the_daemon_to_restart() {
        let plan = diff(&config(BASE), &config(&format!("[daemon]\nstate_dir = \"/s\"\n{BASE}")));
        // The others follow, as their defaults are below it.
        let expected = ["daemon.control_socket", "daemon.log_dir", "daemon.state_dir"];
        assert_eq!(
            plan.needs_daemon_restart,
            if cfg!(unix) { expected.to_vec() } else { expected[1..].to_vec() }
        );
        assert_eq!(plan.unchanged, 1);
    }
}
