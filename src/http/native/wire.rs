//! The shapes of the native API's answers.

use rota_aggregates::Timestamp;
use rota_aggregates::credential::{Kind, Status};
use rota_aggregates::workspace::Policy;
use rota_exports::{CloudEvent, Entry};
use rota_projections::credential::{CredentialView, VersionView};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

pub(super) use super::super::answer::Shown;
use crate::app::Failure;
use crate::app::read::{Kept, Paged};
use crate::app::rotate::Made;
use crate::app::workspaces::WorkspaceView;

/// Secrets by kind, as each dialect's clients call them.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Secrets<'a> {
    #[serde(rename_all = "camelCase")]
    Client {
        client_id: &'a str,
        client_secret: Shown<'a>,
    },
    #[serde(rename_all = "camelCase")]
    Exchange {
        api_key: &'a str,
        api_secret: Shown<'a>,
    },
    #[serde(rename_all = "camelCase")]
    Signing {
        integrator_key: &'a str,
        secret: Shown<'a>,
    },
    Key {
        key: Shown<'a>,
    },
    Webhook {
        secret: Shown<'a>,
    },
}

impl<'a> Secrets<'a> {
    pub(super) fn of(made: &'a Made) -> Self {
        let (id, secret) = (made.public_id.as_str(), Shown(&made.secret));
        match made.kind {
            Kind::Client => Self::Client { client_id: id, client_secret: secret },
            Kind::Exchange => Self::Exchange { api_key: id, api_secret: secret },
            Kind::Signing => Self::Signing { integrator_key: id, secret },
            Kind::WorkspaceKey => Self::Key { key: secret },
            Kind::Webhook => Self::Webhook { secret },
        }
    }
}

/// The answer that brings a secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MadeAnswer<'a> {
    credential: Value,
    secrets: Secrets<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
}

impl<'a> MadeAnswer<'a> {
    pub(super) fn of(made: &'a Made) -> Self {
        let credential = match &made.view {
            Some(view) => credential(view, made.at),
            None => json!({
                "id": made.credential, "kind": made.kind, "publicId": made.public_id,
                "workspaceId": made.workspace, "status": "active", "version": made.version,
            }),
        };
        Self {
            credential,
            secrets: Secrets::of(made),
            old_secret_expires_at: made.old_expires_at,
            deadline: made.deadline,
        }
    }
}

/// A version as it is at an instant.
pub(super) fn version(view: &VersionView, at: Timestamp) -> Value {
    json!({
        "version": view.version,
        "hint": view.hint,
        "status": view.status_at(at).name(),
        "createdAt": view.created_at,
        "expiresAt": view.expires_at,
        "endedAt": view.ended_at(at),
        "firstUsedAt": view.first_used_at,
        "lastUsedAt": view.last_used_at,
    })
}

/// A credential as it is at an instant.
pub fn credential(view: &CredentialView, at: Timestamp) -> Value {
    let status = if view.status == Status::Revoked { "revoked" } else { "active" };
    let mut body = json!({
        "id": view.id,
        "kind": view.kind,
        "name": view.name,
        "publicId": view.public_id,
        "workspaceId": view.workspace,
        "status": status,
        "roles": view.roles,
        "createdAt": view.created_at,
        "rotatedAt": view.rotated_at,
        "revokedAt": view.revoked_at,
        "versions": view.versions.iter().map(|v| version(v, at)).collect::<Vec<_>>(),
    });
    if let Some(mode) = view.mode {
        body["mode"] = json!(mode);
    }
    if let Some(parent) = view.parent {
        body["parentId"] = json!(parent);
    }
    if let Some(owner) = view.custody.owner {
        body["ownerId"] = json!(owner);
    }
    if let Some(recipient) = &view.custody.recipient {
        body["recipient"] = json!(recipient);
        body["recipientSince"] = json!(view.custody.recipient_since);
    }
    body
}

/// A workspace.
pub(super) fn workspace(view: &WorkspaceView) -> Value {
    json!({ "id": view.id, "name": view.name, "createdAt": view.created_at, "policy": policy(&view.policy) })
}

/// A policy, with every field.
pub fn policy(policy: &Policy) -> Value {
    json!({
        "maxSecretAgeDays": policy.max_secret_age_days,
        "defaultGraceSeconds": policy.default_grace_seconds,
        "maxGraceSeconds": policy.max_grace_seconds,
        "minOverlapSeconds": policy.min_overlap_seconds,
        "rotateRequiresSecret": policy.rotate_requires_secret,
        "digestRetentionDays": policy.digest_retention_days,
        "endGraceWhenQuietSeconds": policy.end_grace_when_quiet_seconds,
        "holdGraceWhileUsedSeconds": policy.hold_grace_while_used_seconds,
    })
}

/// A page of events in CloudEvents 1.0's JSON format.
#[derive(Serialize)]
pub(super) struct EventPage {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// An event for the feed.
pub(super) fn cloud_event(entry: &Entry<'_>) -> Result<Box<RawValue>, Failure> {
    to_raw_value(&CloudEvent::of(entry)).map_err(|error| Failure::NotRecordable(error.into()))
}

/// A page of events.
pub(super) fn events(page: &Paged<Kept>) -> Result<EventPage, Failure> {
    let items = page.items.iter().map(|kept| cloud_event(&kept.entry()?)).collect::<Result<_, _>>()?;
    Ok(EventPage { items, next: page.next.map(|position| position.to_string()) })
}
