//! What has happened to a managed rotation. These shapes are stored for ever.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schedule::Schedule;
use crate::ids::{AttemptId, ConnectionId, FolderId, Hash, RotationId, WorkspaceId};
use crate::observation::PartRef;
use crate::time::Timestamp;

crate::event::events! {
    /// What has happened to a managed rotation.
    ManagedRotationEvent {
        /// It was described; its first credential is still to be made.
        RotationCreated = "rota.managed-rotation.created.v1",
        /// Its name, schedule, parameters or mapping were changed.
        RotationUpdated = "rota.managed-rotation.updated.v1",
        /// It and its secrets are in another folder.
        RotationMoved = "rota.managed-rotation.moved.v1",
        /// What will be done at the target is sealed and durable. Serves invariant 9: intent before effect.
        AttemptStarted = "rota.managed-rotation.attempt-started.v1",
        /// Another process goes on with an attempt. Serves invariant 9: the one before is fenced off.
        AttemptTakenOver = "rota.managed-rotation.attempt-taken-over.v1",
        /// The target has the new credential.
        CredentialSet = "rota.managed-rotation.credential-set.v1",
        /// A login with the new credential succeeded. Serves invariant 9: verified before it is published.
        CredentialVerified = "rota.managed-rotation.verified.v1",
        /// The new credential is the active one, and the mapped secrets have it.
        CredentialPromoted = "rota.managed-rotation.promoted.v1",
        /// What rota made before, and what nobody is to use any more, was ended at the target.
        PreviousRetired = "rota.managed-rotation.previous-retired.v1",
        /// A step did not succeed, and is tried again later.
        StepFailed = "rota.managed-rotation.step-failed.v1",
        /// An attempt ended without a new credential.
        AttemptFailed = "rota.managed-rotation.attempt-failed.v1",
        /// What rota has and what the target has were compared, and brought together.
        RotationReconciled = "rota.managed-rotation.reconciled.v1",
        /// The rotation is to end, and the credentials that rota made with it. Serves invariant 9.
        DeletionStarted = "rota.managed-rotation.deletion-started.v1",
        /// A credential that rota made was ended for good at the target.
        CredentialRevoked = "rota.managed-rotation.credential-revoked.v1",
        /// The target did not let rota end a credential; the rotation stays.
        DeletionFailed = "rota.managed-rotation.deletion-failed.v1",
        /// The rotation was ended.
        RotationDeleted = "rota.managed-rotation.deleted.v1",
        /// Secrets that a rotation left behind were deleted.
        SecretsDeleted = "rota.managed-rotation.secrets-deleted.v1",
    }
}

/// Who chooses the secret at a target, and how many are valid at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Two users take turns; the one before stays valid until its next turn.
    #[default]
    TwoUsers,
    /// One user has several passwords until the older one is retired.
    TwoPasswords,
    /// What was before is dead as soon as the new one is set.
    Single,
    /// The target chooses; several keys are valid until they are retired.
    Keys,
}

/// A field of the credential and the secret that it is published as.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mapped {
    /// The secret's id, which stays when it is renamed.
    pub secret: Uuid,
    /// The secret's name.
    pub key: String,
}

/// What may be changed about a rotation, whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub schedule: Schedule,
    /// Which secrets its credential is published as, by field.
    pub mapping: BTreeMap<String, Mapped>,
    /// Whether sessions that were opened with a retired credential are ended too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_sessions: bool,
}

/// The rotation was described.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationCreated {
    /// Its id.
    pub rotation: RotationId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The kind of target, such as `postgres-credentials`.
    pub kind: String,
    /// Who chooses the secret there.
    pub model: Model,
    /// How the target is reached.
    pub connection: ConnectionId,
    /// The folder that its secrets are in.
    pub folder: FolderId,
    /// What may be changed.
    pub settings: Settings,
    /// SHA-256 of its parameters, sealed beside this event.
    pub sealed: Hash,
    /// When it was decided.
    pub at: Timestamp,
}

/// Something about the rotation was changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationUpdated {
    /// What may be changed, from now on.
    pub settings: Settings,
    /// Whether its description changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub described: bool,
    /// SHA-256 of its other parameters, sealed beside this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Hash>,
    /// The parameters before, which were destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// The rotation is somewhere else.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationMoved {
    /// The folder that its secrets were in.
    pub from: FolderId,
    /// The folder that they are in from now on.
    pub to: FolderId,
    /// When it was decided.
    pub at: Timestamp,
}

/// What led to an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptCause {
    /// The rotation was made.
    Create,
    /// Somebody asked for it.
    Call,
    /// It was due.
    Schedule,
    /// Nothing that rota has was valid any more.
    Reset,
}

/// What will be done is sealed and durable.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptStarted {
    /// The attempt.
    pub attempt: AttemptId,
    /// The place that it fills.
    pub slot: u8,
    /// What led to it.
    pub cause: AttemptCause,
    /// The process that carries it out.
    pub by: Uuid,
    /// SHA-256 of the intent, sealed beside this event.
    pub sealed: Hash,
    /// The instant at which it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// The intent of an attempt that was given up, which was destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// Another process goes on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptTakenOver {
    /// The attempt.
    pub attempt: AttemptId,
    /// The process that carries it out from now on.
    pub by: Uuid,
    /// When it was decided.
    pub at: Timestamp,
}

/// The target has the new credential.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSet {
    /// The attempt.
    pub attempt: AttemptId,
    /// The place.
    pub slot: u8,
    /// Whether the target's answer was lost and a login showed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub found: bool,
    /// SHA-256 of the credential, sealed beside this event.
    pub sealed: Hash,
    /// When it was recorded.
    pub at: Timestamp,
}

/// A login with the new credential succeeded.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialVerified {
    /// The attempt.
    pub attempt: AttemptId,
    /// When.
    pub at: Timestamp,
}

/// The new credential is the active one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPromoted {
    /// The attempt.
    pub attempt: AttemptId,
    /// The place, which is the active one from now on.
    pub slot: u8,
    /// The version that the mapped secrets have from now on.
    pub version: u32,
    /// What was destroyed in the same append: the intent, and credentials that are of no use any more.
    pub shredded: Vec<PartRef>,
    /// When it is due the next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When it was decided.
    pub at: Timestamp,
}

/// What was to be ended was ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviousRetired {
    /// The attempt.
    pub attempt: AttemptId,
    /// The version of the mapped secrets that it was published as.
    pub version: u32,
    /// Whether sessions that were opened with it were ended too. If not, it is dead for new logins alone.
    pub sessions_ended: bool,
    /// The credential, where it was destroyed in the same append.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When.
    pub at: Timestamp,
}

/// A step of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Finding out what would have to be done.
    Intend,
    /// Ending what is in the place that is to be filled, where the target has no room otherwise.
    Vacate,
    /// Setting the new credential.
    Set,
    /// Logging in with it.
    Verify,
    /// Ending the one before.
    Retire,
    /// Finding out what the target has.
    Settle,
    /// Ending for good.
    Revoke,
}

/// A step did not succeed, and is tried again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepFailed {
    /// The attempt.
    pub attempt: AttemptId,
    /// The step.
    pub step: Step,
    /// The step that comes next: the same, or finding out what the target has.
    pub next: Step,
    /// Whether the target may have changed.
    pub unclear: bool,
    /// Why, without anything secret.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// Not before then.
    pub retry_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// What is known of the target when an attempt has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Aftermath {
    /// The active credential is what it was.
    Intact,
    /// Nobody knows whether the new one was set. Its intent is kept.
    Unsettled,
    /// Neither what was active nor the new one is accepted. Its intent is kept.
    OutOfStep,
    /// The credential is published; the one before could not be ended.
    NotRetired,
}

/// An attempt ended without a new credential, or without the end of the one before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptFailed {
    /// The attempt.
    pub attempt: AttemptId,
    /// What led to it.
    pub cause: AttemptCause,
    /// The instant at which it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// The step that failed.
    pub step: Step,
    /// What is known of the target.
    pub aftermath: Aftermath,
    /// Why, without anything secret.
    pub reason: String,
    /// What was destroyed in the same append: the intent and what it made, where they are of no use any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shredded: Vec<PartRef>,
    /// When it is due the next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When it was decided.
    pub at: Timestamp,
}

/// What came of comparing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reconciliation {
    /// The active credential is valid, and nothing was open.
    InStep,
    /// The new credential of an open attempt is valid: it goes on.
    Adopted,
    /// The active credential is valid and the new one of an open attempt is not: that is over.
    Kept,
    /// Neither is valid: a new one is set.
    Reset,
}

/// Rota and the target were compared.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationReconciled {
    /// What came of it.
    pub outcome: Reconciliation,
    /// When.
    pub at: Timestamp,
}

/// The rotation is to end with the credentials that rota made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionStarted {
    /// The deletion.
    pub attempt: AttemptId,
    /// The process that carries it out.
    pub by: Uuid,
    /// Whether the mapped secrets are deleted too.
    pub delete_secrets: bool,
    /// When it was decided.
    pub at: Timestamp,
}

/// A credential was ended for good.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRevoked {
    /// The deletion.
    pub attempt: AttemptId,
    /// The place that it had.
    pub slot: u8,
    /// When.
    pub at: Timestamp,
}

/// The target did not let rota end a credential.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionFailed {
    /// The deletion.
    pub attempt: AttemptId,
    /// Why, without anything secret.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// The rotation was ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationDeleted {
    /// Whether the mapped secrets were deleted too. If not, they stay with their last values.
    pub secrets_deleted: bool,
    /// Whether the credentials were ended at the target.
    pub revoked: bool,
    /// What was destroyed in the same append.
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

/// Secrets that were left behind were deleted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretsDeleted {
    /// The fields whose secrets they were.
    pub fields: Vec<String>,
    /// The credential, destroyed in the same append with the last of them.
    pub shredded: Vec<PartRef>,
    /// When it was decided.
    pub at: Timestamp,
}

impl ManagedRotationEvent {
    /// The sealed parts that this event destroys.
    pub fn shredded(&self) -> &[PartRef] {
        match self {
            Self::RotationUpdated(e) => &e.shredded,
            Self::AttemptStarted(e) => &e.shredded,
            Self::CredentialPromoted(e) => &e.shredded,
            Self::PreviousRetired(e) => &e.shredded,
            Self::AttemptFailed(e) => &e.shredded,
            Self::RotationDeleted(e) => &e.shredded,
            Self::SecretsDeleted(e) => &e.shredded,
            Self::RotationCreated(_)
            | Self::RotationMoved(_)
            | Self::AttemptTakenOver(_)
            | Self::CredentialSet(_)
            | Self::CredentialVerified(_)
            | Self::StepFailed(_)
            | Self::RotationReconciled(_)
            | Self::DeletionStarted(_)
            | Self::CredentialRevoked(_)
            | Self::DeletionFailed(_) => &[],
        }
    }

    /// SHA-256 of what is sealed beside this event.
    pub fn sealed(&self) -> Option<Hash> {
        match self {
            Self::RotationCreated(e) => Some(e.sealed),
            Self::RotationUpdated(e) => e.sealed,
            Self::AttemptStarted(e) => Some(e.sealed),
            Self::CredentialSet(e) => Some(e.sealed),
            _ => None,
        }
    }
}
