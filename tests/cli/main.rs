//! The built program, run as people run it: each test says what would be wrong if it failed.

mod client;
mod offline;
mod serving;
mod support;
mod usage;
