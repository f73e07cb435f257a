//! The service: an event log, sealing, the verifiable ledger, the use cases, and the ways in.

pub mod anchors;
pub mod app;
pub mod csv;
pub mod egress;
pub mod file;
pub mod http;
pub mod ledger;
pub mod log;
pub mod notices;
pub mod sealing;
pub mod signing;
pub mod telemetry;
pub mod tokens;
pub mod views;
pub mod witness;
