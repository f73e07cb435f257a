//! The targets in vendors' clouds: AWS on moto, which checks signatures and policies; the others on doubles that keep
//! state, behind Prism, which checks every request against the vendor's published schema.
//!
//! What these can't prove is in `docs/targets.md`.

mod auth0;
mod aws;
mod azure;
mod databricks;
mod doubles;
mod okta;
mod support;
