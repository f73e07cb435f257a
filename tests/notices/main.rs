//! Notices: what webhooks are told, over HTTP, by a server in this process to receivers in this process.

#[path = "../support/mod.rs"]
mod support;

mod api;
mod crash;
mod deliveries;
mod example;
mod receiver;
mod refused;
mod retries;
