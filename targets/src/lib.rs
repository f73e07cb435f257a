//! The systems whose credentials rota rotates: one file per kind of system, behind one trait.
//!
//! A target knows how to reach its system, and how a credential is set, tried and ended there. It knows nothing of
//! events, schedules or who may ask: the engine of the service decides *when*, and keeps what was intended and what
//! happened. Every step here may be asked for twice, after a crash in between.
//!
//! - [`kind`]: the fourteen kinds, their names on the wire and what they publish;
//! - [`connection`] and [`parameters`]: what users give, read and kept; [`issue`]: what is wrong with it;
//! - [`password`] and [`statement`]: how new passwords and users' own statements are made;
//! - [`surroundings`]: what a target needs besides, such as the way out and the time;
//! - [`target`]: the trait, and the values that cross it; [`mod@open`]: from the above to a target;
//! - [`failure`]: why a step did not do what was asked, in the one distinction that matters: did anything change?
#![warn(missing_docs)]

mod acl;
pub mod auth0_client_secret;
pub mod aws_iam_user_secret;
pub mod azure_client_secret;
mod chosen;
pub mod connection;
pub mod databricks_service_principal_secret;
pub mod failure;
pub mod issue;
mod keys;
pub mod kind;
#[cfg(feature = "ldap")]
mod ldap;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "mssql")]
mod mssql;
#[cfg(feature = "mysql")]
mod mysql;
pub mod okta_client_secret;
pub mod open;
#[cfg(feature = "oracle")]
mod oracle;
pub mod parameters;
pub mod password;
#[cfg(feature = "postgres")]
mod postgres;
mod reach;
#[cfg(feature = "redis")]
mod redis;
mod rest;
#[cfg(feature = "ssh")]
mod ssh;
pub mod statement;
pub mod surroundings;
pub mod target;
mod windows_local_account;

pub use connection::{App, Connection};
pub use failure::{Certainty, Failure};
pub use issue::{Code, Issue};
pub use kind::Kind;
pub use open::{check, is_available, open};
pub use parameters::Parameters;
pub use surroundings::Surroundings;
pub use target::{Credential, Intent, Login, Model, Network, Plan, Right, Slot, Target};
