//! Which secrets were replaced by a plan, for whom, with what outcome.

use std::collections::BTreeMap;

use rota_aggregates::authority::{Actor, ActorKind};
use rota_aggregates::campaign::{Campaign, CampaignEvent, Item, Standing};
use rota_aggregates::{CampaignId, CredentialId, Event, Position, WorkspaceId};
use serde_json::{Value, json};

use super::{Asked, Fold, Question, Rows, maybe, name, text};
use crate::Fact;

/// Issues tell the kind of a credential.
pub(super) const TYPES: &[&str] = &[
    "rota.credential.issued.v1",
    "rota.campaign.planned.v1",
    "rota.campaign.items-planned.v1",
    "rota.campaign.applied.v1",
    "rota.campaign.secret-handed-over.v1",
    "rota.campaign.item-failed.v1",
    "rota.campaign.item-skipped.v1",
    "rota.campaign.wave-finished.v1",
    "rota.campaign.paused.v1",
    "rota.campaign.resumed.v1",
    "rota.campaign.ended.v1",
    "rota.campaign.hand-overs-destroyed.v1",
];

pub(super) const COLUMNS: &[&str] = &[
    "campaignId",
    "workspaceId",
    "status",
    "compromised",
    "planHash",
    "plannedAt",
    "plannedBy",
    "appliedAt",
    "appliedBy",
    "endedAt",
    "credentialId",
    "plannedVersion",
    "ownerId",
    "recipient",
    "outcome",
    "reason",
    "newVersion",
    "at",
    "position",
    "sealedSecretDestroyed",
];

#[derive(Default)]
struct Told {
    workspace: WorkspaceId,
    state: Campaign,
    planned_by: Value,
    applied_by: Value,
    /// The event that settled an item, and whether what was handed over is destroyed.
    settled: BTreeMap<CredentialId, (Position, bool)>,
}

struct Campaigns {
    question: Question,
    asked: Asked,
    told: BTreeMap<CampaignId, Told>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Campaigns { asked: Asked::of(&question), question, told: BTreeMap::new() })
}

impl Fold for Campaigns {
    fn take(&mut self, fact: &Fact<'_>, _: &mut Rows) {
        self.asked.take(fact.event);
        let Event::Campaign(event) = fact.event else { return };
        let told = self.told.entry(CampaignId(fact.stream.id)).or_default();
        told.workspace = fact.context.workspace;
        told.state.evolve(event);
        let settled = match event {
            CampaignEvent::CampaignPlanned(_) => {
                told.planned_by = by(fact.context.actor);
                return;
            }
            CampaignEvent::CampaignApplied(_) => {
                told.applied_by = by(fact.context.actor);
                return;
            }
            CampaignEvent::SecretHandedOver(e) => e.credential,
            CampaignEvent::ItemFailed(e) => e.credential,
            CampaignEvent::ItemSkipped(e) => e.credential,
            CampaignEvent::HandOversDestroyed(e) => {
                for credential in &e.credentials {
                    if let Some((_, destroyed)) = told.settled.get_mut(credential) {
                        *destroyed = true;
                    }
                }
                return;
            }
            _ => return,
        };
        told.settled.insert(settled, (fact.position, false));
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        let question = &self.question;
        for told in self.told.values().filter(|told| question.covers(told.state.created_at)) {
            let asked = |item: &&Item| {
                self.asked.has(item.planned.credential)
                    && question.owner.is_none_or(|asked| asked == item.planned.owner)
            };
            for item in told.state.items.iter().filter(asked) {
                rows.add(|| row(told, item));
            }
        }
    }
}

/// An actor, as it can be asked for.
fn by(actor: Actor) -> Value {
    match actor.kind {
        ActorKind::Operator | ActorKind::Scheduler => name(&actor.kind),
        ActorKind::WorkspaceKey | ActorKind::Credential => text(actor.id),
    }
}

fn row(told: &Told, item: &Item) -> Vec<Value> {
    let Campaign { id, stage, settings, plan, created_at, applied_at, ended_at, .. } = &told.state;
    let workspace = (told.workspace != WorkspaceId::default()).then_some(told.workspace);
    let settled = told.settled.get(&item.planned.credential);
    let (reason, version, at) = match &item.standing {
        Standing::Waiting => (maybe(item.planned.obstacle.as_ref()), None, None),
        Standing::Done { version, at } => (Value::Null, Some(*version), Some(*at)),
        Standing::Failed { reason, at } => (text(reason), None, Some(*at)),
        Standing::Skipped { reason } => (text(reason), None, None),
    };
    let destroyed = version.and(settled).map(|(_, destroyed)| *destroyed);
    vec![
        text(id),
        maybe(workspace),
        json!(stage.name()),
        json!(settings.compromised),
        maybe(*plan),
        text(created_at),
        told.planned_by.clone(),
        maybe(*applied_at),
        told.applied_by.clone(),
        maybe(*ended_at),
        text(item.planned.credential),
        json!(item.planned.version),
        text(item.planned.owner),
        maybe(item.planned.recipient.as_ref()),
        json!(item.standing.name()),
        reason,
        json!(version),
        maybe(at),
        json!(settled.map(|(position, _)| position)),
        json!(destroyed),
    ]
}
