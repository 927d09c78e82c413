//! The queue by hand-made times, and what the templates make of a notice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mcpd_config::spec::{NotifyOn, NotifyTarget, NotifyTemplate, WebhookSpec};
use mcpd_core::Mono;
use proptest::prelude::*;

use super::document::Document;
use super::queue::{AT_ONCE, Item, Outcome, Queue, Told, WAITING};
use super::{Notice, document, named, report, template};
use crate::crash::CrashStore;

fn at(millis: u64) -> Mono {
    Mono(millis * 1_000_000)
}

fn target(name: &str) -> Arc<NotifyTarget> {
    Arc::new(NotifyTarget::Exec { argv: vec![name.to_owned()] })
}

fn notice(service: &str, condition: NotifyOn, opened: bool) -> Arc<Notice> {
    Arc::new(Notice {
        service: service.into(),
        condition,
        opened,
        time: jiff::Timestamp::UNIX_EPOCH,
        reason: "exited with code 3: <no> `route` @everyone".into(),
        after: (!opened).then_some(Duration::from_secs(90)),
        crash: None,
        event: 7,
        host: "tür".into(),
    })
}

fn failed() -> Outcome {
    Outcome::Failed { why: "connection refused".into(), pause: None }
}

/// A queue, and what came out of it.
#[derive(Default)]
struct Lab {
    queue: Queue,
    /// `target service condition opened|closed +suppressed -lost`
    sent: Vec<String>,
    told: Vec<String>,
}

impl Lab {
    fn submit(&mut self, millis: u64, to: &str, service: &str, condition: NotifyOn, opened: bool) {
        let told = self.queue.submit(at(millis), &target(to), &notice(service, condition, opened));
        self.told.extend(told.map(|told| report(&target(to), told).message));
    }

    fn due(&mut self, millis: u64) -> usize {
        let (due, told) = self.queue.due(at(millis));
        self.told.extend(told.into_iter().map(|(target, told)| report(&target, told).message));
        let count = due.len();
        for (target, item) in due {
            let Item { notice, suppressed, lost } = item;
            let state = if notice.opened { "opened" } else { "closed" };
            let mut line =
                format!("{} {} {} {state}", named(&target), notice.service, notice.condition.name());
            if suppressed > 0 {
                line.push_str(&format!(" +{suppressed}"));
            }
            if lost > 0 {
                line.push_str(&format!(" -{lost}"));
            }
            self.sent.push(line);
        }
        count
    }

    fn done(&mut self, millis: u64, to: &str, outcome: Outcome) {
        let told = self.queue.done(at(millis), &target(to), outcome);
        self.told.extend(told.map(|told| report(&target(to), told).message));
    }

    fn next(&self) -> Option<u64> {
        self.queue.next().map(|at| at.0 / 1_000_000)
    }
}

#[test]
fn one_at_a_time_and_in_order() {
    let mut lab = Lab::default();
    lab.submit(0, "t", "a", NotifyOn::Failing, true);
    lab.submit(0, "t", "b", NotifyOn::Parked, true);
    lab.submit(0, "u", "a", NotifyOn::Failing, true);
    assert_eq!(lab.due(0), 2, "one for each target");
    assert_eq!(lab.next(), None, "the rest waits for those");
    assert!(!lab.queue.is_quiet(at(0)));
    lab.done(5, "t", Outcome::Delivered);
    assert_eq!(lab.next(), Some(5));
    assert_eq!(lab.due(5), 1);
    lab.done(6, "t", Outcome::Delivered);
    lab.done(6, "u", Outcome::Delivered);
    assert_eq!(lab.sent, ["t a failing opened", "u a failing opened", "t b parked opened"]);
    assert!(lab.queue.is_quiet(at(6)));
    assert_eq!(lab.told.len(), 3);
    assert_eq!(lab.told[0], "t was told: failing opened");
}

#[test]
fn a_failure_is_tried_again_three_times_and_holds_up_nobody_else() {
    let mut lab = Lab::default();
    lab.submit(0, "t", "a", NotifyOn::Failing, true);
    lab.submit(0, "t", "a", NotifyOn::Parked, true);
    let mut now = 0;
    for pause in [1000, 5000, 25_000] {
        assert_eq!(lab.due(now), 1);
        lab.done(now, "t", failed());
        assert_eq!(lab.next(), Some(now + pause));
        assert_eq!(lab.due(now + pause - 1), 0);
        lab.submit(now, "u", "a", NotifyOn::Failing, pause == 5000);
        assert_eq!(lab.due(now), 1, "the other target is not concerned");
        lab.done(now, "u", Outcome::Delivered);
        now += pause;
    }
    assert!(lab.told.iter().all(|told| told.starts_with("u was told")), "{:?}", lab.told);
    assert_eq!(lab.due(now), 1);
    lab.done(now, "t", failed());
    assert_eq!(
        lab.told.last().unwrap(),
        "t could not be told after 4 tries: connection refused (failing opened)"
    );
    // What comes after it has all tries of its own, and says that one is missing only if it came later.
    assert_eq!(lab.due(now), 1);
    lab.done(now, "t", Outcome::Delivered);
    lab.submit(now, "t", "a", NotifyOn::Parked, false);
    assert_eq!(lab.due(now), 1);
    assert_eq!(lab.sent.last().unwrap(), "t a parked closed -1");
}

#[test]
fn what_another_try_does_not_mend_is_not_tried_again() {
    let mut lab = Lab::default();
    lab.submit(0, "t", "a", NotifyOn::Failing, true);
    lab.due(0);
    lab.done(0, "t", Outcome::Refused("it answered 404".into()));
    assert_eq!(lab.told, ["t could not be told after 1 try: it answered 404 (failing opened)"]);
    assert!(lab.queue.is_quiet(at(0)));
}

#[test]
fn a_target_may_ask_for_a_longer_pause() {
    for (asked, pause) in [(0, 1000), (30, 30_000), (100_000, 120_000)] {
        let mut lab = Lab::default();
        lab.submit(0, "t", "a", NotifyOn::Failing, true);
        lab.due(0);
        let pause_asked = Some(Duration::from_secs(asked));
        lab.done(0, "t", Outcome::Failed { why: "it answered 429".into(), pause: pause_asked });
        assert_eq!(lab.next(), Some(pause), "{asked} s");
    }
}

/// Five at once and one more a minute; what was held back is counted, and what was told last is true in the end.
#[test]
fn a_storm_is_held_back() {
    let mut lab = Lab::default();
    for turn in 0..10 {
        lab.submit(turn, "t", "a", NotifyOn::Failing, true);
        while lab.due(turn) > 0 {
            lab.done(turn, "t", Outcome::Delivered);
        }
        lab.submit(turn, "t", "a", NotifyOn::Failing, false);
        while lab.due(turn) > 0 {
            lab.done(turn, "t", Outcome::Delivered);
        }
    }
    // Five went out, the last of them "opened"; of the others seven took each other back but for one.
    assert_eq!(lab.sent.len(), 5, "{:?}", lab.sent);
    assert_eq!(lab.next(), Some(60_000));
    // Another service has a bucket of its own, and another target too.
    lab.submit(20, "t", "b", NotifyOn::Failing, true);
    lab.submit(20, "u", "a", NotifyOn::Failing, true);
    assert_eq!(lab.due(20), 2);
    lab.done(20, "t", Outcome::Delivered);
    lab.done(20, "u", Outcome::Delivered);
    assert_eq!(lab.due(59_999), 0);
    assert_eq!(lab.due(60_000), 1);
    assert_eq!(lab.sent.last().unwrap(), "t a failing closed +14");
    lab.done(60_000, "t", Outcome::Delivered);
    assert_eq!(lab.next(), None, "nothing is held any more");
    // Buckets fill again, up to five.
    for turn in 0..8 {
        lab.submit(1_000_000, "t", "a", NotifyOn::ALL[turn % 4], true);
    }
    let mut sent = 0;
    while lab.due(1_000_000) > 0 {
        lab.done(1_000_000, "t", Outcome::Delivered);
        sent += 1;
    }
    assert_eq!(sent, 5);
}

#[test]
fn what_was_held_back_of_several_conditions_comes_in_order() {
    let mut lab = Lab::default();
    for _ in 0..5 {
        lab.submit(0, "t", "a", NotifyOn::Unhealthy, true);
        lab.due(0);
        lab.done(0, "t", Outcome::Delivered);
    }
    lab.sent.clear();
    for (condition, opened) in [
        (NotifyOn::Failing, true),
        (NotifyOn::Parked, true),
        (NotifyOn::Failing, false),
        (NotifyOn::Flapping, true),
        (NotifyOn::Failing, true),
    ] {
        lab.submit(1, "t", "a", condition, opened);
    }
    for minute in 1..=4 {
        lab.due(minute * 60_000);
        lab.done(minute * 60_000, "t", Outcome::Delivered);
    }
    assert_eq!(lab.sent, ["t a parked opened +2", "t a flapping opened", "t a failing opened"]);
}

#[test]
fn a_full_line_loses_the_oldest_and_says_so_once() {
    let mut lab = Lab::default();
    // It hangs with the first.
    lab.submit(0, "t", "first", NotifyOn::Failing, true);
    lab.due(0);
    for count in 0..WAITING + 9 {
        lab.submit(0, "t", &format!("s{count}"), NotifyOn::Failing, true);
    }
    assert_eq!(lab.told, [format!("{WAITING} notifications wait for t: the oldest ones are dropped")]);
    lab.done(0, "t", Outcome::Delivered);
    let mut lost = 0;
    while lab.due(0) > 0 {
        lab.done(0, "t", Outcome::Delivered);
        lost += lab.sent.last().unwrap().split_once(" -").map_or(0, |(_, lost)| lost.parse().unwrap());
    }
    assert_eq!((lab.sent.len(), lost), (WAITING, 10));
    assert!(lab.sent.last().unwrap().starts_with(&format!("t s{} ", WAITING + 8)), "{:?}", lab.sent.last());
}

#[test]
fn so_many_at_a_time_and_those_who_waited_longest_first() {
    let mut lab = Lab::default();
    let names: Vec<String> = (0..AT_ONCE + 3).map(|number| format!("t{number:02}")).collect();
    for name in &names {
        lab.submit(0, name, "a", NotifyOn::Failing, true);
    }
    assert_eq!(lab.due(0), AT_ONCE);
    assert_eq!(lab.next(), None, "no place is free");
    // They fail and come back later; the others have their turn before.
    for name in &names[..AT_ONCE] {
        lab.done(10, name, failed());
    }
    assert_eq!(lab.due(1010), AT_ONCE);
    assert_eq!(
        lab.sent[AT_ONCE..AT_ONCE + 3],
        ["t16 a failing opened", "t17 a failing opened", "t18 a failing opened"]
    );
}

#[test]
fn an_outcome_that_nobody_is_owed_changes_nothing() {
    let mut lab = Lab::default();
    lab.done(0, "t", Outcome::Delivered);
    lab.submit(0, "t", "a", NotifyOn::Failing, true);
    lab.done(0, "t", Outcome::Delivered);
    assert_eq!(lab.due(0), 1);
    lab.done(0, "t", Outcome::Delivered);
    lab.done(0, "t", Outcome::Delivered);
    assert!(lab.queue.is_quiet(at(0)) && lab.told.len() == 1);
}

fn item(condition: NotifyOn, opened: bool) -> Item {
    Item { notice: notice("web", condition, opened), suppressed: 2, lost: 1 }
}

fn told(item: &Item) -> (tempfile::TempDir, Document) {
    let dir = tempfile::tempdir().unwrap();
    let store = CrashStore::open(dir.path()).unwrap();
    let document = document::document(item, &store);
    (dir, document)
}

#[test]
fn the_document_has_every_field() {
    let item = item(NotifyOn::Parked, false);
    let (_dir, document) = told(&item);
    let json = serde_json::to_value(&document.notification).unwrap();
    let expected = serde_json::json!({
        "schema": 1, "condition": "parked", "state": "closed", "service": "web",
        "time": "1970-01-01T00:00:00.000000Z", "reason": "exited with code 3: <no> `route` @everyone",
        "host": "tür", "after_seconds": 90.0, "event": 7, "suppressed": 2, "lost": 1, "crash_id": null, "crash": null,
    });
    assert_eq!(json, expected);
    let back: mcpd_proto::notification::Notification = serde_json::from_value(expected).unwrap();
    assert_eq!(back, document.notification);
}

#[test]
fn every_receiver_gets_the_shape_that_it_knows() {
    let open = item(NotifyOn::Parked, true);
    let (_dir, document) = told(&open);
    let body = |template| -> serde_json::Value {
        serde_json::from_slice(&template::message(template, &open, &document).body).unwrap()
    };
    assert_eq!(body(NotifyTemplate::Json)["condition"], "parked");
    let slack = body(NotifyTemplate::Slack);
    let text = slack["text"].as_str().unwrap();
    assert!(text.starts_with(":red_circle: *web on tür is parked: mcpd has given up on it*\n"), "{text}");
    assert!(text.contains("&lt;no&gt;") && !text.contains('<'), "{text}");
    assert!(text.contains("2 notifications about it were held back before this one."), "{text}");
    let discord = body(NotifyTemplate::Discord);
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    assert_eq!(discord["embeds"][0]["title"], "web on tür is parked: mcpd has given up on it");
    let ntfy = template::message(NotifyTemplate::Ntfy, &open, &document);
    assert!(ntfy.headers.contains(&("title", "web on t?r is parked: mcpd has given up on it".into())));
    assert!(ntfy.headers.contains(&("priority", "urgent".into())));
    assert!(String::from_utf8(ntfy.body).unwrap().starts_with("exited with code 3: <no> `route`"));
    let closed = item(NotifyOn::Parked, false);
    let (_dir, document) = told(&closed);
    let ntfy = template::message(NotifyTemplate::Ntfy, &closed, &document);
    assert!(ntfy.headers.contains(&("tags", "white_check_mark".into())));
    assert!(String::from_utf8(ntfy.body).unwrap().contains("It was so for 1 min 30 s."));
}

#[test]
fn what_is_told_of_a_target_has_no_secret() {
    let spec = WebhookSpec {
        url: "https://h/T0PSECRET".into(),
        template: NotifyTemplate::Json,
        headers: vec![("A".into(), "T0PSECRET".into())],
    };
    let target = NotifyTarget::Webhook(spec);
    for told in [Told::Full, Told::Delivered(item(NotifyOn::Failing, true))] {
        let report = report(&target, told);
        let text = format!("{report:?}");
        assert!(!text.contains("T0PSECRET") && text.contains("https://h/[redacted]"), "{text}");
    }
}

/// One step of the property below.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A condition of a service changes, and both targets are to hear of it.
    Change(usize, usize),
    /// So many milliseconds pass.
    Pass(u64),
    /// What is under way ends well, or badly.
    End(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize, 0..4_usize).prop_map(|(service, condition)| Step::Change(service, condition)),
        2 => (0..30_000_u64).prop_map(Step::Pass),
        3 => any::<bool>().prop_map(Step::End),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever comes when: one at a time for each target, conditions in turns, and what a target heard last is what is,
    /// if it heard anything or there is anything to hear.
    #[test]
    fn what_was_told_last_is_true_in_the_end(steps in steps()) {
        let mut queue = Queue::default();
        let targets = [target("t"), target("u")];
        let mut under_way: Vec<Arc<NotifyTarget>> = Vec::new();
        let mut is = [[false; 4]; 3];
        let mut submitted = 0_u64;
        // What each target was told, with repeated tries once.
        let mut heard: BTreeMap<(Arc<NotifyTarget>, usize, usize), Vec<bool>> = BTreeMap::new();
        let mut over = |told: Option<Told>, target: &Arc<NotifyTarget>| {
            if let Some(Told::Delivered(item) | Told::Failed { item, .. }) = told {
                let service: usize = item.notice.service.parse().unwrap();
                let condition = NotifyOn::ALL.iter().position(|on| *on == item.notice.condition).unwrap();
                heard.entry((target.clone(), service, condition)).or_default().push(item.notice.opened);
            }
        };
        let mut now = 0;
        // In the end everything gets there.
        let rest = std::iter::repeat_n([Step::Pass(61_000), Step::End(true), Step::End(true)], 80).flatten();
        for step in steps.iter().copied().chain(rest) {
            match step {
                Step::Change(service, condition) => {
                    let opened = !is[service][condition];
                    is[service][condition] = opened;
                    submitted += 1;
                    let notice = notice(&service.to_string(), NotifyOn::ALL[condition], opened);
                    for target in &targets {
                        prop_assert!(queue.submit(at(now), target, &notice).is_none(), "never full here");
                    }
                }
                Step::Pass(millis) => now += millis,
                Step::End(well) => {
                    for target in std::mem::take(&mut under_way) {
                        let outcome = if well { Outcome::Delivered } else { failed() };
                        over(queue.done(at(now), &target, outcome), &target);
                    }
                }
            }
            let (due, told) = queue.due(at(now));
            prop_assert!(told.is_empty());
            for (target, _) in due {
                prop_assert!(!under_way.contains(&target), "two at a time");
                under_way.push(target);
            }
        }
        prop_assert!(queue.next().is_none() && queue.is_quiet(at(now)) && under_way.is_empty());
        let total: usize = heard.values().map(Vec::len).sum();
        prop_assert!(total as u64 <= 2 * submitted);
        for ((_, service, condition), told) in &heard {
            prop_assert!(told.iter().enumerate().all(|(turn, opened)| *opened == (turn % 2 == 0)), "{told:?}");
            prop_assert_eq!(told.last(), Some(&is[*service][*condition]));
        }
        for (service, conditions) in is.iter().enumerate() {
            for (condition, opened) in conditions.iter().enumerate() {
                let nothing = targets.iter().any(|target| !heard.contains_key(&(target.clone(), service, condition)));
                prop_assert!(!(*opened && nothing), "{service} {condition} is so, and somebody has not heard of it");
            }
        }
    }
}
