//! The core's state as plain data, for a successor that is to take over where this one was.
//!
//! What follows from other data is not part of it: the index of deadlines, who is busy or starting. What is waited for
//! is; [`Core::owed`] names it, and a shell that takes over sees to it.
//!
//! The format is a promise: what one version has written, later versions read. A field that is added has a
//! `#[serde(default)]`; what cannot be said that way is a new [`VERSION`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::{Action, NoteId};
use crate::brain::{Boot, Core};
use crate::event::ServiceId;
use crate::graph::Graph;
use crate::index::Index;
use crate::order::{Agenda, Face};
use crate::policy::Relations;
use crate::service::Service;
use crate::time::{Chance, Mono};

/// What [`Core::state`] writes.
pub const VERSION: u32 = 1;

/// Everything that a core knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The format: [`VERSION`].
    version: u32,
    common: Common,
    services: Vec<Service>,
}

/// What concerns all services together.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Common {
    boot: Boot,
    chance: Chance,
    notes: u64,
    shutting_down: bool,
    hurry: bool,
    finished: bool,
    held: bool,
    configured: Option<NoteId>,
    config_changed: Option<(Mono, Mono)>,
    expected: BTreeSet<ServiceId>,
    /// What each service says of others; who is not defined says nothing.
    relations: BTreeMap<ServiceId, Relations>,
    most_starting: usize,
    /// The queue for a place, and who was in it and does not wait any more.
    places: Vec<(u64, ServiceId)>,
    next_place: u64,
    looks: BTreeSet<ServiceId>,
    changed: BTreeSet<ServiceId>,
    work: u64,
}

/// What has changed since a state, or since the last of these.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delta<'a> {
    /// Its relations are those of the services in it.
    common: Common,
    services: Vec<Cow<'a, Service>>,
    gone: Vec<ServiceId>,
}

/// Why a state cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It has a format that this version does not know.
    UnknownVersion {
        /// Which one.
        found: u32,
    },
    /// It is none.
    Garbage(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion { found } => {
                write!(
                    f,
                    "the state has format {found}, and this version of mcpd reads formats up to {VERSION}"
                )
            }
            Self::Garbage(why) => write!(f, "the state cannot be read: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl State {
    /// One line of JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Maps have numbers for keys and nothing is written to anything: there is nothing to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What [`Self::to_text`] gave.
    ///
    /// # Errors
    /// [`Refusal`]. What comes from a later version is told by its number, whatever else is in it.
    pub fn from_text(text: &str) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let garbage = |error: serde_json::Error| Refusal::Garbage(error.to_string());
        let Version { version } = serde_json::from_str(text).map_err(garbage)?;
        if version != VERSION {
            return Err(Refusal::UnknownVersion { found: version });
        }
        serde_json::from_str(text).map_err(garbage)
    }
}

impl State {
    /// Takes in what has changed since. In the order in which they were made, and none left out.
    pub fn apply(&mut self, delta: Delta<'_>) {
        let Delta { common, services, gone } = delta;
        let before = std::mem::replace(&mut self.common, common);
        let touched: BTreeSet<ServiceId> =
            services.iter().map(|service| service.id).chain(gone.iter().copied()).collect();
        let others = before.relations.into_iter().filter(|(id, _)| !touched.contains(id));
        self.common.relations.extend(others);
        self.services.retain(|service| !gone.contains(&service.id));
        for service in services {
            let service = service.into_owned();
            match self.services.binary_search_by_key(&service.id, |other| other.id) {
                Ok(place) => self.services[place] = service,
                Err(place) => self.services.insert(place, service),
            }
        }
    }

    /// Which services there are.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.services.iter().map(|service| service.id)
    }
}

impl Core {
    /// What has changed since the last time this was asked for, or since [`Self::restore`]; of a new core everything.
    pub fn delta(&mut self) -> Delta<'_> {
        let touched = std::mem::take(&mut self.touched);
        let common = self.common(touched.iter().copied());
        let gone = touched.iter().filter(|id| !self.services.contains_key(id)).copied().collect();
        let services = touched.iter().filter_map(|id| self.services.get(id));
        let services = services.map(|service| Cow::Borrowed(&**service)).collect();
        Delta { common, services, gone }
    }

    /// Whom the next [`Self::delta`] is about.
    pub fn touched(&self) -> impl Iterator<Item = ServiceId> {
        self.touched.iter().copied()
    }

    /// The first configuration has been told of in whole.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.boot != Boot::Defining
    }

    /// A configuration is being told of.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whoever starts with the daemon has settled.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.boot == Boot::Ready
    }

    /// The number of the next note.
    #[must_use]
    pub fn next_note(&self) -> NoteId {
        NoteId(self.notes)
    }

    /// Notes have this number at least from now on.
    pub fn number_notes_from(&mut self, first: NoteId) {
        self.notes = self.notes.max(first.0);
    }

    /// Everything it knows.
    #[must_use]
    pub fn state(&self) -> State {
        let common = self.common(self.services.keys().copied());
        let services = self.services.values().map(|service| Service::clone(service)).collect();
        State { version: VERSION, common, services }
    }

    /// `said`: whose relations belong to it.
    fn common(&self, said: impl Iterator<Item = ServiceId>) -> Common {
        let Self {
            services: _,
            graph,
            agenda,
            expected,
            index: _,
            chance,
            notes,
            shutting_down,
            hurry,
            finished,
            busy: _,
            boot,
            held,
            configured,
            unsettled: _,
            config_changed,
            touched: _,
        } = self;
        let relations = said.map(|id| (id, graph.said_by(id)));
        Common {
            boot: *boot,
            chance: *chance,
            notes: *notes,
            shutting_down: *shutting_down,
            hurry: *hurry,
            finished: *finished,
            held: *held,
            configured: *configured,
            config_changed: *config_changed,
            expected: expected.clone(),
            relations: relations.filter(|(_, said)| *said != Relations::default()).collect(),
            most_starting: agenda.most_starting,
            places: agenda.places.iter().map(|(place, id)| (*place, *id)).collect(),
            next_place: agenda.next_place,
            looks: agenda.looks.clone(),
            changed: agenda.changed.clone(),
            work: agenda.work,
        }
    }

    /// What is waited for and nobody answers any more once the daemon is dead: for a successor to do again, or to answer
    /// by itself where it knows the answer. A process that was started is such an answer to [`crate::Action::Spawn`], a
    /// report that is on disk one to [`crate::Action::RecordCrash`].
    #[must_use]
    pub fn owed(&self) -> Vec<Action> {
        let mut owed = Vec::new();
        for service in self.services.values() {
            service.owed(&mut owed);
        }
        owed
    }

    /// A core that goes on where another one was: told the same, it does the same.
    #[must_use]
    pub fn restore(state: State) -> Self {
        let State { version: _, common, services } = state;
        let Common {
            boot,
            chance,
            notes,
            shutting_down,
            hurry,
            finished,
            held,
            configured,
            config_changed,
            expected,
            relations,
            most_starting,
            places,
            next_place,
            looks,
            changed,
            work,
        } = common;
        let mut graph = Graph::default();
        for (id, said) in &relations {
            graph.declare(*id, said);
        }
        let (mut index, mut unsettled) = (Index::default(), Index::default());
        let (mut busy, mut starting) = (0, 0);
        let mut all = BTreeMap::new();
        for mut service in services {
            let (id, face) = (service.id, Face::of(&service));
            busy += usize::from(!face.at_rest);
            starting += usize::from(face.starting);
            service.indexed = service.deadline();
            index.set(id, None, service.indexed);
            unsettled.set(id, None, service.settles_by);
            all.insert(id, Box::new(service));
        }
        let places = places.into_iter().collect();
        let agenda = Agenda { looks, changed, places, next_place, starting, most_starting, work };
        Self {
            services: all,
            graph,
            agenda,
            expected,
            index,
            chance,
            notes,
            shutting_down,
            hurry,
            finished,
            busy,
            boot,
            held,
            configured,
            unsettled,
            config_changed,
            touched: BTreeSet::new(),
        }
    }
}
