//! The audit index: whatever is in memory, in runs, or on its way from one into the other, every question gets the
//! answer that reading the whole ledger gives.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rota::app::clock::SystemClock;
use rota::app::issue::Issue;
use rota::app::rotate::Rotate;
use rota::app::{App, Caller, Opened, Options, Principal, StoreUrl};
use rota::views::AuditQuery;
use rota_aggregates::authority::{Dialect, Roles};
use rota_aggregates::credential::Kind;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Position, RequestId, WorkspaceId};
use rota_projections::audit::{Facet, credential_of};
use serde_json::Map;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use uuid::Uuid;

fn caller(number: u128) -> Caller {
    let request = RequestId(Uuid::from_u128(number));
    Caller {
        principal: Principal::Operator,
        dialect: Dialect::Native,
        request,
        correlation: request.0,
        client_address: None,
        user_agent: None,
    }
}

async fn open(path: &Path) -> Opened {
    // What the program does first: rota's own requests need it.
    crate::install_tls();
    let mut options = Options::new(StoreUrl::Sqlite(path.to_owned()), Arc::new(SystemClock));
    options.master_key_file = Some(path.with_file_name("master.key"));
    App::open(options, |_, _| ()).await.unwrap()
}

async fn issue(app: &App, workspace: WorkspaceId, number: usize) -> CredentialId {
    let issue = Issue {
        workspace,
        kind: Kind::Client,
        name: format!("number {number}"),
        roles: Roles::default(),
        mode: None,
        parent: None,
        profile: Map::new(),
    };
    let render = |made: &rota::app::rotate::Made| Ok(made.credential.to_string().into_bytes());
    let answer = app.issue(&caller(number as u128 / 3), &issue, None, render).await.unwrap();
    String::from_utf8(answer.bytes.to_vec()).unwrap().parse().unwrap()
}

/// Every event, as the ledger has it.
async fn ledger(app: &App) -> Vec<Record> {
    let next = app.log().next().await.unwrap().0;
    let positions: Vec<Position> = (0..next).map(Position).collect();
    let stored = app.log().read_at(&positions).await.unwrap();
    stored.iter().map(|event| Record::decode(&event.leaf).unwrap()).collect()
}

fn facets(record: &Record) -> Vec<Facet> {
    let mut facets = vec![
        Facet::Workspace(record.context.workspace),
        Facet::Actor(record.context.actor),
        Facet::Type(record.event.type_name().to_owned()),
        Facet::Request(record.context.request),
    ];
    facets.extend(credential_of(record).map(Facet::Credential));
    facets
}

/// Asks for many combinations of facets, stretches and page sizes.
async fn assert_answers(app: &App, round: usize) {
    app.settled().await.unwrap();
    let records = ledger(app).await;
    let count = records.len();
    for number in 0..60 {
        let one = facets(&records[(number * 7 + round * 13) % count]);
        let other = facets(&records[(number * 31 + round) % count]);
        // Now and then a facet of another event, so that some questions have no answer.
        let mixed = one.iter().chain(&other).enumerate();
        let chosen: Vec<Facet> = mixed
            .filter(|(index, _)| (number + 1) >> (index % 6) & 1 == 1 && (*index < 5 || number % 5 == 0))
            .map(|(_, facet)| facet.clone())
            .collect();
        let after = (number % 3 == 1).then(|| Position((number * 11 % count) as u64));
        let before = (number % 4 == 2).then(|| Position((count - number * 3 % count) as u64));
        let limit = [1, 3, 1_000][number % 3];
        let query = AuditQuery { facets: chosen, after, before, limit, ..AuditQuery::default() };
        let right: Vec<u64> = (0..)
            .zip(&records)
            .filter(|(position, record)| {
                after.is_none_or(|p| *position > p.0)
                    && before.is_none_or(|p| *position < p.0)
                    && query.facets.iter().all(|facet| facet.matches(record))
            })
            .map(|(position, _)| position)
            .take(limit)
            .collect();
        let found = app.views().audit(&query).await.unwrap();
        let found: Vec<u64> = found.iter().map(|(_, stored)| stored.position.0).collect();
        assert_eq!(found, right, "{query:?}");
    }
}

async fn levels(views: &Path) -> BTreeSet<i64> {
    let mut connection = SqliteConnectOptions::new().filename(views).read_only(true).connect().await.unwrap();
    let levels: Vec<i64> =
        sqlx::query_scalar("SELECT level FROM runs").fetch_all(&mut connection).await.unwrap();
    levels.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_gets_the_ledgers_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rota.db");
    let mut opened = open(&path).await;
    let mut workspaces = Vec::new();
    for name in ["one", "two", "three"] {
        workspaces.push(opened.app.open_workspace(&caller(1), name).await.unwrap().0.id);
    }
    let mut credentials = Vec::new();
    for round in 0..150 {
        let app = &opened.app;
        if round % 4 == 0 {
            credentials.push(issue(app, workspaces[round % 3], round).await);
        }
        let id = credentials[round * 5 % credentials.len()];
        app.rotate(&caller(round as u128), id, &Rotate::default(), None, |_| Ok(Vec::new())).await.unwrap();
        if round % 7 != 6 {
            app.settled().await.unwrap();
            app.views().flush().await.unwrap();
        }
        if round % 15 == 0 {
            assert_answers(app, round).await;
        }
        if round == 80 {
            opened.close().await;
            opened = open(&path).await;
        }
    }
    // Runs are merged beside all this.
    let views = folder.path().join("rota.db.views");
    while !levels(&views).await.contains(&2) {
        tokio::task::yield_now().await;
    }
    assert_answers(&opened.app, 1).await;
    let before = opened.app.views().dump().await.unwrap();
    opened.app.views().clear().await.unwrap();
    opened.app.views().catch_up(|_| ()).await.unwrap();
    assert_eq!(opened.app.views().dump().await.unwrap(), before);
    assert_answers(&opened.app, 2).await;
    opened.close().await;
}

/// A file that was not closed is folded again from its last run on.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_is_folded_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rota.db");
    let opened = open(&path).await;
    let workspace = opened.app.open_workspace(&caller(1), "one").await.unwrap().0.id;
    let id = issue(&opened.app, workspace, 1).await;
    opened.app.settled().await.unwrap();
    opened.app.views().flush().await.unwrap();
    let half = folder.path().join("half.db");
    opened.app.rotate(&caller(2), id, &Rotate::default(), None, |_| Ok(Vec::new())).await.unwrap();
    issue(&opened.app, workspace, 2).await;
    opened.app.settled().await.unwrap();
    // As a crash leaves them: the ledger whole, the views as of the last run and the rows that went ahead.
    opened.app.log().backup(&half).await.unwrap();
    for (from, to) in [("rota.db.views", "half.db.views"), ("rota.db.views-wal", "half.db.views-wal")] {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    let before = opened.app.views().dump().await.unwrap();
    opened.close().await;
    let opened = open(&half).await;
    opened.app.settled().await.unwrap();
    assert_answers(&opened.app, 3).await;
    assert_eq!(opened.app.views().dump().await.unwrap(), before);
    opened.close().await;
}
