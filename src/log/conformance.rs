//! The suite that every [`EventLog`] must pass.
//!
//! The functions take a [`Workshop`], which makes logs, and panic with what is wrong. They hold a store to the
//! guarantees on the [front page](super) and to nothing else, so that each store can be native inside.

use std::sync::Arc;

use async_trait::async_trait;
use rota_aggregates::authority::{Actor, Dialect, Proof};
use rota_aggregates::credential::CredentialDescribed;
use rota_aggregates::ids::Hash;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::record::{Context, SealedHashes, encode_body, stamp};
use rota_aggregates::{
    CredentialId, Event, EventId, Position, RequestId, Sequence, StreamId, Timestamp, WorkspaceId,
};
use rota_projections::live::UseMark;
use uuid::Uuid;

use super::lease::Token;
use super::tree::{self, SignedRoot};
use super::{Batch, EventLog, LogError, Row, Side};
use crate::ledger::rfc6962::leaf_hash;
use crate::ledger::tile::{Edge, FullTile, TileId};
use crate::sealing::Sealed;

/// Makes the logs that the suite tries.
#[async_trait]
pub trait Workshop: Send + Sync {
    /// An empty log.
    async fn fresh(&self) -> Arc<dyn EventLog>;

    /// What is left of a log after the process that held it has ended; `None` for a log that forgets.
    async fn reopen(&self, log: Arc<dyn EventLog>) -> Option<Arc<dyn EventLog>>;
}

/// Batches around every size at which a store may take another path.
pub const SIZES: [usize; 10] = [1, 2, 3, 5, 64, 255, 256, 257, 300, 1_000];

/// A row with everything beside it, and with bytes that are easy to get wrong: quotes, backslashes, escaped line
/// feeds, separators that are no ASCII. The same number always gives the same row.
pub fn row(number: u64) -> Row {
    let id = EventId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | u128::from(number)));
    let credential = CredentialId(Uuid::from_u128(u128::from(number % 7) + 1));
    let context = Context {
        workspace: WorkspaceId(Uuid::from_u128(9)),
        actor: Actor::OPERATOR,
        dialect: Dialect::Native,
        proof: Proof::OPERATOR,
        request: RequestId(Uuid::from_u128(u128::from(number))),
        causation: Uuid::nil(),
        correlation: Uuid::nil(),
    };
    let changed = vec![format!("{number}"), "\"\\\n\r\t,\u{2028}ä😀\u{0}".repeat(number as usize % 4)];
    let event = Event::Credential(CredentialDescribed { changed, at: time(number) }.into());
    let body =
        encode_body(id, StreamId::credential(credential), &context, None, SealedHashes::default(), &event)
            .expect("a described event fits into a leaf");
    let leaf = stamp(&body, time(number), Sequence(number as u32 + 1));
    let byte = |salt: u8| (number as u8).wrapping_mul(31).wrapping_add(salt);
    let sealed =
        |salt: u8| Sealed { wrapped_key: vec![byte(salt); 53], ciphertext: vec![byte(salt + 1); 40] };
    // Every combination of parts, none and all among them.
    let side = Side {
        digest: (number & 1 == 0).then(|| [byte(1); 32]),
        secret: (number & 2 == 0).then(|| sealed(2)),
        answer: (number & 4 == 0).then(|| sealed(4)),
        details: (number & 8 == 0).then(|| sealed(6)),
    };
    Row { id, leaf, side }
}

fn time(number: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + number as i64)
}

/// A batch of the rows with the numbers `at..at + count`, for that position.
pub fn batch(at: u64, count: usize) -> Batch {
    let rows = (at..at + count as u64).map(row).collect();
    Batch { at: Position(at), rows, ..Batch::default() }
}

async fn append(log: &dyn EventLog, batch: &Batch) {
    let count = batch.rows.len();
    log.append(batch).await.unwrap_or_else(|e| panic!("{count} rows at {} were refused: {e}", batch.at));
}

fn assert_side(position: Position, found: &Side, expected: &Side) {
    assert_eq!(found.digest, expected.digest, "the digest at {position}");
    assert_eq!(found.secret, expected.secret, "the secret at {position}");
    assert_eq!(found.answer, expected.answer, "the answer at {position}");
    assert_eq!(found.details, expected.details, "the details at {position}");
}

/// Holds what is stored against `rows`: nothing else, nothing less, in this order, byte for byte.
pub async fn assert_holds(log: &dyn EventLog, rows: &[Row]) {
    let end = rows.len() as u64;
    assert_eq!(log.next().await.expect("the tip can be read"), Position(end), "the next position");
    let mut at = 0;
    while at < end {
        let page = log.read(Position(at), 97).await.expect("a page can be read");
        assert_eq!(page.first, Position(at), "a page begins where it was asked for");
        assert!(!page.leaves.is_empty(), "the page at {at} of {end} is empty");
        assert!(page.leaves.len() <= 97, "the page at {at} has more than it was asked for");
        for (leaf, digest) in &page.leaves {
            let expected = &rows[at as usize];
            assert_eq!(leaf, &expected.leaf, "the leaf at {at}");
            assert_eq!(digest, &expected.side.digest, "the digest in the feed at {at}");
            at += 1;
        }
    }
    assert!(log.read(Position(end), 10).await.expect("the end can be read").leaves.is_empty());
    let every: Vec<_> = (0..end).map(Position).collect();
    let stored = log.read_at(&every).await.expect("events can be read");
    assert_eq!(stored.len(), rows.len(), "as many events as were appended");
    for (position, (stored, expected)) in every.iter().zip(stored.iter().zip(rows)) {
        assert_eq!(stored.position, *position);
        assert_eq!(stored.leaf, expected.leaf, "the leaf at {position}");
        assert_side(*position, &stored.side, &expected.side);
    }
}

/// A new log has nothing, and says so without an error.
pub async fn starts_empty(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    assert_holds(&*log, &[]).await;
    assert!(log.read_at(&[]).await.expect("nothing is read").is_empty());
    assert!(log.read_at(&[Position(0)]).await.expect("nothing is read").is_empty());
    assert!(log.read(Position(17), 10).await.expect("beyond the end").leaves.is_empty());
    assert!(log.use_marks().await.expect("no marks").is_empty());
    assert_eq!(log.meta("anything").await.expect("no value"), None);
}

/// Positions are dense from 0, and order and bytes are kept, for batches of every size, one after another.
pub async fn positions_are_dense(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let mut rows = Vec::new();
    for size in SIZES {
        let batch = batch(rows.len() as u64, size);
        append(&*log, &batch).await;
        rows.extend(batch.rows);
        assert_eq!(log.next().await.expect("the tip can be read").0, rows.len() as u64);
    }
    assert_holds(&*log, &rows).await;
}

/// A batch for any position but the next one is answered with `Behind`, and nothing of it is there afterwards:
/// no row, no mark, no destroyed part.
pub async fn only_at_the_tip(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let rows = batch(0, 10);
    append(&*log, &rows).await;
    for size in SIZES {
        for at in [0, 9, 11, 5_000] {
            let mut wrong = batch(20_000, size);
            wrong.at = Position(at);
            wrong.shred.push(PartRef { position: Position(0), part: SealedPart::Secret });
            wrong.marks.push(mark(1, 1, 60, 60));
            match log.append(&wrong).await {
                Err(LogError::Behind { next }) => assert_eq!(next, Position(10), "the next position"),
                other => panic!("{size} rows at {at} instead of 10 were answered with {other:?}"),
            }
        }
    }
    assert_holds(&*log, &rows.rows).await;
    assert!(log.use_marks().await.expect("marks").is_empty(), "a refused batch leaves no mark");
    append(&*log, &batch(10, 1)).await;
}

/// Of many who append at the same position one is recorded, and the others know that they are not.
pub async fn one_of_many_writers_wins(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    for round in 0..8u64 {
        let at = log.next().await.expect("the tip can be read").0;
        let writers = (0..8u64).map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut batch = batch(at, 3);
                batch.rows = (0..3).map(|n| row(1_000_000 + round * 1_000 + writer * 10 + n)).collect();
                (log.append(&batch).await, batch.rows)
            })
        });
        let mut won = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.expect("a writer does not panic") {
                (Ok(()), rows) => won.push(rows),
                (Err(LogError::Behind { .. }), _) => {}
                (Err(other), _) => panic!("a writer was answered with {other}"),
            }
        }
        assert_eq!(won.len(), 1, "winners in round {round}");
        let page = log.read(Position(at), 10).await.expect("a page");
        let stored: Vec<_> = page.leaves.into_iter().map(|(leaf, _)| leaf).collect();
        let expected: Vec<_> = won.remove(0).into_iter().map(|row| row.leaf).collect();
        assert_eq!(stored, expected, "the winner's rows and no others");
    }
}

/// A reader who follows a writer misses nothing and sees nothing twice.
pub async fn a_tailing_reader_misses_nothing(workshop: &dyn Workshop) {
    const END: u64 = 1_200;
    let log = workshop.fresh().await;
    let writer = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let (mut at, mut step) = (0, 0);
            while at < END {
                let size = SIZES[step % 4].min((END - at) as usize);
                append(&*log, &batch(at, size)).await;
                at += size as u64;
                step += 1;
            }
        })
    };
    let mut next = 0;
    while next < END {
        let page = log.read(Position(next), 50).await.expect("a page");
        assert_eq!(page.first, Position(next));
        for (leaf, _) in &page.leaves {
            assert_eq!(leaf, &row(next).leaf, "the leaf that the reader sees at {next}");
            next += 1;
        }
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer does not panic");
    assert_eq!(next, END);
}

/// Single events come in ascending order, each once, whatever was asked for.
pub async fn single_events_come_in_order(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    append(&*log, &batch(0, 40)).await;
    let asked = [30, 2, 39, 2, 700, 0, 15].map(Position);
    let stored = log.read_at(&asked).await.expect("events");
    let positions: Vec<_> = stored.iter().map(|e| e.position.0).collect();
    assert_eq!(positions, [0, 2, 15, 30, 39]);
    for event in &stored {
        let expected = row(event.position.0);
        assert_eq!(event.leaf, expected.leaf);
        assert_side(event.position, &event.side, &expected.side);
    }
}

fn shred_in(rows: &mut [Row], part: PartRef) {
    rows[part.position.0 as usize].side.shred(part.part);
}

/// Shredding empties exactly the part that is named, in the same commit, and leaves every leaf as it was.
pub async fn shredding_empties_one_part(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let mut rows = batch(0, 48).rows;
    append(&*log, &batch(0, 48)).await;
    let parts = [SealedPart::Digest, SealedPart::Secret, SealedPart::Answer, SealedPart::Details];
    // With a few rows, with none, with more rows than a statement takes, and a part of the same batch.
    for (round, size) in [1usize, 0, 300, 2].into_iter().enumerate() {
        let mut next = batch(rows.len() as u64, size);
        for (index, part) in parts.into_iter().enumerate() {
            let position = Position((round * 16 + index * 3) as u64 % 48);
            next.shred.push(PartRef { position, part });
        }
        if round == 3 {
            next.shred.push(PartRef { position: Position(16), part: SealedPart::Secret });
            next.shred.push(PartRef { position: Position(16), part: SealedPart::Details });
        }
        append(&*log, &next).await;
        rows.extend(next.rows);
        for part in next.shred {
            shred_in(&mut rows, part);
        }
        assert_holds(&*log, &rows).await;
    }
}

fn mark(credential: u128, version: u32, first: u32, last: u32) -> UseMark {
    UseMark { credential: CredentialId(Uuid::from_u128(credential)), version, first, last }
}

async fn assert_marks(log: &dyn EventLog, expected: &[UseMark]) {
    let mut marks = log.use_marks().await.expect("marks");
    marks.sort_unstable_by_key(|mark| mark.credential);
    assert_eq!(marks, expected);
}

/// A later mark of a credential takes the place of the earlier one; marks go with a batch of any size and alone.
pub async fn marks_replace_each_other(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let alone = Batch { marks: vec![mark(1, 1, 100, 160), mark(2, 1, 100, 100)], ..Batch::default() };
    append(&*log, &alone).await;
    assert_eq!(log.next().await.expect("the tip"), Position(0), "marks take no position");
    assert_marks(&*log, &alone.marks).await;
    for (at, size, last) in [(0, 1, 220), (1, 256, 280), (257, 257, 340), (514, 1_000, u32::MAX)] {
        let marks = vec![mark(1, 2, 200, last), mark(u128::from(last), 7, last, last)];
        append(&*log, &Batch { marks: marks.clone(), ..batch(at, size) }).await;
        let found = log.use_marks().await.expect("marks");
        for mark in marks {
            assert!(found.contains(&mark), "{mark:?} went with {size} rows and is not there");
        }
    }
    let expected = [
        mark(1, 2, 200, u32::MAX),
        mark(2, 1, 100, 100),
        mark(220, 7, 220, 220),
        mark(280, 7, 280, 280),
        mark(340, 7, 340, 340),
        mark(u128::from(u32::MAX), 7, u32::MAX, u32::MAX),
    ];
    assert_marks(&*log, &expected).await;
}

/// Named values are set together, are replaced, and are kept to the byte.
pub async fn named_values_are_kept(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    log.set_meta(&[("a", b"1"), ("b", &[0, 255, 10])]).await.expect("values are set");
    log.set_meta(&[("b", b""), ("c", b"3")]).await.expect("values are replaced");
    log.set_meta(&[]).await.expect("nothing is set");
    assert_eq!(log.names().await.expect("names are listed"), ["a", "b", "c"]);
    for (name, value) in [("a", Some(&b"1"[..])), ("b", Some(b"")), ("c", Some(b"3")), ("d", None)] {
        assert_eq!(log.meta(name).await.expect("a value").as_deref(), value, "the value {name}");
    }
}

/// Rewrapping changes the wrapped keys that are named and still there: a destroyed part stays destroyed, and no
/// ciphertext, digest or leaf changes.
pub async fn rewrapping_revives_nothing(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let mut rows = batch(0, 16).rows;
    append(&*log, &batch(0, 16)).await;
    let gone = [
        PartRef { position: Position(0), part: SealedPart::Secret },
        PartRef { position: Position(1), part: SealedPart::Answer },
        PartRef { position: Position(2), part: SealedPart::Details },
    ];
    append(&*log, &Batch { at: Position(16), shred: gone.to_vec(), ..Batch::default() }).await;
    let parts = [SealedPart::Secret, SealedPart::Answer, SealedPart::Details];
    let named = (0..8).flat_map(|p| parts.map(|part| PartRef { position: Position(p), part }));
    let keys: Vec<_> = named
        .map(|part| (part, vec![part.position.0 as u8; 53]))
        .chain([(PartRef { position: Position(99), part: SealedPart::Secret }, vec![1; 53])])
        .collect();
    log.rewrap(&keys).await.expect("keys are rewrapped");
    for part in gone {
        shred_in(&mut rows, part);
    }
    for (number, row) in rows.iter_mut().take(8).enumerate() {
        let side = &mut row.side;
        for sealed in [&mut side.secret, &mut side.answer, &mut side.details].into_iter().flatten() {
            sealed.wrapped_key = vec![number as u8; 53];
        }
    }
    assert_holds(&*log, &rows).await;
}

/// A durable log that is opened again has everything, and goes on where it stopped.
pub async fn reopening_changes_nothing(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let mut rows = batch(0, 300).rows;
    let marks = vec![mark(4, 2, 60, 120)];
    append(&*log, &Batch { marks: marks.clone(), ..batch(0, 300) }).await;
    let shred = vec![PartRef { position: Position(0), part: SealedPart::Digest }];
    append(&*log, &Batch { shred: shred.clone(), ..batch(300, 2) }).await;
    log.set_meta(&[("name", b"value")]).await.expect("a value is set");
    rows.extend(batch(300, 2).rows);
    shred_in(&mut rows, shred[0]);
    let Some(log) = workshop.reopen(log).await else { return };
    assert_holds(&*log, &rows).await;
    assert_marks(&*log, &marks).await;
    assert_eq!(log.meta("name").await.expect("a value").as_deref(), Some(&b"value"[..]));
    append(&*log, &batch(302, 3)).await;
    rows.extend(batch(302, 3).rows);
    assert_holds(&*log, &rows).await;
}

/// Of many who begin a store at the same time with a value each, all get the same one.
pub async fn a_value_is_begun_once(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let first = log.make_meta("a", b"first").await.expect("a value is begun");
    assert_eq!(first, b"first");
    log.set_meta(&[("b", b"2")]).await.expect("another value is set");
    let again = log.make_meta("a", b"second").await.expect("a value is there");
    assert_eq!(again, b"first");
    assert_eq!(log.meta("a").await.expect("a value").as_deref(), Some(&b"first"[..]));
}

/// Tiles that a batch brings are there with its events, in order, and stay as they are; a refused batch brings none.
pub async fn tiles_come_with_their_events(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let (mut edge, mut every, mut at) = (Edge::default(), Vec::new(), 0);
    for size in SIZES.into_iter().chain([700]) {
        let mut next = batch(at, size);
        for row in &next.rows {
            edge.push(leaf_hash(&row.leaf), &mut next.tiles);
        }
        let late = Batch { at: Position(at + 1), ..next.clone() };
        assert!(matches!(log.append(&late).await, Err(LogError::Behind { .. })), "{size} rows come too late");
        assert_tiles(&*log, &every).await;
        append(&*log, &next).await;
        every.extend(next.tiles);
        at += size as u64;
        assert_tiles(&*log, &every).await;
        let resumed = tree::resume(&*log, at, |_, _| panic!("every tile is there")).await;
        assert_eq!(resumed.expect("the tree is taken up again"), edge, "the tree of {at} events");
    }
    let Some(first) = every.first() else { panic!("no tile was filled") };
    let other = FullTile { id: first.id, hashes: vec![Hash([7; 32]); 256] };
    // Keeping what is kept is no error, and changes nothing.
    log.tree().put_tiles(&[other]).await.expect("a tile that is there is passed over");
    assert_tiles(&*log, &every).await;
    if let Some(log) = workshop.reopen(log).await {
        assert_tiles(&*log, &every).await;
        let resumed = tree::resume(&*log, at, |_, _| panic!("every tile is there")).await;
        assert_eq!(resumed.expect("the tree is taken up again"), edge);
    }
}

async fn assert_tiles(log: &dyn EventLog, expected: &[FullTile]) {
    for level in 0..3 {
        let expected: Vec<_> = expected.iter().filter(|tile| tile.id.level == level).cloned().collect();
        let count = log.tree().count_tiles(level).await.expect("tiles are counted");
        assert_eq!(count, expected.len() as u64, "tiles of level {level}");
        let found = log.tree().tiles(level, 0, count + 2).await.expect("tiles are read");
        assert_eq!(found, expected, "the tiles of level {level}");
        let found = log.tree().tiles(level, 1, 2).await.expect("tiles are read");
        let some: Vec<_> = expected.into_iter().skip(1).take(2).collect();
        assert_eq!(found, some, "some tiles of level {level}");
    }
}

/// A log that was written without tiles gets them when its tree is taken up, and the same ones.
pub async fn a_tree_is_made_afterwards(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let (mut edge, mut every) = (Edge::default(), Vec::new());
    for at in (0..2_000).step_by(250) {
        append(&*log, &batch(at, 250)).await;
    }
    for number in 0..2_000 {
        edge.push(leaf_hash(&row(number).leaf), &mut every);
    }
    // A program that knew of the tree has written a part of it.
    log.tree().put_tiles(&every[..2]).await.expect("tiles are written");
    let mut told = 0;
    let resumed = tree::resume(&*log, 2_000, |done, total| {
        assert!(told < done && done <= total, "{told} and then {done} of {total}");
        told = done;
    });
    assert_eq!(resumed.await.expect("the tree is taken up"), edge);
    assert_eq!(told, 5 * 256, "the leaves under the tiles that were missing");
    assert_tiles(&*log, &every).await;
    let first = tree::hashes(&*log, TileId { level: 1, index: 0 }, 7).await.expect("hashes of a level above");
    assert_eq!(Some(first.as_slice()), edge.open_tile(TileId { level: 1, index: 0 }));
}

fn signed_root(size: u64, token: u64) -> SignedRoot {
    let note = format!("log.example\n{size}\nroot\n\n\u{2014} log.example AAAA\n");
    SignedRoot { size, root: Hash([size as u8; 32]), time: time(size), note, token: Token(token) }
}

/// Of two who would sign after the same root one does; a deposed signer does not; and what is kept is found by
/// size and by time.
pub async fn roots_are_signed_one_after_the_other(workshop: &dyn Workshop) {
    let log = workshop.fresh().await;
    let tree = log.tree();
    assert_eq!(tree.signed().await.expect("nothing is signed"), None);
    assert_eq!(tree.checkpoint_at(time(9)).await.expect("nothing is kept"), None);
    let sign = async |size, token, before, keep| {
        tree.sign(&signed_root(size, token), before, keep).await.expect("a root is signed, or not")
    };
    assert!(!sign(5, 1, Some(4), true).await, "after a root that is not there");
    assert!(sign(5, 1, None, true).await);
    assert!(!sign(5, 1, None, true).await, "as the first one, again");
    assert!(sign(7, 1, Some(5), false).await);
    assert!(!sign(8, 1, Some(5), true).await, "after a root that is not the last one any more");
    assert!(sign(9, 3, Some(7), true).await);
    assert!(!sign(11, 2, Some(9), true).await, "by a signer who was deposed");
    assert!(sign(12, 3, Some(9), true).await);
    assert_eq!(tree.signed().await.expect("a root is signed"), Some(signed_root(12, 3)));
    let sizes = async |after, limit| {
        let kept = tree.checkpoints(after, limit).await.expect("checkpoints are kept");
        kept.into_iter().map(|kept| kept.size).collect::<Vec<_>>()
    };
    assert_eq!(sizes(0, 10).await, [5, 9, 12]);
    assert_eq!(sizes(5, 1).await, [9]);
    assert_eq!(sizes(12, 10).await, [0; 0]);
    for (at, size) in [(4, None), (5, Some(5)), (8, Some(5)), (9, Some(9)), (100, Some(12))] {
        let found = tree.checkpoint_at(time(at)).await.expect("checkpoints are kept");
        assert_eq!(found.map(|found| found.size), size, "at {at}");
    }
    let cosigned = SignedRoot { note: format!("{}more\n", signed_root(12, 3).note), ..signed_root(12, 3) };
    tree.keep_checkpoint(&cosigned).await.expect("a checkpoint is replaced");
    let kept = tree.checkpoints(9, 10).await.expect("checkpoints are kept");
    assert_eq!(kept.as_slice(), std::slice::from_ref(&cosigned));
    if let Some(log) = workshop.reopen(log).await {
        assert_eq!(log.tree().signed().await.expect("a root is signed"), Some(signed_root(12, 3)));
        assert_eq!(log.tree().checkpoint_at(time(100)).await.expect("checkpoints are kept"), Some(cosigned));
    }
}

/// The whole suite, one after another; `done` is told the name of each. For a store of which there is only one.
pub async fn every(workshop: &dyn Workshop, mut done: impl FnMut(&str)) {
    macro_rules! run {
        ($($test:ident)+) => { $($test(workshop).await; done(stringify!($test));)+ };
    }
    run! {
        starts_empty positions_are_dense only_at_the_tip one_of_many_writers_wins a_tailing_reader_misses_nothing
        single_events_come_in_order shredding_empties_one_part marks_replace_each_other named_values_are_kept
        a_value_is_begun_once rewrapping_revives_nothing tiles_come_with_their_events a_tree_is_made_afterwards
        roots_are_signed_one_after_the_other reopening_changes_nothing
    }
}
