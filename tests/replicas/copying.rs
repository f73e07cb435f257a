//! Moving a ledger: to the last byte, also after an interruption, and never onto something else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rota::app::copy::{CopyError, copy};
use rota::app::{App, OpenError, StoreUrl};
use rota::log::EventLog;
use rota::log::faulty::{Fault, FaultyLog};
use rota::log::memory::MemoryLog;
use rota::log::sqlite::SqliteLog;

use crate::watched::{Site, Watched};

/// A ledger with some history, and a credential in it with its secret.
async fn lived(site: &Site, credentials: usize) -> (String, String) {
    let replica = site.replica().await;
    let workspace = replica.operator.open_workspace("moved").await;
    let mut last = (String::new(), String::new());
    for number in 0..credentials {
        let (id, public, _) = replica.operator.issue(&workspace, "signing").await;
        let key = format!("named-{number}");
        let named = [("idempotency-key", key.as_str())];
        let path = format!("/v1/credentials/{id}/rotate");
        let reply = replica.operator.send(reqwest::Method::POST, &path, &named, None).await.unwrap();
        last = (public, reply.expect(200).json()["secrets"]["secret"].as_str().unwrap().to_owned());
    }
    assert!(replica.operator.verifies(&last.0, &last.1).await);
    replica.stop().await;
    last
}

/// If this fails, a ledger changes when it moves, or its secrets don't work where it went.
#[tokio::test(flavor = "multi_thread")]
async fn a_moved_ledger_is_the_same_and_works() {
    let site = Site::new();
    let (public, secret) = lived(&site, 40).await;
    let from: Arc<dyn EventLog> = site.shared.clone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rota.db");
    let to: Arc<dyn EventLog> = Arc::new(SqliteLog::open(&path).await.unwrap());
    let copied = copy(&from, &to, |_, _, _| ()).await.unwrap();
    assert_eq!(copied.events, from.next().await.unwrap().0);
    for name in from.names().await.unwrap() {
        assert_eq!(from.meta(&name).await.unwrap(), to.meta(&name).await.unwrap(), "{name}");
    }
    // A second time there is something already.
    assert!(matches!(copy(&from, &to, |_, _, _| ()).await, Err(CopyError::NotEmpty(_))));
    drop(to);

    let mut options = site.options(from);
    options.store = StoreUrl::Sqlite(path);
    let opened = App::open(options, |_, _| ()).await.unwrap();
    let running =
        rota::http::start(opened.app.clone(), rota::http::ServeOptions::new("127.0.0.1:0".parse().unwrap()));
    let running = running.await.unwrap();
    let operator = crate::client::Caller::bearer(&running.url, crate::watched::OPERATOR);
    assert!(operator.verifies(&public, &secret).await, "the secret works where the ledger went");
    assert_eq!(operator.events().await, copied.events);
    running.stop().await;
    opened.close().await;
}

/// If this fails, a copy that was cut short can't be finished, is served, or keeps what was destroyed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_goes_on() {
    let site = Site::new();
    lived(&site, 700).await;
    let from: Arc<dyn EventLog> = site.shared.clone();
    let target = Arc::new(MemoryLog::shared());
    let shaky: Arc<dyn EventLog> =
        Arc::new(FaultyLog::new(target.clone(), |number| (number == 1).then_some(Fault::Refused)));
    assert!(matches!(copy(&from, &shaky, |_, _, _| ()).await, Err(CopyError::Store(_))));
    assert_eq!(target.next().await.unwrap().0, 1_000, "the first page is there");

    // What is half there is not served.
    let half = App::open(site.options(target.clone()), |_, _| ()).await;
    assert!(matches!(half.err(), Some(OpenError::CopyUnfinished)));

    // The source lives on: answers come to their end and are destroyed, in the part that was copied, too.
    let replica = site.replica().await;
    site.clock.advance(Duration::from_hours(25));
    while replica.app.do_due().await.unwrap() {}
    replica.operator.open_workspace("later").await;
    replica.stop().await;

    // Not just any ledger can go on there.
    let other = Site::new();
    lived(&other, 1).await;
    let elsewhere: Arc<dyn EventLog> = other.shared.clone();
    let to: Arc<dyn EventLog> = target.clone();
    assert!(matches!(copy(&elsewhere, &to, |_, _, _| ()).await, Err(CopyError::OtherCopy)));

    let copied = copy(&from, &to, |_, _, _| ()).await.unwrap();
    assert_eq!(copied.resumed, 1_000);
    assert_eq!(copied.events, from.next().await.unwrap().0);
    let opened = App::open(site.options(target), |_, _| ()).await.unwrap();
    opened.close().await;
}

/// If this fails, a ledger is copied while it changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_served_is_not_copied() {
    let site = Site::new();
    let replica = site.replica().await;
    replica.operator.open_workspace("served").await;
    let from: Arc<dyn EventLog> = site.shared.clone();
    let to: Arc<dyn EventLog> = Arc::new(MemoryLog::shared());
    assert!(matches!(copy(&from, &to, |_, _, _| ()).await, Err(CopyError::Served(_))));
    replica.stop().await;

    // And nobody serves what is being copied.
    let held = Watched::new(&site.shared);
    held.hold(true);
    let copying = {
        let from: Arc<dyn EventLog> = held.clone();
        tokio::spawn(async move { copy(&from, &to, |_, _, _| ()).await })
    };
    let begun = async {
        while held.reads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), begun).await.unwrap();
    let opened = App::open(site.options(site.shared.clone()), |_, _| ()).await;
    assert!(matches!(opened.err(), Some(OpenError::BeingCopied)));
    held.hold(false);
    copying.await.unwrap().unwrap();
    App::open(site.options(site.shared.clone()), |_, _| ()).await.unwrap().close().await;
}
