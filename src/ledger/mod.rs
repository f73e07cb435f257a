//! The verifiable ledger: every event is a leaf of an RFC 6962 tree in position order, and signed roots of that
//! tree are what an auditor keeps. All of it in the C2SP formats, so that verifiers written by others read it.
//!
//! - [`rfc6962`]: the tree's hashes, its root, and the edge at which it grows;
//! - [`tile`]: the tree as static tiles, and their paths;
//! - [`proof`]: inclusion and consistency, made and checked;
//! - [`note`]: signed notes and their keys; [`checkpoint`]: a signed root;
//! - [`receipt`]: what proves offline that an event is in the ledger;
//! - [`policy`]: whose cosignatures are enough; [`cosigning`]: what is said to a witness, and what it makes of that;
//! - [`check`]: whether leaves, tiles and signed roots fit each other.
//!
//! Nothing here reads a store or a clock.

pub mod check;
pub mod checkpoint;
pub mod cosigning;
pub mod note;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod rfc6962;
pub mod tile;
