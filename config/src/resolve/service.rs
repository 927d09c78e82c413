//! `[service.NAME]` and its tables.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::raw::Entry;
use crate::resolve::context::{Context, Finding};
use crate::resolve::relations;
use crate::resolve::resources::{self, Identity};
use crate::resolve::scalar::{Problem, Scalar};
use crate::resolve::section::{Section, below, path_text};
use crate::resolve::{commands, health, notify, ready, watch};
use crate::schema;
use crate::spec::{
    CrashSpec, EnvironmentFile, ExitMatch, LogFormat, LogSpec, LogTarget, OnLimit, RestartSpec, RestartWhen,
    ServiceSpec, ServiceType, Signal,
};

const NAME_LENGTH: usize = 128;
/// A rotated file smaller than this is nothing but rotation.
const SMALLEST_LOG: u64 = 4096;
/// Lines of each stream that are held in memory for a report.
const MOST_TAIL_LINES: u32 = 10_000;
/// systemd's `TimeoutStartSec=` has no limit for a oneshot: a migration takes as long as it takes. The longest duration.
const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(60);

/// Why a service cannot be called so.
pub(crate) fn bad_name(name: &str) -> Option<Problem> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | ':' | '-');
    if name.is_empty() || name.len() > NAME_LENGTH {
        let message = format!("a service's name has 1 to {NAME_LENGTH} characters, this one {}", name.len());
        Some(Problem::new(message))
    } else if let Some(c) = name.chars().find(|&c| !allowed(c)) {
        let problem = Problem::new(format!("{c:?} cannot stand in a service's name"));
        Some(problem.help("use letters, digits and _ . @ : -"))
    } else if name.starts_with(['.', '-']) {
        Some(Problem::new("a service's name cannot start with a dot or a dash"))
    } else {
        None
    }
}

/// The service that the table describes; `None` when it is not even a table.
pub(crate) fn resolve(cx: &mut Context<'_>, entry: &Entry) -> Option<ServiceSpec> {
    let parent = Section::new(&crate::raw::EMPTY, vec!["service".to_owned()], None);
    let table = parent.table_of(cx, entry)?;
    let path = vec!["service".to_owned(), entry.key.clone()];
    let service = Section::new(table, path, Some(entry.key_span));
    service.check_keys(cx, &schema::SERVICE);

    let seconds = Duration::from_secs;
    let instant = Duration::from_millis(1);
    let working_directory = service.path(cx, "working_directory");
    let watch = watch::resolve(cx, &service, working_directory.as_deref());
    let Identity { user, group, supplementary_groups, umask } = resources::identity(cx, &service);
    let kinds = [
        ("simple", ServiceType::Simple),
        ("exec", ServiceType::Exec),
        ("notify", ServiceType::Notify),
        ("oneshot", ServiceType::Oneshot),
    ];
    let kind = service.read(cx, "type", ServiceType::Simple, |scalar| {
        let kind = scalar.choice(&kinds, &[])?;
        if kind == ServiceType::Notify {
            ready::can_notify("\"notify\"")?
        }
        Ok(kind)
    });
    let (exec, oneshot) = commands::exec(cx, &service, kind);
    let stop_timeout = service.duration(cx, "stop_timeout", seconds(10), Duration::ZERO);
    commands::at_stop(cx, &service, oneshot.as_ref(), stop_timeout);
    let start_timeout = if kind == ServiceType::Oneshot { NO_LIMIT } else { seconds(90) };
    Some(ServiceSpec {
        name: entry.key.clone(),
        description: service.optional(cx, "description", Scalar::string),
        exec,
        exec_start_pre: commands::list(cx, &service, "exec_start_pre"),
        exec_start_post: commands::list(cx, &service, "exec_start_post"),
        exec_reload: commands::list(cx, &service, "exec_reload"),
        exec_stop: commands::list(cx, &service, "exec_stop"),
        exec_stop_post: commands::list(cx, &service, "exec_stop_post"),
        oneshot,
        kind,
        working_directory,
        environment: environment(cx, &service),
        environment_files: environment_files(cx, &service, "environment_files"),
        secret_environment_files: environment_files(cx, &service, "secret_environment_files"),
        user,
        group,
        supplementary_groups,
        umask,
        enabled: service.read(cx, "enabled", true, Scalar::boolean),
        stop_signal: service.read(cx, "stop_signal", Signal::TERM, Scalar::signal),
        stop_timeout,
        start_timeout: service.duration(cx, "start_timeout", start_timeout, instant),
        success_exit_status: service
            .list(cx, "success_exit_status", Scalar::exit_match)
            .unwrap_or_else(|| vec![ExitMatch::Code(0)]),
        relations: relations::read(cx, &service, &entry.key),
        restart: restart(cx, &service, kind),
        watchdog: service.optional(cx, "watchdog", |scalar| {
            ready::can_notify("`watchdog`")?;
            scalar.duration(instant)
        }),
        ready: ready::resolve(cx, &service, kind),
        health: health::resolve(cx, &service),
        watch,
        log: log(cx, &service),
        resources: resources::resources(cx, &service),
        crash: crash(cx, &service),
    })
}

fn environment(cx: &mut Context<'_>, service: &Section<'_>) -> BTreeMap<String, String> {
    let table = service.free_section(cx, "environment");
    let mut variables = BTreeMap::new();
    for entry in table.entries() {
        let key = table.key(&entry.key);
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            let message = format!("{:?} cannot be the name of a variable", entry.key);
            cx.error(Finding { span: entry.key_span, key: &key, message, help: None });
            continue;
        }
        if let Some((value, used)) = cx.convert(&entry.node, &key, Scalar::string) {
            cx.set_origin(&key, entry.key_span, &used);
            variables.insert(entry.key.clone(), value);
        }
    }
    variables
}

fn environment_files(cx: &mut Context<'_>, service: &Section<'_>, key: &str) -> Vec<EnvironmentFile> {
    // Of the file that the list stands in, which may be a drop-in.
    let entry = service.entry(key);
    let directory = entry.map(|entry| cx.directory(entry.key_span.file).to_owned()).unwrap_or_default();
    let file = |scalar: &Scalar<'_>| {
        let text = path_text(scalar)?;
        let (path, optional) = text.strip_prefix('-').map_or((text.as_str(), false), |path| (path, true));
        if path.is_empty() {
            return Err(Problem::new("the path of the file is missing"));
        }
        if let Some(rest) = path.strip_prefix("~/") {
            let help = format!("write \"-${{HOME}}/{rest}\"");
            return Err(Problem::new("`~` is not replaced: no shell is run").help(help));
        }
        Ok(EnvironmentFile { path: below(&directory, path), optional })
    };
    service.list(cx, key, file).unwrap_or_default()
}

fn restart(cx: &mut Context<'_>, service: &Section<'_>, kind: ServiceType) -> RestartSpec {
    let restart = service.section(cx, "restart", &schema::RESTART);
    let words = [
        ("always", RestartWhen::Always),
        ("on-success", RestartWhen::OnSuccess),
        ("on-failure", RestartWhen::OnFailure),
        ("on-abnormal", RestartWhen::OnAbnormal),
        ("on-watchdog", RestartWhen::OnWatchdog),
        ("never", RestartWhen::Never),
    ];
    let oneshot = kind == ServiceType::Oneshot;
    // As systemd: what is run once is not run again by itself, unless that is asked for; after success never.
    let default = if oneshot { RestartWhen::Never } else { RestartWhen::OnFailure };
    let when = |scalar: &Scalar<'_>| {
        let when = scalar.choice(&words, &[])?;
        if oneshot && matches!(when, RestartWhen::Always | RestartWhen::OnSuccess) {
            return Err(Problem::new("a oneshot is not restarted after it has ended well")
                .help("expected one of \"on-failure\", \"on-abnormal\", \"on-watchdog\", \"never\""));
        }
        Ok(when)
    };
    let on_limit = [("park", OnLimit::Park), ("retry", OnLimit::Retry)];
    let seconds = Duration::from_secs;

    let delay = restart.duration(cx, "delay", seconds(1), Duration::ZERO);
    // A delay over the usual maximum raises that, so that setting one key is enough.
    let max_delay = restart.duration(cx, "max_delay", delay.max(DEFAULT_MAX_DELAY), Duration::ZERO);
    if let (Some(entry), true) = (restart.entry("max_delay"), max_delay < delay) {
        let write = crate::duration::format;
        let message =
            format!("`max_delay` is {}, less than `delay`, which is {}", write(max_delay), write(delay));
        let help = Some("delays grow from `delay` to `max_delay`".to_owned());
        cx.error(Finding { span: entry.node.span, key: &restart.key("max_delay"), message, help });
    }
    let spec = RestartSpec {
        when: restart.read(cx, "when", default, when),
        delay,
        multiplier: restart.read(cx, "multiplier", 1.5, |scalar| scalar.float(1.0, f64::INFINITY)),
        max_delay,
        jitter: restart.read(cx, "jitter", 0.1, |scalar| scalar.float(0.0, 1.0)),
        reset_after: restart.duration(cx, "reset_after", seconds(60), Duration::ZERO),
        max_restarts: restart.read(cx, "max_restarts", 10, |scalar| scalar.count(0, u32::MAX)),
        on_limit: restart.read(cx, "on_limit", OnLimit::Park, |scalar| scalar.choice(&on_limit, &[])),
        prevent_exit_status: restart.list(cx, "prevent_exit_status", Scalar::exit_match).unwrap_or_default(),
    };
    warn_of_endless_restarts(cx, &restart, &spec);
    spec
}

/// No pause and no limit: a program that ends at once would be started as fast as the machine can.
fn warn_of_endless_restarts(cx: &mut Context<'_>, restart: &Section<'_>, spec: &RestartSpec) {
    let unlimited = spec.max_restarts == 0 || spec.reset_after.is_zero() || spec.on_limit == OnLimit::Retry;
    if !spec.delay.is_zero() || !unlimited || spec.when == RestartWhen::Never {
        return;
    }
    if let Some(entry) = restart.entry("delay") {
        cx.warning(Finding {
            span: entry.node.span,
            key: &restart.key("delay"),
            message: "restarts without a pause and without a limit".to_owned(),
            help: Some("set `delay` above 0, or limit them with `max_restarts` and `reset_after`".to_owned()),
        });
    }
}

fn log(cx: &mut Context<'_>, service: &Section<'_>) -> LogSpec {
    let log = service.section(cx, "log", &schema::LOG);
    let target = [("file", LogTarget::File), ("inherit", LogTarget::Inherit), ("none", LogTarget::None)];
    let format = [("text", LogFormat::Text), ("json", LogFormat::Json), ("raw", LogFormat::Raw)];
    LogSpec {
        target: log
            .read(cx, "target", LogTarget::File, |scalar| scalar.choice(&target, &["journal", "both"])),
        format: log.read(cx, "format", LogFormat::Text, |scalar| scalar.choice(&format, &[])),
        max_size: log.read(cx, "max_size", 16 << 20, |scalar| scalar.size(SMALLEST_LOG)),
        max_files: log.read(cx, "max_files", 8, |scalar| scalar.count(0, u32::MAX)),
    }
}

fn crash(cx: &mut Context<'_>, service: &Section<'_>) -> CrashSpec {
    let crash = service.section(cx, "crash", &schema::CRASH);
    CrashSpec {
        tail_lines: crash.read(cx, "tail_lines", 100, |scalar| scalar.count(0, MOST_TAIL_LINES)),
        keep: crash.read(cx, "keep", 100, |scalar| scalar.count(1, u32::MAX)),
        notify: notify::resolve(cx, &crash),
    }
}
