//! Several replicas on one log: whoever is overtaken, or dies, leaves no second credential behind.

use std::sync::Arc;
use std::time::Duration;

use rota::app::App;
use rota::log::memory::MemoryLog;
use rota_aggregates::managed_rotation::ManagedRotationEvent as E;

use crate::bench::{Bench, schedule};
use crate::double::Fault;
use crate::support::until;

/// If this fails, two replicas that rotate the same thing at once end both credentials that were valid.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_rotates_and_the_other_changes_nothing() {
    let mut bench = Bench::on(Arc::new(MemoryLog::shared()));
    let (one, two) = (bench.open().await, bench.open().await);
    bench.create(&one.app, schedule(false, 30)).await;
    until("the other replica knows of it", async || {
        two.app.tip().tip.read().live.managed_rotation(bench.rotation).is_some()
    })
    .await;
    let mut rotated = 0;
    for _ in 0..10 {
        let (first, second) = tokio::join!(bench.rotate(&one.app), bench.rotate(&two.app));
        for outcome in [first, second] {
            match outcome {
                Ok(_) => rotated += 1,
                Err(refused) => assert_eq!(refused.code(), "rotation-in-progress"),
            }
        }
        bench.settled(&one.app).await;
        bench.assert_published_logs_in(&one.app, "after a race").await;
    }
    assert!(rotated >= 10, "somebody wins each time");
    let history = bench.history(&one.app).await;
    let mut open = None;
    for event in &history {
        match event {
            E::AttemptStarted(e) => assert_eq!(open.replace(e.attempt), None, "one at a time"),
            E::CredentialPromoted(e) => assert_eq!(open.take(), Some(e.attempt)),
            _ => {}
        }
    }
    let promoted = history.iter().filter(|event| matches!(event, E::CredentialPromoted(_))).count();
    assert_eq!(promoted, rotated + 1, "as many as were answered");
    assert_eq!(bench.target.every_password().len(), rotated + 1, "and nobody else set anything");
    one.close().await;
    two.close().await;
}

/// If this fails, the death of a replica leaves a rotation open, or another one begins beside one that lives.
#[tokio::test(flavor = "multi_thread")]
async fn another_replica_goes_on_after_a_death_and_not_before() {
    let mut bench = Bench::on(Arc::new(MemoryLog::shared()));
    let mortal = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (options, entered) = (bench.options(), mortal.handle().clone());
    let doomed = entered.spawn(App::open(options, |_, _| ())).await.unwrap().unwrap();
    let heir = bench.open().await;
    let app = Arc::clone(&doomed.app);
    bench.create(&app, schedule(false, 30)).await;
    bench.target.fail(1, 1, Fault::SilentAfter);
    let id = bench.rotation;
    let asked = entered.spawn(async move {
        let rotate = rota::app::managed::RotateManaged::default();
        app.rotate_managed(&crate::bench::operator(), id, &rotate, None).await.map(|_| ())
    });
    bench.target.silent.notified().await;
    bench.target.heal();
    drop(asked);
    let by = |app: &App| bench.find(app)?.attempt.map(|a| a.by);
    until("the other replica knows of it", async || by(&heir.app).is_some()).await;
    let before = by(&heir.app);
    mortal.shutdown_background();
    until("a successor", async || heir.app.does_upkeep()).await;
    // It may have been slow, and not dead.
    bench.clock.advance(Duration::from_secs(80));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(by(&heir.app), before, "nobody takes it from one that may live");
    bench.clock.advance(Duration::from_secs(20));
    until("it is over", async || bench.state(&heir.app).attempt.is_none()).await;
    assert_eq!(bench.state(&heir.app).version, 2);
    bench.assert_published_logs_in(&heir.app, "after the death").await;
    let history = bench.history(&heir.app).await;
    assert_eq!(history.iter().filter(|event| matches!(event, E::AttemptTakenOver(_))).count(), 1);
    assert!(history.iter().any(|event| matches!(event, E::CredentialSet(e) if e.found)), "a login showed it");
    heir.close().await;
    drop(doomed);
}
