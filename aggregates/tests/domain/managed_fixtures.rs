//! One record of every event of connections, names and managed rotations, with every field and every name used.

use rota_aggregates::SpaceId;
use rota_aggregates::connection::{ConnectionChecked, ConnectionDeleted, ConnectionEvent, ConnectionUpdated};
use rota_aggregates::ids::StreamId;
use rota_aggregates::managed_rotation::schedule::{Missed, TimeOfDay, Weekday, Window};
use rota_aggregates::managed_rotation::{
    Aftermath, AttemptCause, AttemptFailed, AttemptStarted, AttemptTakenOver, CredentialPromoted,
    CredentialRevoked, CredentialSet, CredentialVerified, DeletionFailed, DeletionStarted,
    ManagedRotationEvent, Model, PreviousRetired, Reconciliation, RotationCreated, RotationDeleted,
    RotationMoved, RotationReconciled, RotationUpdated, SecretsDeleted, Settings, Step, StepFailed,
};
use rota_aggregates::record::Record;

use crate::build::{WORKSPACE, at, hash, secret_part};
use crate::connection::{created, credentials};
use crate::fixtures::plain;
use crate::managed::{CONNECTION, FOLDER, OTHER_FOLDER, OTHER_PROCESS, PROCESS, ROTATION, attempt, settings};
use crate::name_space::held;

pub fn of_connections() -> Vec<Record> {
    let event = |n, event: ConnectionEvent| plain(n, StreamId::connection(CONNECTION), event);
    let updated = ConnectionUpdated {
        name: Some("ledger".into()),
        described: true,
        credentials: Some(credentials(3)),
        shredded: vec![secret_part(1)],
        at: at(2),
    };
    let renamed =
        ConnectionUpdated { described: false, credentials: None, shredded: vec![], ..updated.clone() };
    vec![
        event(1, created()),
        event(2, updated.into()),
        event(3, renamed.into()),
        event(4, ConnectionChecked { failure: None, at: at(4) }.into()),
        event(5, ConnectionChecked { failure: Some("no route".into()), at: at(5) }.into()),
        event(6, ConnectionDeleted { shredded: vec![secret_part(2)], at: at(6) }.into()),
    ]
}

pub fn of_names() -> Vec<Record> {
    let stream = StreamId::name_space(SpaceId::folder(FOLDER));
    vec![plain(1, stream, held(ROTATION.0, &["rotation/orders-db", "secret/DB_PASSWORD"]))]
}

pub fn of_managed_rotations() -> Vec<Record> {
    [of_settings(), of_attempts(), of_failures(), of_deletions(), of_moves()].concat()
}

fn event(n: u32, event: impl Into<ManagedRotationEvent>) -> Record {
    plain(n, StreamId::managed_rotation(ROTATION), event.into())
}

fn of_settings() -> Vec<Record> {
    let created = |model| RotationCreated {
        rotation: ROTATION,
        workspace: WORKSPACE,
        kind: "postgres-credentials".into(),
        model,
        connection: CONNECTION,
        folder: FOLDER,
        settings: settings(),
        sealed: hash(0xe0),
        at: at(1),
    };
    let windowed = |missed, days: &[Weekday]| {
        let start = TimeOfDay { hours: 22, minutes: 30 };
        let mut settings = Settings { end_sessions: true, ..settings() };
        settings.schedule.window = Some(Window { start, minutes: 240, days: days.to_vec(), missed });
        settings
    };
    let week = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    let updated = RotationUpdated {
        settings: windowed(Missed::Wait, &week),
        described: true,
        sealed: Some(hash(0xe3)),
        shredded: vec![secret_part(1)],
        at: at(2),
    };
    let other = RotationUpdated {
        settings: windowed(Missed::CatchUp, &[]),
        described: false,
        sealed: None,
        shredded: vec![],
        at: at(3),
    };
    let models = [Model::TwoUsers, Model::TwoPasswords, Model::Single, Model::Keys];
    let mut records: Vec<_> = models.map(|model| event(1, created(model))).into();
    records.extend([event(2, updated), event(3, other)]);
    records
}

fn of_attempts() -> Vec<Record> {
    let started = |cause, due_at| AttemptStarted {
        attempt: attempt(1),
        slot: 1,
        cause,
        by: PROCESS,
        sealed: hash(0xe1),
        due_at,
        shredded: vec![],
        at: at(4),
    };
    let set = |found| CredentialSet { attempt: attempt(1), slot: 1, found, sealed: hash(0xe2), at: at(6) };
    let promoted = |next_at, shredded| CredentialPromoted {
        attempt: attempt(1),
        slot: 1,
        version: 2,
        shredded,
        next_at,
        at: at(7),
    };
    let retired = |sessions_ended, shredded| PreviousRetired {
        attempt: attempt(1),
        version: 1,
        sessions_ended,
        shredded,
        at: at(8),
    };
    vec![
        event(4, started(AttemptCause::Create, None)),
        event(4, started(AttemptCause::Call, None)),
        event(4, started(AttemptCause::Schedule, Some(at(3)))),
        event(4, AttemptStarted { shredded: vec![secret_part(1)], ..started(AttemptCause::Reset, None) }),
        event(5, AttemptTakenOver { attempt: attempt(1), by: OTHER_PROCESS, at: at(5) }),
        event(6, set(false)),
        event(6, set(true)),
        event(7, CredentialVerified { attempt: attempt(1), at: at(7) }),
        event(8, promoted(Some(at(86_400)), vec![secret_part(1)])),
        event(8, promoted(None, vec![])),
        event(9, retired(true, vec![secret_part(2)])),
        event(9, retired(false, vec![])),
    ]
}

fn of_failures() -> Vec<Record> {
    let failed = |step, next, unclear| StepFailed {
        attempt: attempt(1),
        step,
        next,
        unclear,
        reason: "connection refused".into(),
        tries: 1,
        retry_at: at(12),
        at: at(10),
    };
    let steps =
        [Step::Intend, Step::Vacate, Step::Set, Step::Verify, Step::Retire, Step::Settle, Step::Revoke];
    let over = |aftermath, cause, due_at| AttemptFailed {
        attempt: attempt(1),
        cause,
        due_at,
        step: Step::Settle,
        aftermath,
        reason: "connection refused".into(),
        shredded: vec![],
        next_at: None,
        at: at(11),
    };
    let intact = AttemptFailed {
        shredded: vec![secret_part(1)],
        next_at: Some(at(86_400)),
        ..over(Aftermath::Intact, AttemptCause::Schedule, Some(at(3)))
    };
    let reconciled = |outcome| event(13, RotationReconciled { outcome, at: at(13) });
    let mut records: Vec<_> = steps.map(|step| event(10, failed(step, Step::Settle, true))).into();
    records.extend([
        event(10, failed(Step::Set, Step::Set, false)),
        event(11, intact),
        event(11, over(Aftermath::Unsettled, AttemptCause::Call, None)),
        event(11, over(Aftermath::OutOfStep, AttemptCause::Call, None)),
        event(11, over(Aftermath::NotRetired, AttemptCause::Call, None)),
        reconciled(Reconciliation::InStep),
        reconciled(Reconciliation::Adopted),
        reconciled(Reconciliation::Kept),
        reconciled(Reconciliation::Reset),
    ]);
    records
}

fn of_deletions() -> Vec<Record> {
    let (id, by) = (attempt(2), PROCESS);
    vec![
        event(14, DeletionStarted { attempt: id, by, delete_secrets: true, at: at(14) }),
        event(15, CredentialRevoked { attempt: id, slot: 0, at: at(15) }),
        event(16, DeletionFailed { attempt: id, reason: "permission denied".into(), at: at(16) }),
        event(
            17,
            RotationDeleted {
                secrets_deleted: false,
                revoked: true,
                shredded: vec![secret_part(1)],
                at: at(17),
            },
        ),
        event(
            18,
            SecretsDeleted { fields: vec!["password".into()], shredded: vec![secret_part(2)], at: at(18) },
        ),
    ]
}

fn of_moves() -> Vec<Record> {
    vec![event(19, RotationMoved { from: FOLDER, to: OTHER_FOLDER, at: at(19) })]
}
