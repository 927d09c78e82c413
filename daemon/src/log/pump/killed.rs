//! Whatever is killed between any two steps, each line is in the files once, whole and in order.
//!
//! Pump and writer take turns in one thread, over real pipes and files. Each store into the memory that is left to the next
//! daemon may be the last one; a write that was not noted as made may have been made in part.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use mcpd_config::spec::{LogFormat, LogSpec, LogTarget};
use mcpd_proto::log::{LogLine, Stream};
use mio::unix::pipe::Sender;

use super::{Pump, WAKER};
use crate::keeper::Kept;
use crate::log::console::Outputs;
use crate::log::control::{Command, Control};
use crate::log::queue::{Job, Queue, Shared};
use crate::log::read::read;
use crate::log::spool::{Spool, deaths};
use crate::log::writer::Writer;

enum Stage {
    Says(Stream, Vec<u8>),
    /// The main process is gone: its last line is over.
    Drain,
    Close,
}

struct World {
    dir: tempfile::TempDir,
    spec: LogSpec,
    kept: Vec<OwnedFd>,
    text: String,
    senders: Option<[Sender; 2]>,
    receivers: [OwnedFd; 2],
    stages: std::vec::IntoIter<Stage>,
}

/// What is said, and the lines that come of it.
fn story() -> (Vec<Stage>, [Vec<String>; 2]) {
    use Stream::{Err, Out};
    let numbers = |from: u32, to: u32| (from..to).map(|n| format!("number {n}")).collect::<Vec<_>>();
    let block =
        |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    let (first, second) = (numbers(0, 12), numbers(12, 15));
    let long = "x".repeat(300);
    let stages = vec![
        Stage::Says(Out, block(&first)),
        Stage::Says(Err, b"one\ntw".to_vec()),
        Stage::Says(Out, b"par".to_vec()),
        Stage::Says(Err, b"o\nthree\n".to_vec()),
        Stage::Says(Out, [b"tial\n", block(&second).as_slice()].concat()),
        Stage::Says(Out, format!("{long}\nlast wor").into_bytes()),
        Stage::Drain,
        Stage::Says(Out, b"of its child\n".to_vec()),
        Stage::Says(Err, b"\n\nno end".to_vec()),
        Stage::Close,
    ];
    let out = [first, vec!["partial".into()], second, vec![long, "last wor".into(), "of its child".into()]];
    let err = ["one", "two", "three", "", "", "no end"];
    (stages, [out.concat(), err.map(String::from).to_vec()])
}

impl World {
    fn new(format: LogFormat, stages: Vec<Stage>) -> Self {
        let spool = Spool::new().unwrap();
        let (text, handles) = spool.handles();
        let kept = handles.map(|handle| handle.try_clone_to_owned().unwrap()).into();
        let [(out, out_end), (err, err_end)] = [(); 2].map(|()| mio::unix::pipe::new().unwrap());
        let receivers = [out_end, err_end].map(|end| end.as_fd().try_clone_to_owned().unwrap());
        // So small that most batches meet a rotation.
        let spec = LogSpec { target: LogTarget::File, format, max_size: 300, max_files: 1000 };
        let dir = tempfile::tempdir().unwrap();
        Self { dir, spec, kept, text, senders: Some([out, err]), receivers, stages: stages.into_iter() }
    }

    /// A daemon goes on, for so many stores, or to the end of the story. True: it came there.
    fn live(&mut self, stores: Option<u32>) -> bool {
        deaths::LEFT.set(stores);
        let lived = catch_unwind(AssertUnwindSafe(|| self.go_on()));
        deaths::LEFT.set(None);
        match lived {
            Ok(()) => true,
            Err(death) if death.is::<deaths::Killed>() => false,
            Err(panic) => resume_unwind(panic),
        }
    }

    fn go_on(&mut self) {
        let copy = |end: &OwnedFd| end.try_clone().unwrap();
        let kept = Kept { text: Some(self.text.clone()), handles: self.kept.iter().map(copy).collect() };
        let mut spool = Spool::of(kept, self.dir.path()).unwrap();
        let inherited = spool.take_inherited();
        let spool = Arc::new(spool);
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), WAKER).unwrap();
        let control = Arc::new(Control::new(waker, Arc::new(|_| ())));
        let queue = Arc::new(Queue::default());
        let shared = Arc::new(Shared::new(1, "svc".into()));
        let mut pump = Pump::new(
            poll,
            Arc::clone(&control),
            Arc::clone(&queue),
            Outputs::own(),
            self.dir.path().to_owned(),
            Some((Arc::clone(&spool), inherited)),
        );
        pump.obey(Command::Define { shared, spec: self.spec.clone(), tail_lines: 10 });
        let [stdout, stderr] = self.receivers.each_ref().map(|end| crate::sys::log_pipe(copy(end)).ok());
        pump.obey(Command::Attach { service: 1, generation: 1, stdout, stderr });
        pump.obey(Command::TakenOver);
        loop {
            while let Some(place) = pump.ready.pop_front() {
                pump.turn(place);
            }
            queue.push(Job::Stop);
            let writer = Writer {
                queue: Arc::clone(&queue),
                control: Arc::clone(&control),
                dir: self.dir.path().to_owned(),
                spool: Some(Arc::clone(&spool)),
            };
            writer.run();
            let shared = Arc::clone(&pump.services[&1].shared);
            queue.push(Job::Define(shared, self.spec.clone()));
            match self.stages.as_slice().first() {
                Some(Stage::Says(stream, bytes)) => {
                    let senders = self.senders.as_mut().unwrap();
                    senders[usize::from(*stream == Stream::Err)].write_all(bytes).unwrap();
                }
                // Who dies of it is followed by one who is asked for it again.
                Some(Stage::Drain) => {
                    pump.obey(Command::Drain { service: 1, generation: 1, done: Box::new(|_| ()) });
                }
                Some(Stage::Close) => self.senders = None,
                None => {
                    if pump.sources.iter().all(Option::is_none) {
                        return;
                    }
                }
            }
            self.stages.next();
            for place in 0..pump.sources.len() {
                if pump.sources[place].is_some() {
                    pump.ready.push_back(place);
                }
            }
        }
    }

    fn tear(&self) {
        let copy = |end: &OwnedFd| end.try_clone().unwrap();
        let handles = self.kept.iter().map(copy).collect();
        Spool::as_it_was_left(Kept { text: Some(self.text.clone()), handles }).unwrap().tear(self.dir.path());
    }

    fn lines(&self) -> Vec<LogLine> {
        let mut all = Vec::new();
        let each = &mut |batch| {
            all.extend(batch);
            true
        };
        read(self.dir.path(), "svc", self.spec.format, None, None, each).unwrap();
        all
    }
}

fn said(lines: &[LogLine], stream: Stream) -> Vec<&str> {
    lines.iter().filter(|line| line.stream == Some(stream)).map(|line| line.text.as_str()).collect()
}

/// Dies at each step, and soon after it once more; the third daemon comes to the end.
fn at_every_step(format: LogFormat, check: impl Fn(&World, u32)) {
    for stores in 0.. {
        let mut world = World::new(format, story().0);
        let ended = world.live(Some(stores));
        if !ended {
            if stores % 2 == 0 {
                world.tear();
            }
            if !world.live(Some(stores * 7 % 40)) {
                assert!(world.live(None));
            }
        }
        check(&world, stores);
        if ended {
            assert!(stores > 200, "the story has more steps than {stores}");
            return;
        }
    }
}

#[test]
fn no_line_is_lost_doubled_or_torn() {
    let (_, [out, err]) = story();
    for format in [LogFormat::Text, LogFormat::Json] {
        at_every_step(format, |world, stores| {
            let lines = world.lines();
            assert_eq!(said(&lines, Stream::Out), out, "stdout, killed after {stores} stores");
            assert_eq!(said(&lines, Stream::Err), err, "stderr, killed after {stores} stores");
            assert_eq!(lines.len(), out.len() + err.len());
        });
    }
}

#[test]
fn no_byte_of_raw_output_is() {
    at_every_step(LogFormat::Raw, |world, stores| {
        let mut bytes = 0;
        for file in std::fs::read_dir(world.dir.path()).unwrap() {
            let text = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!text.contains(&b'?'), "killed after {stores} stores");
            bytes += text.len();
        }
        let length = |stage: &Stage| if let Stage::Says(_, said) = stage { said.len() } else { 0 };
        let said: usize = story().0.iter().map(length).sum();
        assert_eq!(bytes, said, "killed after {stores} stores");
    });
}
