//! What may be asked of a managed rotation.

use uuid::Uuid;

use super::events::{AttemptCause, Model, Reconciliation, Settings, Step};
use crate::ids::{AttemptId, ConnectionId, FolderId, Hash, Position, RotationId, WorkspaceId};
use crate::time::Timestamp;

/// Where the sealed parts of a rotation are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct SealedAt {
    /// Its parameters.
    pub parameters: Option<Position>,
    /// The intent of the attempt.
    pub intent: Option<Position>,
    /// The credential that the attempt has set and that is not published yet.
    pub pending: Option<Position>,
    /// The credential that is to be retired and has no place any more.
    pub former: Option<Position>,
    /// The credentials in the two places.
    pub slots: [Option<Position>; 2],
}

/// Describe a rotation.
#[derive(Clone, Debug)]
pub struct CreateRotation {
    /// Its id.
    pub rotation: RotationId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The kind of target.
    pub kind: String,
    /// Who chooses the secret there.
    pub model: Model,
    /// How the target is reached.
    pub connection: ConnectionId,
    /// The folder that its secrets are in.
    pub folder: FolderId,
    /// What may be changed.
    pub settings: Settings,
    /// SHA-256 of its sealed parameters.
    pub sealed: Hash,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Change a rotation.
#[derive(Clone, Debug)]
pub struct UpdateRotation {
    /// What may be changed, whole.
    pub settings: Settings,
    /// Whether its description changes.
    pub described: bool,
    /// SHA-256 of its other sealed parameters.
    pub parameters: Option<Hash>,
    /// Where its sealed parts are.
    pub sealed: SealedAt,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Begin an attempt. Its intent is sealed beside the event.
#[derive(Clone, Debug)]
pub struct StartAttempt {
    /// The attempt.
    pub attempt: AttemptId,
    /// What leads to it.
    pub cause: AttemptCause,
    /// The process that carries it out.
    pub by: Uuid,
    /// SHA-256 of the sealed intent.
    pub intent: Hash,
    /// How long what is replaced has to have been beside its successor.
    pub min_overlap_seconds: u64,
    /// Where the rotation's sealed parts are.
    pub sealed: SealedAt,
    /// The time of the decision.
    pub now: Timestamp,
}

/// A step did not succeed.
#[derive(Clone, Debug)]
pub struct FailStep {
    /// The attempt.
    pub attempt: AttemptId,
    /// Who carries it out.
    pub by: Uuid,
    /// The step.
    pub step: Step,
    /// Whether the target may have changed.
    pub unclear: bool,
    /// Whether the same may succeed later.
    pub may_pass: bool,
    /// Why, without anything secret.
    pub reason: String,
    /// How long the target asked to be left alone.
    pub retry_after_seconds: u64,
    /// A random number.
    pub jitter: u16,
    /// Where the rotation's sealed parts are.
    pub sealed: SealedAt,
    /// The time of the decision.
    pub now: Timestamp,
}

/// What may be asked of a managed rotation.
#[derive(Clone, Debug)]
pub enum ManagedRotationCommand {
    /// Describe it.
    Create(CreateRotation),
    /// Change it.
    Update(UpdateRotation),
    /// Put it and its secrets into another folder.
    Move {
        /// The folder.
        to: FolderId,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Begin an attempt.
    Start(StartAttempt),
    /// An attempt could not even begin: nothing was intended, and nothing done.
    FailStart {
        /// The attempt.
        attempt: AttemptId,
        /// What led to it.
        cause: AttemptCause,
        /// Why, without anything secret.
        reason: String,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Go on with an attempt that another process began, or with one that was given up unsettled.
    TakeOver {
        /// The attempt.
        attempt: AttemptId,
        /// The process that goes on.
        by: Uuid,
        /// The time of the decision.
        now: Timestamp,
    },
    /// The target has the new credential, which is sealed beside the event.
    NoteSet {
        /// The attempt.
        attempt: AttemptId,
        /// Who carries it out.
        by: Uuid,
        /// Whether a login showed it.
        found: bool,
        /// SHA-256 of the sealed credential.
        credential: Hash,
        /// The time of the decision.
        now: Timestamp,
    },
    /// A login with the new credential succeeded: publish it.
    Promote {
        /// The attempt.
        attempt: AttemptId,
        /// Who carries it out.
        by: Uuid,
        /// Where the rotation's sealed parts are.
        sealed: SealedAt,
        /// The time of the decision.
        now: Timestamp,
    },
    /// What was to be ended was ended.
    NoteRetired {
        /// The attempt.
        attempt: AttemptId,
        /// Who carries it out.
        by: Uuid,
        /// Where the rotation's sealed parts are.
        sealed: SealedAt,
        /// The time of the decision.
        now: Timestamp,
    },
    /// A step did not succeed.
    Fail(FailStep),
    /// The target refuses the new credential.
    Settle {
        /// The attempt.
        attempt: AttemptId,
        /// Who carries it out.
        by: Uuid,
        /// Whether it takes the active one; nothing where there is none.
        active: Option<bool>,
        /// Why the attempt is over, without anything secret.
        reason: String,
        /// Where the rotation's sealed parts are.
        sealed: SealedAt,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Note what came of comparing rota with the target.
    Reconcile {
        /// What came of it.
        outcome: Reconciliation,
        /// The time of the decision.
        now: Timestamp,
    },
    /// End the rotation, and at the target what rota made.
    StartDeletion {
        /// The deletion.
        attempt: AttemptId,
        /// The process that carries it out.
        by: Uuid,
        /// Whether the mapped secrets are deleted too.
        delete_secrets: bool,
        /// The time of the decision.
        now: Timestamp,
    },
    /// A credential was ended for good.
    NoteRevoked {
        /// The deletion.
        attempt: AttemptId,
        /// Who carries it out.
        by: Uuid,
        /// The place that it had.
        slot: u8,
        /// The time of the decision.
        now: Timestamp,
    },
    /// The target did not let rota end a credential.
    FailDeletion {
        /// The deletion.
        attempt: AttemptId,
        /// Who carries it out.
        by: Uuid,
        /// Why, without anything secret.
        reason: String,
        /// The time of the decision.
        now: Timestamp,
    },
    /// End it: at once, or after everything was revoked.
    Delete {
        /// The deletion that is over; nothing if nothing was revoked.
        revoked: Option<AttemptId>,
        /// Whether the mapped secrets are deleted too.
        delete_secrets: bool,
        /// Where the rotation's sealed parts are.
        sealed: SealedAt,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Delete secrets that the rotation left behind.
    DeleteSecrets {
        /// The fields whose secrets they are.
        fields: Vec<String>,
        /// Where the rotation's sealed parts are.
        sealed: SealedAt,
        /// The time of the decision.
        now: Timestamp,
    },
}
