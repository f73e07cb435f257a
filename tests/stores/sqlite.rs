//! What is particular to the SQLite store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rota::log::conformance::{SIZES, assert_holds, batch, row};
use rota::log::sqlite::SqliteLog;
use rota::log::{Batch, EventLog, LogError};
use rota_aggregates::Position;
use rota_aggregates::observation::{PartRef, SealedPart};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor, SqliteConnection};
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rota.db");
    (folder, path)
}

/// A connection that knows nothing of rota's rules, as a person with a tool has it.
async fn outsider(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// An error with everything behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

async fn refusal(path: &Path) -> String {
    match SqliteLog::open(path).await {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => chain(&error),
    }
}

/// Two processes on one file would each believe to know the tip.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_log_on_the_file_is_refused() {
    let (_folder, path) = place();
    let log = SqliteLog::open(&path).await.unwrap();
    let message = refusal(&path).await;
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert!(message.contains("in use by another rota process"), "{message}");
    log.append(&batch(0, 1)).await.unwrap();
    drop(log);
    let log = SqliteLog::open(&path).await.unwrap();
    assert_holds(&log, &[row(0)]).await;
}

/// The store itself refuses to change history, whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_never_changed_or_deleted() {
    let (_folder, path) = place();
    let log = SqliteLog::open(&path).await.unwrap();
    log.append(&batch(0, 3)).await.unwrap();
    let mut outsider = outsider(&path).await;
    for (sql, message) in [
        ("UPDATE events SET leaf = x'00' WHERE position = 1", "events are never changed"),
        ("UPDATE events SET position = 7 WHERE position = 2", "events are never changed"),
        ("DELETE FROM events WHERE position = 2", "events are never deleted"),
        ("DELETE FROM events", "events are never deleted"),
        ("DELETE FROM sealed", "never deleted"),
    ] {
        let refused = outsider.execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains(message), "{sql}: {refused}");
    }
    assert_holds(&log, &batch(0, 3).rows).await;
}

/// An older program must not write into what a newer one has made.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused() {
    let (_folder, path) = place();
    let log = SqliteLog::open(&path).await.unwrap();
    log.append(&batch(0, 1)).await.unwrap();
    drop(log);
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'from the future', TRUE, x'00', 0)";
    let mut connection = outsider(&path).await;
    connection.execute(newer).await.unwrap();
    let message = refusal(&path).await;
    assert!(message.contains("99") && message.contains("newer rota"), "{message}");
    connection.execute("DELETE FROM _sqlx_migrations WHERE version = 99").await.unwrap();
    assert_holds(&SqliteLog::open(&path).await.unwrap(), &[row(0)]).await;
}

/// Something that ignores the lock has taken the next position. It is not mistaken for the batch, also where it
/// has exactly as many rows, and the log goes on behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_taken_is_not_ours() {
    for size in [1usize, 2, 3, 300] {
        for taken in [1usize, 2, 3, 300] {
            let (_folder, path) = place();
            let log = SqliteLog::open(&path).await.unwrap();
            log.append(&batch(0, 2)).await.unwrap();
            let mut outsider = outsider(&path).await;
            let foreign: Vec<_> = (0..taken as u64).map(|n| row(50_000 + n)).collect();
            for (position, row) in (2i64..).zip(&foreign) {
                sqlx::query("INSERT INTO events (position, leaf) VALUES (?, ?)")
                    .bind(position)
                    .bind(row.leaf.as_slice())
                    .execute(&mut outsider)
                    .await
                    .unwrap();
            }
            let end = 2 + taken as u64;
            match log.append(&batch(2, size)).await {
                Err(LogError::Behind { next }) => assert_eq!(next, Position(end)),
                other => panic!("{size} rows where {taken} had come first: {other:?}"),
            }
            log.append(&batch(end, 1)).await.unwrap();
            let page = log.read(Position(0), 1_000).await.unwrap();
            let mut expected = batch(0, 2).rows;
            expected.extend(foreign);
            expected.push(row(end));
            let leaves: Vec<_> = page.leaves.into_iter().map(|(leaf, _)| leaf).collect();
            assert_eq!(leaves, expected.into_iter().map(|row| row.leaf).collect::<Vec<_>>());
        }
    }
}

/// A hole in the positions is damage. It is said so, and no event is handed out under a wrong position.
#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_told() {
    let (_folder, path) = place();
    let log = SqliteLog::open(&path).await.unwrap();
    log.append(&batch(0, 4)).await.unwrap();
    outsider(&path).await.execute("INSERT INTO events VALUES (6, x'7b7d')").await.unwrap();
    for from in [0, 3, 4, 5] {
        let read = log.read(Position(from), 100).await;
        assert!(matches!(read, Err(LogError::Corrupt(_))), "from {from}: {read:?}");
    }
    assert_eq!(log.read(Position(0), 4).await.unwrap().leaves.len(), 4);
}

/// A batch of any size that fails at any of its statements leaves nothing, and the next one is as good as ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_in_the_middle_leaves_nothing() {
    let (_folder, path) = place();
    let log = SqliteLog::open(&path).await.unwrap();
    log.append(&batch(0, 8)).await.unwrap();
    let mut outsider = outsider(&path).await;
    for size in SIZES {
        let last = 7 + size;
        for (table, operation, condition) in [
            ("events", "INSERT", format!("NEW.position = {last}")),
            ("sealed", "INSERT", format!("NEW.position = {last}")),
            ("sealed", "UPDATE", "OLD.position = 0 AND NEW.secret IS NULL".to_owned()),
            ("secret_use", "INSERT", "true".to_owned()),
        ] {
            for how in ["ABORT", "FAIL", "ROLLBACK"] {
                let trigger = format!(
                    "CREATE TRIGGER broken BEFORE {operation} ON {table} WHEN {condition} \
                     BEGIN SELECT RAISE({how}, 'the disk is broken'); END"
                );
                outsider.execute(trigger.as_str()).await.unwrap();
                let shred = vec![
                    PartRef { position: Position(0), part: SealedPart::Digest },
                    PartRef { position: Position(0), part: SealedPart::Secret },
                ];
                let credential = rota_aggregates::CredentialId::default();
                let mark = rota_projections::live::UseMark { credential, version: 1, first: 1, last: 1 };
                let failed = log.append(&Batch { shred, marks: vec![mark], ..batch(8, size) }).await;
                let Err(LogError::Unavailable(error)) = failed else {
                    panic!("{size} rows, {operation} on {table}, {how}: {failed:?}")
                };
                assert!(error.to_string().contains("the disk is broken"), "{error}");
                outsider.execute("DROP TRIGGER broken").await.unwrap();
                assert_holds(&log, &batch(0, 8).rows).await;
                assert!(log.use_marks().await.unwrap().is_empty());
            }
        }
    }
    log.append(&batch(8, 300)).await.unwrap();
    assert_holds(&log, &batch(0, 308).rows).await;
}

/// Named values are set all or none.
#[tokio::test(flavor = "multi_thread")]
async fn named_values_are_set_together() {
    let (_folder, path) = place();
    let log = SqliteLog::open(&path).await.unwrap();
    log.set_meta(&[("a", b"1")]).await.unwrap();
    let trigger = "CREATE TRIGGER broken BEFORE INSERT ON meta WHEN NEW.name = 'z' \
        BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END";
    outsider(&path).await.execute(trigger).await.unwrap();
    assert!(log.set_meta(&[("a", b"2"), ("b", b"2"), ("z", b"2")]).await.is_err());
    assert_eq!(log.meta("a").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(log.meta("b").await.unwrap(), None);
    log.set_meta(&[("a", b"3"), ("b", b"3")]).await.unwrap();
    assert_eq!(log.meta("b").await.unwrap().as_deref(), Some(&b"3"[..]));
}

/// A copy is whole while the log is written to, opens as a log, and takes nobody's file away.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_consistent() {
    let (folder, path) = place();
    let log = Arc::new(SqliteLog::open(&path).await.unwrap());
    log.append(&batch(0, 300)).await.unwrap();
    let writer = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for at in (300..600).step_by(3) {
                log.append(&batch(at, 3)).await.unwrap();
            }
        })
    };
    let copied = folder.path().join("copy.db");
    log.backup(&copied).await.unwrap();
    assert!(log.backup(&copied).await.is_err(), "an existing file is not overwritten");
    writer.await.unwrap();
    let copy = SqliteLog::open(&copied).await.unwrap();
    let end = copy.next().await.unwrap().0;
    assert!(end >= 300 && end % 3 == 0, "{end} events: a batch was copied in part");
    assert_holds(&copy, &batch(0, end as usize).rows).await;
}
