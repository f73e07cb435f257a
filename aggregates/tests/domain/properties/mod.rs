//! What holds for any sequence of commands and for any record.

mod any;
mod records;
mod rules;
mod sequence;
