//! What an auditor who kept a checkpoint finds, in tiles and in a store.

use std::path::Path;

use futures_util::StreamExt as _;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::{SignedNote, SigningKey};
use rota::ledger::proof::Plan;
use rota::ledger::receipt::{Receipt, with_entry};
use rota::ledger::rfc6962::leaf_hash;
use rota::ledger::tile::{Edge, FullTile, Kind, TileId, TilePath, WIDTH, put_entry};
use rota_aggregates::authority::{Actor, Dialect, Proof};
use rota_aggregates::ids::Hash;
use rota_aggregates::observation::{ObservationEvent, OldSecretUsed};
use rota_aggregates::record::{Context, SealedHashes, encode_body, stamp};
use rota_aggregates::{CredentialId, Event, EventId, RequestId, Sequence, StreamId, Timestamp, WorkspaceId};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{Caller, Process, database, ledger, python, run, run_python, tamper};

const ORIGIN: &str = "ledger.example/test";

fn key(seed: u8) -> SigningKey {
    SigningKey::of_log(ORIGIN, &[seed; 32]).unwrap()
}

/// The bytes of an event as rota records it.
fn event(index: u64, note: u32) -> Vec<u8> {
    let credential = CredentialId(Uuid::from_u128(u128::from(index % 7 + 1)));
    let at = Timestamp::from_micros(1_800_000_000_000_000 + index as i64 * 1_000_000);
    let context = Context {
        workspace: WorkspaceId(Uuid::from_u128(1)),
        actor: Actor::OPERATOR,
        dialect: Dialect::Native,
        proof: Proof::OPERATOR,
        request: RequestId(Uuid::from_u128(2)),
        causation: Uuid::from_u128(2),
        correlation: Uuid::from_u128(2),
    };
    let used = OldSecretUsed { credential, version: note, at, expires_at: at.plus_seconds(60) };
    let event = Event::Observation(ObservationEvent::OldSecretUsed(used));
    let id = EventId(Uuid::from_u128(u128::from(index) + 100));
    let stream = StreamId::secret_use(credential);
    let body = encode_body(id, stream, &context, None, SealedHashes::default(), &event).unwrap();
    stamp(&body, at, Sequence((index / 7 + 1) as u32))
}

/// A tree over leaves, with all of its tiles.
struct Tree {
    leaves: Vec<Vec<u8>>,
    tiles: Vec<FullTile>,
    root: Hash,
}

impl Tree {
    fn of(leaves: Vec<Vec<u8>>) -> Self {
        let (mut edge, mut tiles) = (Edge::default(), Vec::new());
        for leaf in &leaves {
            edge.push(leaf_hash(leaf), &mut tiles);
        }
        for (id, width) in Edge::needs(leaves.len() as u64) {
            if width > 0 {
                tiles.push(FullTile { id, hashes: edge.open_tile(id).unwrap().to_vec() });
            }
        }
        Self { root: edge.root(), leaves, tiles }
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    fn note(&self, key: &SigningKey) -> String {
        Checkpoint { origin: ORIGIN.to_owned(), size: self.size(), root: self.root }.sign(&[key])
    }

    /// Writes it as files that any server of files could serve.
    fn write(&self, folder: &Path, key: &SigningKey) {
        let put = |path: String, bytes: &[u8]| {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        for tile in &self.tiles {
            let bytes: Vec<u8> = tile.hashes.iter().flat_map(|hash| hash.0).collect();
            put(format!("tile/{}", path(tile.id, tile.hashes.len(), Kind::Hashes(tile.id.level))), &bytes);
        }
        for (index, leaves) in (0..).zip(self.leaves.chunks(WIDTH as usize)) {
            let mut bundle = Vec::new();
            for leaf in leaves {
                put_entry(&mut bundle, leaf).unwrap();
            }
            let id = TileId { level: 0, index };
            put(format!("tile/{}", path(id, leaves.len(), Kind::Entries)), &bundle);
        }
        put("checkpoint".to_owned(), self.note(key).as_bytes());
    }

    fn receipt(&self, index: u64, key: &SigningKey) -> String {
        let plan = Plan::inclusion(index, self.size()).unwrap();
        let tile = |id| self.tiles.iter().find(|tile| tile.id == id).map(|tile| tile.hashes.as_slice());
        let receipt = Receipt { index, hashes: plan.assemble(tile).unwrap(), checkpoint: self.note(key) };
        with_entry(&receipt.text(), &self.leaves[index as usize]).unwrap()
    }
}

fn path(id: TileId, width: usize, kind: Kind) -> TilePath {
    TilePath { kind, index: id.index, width: width as u16 }
}

/// A folder with the tiles of 600 events in `log`, and the key's text.
fn tiles() -> (TempDir, Tree, String) {
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree::of((0..600).map(|index| event(index, 1)).collect());
    tree.write(&folder.path().join("log"), &key(1));
    (folder, tree, key(1).verifier().to_string())
}

/// An honest ledger would be called a forged one, or its next checkpoint would not be taken for its next.
#[test]
fn tiles_that_grew_verify_from_an_earlier_checkpoint() {
    let (folder, tree, vkey) = tiles();
    let at = folder.path();
    let first =
        ["verify", "--tiles", "log", "--vkey", &vkey, "--save", "first.checkpoint", "--format", "json"];
    let report = run(at, &first).exits(0).json();
    assert_eq!((&report["events"], &report["root"]), (&600.into(), &Value::from(tree.root.to_string())));
    let grown = Tree::of((0..1000).map(|index| event(index, 1)).collect());
    grown.write(&at.join("log"), &key(1));
    let next = ["verify", "--tiles", "log", "--vkey", &vkey, "--from", "first.checkpoint"];
    let said = run(at, &next).exits(0).out;
    assert!(said.contains("the ledger is what it says") && said.contains("the first 600 events"), "{said}");
    // Another key's signature says nothing.
    let other = key(2).verifier().to_string();
    run(at, &["verify", "--tiles", "log", "--vkey", &other]).exits(1);
    run(at, &["verify", "--tiles", "log", "--vkey", "nothing"]).exits(1);
    run(at, &["verify", "--tiles", "nowhere", "--vkey", &vkey]).exits(1);
    run(at, &["verify", "--from", "nowhere"]).exits(1);
}

/// What was changed would go unseen, or nobody would know where.
#[test]
fn every_way_to_change_tiles_is_found_with_its_position() {
    let (folder, tree, vkey) = tiles();
    let at = folder.path();
    run(at, &["verify", "--tiles", "log", "--vkey", &vkey, "--save", "kept"]).exits(0);
    let log = at.join("log");
    let file = |name: &str| log.join(name);
    let found = |position: u64, says: &str| {
        let arguments = ["verify", "--tiles", "log", "--vkey", &vkey, "--from", "kept", "--format", "json"];
        let report = run(at, &arguments).exits(1).json();
        assert_eq!(report["firstBadPosition"], position, "{report}");
        assert!(report["findings"].to_string().contains(says), "{says}: {report}");
        tree.write(&log, &key(1));
    };
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(file(name)).unwrap();
        change(&mut bytes);
        std::fs::write(file(name), bytes).unwrap();
    };
    // A byte of a leaf, and of a tile.
    let length: usize = tree.leaves[256..300].iter().map(|leaf| leaf.len() + 2).sum();
    change("tile/entries/001", &|bytes| bytes[length + 50] ^= 1);
    found(300, "do not fit");
    change("tile/0/001", &|bytes| bytes[32 * 44] ^= 1);
    found(300, "tile 0/1");
    change("tile/1/000.p/2", &|bytes| bytes[40] ^= 1);
    found(256, "tile 1/0");
    // Swapped tiles and bundles.
    for folder in ["tile/0", "tile/entries"] {
        std::fs::rename(file(&format!("{folder}/000")), file("other")).unwrap();
        std::fs::rename(file(&format!("{folder}/001")), file(&format!("{folder}/000"))).unwrap();
        std::fs::rename(file("other"), file(&format!("{folder}/001"))).unwrap();
        found(0, "do not fit");
    }
    // Cut short, and gone.
    change("tile/entries/001", &|bytes| bytes.truncate(bytes.len() - 1));
    found(256, "has not the 256 entries");
    std::fs::remove_file(file("tile/0/001")).unwrap();
    found(256, "are needed");
    // The checkpoint: its signature, an older one, and one of another history.
    change("checkpoint", &|bytes| {
        let end = bytes.len() - 20;
        bytes[end] = if bytes[end] == b'A' { b'B' } else { b'A' };
    });
    found(599, "is not signed");
    Tree::of(tree.leaves[..500].to_vec()).write(&log, &key(1));
    found(500, "the others are gone");
    let mut forged = tree.leaves.clone();
    forged[77] = event(77, 2);
    Tree::of(forged).write(&log, &key(1));
    found(0, "the checkpoint that was kept");
    // A forger who has the key and goes on from there.
    let mut forged: Vec<_> = (0..700).map(|index| event(index, 1)).collect();
    forged.swap(40, 41);
    Tree::of(forged).write(&log, &key(1));
    found(41, "the checkpoint that was kept");
    // And nothing of all that is left.
    run(at, &["verify", "--tiles", "log", "--vkey", &vkey, "--from", "kept"]).exits(0);
}

/// What `rota verify` finds in a store from a checkpoint that was kept before somebody changed it.
async fn found(sql: &str) -> Value {
    let folder = ledger();
    let at = folder.path();
    let leaves: Vec<Vec<u8>> = run(at, &["export"])
        .exits(0)
        .out
        .lines()
        .map(|line| line.split_once("\"leaf\":").unwrap().1.strip_suffix('}').unwrap().as_bytes().to_vec())
        .collect();
    let kept = Tree::of(leaves);
    std::fs::write(at.join("kept"), kept.note(&key(1))).unwrap();
    let vkey = key(1).verifier().to_string();
    let verify = ["verify", "--from", "kept", "--vkey", &vkey, "--format", "json"];
    let honest = run(at, &verify).exits(0).json();
    assert_eq!(honest["root"], kept.root.to_string());
    let other = key(2).verifier().to_string();
    run(at, &["verify", "--from", "kept", "--vkey", &other]).exits(1);
    tamper(&database(at), sql).await;
    // Whoever changes the ledger takes away what else could tell.
    for file in std::fs::read_dir(at.join("rota-data")).unwrap().flatten() {
        if file.file_name().to_string_lossy().contains("snapshot-") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    run(at, &verify).exits(1).json()
}

/// Whoever can write the store could make another history that fits itself.
#[tokio::test]
async fn a_store_that_fits_itself_does_not_fit_a_checkpoint_that_was_kept() {
    // Every event is readable, in its place and in its stream's order.
    let edited = "UPDATE events SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"dialect\":\"native\"', \
                  '\"dialect\":\"hopae\"') AS BLOB) WHERE position = 3";
    let report = found(edited).await;
    // After the last checkpoint of the store's own that was right.
    assert!(report["firstBadPosition"].as_u64().unwrap() <= 3, "{report}");
    assert!(report["findings"].to_string().contains("is not theirs"), "{report}");
    // The end is cut off, as by a database that was put back.
    let cut = "DELETE FROM events WHERE position >= 5";
    let report = found(cut).await;
    assert_eq!(report["firstBadPosition"], 5, "{report}");
    assert!(report["findings"].to_string().contains("the others are gone"), "{report}");
    // One is taken out and the rest moves up.
    let closed = "DROP TRIGGER sealed_rows_are_never_deleted; DELETE FROM events WHERE position = 4; DELETE FROM sealed WHERE position = 4; \
                  UPDATE events SET position = position - 1 WHERE position > 4; \
                  UPDATE sealed SET position = position - 1 WHERE position > 4";
    let report = found(closed).await;
    assert!(report["firstBadPosition"].as_u64().unwrap() <= 4, "{report}");
    // Two change places.
    let swapped = "UPDATE events SET position = 100 WHERE position = 1; UPDATE events SET position = 1 WHERE \
                   position = 2; UPDATE events SET position = 2 WHERE position = 100";
    let report = found(swapped).await;
    assert!(report["firstBadPosition"].as_u64().unwrap() <= 2, "{report}");
    assert!(report["findings"].to_string().contains("before its predecessor"), "{report}");
}

/// Opens so many workspaces, each an event.
async fn grow(operator: &Caller, workspaces: usize) {
    let opened = (0..workspaces).map(|_| operator.open_workspace("w"));
    let mut opened = futures_util::stream::iter(opened).buffer_unordered(16);
    while opened.next().await.is_some() {}
}

/// Copies what is in a folder.
fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(folder.join(".")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    copy
}

/// The operator could put another history in place of the one that was signed for, and only the place of what was
/// changed would tell where to look.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_change_a_store_is_found_with_its_position() {
    let made = tempfile::tempdir().unwrap();
    let at = made.path();
    let server = Process::serve(at);
    let key = std::fs::read_to_string(at.join("rota-data/operator.key")).unwrap();
    let operator = Caller::bearer(&server.url, key.trim());
    grow(&operator, 330).await;
    let keep = async |name: &str| {
        let note = operator.get("/ledger/checkpoint").await.expect(200).text;
        std::fs::write(at.join(name), &note).unwrap();
        SignedNote::parse(&note).ok().and_then(|note| Checkpoint::parse(note.text()).ok()).unwrap().size
    };
    let early = keep("early").await;
    server.verb(at, &["backup", "backup.db"]).exits(0);
    grow(&operator, 300).await;
    let late = keep("late").await;
    let keys = operator.get("/v1/ledger/key").await.expect(200).json();
    std::fs::write(at.join("vkey"), keys["keys"][0]["vkey"].as_str().unwrap()).unwrap();
    server.stop();
    assert!((300..512).contains(&early) && late > 620, "{early} {late}");

    let verify = |folder: &Path, from: &str| {
        let arguments = ["verify", "--from", from, "--vkey", "vkey", "--format", "json"];
        run(folder, &arguments)
    };
    // As it is, it fits; the checkpoint that it keeps itself can be kept elsewhere from then on.
    for from in ["early", "late"] {
        let honest = verify(at, from).exits(0).json();
        assert!(honest["checkpoints"].as_u64().unwrap() >= 2, "{honest}");
    }
    run(at, &["verify", "--vkey", "vkey", "--save", "saved"]).exits(0);
    verify(at, "saved").exits(0);

    let tiles = "DROP TRIGGER tiles_are_never_changed; DROP TRIGGER tiles_are_never_deleted;";
    let sealed = "DROP TRIGGER sealed_rows_are_never_deleted;";
    let swap = |table: &str, id: &str, a: u64, b: u64| {
        format!(
            "UPDATE {table} SET {id} = -1 WHERE {id} = {a}; UPDATE {table} SET {id} = {a} WHERE {id} = {b}; \
             UPDATE {table} SET {id} = {b} WHERE {id} = -1;"
        )
    };
    let edit = "UPDATE events SET leaf = CAST(replace(CAST(leaf AS TEXT), '\"dialect\":\"native\"', \
                '\"dialect\":\"hopae\"') AS BLOB) WHERE position = 300;";
    let close = "DELETE FROM events WHERE position = 300; DELETE FROM sealed WHERE position = 300; \
                 UPDATE events SET position = -position WHERE position > 300; \
                 UPDATE events SET position = -position - 1 WHERE position < 0; \
                 UPDATE sealed SET position = -position WHERE position > 300; \
                 UPDATE sealed SET position = -position - 1 WHERE position < 0;";
    let flipped = "UPDATE tiles SET hashes = CAST(substr(hashes, 1, 1408) || zeroblob(32) || substr(hashes, 1441) \
                   AS BLOB) WHERE id = 0;";
    for (how, sql, position, says) in [
        ("changed bytes", edit.to_owned(), 300, "do not fit"),
        ("changed order", swap("events", "position", 300, 301), 300, "do not fit"),
        ("a deleted event", "DELETE FROM events WHERE position = 300;".to_owned(), 300, "no event here"),
        ("a deleted event, and no gap", format!("{sealed}{close}"), 300, "do not fit"),
        ("a lost end", "DELETE FROM events WHERE position >= 280;".to_owned(), 280, "the others are gone"),
        ("a changed tile", format!("{tiles}{flipped}"), 44, "tile 0/0"),
        ("swapped tiles", format!("{tiles}{}", swap("tiles", "id", 0, 1)), 0, "do not fit"),
        (
            "a tile that is cut short",
            format!("{tiles}UPDATE tiles SET hashes = substr(hashes, 1, 100) WHERE id = 1;"),
            256,
            "cut short",
        ),
    ] {
        let copy = copy_of(at);
        tamper(&database(copy.path()), &sql).await;
        let report = verify(copy.path(), "early").exits(1).json();
        assert_eq!(report["firstBadPosition"], position, "{how}: {report}");
        assert!(report["findings"].to_string().contains(says), "{how}: {report}");
    }

    // A checkpoint in the store of another history, by somebody without the key.
    let copy = copy_of(at);
    let forked =
        Checkpoint { origin: keys["origin"].as_str().unwrap().to_owned(), size: late, root: leaf_hash(b"") };
    let forger = SigningKey::of_log(&forked.origin, &[9; 32]).unwrap();
    let sql = format!(
        "UPDATE checkpoints SET root = x'{}', note = '{}' WHERE size = {late}; \
         UPDATE signed SET root = x'{}', note = '{}';",
        forked.root,
        forked.sign(&[&forger]),
        forked.root,
        forked.sign(&[&forger]),
    );
    tamper(&database(copy.path()), &sql).await;
    let report = verify(copy.path(), "early").exits(1).json();
    let first = report["firstBadPosition"].as_u64().unwrap();
    assert!((early..late).contains(&first), "{report}");
    assert!(report["findings"].to_string().contains("signed by no key"), "{report}");

    // An older database that was put back, whole in itself.
    let copy = copy_of(at);
    for file in std::fs::read_dir(copy.path().join("rota-data")).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("rota.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    std::fs::copy(at.join("backup.db"), database(copy.path())).unwrap();
    run(copy.path(), &["verify"]).exits(0);
    verify(copy.path(), "early").exits(0);
    let report = verify(copy.path(), "late").exits(1).json();
    let first = report["firstBadPosition"].as_u64().unwrap();
    assert!((early..late).contains(&first), "{report}");
    assert!(report["findings"].to_string().contains("the others are gone"), "{report}");
}

/// A receipt would prove what is not so, or nobody else could read it.
#[test]
fn a_receipt_is_one_file_that_anybody_can_check() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let tree = Tree::of((0..300).map(|index| event(index, 1)).collect());
    let vkey = key(1).verifier().to_string();
    let receipt = tree.receipt(270, &key(1));
    std::fs::write(at.join("270.tlog-proof"), &receipt).unwrap();
    std::fs::write(at.join("ledger.vkey"), format!("{vkey}\n")).unwrap();
    let checked = ["verify", "receipt", "270.tlog-proof", "--vkey", "ledger.vkey", "--format", "json"];
    let report = run(at, &checked).exits(0).json();
    assert_eq!((&report["position"], &report["size"]), (&270.into(), &300.into()));
    assert_eq!(report["event"]["type"], "rota.credential.old-secret-used.v1");
    run(at, &["verify", "receipt", "270.tlog-proof"]).exits(2);
    let other = key(2).verifier().to_string();
    run(at, &["verify", "receipt", "270.tlog-proof", "--vkey", &other]).exits(1);
    for byte in (0..receipt.len()).step_by(97) {
        let mut bytes = receipt.clone().into_bytes();
        bytes[byte] ^= 1;
        std::fs::write(at.join("changed.tlog-proof"), &bytes).unwrap();
        run(at, &["verify", "receipt", "changed.tlog-proof", "--vkey", &vkey]).exits(1);
    }
    let Some(python) = python("a_receipt_is_one_file_that_anybody_can_check") else { return };
    let file = at.join("270.tlog-proof");
    let read = run_python(&python, "receipt.py", &[file.to_str().unwrap(), &vkey]);
    assert_eq!((&read["holds"], &read["twinHolds"]), (&true.into(), &false.into()), "{read}");
    assert_eq!(read["event"], report["event"]);
}
