//! Every target against the real server that it is for.

mod active_directory;
mod ldap;
mod mongodb;
mod mysql;
mod postgres;
mod redis;
mod ssh;
mod suite;
