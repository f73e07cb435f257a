//! Every target against the real server that it is for.

mod postgres;
mod redis;
mod suite;
