//! Who answers for credentials, and the campaigns that rotate many of them.

use std::collections::{BTreeMap, BTreeSet};

use rota_aggregates::campaign::{Campaign, CampaignEvent, Stage};
use rota_aggregates::custody::{Custody, CustodyEvent};
use rota_aggregates::{
    CampaignId, CredentialId, Position, Sequence, StreamId, StreamKind, Timestamp, WorkspaceId,
};
use serde::{Deserialize, Serialize};

use super::Live;
use super::managed::{decode, encode};
use crate::Fact;
use crate::codec::Reader;

/// The custody of a credential.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LiveCustody {
    /// Its state.
    pub state: Custody,
    /// Its stream's last sequence.
    pub sequence: Sequence,
}

/// A campaign, with where to find what is sealed about it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LiveCampaign {
    /// Its state.
    pub state: Campaign,
    /// Its stream's last sequence.
    pub sequence: Sequence,
    /// The event whose details have its reason.
    pub planned: Position,
    /// The events beside which new secrets are kept for their owners, with the time of each.
    pub kept: BTreeMap<CredentialId, (Position, Timestamp)>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Campaigns {
    custody: BTreeMap<CredentialId, LiveCustody>,
    /// In order of their making: an id begins with its time.
    all: BTreeMap<CampaignId, LiveCampaign>,
    /// Those that rotate something.
    running: BTreeSet<CampaignId>,
}

impl Campaigns {
    pub(super) fn sequence(&self, stream: &StreamId) -> Option<Sequence> {
        match stream.kind {
            StreamKind::Custody => self.custody.get(&CredentialId(stream.id)).map(|live| live.sequence),
            StreamKind::Campaign => self.all.get(&CampaignId(stream.id)).map(|live| live.sequence),
            _ => None,
        }
    }

    pub(super) fn apply_custody(&mut self, fact: &Fact<'_>, event: &CustodyEvent) {
        let live = self.custody.entry(CredentialId(fact.stream.id)).or_default();
        live.state.evolve(event);
        live.sequence = fact.sequence;
    }

    pub(super) fn apply(&mut self, fact: &Fact<'_>, event: &CampaignEvent) {
        let id = CampaignId(fact.stream.id);
        let live = self.all.entry(id).or_insert_with(|| LiveCampaign {
            state: Campaign::default(),
            sequence: Sequence(0),
            planned: fact.position,
            kept: BTreeMap::new(),
        });
        live.state.evolve(event);
        live.sequence = fact.sequence;
        match event {
            // What is sealed about the plan goes with its last event.
            CampaignEvent::ItemsPlanned(_) => live.planned = fact.position,
            CampaignEvent::SecretHandedOver(e) => {
                live.kept.insert(e.credential, (fact.position, e.at));
            }
            CampaignEvent::HandOversDestroyed(e) => {
                live.kept.retain(|credential, _| !e.credentials.contains(credential));
            }
            _ => {}
        }
        // What was only planned is in the ledger, and of no use here: plans may be made again and again.
        if !live.state.is_open() && live.state.applied_at.is_none() {
            live.state.items = Vec::new();
        }
        if live.state.stage == Stage::Running {
            self.running.insert(id);
        } else {
            self.running.remove(&id);
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        encode(self.custody.iter(), out);
        encode(self.all.iter(), out);
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Option<Self> {
        let custody: Vec<(CredentialId, LiveCustody)> = decode(input)?;
        let all: Vec<(CampaignId, LiveCampaign)> = decode(input)?;
        let running = all.iter().filter(|(_, live)| live.state.stage == Stage::Running);
        Some(Self {
            running: running.map(|(id, _)| *id).collect(),
            custody: custody.into_iter().collect(),
            all: all.into_iter().collect(),
        })
    }
}

impl Live {
    /// The custody of a credential; `None` where nothing was ever said about it.
    pub fn custody(&self, id: CredentialId) -> Option<&LiveCustody> {
        self.campaigns.custody.get(&id)
    }

    /// Who answers for a credential: itself, unless it was said otherwise.
    pub fn owner_of(&self, id: CredentialId) -> CredentialId {
        self.custody(id).and_then(|custody| custody.state.owner).unwrap_or(id)
    }

    /// A campaign.
    pub fn campaign(&self, id: CampaignId) -> Option<&LiveCampaign> {
        self.campaigns.all.get(&id)
    }

    /// Every campaign, by order of planning, after one of them.
    pub fn campaigns_after(&self, after: Option<CampaignId>) -> impl Iterator<Item = &LiveCampaign> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.campaigns.all.range((from, std::ops::Bound::Unbounded)).map(|(_, live)| live)
    }

    /// How many campaigns of a workspace are not over.
    pub fn open_campaigns(&self, workspace: Option<WorkspaceId>) -> usize {
        let open = |live: &&LiveCampaign| live.state.workspace == workspace && live.state.is_open();
        self.campaigns.all.values().filter(open).count()
    }

    /// The campaigns that rotate something, with the time of each one's next item.
    pub fn running_campaigns(&self) -> impl Iterator<Item = (CampaignId, Timestamp)> {
        let all = &self.campaigns.all;
        self.campaigns.running.iter().filter_map(|id| Some((*id, all.get(id)?.state.not_before)))
    }
}
