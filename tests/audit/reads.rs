//! Who read of the ledger, where the deployment is told to record that.

use std::time::Duration;

use crate::support::{Caller, Service, text};

/// The readings that a report tells of.
async fn told(caller: &Caller, query: &str) -> Vec<(String, String)> {
    let report = caller.get(&format!("/v1/reports/reads?{query}")).await.expect(200).json();
    let rows = report["rows"].as_array().unwrap();
    rows.iter().map(|row| (text(&row["what"]), text(&row["actorId"]))).collect()
}

/// If this fails, whoever reads the audit trail does so unseen, or each look at it makes it longer.
#[tokio::test(flavor = "multi_thread")]
async fn readings_are_recorded_once_a_minute_where_that_is_asked_for() {
    let mut service = Service::start().await;
    let workspace = service.operator.open_workspace("w").await;
    let (id, key, _) = service.operator.workspace_key(&workspace, &["auditor"]).await;
    let (app, ..) = service.operator.issue(&workspace, "client").await;
    let events = |service: &Service| service.app().head().borrow().0;
    let position = events(&service) - 1;
    let paths = [
        "/v1/events".to_owned(),
        format!("/v1/credentials/{app}/history"),
        "/v1/reports/rotations".to_owned(),
        format!("/v1/ledger/entries/{position}"),
    ];
    let read = async |auditor: &Caller| {
        for path in &paths {
            auditor.get(path).await.expect(200);
        }
    };
    let before = events(&service);
    read(&service.operator.with_bearer(&key)).await;
    assert_eq!(events(&service), before, "nothing is recorded unless it is asked for");

    service.home.record_reads = true;
    service.restart(|_| ()).await;
    let (operator, auditor) = (service.operator.clone(), service.operator.with_bearer(&key));
    // What was refused, or found empty, gave nothing away.
    auditor.get("/v1/reports/nothing").await.expect(404);
    auditor.get("/v1/reports/rotations?limit=0").await.expect(400);
    auditor.get(&format!("/v1/events?after={}", events(&service) - 1)).await.expect(200);
    assert_eq!(events(&service), before);
    read(&auditor).await;
    read(&auditor).await;
    let once = ["events", "history", "report/rotations", "entry"].map(|what| (what.to_owned(), id.clone()));
    assert_eq!(told(&operator, &format!("workspaceId={workspace}")).await, once);
    service.clock.advance(Duration::from_mins(1));
    auditor.get("/v1/events").await.expect(200);
    let again = ("events".to_owned(), id.clone());
    assert_eq!(told(&operator, &format!("actor={id}")).await, [&once[..], &[again]].concat());
    // Whoever looks is seen to look, also the operator; and the first answer did not have it.
    let looked = told(&operator, &format!("actor=operator&workspaceId={workspace}")).await;
    assert_eq!(looked.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(), ["report/reads"]);
    // A workspace's auditor learns of nobody else's readings of the deployment.
    let own = told(&auditor, "").await;
    assert_eq!(own.len(), once.len() + 1 + 2, "five of its own, two of the operator's");
}
