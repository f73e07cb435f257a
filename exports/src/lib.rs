//! rota's events in the formats that others read: lines of JSON, CloudEvents, OCSF and CSV, and Parquet.
//!
//! Everything is made from an [`Entry`]: an event's position and the very bytes that the ledger keeps. Nothing is
//! decoded further than a format needs, and what an event says is never written anew: its data goes out as it was
//! recorded.
//!
//! - [`entry`]: an event read in place; [`filter`]: which events are wanted;
//! - [`lines`]: the formats of one event a line, among them [`cloud_event`] and [`ocsf`];
//! - [`parquet`]: typed columns, by day.
//!
//! Nothing here asks a store or a server.
#![warn(missing_docs)]

pub mod cloud_event;
pub mod entry;
pub mod filter;
pub mod lines;
pub mod ocsf;
pub mod parquet;

pub use self::cloud_event::CloudEvent;
pub use self::entry::Entry;
pub use self::filter::Filter;
pub use self::lines::Lines;
