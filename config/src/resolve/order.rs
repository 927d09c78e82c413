//! Who starts after whom, and that nobody waits for himself by way of others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::resolve::context::{Context, Finding};
use crate::resolve::relations::Mention;

/// Circles that are reported; further ones are seen when these are gone.
const MOST_CIRCLES: usize = 10;

/// Which services one starts after, and where that is said.
type Order<'m> = BTreeMap<&'m str, BTreeMap<&'m str, &'m Mention>>;

/// Reports every circle, with all its services and where it is said.
pub(crate) fn check(cx: &mut Context<'_>, mentions: &[Mention]) {
    let mut order = order(mentions);
    for _ in 0..MOST_CIRCLES {
        let Some(circle) = circle(&order) else { return };
        report(cx, &circle);
        for (name, _) in circle {
            order.remove(name);
        }
    }
}

/// `after` and `before` as they are written. Whoever needs another starts after it, unless one of them says the opposite:
/// the rule that the core's `graph` has.
fn order(mentions: &[Mention]) -> Order<'_> {
    let mut order = Order::new();
    for mention in mentions {
        let (one, other) = (mention.service.as_str(), mention.other.as_str());
        let (later, earlier) = match mention.says {
            "after" => (one, other),
            "before" => (other, one),
            _ => continue,
        };
        order.entry(later).or_default().entry(earlier).or_insert(mention);
    }
    let told = order.clone();
    let opposite = |one: &str, other: &str| told.get(other).is_some_and(|others| others.contains_key(one));
    for mention in mentions.iter().filter(|mention| mention.is_need()) {
        let (one, other) = (mention.service.as_str(), mention.other.as_str());
        if !opposite(one, other) {
            order.entry(one).or_default().entry(other).or_insert(mention);
        }
    }
    order
}

/// Services each of which starts after the next one, and the last after the first, with why; as few as there are on the
/// way back to where the search noticed.
fn circle<'m>(order: &Order<'m>) -> Option<Vec<(&'m str, &'m Mention)>> {
    let (from, to) = way_back(order)?;
    let mut came_from: BTreeMap<&str, &'m str> = BTreeMap::new();
    let mut queue = VecDeque::from([to]);
    while let Some(name) = queue.pop_front() {
        if name == from {
            break;
        }
        for &next in order.get(name).into_iter().flat_map(BTreeMap::keys) {
            if next != to && !came_from.contains_key(next) {
                came_from.insert(next, name);
                queue.push_back(next);
            }
        }
    }
    let mut names = vec![from];
    while let Some(&before) = names.last().and_then(|last| came_from.get(last)) {
        names.push(before);
    }
    names.reverse();
    // The first by name, so that the same circle is always told the same way.
    let first = (0..names.len()).min_by_key(|&at| names[at]).unwrap_or(0);
    names.rotate_left(first);
    let nexts = names.iter().cycle().skip(1);
    names.iter().zip(nexts).map(|(name, next)| Some((*name, *order.get(name)?.get(next)?))).collect()
}

/// A step of the order that leads back to where the way came from.
fn way_back<'m>(order: &Order<'m>) -> Option<(&'m str, &'m str)> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut on_the_way: BTreeSet<&str> = BTreeSet::new();
    for &start in order.keys() {
        let nexts = |name: &str| order.get(name).into_iter().flat_map(BTreeMap::keys).copied();
        // Not by recursion: a chain may be longer than the stack is deep.
        let mut way = vec![(start, nexts(start).collect::<VecDeque<_>>())];
        on_the_way.insert(start);
        while let Some((name, left)) = way.last_mut() {
            let name = *name;
            match left.pop_front() {
                Some(next) if on_the_way.contains(next) => return Some((name, next)),
                Some(next) if done.contains(next) => {}
                Some(next) => {
                    on_the_way.insert(next);
                    way.push((next, nexts(next).collect()));
                }
                None => {
                    on_the_way.remove(name);
                    done.insert(name);
                    way.pop();
                }
            }
        }
    }
    None
}

fn report(cx: &mut Context<'_>, circle: &[(&str, &Mention)]) {
    let Some((first, mention)) = circle.first() else { return };
    let names: Vec<&str> = circle.iter().map(|(name, _)| *name).chain([*first]).collect();
    let places: Vec<String> = circle
        .iter()
        .map(|(_, mention)| {
            let source = &cx.sources[mention.span.file];
            let (line, column) = source.position(mention.span.start);
            format!("{} ({}:{line}:{column})", mention.words(), source.path.display())
        })
        .collect();
    let message = format!("these services wait for each other in a circle: {}", names.join(" -> "));
    let help = Some(format!("take one of these out: {}", places.join("; ")));
    cx.error(Finding { span: mention.span, key: &mention.key(), message, help });
}
