//! What auditors ask: reports, each against an expectation that was worked out by hand.

#[path = "../support/mod.rs"]
mod support;

mod campaign_crash;
mod campaigns;
mod forensics;
mod history;
mod quiet;
mod reads;
mod reports;
