//! Ordinary connections, names and managed rotations, for the tests of their domain.

use std::collections::{BTreeMap, BTreeSet};

use rota_aggregates::ids::{AttemptId, ConnectionId, FolderId, Position, RotationId};
use rota_aggregates::managed_rotation::schedule::{Schedule, TimeOfDay};
use rota_aggregates::managed_rotation::{
    AttemptCause, CreateRotation, FailStep, ManagedRotation, ManagedRotationCommand, ManagedRotationEvent,
    Mapped, Model, RotationRefusal, SealedAt, Settings, StartAttempt, Step,
};
use rota_aggregates::time::Timestamp;
use uuid::Uuid;

use crate::build::{WORKSPACE, at, hash};

pub const ROTATION: RotationId = RotationId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00e1));
pub const CONNECTION: ConnectionId = ConnectionId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00e2));
pub const FOLDER: FolderId = FolderId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00e3));
pub const OTHER_FOLDER: FolderId = FolderId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00e6));
pub const PROCESS: Uuid = Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00e4);
pub const OTHER_PROCESS: Uuid = Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00e5);

pub fn attempt(n: u8) -> AttemptId {
    AttemptId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_0d00 + u128::from(n)))
}

pub fn schedule(interval_days: u32, hours: u8, minutes: u8) -> Schedule {
    Schedule { auto: true, interval_days, at: TimeOfDay { hours, minutes }, window: None }
}

pub fn settings() -> Settings {
    let mapped = |n: u128, key: &str| Mapped { secret: Uuid::from_u128(n), key: key.to_owned() };
    Settings {
        name: "orders-db".to_owned(),
        schedule: schedule(30, 0, 0),
        mapping: BTreeMap::from([
            ("username".to_owned(), mapped(1, "DB_USER")),
            ("password".to_owned(), mapped(2, "DB_PASSWORD")),
        ]),
        end_sessions: false,
    }
}

pub fn create(model: Model, settings: Settings) -> ManagedRotationCommand {
    ManagedRotationCommand::Create(CreateRotation {
        rotation: ROTATION,
        workspace: WORKSPACE,
        kind: "postgres-credentials".to_owned(),
        model,
        connection: CONNECTION,
        folder: FOLDER,
        settings,
        sealed: hash(0xe0),
        now: at(1),
    })
}

/// A rotation, and where its sealed parts are, as the events of a run make them.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub state: ManagedRotation,
    pub sealed: SealedAt,
    pub events: Vec<ManagedRotationEvent>,
}

impl Run {
    /// A rotation that was created, with its first attempt begun.
    pub fn created(model: Model) -> Self {
        let mut run = Self::default();
        run.when(create(model, settings())).unwrap();
        run.when(run.start(1, AttemptCause::Create, at(1))).unwrap();
        run
    }

    /// A rotation with so many credentials published, the last one by the attempt of that number.
    pub fn published(model: Model, times: u8) -> Self {
        let mut run = Self::created(model);
        run.carry_out(1, at(2));
        for n in 2..=times {
            let now = at(u32::from(n) * 100);
            run.when(run.start(n, AttemptCause::Call, now)).unwrap();
            run.carry_out(n, now);
        }
        run
    }

    /// Lets it decide, and takes in what it decides.
    pub fn when(
        &mut self,
        command: ManagedRotationCommand,
    ) -> Result<Vec<ManagedRotationEvent>, RotationRefusal> {
        let events = self.state.decide(command)?;
        for event in &events {
            let position = Position(self.events.len() as u64);
            self.sealed.follow(&self.state, event, position);
            self.state.evolve(event);
            self.events.push(event.clone());
        }
        Ok(events)
    }

    /// Whether it refuses, and why; nothing is taken in.
    pub fn refuses(&self, command: ManagedRotationCommand) -> Option<RotationRefusal> {
        self.state.decide(command).err()
    }

    pub fn start(&self, n: u8, cause: AttemptCause, now: Timestamp) -> ManagedRotationCommand {
        ManagedRotationCommand::Start(StartAttempt {
            attempt: attempt(n),
            cause,
            by: PROCESS,
            intent: hash(0xe1),
            min_overlap_seconds: 0,
            sealed: self.sealed,
            now,
        })
    }

    pub fn set(n: u8, now: Timestamp) -> ManagedRotationCommand {
        let (attempt, credential) = (attempt(n), hash(0xe2));
        ManagedRotationCommand::NoteSet { attempt, by: PROCESS, found: false, credential, now }
    }

    pub fn promote(&self, n: u8, now: Timestamp) -> ManagedRotationCommand {
        let (attempt, sealed) = (attempt(n), self.sealed);
        ManagedRotationCommand::Promote { attempt, by: PROCESS, sealed, now }
    }

    pub fn retired(&self, n: u8, now: Timestamp) -> ManagedRotationCommand {
        let (attempt, sealed) = (attempt(n), self.sealed);
        ManagedRotationCommand::NoteRetired { attempt, by: PROCESS, sealed, now }
    }

    pub fn fails(
        &self,
        n: u8,
        step: Step,
        unclear: bool,
        may_pass: bool,
        now: Timestamp,
    ) -> ManagedRotationCommand {
        ManagedRotationCommand::Fail(FailStep {
            attempt: attempt(n),
            by: PROCESS,
            step,
            unclear,
            may_pass,
            reason: "connection refused".to_owned(),
            retry_after_seconds: 0,
            jitter: 65_535,
            sealed: self.sealed,
            now,
        })
    }

    pub fn settles(&self, n: u8, active: Option<bool>, now: Timestamp) -> ManagedRotationCommand {
        ManagedRotationCommand::Settle {
            attempt: attempt(n),
            by: PROCESS,
            active,
            reason: "connection refused".to_owned(),
            sealed: self.sealed,
            now,
        }
    }

    /// Every step of an attempt, without a fault.
    pub fn carry_out(&mut self, n: u8, now: Timestamp) {
        while let Some(a) = self.state.attempt.clone() {
            let command = match a.step {
                Step::Vacate | Step::Retire => self.retired(n, now),
                Step::Set | Step::Intend => Self::set(n, now),
                Step::Verify | Step::Settle | Step::Revoke => self.promote(n, now),
            };
            self.when(command).unwrap();
        }
    }

    /// The short names of what has happened.
    pub fn story(&self) -> Vec<&'static str> {
        self.events.iter().map(|event| short(event.type_name())).collect()
    }

    /// The parts that were destroyed so far.
    pub fn shredded(&self) -> BTreeSet<u64> {
        self.events.iter().flat_map(ManagedRotationEvent::shredded).map(|part| part.position.0).collect()
    }
}

/// `promoted` of `rota.managed-rotation.promoted.v1`.
pub fn short(name: &'static str) -> &'static str {
    name.split('.').nth(2).unwrap()
}
