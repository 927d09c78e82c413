//! The shipped examples load, and say what they promise.

use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(unix)]
use mcpd_config::spec::Limit;
use mcpd_config::spec::{HttpProbe, Probe, RestartWhen, ServiceSpec};
use mcpd_config::{Loaded, Origin};

use crate::common::environment;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn example(name: &str, vars: &[(&str, &str)]) -> Loaded {
    mcpd_config::load(&directory().join(name), &environment(vars)).unwrap_or_else(|failed| panic!("{failed}"))
}

#[test]
fn every_example_loads_without_a_warning_and_shows_itself() {
    let mut count = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if cfg!(windows) && name == "linux.toml" {
            continue;
        }
        let loaded = example(&name, &[]);
        assert!(loaded.warnings.is_empty() && !loaded.config.services.is_empty(), "{name}");
        let again =
            mcpd_config::load_text(Path::new("shown.toml"), &loaded.show_with_secrets(), &environment(&[]))
                .unwrap();
        assert_eq!(again.config.services, loaded.config.services, "{name}");
        count += 1;
    }
    assert!(count >= 3, "only {count} examples");
}

#[cfg(unix)]
#[test]
fn the_example_for_linux_sets_every_key_of_it() {
    let loaded = example("linux.toml", &[]);
    let mut keys: Vec<&str> = vec!["user", "group", "supplementary_groups", "umask"];
    keys.extend(["resources.nice", "resources.oom_score_adjust", "resources.cpu_affinity"]);
    let limits: Vec<String> = Limit::ALL.iter().map(|limit| format!("resources.{}", limit.key())).collect();
    for key in keys.into_iter().chain(limits.iter().map(String::as_str)) {
        let origin = loaded.origins.get(&format!("service.api.{key}"));
        assert!(matches!(origin, Some(Origin::File { .. })), "{key} is not in linux.toml");
    }
}

#[test]
fn the_annotated_example_sets_every_key() {
    let loaded = example("many.toml", &[]);
    let set = |key: &str| {
        ["web", "database", "worker", "migrate"].iter().any(|service| {
            let path = format!("service.{service}.{key}");
            let below = format!("{path}.");
            loaded.origins.iter().any(|(found, origin)| {
                matches!(origin, Origin::File { .. }) && (found == path || found.starts_with(&below))
            })
        })
    };
    // The tables' keys as they are designed; a new one has to come into the example as well.
    for key in "description exec exec_start_pre exec_start_post exec_reload exec_stop exec_stop_post remain_after_exit type working_directory environment environment_files secret_environment_files enabled stop_signal stop_timeout \
        start_timeout success_exit_status requires binds_to wants part_of after before conflicts restart.when restart.delay restart.multiplier restart.max_delay restart.jitter \
        restart.reset_after restart.max_restarts restart.on_limit restart.prevent_exit_status health.http health.tcp health.exec \
        health.expect_status health.expect_json health.expect_body health.headers health.interval health.timeout health.retries \
        health.start_period health.action ready.http ready.log ready.timeout log.target log.format log.max_size log.max_files crash.tail_lines crash.keep \
        crash.notify.0.exec crash.notify.0.on crash.notify.1.webhook crash.notify.1.template crash.notify.1.headers crash.notify.2.journal"
        .split_whitespace()
    {
        assert!(set(key), "{key} is not in many.toml");
    }
    for key in ["control_socket", "state_dir", "log_dir", "include", "max_parallel_starts"] {
        let origin = loaded.origins.get(&format!("daemon.{key}"));
        assert!(matches!(origin, Some(Origin::File { .. })), "{key} is not in many.toml");
    }
}

fn studio(vars: &[(&str, &str)]) -> ServiceSpec {
    example("mcp-studio.toml", vars).config.services.remove("mcp-studio").unwrap()
}

fn url(spec: &ServiceSpec) -> &HttpProbe {
    match &spec.health.as_ref().unwrap().probe {
        Probe::Http(probe) => probe,
        other => panic!("{other:?}"),
    }
}

fn after<'s>(spec: &'s ServiceSpec, flag: &str) -> &'s str {
    let at = spec.exec.iter().position(|word| word == flag).unwrap();
    &spec.exec[at + 1]
}

#[test]
fn the_studio_has_the_scripts_defaults() {
    let spec = studio(&[]);
    assert_eq!(
        (after(&spec, "--host"), after(&spec, "--port"), after(&spec, "--workers")),
        ("0.0.0.0", "7787", "1")
    );
    assert_eq!(url(&spec).url, "http://127.0.0.1:7787/api/health");
    assert_eq!(url(&spec).expect_json, [("status".to_owned(), "healthy".into())]);
    assert_eq!(spec.restart.when, RestartWhen::OnFailure);
    assert_eq!((spec.restart.max_restarts, spec.restart.delay), (10, Duration::from_secs(1)));
    assert_eq!((spec.restart.multiplier, spec.restart.max_delay), (1.5, Duration::from_secs(60)));
    assert_eq!(spec.health.as_ref().unwrap().interval, Duration::from_secs(30));
    for (name, value) in [
        ("MCP_STUDIO_HOST", "0.0.0.0"),
        ("MCP_STUDIO_PORT", "7787"),
        ("MCP_STUDIO_DEBUG", "true"),
        ("MCP_STUDIO_WORKERS", "1"),
        ("MCP_STUDIO_LOG_LEVEL", "INFO"),
        ("WATCHFILES_NOTIFY_ON_CRASH", "true"),
    ] {
        assert_eq!(spec.environment[name], value, "{name}");
    }
}

#[test]
fn each_of_the_scripts_variables_arrives() {
    type Check = fn(&ServiceSpec) -> bool;
    let rows: &[(&str, &str, Check)] = &[
        ("MCP_STUDIO_HOST", "::1", |s| {
            after(s, "--host") == "::1" && s.environment["MCP_STUDIO_HOST"] == "::1"
        }),
        ("MCP_STUDIO_PORT", "99", |s| {
            after(s, "--port") == "99" && url(s).url == "http://127.0.0.1:99/api/health"
        }),
        ("MCP_STUDIO_DEBUG", "false", |s| s.environment["MCP_STUDIO_DEBUG"] == "false"),
        ("MCP_STUDIO_WORKERS", "4", |s| after(s, "--workers") == "4"),
        ("MCP_STUDIO_LOG_LEVEL", "DEBUG", |s| s.environment["MCP_STUDIO_LOG_LEVEL"] == "DEBUG"),
        ("WATCHFILES_MAX_RESTARTS", "3", |s| s.restart.max_restarts == 3),
        ("WATCHFILES_RESTART_DELAY", "0.5", |s| s.restart.delay == Duration::from_millis(500)),
        // Longer than the usual longest delay, which then follows.
        ("WATCHFILES_RESTART_DELAY", "90", |s| s.restart.max_delay == Duration::from_secs(90)),
        ("WATCHFILES_BACKOFF_MULTIPLIER", "2", |s| s.restart.multiplier == 2.0),
        ("WATCHFILES_HEALTH_CHECK_INTERVAL", "7", |s| {
            s.health.as_ref().unwrap().interval == Duration::from_secs(7)
        }),
        ("WATCHFILES_NOTIFY_ON_CRASH", "false", |s| {
            s.environment["WATCHFILES_NOTIFY_ON_CRASH"] == "false" && s.crash.notify.is_empty()
        }),
    ];
    for (name, value, check) in rows {
        assert!(check(&studio(&[(name, value)])), "{name}={value}");
    }
}
