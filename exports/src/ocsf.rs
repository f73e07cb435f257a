//! OCSF, the schema that security data lakes share. It has no activity for a rotation: what changes a credential
//! is Entity Management, the use of a secret that was replaced is Authentication. What OCSF has no field for is
//! under `unmapped`.

use serde_json::{Value, json};

use crate::Entry;
use crate::cloud_event::Hex;
use crate::entry::name;

/// The version of OCSF whose classes these are.
pub const VERSION: &str = "1.3.0";

/// A class of OCSF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Authentication, 3002.
    Authentication,
    /// Entity Management, 3004.
    EntityManagement,
}

impl Class {
    /// Its number.
    pub fn uid(self) -> u32 {
        match self {
            Self::Authentication => 3002,
            Self::EntityManagement => 3004,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authentication => "Authentication",
            Self::EntityManagement => "Entity Management",
        }
    }
}

/// What an event type is in OCSF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Its class.
    pub class: Class,
    /// The number of its activity.
    pub activity: u32,
    /// The name of its activity.
    pub activity_name: &'static str,
    /// Its severity: 1 informational, 2 low, 3 medium.
    pub severity: u32,
}

const fn entity(activity: u32, activity_name: &'static str, severity: u32) -> Mapping {
    Mapping { class: Class::EntityManagement, activity, activity_name, severity }
}

/// What an event type is in OCSF; `None` for one that is not known here, which is written as activity 99.
pub fn mapping(event_type: &str) -> Option<Mapping> {
    const CREATE: Mapping = entity(1, "Create", 1);
    const UPDATE: Mapping = entity(3, "Update", 1);
    const DELETE: Mapping = entity(4, "Delete", 1);
    const ENABLE: Mapping = entity(8, "Enable", 1);
    const DISABLE: Mapping = entity(9, "Disable", 2);
    const DEACTIVATE: Mapping = entity(11, "Deactivate", 1);
    Some(match event_type {
        "rota.workspace.opened.v1"
        | "rota.connection.created.v1"
        | "rota.managed-rotation.created.v1"
        | "rota.places.environment-added.v1"
        | "rota.places.folder-added.v1"
        | "rota.credential.issued.v1"
        | "rota.webhook.registered.v1"
        | "rota.token-keys.key-made.v1"
        | "rota.campaign.planned.v1"
        | "rota.campaign.items-planned.v1"
        | "rota.ledger.key-added.v1" => CREATE,
        "rota.workspace.policy-set.v1"
        | "rota.connection.updated.v1"
        | "rota.connection.checked.v1"
        | "rota.managed-rotation.updated.v1"
        | "rota.managed-rotation.attempt-started.v1"
        | "rota.managed-rotation.attempt-taken-over.v1"
        | "rota.managed-rotation.credential-set.v1"
        | "rota.managed-rotation.verified.v1"
        | "rota.managed-rotation.promoted.v1"
        | "rota.managed-rotation.reconciled.v1"
        | "rota.managed-rotation.moved.v1"
        | "rota.managed-rotation.deletion-started.v1"
        | "rota.name-space.names-held.v1"
        | "rota.places.environment-changed.v1"
        | "rota.places.folder-changed.v1"
        | "rota.credential.grace-held.v1"
        | "rota.credential.secret-rotated.v1"
        | "rota.credential.rotation-prepared.v1"
        | "rota.credential.prepared-secret-rotated.v1"
        | "rota.credential.rotation-cancelled.v1"
        | "rota.credential.replay-ended.v1"
        | "rota.credential.described.v1"
        | "rota.workspace.sealed-parts-shredded.v1"
        | "rota.webhook.changed.v1"
        | "rota.custody.owner-set.v1"
        | "rota.custody.recipient-set.v1"
        | "rota.campaign.applied.v1"
        | "rota.campaign.secret-handed-over.v1"
        | "rota.campaign.item-skipped.v1"
        | "rota.campaign.wave-finished.v1"
        | "rota.campaign.ended.v1"
        | "rota.campaign.hand-overs-destroyed.v1"
        | "rota.ledger.auditor-named.v1"
        | "rota.ledger.auditor-dismissed.v1" => UPDATE,
        "rota.workspace.ledger-read.v1" => entity(2, "Read", 1),
        "rota.credential.old-secret-expired.v1"
        | "rota.managed-rotation.previous-retired.v1"
        | "rota.managed-rotation.credential-revoked.v1"
        | "rota.credential.session-ended.v1"
        | "rota.credential.secret-revoked.v1"
        | "rota.token-keys.key-retired.v1"
        | "rota.ledger.key-retired.v1" => DEACTIVATE,
        "rota.credential.revoked.v1"
        | "rota.connection.deleted.v1"
        | "rota.managed-rotation.deleted.v1"
        | "rota.managed-rotation.secrets-deleted.v1"
        | "rota.places.environment-removed.v1"
        | "rota.places.folder-removed.v1"
        | "rota.webhook.deleted.v1" => DELETE,
        "rota.webhook.enabled.v1" | "rota.campaign.resumed.v1" => ENABLE,
        "rota.webhook.disabled.v1" | "rota.campaign.paused.v1" => DISABLE,
        "rota.credential.rotation-refused.v1"
        | "rota.managed-rotation.step-failed.v1"
        | "rota.managed-rotation.attempt-failed.v1"
        | "rota.managed-rotation.deletion-failed.v1"
        | "rota.credential.leak-reported.v1"
        | "rota.campaign.item-failed.v1"
        | "rota.ledger.restored.v1" => entity(3, "Update", 3),
        "rota.credential.old-secret-used.v1" => {
            Mapping { class: Class::Authentication, activity: 1, activity_name: "Logon", severity: 2 }
        }
        _ => return None,
    })
}

/// An event of the ledger as an OCSF event.
pub fn event(entry: &Entry<'_>) -> Value {
    let leaf = &entry.leaf;
    let Mapping { class, activity, activity_name, severity } =
        mapping(&leaf.r#type).unwrap_or(entity(99, "Other", 1));
    let about = entry.about();
    let refused = leaf.r#type == "rota.credential.rotation-refused.v1";
    let type_uid = class.uid() * 100 + activity;
    let (kind, id) = match about.credential {
        Some(id) => ("credential", id.to_string()),
        None => match leaf.r#type.split('.').nth(1) {
            Some(aggregate) => (aggregate, leaf.stream.id.to_string()),
            None => ("event", leaf.stream.id.to_string()),
        },
    };
    let actor = name(&leaf.actor.kind);
    let mut event = json!({
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": 3,
        "category_name": "Identity & Access Management",
        "class_uid": class.uid(),
        "class_name": class.name(),
        "type_uid": type_uid,
        "type_name": format!("{}: {activity_name}", class.name()),
        "time": leaf.time.micros() / 1_000,
        "severity_id": severity,
        "severity": (["Unknown", "Informational", "Low", "Medium"][severity as usize]),
        "status_id": if refused { 2 } else { 1 },
        "status": if refused { "Failure" } else { "Success" },
        "message": leaf.r#type,
        "actor": { "user": { "uid": leaf.actor.id, "type_id": 99, "type": actor } },
        "metadata": {
            "version": VERSION,
            "product": { "name": "rota", "vendor_name": "rota" },
            "uid": leaf.id,
            "correlation_uid": leaf.correlation,
            "event_code": leaf.r#type,
            "sequence": entry.position,
            "tenant_uid": leaf.workspace,
        },
        "unmapped": {
            "position": entry.position,
            "leafHash": Hex(entry.leaf_hash()),
            "stream": leaf.stream.to_string(),
            "streamSequence": leaf.sequence,
            "dialect": leaf.dialect,
            "proof": leaf.proof.kind,
            "request": leaf.request,
            "causation": leaf.causation,
            "data": leaf.data,
        },
    });
    match class {
        Class::EntityManagement => {
            event["entity"] =
                json!({ "uid": id, "type": kind, "version": about.version.map(|v| v.to_string()) });
            if about.version.is_none()
                && let Some(entity) = event["entity"].as_object_mut()
            {
                entity.remove("version");
            }
        }
        Class::Authentication => {
            event["user"] = json!({ "uid": id, "type_id": 99, "type": kind });
            event["service"] = json!({ "name": "rota" });
        }
    }
    if refused && let Ok(data) = serde_json::from_str::<Value>(leaf.data.get()) {
        event["status_code"] = data["reason"].clone();
    }
    event
}

#[cfg(test)]
mod tests {
    use rota_aggregates::Event;

    #[test]
    fn every_event_type_has_its_place_in_ocsf() {
        for name in Event::types() {
            assert!(super::mapping(name).is_some(), "{name}");
        }
    }

    /// Somebody would look for an event under another class than it is written as.
    #[test]
    fn the_page_for_analysts_has_every_mapping() {
        let page = include_str!("../../docs/analysts.md");
        for name in Event::types() {
            let super::Mapping { class, activity, activity_name, .. } = super::mapping(name).unwrap();
            let row =
                format!("| `{name}` | {} {} | {activity} {activity_name} |\n", class.name(), class.uid());
            assert!(page.contains(&row), "docs/analysts.md lacks {row}");
        }
    }
}
