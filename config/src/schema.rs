//! The keys of each table: those that work, and those that are designed but come later.
//!
//! A planned key is refused, but never called unknown: a configuration that relies on it must not start without it.

/// One kind of table.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) known: &'static [&'static str],
    pub(crate) planned: &'static [&'static str],
}

pub(crate) const ROOT: Schema = Schema { known: &["daemon", "service"], planned: &[] };

pub(crate) const DAEMON: Schema = Schema {
    known: &[
        "control_socket",
        "state_dir",
        "log_dir",
        "include",
        "max_parallel_starts",
        "auto_reload",
        "on_stop",
        "on_keeper_death",
    ],
    planned: &["access"],
};

pub(crate) const SERVICE: Schema = Schema {
    known: &[
        "description",
        "exec",
        "exec_start_pre",
        "exec_start_post",
        "exec_reload",
        "exec_stop",
        "exec_stop_post",
        "type",
        "remain_after_exit",
        "working_directory",
        "environment",
        "environment_files",
        "secret_environment_files",
        "user",
        "group",
        "supplementary_groups",
        "umask",
        "enabled",
        "stop_signal",
        "stop_timeout",
        "start_timeout",
        "success_exit_status",
        "requires",
        "wants",
        "after",
        "before",
        "conflicts",
        "part_of",
        "binds_to",
        "restart",
        "watchdog",
        "ready",
        "health",
        "watch",
        "log",
        "resources",
        "crash",
        "instances",
    ],
    planned: &["sandbox", "on_keeper_death"],
};

pub(crate) const RESTART: Schema = Schema {
    known: &[
        "when",
        "delay",
        "multiplier",
        "max_delay",
        "jitter",
        "reset_after",
        "max_restarts",
        "on_limit",
        "prevent_exit_status",
    ],
    planned: &[],
};

pub(crate) const HEALTH: Schema = Schema {
    known: &[
        "http",
        "tcp",
        "exec",
        "expect_status",
        "expect_json",
        "expect_body",
        "headers",
        "interval",
        "timeout",
        "retries",
        "start_period",
        "action",
    ],
    planned: &["mcp"],
};

pub(crate) const WATCH: Schema =
    Schema { known: &["paths", "include", "ignore", "debounce", "action"], planned: &[] };

pub(crate) const READY: Schema = Schema {
    known: &[
        "http",
        "tcp",
        "exec",
        "log",
        "notify",
        "expect_status",
        "expect_json",
        "expect_body",
        "headers",
        "timeout",
    ],
    planned: &["mcp"],
};

pub(crate) const LOG: Schema =
    Schema { known: &["target", "format", "max_size", "max_files"], planned: &["max_age", "compress"] };

pub(crate) const CRASH: Schema = Schema { known: &["tail_lines", "keep", "notify"], planned: &[] };

pub(crate) const NOTIFY: Schema =
    Schema { known: &["exec", "webhook", "template", "headers", "journal", "on"], planned: &[] };

pub(crate) const RESOURCES: Schema = Schema {
    known: &[
        "limit_as",
        "limit_core",
        "limit_cpu",
        "limit_data",
        "limit_fsize",
        "limit_locks",
        "limit_memlock",
        "limit_msgqueue",
        "limit_nice",
        "limit_nofile",
        "limit_nproc",
        "limit_rss",
        "limit_rtprio",
        "limit_rttime",
        "limit_sigpending",
        "limit_stack",
        "nice",
        "oom_score_adjust",
        "cpu_affinity",
        "memory_max",
        "memory_high",
        "memory_swap_max",
        "tasks_max",
        "cpu_quota",
        "cpu_weight",
        "io_weight",
    ],
    planned: &[],
};

/// The tables below a service's own that have keys of their own.
const TABLES: [(&str, &Schema); 7] = [
    ("restart", &RESTART),
    ("ready", &READY),
    ("health", &HEALTH),
    ("watch", &WATCH),
    ("log", &LOG),
    ("crash", &CRASH),
    ("resources", &RESOURCES),
];

/// Where a service's key stands, seen from its own table: `""` for that itself, `"restart"` for the table below it. All
/// of them, when several have it.
pub(crate) fn homes(key: &str) -> Vec<&'static str> {
    let own = SERVICE.known.contains(&key).then_some("");
    let below = TABLES.iter().filter(|(_, schema)| schema.known.contains(&key)).map(|&(table, _)| table);
    own.into_iter().chain(below).collect()
}
