//! The domain by its rules: given events, when a command comes, then events or a refusal.

mod build;
mod catalogue;
mod connection;
mod describe;
mod expiry;
mod fixtures;
mod issue;
mod managed;
mod managed_fixtures;
mod managed_rotation;
mod name_space;
mod observation;
mod places;
mod proof;
mod properties;
mod quiet;
mod record;
mod replay;
mod revocation;
mod rotate;
mod schedule;
mod schemas;
mod token_keys;
mod two_phase;
mod webhook;
mod workspace;
