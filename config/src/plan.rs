//! The third step: what changed between two configurations, and what it takes to follow.

use serde_json::Value;

use crate::show::values;
use crate::spec::{Config, DaemonSpec, HealthSpec, LogSpec, ReadySpec, ResourcesSpec, ServiceSpec};

/// What a reload has to do. Services are named; each is in at most one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Services that are new.
    pub added: Vec<String>,
    /// Services that are gone.
    pub removed: Vec<String>,
    /// Services whose process has to be replaced to follow: what it runs, with what, where, or where its output goes has
    /// changed.
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
    // The others are in force at once: `daemon_changes`.
    let DaemonSpec {
        control_socket,
        state_dir,
        log_dir,
        max_parallel_starts: _,
        auto_reload: _,
        on_stop,
        on_keeper_death,
    } = old;
    let changed = [
        ("daemon.control_socket", *control_socket != new.control_socket),
        ("daemon.log_dir", *log_dir != new.log_dir),
        // Whoever is to go on alone has to know from the beginning what it will hand over.
        ("daemon.on_keeper_death", *on_keeper_death != new.on_keeper_death),
        ("daemon.on_stop", *on_stop != new.on_stop),
        ("daemon.state_dir", *state_dir != new.state_dir),
    ];
    changed.into_iter().filter(|&(_, changed)| changed).map(|(key, _)| key.to_owned()).collect()
}

/// Whether the running process was started with something that is no longer so.
fn needs_restart(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    settle(old, new, Limits::Live) != *new
}

/// Whether what the cgroup of a process may use can be changed while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// It has one, whose limits can be written.
    Live,
    /// It has none: they are for the next start.
    Wait,
}

/// What of `new` holds for a process that was started with `running`: the settings that only the daemon looks at. The rest
/// waits for the next start. Equal to `new` when nothing has to wait.
///
/// What a health check asks, how it is seen to be ready and which commands run around it is the daemon's business
/// and in force at once, but not when something else has to wait: the new question is for the new program, and the old one
/// would fail it. Then only the health check's times and numbers are live.
#[must_use]
pub fn settle(running: &ServiceSpec, new: &ServiceSpec, limits: Limits) -> ServiceSpec {
    // Every field is named, so that a new one has to be put on one side or the other.
    let ServiceSpec {
        // A process is started with these: they wait for the next one.
        exec: _,
        oneshot: _,
        kind: _,
        working_directory: _,
        environment: _,
        environment_files: _,
        secret_environment_files: _,
        user: _,
        group: _,
        supplementary_groups: _,
        umask: _,
        resources: ResourcesSpec { nice: _, oom_score_adjust: _, cpu_affinity: _, limits: _, cgroup },
        watchdog: _,
        log: LogSpec { target: _, format: _, max_size, max_files },
        // These are live, the cgroup's limits where there is one.
        name,
        description,
        exec_start_pre,
        exec_start_post,
        exec_reload,
        exec_stop,
        exec_stop_post,
        enabled,
        stop_signal,
        stop_timeout,
        start_timeout,
        success_exit_status,
        restart,
        ready,
        health,
        crash,
        relations,
        watch,
    } = new.clone();
    let running = running.clone();
    let log = LogSpec { max_size, max_files, ..running.log };
    let cgroup = match limits {
        Limits::Live => cgroup,
        Limits::Wait => running.resources.cgroup.clone(),
    };
    let resources = ResourcesSpec { cgroup, ..running.resources.clone() };
    let mut settled = ServiceSpec {
        log,
        resources,
        name,
        description,
        exec_start_pre,
        exec_start_post,
        exec_reload,
        exec_stop,
        exec_stop_post,
        enabled,
        stop_signal,
        stop_timeout,
        start_timeout,
        success_exit_status,
        restart,
        relations,
        watch,
        // It has its notification socket from its start.
        ready: if notifies(running.ready.as_ref()) == notifies(ready.as_ref()) {
            ready
        } else {
            running.ready.clone()
        },
        health,
        crash,
        ..running.clone()
    };
    if settled != *new {
        settled.ready = running.ready;
        settled.exec_start_pre = running.exec_start_pre;
        settled.exec_start_post = running.exec_start_post;
        settled.exec_reload = running.exec_reload;
        settled.exec_stop = running.exec_stop;
        settled.exec_stop_post = running.exec_stop_post;
        settled.health = match (running.health, settled.health) {
            (Some(running), Some(new)) => Some(HealthSpec { probe: running.probe, ..new }),
            (running, _) => running,
        };
    }
    settled
}

fn notifies(ready: Option<&ReadySpec>) -> bool {
    ready == Some(&ReadySpec::Notify)
}

/// One key whose value changes.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyChange {
    /// The key below the service's table, or `[daemon]`: `["restart", "delay"]`.
    pub key: Vec<String>,
    /// Its value so far, as [`crate::Loaded::show_json`] has it; none: it had none.
    pub old: Option<Value>,
    /// Its new value.
    pub new: Option<Value>,
}

/// Every key of `[daemon]` that differs and is in force at once.
#[must_use]
pub fn daemon_changes(old: &DaemonSpec, new: &DaemonSpec) -> Vec<KeyChange> {
    let DaemonSpec {
        control_socket: _,
        state_dir: _,
        log_dir: _,
        max_parallel_starts,
        auto_reload,
        on_stop: _,
        on_keeper_death: _,
    } = old;
    let values: [(&str, Value, Value); 2] = [
        ("auto_reload", (*auto_reload).into(), new.auto_reload.into()),
        ("max_parallel_starts", (*max_parallel_starts).into(), new.max_parallel_starts.into()),
    ];
    let changed = values.into_iter().filter(|(_, old, new)| old != new);
    changed
        .map(|(key, old, new)| KeyChange { key: vec![key.into()], old: Some(old), new: Some(new) })
        .collect()
}

/// Every key that differs, in the order of their names.
#[must_use]
pub fn changes(old: &ServiceSpec, new: &ServiceSpec) -> Vec<KeyChange> {
    let (mut old, new) = (values(old), values(new));
    let mut changes = Vec::new();
    for (key, value) in new {
        let before = old.remove(&key);
        if before.as_ref() != Some(&value) {
            changes.push(KeyChange { key, old: before, new: Some(value) });
        }
    }
    changes.extend(old.into_iter().map(|(key, value)| KeyChange { key, old: Some(value), new: None }));
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
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
            "[service.a]\nexec = \"a\"\nsecret_environment_files = [\"e\"]",
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

    /// Windows refuses these.
    #[cfg(unix)]
    #[test]
    fn whom_it_runs_as_and_under_which_limits_needs_a_restart() {
        for change in [
            "user = \"u\"",
            "group = 1",
            "supplementary_groups = [\"g\"]",
            "umask = \"077\"",
            "resources.limit_nofile = 99",
            "resources.nice = 1",
        ] {
            let plan = diff(&config(BASE), &config(&format!("{BASE}{change}")));
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
            "watch.paths = [\"src\"]",
            "ready.log = \"x\"",
            "exec_start_pre = [[\"b\"]]",
            "exec_start_post = [[\"b\"]]",
            "exec_reload = [[\"b\"]]",
            "exec_stop = [[\"b\"]]",
            "exec_stop_post = [[\"b\"]]",
            "log.max_size = \"1M\"",
            "log.max_files = 1",
            "crash.keep = 1",
            "crash.notify = [{ journal = true }]",
            "resources.memory_max = '64M'",
            "resources.cpu_quota = '50%'",
        ] {
            let plan = diff(&config(BASE), &config(&format!("{BASE}{change}")));
            assert_eq!(plan, Plan { update: vec!["a".into()], ..Plan::default() }, "{change}");
        }
    }

    fn service(lines: &str) -> ServiceSpec {
        config(&format!("[service.a]\n{lines}")).services.remove("a").unwrap()
    }

    /// The keys that change, those that wait marked with `*`.
    fn told(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
        told_with(old, new, Limits::Live)
    }

    fn told_with(old: &ServiceSpec, new: &ServiceSpec, limits: Limits) -> Vec<String> {
        let settled = settle(old, new, limits);
        let key = |change: KeyChange| change.key.join(".");
        let live = changes(old, &settled).into_iter().map(key);
        let waiting = changes(&settled, new).into_iter().map(|change| format!("*{}", key(change)));
        live.chain(waiting).collect()
    }

    #[test]
    fn each_key_is_told_and_where_it_belongs() {
        let old = service("exec = 'a'\nenvironment = { A = '1', B = '2' }\nrestart.delay = 1");
        let new = service(
            "exec = 'a'\nenvironment = { B = '3', C = '4' }\nrestart.delay = 2\nlog = { format = 'raw', max_files = 1 }",
        );
        assert_eq!(
            told(&old, &new),
            [
                "log.max_files",
                "restart.delay",
                "*environment.A",
                "*environment.B",
                "*environment.C",
                "*log.format"
            ]
        );
        let change =
            changes(&old, &new).into_iter().find(|change| change.key.ends_with(&["B".into()])).unwrap();
        assert_eq!((change.old, change.new), (Some("2".into()), Some("3".into())));
        assert!(told(&old, &old).is_empty());
        let settled = settle(&old, &new, Limits::Live);
        assert_eq!(
            told(&settled, &new),
            ["*environment.A", "*environment.B", "*environment.C", "*log.format"]
        );
        assert_eq!(told(&settled, &old), ["log.max_files", "restart.delay"], "back again, nothing waits");
    }

    #[test]
    fn a_health_check_waits_for_the_program_that_it_is_for() {
        let old = service("exec = 'a'\nhealth = { tcp = 'h:1', interval = 1 }");
        let question = service("exec = 'a'\nhealth = { tcp = 'h:2', interval = 2 }");
        assert_eq!(told(&old, &question), ["health.interval", "health.tcp"]);
        let program = service("exec = 'b'\nhealth = { tcp = 'h:2', interval = 2 }");
        assert_eq!(told(&old, &program), ["health.interval", "*exec", "*health.tcp"]);
        let none = service("exec = 'b'");
        assert!(told(&old, &none).iter().all(|key| key.starts_with('*')));
        assert_eq!(settle(&old, &none, Limits::Live).health, old.health);
        assert_eq!(settle(&none, &old, Limits::Live).health, None);
        assert_eq!(told(&old, &service("exec = 'a'")).iter().filter(|key| key.starts_with('*')).count(), 0);
    }

    #[test]
    fn how_it_is_seen_to_be_ready_waits_for_the_program_that_it_is_for() {
        let old = service("exec = 'a'\nready.log = 'x'");
        assert_eq!(told(&old, &service("exec = 'a'\nready.log = 'y'")), ["ready.log"]);
        assert_eq!(told(&old, &service("exec = 'b'\nready.log = 'y'")), ["*exec", "*ready.log"]);
        assert_eq!(settle(&old, &service("exec = 'b'"), Limits::Live).ready, old.ready);
    }

    #[test]
    fn the_limits_of_a_cgroup_are_live_where_there_is_one() {
        let old = service("exec = 'a'\nresources.memory_max = '64M'\nhealth = { tcp = 'h:1' }");
        let new = service("exec = 'a'\nresources = { tasks_max = 9 }\nhealth = { tcp = 'h:2' }");
        let mut told = told_with(&old, &new, Limits::Live);
        told.sort_unstable();
        assert_eq!(told, ["health.tcp", "resources.memory_max", "resources.tasks_max"]);
        let mut told = told_with(&old, &new, Limits::Wait);
        told.sort_unstable();
        assert_eq!(told, ["*health.tcp", "*resources.memory_max", "*resources.tasks_max"]);
        // A program that waits does not hold them up.
        let other = service("exec = 'b'\nresources.memory_max = '1G'\nhealth = { tcp = 'h:1' }");
        assert_eq!(told_with(&old, &other, Limits::Live), ["resources.memory_max", "*exec"]);
    }

    /// A key that is not shown would change without a word.
    #[test]
    fn whatever_differs_is_told() {
        let base = service("exec = 'a'\nhealth.http = 'http://h/'");
        for line in [
            "description = 'x'",
            "working_directory = '/x'",
            "environment_files = ['/x']",
            "secret_environment_files = ['/x']",
            "user = 'u'",
            "group = 'g'",
            "supplementary_groups = ['g']",
            "umask = '0027'",
            "resources.nice = 1",
            "resources.oom_score_adjust = 1",
            "resources.cpu_affinity = 0",
            "resources.limit_nofile = 100",
            "resources.memory_max = '64M'",
            "resources.memory_high = '50%'",
            "resources.memory_swap_max = 0",
            "resources.tasks_max = 9",
            "resources.cpu_quota = '200%'",
            "resources.cpu_weight = 200",
            "resources.io_weight = 50",
            "ready.tcp = 'h:1'",
            "enabled = false",
            "stop_signal = 'INT'",
            "stop_timeout = 1",
            "start_timeout = 1",
            "success_exit_status = [1]",
            "restart.when = 'always'",
            "restart.multiplier = 3",
            "restart.max_delay = 70",
            "restart.jitter = 0",
            "restart.reset_after = 1",
            "restart.max_restarts = 1",
            "restart.on_limit = 'retry'",
            "restart.prevent_exit_status = [1]",
            "health.expect_status = [201]",
            "health.expect_json = { x = 1 }",
            "health.expect_body = 'x'",
            "health.headers = { X = 'y' }",
            "health.timeout = 1",
            "health.retries = 1",
            "health.start_period = 1",
            "health.action = 'report'",
            "log.target = 'none'",
            "log.max_size = 5000",
            "crash.tail_lines = 1",
            "crash.keep = 1",
            "crash.notify = [{ webhook = 'http://h' }]",
        ] {
            let refused = ["user", "group", "supplementary_groups", "umask", "resources."];
            if cfg!(windows) && refused.iter().any(|key| line.starts_with(key)) {
                continue;
            }
            let new = service(&format!("exec = 'a'\nhealth.http = 'http://h/'\n{line}"));
            let told = changes(&base, &new);
            assert!(!told.is_empty(), "{line}: {told:?}");
            assert!(line.starts_with(&told[0].key[0]), "{line}: {told:?}");
        }
    }

    #[test]
    fn what_services_have_to_do_with_each_other_is_an_update() {
        let base = |lines: &str| config(&format!("[service.b]\nexec = 'b'\n{BASE}{lines}"));
        for key in ["requires", "wants", "after", "before", "part_of", "binds_to"] {
            let plan = diff(&base(""), &base(&format!("{key} = 'b'")));
            assert_eq!(plan, Plan { update: vec!["a".into()], unchanged: 1, ..Plan::default() }, "{key}");
        }
    }

    #[test]
    fn the_daemons_own_settings_are_in_force_at_once() {
        let (old, new) =
            (config(BASE), config(&format!("[daemon]\nauto_reload = true\nmax_parallel_starts = 4\n{BASE}")));
        let changes = daemon_changes(&old.daemon, &new.daemon);
        let told = changes.into_iter().map(|change| (change.key, change.old, change.new));
        let change = |key: &str, old: Value, new: Value| (vec![key.to_owned()], Some(old), Some(new));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                change("auto_reload", false.into(), true.into()),
                change("max_parallel_starts", 0.into(), 4.into())
            ]
        );
        assert_eq!(diff(&old, &new).needs_daemon_restart, [""; 0]);
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
