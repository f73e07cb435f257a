//! The built program, run as people run it: each test says what would be wrong if it failed.

#[path = "../support/mod.rs"]
mod support;

mod client;
mod copy;
#[cfg(feature = "esdb")]
mod esdb;
mod export;
mod offline;
mod pack;
mod serving;
mod usage;
mod verify;
mod witness;
