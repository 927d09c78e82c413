//! The platform seam of Windows against real processes.
//!
//! The program starts itself in several roles, see [`role`], so it has its own `main` instead of the usual harness: the
//! helper that sends CTRL+C is one of the roles.
#![allow(clippy::unwrap_used)]

#[cfg(not(windows))]
fn main() {}

#[cfg(windows)]
fn main() {
    windows::main();
}

#[cfg(windows)]
mod windows {
    use std::ffi::OsString;
    use std::io::{Read, Write};
    use std::path::PathBuf;
    use std::sync::mpsc::{self, Receiver};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use mcpd::sys::{
        self, CTRL_C_ARGUMENT, Children, Collected, Exit, Key, LogPipe, Output, RUN_ID_VARIABLE, SpawnPlan,
        SpawnStep, Spawned, Whom,
    };
    use mio::{Events, Interest, Poll, Token};

    const SIGHUP: i32 = 1;
    const SIGKILL: i32 = 9;
    const SIGTERM: i32 = 15;

    /// No wait of a test is longer; none comes near it unless something is broken.
    const BOUND: Duration = Duration::from_secs(60);
    /// A role that only waits ends by itself after this, so that a failed test leaves nothing for long.
    const LINGER: Duration = Duration::from_secs(300);

    type Test = (&'static str, fn());

    const TESTS: &[Test] = &[
        ("an_exit_code_is_reported_once", an_exit_code_is_reported_once),
        ("a_crash_code_is_reported_as_it_is", a_crash_code_is_reported_as_it_is),
        ("output_comes_through_the_pipes", output_comes_through_the_pipes),
        ("more_output_than_a_pipe_holds_is_not_lost", more_output_than_a_pipe_holds_is_not_lost),
        (
            "stdin_environment_and_directory_are_those_of_the_plan",
            stdin_environment_and_directory_are_those_of_the_plan,
        ),
        ("ctrl_c_reaches_a_program_that_handles_it", ctrl_c_reaches_a_program_that_handles_it),
        ("ctrl_c_ends_a_program_that_does_not", ctrl_c_ends_a_program_that_does_not),
        (
            "terminating_the_main_process_is_told_from_an_exit",
            terminating_the_main_process_is_told_from_an_exit,
        ),
        ("terminating_the_group_ends_the_whole_tree", terminating_the_group_ends_the_whole_tree),
        (
            "what_outlives_the_main_process_is_counted_and_ended",
            what_outlives_the_main_process_is_counted_and_ended,
        ),
        ("a_process_that_is_not_adopted_ends", a_process_that_is_not_adopted_ends),
        (
            "forty_started_by_four_threads_are_each_reported_once",
            forty_started_by_four_threads_are_each_reported_once,
        ),
        ("what_cannot_start_names_the_step_and_the_cause", what_cannot_start_names_the_step_and_the_cause),
        ("the_last_resort_ends_all", the_last_resort_ends_all),
        ("an_unknown_signal_is_refused", an_unknown_signal_is_refused),
        ("the_machine_has_a_name_and_a_clock", the_machine_has_a_name_and_a_clock),
    ];

    pub(super) fn main() {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words.as_slice() {
            [CTRL_C_ARGUMENT, pid] => std::process::exit(sys::ctrl_c_helper(pid.parse().unwrap())),
            ["role", role @ ..] => self::role(role),
            filters => {
                // Flags of the usual harness may come along; only names are understood.
                let filters: Vec<&&str> = filters.iter().filter(|word| !word.starts_with('-')).collect();
                for (name, test) in TESTS {
                    if filters.is_empty() || filters.iter().any(|filter| name.contains(**filter)) {
                        print!("test {name} ... ");
                        std::io::stdout().flush().unwrap();
                        let start = Instant::now();
                        test();
                        println!("ok ({:?})", start.elapsed());
                    }
                }
            }
        }
    }

    /// What this program does under supervision.
    fn role(words: &[&str]) {
        match words {
            ["exit", code] => std::process::exit(code.parse().unwrap()),
            ["say"] => {
                println!("out");
                eprintln!("err");
                println!("out again");
            }
            ["flood", bytes] => {
                let line = [b'x'; 1024];
                for _ in 0..bytes.parse::<usize>().unwrap() / line.len() {
                    std::io::stdout().write_all(&line).unwrap();
                }
            }
            ["describe"] => {
                let mut input = Vec::new();
                let read = std::io::stdin().read_to_end(&mut input).unwrap();
                println!("stdin {read}");
                println!("directory {}", std::env::current_dir().unwrap().display());
                for (name, value) in std::env::vars() {
                    println!("{name}={value}");
                }
            }
            ["wait"] => {
                println!("up");
                std::thread::sleep(LINGER);
            }
            // Ends with 42 on CTRL+C.
            ["handle"] => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut ctrl_c = tokio::signal::windows::ctrl_c().unwrap();
                    println!("up");
                    tokio::select! {
                        _ = ctrl_c.recv() => std::process::exit(42),
                        () = tokio::time::sleep(LINGER) => (),
                    }
                });
            }
            // Starts one that waits, and ends or waits itself.
            ["tree", then] => {
                // Dropping the handle does not end it.
                let child = std::process::Command::new(std::env::current_exe().unwrap())
                    .args(["role", "wait"])
                    .spawn();
                drop(child.unwrap());
                if *then == "wait" {
                    std::thread::sleep(LINGER);
                }
            }
            _ => panic!("no such role: {words:?}"),
        }
    }

    /// The children of this program, and word of the waker.
    struct Lab {
        children: Children,
        woken: Receiver<()>,
        found: Vec<Collected>,
    }

    impl Lab {
        fn new() -> Self {
            let (wake, woken) = mpsc::channel();
            let wake = Mutex::new(wake);
            let wake = Arc::new(move || {
                // The test may be over.
                let _ = wake.lock().unwrap().send(());
            });
            Self { children: Children::new(wake).unwrap(), woken, found: Vec::new() }
        }

        fn start(&mut self, key: Key, plan: &SpawnPlan) -> Started {
            let Spawned { process, stdout, stderr } = sys::spawn(plan).unwrap();
            let pid = process.id();
            assert!(pid != 0);
            self.children.adopt(key, process, "unused");
            Started { stdout: stdout.map(Reader::new), stderr: stderr.map(Reader::new) }
        }

        /// Collects after each waking until `done`.
        fn collect_until(&mut self, what: &str, mut done: impl FnMut(&mut Children, &[Collected]) -> bool) {
            let deadline = Instant::now() + BOUND;
            loop {
                self.children.collect(false, &mut |_| (), &mut self.found);
                if done(&mut self.children, &self.found) {
                    return;
                }
                let left = deadline.saturating_duration_since(Instant::now());
                self.woken.recv_timeout(left).unwrap_or_else(|error| panic!("waiting for {what}: {error}"));
            }
        }

        fn exit_of(&mut self, key: Key) -> Exit {
            self.collect_until("the end of the main process", |_, found| main_exit(found, key).is_some());
            main_exit(&self.found, key).unwrap()
        }
    }

    struct Started {
        stdout: Option<Reader>,
        stderr: Option<Reader>,
    }

    impl Started {
        fn line(&mut self) -> String {
            self.stdout.as_mut().unwrap().until(|bytes| bytes.ends_with(b"\n")).trim().to_owned()
        }

        fn all(&mut self) -> String {
            self.stdout.as_mut().unwrap().until(|_| false)
        }
    }

    /// A pipe in a poll of its own, as the log pump has it.
    struct Reader {
        pipe: LogPipe,
        poll: Poll,
    }

    impl Reader {
        fn new(mut pipe: LogPipe) -> Self {
            let poll = Poll::new().unwrap();
            poll.registry().register(&mut pipe, Token(0), Interest::READABLE).unwrap();
            Self { pipe, poll }
        }

        /// Reads until the pipe ends or `enough`.
        fn until(&mut self, enough: impl Fn(&[u8]) -> bool) -> String {
            let deadline = Instant::now() + BOUND;
            let mut events = Events::with_capacity(4);
            let mut bytes = Vec::new();
            while !enough(&bytes) {
                let mut buffer = [0; 8192];
                match self.pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        assert!(!left.is_zero(), "waiting for output after {bytes:?}");
                        self.poll.poll(&mut events, Some(left)).unwrap();
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
                    Err(error) => panic!("reading the pipe: {error}"),
                }
            }
            String::from_utf8(bytes).unwrap()
        }
    }

    fn main_exit(found: &[Collected], key: Key) -> Option<Exit> {
        let mut exits = found.iter().filter_map(|event| match event {
            Collected::Main { key: whose, exit } if *whose == key => Some(exit.clone()),
            Collected::Main { .. } | Collected::Orphan { .. } => None,
        });
        let exit = exits.next();
        assert!(exits.next().is_none(), "the end of {key} was reported twice");
        exit
    }

    fn plan<const N: usize>(role: [&str; N]) -> SpawnPlan {
        let program = std::env::current_exe().unwrap();
        let words = ["itself", "role"].into_iter().chain(role).map(OsString::from).collect();
        SpawnPlan {
            program,
            argv: words,
            env: std::env::vars_os().collect(),
            working_directory: None,
            stdin: None,
            stdout: Output::Pipe,
            stderr: Output::Null,
            merge_stderr: false,
            cgroup: None,
            setup: Vec::new(),
        }
    }

    fn quiet<const N: usize>(role: [&str; N]) -> SpawnPlan {
        SpawnPlan { stdout: Output::Null, ..plan(role) }
    }

    fn an_exit_code_is_reported_once() {
        let mut lab = Lab::new();
        lab.start(1, &quiet(["exit", "7"]));
        let exit = lab.exit_of(1);
        assert_eq!((exit.code, exit.signal, exit.core_dumped), (Some(7), None, false));
        assert!(exit.cpu.is_some());
        println!("cpu {:?}, memory {:?}", exit.cpu, exit.max_rss_bytes);
        lab.collect_until("an empty job", |children, _| children.leftovers(1) == Some(0));
        let error = lab.children.signal(1, SIGTERM, Whom::Main).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        lab.children.forget(1);
        assert_eq!(lab.children.leftovers(1), Some(0));
    }

    fn a_crash_code_is_reported_as_it_is() {
        let mut lab = Lab::new();
        // 0xC0000005, an access violation.
        lab.start(1, &quiet(["exit", "-1073741819"]));
        assert_eq!(lab.exit_of(1).code, Some(-1_073_741_819));
    }

    fn output_comes_through_the_pipes() {
        let mut lab = Lab::new();
        let mut started = lab.start(1, &SpawnPlan { stderr: Output::Pipe, ..plan(["say"]) });
        assert_eq!(started.all(), "out\nout again\n");
        assert_eq!(started.stderr.as_mut().unwrap().until(|_| false), "err\n");
        let merged = SpawnPlan { stderr: Output::Pipe, merge_stderr: true, ..plan(["say"]) };
        let mut started = lab.start(2, &merged);
        assert!(started.stderr.is_none());
        assert_eq!(started.all(), "out\nerr\nout again\n");
        assert_eq!([1, 2].map(|key| lab.exit_of(key).code), [Some(0); 2]);
    }

    fn more_output_than_a_pipe_holds_is_not_lost() {
        let mut lab = Lab::new();
        let mut started = lab.start(1, &plan(["flood", "1048576"]));
        assert_eq!(started.all().len(), 1_048_576);
        assert_eq!(lab.exit_of(1).code, Some(0));
    }

    fn stdin_environment_and_directory_are_those_of_the_plan() {
        let mut lab = Lab::new();
        let directory = tempfile::tempdir().unwrap();
        let mut plan = plan(["describe"]);
        plan.working_directory = Some(directory.path().to_owned());
        // Without SystemRoot many libraries do not load.
        plan.env = std::env::vars_os().filter(|(name, _)| name.eq_ignore_ascii_case("SystemRoot")).collect();
        plan.env.push((RUN_ID_VARIABLE.into(), "r1".into()));
        let text = lab.start(1, &plan).all();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "stdin 0");
        let reported = PathBuf::from(lines[1].strip_prefix("directory ").unwrap());
        assert_eq!(reported.canonicalize().unwrap(), directory.path().canonicalize().unwrap());
        assert!(lines.contains(&"MCPD_RUN_ID=r1"), "{text}");
        assert!(!lines.iter().any(|line| line.to_ascii_uppercase().starts_with("PATH=")), "{text}");
        assert_eq!(lab.exit_of(1).code, Some(0));
    }

    /// Trap 16 of docs/traps.md: the supervisor does not hear it.
    fn ctrl_c_reaches_a_program_that_handles_it() {
        let mut lab = Lab::new();
        let mut started = lab.start(1, &plan(["handle"]));
        let mut other = lab.start(2, &plan(["handle"]));
        assert_eq!((started.line(), other.line()), ("up".to_owned(), "up".to_owned()));
        lab.children.signal(1, SIGTERM, Whom::Group).unwrap();
        assert_eq!(lab.exit_of(1).code, Some(42));
        // Neither its neighbour nor the sender heard it.
        assert!(main_exit(&lab.found, 2).is_none());
        lab.children.signal(2, SIGTERM, Whom::Main).unwrap();
        assert_eq!(lab.exit_of(2).code, Some(42));
    }

    fn ctrl_c_ends_a_program_that_does_not() {
        let mut lab = Lab::new();
        let mut started = lab.start(1, &plan(["wait"]));
        assert_eq!(started.line(), "up");
        lab.children.signal(1, SIGTERM, Whom::Group).unwrap();
        // STATUS_CONTROL_C_EXIT.
        let code = lab.exit_of(1).code.unwrap();
        // STATUS_CONTROL_C_EXIT; wine says 0.
        assert!(code == 0xC000_013A_u32.cast_signed() || code == 0, "{code}");
    }

    fn terminating_the_main_process_is_told_from_an_exit() {
        let mut lab = Lab::new();
        let mut started = lab.start(1, &plan(["wait"]));
        assert_eq!(started.line(), "up");
        lab.children.signal(1, SIGKILL, Whom::Main).unwrap();
        let exit = lab.exit_of(1);
        assert_eq!((exit.code, exit.signal), (None, Some(SIGKILL)));
        lab.start(2, &quiet(["exit", "137"]));
        assert_eq!(lab.exit_of(2).code, Some(137));
    }

    /// Trap 16 of docs/traps.md: what it started in its first moment is in the job.
    fn terminating_the_group_ends_the_whole_tree() {
        let mut lab = Lab::new();
        let mut started = lab.start(1, &plan(["tree", "wait"]));
        // That is the grandchild's line, on the inherited pipe.
        assert_eq!(started.line(), "up");
        // Both, and the host of their console where the system counts that in.
        assert!((2..=3).contains(&lab.children.leftovers(1).unwrap()));
        lab.children.signal(1, SIGKILL, Whom::Group).unwrap();
        assert_eq!(lab.exit_of(1).signal, Some(SIGKILL));
        assert_eq!(started.all(), "");
        lab.collect_until("an empty job", |children, _| children.leftovers(1) == Some(0));
    }

    fn what_outlives_the_main_process_is_counted_and_ended() {
        let mut lab = Lab::new();
        let mut started = lab.start(1, &plan(["tree", "exit"]));
        assert_eq!(started.line(), "up");
        assert_eq!(lab.exit_of(1).code, Some(0));
        assert!(lab.children.leftovers(1) > Some(0));
        let living = lab.children.living(1);
        assert!(living.iter().any(|process| process.name.starts_with("sys_windows")), "{living:?}");
        lab.found.clear();
        assert!(lab.children.signal_leftovers(1, SIGKILL) > 0);
        lab.collect_until("the orphan", |children, found| {
            !found.is_empty() && children.leftovers(1) == Some(0)
        });
        assert!(matches!(lab.found[0], Collected::Orphan { .. }), "{:?}", lab.found);
        assert_eq!(started.all(), "");
        lab.children.forget(1);
    }

    fn a_process_that_is_not_adopted_ends() {
        let Spawned { process, stdout, .. } = sys::spawn(&plan(["tree", "wait"])).unwrap();
        let mut reader = Reader::new(stdout.unwrap());
        assert_eq!(reader.until(|bytes| bytes.ends_with(b"\n")).trim(), "up");
        drop(process);
        assert_eq!(reader.until(|_| false), "");
    }

    fn forty_started_by_four_threads_are_each_reported_once() {
        const THREADS: u64 = 4;
        const EACH: u64 = 10;
        let mut lab = Lab::new();
        let (send, answers) = mpsc::channel();
        for thread in 0..THREADS {
            let send = send.clone();
            std::thread::spawn(move || {
                for number in 0..EACH {
                    send.send((thread * EACH + number, sys::spawn(&plan(["exit", "3"])).unwrap())).unwrap();
                }
            });
        }
        drop(send);
        let mut pipes = Vec::new();
        for (key, spawned) in answers {
            lab.children.adopt(key, spawned.process, "unused");
            pipes.push(Reader::new(spawned.stdout.unwrap()));
            lab.children.collect(true, &mut |_| (), &mut lab.found);
        }
        for key in 0..THREADS * EACH {
            assert_eq!(lab.exit_of(key).code, Some(3));
        }
        // A write end that had leaked into a neighbour would have kept its pipe open only as long as that lived; that
        // each ends at all is what can be seen.
        for pipe in &mut pipes {
            assert_eq!(pipe.until(|_| false), "");
        }
    }

    fn what_cannot_start_names_the_step_and_the_cause() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.exe");
        let text = directory.path().join("text.exe");
        std::fs::write(&text, "not a program").unwrap();
        let cases = [(missing.clone(), "it does not exist"), (text.clone(), "is not an executable format")];
        for (program, cause) in cases {
            let error = sys::spawn(&SpawnPlan { program: program.clone(), ..plan([]) }).unwrap_err();
            assert_eq!(error.step, SpawnStep::Exec, "{error}");
            assert!(
                error.message.starts_with(&format!("cannot run {}: {cause}", program.display())),
                "{error}"
            );
            assert!(error.errno != 0);
        }
        for (path, cause) in [(missing, "it does not exist"), (text, "it is not a directory")] {
            let plan = SpawnPlan { working_directory: Some(path.clone()), ..plan([]) };
            let error = sys::spawn(&plan).unwrap_err();
            assert_eq!(error.step, SpawnStep::WorkingDirectory, "{error}");
            assert_eq!(
                error.message,
                format!("cannot enter the working directory {}: {cause}", path.display())
            );
        }
    }

    fn the_last_resort_ends_all() {
        let mut lab = Lab::new();
        let mut all = [1, 2].map(|key| lab.start(key, &plan(["tree", "wait"])));
        for started in &mut all {
            assert_eq!(started.line(), "up");
        }
        assert!((4..=6).contains(&lab.children.end_all()));
        for started in &mut all {
            assert_eq!(started.all(), "");
        }
        assert_eq!(lab.children.end_all(), 0);
    }

    fn an_unknown_signal_is_refused() {
        let mut lab = Lab::new();
        lab.start(1, &quiet(["wait"]));
        let error = lab.children.signal(1, SIGHUP, Whom::Main).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("Windows has no signal 1"), "{error}");
        lab.children.end_all();
    }

    fn the_machine_has_a_name_and_a_clock() {
        assert!(!sys::host_name().is_empty());
        assert!(sys::os_release().starts_with("Windows "), "{}", sys::os_release());
        let (first, second) = (sys::monotonic_ns(), sys::monotonic_ns());
        assert!(first > 0 && second >= first);
        assert!(!sys::is_root());
        println!("{} {} {first}", sys::host_name(), sys::os_release());
    }
}
