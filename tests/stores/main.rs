//! The stores, and what stands on them: the conformance suite on each store, the committer over a store that
//! fails at every write, what is particular to SQLite, and the views and snapshots that follow from the log.

mod audit_index;
mod committer;
mod conformance;
mod disposable;
mod files;
mod postgres;
#[path = "../support/postgres.rs"]
mod postgres_server;
mod replicas;
mod sqlite;
#[path = "../support/mod.rs"]
mod support;
mod writers;
