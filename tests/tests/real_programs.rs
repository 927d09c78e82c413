//! Programs that the world runs, as services: they are ready when they say so, and nothing of their trees is left,
//! however a life ends. With cgroups, where mcpd may have some, and without.
//!
//! Redis, PostgreSQL, nginx, gunicorn and npm are found on `PATH`, or `MCPD_TEST_REDIS`, `MCPD_TEST_POSTGRES`,
//! `MCPD_TEST_NGINX` and `MCPD_TEST_GUNICORN` name the programs and `MCPD_TEST_LIBRARIES` a directory of libraries that
//! they need. What would ask the network needs more: `MCPD_TEST_UVX` names `uvx`, `MCPD_TEST_NPX_CACHE` a cache of
//! npm's that has `@modelcontextprotocol/server-everything`. What is absent is skipped, and that is said aloud;
//! `.ci/run` brings all of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcpd_tests::proto::crash::CrashKind;
use mcpd_tests::proto::status::State;
use mcpd_tests::wait::{stretched, wait_until};
use mcpd_tests::{Daemon, Sandbox, processes};
use rustix::process::Signal;

/// Postgres recovers, Node and Python start, while everything else runs beside them.
const START: Duration = Duration::from_secs(60);

/// Past the capture of a test's output: a skipped test passes, and that has to be seen.
fn skip(why: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes());
}

/// What `variable` names, or `name` on `PATH`.
fn program(variable: &str, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::var_os(variable).map(PathBuf::from).or_else(|| {
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|it| it.is_file())
    });
    if found.is_none() {
        skip(&format!("{name} is not installed and {variable} is not set: it is not tested as a service"));
    }
    found
}

/// Built to talk to a service manager, as Debian's packages are.
fn talks_to_systemd(program: &Path) -> bool {
    let talks = fs::read(program).unwrap().windows(13).any(|bytes| bytes == b"libsystemd.so");
    if !talks {
        skip(&format!("{} is built without libsystemd: it never says READY=1", program.display()));
    }
    talks
}

/// For TOML's `environment`: libraries beside a program that is not installed.
fn libraries() -> String {
    let libraries = std::env::var("MCPD_TEST_LIBRARIES");
    libraries.map_or(String::new(), |directory| format!("LD_LIBRARY_PATH = \"{directory}\""))
}

/// One process, for good: a number alone may mean another one later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct One {
    pid: u32,
    started: String,
    name: String,
}

fn one(pid: u32) -> Option<One> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    // proc(5): the state is field 3, the start is field 22.
    (fields[0] != "Z").then(|| One { pid, started: fields[19].to_owned(), name: name.to_owned() })
}

/// Whatever lives below mcpd. Where a program writes over its environment, as PostgreSQL does, there is no other mark.
fn tree(daemon: &Daemon<'_>) -> BTreeSet<One> {
    let all = processes::all();
    let mut below = BTreeSet::from([daemon.pid()]);
    loop {
        let count = below.len();
        below.extend(
            all.iter()
                .filter(|process| below.contains(&process.parent))
                .map(|process| process.pid)
                .collect::<Vec<_>>(),
        );
        if below.len() == count {
            break;
        }
    }
    below.remove(&daemon.pid());
    below.into_iter().filter_map(one).collect()
}

#[track_caller]
fn none_lives(of: &BTreeSet<One>, what: &str) {
    let left: Vec<_> = of.iter().filter(|process| one(process.pid).as_ref() == Some(process)).collect();
    assert!(left.is_empty(), "{what}: {left:?} of {of:?}");
}

/// A program as a service.
struct Program<'a> {
    sandbox: &'a Sandbox,
    name: &'a str,
    /// It does what it is for.
    answers: &'a dyn Fn() -> bool,
    /// Of so many processes at least, once it answers.
    processes: usize,
}

impl Program<'_> {
    /// Up by what it says or answers itself, and whole.
    fn up(&self, daemon: &Daemon<'_>, generation: u64) -> BTreeSet<One> {
        wait_until(stretched(START), &format!("{}, start {generation}", self.name), || {
            let now = daemon.status(self.name);
            let up = now.state == State::Up && now.generation == generation;
            if up { Ok(()) } else { Err(format!("{now:#?}\n{:#?}", daemon.reports(self.name))) }
        });
        // Ready means that it answers now, not a moment later.
        assert!((self.answers)(), "{} is up and does not answer", self.name);
        wait_until(stretched(START), "the whole tree", || {
            let tree = tree(daemon);
            if tree.len() >= self.processes { Ok(tree) } else { Err(tree) }
        })
    }

    /// "each stops with zero processes left, at stop, at restart, at mcpd's end, and when mcpd itself is killed with
    /// SIGKILL and started again"
    fn whole_life(&self, start: Start) {
        let Self { sandbox, name, .. } = self;
        let Some(daemon) = start(sandbox) else { return };
        let first = self.up(&daemon, 1);
        let _ = daemon.ctl(&["stop", name]).expect(0);
        none_lives(&first, "after stop");
        assert!(tree(&daemon).is_empty(), "after stop: {:?}", tree(&daemon));
        assert!(!(self.answers)());

        let _ = daemon.ctl(&["start", name]).expect(0);
        let second = self.up(&daemon, 2);
        let _ = daemon.ctl(&["restart", name]).expect(0);
        none_lives(&second, "after restart");
        let third = self.up(&daemon, 3);
        assert!(daemon.reports(name).is_empty(), "{:#?}", daemon.reports(name));

        let main = daemon.pid_of(name);
        processes::signal(main, Signal::KILL);
        self.up(&daemon, 4);
        none_lives(&third, "after the main process was killed");
        let reports = daemon.reports(name);
        assert_eq!(reports.len(), 1, "{reports:#?}");
        let report = &reports[0];
        assert_eq!((report.kind, report.signal.as_deref()), (CrashKind::Signal, Some("SIGKILL")));
        assert_eq!(report.pid, Some(main));

        let old = self.up(&daemon, 4);
        daemon.kill_alone();
        let mut next = start(sandbox).unwrap();
        let new = self.up(&next, 1);
        none_lives(&old, "of the life before");
        let marked: BTreeSet<u32> =
            processes::marked(sandbox.mark()).iter().map(|process| process.pid).collect();
        let known: BTreeSet<u32> =
            tree(&next).into_iter().chain(new.clone()).map(|process| process.pid).collect();
        let beside: Vec<&u32> =
            marked.iter().filter(|&pid| !next.own_pids().contains(pid) && !known.contains(pid)).collect();
        assert!(
            beside.iter().all(|&&pid| !processes::lives(pid)),
            "a second copy: {beside:?} beside {known:?}"
        );

        let last = tree(&next);
        next.signal(Signal::TERM);
        assert!(next.wait_end().success());
        none_lives(&last, "after mcpd's end");
        none_lives(&new, "after mcpd's end");
        assert!(!(self.answers)());
    }
}

/// With cgroups, where mcpd may have some, or without.
type Start = for<'s> fn(&'s Sandbox) -> Option<Daemon<'s>>;
const BOTH: [Start; 2] = [|sandbox| Some(sandbox.start()), |sandbox| Daemon::without_cgroups(sandbox)];

/// What a server sends back: the first `bytes` of it, or all of it.
fn ask(address: SocketAddr, question: &[u8], bytes: u64) -> Vec<u8> {
    let limit = stretched(Duration::from_secs(10));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) else { return Vec::new() };
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut answer = Vec::new();
    // What came before an error is the answer.
    let _ = stream.write_all(question).and_then(|()| stream.take(bytes).read_to_end(&mut answer));
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    String::from_utf8_lossy(&ask(address, request.as_bytes(), 65536)).into_owned()
}

#[test]
fn redis_says_that_it_is_ready() {
    let Some(redis) = program("MCPD_TEST_REDIS", "redis-server") else { return };
    if !talks_to_systemd(&redis) {
        return;
    }
    for start in BOTH {
        let sandbox = Sandbox::new("");
        let address = sandbox.address();
        sandbox.configure(&format!(
            r#"
            [service.redis]
            type = "notify"
            exec = ["{}", "--supervised", "systemd", "--bind", "{}", "--port", "{}", "--dir", "@dir", "--save", ""]
            environment = {{ {} }}
            restart = {{ delay = "10ms" }}
            "#,
            redis.display(),
            address.ip(),
            address.port(),
            libraries(),
        ));
        let answers = || ask(address, b"PING\r\n", 7) == b"+PONG\r\n";
        Program { sandbox: &sandbox, name: "redis", answers: &answers, processes: 1 }.whole_life(start);
    }
}

/// Whom PostgreSQL runs as: it refuses to be root. Number and group, of `postgres` or else of `nobody`.
fn unprivileged() -> Option<(String, u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = |name: &str| passwd.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
    let (name, line) = ["postgres", "nobody"].iter().find_map(|name| Some((*name, line(name)?))).unwrap();
    let mut fields = line.split(':').skip(1).map(|field| field.parse().unwrap_or(0));
    Some((name.to_owned(), fields.next().unwrap(), fields.next().unwrap()))
}

/// Its processes write their titles over their environment and have sessions of their own; the shared memory that the
/// last of them holds keeps another server out.
#[test]
fn postgresql_says_that_it_is_ready_and_runs_as_its_user() {
    let Some(postgres) = program("MCPD_TEST_POSTGRES", "postgres") else { return };
    if !talks_to_systemd(&postgres) {
        return;
    }
    let postgres = postgres.canonicalize().unwrap();
    for start in BOTH {
        let sandbox = Sandbox::new("");
        // The server goes through it to its data, and to mcpd's notification socket.
        fs::set_permissions(sandbox.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        let (address, data) = (sandbox.address(), sandbox.path("data"));
        fs::create_dir(&data).unwrap();
        let mut init = sandbox.command(&postgres.with_file_name("initdb"));
        init.args(["-A", "trust", "-U", "postgres", "--locale=C", "--no-sync", "-D"]).arg(&data);
        if let Ok(libraries) = std::env::var("MCPD_TEST_LIBRARIES") {
            init.env("LD_LIBRARY_PATH", libraries);
        }
        let mut user = String::new();
        if let Some((name, uid, gid)) = unprivileged() {
            chown(&data, Some(uid), Some(gid)).unwrap();
            init.uid(uid).gid(gid);
            user = format!("user = \"{name}\"");
        }
        let made = init.stderr(fs::File::create(sandbox.path("initdb")).unwrap()).status().unwrap();
        assert!(made.success(), "{}", fs::read_to_string(sandbox.path("initdb")).unwrap());
        sandbox.configure(&format!(
            r#"
            [service.postgres]
            type = "notify"
            exec = ["{}", "-D", "@dir/data", "-h", "{}", "-p", "{}", "-k", "", "-c", "fsync=off"]
            environment = {{ {} }}
            {user}
            # Its fast shutdown: SIGTERM would wait for its clients.
            stop_signal = "SIGINT"
            restart = {{ delay = "10ms" }}
            "#,
            postgres.display(),
            address.ip(),
            address.port(),
            libraries(),
        ));
        // It asks for encryption, which is refused or not, by a server that works.
        let answers = || matches!(&ask(address, &[0, 0, 0, 8, 4, 210, 22, 47], 1)[..], b"N" | b"S");
        Program { sandbox: &sandbox, name: "postgres", answers: &answers, processes: 5 }.whole_life(start);
    }
}

/// Its configuration, where everything that it writes is the sandbox's.
fn nginx_conf(sandbox: &Sandbox, address: SocketAddr, says: &str) {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|what| format!("{what}_temp_path @dir/{what};"));
    let root = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    sandbox.write(
        "nginx.conf",
        &format!(
            "daemon off; worker_processes 2; pid @dir/nginx.pid; error_log stderr; {root}
             events {{}}
             http {{
                 access_log off; {}
                 server {{ listen {address}; location / {{ return 200 \"{says}\"; }} }}
             }}",
            temporary.concat()
        ),
    );
}

fn nginx(nginx: &Path, sandbox: &Sandbox, address: SocketAddr, more: &str) {
    sandbox.configure(&format!(
        r#"
        [service.nginx]
        exec = ["{}", "-e", "stderr", "-p", "@dir", "-c", "@dir/nginx.conf"]
        environment = {{ {} }}
        restart = {{ delay = "10ms" }}
        {more}
        [service.nginx.ready]
        http = "http://{address}/"
        "#,
        nginx.display(),
        libraries(),
    ));
}

/// When the master is killed, its workers go on and hold the port.
#[test]
fn nginx_takes_its_workers_with_it() {
    let Some(program) = program("MCPD_TEST_NGINX", "nginx") else { return };
    for start in BOTH {
        let sandbox = Sandbox::new("");
        let address = sandbox.address();
        nginx_conf(&sandbox, address, "one");
        nginx(&program, &sandbox, address, "");
        let answers = || get(address, "/").ends_with("one");
        Program { sandbox: &sandbox, name: "nginx", answers: &answers, processes: 3 }.whole_life(start);
    }
}

/// `exec_reload`: new workers with the new configuration, the master as it was; a configuration that nginx refuses
/// changes nothing.
#[test]
fn nginx_reloads_with_the_master_as_it_was() {
    let Some(program) = program("MCPD_TEST_NGINX", "nginx") else { return };
    let sandbox = Sandbox::new("");
    let address = sandbox.address();
    nginx_conf(&sandbox, address, "one");
    let check = format!(
        "[\"{}\", \"-e\", \"stderr\", \"-p\", \"@dir\", \"-c\", \"@dir/nginx.conf\", \"-t\"]",
        program.display()
    );
    nginx(
        &program,
        &sandbox,
        address,
        &format!("exec_reload = [{check}, [\"/bin/kill\", \"-HUP\", \"$MAINPID\"]]"),
    );
    let answers = |what: &str| get(address, "/").ends_with(what);
    let one = || answers("one");
    let service = Program { sandbox: &sandbox, name: "nginx", answers: &one, processes: 3 };
    let daemon = sandbox.start();
    let before = service.up(&daemon, 1);
    let master = daemon.pid_of("nginx");

    fs::write(sandbox.path("nginx.conf"), "nonsense;").unwrap();
    let refused = daemon.ctl(&["reload", "nginx"]).expect(1);
    assert!(refused.all().contains("nginx.conf test failed"), "{}", refused.all());
    assert_eq!(tree(&daemon), before);

    nginx_conf(&sandbox, address, "two");
    let _ = daemon.ctl(&["reload", "nginx"]).expect(0);
    // The command has sent a signal: the master takes its time.
    wait_until(stretched(START), "new workers alone", || {
        let now = tree(&daemon);
        let workers = now.intersection(&before).all(|process| process.pid == master) && now.len() == 3;
        if workers && answers("two") { Ok(()) } else { Err(now) }
    });
    let now = daemon.status("nginx");
    assert_eq!((now.pid, now.generation, now.state), (Some(master), 1, State::Up));
    assert!(daemon.reports("nginx").is_empty());
}

/// Its workers see a second later that the master was killed, and serve until then.
#[test]
fn gunicorn_takes_its_workers_with_it() {
    let Some(gunicorn) = program("MCPD_TEST_GUNICORN", "gunicorn") else { return };
    for start in BOTH {
        let sandbox = Sandbox::new("");
        let address = sandbox.address();
        sandbox.write(
            "app.py",
            "def app(environ, start):\n    start('200 OK', [('Content-Type', 'text/plain')])\n    return [b'works']\n",
        );
        sandbox.configure(&format!(
            r#"
            [service.gunicorn]
            type = "notify"
            exec = ["{}", "--workers", "3", "--bind", "{address}", "--worker-tmp-dir", "@dir", "app:app"]
            working_directory = "@dir"
            restart = {{ delay = "10ms" }}
            "#,
            gunicorn.display(),
        ));
        // It says READY=1 with its socket open: who asks before a worker is there waits for one.
        let answers = || get(address, "/").ends_with("works");
        Program { sandbox: &sandbox, name: "gunicorn", answers: &answers, processes: 4 }.whole_life(start);
    }
}

/// npm, a shell, the program.
#[test]
fn npm_run_takes_the_program_with_it() {
    let Some(npm) = program("MCPD_TEST_NPM", "npm") else { return };
    for start in BOTH {
        let sandbox = Sandbox::new("");
        let address = sandbox.address();
        sandbox.write(
            "package.json",
            r#"{ "name": "it", "version": "1.0.0", "scripts": { "serve": "node server.js; true" } }"#,
        );
        sandbox.write(
            "server.js",
            &format!(
                "require('http').createServer((_, answer) => answer.end('works')).listen({}, '{}')",
                address.port(),
                address.ip()
            ),
        );
        sandbox.configure(&format!(
            r#"
            [service.npm]
            exec = ["{}", "run", "--no-update-notifier", "serve"]
            working_directory = "@dir"
            environment = {{ npm_config_cache = "@dir/npm" }}
            restart = {{ delay = "10ms" }}
            [service.npm.ready]
            http = "http://{address}/"
            "#,
            npm.display(),
        ));
        let answers = || get(address, "/").ends_with("works");
        Program { sandbox: &sandbox, name: "npm", answers: &answers, processes: 3 }.whole_life(start);
    }
}

/// npx, a shell, the reference server.
#[test]
fn npx_takes_the_reference_server_with_it() {
    let Some(npx) = program("MCPD_TEST_NPX", "npx") else { return };
    let Ok(cache) = std::env::var("MCPD_TEST_NPX_CACHE") else {
        return skip("MCPD_TEST_NPX_CACHE is not set: no server is started by npx");
    };
    for start in BOTH {
        let sandbox = Sandbox::new("");
        let address = SocketAddr::from(([127, 0, 0, 1], sandbox.port_everywhere()));
        sandbox.configure(&format!(
            r#"
            [service.everything]
            exec = ["{}", "-y", "@modelcontextprotocol/server-everything", "streamableHttp"]
            working_directory = "@dir"
            environment = {{ npm_config_cache = "{cache}", npm_config_prefer_offline = "true", PORT = "{}" }}
            start_timeout = "5m"
            restart = {{ delay = "10ms" }}
            [service.everything.ready]
            # It has no health page; a GET without a session is refused with 400, by the server itself.
            http = "http://{address}/mcp"
            expect_status = [400]
            "#,
            npx.display(),
            address.port(),
        ));
        let answers = || get(address, "/mcp").starts_with("HTTP/1.1 400");
        Program { sandbox: &sandbox, name: "everything", answers: &answers, processes: 3 }.whole_life(start);
    }
}

/// uvx, which stays, and the Python below it.
#[test]
fn uvx_takes_the_python_server_with_it() {
    let Ok(uvx) = std::env::var("MCPD_TEST_UVX") else {
        return skip("MCPD_TEST_UVX is not set: no server is started by uvx");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("real/studio.py");
    for start in BOTH {
        let sandbox = Sandbox::new("");
        let address = sandbox.address();
        sandbox.configure(&format!(
            r#"
            [service.studio]
            exec = ["{uvx}", "--offline", "--from", "mcp", "--with", "uvicorn", "python", "{}", "{}", "{}"]
            start_timeout = "5m"
            restart = {{ delay = "10ms" }}
            [service.studio.ready]
            http = "http://{address}/api/health"
            expect_json = {{ status = "healthy" }}
            "#,
            script.display(),
            address.ip(),
            address.port(),
        ));
        let answers = || get(address, "/api/health").contains("healthy");
        Program { sandbox: &sandbox, name: "studio", answers: &answers, processes: 2 }.whole_life(start);
    }
}
