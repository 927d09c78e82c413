//! The keeper's mind, event by event.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    mind: Mind,
    now: Mono,
    out: Vec<Action>,
}

impl World {
    /// One whose first daemon is ready.
    fn ready() -> Self {
        let mut world = Self::new();
        world.starts();
        world.take(Event::Ready { stopping: false });
        assert_eq!(world.done(), []);
        world
    }

    fn new() -> Self {
        let now = Mono(5_000_000_000);
        Self { mind: Mind::new(now, Vigilance::new(None)), now, out: Vec::new() }
    }

    fn starts(&mut self) {
        assert_eq!(self.due(), [Action::Start]);
        self.take(Event::Started);
    }

    /// The next one, whenever that is due.
    fn starts_after(&mut self) {
        assert_eq!(self.next().1, [Action::Start]);
        self.take(Event::Started);
    }

    fn take(&mut self, event: Event) {
        self.mind.take(self.now, event, &mut self.out);
    }

    fn done(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out)
    }

    fn due(&mut self) -> Vec<Action> {
        self.mind.due(self.now, &mut self.out);
        self.done()
    }

    /// Goes to the next deadline and does what is due: how long that was, and what it is.
    fn next(&mut self) -> (Duration, Vec<Action>) {
        let at = self.mind.deadline().expect("something is due");
        let waited = at.since(self.now);
        self.now = at.max(self.now);
        (waited, self.due())
    }

    fn dies(&mut self, death: Death) -> Vec<Action> {
        self.take(Event::Ended(death));
        self.done()
    }
}

fn tell(text: &str) -> Action {
    Action::Tell(text.into())
}

#[test]
fn what_ends_before_it_was_ever_ready_is_passed_on() {
    for (death, code) in [(Death::Code(6), 6), (Death::Code(0), 0), (Death::Signal(11), 139)] {
        let mut world = World::new();
        world.starts();
        assert_eq!(world.dies(death), [Action::Exit(code)]);
        assert_eq!(world.mind.deadline(), None);
    }
    let mut world = World::new();
    assert_eq!(world.due(), [Action::Start]);
    world.take(Event::NotStarted);
    assert_eq!(world.done(), [Action::Exit(1)]);
}

#[test]
fn one_that_is_killed_has_a_successor_at_once() {
    let mut world = World::ready();
    world.now = world.now + SECOND;
    assert_eq!(world.dies(Death::Signal(9)), [tell("was ended by signal 9")]);
    assert_eq!(world.next(), (Duration::ZERO, vec![Action::Start]));
    world.take(Event::Started);
    world.take(Event::Ready { stopping: false });
    // Not again at once, but not later for having been killed often either.
    for _ in 0..20 {
        world.dies(Death::Signal(9));
        assert_eq!(world.next(), (AT_LEAST, vec![Action::Start]));
        world.take(Event::Started);
        world.take(Event::Ready { stopping: false });
    }
    assert_eq!((world.mind.lives(), world.mind.failures()), (22, 0));
    world.now = world.now + SECOND;
    assert_eq!(world.dies(Death::Code(0)), [Action::Exit(0)]);
}

#[test]
fn one_that_fails_at_its_start_is_tried_again_with_backoff() {
    let mut world = World::ready();
    world.now = world.now + PROVEN;
    world.dies(Death::Signal(6));
    let mut waited = Vec::new();
    for death in [Death::Code(1), Death::Signal(11), Death::Code(101), Death::Code(6)].repeat(3) {
        let (wait, actions) = world.next();
        assert_eq!(actions, [Action::Start]);
        waited.push(u64::try_from(wait.as_millis()).unwrap());
        world.take(Event::Started);
        assert!(matches!(&world.dies(death)[..], [Action::Tell(_)]));
    }
    assert_eq!(waited, [0, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000, 10_000, 10_000]);
    assert_eq!((world.mind.failures(), world.mind.crashes()), (12, 6), "101 and 11 are no orderly ends");
    world.next();
    world.take(Event::Started);
    world.take(Event::Ready { stopping: false });
    world.now = world.now + PROVEN;
    world.dies(Death::Signal(6));
    assert_eq!(world.next(), (Duration::ZERO, vec![Action::Start]));
    assert_eq!((world.mind.failures(), world.mind.crashes()), (0, 0));
}

#[test]
fn one_that_is_killed_at_its_start_has_not_failed() {
    let mut world = World::ready();
    world.dies(Death::Signal(9));
    let mut waited = Vec::new();
    for _ in 0..6 {
        waited.push(u64::try_from(world.next().0.as_millis()).unwrap());
        world.take(Event::Started);
        world.dies(Death::Signal(9));
    }
    assert_eq!(waited, [100, 200, 400, 800, 1000, 1000]);
    assert_eq!(world.mind.failures(), 0);
}

#[test]
fn one_that_panics_soon_after_it_was_ready_has_failed() {
    let mut world = World::ready();
    for expected in [200, 400, 800] {
        world.now = world.now + SECOND;
        world.dies(Death::Code(101));
        let (waited, actions) = world.next();
        assert_eq!((waited, actions), (Duration::from_millis(expected), vec![Action::Start]));
        world.take(Event::Started);
        world.take(Event::Ready { stopping: false });
    }
}

#[test]
fn one_that_hangs_is_replaced() {
    let mut world = World::ready();
    for _ in 0..3 {
        assert_eq!(world.next(), (Duration::from_secs(10), vec![Action::Ask]));
        world.take(Event::Answered);
    }
    assert_eq!(world.next().1, [Action::Ask]);
    let mut waited = Duration::ZERO;
    let actions = loop {
        let (wait, actions) = world.next();
        waited += wait;
        if !actions.is_empty() {
            break actions;
        }
    };
    assert_eq!((waited, actions), (Duration::from_secs(15), vec![Action::Kill]));
    assert_eq!(world.mind.deadline(), None, "it is killed once");
    assert_eq!(world.dies(Death::Signal(9)), [tell("did not answer for 15.0 s and was killed")]);
    assert_eq!(world.next().1, [Action::Start]);
}

#[test]
fn one_that_is_stopped_is_replaced_unless_it_goes_on() {
    let mut world = World::ready();
    world.take(Event::Stopped);
    world.now = world.now + SECOND;
    assert_eq!(world.due(), []);
    world.take(Event::Continued);
    world.now = world.now + SECOND;
    assert_eq!(world.due(), []);
    world.take(Event::Stopped);
    assert_eq!(world.next(), (STOPPED_FOR, vec![Action::Kill]));
    // A debugger has it: it is given its time again and again.
    world.take(Event::Traced);
    assert_eq!(world.next(), (STOPPED_FOR, vec![Action::Kill]));
    assert_eq!(world.dies(Death::Signal(9)), [tell("was stopped (SIGSTOP) for 2 s and killed")]);
    assert_eq!((world.next().1, world.mind.failures()), (vec![Action::Start], 0));
}

#[test]
fn a_successor_that_is_never_ready_is_replaced() {
    let mut world = World::ready();
    world.dies(Death::Signal(9));
    world.next();
    world.take(Event::Started);
    assert_eq!(world.next(), (READY_WITHIN, vec![Action::Kill]));
    world.dies(Death::Signal(9));
    assert_eq!(world.mind.failures(), 1);
    // One that has an excuse gets the same time again.
    world.starts_after();
    assert_eq!(world.next(), (READY_WITHIN, vec![Action::Kill]));
    world.take(Event::Traced);
    assert_eq!(world.done(), []);
    assert_eq!(world.next(), (READY_WITHIN, vec![Action::Kill]));
    // The first one may take its time.
    let mut world = World::new();
    world.starts();
    assert_eq!(world.mind.deadline(), None);
}

#[test]
fn signals_reach_whoever_is_there() {
    let mut world = World::ready();
    world.take(Event::Signal(1));
    world.take(Event::Signal(SIGTERM));
    assert_eq!(world.done(), [Action::Forward(1), Action::Forward(SIGTERM)]);
    // Killed in the middle of its end: the next one is told to end, too.
    world.dies(Death::Signal(9));
    world.next();
    world.take(Event::Started);
    assert_eq!(world.done(), []);
    world.take(Event::Ready { stopping: false });
    assert_eq!(world.done(), [Action::Forward(SIGTERM)]);
    // Or knows it from what that one had written down.
    world.dies(Death::Signal(9));
    world.next();
    world.take(Event::Started);
    world.take(Event::Ready { stopping: true });
    assert_eq!(world.done(), []);
    assert_eq!(world.dies(Death::Code(3)), [Action::Exit(3)]);
    world.take(Event::Signal(SIGTERM));
    assert_eq!(world.done(), [], "nothing is left to be told");
}

#[test]
fn what_nobody_was_there_to_take_is_passed_on_later() {
    let mut world = World::new();
    world.starts();
    world.take(Event::Signal(1));
    assert_eq!(world.done(), [], "it would end one that has no handler yet");
    world.take(Event::Ready { stopping: false });
    assert_eq!(world.done(), [Action::Forward(1)]);
    world.dies(Death::Signal(9));
    world.take(Event::Signal(1));
    world.next();
    world.take(Event::Started);
    for signal in [10, 1, SIGTERM] {
        world.take(Event::Signal(signal));
    }
    assert_eq!(world.done(), []);
    world.take(Event::Ready { stopping: false });
    let passed = [SIGTERM, 1, 10].map(Action::Forward);
    assert_eq!(world.done(), passed);
    // The first one is ended by what is to end it.
    let mut world = World::new();
    world.starts();
    world.take(Event::Signal(SIGINT));
    assert_eq!(world.done(), [Action::Forward(SIGINT)]);
    assert_eq!(world.dies(Death::Signal(SIGINT)), [Action::Exit(130)]);
}

#[test]
fn whoever_wants_the_end_does_not_wait_for_a_backoff() {
    let mut world = World::ready();
    for _ in 0..8 {
        world.dies(Death::Code(1));
        world.next();
        world.take(Event::Started);
    }
    world.dies(Death::Code(1));
    world.take(Event::Signal(SIGINT));
    assert_eq!(world.next(), (Duration::ZERO, vec![Action::Start]));
    world.take(Event::Started);
    world.take(Event::Ready { stopping: false });
    assert_eq!(world.done(), [Action::Forward(SIGINT)]);
}

#[test]
fn systemd_hears_nothing_of_a_hang() {
    for seconds in [2, 10, 30, 120] {
        let whole = Duration::from_secs(seconds);
        let Vigilance { every, patience, .. } = Vigilance::new(Some(whole));
        assert!(whole / 2 + every + patience < whole);
    }
}

#[test]
fn an_upgrade_is_made_once_there_is_no_daemon() {
    let mut world = World::ready();
    world.take(Event::Upgrade);
    assert_eq!(world.done(), [Action::End]);
    // Asked twice it is made once.
    world.take(Event::Upgrade);
    assert_eq!(world.done(), []);
    assert_eq!(world.dies(Death::Signal(SIGKILL)), [tell("made way for an upgrade"), Action::Execute]);
    assert_eq!(world.mind.deadline(), None);
    // Whoever wants the end meanwhile is not forgotten.
    world.take(Event::Signal(SIGTERM));
    let memory = world.mind.memory();
    world.mind = Mind::resume(world.now, Vigilance::new(None), memory, true);
    world.starts();
    world.take(Event::Ready { stopping: false });
    assert_eq!(world.done(), [Action::Forward(SIGTERM)]);
    assert_eq!(world.mind.lives(), 2);
}

#[test]
fn what_cannot_be_executed_leaves_all_as_it_was() {
    let mut world = World::ready();
    world.take(Event::Upgrade);
    world.done();
    world.dies(Death::Signal(SIGKILL));
    world.take(Event::NotExecuted);
    world.starts();
    world.take(Event::Ready { stopping: false });
    assert_eq!(world.done(), []);
    // The next death is one like any other.
    assert_eq!(world.dies(Death::Signal(SIGKILL)), [tell("was ended by signal 9")]);
    // What would excuse one that hangs is no reason not to make an upgrade.
    world.starts_after();
    world.take(Event::Ready { stopping: false });
    world.take(Event::Upgrade);
    world.take(Event::Traced);
    assert_eq!(world.done(), [Action::End]);
    assert_eq!(world.dies(Death::Signal(SIGKILL)).last(), Some(&Action::Execute));
    // One that has done all that there was to do is not started again by another program.
    let mut world = World::ready();
    world.take(Event::Upgrade);
    world.done();
    assert_eq!(world.dies(Death::Code(0)), [Action::Exit(0)]);
}

#[test]
fn a_program_that_fails_on_trial_is_taken_back() {
    let on_trial = || {
        let mut world = World::ready();
        let memory = world.mind.memory();
        world.mind = Mind::resume(world.now, Vigilance::new(None), memory, true);
        world.starts();
        world
    };
    let failures = [Death::Code(1), Death::Code(PANICKED), Death::Signal(11)];
    for (ready, death) in failures.into_iter().flat_map(|death| [(false, death), (true, death)]) {
        let mut world = on_trial();
        if ready {
            world.take(Event::Ready { stopping: false });
            world.now = world.now + SECOND * 9;
        }
        world.done();
        let actions = world.dies(death);
        assert_eq!(actions.last(), Some(&Action::GoBack), "{ready} {death:?}");
        // The one before cannot be executed, either: then it is this one, again and again.
        world.take(Event::NotExecuted);
        world.starts();
        assert!(!world.dies(death).contains(&Action::GoBack));
        assert!(world.mind.deadline().is_some());
    }
    // Who is killed has not failed, and is still on trial.
    let mut world = on_trial();
    assert_eq!(world.dies(Death::Signal(SIGKILL)), [tell("was ended by signal 9")]);
    world.starts_after();
    assert_eq!(world.dies(Death::Code(1)).last(), Some(&Action::GoBack));
    // One that is never ready has failed.
    let mut world = on_trial();
    let (waited, actions) = world.next();
    assert_eq!((waited, actions), (READY_WITHIN, vec![Action::Kill]));
    assert_eq!(world.dies(Death::Signal(SIGKILL)).last(), Some(&Action::GoBack));
    // One that has done its work for a while has proven itself.
    let mut world = on_trial();
    world.take(Event::Ready { stopping: false });
    world.now = world.now + PROVEN;
    world.done();
    assert_eq!(world.dies(Death::Code(1)), [tell("ended with exit code 1")]);
}

#[test]
fn systemd_hears_of_the_keeper_while_there_is_no_daemon() {
    let now = Mono(5_000_000_000);
    let mind = Mind::new(now, Vigilance::new(Some(SECOND * 8)));
    let mut world = World { mind, now, out: Vec::new() };
    world.starts();
    world.take(Event::Ready { stopping: false });
    // A daemon that is ready says so itself.
    for _ in 0..10 {
        assert!(!world.next().1.contains(&Action::Ping));
        world.take(Event::Answered);
    }
    assert_eq!(world.dies(Death::Code(1)), [tell("ended with exit code 1")]);
    // It dies at its start, again and again.
    let (mut pings, mut since) = (0, world.now);
    for _ in 0..200 {
        let (_, actions) = world.next();
        if actions.contains(&Action::Ping) {
            assert!(world.now.since(since) <= SECOND * 2, "{:?}", world.now.since(since));
            (pings, since) = (pings + 1, world.now);
        }
        if actions.contains(&Action::Start) {
            world.take(Event::Started);
            world.dies(Death::Code(1));
        }
    }
    assert!(pings > 20, "{pings}");
    // Or it never comes to being ready.
    while !world.next().1.contains(&Action::Start) {}
    world.take(Event::Started);
    let began = world.now;
    let mut pings = 0;
    loop {
        let (_, actions) = world.next();
        pings += usize::from(actions.contains(&Action::Ping));
        if actions.contains(&Action::Kill) {
            break;
        }
    }
    assert!(pings >= 29, "{pings} in {:?}", world.now.since(began));
    // Nobody wants to hear anything where there is no watchdog.
    let mut world = World::ready();
    world.dies(Death::Code(1));
    assert_eq!(world.next().1, [Action::Start]);
}

#[test]
fn one_without_a_processor_had_no_chance_to_answer() {
    for (waited, of, had_none) in
        [(0, 15, false), (7, 15, false), (8, 15, true), (15, 15, true), (0, 0, false)]
    {
        assert_eq!(starved(SECOND * waited, SECOND * of), had_none, "{waited} of {of}");
    }
}
