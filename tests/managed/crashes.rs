use std::sync::Arc;

use rota::app::idempotency::Idempotency;
use rota::app::managed::RotateManaged;
use rota_aggregates::managed_rotation::{ManagedRotationEvent as E, Stage};

use crate::bench::{Bench, operator, schedule};
use crate::double::Fault;

/// If this fails, a service that dies before or after a step at the target leaves a published credential that is not
/// valid, or sets one that nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_step_is_healed_by_the_next_start() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    bench.create(&opened.app, schedule(false, 30)).await;
    let mut opened = Some(opened);
    let _ticking = bench.run_clock();
    // A rotation asks the target four times: intend, set, log in, retire.
    for (round, call) in [0, 1, 2, 3, 0, 1, 2, 3].into_iter().enumerate() {
        for fault in [Fault::SilentBefore, Fault::SilentAfter] {
            let app = Arc::clone(&opened.as_ref().unwrap().app);
            let version = bench.state(&app).version;
            bench.target.fail(call, 1, fault);
            let asked = {
                let (app, id) = (Arc::clone(&app), bench.rotation);
                tokio::spawn(async move {
                    app.rotate_managed(&operator(), id, &RotateManaged::default(), None).await.map(|_| ())
                })
            };
            bench.target.silent.notified().await;
            bench.assert_published_logs_in(&app, "before the death").await;
            asked.abort();
            drop(app);
            opened.take().unwrap().close().await;
            bench.target.heal();

            let again = bench.open().await;
            let when = format!("round {round}, {fault:?} at call {call}");
            let state = bench.settled(&again.app).await;
            assert!(state.attempt.is_none(), "{when}: {:?}", state.attempt);
            // An attempt whose intent is recorded goes on; one without left nothing behind.
            assert_eq!(state.version, version + u32::from(call > 0), "{when}");
            bench.assert_published_logs_in(&again.app, &when).await;
            opened = Some(again);
        }
    }
    let app = &opened.as_ref().unwrap().app;
    let mut intended = 0;
    for event in bench.history(app).await {
        match event {
            E::AttemptStarted(_) => intended += 1,
            E::CredentialSet(_) => assert!(intended > 0, "set without an intent"),
            _ => {}
        }
    }
    assert!(intended >= 12);
    opened.unwrap().close().await;
}

/// If this fails, a first credential that was interrupted leaves a rotation that nobody can use or delete.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_while_a_rotation_is_made_is_healed_too() {
    for fault in [Fault::SilentBefore, Fault::SilentAfter] {
        let mut bench = Bench::new();
        let opened = bench.open().await;
        let new = bench.begin(&opened.app).await;
        bench.target.fail(1, 1, fault);
        let app = Arc::clone(&opened.app);
        let asked =
            tokio::spawn(async move { app.create_rotation(&operator(), new, None).await.map(|_| ()) });
        bench.target.silent.notified().await;
        asked.abort();
        opened.close().await;
        bench.target.heal();
        let _ticking = bench.run_clock();
        let opened = bench.open().await;
        let app = &opened.app;
        bench.rotation = app.tip().tip.read().live.managed_rotations_of(bench.workspace).next().unwrap().id;
        let state = bench.settled(app).await;
        assert_eq!((state.stage, state.version), (Stage::Active, 1), "{fault:?}");
        bench.assert_published_logs_in(app, "after the start").await;
        opened.close().await;
    }
}

/// If this fails, a retry after a lost answer rotates twice, which ends both credentials that were valid.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_request_rotates_once() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    bench.create(app, schedule(false, 30)).await;
    let key = Idempotency::new(b"rotate-the-orders-once", &[b"POST"]).unwrap();
    let rotate = RotateManaged::default();
    let first = app.rotate_managed(&operator(), bench.rotation, &rotate, Some(&key)).await.unwrap();
    bench.rotate(app).await.unwrap();
    let again = app.rotate_managed(&operator(), bench.rotation, &rotate, Some(&key)).await.unwrap();
    assert!(again.replayed && !first.replayed);
    assert_eq!(bench.state(app).version, 3);
    let other = Idempotency::new(b"rotate-the-orders-once", &[b"DELETE"]).unwrap();
    let reused = app.rotate_managed(&operator(), bench.rotation, &rotate, Some(&other)).await.unwrap_err();
    assert_eq!(reused.code(), "idempotency-key-reused");
    opened.close().await;
}
