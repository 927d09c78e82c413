//! What does an exit code mean? By who gives it: shells, launchers, interpreters and systemd have conventions of their own.

use super::reason::shells_signal;

/// What gives the code, as far as its command tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giver {
    Shell,
    Python,
    Gunicorn,
    Uvicorn,
    Node,
    Java,
    Container,
    Timeout,
    /// `env`, `nohup` and such: they run another program, and have three codes of their own.
    Launcher,
    Systemd,
    Ssh,
    Other,
}

/// The meaning of a code that a program gave, in a few words; `None` when there is nothing to say but the number. `None` for
/// the codes that stand for a signal, too: those have words of their own.
#[must_use]
pub fn of(command: &[String], code: i32) -> Option<&'static str> {
    let giver = giver(command);
    let own = match (giver, code) {
        (Giver::Shell, 2) => Some("wrong syntax, or a builtin used wrongly"),
        (Giver::Python, 2) => Some("Python: wrong arguments, or no such script"),
        (Giver::Python, 120) => Some("Python: its last output could not be written"),
        (Giver::Gunicorn, 3) => Some("gunicorn: a worker failed to boot"),
        (Giver::Gunicorn, 4) => Some("gunicorn: the application could not be loaded"),
        (Giver::Uvicorn, 3) => Some("uvicorn: the application failed to start"),
        (Giver::Node, code) => node(code),
        (Giver::Java, 3) => Some("Java: out of memory, as -XX:+ExitOnOutOfMemoryError asks"),
        (Giver::Container, 125) => Some("the container could not be started"),
        (Giver::Container, 126) => Some("the command in the container cannot be executed"),
        (Giver::Container, 127) => Some("the command is not in the container"),
        (Giver::Timeout, 124) => Some("timed out"),
        (Giver::Timeout | Giver::Launcher, 125) => Some("the launcher itself failed"),
        (Giver::Ssh, 255) => Some("ssh: no connection"),
        _ => None,
    };
    own.or_else(|| general(giver, code))
}

fn general(giver: Giver, code: i32) -> Option<&'static str> {
    match code {
        126 => Some("command cannot be executed"),
        127 => Some("command not found"),
        64..=78 => SYSEXITS.iter().find(|(number, _)| *number == code).map(|(_, meaning)| *meaning),
        101 if giver == Giver::Other => Some("as a Rust program ends by a panic"),
        // From 200 on these are systemd's own steps before the program; of another program they may be anything.
        200..=243 if shells_signal(code).is_none() && matches!(giver, Giver::Systemd | Giver::Other) => {
            SYSTEMD.iter().find(|(number, _)| *number == code).map(|(_, meaning)| *meaning)
        }
        _ => None,
    }
}

/// `https://nodejs.org/api/process.html#exit-codes`; 1 says no more than what it prints.
fn node(code: i32) -> Option<&'static str> {
    Some(match code {
        3 => "Node: it could not parse its own JavaScript",
        4 => "Node: it could not evaluate its own JavaScript",
        5 => "Node: a fatal error in V8",
        6 => "Node: its handler for uncaught exceptions is no function",
        7 => "Node: its handler for uncaught exceptions failed",
        9 => "Node: a wrong option",
        10 => "Node: its own JavaScript failed at the start",
        12 => "Node: a wrong or taken debugging port",
        13 => "Node: a top-level await was never settled",
        14 => "Node: the snapshot could not be built",
        _ => return None,
    })
}

/// Who runs: by the name of the program, of a module behind `python -m` by that.
fn giver(command: &[String]) -> Giver {
    let Some(program) = command.first() else { return Giver::Other };
    let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = name.strip_suffix(".exe").unwrap_or(name);
    let module = command.windows(2).find(|pair| pair[0] == "-m").map(|pair| pair[1].as_str());
    // `python3.12`, `node20`
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    match bare {
        "python" | "pypy" | "pythonw" => match module {
            Some("gunicorn") => Giver::Gunicorn,
            Some("uvicorn") => Giver::Uvicorn,
            _ => Giver::Python,
        },
        "uv" | "uvx" | "pipx" | "poetry" | "pdm" | "hatch" => Giver::Python,
        "gunicorn" => Giver::Gunicorn,
        "uvicorn" => Giver::Uvicorn,
        "node" | "nodejs" | "npx" | "npm" | "yarn" | "pnpm" | "tsx" | "ts-node" => Giver::Node,
        "java" => Giver::Java,
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash" | "busybox" => Giver::Shell,
        "docker" | "podman" | "nerdctl" => Giver::Container,
        "timeout" => Giver::Timeout,
        "env" | "nohup" | "nice" | "chroot" | "setsid" | "stdbuf" | "runuser" | "xargs" | "unshare" => {
            Giver::Launcher
        }
        "ssh" => Giver::Ssh,
        name if name.starts_with("systemd") => Giver::Systemd,
        _ => Giver::Other,
    }
}

/// `sysexits.h(3head)`
const SYSEXITS: &[(i32, &str)] = &[
    (64, "EX_USAGE: wrong usage"),
    (65, "EX_DATAERR: wrong input data"),
    (66, "EX_NOINPUT: no input"),
    (67, "EX_NOUSER: no such user"),
    (68, "EX_NOHOST: no such host"),
    (69, "EX_UNAVAILABLE: a service is unavailable"),
    (70, "EX_SOFTWARE: an internal error"),
    (71, "EX_OSERR: an error of the system"),
    (72, "EX_OSFILE: a file of the system is missing"),
    (73, "EX_CANTCREAT: an output file cannot be made"),
    (74, "EX_IOERR: an input or output error"),
    (75, "EX_TEMPFAIL: a passing failure"),
    (76, "EX_PROTOCOL: a remote error of protocol"),
    (77, "EX_NOPERM: no permission"),
    (78, "EX_CONFIG: wrong configuration"),
];

/// `systemd.exec(5)`, "Process Exit Codes".
const SYSTEMD: &[(i32, &str)] = &[
    (200, "systemd's CHDIR: no working directory"),
    (201, "systemd's NICE: no nice value"),
    (202, "systemd's FDS: no file descriptors"),
    (203, "systemd's EXEC: the program could not be executed"),
    (204, "systemd's MEMORY: no memory"),
    (205, "systemd's LIMITS: no resource limits"),
    (206, "systemd's OOM_ADJUST"),
    (207, "systemd's SIGNAL_MASK"),
    (208, "systemd's STDIN: no standard input"),
    (209, "systemd's STDOUT: no standard output"),
    (210, "systemd's CHROOT: no root directory"),
    (211, "systemd's IOPRIO"),
    (212, "systemd's TIMERSLACK"),
    (213, "systemd's SECUREBITS"),
    (214, "systemd's SETSCHEDULER"),
    (215, "systemd's CPUAFFINITY"),
    (216, "systemd's GROUP: no such group"),
    (217, "systemd's USER: no such user"),
    (218, "systemd's CAPABILITIES"),
    (219, "systemd's CGROUP: no cgroup"),
    (220, "systemd's SETSID"),
    (221, "systemd's CONFIRM"),
    (222, "systemd's STDERR: no standard error"),
    (224, "systemd's PAM: no PAM session"),
    (225, "systemd's NETWORK: no network namespace"),
    (226, "systemd's NAMESPACE: no mount namespace"),
    (227, "systemd's NO_NEW_PRIVILEGES"),
    (228, "systemd's SECCOMP"),
    (229, "systemd's SELINUX_CONTEXT"),
    (230, "systemd's PERSONALITY"),
    (231, "systemd's APPARMOR"),
    (232, "systemd's ADDRESS_FAMILIES"),
    (233, "systemd's RUNTIME_DIRECTORY"),
    (235, "systemd's CHOWN"),
    (236, "systemd's SMACK_PROCESS_LABEL"),
    (237, "systemd's KEYRING"),
    (238, "systemd's STATE_DIRECTORY"),
    (239, "systemd's CACHE_DIRECTORY"),
    (240, "systemd's LOGS_DIRECTORY"),
    (241, "systemd's CONFIGURATION_DIRECTORY"),
    (242, "systemd's NUMA_POLICY"),
    (243, "systemd's CREDENTIALS"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_means_what_its_giver_says() {
        for (command, code, meaning) in [
            ("sh -c x", 127, Some("command not found")),
            ("sh -c x", 126, Some("command cannot be executed")),
            ("/bin/bash run.sh", 2, Some("wrong syntax, or a builtin used wrongly")),
            ("python3.12 main.py", 1, None),
            ("python3.12 main.py", 2, Some("Python: wrong arguments, or no such script")),
            ("/venv/bin/python main.py", 120, Some("Python: its last output could not be written")),
            ("python -m uvicorn app:app", 3, Some("uvicorn: the application failed to start")),
            ("/venv/bin/gunicorn app", 4, Some("gunicorn: the application could not be loaded")),
            ("/usr/bin/node server.js", 13, Some("Node: a top-level await was never settled")),
            ("npx server", 9, Some("Node: a wrong option")),
            ("/opt/srv", 9, None),
            ("/opt/srv", 101, Some("as a Rust program ends by a panic")),
            ("node x", 101, None),
            ("/opt/srv", 78, Some("EX_CONFIG: wrong configuration")),
            ("/opt/srv", 64, Some("EX_USAGE: wrong usage")),
            ("systemd-run x", 203, Some("systemd's EXEC: the program could not be executed")),
            ("/opt/srv", 217, Some("systemd's USER: no such user")),
            ("python main.py", 217, None),
            ("docker run x", 125, Some("the container could not be started")),
            ("docker run x", 127, Some("the command is not in the container")),
            ("timeout 5 srv", 124, Some("timed out")),
            ("env X=1 srv", 125, Some("the launcher itself failed")),
            ("/opt/srv", 125, None),
            ("ssh host", 255, Some("ssh: no connection")),
            ("/opt/srv", 1, None),
            ("", 1, None),
        ] {
            let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!(of(&words, code), meaning, "{command}: {code}");
        }
    }
}
