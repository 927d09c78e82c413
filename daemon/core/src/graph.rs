//! Who has to do with whom: what the configuration says of pairs of services, seen from both ends.
//!
//! This is only the relations and what they mean; what a service does about them is decided in `order` and `wishes`.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use crate::event::ServiceId;
use crate::policy::Relations;

/// What one service says of another: a set of keys of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Said(u8);

impl Said {
    const REQUIRES: u8 = 1;
    const BINDS_TO: u8 = 1 << 1;
    const WANTS: u8 = 1 << 2;
    const PART_OF: u8 = 1 << 3;
    const AFTER: u8 = 1 << 4;
    const BEFORE: u8 = 1 << 5;
    const CONFLICTS: u8 = 1 << 6;

    /// One of these.
    fn has(self, keys: u8) -> bool {
        self.0 & keys != 0
    }

    /// Does the one that says this start after the other, which says `other` of it? Whoever needs another starts after
    /// it, unless one of them says the opposite.
    fn follows(self, other: Self) -> bool {
        self.has(Self::AFTER)
            || other.has(Self::BEFORE)
            || (self.has(Self::REQUIRES | Self::BINDS_TO)
                && !self.has(Self::BEFORE)
                && !other.has(Self::AFTER))
    }
}

/// A pair of services as one of them, "this one", sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Link {
    mine: Said,
    theirs: Said,
}

impl Link {
    /// The pair as the other one sees it.
    pub(crate) fn flipped(self) -> Self {
        Self { mine: self.theirs, theirs: self.mine }
    }

    /// This one starts after the other and stops before it.
    pub(crate) fn is_after(self) -> bool {
        self.mine.follows(self.theirs)
    }

    /// The other one starts after this one and stops before it.
    pub(crate) fn is_before(self) -> bool {
        self.theirs.follows(self.mine)
    }

    /// The other one has to be up when this one starts.
    pub(crate) fn needs(self) -> bool {
        self.mine.has(Said::REQUIRES | Said::BINDS_TO) && self.is_after()
    }

    /// The other one has to be up as long as this one is.
    pub(crate) fn is_bound(self) -> bool {
        self.mine.has(Said::BINDS_TO) && self.is_after()
    }

    /// A start of this one starts the other.
    pub(crate) fn pulls_in(self) -> bool {
        self.mine.has(Said::REQUIRES | Said::BINDS_TO | Said::WANTS)
    }

    /// A stop or restart of this one that somebody asked for stops or restarts the other.
    pub(crate) fn takes_along(self) -> bool {
        self.theirs.has(Said::REQUIRES | Said::BINDS_TO | Said::PART_OF)
    }

    /// They never run at the same time.
    pub(crate) fn conflicts(self) -> bool {
        self.mine.has(Said::CONFLICTS) || self.theirs.has(Said::CONFLICTS)
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Every pair that has to do with each other, under both of its services.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    links: BTreeMap<ServiceId, BTreeMap<ServiceId, Link>>,
}

impl Graph {
    /// Replaces what a service says of others; these need not be known (yet). Returns everybody whom it concerns.
    pub(crate) fn declare(&mut self, service: ServiceId, relations: &Relations) -> Vec<ServiceId> {
        let mut says = said(relations);
        says.remove(&service);
        let before = self.links.get(&service).into_iter().flatten();
        let silent = before.filter(|(_, link)| link.mine != Said::default()).map(|(other, _)| *other);
        for other in silent.collect::<Vec<_>>() {
            says.entry(other).or_default();
        }
        let concerned = says.keys().copied().collect();
        for (other, said) in says {
            self.say(service, other, said);
        }
        concerned
    }

    fn say(&mut self, service: ServiceId, other: ServiceId, said: Said) {
        self.edit(service, other, |link| link.mine = said);
        self.edit(other, service, |link| link.theirs = said);
    }

    fn edit(&mut self, service: ServiceId, other: ServiceId, change: impl FnOnce(&mut Link)) {
        let links = self.links.entry(service).or_default();
        let link = links.entry(other).or_default();
        change(link);
        if link.is_empty() {
            links.remove(&other);
        }
        if links.is_empty() {
            self.links.remove(&service);
        }
    }

    /// What a service says of others, as it was declared; each list in order, and nobody twice in it.
    pub(crate) fn said_by(&self, service: ServiceId) -> Relations {
        let mut relations = Relations::default();
        for (other, Link { mine, .. }) in self.links(service) {
            for (list, key) in lists(&mut relations) {
                if mine.has(key) {
                    list.push(other);
                }
            }
        }
        relations
    }

    /// Everybody who has to do with a service.
    pub(crate) fn links(&self, service: ServiceId) -> impl Iterator<Item = (ServiceId, Link)> {
        self.links.get(&service).into_iter().flatten().map(|(other, link)| (*other, *link))
    }

    /// The same, beginning with `first` and once round: who was in the way last time most likely still is.
    pub(crate) fn links_from(
        &self,
        service: ServiceId,
        first: ServiceId,
    ) -> impl Iterator<Item = (ServiceId, Link)> {
        let links = self.links.get(&service);
        let rest = links.into_iter().flat_map(move |links| links.range(first..));
        let start = links.into_iter().flat_map(move |links| links.range((Unbounded, Excluded(first))));
        rest.chain(start).map(|(other, link)| (*other, *link))
    }
}

fn said(relations: &Relations) -> BTreeMap<ServiceId, Said> {
    let mut all: BTreeMap<ServiceId, Said> = BTreeMap::new();
    for (list, key) in lists(&mut relations.clone()) {
        for other in list {
            all.entry(*other).or_default().0 |= key;
        }
    }
    all
}

/// Each list, and the key that stands for it.
fn lists(relations: &mut Relations) -> [(&mut Vec<ServiceId>, u8); 7] {
    let Relations { requires, binds_to, wants, part_of, after, before, conflicts } = relations;
    [
        (requires, Said::REQUIRES),
        (binds_to, Said::BINDS_TO),
        (wants, Said::WANTS),
        (part_of, Said::PART_OF),
        (after, Said::AFTER),
        (before, Said::BEFORE),
        (conflicts, Said::CONFLICTS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ServiceId = ServiceId(1);
    const B: ServiceId = ServiceId(2);

    fn link(a: Relations, b: Relations) -> Link {
        let mut graph = Graph::default();
        graph.declare(A, &a);
        graph.declare(B, &b);
        graph.links(A).next().map(|(_, link)| link).unwrap_or_default()
    }

    #[test]
    fn whoever_needs_another_starts_after_it_unless_somebody_says_the_opposite() {
        let none = Relations::default;
        let requires = || Relations { requires: vec![B], ..none() };
        let plain = link(requires(), none());
        assert!(plain.is_after() && plain.needs() && plain.pulls_in() && !plain.is_before());
        let own_word = link(Relations { before: vec![B], ..requires() }, none());
        assert!(own_word.is_before() && !own_word.is_after() && !own_word.needs() && own_word.pulls_in());
        let their_word = link(requires(), Relations { after: vec![A], ..none() });
        assert!(their_word.is_before() && !their_word.is_after());
        let wants = link(Relations { wants: vec![B], ..none() }, none());
        assert!(wants.pulls_in() && !wants.is_after() && !wants.needs());
        let before = link(none(), Relations { before: vec![A], ..none() });
        assert!(before.is_after() && !before.needs() && !before.pulls_in());
    }

    #[test]
    fn what_is_said_no_more_is_forgotten_on_both_sides() {
        let mut graph = Graph::default();
        graph.declare(A, &Relations { conflicts: vec![B], ..Relations::default() });
        assert!(graph.links(B).all(|(other, link)| other == A && link.conflicts()));
        assert_eq!(graph.declare(A, &Relations::default()), [B]);
        assert!(graph.links.is_empty());
    }

    #[test]
    fn going_round_begins_anywhere() {
        let mut graph = Graph::default();
        let after = (2..6).map(ServiceId).collect();
        graph.declare(A, &Relations { after, ..Relations::default() });
        let order = |first| graph.links_from(A, ServiceId(first)).map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!(order(4), [4, 5, 2, 3]);
        assert_eq!(order(9), [2, 3, 4, 5]);
        assert_eq!(order(0), [2, 3, 4, 5]);
    }
}
