//! The systems whose credentials rota rotates: one file per kind of system, behind one trait.
//!
//! A target knows how to reach its system, and how a credential is set, tried and ended there. It knows nothing of
//! events, schedules or who may ask: the engine of the service decides *when*, and keeps what was intended and what
//! happened. Every step here may be asked for twice, after a crash in between.
//!
//! - [`kind`]: the fourteen kinds, their names on the wire and what they publish;
//! - [`target`]: the trait, and the values that cross it;
//! - [`failure`]: why a step did not do what was asked, in the one distinction that matters: did anything change?
#![warn(missing_docs)]

pub mod failure;
pub mod kind;
pub mod target;

pub use failure::{Certainty, Failure};
pub use kind::Kind;
pub use target::{Credential, Intent, Login, Model, Network, Plan, Right, Slot, Target};
