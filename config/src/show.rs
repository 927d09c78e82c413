//! A settled configuration as text: every value, with where it came from.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::diagnostic::printable;
use crate::duration;
use crate::load::Loaded;
use crate::origin::{Origin, dotted};
use crate::redact::{self, Redactor};
use crate::size;
use crate::spec::{
    CgroupLimit, CgroupValue, CommandSpec, CrashSpec, DaemonSpec, EnvironmentFile, ExitMatch, HealthAction,
    HealthSpec, HttpProbe, LogFormat, LogSpec, LogTarget, NotifySpec, NotifyTarget, OnKeeperDeath, OnLimit,
    OnStop, Probe, Ranges, ReadySpec, Relations, ResourcesSpec, RestartSpec, RestartWhen, ServiceSpec,
    ServiceType, WatchAction, WatchSpec, WebhookSpec,
};
use crate::write;

/// The version of [`Loaded::show_json`]'s document. Fields are only ever added.
const SCHEMA: u32 = 1;

/// One table of the text.
struct Block {
    path: Vec<String>,
    entries: Vec<(&'static str, Value)>,
    /// Tables with free keys, which become a header of their own.
    tables: Vec<(&'static str, Vec<(String, Value)>)>,
}

impl Loaded {
    /// TOML with every value that is in force, defaults included, each with a comment that says where it came from: a file
    /// and line, `default`, or `environment`. Secrets are left out.
    #[must_use]
    pub fn show(&self) -> String {
        self.shown(|spec| redacted(service_blocks(spec), spec))
    }

    /// The same with all that is in it: reading it gives the same configuration. References have been replaced, so it may
    /// hold what variables held.
    #[must_use]
    pub fn show_with_secrets(&self) -> String {
        self.shown(service_blocks)
    }

    fn shown(&self, blocks: impl Fn(&ServiceSpec) -> Vec<Block>) -> String {
        let mut text = String::new();
        for file in &self.config.files {
            text.push_str(&comment("# read: ", &file.to_string_lossy()));
        }
        let services = self.config.services.values().flat_map(blocks);
        for block in std::iter::once(daemon_block(&self.config.daemon)).chain(services) {
            text.push_str(&format!("\n[{}]\n", dotted(&block.path)));
            for (key, value) in &block.entries {
                self.line(&mut text, &block.path, key, value);
            }
            for (key, entries) in &block.tables {
                let mut path = block.path.clone();
                path.push((*key).to_owned());
                text.push_str(&format!("\n[{}]\n", dotted(&path)));
                for (key, value) in entries {
                    self.line(&mut text, &path, key, value);
                }
            }
        }
        text
    }

    fn line(&self, text: &mut String, path: &[String], key: &str, value: &Value) {
        let mut full = path.to_vec();
        full.push(key.to_owned());
        let origin = self.origins.get(&dotted(&full)).unwrap_or(&Origin::Default);
        text.push_str(&format!("{} = {}", write::key(key), write::value(value)));
        text.push_str(&comment("  # ", &origin.to_string()));
    }

    /// The same for programs: `{schema, files, daemon, services, origins, warnings}`. `daemon` and `services` (by name) have
    /// the keys of the file with settled values, durations and sizes as text; `origins` maps dotted paths to
    /// `{from: "file", file, line, column, variables}` (with `template` when the value stands in one), `{from: "default"}` or `{from: "environment", variable}`. Secrets are left out.
    #[must_use]
    pub fn show_json(&self) -> Value {
        self.shown_json(|spec| redacted(service_blocks(spec), spec))
    }

    /// The same with all that is in it.
    #[must_use]
    pub fn show_json_with_secrets(&self) -> Value {
        self.shown_json(service_blocks)
    }

    fn shown_json(&self, blocks: impl Fn(&ServiceSpec) -> Vec<Block>) -> Value {
        let services: serde_json::Map<_, _> = self
            .config
            .services
            .iter()
            .map(|(name, spec)| {
                let mut blocks = blocks(spec).into_iter();
                let mut service = blocks.next().map(object).unwrap_or_default();
                for block in blocks {
                    let key = block.path.last().cloned().unwrap_or_default();
                    service.insert(key, Value::Object(object(block)));
                }
                (name.clone(), Value::Object(service))
            })
            .collect();
        let origins: serde_json::Map<_, _> =
            self.origins.iter().map(|(key, origin)| (key.to_owned(), origin_json(origin))).collect();
        let warnings: Vec<String> = self.warnings.iter().map(ToString::to_string).collect();
        json!({
            "schema": SCHEMA,
            "files": self.config.files.iter().map(|file| path_text(file)).collect::<Vec<_>>(),
            "daemon": object(daemon_block(&self.config.daemon)),
            "services": services,
            "origins": origins,
            "warnings": warnings,
        })
    }
}

fn redacted(mut blocks: Vec<Block>, spec: &ServiceSpec) -> Vec<Block> {
    let redactor = Redactor::of(spec);
    for Block { entries, tables, .. } in &mut blocks {
        for (key, value) in entries {
            redact::value(key, value, &redactor);
        }
        for (key, value) in tables.iter_mut().flat_map(|(_, entries)| entries) {
            redact::value(key, value, &redactor);
        }
    }
    blocks
}

/// Every value of the service by its key below the service's table.
pub(crate) fn values(service: &ServiceSpec) -> BTreeMap<Vec<String>, Value> {
    let mut values = BTreeMap::new();
    for Block { path, entries, tables } in service_blocks(service) {
        let below = |keys: &[&str]| {
            let outer = path.iter().skip(2).cloned();
            outer.chain(keys.iter().map(|&key| key.to_owned())).collect::<Vec<_>>()
        };
        values.extend(entries.into_iter().map(|(key, value)| (below(&[key]), value)));
        for (table, entries) in tables {
            values.extend(entries.into_iter().map(|(key, value)| (below(&[table, &key]), value)));
        }
    }
    values
}

/// A comment ends at the end of its line, whatever a file's name holds.
fn comment(before: &str, text: &str) -> String {
    format!("{before}{}\n", printable(text).replace('\n', "\\n"))
}

fn object(block: Block) -> serde_json::Map<String, Value> {
    let entries = block.entries.into_iter().map(|(key, value)| (key.to_owned(), value));
    let tables = block
        .tables
        .into_iter()
        .map(|(key, entries)| (key.to_owned(), Value::Object(entries.into_iter().collect())));
    entries.chain(tables).collect()
}

fn origin_json(origin: &Origin) -> Value {
    match origin {
        Origin::File { file, line, column, variables, template } => {
            let mut origin = json!({
                "from": "file", "file": path_text(file), "line": line, "column": column, "variables": variables,
            });
            if let Some(template) = template {
                origin["template"] = template.clone().into();
            }
            origin
        }
        Origin::Default => json!({ "from": "default" }),
        Origin::Environment { variable } => json!({ "from": "environment", "variable": variable }),
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn daemon_block(daemon: &DaemonSpec) -> Block {
    let DaemonSpec {
        control_socket,
        state_dir,
        log_dir,
        max_parallel_starts,
        auto_reload,
        on_stop,
        on_keeper_death,
    } = daemon;
    let on_stop = match on_stop {
        OnStop::Stop => "stop",
        OnStop::Keep => "keep",
    };
    let on_keeper_death = match on_keeper_death {
        OnKeeperDeath::Stop => "stop",
        OnKeeperDeath::Leave => "leave",
    };
    Block {
        path: vec!["daemon".to_owned()],
        entries: vec![
            ("control_socket", path_text(control_socket).into()),
            ("state_dir", path_text(state_dir).into()),
            ("log_dir", path_text(log_dir).into()),
            ("max_parallel_starts", (*max_parallel_starts).into()),
            ("auto_reload", (*auto_reload).into()),
            ("on_stop", on_stop.into()),
            ("on_keeper_death", on_keeper_death.into()),
        ],
        tables: Vec::new(),
    }
}

/// The service's own table first.
fn service_blocks(service: &ServiceSpec) -> Vec<Block> {
    let ServiceSpec {
        name,
        description,
        exec,
        exec_start_pre,
        exec_start_post,
        exec_reload,
        exec_stop,
        exec_stop_post,
        oneshot,
        kind,
        working_directory,
        environment,
        environment_files,
        secret_environment_files,
        user,
        group,
        supplementary_groups,
        umask,
        enabled,
        stop_signal,
        stop_timeout,
        start_timeout,
        success_exit_status,
        relations,
        restart,
        watchdog,
        ready,
        health,
        watch,
        log,
        resources,
        crash,
    } = service;
    let path = vec!["service".to_owned(), name.clone()];
    let mut entries: Vec<(&str, Value)> = Vec::new();
    entries.extend(description.as_ref().map(|text| ("description", text.clone().into())));
    match oneshot {
        Some(oneshot) => entries.push(("exec", commands(&oneshot.exec))),
        None => entries.push(("exec", exec.clone().into())),
    }
    for (key, list) in [
        ("exec_start_pre", exec_start_pre),
        ("exec_start_post", exec_start_post),
        ("exec_reload", exec_reload),
        ("exec_stop", exec_stop),
        ("exec_stop_post", exec_stop_post),
    ] {
        if !list.is_empty() {
            entries.push((key, commands(list)));
        }
    }
    let kind = match kind {
        ServiceType::Simple => "simple",
        ServiceType::Exec => "exec",
        ServiceType::Notify => "notify",
        ServiceType::Oneshot => "oneshot",
    };
    entries.push(("type", kind.into()));
    entries.extend(oneshot.as_ref().map(|oneshot| ("remain_after_exit", oneshot.remain_after_exit.into())));
    entries.extend(working_directory.as_ref().map(|path| ("working_directory", path_text(path).into())));
    let files = |files: &[EnvironmentFile]| {
        let text = |file: &EnvironmentFile| {
            format!("{}{}", if file.optional { "-" } else { "" }, path_text(&file.path))
        };
        files.iter().map(text).collect::<Vec<_>>()
    };
    entries.push(("environment_files", files(environment_files).into()));
    if !secret_environment_files.is_empty() {
        entries.push(("secret_environment_files", files(secret_environment_files).into()));
    }
    entries.extend(user.as_ref().map(|user| ("user", user.clone().into())));
    entries.extend(group.as_ref().map(|group| ("group", group.clone().into())));
    if !supplementary_groups.is_empty() {
        entries.push(("supplementary_groups", supplementary_groups.clone().into()));
    }
    entries.extend(umask.map(|mask| ("umask", format!("{mask:04o}").into())));
    entries.push(("enabled", (*enabled).into()));
    entries.push(("stop_signal", stop_signal.to_string().into()));
    entries.push(("stop_timeout", duration::format(*stop_timeout).into()));
    entries.push(("start_timeout", duration::format(*start_timeout).into()));
    entries.push(("success_exit_status", exits(success_exit_status)));
    let Relations { requires, wants, after, before, conflicts, part_of, binds_to } = relations;
    for (key, names) in [
        ("requires", requires),
        ("wants", wants),
        ("after", after),
        ("before", before),
        ("conflicts", conflicts),
        ("part_of", part_of),
        ("binds_to", binds_to),
    ] {
        entries.push((key, names.clone().into()));
    }
    entries.extend(watchdog.map(|every| ("watchdog", duration::format(every).into())));
    let variables = environment.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    let mut tables = Vec::new();
    if !environment.is_empty() {
        tables.push(("environment", variables.collect()));
    }
    let below = |key: &str| path.iter().cloned().chain([key.to_owned()]).collect::<Vec<_>>();
    let (restart, log, crash) = (
        restart_block(below("restart"), restart),
        log_block(below("log"), log),
        crash_block(below("crash"), crash),
    );
    let health = health.as_ref().map(|health| health_block(below("health"), health));
    let watch = watch.as_ref().map(|watch| watch_block(below("watch"), watch));
    let resources =
        (*resources != ResourcesSpec::default()).then(|| resources_block(below("resources"), resources));
    let ready = ready.as_ref().map(|ready| ready_block(below("ready"), ready));
    let mut blocks = vec![Block { path, entries, tables }, restart];
    blocks.extend(ready);
    blocks.extend(health);
    blocks.extend(watch);
    blocks.push(log);
    blocks.extend(resources);
    blocks.push(crash);
    blocks
}

fn commands(list: &[CommandSpec]) -> Value {
    let one = |command: &CommandSpec| {
        let mut words = command.argv.clone();
        if let (true, Some(program)) = (command.ignore_failure, words.first_mut()) {
            program.insert(0, '-');
        }
        Value::from(words)
    };
    list.iter().map(one).collect()
}

fn exits(list: &[ExitMatch]) -> Value {
    let one = |exit: &ExitMatch| match exit {
        ExitMatch::Code(code) => Value::from(*code),
        ExitMatch::Signal(signal) => Value::from(signal.to_string()),
    };
    list.iter().map(one).collect()
}

fn restart_block(path: Vec<String>, restart: &RestartSpec) -> Block {
    let RestartSpec {
        when,
        delay,
        multiplier,
        max_delay,
        jitter,
        reset_after,
        max_restarts,
        on_limit,
        prevent_exit_status,
    } = restart;
    let when = match when {
        RestartWhen::Always => "always",
        RestartWhen::OnSuccess => "on-success",
        RestartWhen::OnFailure => "on-failure",
        RestartWhen::OnAbnormal => "on-abnormal",
        RestartWhen::OnWatchdog => "on-watchdog",
        RestartWhen::Never => "never",
    };
    let on_limit = match on_limit {
        OnLimit::Park => "park",
        OnLimit::Retry => "retry",
    };
    let entries = vec![
        ("when", when.into()),
        ("delay", duration::format(*delay).into()),
        ("multiplier", (*multiplier).into()),
        ("max_delay", duration::format(*max_delay).into()),
        ("jitter", (*jitter).into()),
        ("reset_after", duration::format(*reset_after).into()),
        ("max_restarts", (*max_restarts).into()),
        ("on_limit", on_limit.into()),
        ("prevent_exit_status", exits(prevent_exit_status)),
    ];
    Block { path, entries, tables: Vec::new() }
}

fn health_block(path: Vec<String>, health: &HealthSpec) -> Block {
    let HealthSpec { probe, interval, timeout, retries, start_period, action } = health;
    let Block { path, mut entries, tables } = probe_block(path, probe);
    let action = match action {
        HealthAction::Restart => "restart",
        HealthAction::Report => "report",
    };
    entries.extend([
        ("interval", duration::format(*interval).into()),
        ("timeout", duration::format(*timeout).into()),
        ("retries", (*retries).into()),
        ("start_period", duration::format(*start_period).into()),
        ("action", action.into()),
    ]);
    Block { path, entries, tables }
}

fn ready_block(path: Vec<String>, ready: &ReadySpec) -> Block {
    match ready {
        ReadySpec::Probe { probe, timeout } => {
            let mut block = probe_block(path, probe);
            block.entries.push(("timeout", duration::format(*timeout).into()));
            block
        }
        ReadySpec::Log { pattern } => {
            Block { path, entries: vec![("log", pattern.clone().into())], tables: Vec::new() }
        }
        ReadySpec::Notify => Block { path, entries: vec![("notify", true.into())], tables: Vec::new() },
    }
}

fn probe_block(path: Vec<String>, probe: &Probe) -> Block {
    let mut entries: Vec<(&str, Value)> = Vec::new();
    let mut tables = Vec::new();
    match probe {
        Probe::Http(HttpProbe { url, expect_status, expect_json, expect_body, headers }) => {
            entries.push(("http", url.clone().into()));
            entries.push(("expect_status", expect_status.clone().into()));
            entries.extend(expect_body.as_ref().map(|pattern| ("expect_body", pattern.clone().into())));
            if !expect_json.is_empty() {
                tables.push(("expect_json", expect_json.clone()));
            }
            if !headers.is_empty() {
                let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone().into()));
                tables.push(("headers", headers.collect()));
            }
        }
        Probe::Tcp { address } => entries.push(("tcp", address.clone().into())),
        Probe::Exec { argv } => entries.push(("exec", argv.clone().into())),
    }
    Block { path, entries, tables }
}

fn watch_block(path: Vec<String>, watch: &WatchSpec) -> Block {
    let WatchSpec { paths, include, ignore, debounce, action } = watch;
    let action = match action {
        WatchAction::Restart => "restart".to_owned(),
        WatchAction::Reload => "reload".to_owned(),
        WatchAction::Signal(signal) => format!("signal:{signal}"),
    };
    let entries = vec![
        ("paths", paths.iter().map(|path| path_text(path)).collect::<Vec<_>>().into()),
        ("include", include.clone().into()),
        ("ignore", ignore.clone().into()),
        ("debounce", duration::format(*debounce).into()),
        ("action", action.into()),
    ];
    Block { path, entries, tables: Vec::new() }
}

fn log_block(path: Vec<String>, log: &LogSpec) -> Block {
    let LogSpec { target, format, max_size, max_files } = log;
    let target = match target {
        LogTarget::File => "file",
        LogTarget::Inherit => "inherit",
        LogTarget::None => "none",
    };
    let format = match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
        LogFormat::Raw => "raw",
    };
    let entries = vec![
        ("target", target.into()),
        ("format", format.into()),
        ("max_size", size::format(*max_size).into()),
        ("max_files", (*max_files).into()),
    ];
    Block { path, entries, tables: Vec::new() }
}

/// Only what is set: the rest is as it is for mcpd itself, which no value of the file says.
fn resources_block(path: Vec<String>, resources: &ResourcesSpec) -> Block {
    let ResourcesSpec { nice, oom_score_adjust, cpu_affinity, limits, cgroup } = resources;
    let mut entries: Vec<(&str, Value)> =
        limits.iter().map(|(limit, value)| (limit.key(), value.text(limit.unit()).into())).collect();
    entries.extend(nice.map(|nice| ("nice", nice.into())));
    entries.extend(oom_score_adjust.map(|score| ("oom_score_adjust", score.into())));
    entries.extend(cpu_affinity.as_ref().map(|all| ("cpu_affinity", Ranges(all).to_string().into())));
    entries.extend(cgroup.iter().map(|(&limit, &value)| (limit.key(), cgroup_value(limit, value))));
    Block { path, entries, tables: Vec::new() }
}

/// A number where the key wants one.
fn cgroup_value(limit: CgroupLimit, value: CgroupValue) -> Value {
    match (limit, value) {
        (
            CgroupLimit::TasksMax | CgroupLimit::CpuWeight | CgroupLimit::IoWeight,
            CgroupValue::Number(number),
        ) => number.into(),
        (
            CgroupLimit::MemoryMax
            | CgroupLimit::MemoryHigh
            | CgroupLimit::MemorySwapMax
            | CgroupLimit::CpuQuota,
            CgroupValue::Number(_),
        )
        | (_, CgroupValue::Infinity | CgroupValue::Share(_)) => value.text(limit).into(),
    }
}

fn crash_block(path: Vec<String>, crash: &CrashSpec) -> Block {
    let CrashSpec { tail_lines, keep, notify } = crash;
    let entries = vec![
        ("tail_lines", (*tail_lines).into()),
        ("keep", (*keep).into()),
        ("notify", notify.iter().map(notify_value).collect()),
    ];
    Block { path, entries, tables: Vec::new() }
}

fn notify_value(notify: &NotifySpec) -> Value {
    let NotifySpec { target, on } = notify;
    let mut table = serde_json::Map::new();
    match target {
        NotifyTarget::Exec { argv } => drop(table.insert("exec".into(), argv.clone().into())),
        NotifyTarget::Webhook(WebhookSpec { url, template, headers }) => {
            table.insert("webhook".into(), url.clone().into());
            table.insert("template".into(), template.name().into());
            if !headers.is_empty() {
                let headers = headers.iter().map(|(name, value)| (name.clone(), value.clone().into()));
                table.insert("headers".into(), Value::Object(headers.collect()));
            }
        }
        NotifyTarget::Journal => drop(table.insert("journal".into(), true.into())),
    }
    table.insert("on".into(), on.iter().map(|on| on.name()).collect());
    Value::Object(table)
}
