//! Every target against the real server that it is for.

mod mongodb;
mod postgres;
mod redis;
mod suite;
