//! What is signed is what is stored.

use std::sync::Arc;

use rota::app::clock::ManualClock;
use rota::app::{App, OperatorKey, Options, StoreUrl};
use rota::log::EventLog;
use rota::log::faulty::FaultyLog;
use rota::log::memory::MemoryLog;
use rota_aggregates::secret::Secret;
use rota_aggregates::{Position, RequestId};
use uuid::Uuid;

use crate::support::OPERATOR;

fn operator() -> rota::app::Caller {
    rota::app::Caller {
        principal: rota::app::Principal::Operator,
        ..rota::app::Caller::scheduler(RequestId(Uuid::from_u128(1)))
    }
}

/// If this fails, a root is signed that the stored events do not have, and the log is dead for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_changes_on_its_way_to_the_store_is_not_signed_for() {
    crate::install_tls();
    let log = Arc::new(FaultyLog::new(Arc::new(MemoryLog::new()), |_| None));
    let clock = Arc::new(ManualClock::new("2027-01-01T00:00:00Z".parse().unwrap()));
    let mut options = Options::new(StoreUrl::Memory, clock);
    options.operator_key = OperatorKey::Given(Secret::new(OPERATOR.to_owned()));
    options.log = Some(log.clone());
    let opened = App::open(options, |_, _| ()).await.unwrap();
    let app = Arc::clone(&opened.app);
    let signed = app.newest_checkpoint().await.unwrap();
    let next = log.next().await.unwrap();
    assert_eq!(signed.checkpoint.size, next.0);

    log.alter(Position(next.0));
    app.add_ledger_key(&operator(), 60).await.unwrap();
    let refused = app.newest_checkpoint().await.map(|published| published.checkpoint.size);
    assert_eq!(refused.map_err(|failure| failure.code()), Err("history-lost"));
    assert_eq!(app.last_checkpoint().map(|published| published.checkpoint.size), Some(next.0));
    assert!(app.add_ledger_key(&operator(), 60).await.is_err(), "and nothing more is appended");
    drop(app);
    opened.close().await;
}
