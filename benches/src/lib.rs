//! What the benchmarks share: ledgers of any size, callers in closed loops, and how a figure is taken.

pub mod floor;
pub mod ledger;
pub mod load;
pub mod measure;
pub mod naive;

/// What may go wrong in a benchmark ends it.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;
