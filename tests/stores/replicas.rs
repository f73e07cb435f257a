//! Two replicas on one PostgreSQL, as their callers see them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rota::app::clock::{Clock, ManualClock, SystemClock};
use rota::app::{App, OpenError, Opened, OperatorKey, Options, StoreUrl};
use rota::http::{Running, ServeOptions, start};
use rota::log::postgres::PostgresUrl;
use rota::sealing::MasterKey;
use rota_aggregates::Timestamp;
use rota_aggregates::secret::Secret;
use serde_json::json;
use tempfile::TempDir;

use crate::postgres_server::Cluster;
use crate::support::{As, Caller, OPERATOR, pair, text};

const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

struct Replica {
    opened: Opened,
    running: Running,
    operator: Caller,
    _data: TempDir,
}

fn options(schema: &str, data: &Path, clock: Arc<dyn Clock>) -> Options {
    crate::install_tls();
    let url = Cluster::shared().url(schema).replace("postgres@", "postgres:not-to-be-seen@");
    let mut options = Options::new(StoreUrl::Postgres(PostgresUrl::new(url)), clock);
    data.clone_into(&mut options.data);
    options.master_key = Some(MasterKey::from_base64(MASTER).unwrap());
    options.operator_key = OperatorKey::Given(Secret::new(OPERATOR.to_owned()));
    options
}

async fn refusal(options: Options) -> OpenError {
    App::open(options, |_, _| ()).await.err().expect("it is refused")
}

impl Replica {
    async fn start(schema: &str, clock: Arc<dyn Clock>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let opened = App::open(options(schema, data.path(), clock), |_, _| ()).await.unwrap();
        let mut serve = ServeOptions::new("127.0.0.1:0".parse().unwrap());
        serve.workers = Some(2);
        let running = start(Arc::clone(&opened.app), serve).await.unwrap();
        let operator = Caller::nobody(&running.url).with(&As::Bearer(OPERATOR));
        Self { opened, running, operator, _data: data }
    }

    /// Waits until this one knows what the other one does.
    async fn follows(&self, other: &Self) {
        let known = *other.opened.app.head().borrow();
        let mut head = self.opened.app.head();
        let follows = head.wait_for(|next| *next >= known);
        tokio::time::timeout(Duration::from_secs(20), follows).await.expect("it follows").unwrap();
    }

    async fn stop(self) {
        self.running.stop().await;
        self.opened.close().await;
    }
}

/// What one replica records the other one knows, lists, and answers retries of; neither says where the password is.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_are_one_service() {
    let schema = Cluster::shared().schema().await;
    let clock = Arc::new(ManualClock::new("2027-01-01T00:00:00Z".parse().unwrap()));
    // Both at once, on an empty database.
    let (one, other) =
        tokio::join!(Replica::start(&schema, clock.clone()), Replica::start(&schema, clock.clone()));
    let workspace = one.operator.post("/v1/workspaces", json!({ "name": "acme" })).await.expect(201).json();
    other.follows(&one).await;
    let body = json!({ "kind": "client", "name": "billing", "workspaceId": workspace["id"] });
    let made = other.operator.post("/v1/credentials", body).await.expect(201).json();
    let (id, (public, first)) = (text(&made["credential"]["id"]), pair(&made["secrets"]));
    one.follows(&other).await;
    assert!(one.operator.verifies(&public, &first).await);
    let rotate = |replica: &Replica| {
        let path = format!("/v1/credentials/{id}/rotate");
        let request = replica.operator.request(reqwest::Method::POST, &path);
        crate::support::send(request.header("Idempotency-Key", "deploy-42").json(&json!({})))
    };
    let (here, there) = tokio::join!(rotate(&one), rotate(&other));
    assert_eq!((here.status.as_u16(), there.status.as_u16()), (200, 200), "{here:?} {there:?}");
    assert_eq!(here.text, there.text, "one rotation, one secret");
    one.follows(&other).await;
    other.follows(&one).await;
    let (_, second) = pair(&here.json()["secrets"]);
    for replica in [&one, &other] {
        assert!(!replica.operator.verifies(&public, &first).await);
        assert!(replica.operator.verifies(&public, &second).await);
        let history = replica.operator.history(&id).await;
        assert_eq!(history.iter().filter(|kind| kind.contains("rotated")).count(), 1, "{history:?}");
        let ready = replica.operator.get("/health/ready").await.expect(200);
        let address = format!("postgres://127.0.0.1:{}/postgres", Cluster::shared().port);
        assert_eq!(ready.json()["storeAt"], json!(address));
        assert!(!ready.text.contains("not-to-be-seen"));
    }
    one.stop().await;
    other.stop().await;
}

/// Without its master key a shared store is not begun, and with another one it is not opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_store_needs_its_master_key() {
    let schema = Cluster::shared().schema().await;
    let data = tempfile::tempdir().unwrap();
    let clock = || Arc::new(ManualClock::new("2027-01-01T00:00:00Z".parse().unwrap()));
    let mut without = options(&schema, data.path(), clock());
    without.master_key = None;
    let refused = refusal(without).await;
    assert!(matches!(refused, OpenError::MasterKeyNeeded), "{refused}");
    assert!(!data.path().join("master.key").exists());
    let opened = App::open(options(&schema, data.path(), clock()), |_, _| ()).await.unwrap();
    let second = refusal(options(&schema, data.path(), clock())).await;
    assert!(format!("{second:?}").contains("in use by another"), "one folder for each replica: {second:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut wrong = options(&schema, elsewhere.path(), clock());
    wrong.master_key = Some(MasterKey::from_base64(&MASTER.replace('A', "B")).unwrap());
    let refused = refusal(wrong).await;
    assert!(matches!(refused, OpenError::Sealed(_)), "{refused}");
    opened.close().await;
}

/// A real clock that is wrong.
struct Wrong {
    seconds: i64,
}

#[async_trait]
impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().micros() + self.seconds * 1_000_000)
    }

    async fn sleep_until(&self, _: Timestamp) {
        std::future::pending::<()>().await;
    }
}

/// Validity is a matter of time: a replica that tells another time than the store does not start.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_a_wrong_clock_refuses_to_serve() {
    let schema = Cluster::shared().schema().await;
    let data: PathBuf = tempfile::tempdir().unwrap().keep();
    for seconds in [-4, 4] {
        let refused = refusal(options(&schema, &data, Arc::new(Wrong { seconds }))).await;
        assert!(
            matches!(refused, OpenError::ClockOff { by_millis } if (by_millis / 1_000 - seconds).abs() <= 1),
            "{refused}"
        );
    }
    let opened = App::open(options(&schema, &data, Arc::new(Wrong { seconds: 1 })), |_, _| ()).await.unwrap();
    opened.close().await;
    std::fs::remove_dir_all(data).unwrap();
}
