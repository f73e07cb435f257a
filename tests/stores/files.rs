//! What lies in the store's folder: for whom it is, and which ledger it belongs to.

use std::os::unix::fs::PermissionsExt;

use rota::app::{App, Caller};
use rota_aggregates::{RequestId, WorkspaceId};
use uuid::Uuid;

use crate::disposable::{House, operator};

/// Opens a workspace in a request of its own.
async fn open_workspace(app: &App, request: u128) -> WorkspaceId {
    let caller = Caller { request: RequestId(Uuid::from_u128(request)), ..operator() };
    app.open_workspace(&caller, "w").await.unwrap().0.id
}

/// The ids of the workspaces, as the views and the ledger together tell them.
async fn workspaces(app: &App) -> Vec<WorkspaceId> {
    let mut ids: Vec<_> = app.workspaces(&operator()).await.unwrap().iter().map(|w| w.id).collect();
    ids.sort_unstable_by_key(|id| id.0);
    ids
}

/// If this fails, other people of the machine can read the ledger where its folder was made by somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_for_its_owner_alone_also_in_a_folder_that_was_there_before() {
    let house = House::new();
    std::fs::set_permissions(house.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let opened = house.open().await;
    open_workspace(&opened.app, 1).await;
    opened.app.settled().await.unwrap();
    opened.app.snapshot().await;
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(house.folder.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        seen.push(name);
    }
    for name in
        ["rota.db", "rota.db-wal", "rota.db-shm", "rota.db.lock", "rota.db.views", "rota.db.views-wal"]
    {
        assert!(seen.iter().any(|there| there == name), "{name} is not among {seen:?}");
    }
    assert!(seen.iter().any(|name| name.starts_with("rota.db.snapshot-")), "{seen:?}");
    opened.close().await;
}

/// If this fails, two ledgers in one folder lock each other out, or read each other's views or snapshots.
#[tokio::test(flavor = "multi_thread")]
async fn two_databases_in_one_folder_share_nothing() {
    let house = House::new();
    let paths = ["x.db", "x.sqlite"].map(|name| house.folder.path().join(name));
    let mut expected = Vec::new();
    for again in [false, true] {
        let (one, other) = (house.open_at(&paths[0]).await, house.open_at(&paths[1]).await);
        if !again {
            open_workspace(&one.app, 1).await;
            open_workspace(&other.app, 2).await;
            open_workspace(&other.app, 3).await;
            expected = vec![workspaces(&one.app).await, workspaces(&other.app).await];
            assert_eq!((expected[0].len(), expected[1].len()), (1, 2));
        }
        assert_eq!(vec![workspaces(&one.app).await, workspaces(&other.app).await], expected);
        one.close().await;
        other.close().await;
    }
}

/// If this fails, a ledger that is put in another's place, or goes on from a backup, is searched in the views of
/// what was there before.
#[tokio::test(flavor = "multi_thread")]
async fn views_of_another_ledger_are_folded_anew() {
    let (ours, theirs) = (House::new(), House::new());
    let mut expected = Vec::new();
    for (house, requests) in [(&theirs, 11..13), (&ours, 21..26)] {
        let opened = house.open().await;
        for request in requests {
            open_workspace(&opened.app, request).await;
        }
        opened.app.settled().await.unwrap();
        expected = opened.app.views().dump().await.unwrap();
        opened.close().await;
    }
    let views = |house: &House| house.folder.path().join("rota.db.views");
    for journal in ["rota.db.views-wal", "rota.db.views-shm"] {
        let there = theirs.folder.path().join(journal);
        let here = ours.folder.path().join(journal);
        let _ = std::fs::remove_file(&here);
        if there.exists() {
            std::fs::copy(there, here).unwrap();
        }
    }
    std::fs::copy(views(&theirs), views(&ours)).unwrap();
    let opened = ours.open().await;
    opened.app.settled().await.unwrap();
    assert_eq!(opened.app.views().dump().await.unwrap(), expected);
    opened.close().await;
    // What is its own is not folded again.
    let opened = ours.open().await;
    assert!(opened.app.views().projected().0 >= 5);
    opened.close().await;
}
