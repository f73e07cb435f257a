//! Throwaway servers for tests: real ones, from packages that `./test` installs, on free ports of the loopback, as
//! users without privileges. Where accounts of the machine are touched, in namespaces with a copy of `/etc`.
//!
//! Each ends with the value that stands for it, and with the test process however that ends: a shell beside the server
//! waits for the end of a pipe ([`process`]). Everything lies in one folder in memory, which goes with the server.
//!
//! To add one: a file with a `start` that writes its configuration into a [`process::Folder`], runs the server by
//! [`process::Server::start`] and waits for it to answer, and a line in `need` of `./test` for its package.

pub mod active_directory;
pub mod certificates;
pub mod mariadb;
pub mod mongodb;
pub mod openldap;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod ssh;

pub use process::{Server, random_word};
pub use proxy::{Proxy, Speaker};
