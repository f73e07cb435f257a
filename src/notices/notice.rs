//! Which events are told, and in which words. The payload is versioned (`schema`) and holds no secret.

use rota_aggregates::authority::Actor;
use rota_aggregates::credential::{CredentialEvent, Replaced};
use rota_aggregates::managed_rotation::{AttemptCause, ManagedRotation, ManagedRotationEvent, Stage};
use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Event, Position, RotationId, Timestamp, WorkspaceId};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The version of the payload.
pub const SCHEMA: u32 = 1;

/// A secret was replaced.
pub const ROTATED: &str = "secret.rotated";
/// A retiring secret is about to expire.
pub const EXPIRING: &str = "secret.expiring";
/// A retiring secret is still in use.
pub const STILL_IN_USE: &str = "secret.still_in_use";
/// A retiring secret's time is over.
pub const EXPIRED: &str = "secret.expired";
/// One version was ended.
pub const SECRET_REVOKED: &str = "secret.revoked";
/// A credential was ended.
pub const CREDENTIAL_REVOKED: &str = "credential.revoked";
/// An authenticated caller was refused a change.
pub const REFUSED: &str = "rotation.refused";
/// A managed rotation is about to run by its schedule.
pub const UPCOMING: &str = "managed_rotation.upcoming";
/// A managed rotation published a new credential.
pub const PUBLISHED: &str = "managed_rotation.published";
/// An attempt at a managed rotation failed.
pub const FAILED: &str = "managed_rotation.failed";
/// A managed rotation was due a while ago, and has not succeeded.
pub const OVERDUE: &str = "managed_rotation.overdue";
/// Somebody wants to see whether notices arrive.
pub const TEST: &str = "webhook.test";

/// The types that a webhook may ask for.
pub const TYPES: [&str; 11] = [
    ROTATED,
    EXPIRING,
    STILL_IN_USE,
    EXPIRED,
    SECRET_REVOKED,
    CREDENTIAL_REVOKED,
    REFUSED,
    UPCOMING,
    PUBLISHED,
    FAILED,
    OVERDUE,
];

/// Whether notices of a type tell of no event, but of a time that is to come: then they wait for it, and are dropped if
/// things have changed by then.
pub fn lies_ahead(name: &str) -> bool {
    [EXPIRING, UPCOMING, OVERDUE].contains(&name)
}

/// What is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Notice {
    /// Its id, the same at every attempt and for every webhook.
    pub id: Uuid,
    /// Its type.
    pub name: &'static str,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The credential that it is about.
    pub credential: Option<CredentialId>,
    /// The managed rotation that it is about.
    pub rotation: Option<RotationId>,
    /// The event that it tells of.
    pub position: Option<Position>,
    /// When that happened.
    pub at: Timestamp,
    /// What else there is to say.
    pub data: Value,
}

impl Notice {
    /// What an event has to tell, if anything.
    pub fn of(record: &Record, position: Position) -> Option<Self> {
        if let Event::ManagedRotation(event) = &record.event {
            return Self::of_managed(record, event, position);
        }
        let own = CredentialId(record.stream.id);
        let (name, credential, data) = match &record.event {
            Event::Credential(event) => {
                let (name, data) = of_credential(event)?;
                (name, own, data)
            }
            Event::Observation(ObservationEvent::OldSecretUsed(e)) => {
                let data = json!({ "version": e.version, "expiresAt": e.expires_at });
                (STILL_IN_USE, e.credential, data)
            }
            Event::Observation(ObservationEvent::RotationRefused(e)) => {
                (REFUSED, e.credential, json!({ "operation": e.operation, "reason": e.reason }))
            }
            _ => return None,
        };
        let mut data = data;
        data["actor"] = actor(record.context.actor);
        Some(Self {
            id: record.id.0,
            name,
            workspace: record.context.workspace,
            credential: Some(credential),
            rotation: None,
            position: Some(position),
            at: record.time,
            data,
        })
    }

    fn of_managed(record: &Record, event: &ManagedRotationEvent, position: Position) -> Option<Self> {
        let rotation = RotationId(record.stream.id);
        let (id, name, data) = match event {
            ManagedRotationEvent::CredentialPromoted(e) => {
                (record.id.0, PUBLISHED, json!({ "version": e.version, "nextAt": e.next_at }))
            }
            // Whoever makes one is told, and there is none then.
            ManagedRotationEvent::AttemptFailed(e) if e.cause != AttemptCause::Create => {
                let data = json!({ "step": e.step, "aftermath": e.aftermath, "cause": e.cause, "nextAt": e.next_at });
                // An attempt that nobody could settle is looked at again and again, and told of once.
                let told = format!("failed/{}/{}", e.attempt, data["aftermath"]);
                (Uuid::new_v5(&rotation.0, told.as_bytes()), FAILED, data)
            }
            _ => return None,
        };
        let mut data = data;
        data["actor"] = actor(record.context.actor);
        Some(Self {
            id,
            name,
            workspace: record.context.workspace,
            credential: None,
            rotation: Some(rotation),
            position: Some(position),
            at: record.time,
            data,
        })
    }

    /// What lies ahead of a managed rotation: that it is about to run, told `lead` seconds before, and that it is
    /// overdue.
    pub fn ahead(
        rotation: RotationId,
        state: &ManagedRotation,
        lead: u64,
        now: Timestamp,
    ) -> impl Iterator<Item = Self> {
        let there = state.stage == Stage::Active;
        let upcoming = state.runs_at().filter(|at| there && *at > now);
        let overdue = state.overdue_at().filter(|_| there);
        let tell = move |name: &'static str, member: &str, at: Timestamp, told_at: Timestamp| Self {
            id: Uuid::new_v5(&rotation.0, format!("{name}/{}", at.micros()).as_bytes()),
            name,
            workspace: state.workspace,
            credential: None,
            rotation: Some(rotation),
            position: None,
            at: told_at,
            data: json!({ member: at }),
        };
        let upcoming = upcoming.map(|at| tell(UPCOMING, RUNS_AT, at, at.minus_seconds(lead).max(now)));
        let overdue = overdue.map(|at| tell(OVERDUE, OVERDUE_AT, at, at));
        [upcoming, overdue].into_iter().flatten()
    }

    /// That a retiring version is about to expire: told `lead` seconds before, or at once if that is past.
    pub fn expiring(
        workspace: WorkspaceId,
        credential: CredentialId,
        version: u32,
        expires_at: Timestamp,
        lead: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            id: Uuid::new_v5(&credential.0, format!("expiring/{version}/{}", expires_at.micros()).as_bytes()),
            name: EXPIRING,
            workspace,
            credential: Some(credential),
            rotation: None,
            position: None,
            at: expires_at.minus_seconds(lead).max(now),
            data: json!({ "version": version, "expiresAt": expires_at }),
        }
    }

    /// That somebody wants to see whether notices arrive.
    pub fn test(id: Uuid, workspace: WorkspaceId, now: Timestamp) -> Self {
        let data = json!({});
        Self { id, name: TEST, workspace, credential: None, rotation: None, position: None, at: now, data }
    }

    /// The body of every delivery. `known` is what else identifies what it is about.
    pub fn payload(&self, known: Map<String, Value>) -> String {
        let mut data = self.data.clone();
        if let Some(credential) = self.credential {
            data["credentialId"] = json!(credential);
        }
        if let Some(rotation) = self.rotation {
            data["rotationId"] = json!(rotation);
        }
        for (name, value) in known {
            data[name] = value;
        }
        let payload = json!({
            "schema": SCHEMA,
            "type": self.name,
            "timestamp": self.at,
            "workspaceId": self.workspace,
            "position": self.position,
            "data": data,
        });
        payload.to_string()
    }
}

/// The members that say of which time a notice about a managed rotation tells.
const RUNS_AT: &str = "runsAt";
const OVERDUE_AT: &str = "overdueAt";

fn text<'a>(payload: &'a Value, name: &str) -> Option<&'a str> {
    payload.get("data")?.get(name)?.as_str()
}

/// Which retiring version a notice tells of: of which credential, until when.
pub fn retiring_of(payload: &str) -> Option<(CredentialId, u32, Timestamp)> {
    let payload: Value = serde_json::from_str(payload).ok()?;
    let version = payload.get("data")?.get("version")?.as_u64()?;
    let (credential, expires_at) = (text(&payload, "credentialId")?, text(&payload, "expiresAt")?);
    Some((credential.parse().ok()?, version as u32, expires_at.parse().ok()?))
}

/// Which managed rotation a notice tells of.
pub fn rotation_of(payload: &str) -> Option<RotationId> {
    let payload: Value = serde_json::from_str(payload).ok()?;
    text(&payload, "rotationId")?.parse().ok()
}

/// Whether what a notice says of the times of a managed rotation holds still.
pub fn still_ahead(name: &str, payload: &str, state: &ManagedRotation, now: Timestamp) -> bool {
    let Ok(payload) = serde_json::from_str::<Value>(payload) else { return false };
    let told = |member| text(&payload, member).and_then(|text| text.parse::<Timestamp>().ok());
    let holds = match name {
        UPCOMING => told(RUNS_AT).is_some_and(|at| at > now && state.runs_at() == Some(at)),
        _ => told(OVERDUE_AT).is_some_and(|at| state.overdue_at() == Some(at)),
    };
    holds && state.stage == Stage::Active
}

fn actor(actor: Actor) -> Value {
    json!({ "kind": actor.kind, "id": actor.id })
}

fn replaced(replaced: Option<&Replaced>) -> Value {
    replaced.map_or(Value::Null, |r| json!({ "version": r.version, "expiresAt": r.expires_at }))
}

fn of_credential(event: &CredentialEvent) -> Option<(&'static str, Value)> {
    Some(match event {
        CredentialEvent::SecretRotated(e) => (
            ROTATED,
            json!({
                "version": e.secret.version,
                "replaced": replaced(e.replaced.as_ref()),
                "compromised": e.compromised,
            }),
        ),
        CredentialEvent::PreparedSecretRotated(e) => (
            ROTATED,
            json!({
                "version": e.version,
                "replaced": replaced(e.replaced.as_ref()),
                "compromised": false,
            }),
        ),
        CredentialEvent::OldSecretExpired(e) => {
            (EXPIRED, json!({ "version": e.version, "expiredAt": e.expired_at, "cause": e.cause }))
        }
        CredentialEvent::SecretRevoked(e) => (SECRET_REVOKED, json!({ "version": e.version })),
        CredentialEvent::CredentialRevoked(e) => (CREDENTIAL_REVOKED, json!({ "versions": e.versions })),
        CredentialEvent::CredentialIssued(_)
        | CredentialEvent::RotationPrepared(_)
        | CredentialEvent::RotationCancelled(_)
        | CredentialEvent::ReplayEnded(_)
        | CredentialEvent::GraceHeld(_)
        | CredentialEvent::CredentialDescribed(_) => return None,
    })
}
