//! The shell of mcpd: it performs what the pure core (crate `mcpd-core`) decides, and tells it what happened.
//!
//! One task owns all state and never waits ([`shell`]). Whatever waits is a minder with handles and no policy:
//!
//! | module | minds |
//! |---|---|
//! | [`spawner`], [`setup`], [`allowance`] | starting processes; what is set in them first; what they may use together |
//! | [`log`] | what services print: pipes, files, tails, followers |
//! | [`probe`] | health checks |
//! | [`crash`], [`recorder`] | crash reports on disk |
//! | [`notifier`] | who is told when something is wrong with a service |
//! | [`register`], [`leftovers`] | what is to be known after a SIGKILL; what the life before left |
//! | [`history`] | what is remembered of each service: when it was up, what failed |
//! | [`scribe`] | events: subscribers, terminal, systemd's journal |
//! | [`journal`] | events on disk: written, and found again |
//! | [`watch`] | files that services, and mcpd itself, want to know of |
//! | [`control`] | clients on the control socket |
//! | [`why`] | why a service is as it is, in words for people |
//! | [`workers`] | what waits for a disk or a network where it stands |
//! | [`signals`], [`systemd`] | what the system asks, what systemd is told |
//! | [`sys`] | processes and clocks of each operating system; all unsafe code |
//! | [`ledger`] | what the next daemon has to know, should this one be killed |
//! | [`keeper`] | the daemon itself: what starts it, and the next one when it dies |
//! | [`run`] | the order in which all this starts |
//! | [`voice`] | where all that is said goes |
//! | [`demo`] | `mcpd demo` |

pub mod allowance;
pub mod control;
pub mod crash;
pub mod demo;
pub mod history;
pub mod instance;
pub mod journal;
pub mod keeper;
pub mod ledger;
pub mod leftovers;
pub mod log;
pub mod notifier;
pub mod notify;
mod pattern;
pub mod probe;
pub mod recorder;
pub mod register;
pub mod run;
pub mod scribe;
pub mod setup;
pub mod shell;
pub mod signals;
pub mod spawner;
pub mod sys;
pub mod systemd;
pub mod voice;
pub mod watch;
pub mod why;
pub mod words;
pub mod workers;
