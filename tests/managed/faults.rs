use std::sync::Arc;
use std::time::Duration;

use rota::app::managed::{DeleteRotation, RotateManaged};
use rota_aggregates::managed_rotation::{Aftermath, ManagedRotationEvent as E, Reconciliation, Stage};

use crate::bench::{Bench, operator, schedule};
use crate::double::Fault;
use crate::support::until;

/// If this fails, what is published is not what the target takes.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_each_publish_what_logs_in() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    bench.create(app, schedule(false, 30)).await;
    for n in 0..20 {
        bench.rotate(app).await.unwrap();
        bench.assert_published_logs_in(app, "after a rotation").await;
        let (active, generated) = app.generated_credentials(&operator(), bench.rotation).await.unwrap();
        assert_eq!((active, generated.len()), ((n + 1) % 2, 2));
        for credential in generated {
            let user = &credential.public[0].1;
            assert!(bench.target.accepts(user, credential.secret.expose()), "both are valid");
        }
    }
    // No password is anywhere but sealed.
    let page = app.log().read(rota_aggregates::Position(0), 100_000).await.unwrap();
    for password in bench.target.every_password() {
        for (leaf, _) in &page.leaves {
            assert!(!String::from_utf8_lossy(leaf).contains(&password));
        }
    }
    let delete = DeleteRotation { delete_secrets: true, revoke: true };
    let (user, password) = bench.published(app).await;
    app.delete_rotation(&operator(), bench.rotation, delete).await.unwrap();
    assert!(!bench.target.accepts(&user, &password), "revoked");
    let secrets = app.mapped_secrets(&operator(), bench.workspace, bench.folder(), true).await.unwrap();
    assert!(secrets.is_empty());
    opened.close().await;
}

/// If this fails, two callers at once end a credential that one of them has just been told of.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_rotations_at_once_one_is_refused() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    bench.create(&opened.app, schedule(false, 30)).await;
    bench.target.fail(1, 1, Fault::SilentBefore);
    let (app, id) = (Arc::clone(&opened.app), bench.rotation);
    let first = tokio::spawn(async move {
        app.rotate_managed(&operator(), id, &RotateManaged::default(), None).await.map(|_| ())
    });
    bench.target.silent.notified().await;
    bench.target.heal();
    let before = opened.app.head().borrow().0;
    let refused = bench.rotate(&opened.app).await.unwrap_err();
    assert_eq!(refused.code(), "rotation-in-progress");
    for revoke in [true, false] {
        let delete = DeleteRotation { delete_secrets: true, revoke };
        let refused = opened.app.delete_rotation(&operator(), id, delete).await.unwrap_err();
        assert_eq!(refused.code(), "rotation-in-progress");
    }
    assert_eq!(opened.app.head().borrow().0, before, "a refusal changes nothing");
    first.abort();
    opened.close().await;
}

/// If this fails, an answer that got lost makes rota forget a credential that the target has.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_settled_by_logging_in() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    bench.create(app, schedule(false, 30)).await;
    bench.target.fail(1, 1, Fault::LostAnswer);
    bench.rotate(app).await.unwrap();
    bench.assert_published_logs_in(app, "after a lost answer").await;
    let found = |event: &E| matches!(event, E::CredentialSet(e) if e.found);
    assert!(bench.history(app).await.iter().any(found));
    opened.close().await;
}

/// If this fails, a target that is away, or says no, leaves a rotation that can't be used, or no word of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_says_so_and_leaves_what_is_published() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    bench.create(app, schedule(true, 30)).await;
    let _ticking = bench.run_clock();
    for (fault, text) in [(Fault::Refused, "permission denied"), (Fault::Unreachable, "connection refused")] {
        for call in [0, 1] {
            bench.target.fail(call, usize::MAX / 2, fault);
            let failed = bench.rotate(app).await.unwrap_err();
            assert_eq!((failed.code(), failed.to_string().as_str()), ("target-failed", text));
            bench.target.heal();
            let state = bench.settled(app).await;
            let aftermath = state.last.fault.as_ref().map(|fault| fault.aftermath);
            assert_eq!((aftermath, state.version), (Some(Aftermath::Intact), 1), "{fault:?} at {call}");
            assert!(state.attempt.is_none());
            bench.assert_published_logs_in(app, "after a failure").await;
        }
    }
    bench.rotate(app).await.unwrap();
    assert_eq!(bench.state(app).last.fault, None);
    opened.close().await;
}

/// If this fails, a rotation whose target refuses at the beginning stays behind under its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_the_target_refuses_was_never_made() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    let new = bench.begin(app).await;
    let connection = new.connection;
    bench.target.fail(1, 1, Fault::Refused);
    let refused = app.create_rotation(&operator(), new, None).await.unwrap_err();
    assert_eq!(refused.to_string(), "permission denied");
    assert!(app.managed_rotations(&operator(), bench.workspace).await.unwrap().is_empty());
    let again = bench.described("orders-db", connection, schedule(false, 30));
    let made = app.create_rotation(&operator(), again, None).await.unwrap();
    bench.rotation = made.view.id;
    bench.assert_published_logs_in(app, "made after all").await;
    // The name and the secrets are taken now.
    let twice = bench.described("orders-db", connection, schedule(false, 30));
    assert_eq!(app.create_rotation(&operator(), twice, None).await.unwrap_err().code(), "name-taken");
    let same_secrets = bench.described("other", connection, schedule(false, 30));
    assert_eq!(app.create_rotation(&operator(), same_secrets, None).await.unwrap_err().code(), "name-taken");
    opened.close().await;
}

/// If this fails, there is no way out where somebody else has changed the password that is published.
#[tokio::test(flavor = "multi_thread")]
async fn reconciling_says_what_is_so_and_sets_anew_where_nothing_is_valid() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    bench.create(app, schedule(false, 30)).await;
    let (outcome, _) = app.reconcile_rotation(&operator(), bench.rotation).await.unwrap();
    assert_eq!(outcome, Reconciliation::InStep);
    let (user, _) = bench.published(app).await;
    bench.target.change(&user, "changed by hand");
    let (outcome, view) = app.reconcile_rotation(&operator(), bench.rotation).await.unwrap();
    assert_eq!((outcome, view.state.stage), (Reconciliation::Reset, Stage::Active));
    bench.assert_published_logs_in(app, "after the reset").await;
    opened.close().await;
}

/// If this fails, a rotation can bring a new credential into being while the rotation itself is being ended.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_rotation_is_being_deleted_it_is_not_rotated_and_a_death_there_is_healed() {
    for fault in [Fault::SilentBefore, Fault::SilentAfter] {
        let mut bench = Bench::new();
        let opened = bench.open().await;
        bench.create(&opened.app, schedule(true, 30)).await;
        bench.rotate(&opened.app).await.unwrap();
        let published = bench.published(&opened.app).await;
        bench.target.fail(0, 1, fault);
        let (app, id) = (Arc::clone(&opened.app), bench.rotation);
        let delete = DeleteRotation { delete_secrets: true, revoke: true };
        let asked =
            tokio::spawn(async move { app.delete_rotation(&operator(), id, delete).await.map(|_| ()) });
        bench.target.silent.notified().await;
        let before = opened.app.head().borrow().0;
        let refused = bench.rotate(&opened.app).await.unwrap_err();
        assert!(matches!(refused.code(), "rotation-in-progress" | "rotation-being-deleted"), "{refused:?}");
        assert_eq!(opened.app.head().borrow().0, before, "a refusal changes nothing");
        asked.abort();
        opened.close().await;

        bench.target.heal();
        let _ticking = bench.run_clock();
        let again = bench.open().await;
        let mut head = again.app.head();
        let gone = async {
            while bench.stage(&again.app) != Stage::Deleted {
                head.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.expect("it is ended after all");
        assert!(!bench.target.accepts(&published.0, &published.1), "{fault:?}: what rota made is dead");
        assert!(bench.target.accepts("somebody_else", "first of somebody_else"));
        let revoked = |event: &&E| matches!(event, E::CredentialRevoked(_));
        assert_eq!(bench.history(&again.app).await.iter().filter(revoked).count(), 2, "each once");
        again.close().await;
    }
}

/// If this fails, rota guesses where nobody knows, or there is no way out of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_stays_open_until_the_target_can_be_asked() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    bench.create(app, schedule(false, 30)).await;
    let published = bench.published(app).await;
    // The target does what it is told, and no answer ever arrives.
    bench.target.fail(1, usize::MAX / 2, Fault::LostAnswer);
    let ticking = bench.run_clock();
    assert_eq!(bench.rotate(app).await.unwrap_err().code(), "target-failed");
    drop(ticking);
    let state = bench.settled(app).await;
    let stuck = state.attempt.as_ref().and_then(|a| a.stuck);
    assert_eq!((stuck, state.version), (Some(Aftermath::Unsettled), 1));
    assert_eq!(bench.published(app).await, published, "what is published stays");
    assert!(bench.target.accepts(&published.0, &published.1));
    assert!(bench.rotate(app).await.is_err(), "nothing is begun on top of it");
    assert_eq!(bench.state(app).version, 1);

    bench.target.heal();
    let (outcome, _) = app.reconcile_rotation(&operator(), bench.rotation).await.unwrap();
    assert_eq!((outcome, bench.state(app).version), (Reconciliation::Adopted, 2));
    bench.assert_published_logs_in(app, "after it could be asked").await;
    assert!(bench.state(app).attempt.is_none());
    opened.close().await;
}

/// If this fails, a night on which much is due is an attack on the system that it is due at, or a slow system holds up
/// all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_asked_by_four_at_once_and_is_in_no_other_ones_way() {
    let mut bench = Bench::new();
    let opened = bench.open().await;
    let app = &opened.app;
    let here = bench.begin(app).await.connection;
    let there = bench.connect(app, "there", "elsewhere.example").await;
    let mut rotations = Vec::new();
    for n in 0..8 {
        let connection = if n < 7 { here } else { there };
        let mut new = bench.described(&format!("db-{n}"), connection, schedule(false, 30));
        new.mapping.values_mut().for_each(|key| key.push_str(&n.to_string()));
        rotations.push(app.create_rotation(&operator(), new, None).await.unwrap().view.id);
    }
    let before = bench.target.calls();
    bench.target.fail(0, usize::MAX / 2, Fault::SilentBefore);
    let rotate = |id| {
        let app = Arc::clone(app);
        tokio::spawn(async move {
            app.rotate_managed(&operator(), id, &RotateManaged::default(), None).await.map(|_| ())
        })
    };
    let elsewhere = rotations.pop().unwrap();
    let mut asked: Vec<_> = rotations.into_iter().map(rotate).collect();
    until("four at once", async || bench.target.calls() - before == 4).await;
    asked.push(rotate(elsewhere));
    until("another host is asked", async || bench.target.calls() - before == 5).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.target.calls() - before, 5, "the others wait for their turn");
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    drop(asked);
    opened.close().await;
}
