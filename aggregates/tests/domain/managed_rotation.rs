//! A managed rotation's attempts: intent, set, login, publish, retire; and what becomes of what fails.

use proptest::prelude::*;
use rota_aggregates::ids::Position;
use rota_aggregates::managed_rotation::{
    Aftermath, AttemptCause, ManagedRotationCommand, ManagedRotationEvent, Model, OVERDUE_SECONDS,
    Reconciliation, RotationRefusal, SETTLE_TRIES_MAX, STEP_SECONDS, Settings, Stage, StartAttempt, Step,
    TRIES_MAX, UNSETTLED_SECONDS, UpdateRotation,
};

use crate::build::{at, hash};
use crate::managed::{FOLDER, OTHER_FOLDER, OTHER_PROCESS, PROCESS, Run, attempt, create, settings};

fn delete(run: &Run, delete_secrets: bool) -> ManagedRotationCommand {
    ManagedRotationCommand::Delete { revoked: None, delete_secrets, sealed: run.sealed, now: at(9_000) }
}

fn update(run: &Run, settings: Settings) -> ManagedRotationCommand {
    let (described, parameters, sealed, now) = (false, None, run.sealed, at(9_000));
    ManagedRotationCommand::Update(UpdateRotation { settings, described, parameters, sealed, now })
}

#[test]
fn the_intent_comes_before_and_the_end_of_the_one_before_comes_last() {
    let mut run = Run::published(Model::TwoUsers, 2);
    let before = run.events.len();
    run.when(run.start(3, AttemptCause::Call, at(300))).unwrap();
    run.carry_out(3, at(300));
    assert_eq!(
        run.story()[before..],
        ["attempt-started", "credential-set", "verified", "promoted", "previous-retired"]
    );
    assert_eq!(run.state.active, 0);
    assert_eq!(run.state.version, 3);
}

#[test]
fn places_take_turns_and_a_new_one_takes_the_older_place() {
    for model in [Model::TwoUsers, Model::TwoPasswords, Model::Single, Model::Keys] {
        for times in 1..=5 {
            let run = Run::published(model, times);
            assert_eq!(
                (run.state.active, run.state.version),
                ((times - 1) % 2, u32::from(times)),
                "{model:?}"
            );
            assert_eq!(run.state.next_slot(), if times == 0 { 0 } else { times % 2 });
            assert!(run.state.attempt.is_none() && run.state.stage == Stage::Active);
        }
    }
}

#[test]
fn what_is_of_no_use_any_more_is_destroyed_and_what_is_published_never() {
    for model in [Model::TwoUsers, Model::TwoPasswords, Model::Single, Model::Keys] {
        let run = Run::published(model, 6);
        let kept = run.sealed.slots.map(|at| at.unwrap().0);
        let shredded = run.shredded();
        for (position, event) in run.events.iter().enumerate() {
            let position = position as u64;
            let sealed = event.sealed().is_some();
            let keeps = kept.contains(&position) || run.sealed.parameters == Some(Position(position));
            assert_eq!(shredded.contains(&position), sealed && !keeps, "{model:?} {position} {event:?}");
        }
    }
}

#[test]
fn a_target_with_room_for_two_keys_has_the_older_one_ended_before_a_third_is_made() {
    let mut run = Run::published(Model::Keys, 2);
    run.when(run.start(3, AttemptCause::Call, at(300))).unwrap();
    assert_eq!(run.state.attempt.as_ref().unwrap().step, Step::Vacate);
    run.when(run.retired(3, at(301))).unwrap();
    assert_eq!(run.state.attempt.as_ref().unwrap().step, Step::Set);
    assert_eq!(run.state.slots[0], None);
    assert!(run.state.active_held().is_some_and(|held| !held.ended));
    run.carry_out(3, at(302));
    assert_eq!(run.state.active, 0);
}

#[test]
fn only_one_attempt_goes_on_at_a_time() {
    let run = Run::created(Model::TwoUsers);
    assert_eq!(run.refuses(run.start(2, AttemptCause::Create, at(2))), Some(RotationRefusal::InProgress));
    assert_eq!(run.refuses(run.start(2, AttemptCause::Call, at(2))), Some(RotationRefusal::InProgress));
    assert_eq!(run.refuses(delete(&run, true)), Some(RotationRefusal::InProgress));
    assert_eq!(run.refuses(Run::set(2, at(2))), Some(RotationRefusal::Overtaken));
}

#[test]
fn whoever_was_overtaken_records_nothing_more() {
    let mut run = Run::created(Model::TwoUsers);
    let take_over = |by, now| ManagedRotationCommand::TakeOver { attempt: attempt(1), by, now };
    run.when(take_over(OTHER_PROCESS, at(60))).unwrap();
    for command in [
        Run::set(1, at(61)),
        run.promote(1, at(61)),
        run.retired(1, at(61)),
        run.fails(1, Step::Set, false, true, at(61)),
        run.settles(1, None, at(61)),
    ] {
        assert_eq!(run.refuses(command), Some(RotationRefusal::Overtaken));
    }
    // What the one before had sent may still have arrived.
    assert_eq!(run.state.attempt.as_ref().unwrap().unclear_at, Some(at(60)));
    run.when(take_over(PROCESS, at(70))).unwrap();
    run.carry_out(1, at(71));
    assert_eq!(run.state.version, 1);
}

#[test]
fn a_rotation_moves_while_an_attempt_goes_on_and_not_before_it_is_made() {
    let to = |to| ManagedRotationCommand::Move { to, now: at(9_000) };
    let run = Run::created(Model::TwoUsers);
    assert_eq!(run.refuses(to(OTHER_FOLDER)), Some(RotationRefusal::InProgress));
    let mut run = Run::published(Model::TwoUsers, 1);
    assert_eq!(run.when(to(FOLDER)).unwrap(), [], "it is there already");
    run.when(run.start(2, AttemptCause::Call, at(100))).unwrap();
    let before = run.state.clone();
    run.when(to(OTHER_FOLDER)).unwrap();
    assert_eq!(run.state.folder, OTHER_FOLDER);
    assert_eq!((&run.state.attempt, &run.state.settings), (&before.attempt, &before.settings));
    run.carry_out(2, at(9_001));
    run.when(delete(&run, true)).unwrap();
    assert_eq!(run.refuses(to(FOLDER)), Some(RotationRefusal::Unknown));
}

#[test]
fn a_step_is_tried_again_later_and_not_for_ever() {
    let mut run = Run::published(Model::TwoUsers, 1);
    run.when(run.start(2, AttemptCause::Call, at(100))).unwrap();
    let mut waits = Vec::new();
    let mut now = at(100);
    for _ in 1..TRIES_MAX {
        run.when(run.fails(2, Step::Set, false, true, now)).unwrap();
        let a = run.state.attempt.clone().unwrap();
        waits.push(a.not_before.seconds() - now.seconds());
        now = a.not_before;
    }
    assert_eq!(waits, [2, 4, 8, 16]);
    run.when(run.fails(2, Step::Set, false, true, now)).unwrap();
    assert!(run.state.attempt.is_none(), "nothing had changed, so it is over");
    assert_eq!(run.state.last.fault.as_ref().unwrap().aftermath, Aftermath::Intact);
    assert_eq!((run.state.version, run.state.active), (1, 0));
    assert_eq!(run.sealed.intent, None, "an intent that came to nothing is destroyed");
}

#[test]
fn a_refusal_ends_an_attempt_at_once() {
    let mut run = Run::published(Model::TwoUsers, 1);
    run.when(run.start(2, AttemptCause::Call, at(100))).unwrap();
    run.when(run.fails(2, Step::Set, false, false, at(101))).unwrap();
    assert!(run.state.attempt.is_none());
}

#[test]
fn after_a_lost_answer_the_intent_stays_until_the_target_was_asked_in_time() {
    let mut run = Run::published(Model::Single, 1);
    run.when(run.start(2, AttemptCause::Call, at(100))).unwrap();
    run.when(run.fails(2, Step::Set, true, true, at(110))).unwrap();
    // A refusal afterwards says nothing about what the lost request did.
    run.when(run.fails(2, Step::Set, false, false, at(112))).unwrap();
    let a = run.state.attempt.clone().unwrap();
    assert_eq!((a.step, a.not_before), (Step::Settle, at(110).plus_seconds(STEP_SECONDS)));
    assert!(run.sealed.intent.is_some());
    let until = at(110).plus_seconds(STEP_SECONDS);
    assert_eq!(run.refuses(run.settles(2, Some(true), at(139))), Some(RotationRefusal::TooEarly { until }));
    run.when(run.settles(2, Some(true), at(140))).unwrap();
    assert!(run.state.attempt.is_none() && run.sealed.intent.is_none());
    assert_eq!(run.state.active_held().map(|held| held.ended), Some(false));
}

#[test]
fn a_credential_that_was_set_after_all_is_found_and_published() {
    let mut run = Run::published(Model::Single, 1);
    run.when(run.start(2, AttemptCause::Call, at(100))).unwrap();
    run.when(run.fails(2, Step::Set, true, false, at(101))).unwrap();
    assert_eq!(run.state.attempt.as_ref().unwrap().step, Step::Settle);
    let (by, credential) = (PROCESS, hash(0xe2));
    let found =
        ManagedRotationCommand::NoteSet { attempt: attempt(2), by, found: true, credential, now: at(131) };
    run.when(found).unwrap();
    run.carry_out(2, at(132));
    assert_eq!(run.state.version, 2);
}

#[test]
fn what_nobody_knows_is_given_up_visibly_and_looked_at_again() {
    let mut run = Run::published(Model::Single, 1);
    run.when(run.start(2, AttemptCause::Call, at(100))).unwrap();
    run.when(run.fails(2, Step::Set, true, false, at(101))).unwrap();
    for n in 0..SETTLE_TRIES_MAX {
        run.when(run.fails(2, Step::Settle, false, true, at(200 + n))).unwrap();
    }
    let a = run.state.attempt.clone().unwrap();
    assert_eq!(a.stuck, Some(Aftermath::Unsettled));
    assert_eq!(a.not_before, at(200 + SETTLE_TRIES_MAX - 1).plus_seconds(UNSETTLED_SECONDS));
    assert_eq!(run.state.unfinished_at(), Some(a.not_before));
    assert!(run.sealed.intent.is_some(), "the intent is what a later look needs");
    assert_eq!(run.refuses(run.start(3, AttemptCause::Call, at(300))), Some(RotationRefusal::Unsettled));
    // The next look that fails waits twice as long.
    let take_over = ManagedRotationCommand::TakeOver { attempt: attempt(2), by: PROCESS, now: at(5_000) };
    run.when(take_over).unwrap();
    run.when(run.fails(2, Step::Settle, false, true, at(5_001))).unwrap();
    let a = run.state.attempt.clone().unwrap();
    assert_eq!(a.not_before, at(5_001).plus_seconds(2 * UNSETTLED_SECONDS));
}

#[test]
fn where_nothing_is_valid_any_more_a_reset_is_the_way_out() {
    let mut run = Run::published(Model::Single, 1);
    run.when(run.start(2, AttemptCause::Call, at(100))).unwrap();
    run.when(run.fails(2, Step::Set, true, false, at(101))).unwrap();
    run.when(run.settles(2, Some(false), at(200))).unwrap();
    assert_eq!(run.state.attempt.as_ref().unwrap().stuck, Some(Aftermath::OutOfStep));
    assert!(run.sealed.intent.is_some() && run.sealed.slots[0].is_some(), "both are kept");
    run.when(run.start(3, AttemptCause::Reset, at(300))).unwrap();
    assert!(run.state.attempt.as_ref().unwrap().is_reset);
    run.carry_out(3, at(301));
    let reset = ManagedRotationCommand::Reconcile { outcome: Reconciliation::Reset, now: at(302) };
    run.when(reset).unwrap();
    assert_eq!((run.state.version, &run.state.last.fault), (2, &None));
}

#[test]
fn what_keeps_failing_is_overdue_since_it_first_was_due() {
    let mut run = Run::published(Model::TwoUsers, 1);
    let due = run.state.next_at.unwrap();
    assert_eq!(run.state.runs_at(), Some(due));
    assert_eq!(run.state.overdue_at(), Some(due.plus_seconds(OVERDUE_SECONDS)));
    let (reason, cause) = ("permission denied".to_owned(), AttemptCause::Schedule);
    let fail = |n, now| ManagedRotationCommand::FailStart {
        attempt: attempt(n),
        cause,
        reason: reason.clone(),
        now,
    };
    for n in 2..5 {
        let now = run.state.next_at.unwrap();
        run.when(fail(n, now)).unwrap();
        assert!(run.state.next_at.unwrap() > now, "it is put off");
        assert_eq!(
            run.state.overdue_at(),
            Some(due.plus_seconds(OVERDUE_SECONDS)),
            "and is late all the same"
        );
    }
    let now = run.state.next_at.unwrap();
    run.when(run.start(5, AttemptCause::Call, now)).unwrap();
    run.carry_out(5, now);
    assert_eq!(run.state.overdue_at(), run.state.next_at.map(|next| next.plus_seconds(OVERDUE_SECONDS)));
}

#[test]
fn a_first_attempt_that_fails_leaves_nothing_behind() {
    let mut run = Run::created(Model::TwoUsers);
    run.when(run.fails(1, Step::Set, false, false, at(2))).unwrap();
    assert_eq!(run.story(), ["created", "attempt-started", "attempt-failed", "deleted"]);
    assert_eq!(run.state.stage, Stage::Deleted);
    assert_eq!(run.shredded().len(), 2, "parameters and intent");
}

#[test]
fn the_one_before_that_can_t_be_ended_does_not_undo_what_is_published() {
    let mut run = Run::published(Model::TwoPasswords, 2);
    run.when(run.start(3, AttemptCause::Call, at(300))).unwrap();
    run.when(Run::set(3, at(301))).unwrap();
    run.when(run.promote(3, at(302))).unwrap();
    run.when(run.fails(3, Step::Retire, false, false, at(303))).unwrap();
    assert_eq!(run.state.last.fault, None, "the rotation itself succeeded");
    assert_eq!(run.state.attempt.as_ref().unwrap().stuck, Some(Aftermath::NotRetired));
    assert!(run.sealed.former.is_some());
    run.when(run.start(4, AttemptCause::Call, at(400))).unwrap();
    run.carry_out(4, at(401));
    assert_eq!(run.state.version, 4);
}

#[test]
fn a_minimum_overlap_keeps_the_one_before_from_being_replaced_too_early() {
    let run = Run::published(Model::TwoUsers, 2);
    let start = |run: &Run, now| match run.start(3, AttemptCause::Call, now) {
        ManagedRotationCommand::Start(start) => {
            ManagedRotationCommand::Start(StartAttempt { min_overlap_seconds: 3_600, ..start })
        }
        other => other,
    };
    let until = at(200).plus_seconds(3_600);
    assert_eq!(run.refuses(start(&run, at(3_799))), Some(RotationRefusal::Overlap { until }));
    assert_eq!(run.refuses(start(&run, at(3_800))), None);
    let single = Run::published(Model::Single, 2);
    assert_eq!(single.refuses(start(&single, at(300))), None, "there is no overlap to keep");
}

#[test]
fn settings_within_bounds_are_taken_and_others_refused_by_name() {
    let refused = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        match Run::default().refuses(create(Model::TwoUsers, settings)) {
            Some(RotationRefusal::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|s| s.name = "Orders".into()), "name");
    assert_eq!(refused(|s| s.name = String::new()), "name");
    assert_eq!(refused(|s| s.name = "a".repeat(65)), "name");
    assert_eq!(refused(|s| s.mapping.clear()), "secretsMapping");
    assert_eq!(refused(|s| s.mapping.get_mut("password").unwrap().key = "a/b".into()), "secretsMapping");
    assert_eq!(refused(|s| s.mapping.get_mut("password").unwrap().key = "DB_USER".into()), "secretsMapping");
    assert_eq!(refused(|s| s.schedule.interval_days = 0), "rotationInterval");
    assert_eq!(refused(|s| s.schedule.at.hours = 24), "rotateAtUtc");
    assert_eq!(refused(|s| s.schedule.at.minutes = 60), "rotateAtUtc");
}

#[test]
fn renaming_secrets_rotates_nothing_and_an_attempt_keeps_its_parameters() {
    let mut run = Run::published(Model::TwoUsers, 1);
    let mut other = run.state.settings.clone();
    other.mapping.get_mut("password").unwrap().key = "DB_PASS".into();
    assert_eq!(run.when(update(&run, other.clone())).unwrap().len(), 1);
    assert_eq!(run.state.version, 1);
    assert_eq!(run.when(update(&run, other)).unwrap(), [], "it is so already");
    run.when(run.start(2, AttemptCause::Call, at(100))).unwrap();
    let parameters = ManagedRotationCommand::Update(UpdateRotation {
        settings: run.state.settings.clone(),
        described: false,
        parameters: Some(hash(1)),
        sealed: run.sealed,
        now: at(101),
    });
    assert_eq!(run.refuses(parameters), Some(RotationRefusal::InProgress));
}

#[test]
fn what_a_deleted_rotation_leaves_behind_is_its_last_value() {
    let mut run = Run::published(Model::TwoUsers, 3);
    let active = run.sealed.slots[usize::from(run.state.active)].unwrap();
    run.when(delete(&run, false)).unwrap();
    assert_eq!(run.sealed.slots.into_iter().flatten().collect::<Vec<_>>(), [active]);
    assert_eq!(run.state.settings.mapping.len(), 2);
    let leave = |run: &Run, field: &str| ManagedRotationCommand::DeleteSecrets {
        fields: vec![field.to_owned()],
        sealed: run.sealed,
        now: at(9_100),
    };
    run.when(leave(&run, "username")).unwrap();
    assert!(!run.shredded().contains(&active.0));
    run.when(leave(&run, "password")).unwrap();
    assert!(run.shredded().contains(&active.0));
    assert_eq!(run.refuses(leave(&run, "password")), Some(RotationRefusal::Unknown));
}

#[test]
fn a_deletion_that_the_target_refuses_leaves_the_rotation() {
    let mut run = Run::published(Model::TwoUsers, 2);
    let (id, by) = (attempt(9), PROCESS);
    let begin =
        ManagedRotationCommand::StartDeletion { attempt: id, by, delete_secrets: true, now: at(9_000) };
    run.when(begin).unwrap();
    assert_eq!(run.refuses(run.start(3, AttemptCause::Call, at(9_001))), Some(RotationRefusal::Deleting));
    assert_eq!(run.refuses(delete(&run, true)), Some(RotationRefusal::Deleting));
    let revoked = |slot| ManagedRotationCommand::NoteRevoked { attempt: id, by, slot, now: at(9_002) };
    run.when(revoked(0)).unwrap();
    let failed = ManagedRotationCommand::FailDeletion {
        attempt: id,
        by,
        reason: "permission denied".into(),
        now: at(9_003),
    };
    run.when(failed).unwrap();
    assert_eq!((run.state.stage, run.state.active_held().unwrap().ended), (Stage::Active, false));
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Start(AttemptCause),
    TakeOver,
    Set,
    Promote,
    Retired,
    Fails(bool, bool),
    Settles(Option<bool>),
    Delete,
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        4 => prop_oneof![Just(AttemptCause::Call), Just(AttemptCause::Schedule), Just(AttemptCause::Reset)]
            .prop_map(Next::Start),
        1 => Just(Next::TakeOver),
        6 => Just(Next::Set),
        6 => Just(Next::Promote),
        6 => Just(Next::Retired),
        3 => any::<(bool, bool)>().prop_map(|(unclear, may_pass)| Next::Fails(unclear, may_pass)),
        2 => any::<Option<bool>>().prop_map(Next::Settles),
        1 => Just(Next::Delete),
    ]
}

proptest! {
    /// No order of steps, failures and takeovers destroys what is published, or an intent that is not settled, or
    /// publishes what was not set.
    #[test]
    fn whatever_happens_the_published_credential_is_kept(
        model in prop_oneof![
            Just(Model::TwoUsers), Just(Model::TwoPasswords), Just(Model::Single), Just(Model::Keys)
        ],
        steps in prop::collection::vec((next(), 0_u32..90), 1..80),
    ) {
        let mut run = Run::created(model);
        let mut now = at(10);
        let mut n = 1_u8;
        for (step, seconds) in steps {
            now = now.plus_seconds(u64::from(seconds) + 1);
            let open = run.state.attempt.clone();
            let at_step = open.as_ref().map_or(Step::Set, |a| a.step);
            let command = match step {
                Next::Start(cause) => { n = n.wrapping_add(1); run.start(n, cause, now) }
                Next::TakeOver => match &open {
                    Some(a) => ManagedRotationCommand::TakeOver { attempt: a.id, by: PROCESS, now },
                    None => continue,
                },
                Next::Set => Run::set(n, now),
                Next::Promote => run.promote(n, now),
                Next::Retired => run.retired(n, now),
                Next::Fails(unclear, may_pass) => run.fails(n, at_step, unclear, may_pass, now),
                Next::Settles(active) => run.settles(n, active, now),
                Next::Delete => {
                    let sealed = run.sealed;
                    ManagedRotationCommand::Delete { revoked: None, delete_secrets: false, sealed, now }
                }
            };
            let version = run.state.version;
            let began = open.as_ref().map(|a| a.id);
            match run.when(command) {
                Ok(events) => for event in &events {
                    if let ManagedRotationEvent::AttemptStarted(_) = event { }
                    if let ManagedRotationEvent::CredentialPromoted(e) = event {
                        prop_assert!(open.as_ref().is_some_and(|a| a.is_set));
                        prop_assert_eq!(e.version, version + 1);
                    }
                },
                Err(_) => if matches!(step, Next::Start(_)) { n = began.map_or(n, |id| id.0.as_bytes()[15]); },
            }
            let shredded = run.shredded();
            if run.state.version > 0 {
                let active = run.sealed.slots[usize::from(run.state.active)];
                prop_assert!(active.is_some_and(|at| !shredded.contains(&at.0)), "{:?}", run.story());
            }
            if let Some(a) = run.state.attempt.as_ref().filter(|a| !a.is_promoted) {
                prop_assert!(run.sealed.intent.is_some(), "{:?} {:?}", a, run.story());
                prop_assert_eq!(a.is_set, run.sealed.pending.is_some());
            }
        }
    }
}
