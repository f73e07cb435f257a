//! Managed rotations below their ways in: what an attempt leaves at the target and in the ledger, whatever happens in
//! between. The target is a double of two users that take turns, which can fail or fall silent at any call; in
//! [`kills`] it is each real server that there is.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod command_line;
mod crashes;
mod double;
mod faults;
mod keys;
mod kills;
mod native;
mod notices;
mod replicas;
mod reports;
mod stands;
mod year;
