//! Which configuration does the demo run?

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// The ports of the three servers, on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Of the server that is well.
    pub healthy: u16,
    /// Of the one that crashes.
    pub crashy: u16,
    /// Of the one that hangs.
    pub hanging: u16,
}

impl Ports {
    /// Three ports that are free now. Somebody else may take one before its server does; then that server says so and
    /// its next start tries again.
    ///
    /// # Errors
    /// When the system has no free port on loopback.
    pub fn pick() -> io::Result<Self> {
        // Held together, so that they differ.
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let held = [free()?, free()?, free()?];
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        Ok(Self { healthy: port(&held[0])?, crashy: port(&held[1])?, hanging: port(&held[2])? })
    }
}

/// The control socket of a demo that keeps its files in `dir`. Pipes on Windows have names, not folders, so there the
/// folder's name is part of it.
#[must_use]
pub fn control_socket(dir: &Path) -> PathBuf {
    if cfg!(windows) {
        let name = dir.file_name().map_or_else(|| "demo".into(), |name| name.to_string_lossy());
        return PathBuf::from(format!(r"\\.\pipe\mcpd-{name}"));
    }
    dir.join("control.sock")
}

/// The demo's configuration as TOML: three servers run by `exe`, everything that is written below `dir`.
#[must_use]
pub fn configuration(exe: &Path, dir: &Path, ports: Ports) -> String {
    let verb = super::SERVER_VERB;
    let exe = string(&exe.to_string_lossy());
    let path = |path: &Path| string(&path.to_string_lossy());
    format!(
        r##"# What `mcpd demo` runs. A configuration of your own looks the same; only the times here are shorter than is useful,
# so that there is something to see within seconds.

[daemon]
control_socket = {socket}
state_dir = {state}                      # crash reports
log_dir = {logs}

# Does what it should. Try:  curl http://127.0.0.1:{healthy}/api/health
[service.healthy]
description = "A small MCP server that is well"
exec = [{exe}, "{verb}", "healthy", "{healthy}"]
stop_timeout = "3s"

[service.healthy.health]
http = "http://127.0.0.1:{healthy}/api/health"
expect_json = {{ status = "healthy" }}
interval = "2s"
timeout = "1s"
retries = 3
start_period = "5s"

# Ends with a traceback every few seconds. mcpd keeps its last words, waits a moment longer each time, starts it again.
[service.crashy]
description = "Crashes now and then"
exec = [{exe}, "{verb}", "crashy", "{crashy}"]
stop_timeout = "3s"

[service.crashy.restart]
when = "always"
delay = "1s"
multiplier = 1.5
max_delay = "5s"
max_restarts = 0                             # no limit; with one, it would be parked there, with the reason

[service.crashy.health]
http = "http://127.0.0.1:{crashy}/api/health"
interval = "2s"
timeout = "1s"
start_period = "5s"

# Works for ten seconds, then takes connections and never answers: only a health check can tell that from being busy.
[service.hanging]
description = "Hangs until the health check notices"
exec = [{exe}, "{verb}", "hanging", "{hanging}"]
stop_timeout = "2s"

[service.hanging.restart]
delay = "1s"
max_delay = "5s"
max_restarts = 0

[service.hanging.health]
http = "http://127.0.0.1:{hanging}/api/health"
expect_json = {{ status = "healthy" }}
interval = "1s"
timeout = "1s"
retries = 3
start_period = "2s"
"##,
        socket = path(&control_socket(dir)),
        state = path(&dir.join("state")),
        logs = path(&dir.join("logs")),
        healthy = ports.healthy,
        crashy = ports.crashy,
        hanging = ports.hanging,
    )
}

/// A TOML basic string that no `${VAR}` is looked for in.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '$' => quoted.push_str("$$"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let ports = Ports::pick().unwrap();
        let all = [ports.healthy, ports.crashy, ports.hanging];
        for port in all {
            assert_eq!(all.iter().filter(|&&other| other == port).count(), 1);
            assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        }
    }

    #[test]
    fn the_configuration_is_toml_and_says_what_it_should() {
        let ports = Ports { healthy: 4001, crashy: 4002, hanging: 4003 };
        let exe = Path::new("/opt/a \"b\"\\c$d/mcpd");
        let text = configuration(exe, Path::new("/tmp/demo"), ports);
        let table: toml::Table = text.parse().unwrap();
        let services = table["service"].as_table().unwrap();
        assert_eq!(services.keys().map(String::as_str).collect::<Vec<_>>(), ["crashy", "hanging", "healthy"]);
        for (name, port) in [("healthy", 4001), ("crashy", 4002), ("hanging", 4003)] {
            let exec: Vec<&str> = services[name]["exec"]
                .as_array()
                .unwrap()
                .iter()
                .map(|word| word.as_str().unwrap())
                .collect();
            // `$$` is the configuration's own escape, undone when variables are replaced.
            assert_eq!(exec, ["/opt/a \"b\"\\c$$d/mcpd", super::super::SERVER_VERB, name, &port.to_string()]);
            let url = services[name]["health"]["http"].as_str().unwrap();
            assert_eq!(url, format!("http://127.0.0.1:{port}/api/health"));
        }
        assert_eq!(
            table["daemon"]["state_dir"].as_str().unwrap(),
            Path::new("/tmp/demo").join("state").to_str().unwrap()
        );
    }

    #[test]
    fn strings_are_quoted() {
        assert_eq!(string("a\tb\u{7f}"), "\"a\\u0009b\\u007F\"");
    }
}
