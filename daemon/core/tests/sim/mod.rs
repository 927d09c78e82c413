//! A world of fake processes under virtual time that drives the core through its contract with the shell.
//!
//! | module | question |
//! |---|---|
//! | `dice` | what varies from seed to seed? |
//! | `world` | what do processes, probes, disks and people do? |
//! | `run` | one seed from the first step to the last |
//! | `ledger`, `life` | what has been said and done so far, in all and to one service? |
//! | `order` | what must hold between services? |
//! | `invariants`, `starting`, `around`, `conditions`, `causes` | what must hold after every step? |
//! | `states` | can every later version read what was written down? |
//! | `subject` | the core, or a broken one to show that this notices |

pub(crate) mod around;
pub(crate) mod causes;
pub(crate) mod conditions;
pub(crate) mod dice;
pub(crate) mod invariants;
pub(crate) mod ledger;
pub(crate) mod life;
pub(crate) mod order;
pub(crate) mod run;
pub(crate) mod starting;
mod states;
pub(crate) mod subject;
pub(crate) mod world;
