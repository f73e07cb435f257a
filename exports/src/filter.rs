//! Which events are wanted.

use rota_aggregates::authority::{Actor, ActorKind};
use rota_aggregates::{CredentialId, RequestId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Entry;

/// Everything that is named must hold. What is not named holds for every event.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// Of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// About this credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<CredentialId>,
    /// Of this workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    /// By this actor: `operator`, `scheduler`, or the id of a workspace key or credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Of this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// From this instant on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Up to this instant, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// Whether an actor is the one that is named so.
fn is_actor(actor: &Actor, named: &str) -> bool {
    match named {
        "operator" => actor.kind == ActorKind::Operator,
        "scheduler" => actor.kind == ActorKind::Scheduler,
        id => id.parse::<Uuid>().is_ok_and(|id| !id.is_nil() && id == actor.id),
    }
}

impl Filter {
    /// Whether an event is wanted.
    pub fn takes(&self, entry: &Entry<'_>) -> bool {
        let leaf = &entry.leaf;
        self.r#type.as_ref().is_none_or(|name| *name == leaf.r#type)
            && self.workspace.is_none_or(|id| id == leaf.workspace)
            && self.request.is_none_or(|id| id == leaf.request)
            && self.from.is_none_or(|from| leaf.time >= from)
            && self.to.is_none_or(|to| leaf.time < to)
            && self.actor.as_ref().is_none_or(|named| is_actor(&leaf.actor, named))
            && self.subject.is_none_or(|id| entry.about().credential == Some(id))
    }

    /// Whether no event from this one on is wanted any more: the ledger's time never goes back.
    pub fn ends_before(&self, entry: &Entry<'_>) -> bool {
        self.to.is_some_and(|to| entry.leaf.time >= to)
    }
}
