//! What follows from the log and can be dropped: the views and the snapshots. Invariant 7.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rota::app::clock::ManualClock;
use rota::app::idempotency::Idempotency;
use rota::app::issue::Issue;
use rota::app::lifecycle::Change;

use rota::app::rotate::{Made, Prepare, Rotate};
use rota::app::{App, Caller, Failure, Opened, Options, Principal, StoreUrl};
use rota::log::tip::Tip;
use rota_aggregates::authority::{Dialect, Role, Roles};
use rota_aggregates::credential::{CommitCause, EndCause, Kind};
use rota_aggregates::secret::Mode;
use rota_aggregates::{CredentialId, RequestId, Timestamp, WorkspaceId};
use rota_projections::live::Live;
use serde_json::Map;
use tempfile::TempDir;
use uuid::Uuid;

pub struct House {
    pub folder: TempDir,
    clock: Arc<ManualClock>,
}

impl House {
    pub fn new() -> Self {
        crate::install_tls();
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_790_000_000_000_000)));
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("rota.db")
    }

    pub async fn open(&self) -> Opened {
        self.open_at(&self.path()).await
    }

    pub async fn open_at(&self, path: &Path) -> Opened {
        let mut options = Options::new(StoreUrl::Sqlite(path.to_owned()), self.clock.clone());
        options.master_key_file = Some(self.folder.path().join("master.key"));
        App::open(options, |_, _| ()).await.unwrap()
    }

    /// The snapshots' files, newest first.
    fn snapshots(&self) -> Vec<PathBuf> {
        let mut found: Vec<(u64, PathBuf)> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter_map(|path| {
                let number = path.file_name()?.to_str()?.strip_prefix("rota.db.snapshot-")?.parse().ok()?;
                Some((number, path))
            })
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.into_iter().map(|(_, path)| path).collect()
    }
}

pub fn operator() -> Caller {
    let request = RequestId(Uuid::from_u128(77));
    Caller {
        principal: Principal::Operator,
        dialect: Dialect::Native,
        request,
        correlation: request.0,
        client_address: Some("192.0.2.7".to_owned()),
        user_agent: Some("tests".to_owned()),
    }
}

/// An answer with what a test goes on with.
#[expect(clippy::unnecessary_wraps, reason = "rendering may fail elsewhere")]
fn render(made: &Made) -> Result<Vec<u8>, Failure> {
    Ok(format!("{}\n{}\n{}", made.credential, made.public_id, made.secret.expose()).into_bytes())
}

/// A credential with its public identifier and the secret that was shown last.
#[derive(Clone)]
struct Holder {
    id: CredentialId,
    public: String,
    secret: String,
}

fn holder(answer: &[u8]) -> Holder {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || lines.next().unwrap();
    Holder { id: next().parse().unwrap(), public: next(), secret: next() }
}

fn key(name: &str) -> Idempotency {
    Idempotency::new(name.as_bytes(), &[b"POST", name.as_bytes()]).unwrap()
}

async fn issue(app: &App, workspace: WorkspaceId, kind: Kind, name: &str) -> Holder {
    let issue = Issue {
        workspace,
        kind,
        name: name.to_owned(),
        roles: [Role::Rotator].into_iter().collect::<Roles>(),
        mode: (kind == Kind::WorkspaceKey).then_some(Mode::Test),
        parent: None,
        profile: Map::new(),
    };
    let answer = app.issue(&operator(), &issue, Some(&key(&format!("issue-{name}"))), render).await;
    holder(&answer.unwrap().bytes)
}

async fn rotate(app: &App, who: &Holder, grace: u64, name: Option<&str>) -> Holder {
    let rotate =
        Rotate { grace_seconds: Some(grace), reason: Some("it was time".to_owned()), with_view: true };
    let key = name.map(key);
    let answer = app.rotate(&operator(), who.id, &rotate, key.as_ref(), render).await.unwrap();
    holder(&answer.bytes)
}

async fn prepare(app: &App, who: &Holder, deadline: u64) -> Holder {
    let prepare = Prepare { grace_seconds: Some(50), deadline_seconds: Some(deadline), ..Prepare::default() };
    let answer = app.prepare(&operator(), who.id, &prepare, None, render).await.unwrap();
    holder(&answer.bytes)
}

/// A life in two workspaces: every kind, every change, and what falls due. Gives what a verification is to accept.
async fn live_through(house: &House, app: &App, name: &str) -> Vec<Holder> {
    let operator = operator();
    let mut holders = Vec::new();
    for tenant in ["one", "two"] {
        let (workspace, _) = app.open_workspace(&operator, &format!("{name} {tenant}")).await.unwrap();
        for kind in Kind::ALL {
            let who = issue(app, workspace.id, kind, &format!("{name}-{tenant}-{}", kind.name())).await;
            let mut who = rotate(app, &who, 0, Some(&format!("{name}-{tenant}-{}-r", kind.name()))).await;
            house.clock.advance(Duration::from_millis(1_500));
            let old = who.clone();
            who = rotate(app, &who, 60, None).await;
            assert!(app.verify(&operator, &old.public, &old.secret).await.unwrap().is_some());
            holders.push(who);
        }
        let days = if tenant == "one" { 1 } else { 10 };
        let set = |policy| rota_aggregates::workspace::Policy { digest_retention_days: days, ..policy };
        app.set_policy(&operator, workspace.id, set).await.unwrap();
    }
    let change = async |who: &Holder, change: Change| {
        app.change(&operator, who.id, &change, Some("a reason")).await.unwrap();
    };
    change(&holders[0], Change::EndGrace).await;
    holders[1] = prepare(app, &holders[1], 3_600).await;
    change(&holders[1], Change::Commit { cause: CommitCause::Call, version: None }).await;
    prepare(app, &holders[2], 3_600).await;
    change(&holders[2], Change::Cancel { cause: EndCause::Call }).await;
    let described = vec!["name".to_owned()];
    let name = Some("renamed".to_owned());
    change(&holders[3], Change::Describe { name, profile: None, changed: described }).await;
    change(&holders[4], Change::RevokeSecret { version: 2 }).await;
    change(&holders[9], Change::Revoke).await;
    holders.truncate(9);
    // A first use commits, one that is prepared waits, one that was prepared is too late.
    holders[5] = prepare(app, &holders[5], 3_600).await;
    assert!(app.verify(&operator, &holders[5].public, &holders[5].secret).await.unwrap().is_some());
    prepare(app, &holders[7], 2).await;
    prepare(app, &holders[6], 500_000).await;
    // What was due is done: expiries, deadlines, answers after a day, digests after another.
    for seconds in [61, 86_400, 100_000] {
        house.clock.advance(Duration::from_secs(seconds));
        while app.do_due().await.unwrap() {}
        app.shred_digests().await.unwrap();
    }
    holders
}

fn live_bytes(live: &Live) -> Vec<u8> {
    let mut out = Vec::new();
    live.encode_slots(0, usize::MAX >> 1, &mut out);
    live.encode_rest(&mut out);
    out
}

fn tip_bytes(tip: &Tip) -> (Vec<u8>, Vec<u8>) {
    let mut replays = Vec::new();
    tip.replays.encode(&mut replays);
    (live_bytes(&tip.live), replays)
}

/// Holds the tip against the fold of everything from the start.
async fn assert_folded(app: &App) {
    // What goes on beside the test can add an event between the two.
    loop {
        let (end, bytes) = {
            let tip = app.tip().tip.read();
            (tip.live.next_position(), tip_bytes(&tip))
        };
        let folded = app.fold_until(end).await.unwrap();
        assert_eq!(bytes, tip_bytes(&folded), "the tip is the fold of the log up to {end}");
        if app.tip().tip.read().live.next_position() == end {
            return;
        }
    }
}

async fn assert_accepted(app: &App, holders: &[Holder]) {
    for who in holders {
        let verified = app.verify(&operator(), &who.public, &who.secret).await.unwrap();
        assert!(verified.is_some(), "{} is accepted", who.public);
    }
}

/// Invariant 7: dropping every view and folding the ledger again gives the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn views_are_disposable() {
    let house = House::new();
    let opened = house.open().await;
    let app = &opened.app;
    let holders = live_through(&house, app, "first").await;
    assert_accepted(app, &holders).await;
    let mut same = Vec::new();
    while same.len() < 3 {
        let head = app.tip().tip.read().live.next_position();
        app.settled().await.unwrap();
        let before = app.views().dump().await.unwrap();
        for kind in ["audit", "credential", "ended", "checkpoint"] {
            assert!(before.iter().any(|line| line.starts_with(kind)), "there are rows of {kind}");
        }
        app.views().clear().await.unwrap();
        app.views().catch_up(|_| ()).await.unwrap();
        let after = app.views().dump().await.unwrap();
        // What goes on beside the test can add an event between the two.
        if app.tip().tip.read().live.next_position() == head {
            assert_eq!(after, before);
            same.push(after);
        }
    }
    assert_folded(app).await;
    opened.close().await;

    // The file may be deleted as well.
    std::fs::remove_file(house.folder.path().join("rota.db.views")).unwrap();
    for journal in ["rota.db.views-wal", "rota.db.views-shm"] {
        let _ = std::fs::remove_file(house.folder.path().join(journal));
    }
    let opened = house.open().await;
    opened.app.settled().await.unwrap();
    assert_eq!(opened.app.views().dump().await.unwrap(), same[2]);
    assert_folded(&opened.app).await;
    opened.close().await;
}

/// The same over more than one page of the feed: where a page ends does not show.
#[tokio::test(flavor = "multi_thread")]
async fn views_are_disposable_across_pages() {
    let house = House::new();
    let opened = house.open().await;
    let app = &opened.app;
    let (workspace, _) = app.open_workspace(&operator(), "large").await.unwrap();
    let names: Vec<_> = (0..800).map(|number| format!("large-{number}")).collect();
    let issued = names.iter().map(|name| issue(app, workspace.id, Kind::Client, name));
    let holders = futures_util::future::join_all(issued).await;
    for _ in 0..2 {
        futures_util::future::join_all(holders.iter().map(|who| rotate(app, who, 0, None))).await;
    }
    assert!(app.log().next().await.unwrap().0 > 2_048);
    app.settled().await.unwrap();
    let before = app.views().dump().await.unwrap();
    app.views().clear().await.unwrap();
    app.views().catch_up(|_| ()).await.unwrap();
    assert_eq!(app.views().dump().await.unwrap(), before);
    assert_folded(app).await;
    opened.close().await;
}

/// Views that are dropped while events come in, by somebody else than the one who folds them, have no gap and no
/// event twice.
#[tokio::test(flavor = "multi_thread")]
async fn views_are_dropped_while_they_are_written() {
    let house = House::new();
    let opened = house.open().await;
    let app = Arc::clone(&opened.app);
    let writer = {
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let (workspace, _) = app.open_workspace(&operator(), "busy").await.unwrap();
            for number in 0..40 {
                let who = issue(&app, workspace.id, Kind::Client, &format!("busy-{number}")).await;
                rotate(&app, &who, 0, None).await;
            }
        })
    };
    while !writer.is_finished() {
        app.views().clear().await.unwrap();
        app.views().catch_up(|_| ()).await.unwrap();
    }
    writer.await.unwrap();
    app.views().catch_up(|_| ()).await.unwrap();
    let found = app.views().dump().await.unwrap();
    app.views().clear().await.unwrap();
    app.views().catch_up(|_| ()).await.unwrap();
    assert_eq!(found, app.views().dump().await.unwrap());
    drop(app);
    opened.close().await;
}

/// A start from a snapshot is as good as one from the first event, whether the snapshot is of the end or of before.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_a_snapshot_is_a_start_from_zero() {
    let house = House::new();
    let opened = house.open().await;
    let first = live_through(&house, &opened.app, "first").await;
    opened.close().await;
    let [snapshot] = house.snapshots().try_into().unwrap();
    let kept = std::fs::read(&snapshot).unwrap();

    let opened = house.open().await;
    assert_eq!(opened.replayed, 0, "the snapshot was of the end");
    assert_folded(&opened.app).await;
    assert_accepted(&opened.app, &first).await;
    let second = live_through(&house, &opened.app, "second").await;
    opened.close().await;

    // As after a crash: the last snapshot is the older one.
    for path in house.snapshots() {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::write(&snapshot, kept).unwrap();
    let opened = house.open().await;
    let end = opened.app.log().next().await.unwrap().0;
    assert!(opened.replayed > 0 && opened.replayed < end, "{} of {end} were folded", opened.replayed);
    assert_folded(&opened.app).await;
    assert_accepted(&opened.app, &first).await;
    assert_accepted(&opened.app, &second).await;
    opened.close().await;
}

/// A snapshot that is written while others write is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_written_while_events_come_in() {
    let house = House::new();
    let opened = house.open().await;
    let app = Arc::clone(&opened.app);
    let (workspace, _) = app.open_workspace(&operator(), "busy").await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let app = Arc::clone(&app);
            tokio::spawn(async move {
                let mut holders = Vec::new();
                for number in 0..12 {
                    let who = issue(&app, workspace.id, Kind::Signing, &format!("{writer}-{number}")).await;
                    let prepared = prepare(&app, &who, 3_600).await;
                    let found = app.verify(&operator(), &prepared.public, &prepared.secret).await.unwrap();
                    assert!(found.is_some());
                    holders.push(prepared);
                }
                holders
            })
        })
        .collect();
    let mut kept = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        app.snapshot().await;
        for path in house.snapshots() {
            // The older of the two may be removed meanwhile.
            if let Ok(bytes) = std::fs::read(&path)
                && !kept.iter().any(|(known, _)| *known == path)
            {
                kept.push((path, bytes));
            }
        }
    }
    let mut holders = Vec::new();
    for writer in writers {
        holders.extend(writer.await.unwrap());
    }
    drop(app);
    opened.close().await;
    let step = (kept.len() / 12).max(1);
    for (path, bytes) in kept.into_iter().step_by(step) {
        for path in house.snapshots() {
            std::fs::remove_file(path).unwrap();
        }
        std::fs::write(path, bytes).unwrap();
        let opened = house.open().await;
        let end = opened.app.log().next().await.unwrap().0;
        assert!(opened.replayed < end, "the snapshot was used");
        assert_folded(&opened.app).await;
        assert_accepted(&opened.app, &holders).await;
        opened.close().await;
    }
}

/// A snapshot that is not as it was written is passed over, and the start is as good without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_passed_over() {
    let house = House::new();
    let opened = house.open().await;
    let holders = live_through(&house, &opened.app, "first").await;
    opened.close().await;
    let [snapshot] = house.snapshots().try_into().unwrap();
    let whole = std::fs::read(&snapshot).unwrap();
    let altered = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut damaged: Vec<Vec<u8>> =
        [0, 1, 31, 32, 33, whole.len() / 2, whole.len() - 1].map(|end| whole[..end].to_vec()).into();
    damaged.extend([0, 16, 24, 200, whole.len() / 2, whole.len() - 33, whole.len() - 1].map(altered));
    damaged.push([whole.as_slice(), b"more"].concat());
    for bytes in damaged {
        let length = bytes.len();
        std::fs::write(&snapshot, bytes).unwrap();
        let opened = house.open().await;
        let end = opened.app.log().next().await.unwrap().0;
        assert_eq!(opened.replayed, end, "everything was folded instead of a snapshot of {length} bytes");
        assert_folded(&opened.app).await;
        assert_accepted(&opened.app, &holders).await;
        opened.close().await;
    }
    let opened = house.open().await;
    assert_eq!(opened.replayed, 0, "a whole snapshot took the place of the damaged one");
    opened.close().await;
}

/// The snapshot before the damaged one spares the start most of the folding.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_steps_in_for_a_damaged_one() {
    let house = House::new();
    let opened = house.open().await;
    live_through(&house, &opened.app, "first").await;
    opened.close().await;
    let opened = house.open().await;
    live_through(&house, &opened.app, "second").await;
    opened.close().await;
    let [newer, older] = house.snapshots().try_into().unwrap();
    let bytes = std::fs::read(&newer).unwrap();
    std::fs::write(&newer, &bytes[..bytes.len() - 5]).unwrap();
    let opened = house.open().await;
    let end = opened.app.log().next().await.unwrap().0;
    assert!(opened.replayed > 0 && opened.replayed < end, "{} was used", older.display());
    assert_folded(&opened.app).await;
    opened.close().await;
}

/// After a restore the ledger is shorter than what was made of it: neither snapshot nor views know more than it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_forgets_what_came_after_it() {
    let house = House::new();
    let opened = house.open().await;
    let first = live_through(&house, &opened.app, "first").await;
    let copy = house.folder.path().join("copy.db");
    opened.app.log().backup(&copy).await.unwrap();
    let backed_up = opened.app.log().next().await.unwrap();
    let second = live_through(&house, &opened.app, "second").await;
    opened.close().await;
    assert_eq!(house.snapshots().len(), 1);

    for file in ["rota.db", "rota.db-wal", "rota.db-shm"] {
        let _ = std::fs::remove_file(house.folder.path().join(file));
    }
    std::fs::copy(&copy, house.path()).unwrap();
    let opened = house.open().await;
    assert_eq!(opened.replayed, backed_up.0, "the snapshot of the longer ledger was passed over");
    assert_folded(&opened.app).await;
    // More was signed for than there is.
    let refused = opened.app.verify(&operator(), &first[0].public, &first[0].secret).await;
    assert_eq!(
        refused.map(|verified| verified.is_some()).map_err(|failure| failure.code()),
        Err("history-lost")
    );
    opened.app.record_loss(&operator(), None, None).await.unwrap();
    assert_accepted(&opened.app, &first).await;
    for who in &second {
        let verified = opened.app.verify(&operator(), &who.public, &who.secret).await.unwrap();
        assert!(verified.is_none(), "{} is unknown to the restored ledger", who.public);
    }
    // Upkeep goes on now, and may record something in between.
    loop {
        let before = *opened.app.head().borrow();
        opened.app.settled().await.unwrap();
        let found = opened.app.views().dump().await.unwrap();
        opened.app.views().clear().await.unwrap();
        opened.app.views().catch_up(|_| ()).await.unwrap();
        let again = opened.app.views().dump().await.unwrap();
        if *opened.app.head().borrow() == before {
            assert_eq!(found, again);
            break;
        }
    }
    opened.close().await;
}
