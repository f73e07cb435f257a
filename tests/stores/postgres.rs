//! What is particular to PostgreSQL.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cqrs_es::EventEnvelope;
use cqrs_es::persist::PersistedEventRepository;
use postgres_es::PostgresEventRepository;
use rota::log::conformance::{assert_holds, batch};
use rota::log::postgres::{PostgresLog, PostgresUrl};
use rota::log::tree::TreeStore;
use rota::log::{Batch, EventLog, LogError, Page, StoredEvent};
use rota::notices::postgres::PostgresNotices;
use rota::notices::store::NoticeStore;
use rota_aggregates::Position;
use rota_aggregates::credential::Credential;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_projections::live::UseMark;

use sqlx::{ConnectOptions, Connection, Executor};

use crate::notices::notice;
use crate::postgres_server::Cluster;
use crate::writers::{Writer, every_request_to_all};

/// How many logs were opened: each is a process to the store.
static PROCESSES: AtomicU64 = AtomicU64::new(1 << 40);

/// Opens the log in a schema of the cluster, as one process would.
pub async fn open(schema: &str) -> PostgresLog {
    let origin = PROCESSES.fetch_add(1, Ordering::SeqCst).to_be_bytes();
    PostgresLog::open(&PostgresUrl::new(Cluster::shared().url(schema)), origin).await.unwrap()
}

/// A log that always believes that somebody else was faster, so that the library writes every single item.
pub struct OneByOne(pub PostgresLog);

#[async_trait]
impl EventLog for OneByOne {
    fn tree(&self) -> &dyn TreeStore {
        self.0.tree()
    }

    async fn append(&self, batch: &Batch) -> Result<(), LogError> {
        self.0.prefer_single_items();
        self.0.append(batch).await
    }

    async fn settle(&self, batch: &Batch) -> Result<bool, LogError> {
        self.0.settle(batch).await
    }

    async fn take_turn(&self, from: Position) -> Result<Option<Page>, LogError> {
        self.0.take_turn(from).await
    }

    async fn end_turn(&self) {
        self.0.end_turn().await;
    }

    async fn grown(&self, known: Position) -> bool {
        self.0.grown(known).await
    }

    async fn next(&self) -> Result<Position, LogError> {
        self.0.next().await
    }

    async fn read(&self, from: Position, limit: usize) -> Result<Page, LogError> {
        self.0.read(from, limit).await
    }

    async fn read_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, LogError> {
        self.0.read_at(positions).await
    }

    async fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        self.0.meta(name).await
    }

    async fn names(&self) -> Result<Vec<String>, LogError> {
        self.0.names().await
    }

    async fn set_meta(&self, values: &[(&str, &[u8])]) -> Result<(), LogError> {
        self.0.set_meta(values).await
    }

    async fn rewrap(&self, keys: &[(PartRef, Vec<u8>)]) -> Result<(), LogError> {
        self.0.rewrap(keys).await
    }

    async fn use_marks(&self) -> Result<Vec<UseMark>, LogError> {
        self.0.use_marks().await
    }

    async fn backup(&self, path: &Path) -> Result<(), LogError> {
        self.0.backup(path).await
    }
}

/// The address of a schema with more parameters.
fn address(schema: &str, more: &str) -> PostgresUrl {
    PostgresUrl::new(format!("{}{more}", Cluster::shared().url(schema)))
}

async fn refusal(url: &PostgresUrl) -> String {
    let error = PostgresLog::open(url, [9; 8]).await.err().expect("the store is refused");
    let mut text = format!("{error} {error:?}");
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Whoever comes past rota, also as the owner, changes nothing that is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_never_changed_deleted_or_truncated() {
    let schema = Cluster::shared().schema().await;
    let log = open(&schema).await;
    log.append(&batch(0, 20)).await.unwrap();
    let mut owner = Cluster::shared().connect(&schema).await;
    for sql in [
        "UPDATE events SET leaf = 'x' WHERE position = 3",
        "UPDATE events SET position = 99 WHERE position = 3",
        "DELETE FROM events WHERE position = 19",
        "TRUNCATE events",
        "TRUNCATE events, sealed CASCADE",
        "DELETE FROM sealed",
        "UPDATE sealed SET digest = '\\x00' WHERE digest IS NOT NULL",
        "UPDATE sealed SET secret = '\\x00' WHERE secret IS NOT NULL",
        "UPDATE sealed SET position = position + 1000",
    ] {
        let refused = owner.execute(sql).await;
        let code = refused.as_ref().err().and_then(|e| e.as_database_error()?.code().map(Cow::into_owned));
        assert_eq!(code.as_deref(), Some("23001"), "{sql}: {refused:?}");
    }
    // Rows that somebody slips in take no place that is taken, and leave none free.
    for positions in ["7", "21", "20, 22", "18, 19, 20"] {
        let slipped = format!(
            "INSERT INTO events SELECT 'credential', 'x', p, 't', '1', '{{}}', '{{}}', p, 'x' \
             FROM unnest(ARRAY[{positions}]) AS p"
        );
        let refused = owner.execute(slipped.as_str()).await;
        let code = refused.as_ref().err().and_then(|e| e.as_database_error()?.code().map(Cow::into_owned));
        assert_eq!(code.as_deref(), Some("23505"), "{positions}: {refused:?}");
    }
    assert_holds(&log, &batch(0, 20).rows).await;
}

/// The library's own repository reads the streams that a batch wrote, as events of the aggregate.
#[tokio::test(flavor = "multi_thread")]
async fn the_library_loads_what_a_batch_wrote() {
    let schema = Cluster::shared().schema().await;
    let log = open(&schema).await;
    log.append(&batch(0, 30)).await.unwrap();
    let repository = PostgresEventRepository::new(log.pool().clone());
    let id = uuid::Uuid::from_u128(4).to_string();
    let stream = repository.get_events::<Credential>(&id).await.unwrap();
    let sequences: Vec<_> = stream.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [4, 11, 18, 25], "the rows whose numbers leave 3 when divided by 7");
    for event in stream {
        let envelope =
            EventEnvelope::<Credential>::try_from(event).expect("the payload is the aggregate's event");
        assert_eq!(envelope.payload.type_name(), "rota.credential.described.v1");
    }
}

/// A schema of a newer program is refused, and so is one that is not there where nothing may be made.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused() {
    let schema = Cluster::shared().schema().await;
    drop(open(&schema).await);
    let mut owner = Cluster::shared().connect(&schema).await;
    owner
        .execute("INSERT INTO _sqlx_migrations VALUES (9000, 'newer', now(), true, '\\x00', 0)")
        .await
        .unwrap();
    let said = refusal(&address(&schema, "")).await;
    assert!(said.contains("schema 9000") && said.contains("newer rota"), "{said}");
    let empty = Cluster::shared().schema().await;
    let opened = PostgresLog::open_existing(&address(&empty, ""), [1; 8]).await;
    assert!(opened.err().is_some_and(|e| format!("{e:?}").contains("rota migrate")));
}

/// `verify-full` means what it says, and without TLS a server that asks for it is not spoken to.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked() {
    crate::install_tls();
    let cluster = Cluster::shared();
    let [right, wrong] = cluster.authorities().map(|path| path.display().to_string());
    let schema = cluster.schema().await;
    let by_name = |more: &str| {
        let url = cluster.url(&schema).replace("127.0.0.1", "localhost");
        PostgresUrl::new(format!("{url}{more}"))
    };
    let log = PostgresLog::open(&by_name(&format!("&sslmode=verify-full&sslrootcert={right}")), [1; 8]).await;
    log.unwrap().append(&batch(0, 1)).await.unwrap();
    for (url, because) in [
        (by_name(&format!("&sslmode=verify-full&sslrootcert={wrong}")), "authority"),
        (by_name("&sslmode=verify-full"), "authority"),
        (address(&schema, &format!("&sslmode=verify-full&sslrootcert={right}")), "name"),
        (by_name("&sslmode=of-course"), "mode"),
    ] {
        let said = refusal(&url).await;
        assert!(!said.contains("schema"), "refused for its {because}, before anything else: {said}");
    }
    let mut admin = cluster.connect("public").await;
    admin.execute("CREATE DATABASE only_tls").await.unwrap();
    let only =
        |more: &str| PostgresUrl::new(cluster.url("public").replace("/postgres?", "/only_tls?") + more);
    let said = refusal(&only("&sslmode=disable")).await;
    assert!(said.contains("pg_hba.conf"), "{said}");
    PostgresLog::open(&only("&sslmode=require"), [1; 8]).await.unwrap();
}

/// Connections end at random instants, in the middle of appends too: every request is recorded once all the same,
/// and nobody was told otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_cut_at_random() {
    const CUTS: u32 = 30;
    let cluster = Cluster::shared();
    let schema = cluster.schema().await;
    let mut writers = Vec::new();
    for number in 1..=2 {
        let url = address(&schema, "&application_name=cut_at_random");
        let log = PostgresLog::open(&url, [number as u8; 8]).await.unwrap();
        writers.push(Writer::new(number, Arc::new(log)));
    }
    let done = Arc::new(AtomicBool::new(false));
    let cutter = {
        let done = Arc::clone(&done);
        let mut admin = cluster.connect("public").await;
        tokio::spawn(async move {
            let (mut cut, mut wait) = (0, 1);
            // Connecting again takes longer than an append: cut for ever, nobody would get anything done.
            for _ in 0..CUTS {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                cut += cluster.cut(&mut admin, "cut_at_random").await;
                // Another instant of an append each time.
                wait = (wait * 37 + 11) % 211;
                tokio::time::sleep(Duration::from_millis(100 + wait)).await;
            }
            cut
        })
    };
    let reader = Arc::new(open(&schema).await);
    every_request_to_all(&writers, reader, 12).await;
    done.store(true, Ordering::SeqCst);
    assert!(cutter.await.unwrap() > 0, "connections were cut");
}

/// Two processes, every request to both, and a third who reads along.
#[tokio::test(flavor = "multi_thread")]
async fn two_writers_record_every_request_once() {
    let schema = Cluster::shared().schema().await;
    let mut writers = Vec::new();
    for number in 1..=2 {
        writers.push(Writer::new(number, Arc::new(open(&schema).await)));
    }
    every_request_to_all(&writers, Arc::new(open(&schema).await), 20).await;
}

/// An attempt that was given up does not come in late, whichever way it comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_given_up_stays_out() {
    for single in [false, true] {
        let schema = Cluster::shared().schema().await;
        let origin = [u8::from(single); 8];
        let log = PostgresLog::open(&address(&schema, ""), origin).await.unwrap();
        // The one that holds the lock; the append waits behind it, as one whose connection was lost would.
        let mut holder = Cluster::shared().connect(&schema).await;
        let mut held = holder.begin().await.unwrap();
        held.execute("SELECT lock_ledger()").await.unwrap();
        let log = Arc::new(log);
        let appending = {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                if single {
                    log.prefer_single_items();
                }
                log.append(&batch(0, 1)).await
            })
        };
        let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
             AND objid::bigint = ledger_number()";
        let mut admin = Cluster::shared().connect(&schema).await;
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut admin).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Its writer gives it up first: what `settle` does when it gets the lock before.
        let attempt = [origin, 1u64.to_be_bytes()].concat();
        sqlx::query("INSERT INTO given_up (attempt) VALUES ($1)")
            .bind(attempt)
            .execute(&mut *held)
            .await
            .unwrap();
        held.commit().await.unwrap();
        let told = appending.await.unwrap();
        assert!(matches!(told, Err(LogError::Unavailable(_))), "{told:?}");
        assert_holds(&*log, &[]).await;
    }
}

/// A doubt is settled: what is there is told, what is not there can't come any more, and both may be asked twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_is_settled() {
    let schema = Cluster::shared().schema().await;
    let log = open(&schema).await;
    log.append(&batch(0, 3)).await.unwrap();
    assert!(log.settle(&batch(0, 3)).await.unwrap());
    assert!(!log.settle(&batch(3, 2)).await.unwrap());
    assert!(!log.settle(&batch(3, 2)).await.unwrap());
    let mut other = batch(0, 3);
    other.rows = batch(40, 3).rows;
    assert!(!log.settle(&other).await.unwrap(), "somebody else's event is there");
    log.append(&batch(3, 2)).await.unwrap();
}

/// A turn keeps others out, and one that is not used ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_keeps_others_out() {
    let schema = Cluster::shared().schema().await;
    let (one, other) = (open(&schema).await, Arc::new(open(&schema).await));
    let page = one.take_turn(Position(0)).await.unwrap().expect("a page");
    assert!(page.leaves.is_empty());
    let waiting = {
        let other = Arc::clone(&other);
        tokio::spawn(async move { other.append(&batch(0, 1)).await })
    };
    one.append(&batch(0, 2)).await.unwrap();
    let told = waiting.await.unwrap();
    assert!(matches!(told, Err(LogError::Behind { next: Position(2) })), "{told:?}");
    let page = one.take_turn(Position(1)).await.unwrap().expect("a page");
    assert_eq!(page, one.read(Position(1), 10).await.unwrap());
    one.end_turn().await;
    other.append(&batch(2, 1)).await.unwrap();
    // Its process is stopped now, and the server throws it out.
    one.take_turn(Position(3)).await.unwrap();
    other.append(&batch(3, 1)).await.unwrap();
    let told = one.append(&batch(4, 1)).await;
    assert!(told.is_err(), "the turn is over: {told:?}");
    assert_eq!(one.next().await.unwrap(), Position(4));
}

/// What `roles.sql` gives is enough to serve and to verify, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn each_role_can_do_its_own_and_no_more() {
    const ROLES: &str = include_str!("../../migrations/postgres/roles.sql");
    let cluster = Cluster::shared();
    let schema = cluster.schema().await;
    PostgresLog::migrate(&address(&schema, "")).await.unwrap();
    let mut owner = cluster.connect(&schema).await;
    for _ in 0..2 {
        owner.execute(ROLES).await.unwrap();
    }
    let member = "CREATE ROLE replica LOGIN IN ROLE rota_app; CREATE ROLE auditor LOGIN IN ROLE rota_auditor; \
         CREATE ROLE migrator LOGIN IN ROLE rota_owner";
    owner.execute(member).await.unwrap();
    let url = |role: &str| PostgresUrl::new(cluster.url(&schema).replace("postgres@", &format!("{role}@")));
    let log = PostgresLog::open(&url("replica"), [1; 8]).await.unwrap();
    log.append(&batch(0, 20)).await.unwrap();
    log.prefer_single_items();
    log.append(&batch(20, 1)).await.unwrap();
    let shred = vec![PartRef { position: Position(0), part: SealedPart::Secret }];
    log.append(&Batch { shred, ..batch(21, 3) }).await.unwrap();
    log.set_meta(&[("name", b"value")]).await.unwrap();
    assert!(!log.settle(&batch(24, 1)).await.unwrap());
    let auditor = PostgresLog::open_existing(&url("auditor"), [2; 8]).await.unwrap();
    assert_eq!(auditor.read(Position(0), 100).await.unwrap().leaves.len(), 24);
    assert!(auditor.append(&batch(24, 1)).await.is_err());
    assert!(auditor.set_meta(&[("name", b"other")]).await.is_err());
    for (role, sql) in [
        ("replica", "UPDATE events SET leaf = 'x'"),
        ("replica", "DELETE FROM events"),
        ("replica", "TRUNCATE events"),
        ("replica", "ALTER TABLE events DISABLE TRIGGER ALL"),
        ("replica", "DROP TRIGGER events_are_numbered ON events"),
        ("replica", "DELETE FROM sealed"),
        ("replica", "CREATE TABLE mine (x int)"),
        ("auditor", "UPDATE sealed SET digest = NULL"),
        ("auditor", "INSERT INTO meta VALUES ('x', 'y')"),
    ] {
        let mut connection = url(role).options().unwrap().connect().await.unwrap();
        let refused = connection.execute(sql).await;
        let code = refused.as_ref().err().and_then(|e| e.as_database_error()?.code().map(Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{role}: {sql}: {refused:?}");
    }
    PostgresLog::migrate(&url("migrator")).await.unwrap();
    crate::notices::suits_a_replica(log.pool().clone()).await;
    assert!(PostgresNotices::new(auditor.pool().clone()).add(&notice(1, 1)).await.is_err());
}

/// Replicas that are started together on nothing all find the schema, whoever makes it.
#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_bring_an_empty_schema_up_to_date() {
    for _ in 0..8 {
        let schema = Cluster::shared().schema().await;
        let opened = futures_util::future::join_all((0..6).map(|_| open(&schema))).await;
        for log in opened {
            assert_eq!(log.next().await.unwrap(), Position(0));
        }
    }
}
