//! What the test binaries stand on: the service in the test's own process ([`service`]), the built program as a
//! process of its own ([`program`]), callers over HTTP ([`client`]), somebody who is told ([`receiver`]), programs that stand in
//! front of something ([`front`]), and scratch folders ([`files`]).
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

mod client;
mod files;
mod front;
mod program;
mod python;
mod receiver;
mod service;

pub use self::client::{As, Caller, FLUIDE_CLIENT, Reply, members, pair, send, text};
pub use self::files::{database, files, ledger, mode, set_mode, tamper};
pub use self::front::{Front, nginx, program};
pub use self::program::{Process, Ran, free_port, rota, run};
pub use self::python::{python, run_python};
pub use self::receiver::{Receiver, Seen};
pub use self::service::{Home, Server, Service, until};

/// The operator key of every test's store.
pub const OPERATOR: &str = "operator-key-for-tests-0123456789abcdef";
