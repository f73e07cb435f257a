//! Several replicas on one store: what is promised of one process holds for all of them together.

#![expect(clippy::print_stdout, reason = "what was counted is worth as much as that it passed")]

mod behind;
mod copying;
#[cfg(feature = "esdb")]
mod esdb;
mod ledger;
mod memory;
mod notices;
mod postgres;
#[path = "../support/postgres.rs"]
mod postgres_cluster;
mod process;
#[path = "../support/mod.rs"]
mod support;
mod upkeep;
mod watched;

use support as client;
