//! The webhooks, as the engine that tells them of what happens sees them.

use std::collections::{BTreeMap, HashMap};

use rota_aggregates::webhook::{Status, Webhook, WebhookEvent};
use rota_aggregates::{Position, Sequence, StreamId, Timestamp, WebhookId, WorkspaceId};
use serde::{Deserialize, Serialize};

use super::Live;
use crate::Fact;
use crate::codec::Reader;

/// A webhook, with where to find what is sealed about it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LiveWebhook {
    /// Its id.
    pub id: WebhookId,
    /// Its state.
    pub state: Webhook,
    /// Its stream's last sequence.
    pub sequence: Sequence,
    /// The event from which on things are told: the one that made or last enabled it.
    pub since: Position,
    /// The event whose details have its address and description.
    pub described: Position,
}

/// Every webhook. A deleted one stays as a mark, so that its events change nothing when they come again.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    all: BTreeMap<WebhookId, LiveWebhook>,
    /// Those that exist, in order of their making.
    by_workspace: HashMap<WorkspaceId, Vec<WebhookId>>,
}

impl Webhooks {
    pub(super) fn sequence(&self, stream: &StreamId) -> Option<Sequence> {
        self.all.get(&WebhookId(stream.id)).map(|webhook| webhook.sequence)
    }

    pub(super) fn apply(&mut self, fact: &Fact<'_>, event: &WebhookEvent) {
        let id = WebhookId(fact.stream.id);
        let webhook = self.all.entry(id).or_insert_with(|| LiveWebhook {
            id,
            state: Webhook::default(),
            sequence: Sequence(0),
            since: fact.position,
            described: fact.position,
        });
        webhook.state.evolve(event);
        webhook.sequence = fact.sequence;
        match event {
            WebhookEvent::WebhookRegistered(e) => {
                self.by_workspace.entry(e.workspace).or_default().push(id);
            }
            WebhookEvent::WebhookChanged(e) if !e.described.is_empty() => webhook.described = fact.position,
            WebhookEvent::WebhookEnabled(_) => webhook.since = fact.position,
            WebhookEvent::WebhookDeleted(_) => {
                let workspace = webhook.state.workspace;
                webhook.state = Webhook { status: Status::Deleted, workspace, ..Webhook::default() };
                if let Some(ids) = self.by_workspace.get_mut(&workspace) {
                    ids.retain(|other| *other != id);
                }
            }
            WebhookEvent::WebhookChanged(_) | WebhookEvent::WebhookDisabled(_) => {}
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.all.len() as u64).to_le_bytes());
        for webhook in self.all.values() {
            // Plain data: it has a JSON form.
            let json = serde_json::to_vec(webhook).unwrap_or_default();
            out.extend_from_slice(&(json.len() as u64).to_le_bytes());
            out.extend_from_slice(&json);
        }
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let mut webhooks = Self::default();
        for _ in 0..input.u64()? {
            let length = input.u64()?;
            let webhook: LiveWebhook = serde_json::from_slice(input.take(length as usize)?).ok()?;
            webhooks.all.insert(webhook.id, webhook);
        }
        let mut existing: Vec<_> = webhooks.all.values().filter(|w| w.state.exists()).collect();
        existing.sort_by_key(|webhook| (webhook.state.created_at, webhook.id));
        for webhook in existing {
            webhooks.by_workspace.entry(webhook.state.workspace).or_default().push(webhook.id);
        }
        Some(webhooks)
    }
}

impl Live {
    /// A webhook that exists.
    pub fn webhook(&self, id: WebhookId) -> Option<&LiveWebhook> {
        self.webhooks.all.get(&id).filter(|webhook| webhook.state.exists())
    }

    /// The webhooks of a workspace, in order of their making.
    pub fn webhooks_of(&self, workspace: WorkspaceId) -> impl Iterator<Item = &LiveWebhook> {
        let ids = self.webhooks.by_workspace.get(&workspace).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.webhooks.all.get(id))
    }

    /// Whether any webhook exists.
    pub fn has_webhooks(&self) -> bool {
        self.webhooks.by_workspace.values().any(|ids| !ids.is_empty())
    }

    /// The retiring versions of a workspace's credentials: whose, which, and the end of the grace period.
    pub fn retiring_in(
        &self,
        workspace: WorkspaceId,
    ) -> impl Iterator<Item = (rota_aggregates::CredentialId, u32, Timestamp)> + '_ {
        self.retiring.iter().filter_map(move |(index, beside)| {
            let slot = self.slab.get(*index);
            let of = self.workspaces[slot.workspace as usize].0;
            (of == workspace).then_some((
                rota_aggregates::CredentialId(slot.id),
                beside.version,
                beside.until,
            ))
        })
    }
}
