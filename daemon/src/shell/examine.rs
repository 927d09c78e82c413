//! Does the output of a run that failed at once say what it lacked?

use std::sync::Arc;

use mcpd_config::ServiceSpec;
use mcpd_config::spec::{Probe, ReadySpec};
use mcpd_core::{Event, Mono, ServiceId};

use super::Shell;
use super::message::Message;
use super::report::redactor;
use super::take::last_lines;
use crate::crash::lack::{self, Holder, Lack};
use crate::log::Tails;
use crate::spawner::Secrets;
use crate::sys;

impl Shell {
    /// A run that failed as soon as it began may say what it lacks. Finding that out takes reading and looking around,
    /// which is not the loop's business.
    pub(super) fn drained(&mut self, service: ServiceId, generation: u64, tails: Tails) {
        if let Some(examination) = self.keep_tails(service, generation, tails) {
            let outbox = self.outbox.clone();
            let begun = self.workers.run(move || {
                let lack = examination.run();
                // Only while the daemon ends there is nobody to tell.
                let _ = outbox.blocking_send(Message::Examined { service, generation, lack });
            });
            if begun.is_ok() {
                return;
            }
            // Without room for a thread it is a failure like any other.
        }
        self.events.push_back(Event::Drained { service, generation });
    }

    fn keep_tails(&mut self, service: ServiceId, generation: u64, tails: Tails) -> Option<Examination> {
        let entry = self.entries.get_mut(&service)?;
        entry.last_lines = last_lines(&tails.stderr, &tails.stdout);
        let spec = entry.spec.clone();
        let run = entry.run(generation)?;
        let tails = Arc::new(tails);
        run.tails = Some(tails.clone());
        // What the kernel killed lacked memory and nothing else.
        let code = run.exit.as_ref().filter(|exit| !exit.oom)?.code.filter(|&code| code != 0)?;
        let soon = Mono(sys::monotonic_ns()).since(run.began) <= lack::SOON;
        soon.then(|| Examination { spec, secrets: run.secrets.clone(), code, tails })
    }

    pub(super) fn examined(&mut self, service: ServiceId, generation: u64, lack: Option<Lack>) {
        if let Some(entry) = self.entries.get_mut(&service).filter(|_| lack.is_some())
            && entry.run(generation).is_some()
        {
            entry.lack = lack;
            self.events.push_back(Event::Lacks { service, generation });
        }
        self.events.push_back(Event::Drained { service, generation });
    }
}

/// A run that ended with `code`, to be examined for what it lacked.
struct Examination {
    spec: Arc<ServiceSpec>,
    secrets: Secrets,
    code: i32,
    tails: Arc<Tails>,
}

impl Examination {
    /// What it lacked, without its secrets. A port that is held by something of the service itself is not lacking: that
    /// goes before the next start, or has outlived another mcpd.
    fn run(self) -> Option<Lack> {
        let Self { spec, secrets, code, tails } = self;
        let usual_ports = usual_ports(&spec);
        let holder = |port| {
            let found =
                sys::port_holder(port).filter(|found| found.service.as_deref() != Some(&spec.name))?;
            Some(Holder { pid: found.pid, name: found.name })
        };
        match lack::lack(code, &tails.stderr, &tails.stdout, &usual_ports, holder)? {
            Lack::Thing(words) => {
                Some(Lack::Thing(redactor(&spec, Some(&secrets)).text(&words).into_owned()))
            }
            port @ Lack::Port(..) => Some(port),
        }
    }
}

/// The ports that it is likely to listen on: where it is asked whether it is well or ready, then the numbers in its command
/// and in variables that are called so.
fn usual_ports(spec: &ServiceSpec) -> Vec<u16> {
    let ready = match &spec.ready {
        Some(ReadySpec::Probe { probe, .. }) => Some(probe),
        Some(ReadySpec::Log { .. } | ReadySpec::Notify) | None => None,
    };
    let probes = spec.health.iter().map(|health| &health.probe).chain(ready);
    let asked = probes.filter_map(|probe| match probe {
        Probe::Http(http) => http.url.parse::<ureq::http::Uri>().ok()?.port_u16(),
        Probe::Tcp { address } => address.rsplit_once(':')?.1.parse().ok(),
        Probe::Exec { .. } => None,
    });
    // `8000`, `--port=8000`, `127.0.0.1:8000`; a small number alone is likely to be something else.
    let number = |word: &str| word.rsplit([':', '=']).next()?.parse::<u16>().ok().filter(|&port| port != 0);
    let plain = |port: u16, words: &[String]| {
        port >= 1024 || words[1].contains(':') || words.iter().any(|word| word.contains("port"))
    };
    let told = spec.exec.windows(2).filter_map(|pair| number(&pair[1]).filter(|&port| plain(port, pair)));
    let named = spec.environment.iter().filter(|(name, _)| *name == "PORT" || name.ends_with("_PORT"));
    asked.chain(told).chain(named.filter_map(|(_, value)| number(value))).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_service_is_likely_to_listen_where_it_is_asked_and_told_to() {
        let toml = r#"
            [service.a]
            exec = ["app", "--workers", "16", "--port", "80", "--bind=[::]:443", "8000", "x:y"]
            environment = { HTTP_PORT = "9000", WORKERS = "4000" }
            ready.http = "http://127.0.0.1:7000/ready"
            health.tcp = "127.0.0.1:7001"
        "#;
        let environment = mcpd_config::Environment::from_process();
        let loaded = mcpd_config::load_text(Path::new("mcpd.toml"), toml, &environment);
        let loaded = loaded.expect("a configuration");
        assert_eq!(usual_ports(&loaded.config.services["a"]), [7001, 7000, 80, 443, 8000, 9000]);
    }
}
