//! The stores, and what stands on them: the conformance suite on each store, the committer over a store that
//! fails at every write, what is particular to SQLite, and the views and snapshots that follow from the log.

mod audit_index;
mod committer;
mod conformance;
mod disposable;
#[cfg(feature = "esdb")]
mod esdb;
mod files;
mod notices;
mod postgres;
#[path = "../support/postgres.rs"]
mod postgres_server;
mod replicas;
mod signing;
mod sqlite;
#[path = "../support/mod.rs"]
mod support;
mod writers;

/// Installs the TLS provider of this process. It is the one of EventStoreDB's client, which dies of any other.
fn install_tls() {
    #[cfg(feature = "esdb")]
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(rota::log::esdb::prepare_tls()).unwrap();
    })
    .join()
    .unwrap();
    #[cfg(not(feature = "esdb"))]
    let _ = rustls::crypto::ring::default_provider().install_default();
}
