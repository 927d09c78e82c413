//! The pure decider of mcpd.
//!
//! [`Core`] is a function of its inputs: events and the time go in, actions come out. It has no clock, starts no
//! process, opens no file and never waits; the shell (crate `mcpd`) performs what it decides and tells it what
//! happened. Bad news is an [`Event`] like any other, so nothing here returns a `Result`. Same seed and same events
//! give the same actions, which is what the simulator in `tests/` lives on.
//!
//! # Contract with the shell
//!
//! * Every [`Action::Spawn`] is answered by exactly one [`Event::Spawned`] or [`Event::SpawnFailed`] with its
//!   generation; a started process by exactly one [`Event::Exited`].
//! * [`Action::Settle`] is answered by one [`Event::Drained`], without which the core goes on after a while, and by
//!   [`Event::TreeLeft`] each time the shell has looked at what is left of the process tree, until a look finds nothing
//!   (`left: 0`). [`Action::Look`] has it begin to look again; what was seen before is not told any more then.
//! * An [`Event::Define`] with something `left` is followed by [`Event::TreeLeft`] of generation 0 in the same way.
//! * [`Action::RecordCrash`] is answered by one [`Event::CrashRecorded`]; the core goes on without it after a while.
//! * [`Action::Probe`] is answered by one [`Event::Probed`], or by none: the core stops waiting for it. A probe that
//!   hangs is the prober's to end, and a [`Finding::Bad`]; one that could not be carried out, or that is never
//!   answered, counts neither as a failure nor as a success.
//! * [`Action::Run`] is answered by one [`Event::RunEnded`], or by none: the core stops waiting for it. After
//!   [`Action::EndRun`] too.
//! * A service whose policy says [`policy::ReadyPolicy::Told`] is up with [`Event::Ready`], one of
//!   [`policy::ReadyPolicy::Notified`] with [`event::Said::Ready`].
//! * After every call the shell waits until [`Core::next_deadline`] at the latest and then calls
//!   [`Core::handle_timeout`]. `now` never goes back.
//!
//! # Where to go
//!
//! | module | question |
//! |---|---|
//! | [`event`], [`action`] | what can happen, what can be done? |
//! | [`policy`] | what does the configuration ask for? |
//! | [`verdict`] | was that end a failure, and what follows? |
//! | `service` | the life of one service: wanted x actual |
//! | `graph` | who has to do with whom? |
//! | `wishes` | what else does it mean when this is wanted? |
//! | `order` | who may go on now? |
//! | `health` | when to ask for health, when is it a failure? |
//! | [`view`] | what does a person see? |
//! | [`state`] | what does a successor have to know? |

pub mod action;
mod brain;
pub mod event;
mod graph;
mod health;
mod index;
mod order;
pub mod policy;
mod service;
pub mod state;
pub mod time;
pub mod verdict;
pub mod view;
mod wishes;

pub use action::{Action, Condition, Note, NoteId, NoteKind, Outcome, WaitingFor, Whom};
pub use brain::Core;
pub use event::{Event, Exit, Finding, RequestId, Said, ServiceId, Verb};
pub use policy::Policy;
pub use state::State;
pub use time::Mono;
