//! Which events are told, and in which words. The payload is versioned (`schema`) and holds no secret.

use rota_aggregates::authority::Actor;
use rota_aggregates::credential::{CredentialEvent, Kind, Replaced};
use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Event, Position, Timestamp, WorkspaceId};
use serde_json::{Value, json};
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
/// Somebody wants to see whether notices arrive.
pub const TEST: &str = "webhook.test";

/// The types that a webhook may ask for.
pub const TYPES: [&str; 7] =
    [ROTATED, EXPIRING, STILL_IN_USE, EXPIRED, SECRET_REVOKED, CREDENTIAL_REVOKED, REFUSED];

/// What is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Notice {
    /// Its id, the same at every attempt and for every webhook: the event's, if it tells of one.
    pub id: Uuid,
    /// Its type.
    pub name: &'static str,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The credential that it is about.
    pub credential: Option<CredentialId>,
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
            position: Some(position),
            at: record.time,
            data,
        })
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
            position: None,
            at: expires_at.minus_seconds(lead).max(now),
            data: json!({ "version": version, "expiresAt": expires_at }),
        }
    }

    /// That somebody wants to see whether notices arrive.
    pub fn test(id: Uuid, workspace: WorkspaceId, now: Timestamp) -> Self {
        let data = json!({});
        Self { id, name: TEST, workspace, credential: None, position: None, at: now, data }
    }

    /// The body of every delivery. `known` is what else identifies the credential.
    pub fn payload(&self, known: Option<(Kind, &str)>) -> String {
        let mut data = self.data.clone();
        if let Some(credential) = self.credential {
            data["credentialId"] = json!(credential);
        }
        if let Some((kind, public_id)) = known {
            data["kind"] = json!(kind);
            data["publicId"] = json!(public_id);
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

/// Whether a notice about a retiring version is still true of it: which version, of which credential, until when.
pub fn retiring_of(payload: &str) -> Option<(CredentialId, u32, Timestamp)> {
    let payload: Value = serde_json::from_str(payload).ok()?;
    let data = payload.get("data")?;
    let text = |name| data.get(name).and_then(Value::as_str);
    let version = data.get("version").and_then(Value::as_u64)?;
    Some((text("credentialId")?.parse().ok()?, version as u32, text("expiresAt")?.parse().ok()?))
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
