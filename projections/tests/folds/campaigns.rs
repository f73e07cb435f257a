//! Owners and campaigns in the histories.

use rota_aggregates::campaign::{
    Campaign, CampaignCommand, Outcome, PlanCampaign, PlannedItem, Selector, Settings, Stage,
};
use rota_aggregates::custody::{CustodyCommand, Recipient};
use rota_aggregates::ids::Hash;
use rota_aggregates::{CampaignId, StreamId};

use crate::histories::{Step, Writer, number};

/// A key of an owner's. Nothing is sealed to it here.
fn recipient(seed: u8) -> Recipient {
    let last = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"[usize::from(seed % 32)];
    format!("age1{}{}", "q".repeat(57), char::from(last)).parse().unwrap()
}

impl Writer {
    /// Somebody else answers for a credential, or wants its secrets sealed to another key.
    pub fn keep(&mut self, step: &Step) {
        let (kept, owner) = (self.pick(step), usize::from(step.seconds) % self.credentials.len());
        let (credential, owner) = (self.credentials[kept], self.credentials[owner].id);
        let state = self.live.custody(credential.id).map(|live| live.state.clone()).unwrap_or_default();
        let (credential, workspace, now) = (credential.id, credential.workspace, self.now);
        let some = !step.seconds.is_multiple_of(3);
        let command = if (step.command / 16).is_multiple_of(2) {
            CustodyCommand::SetOwner { credential, owner: some.then_some(owner), now }
        } else {
            let recipient = some.then(|| recipient(step.seconds));
            CustodyCommand::SetRecipient { credential, recipient, now }
        };
        if let Some(event) = state.decide(command) {
            self.record(StreamId::custody(credential), workspace, event.into(), None, self.next_id());
        }
    }

    /// A campaign is planned, or one of the last few goes a few steps on.
    pub fn campaign(&mut self, step: &Step) {
        let known: Vec<_> = self.live.campaigns_after(None).map(|live| live.state.id).collect();
        let Some(id) = known.iter().rev().nth(usize::from(step.target / 8) % 3) else {
            return self.plan_campaign(step);
        };
        if step.seconds.is_multiple_of(7) {
            return self.plan_campaign(step);
        }
        for turn in 0..4 {
            let live = self.live.campaign(*id).unwrap().clone();
            let (state, now) = (live.state, self.now);
            let draw = step.seconds.wrapping_mul(31).wrapping_add(turn * 37) % 16;
            let command = match (state.stage, draw) {
                (Stage::Planned, _) => CampaignCommand::Apply { plan: state.plan.unwrap(), moved: 0, now },
                (Stage::Paused(_), 1..) => {
                    CampaignCommand::Resume { retry_failed: draw.is_multiple_of(2), now }
                }
                (Stage::Running, 0) => CampaignCommand::Pause { now },
                (Stage::Paused(_), 0) | (Stage::Running, 1) => CampaignCommand::End { now },
                (Stage::Running, 2..) => {
                    let Some(next) = state.next() else { return };
                    let reason = "gone".to_owned();
                    let outcome = match draw {
                        2..5 => Outcome::Failed { reason },
                        5..7 => Outcome::Skipped { reason },
                        _ => {
                            Outcome::Done { version: 2, recipient: recipient(draw), sealed: Hash([draw; 32]) }
                        }
                    };
                    CampaignCommand::Settle { credential: next.planned.credential, outcome, now }
                }
                (Stage::Absent | Stage::Ended(_), _) => {
                    let kept = live.kept.iter().take(2).map(|(id, (position, _))| (*id, *position));
                    CampaignCommand::DestroyHandOvers { of: kept.collect(), now }
                }
            };
            self.decide_campaign(&state, command);
        }
    }

    fn plan_campaign(&mut self, step: &Step) {
        let campaign = CampaignId(number(6_000_000 + self.history.len() as u128));
        let item = |index: usize| {
            let credential = &self.credentials[index];
            PlannedItem {
                credential: credential.id,
                version: credential.active,
                owner: self.live.owner_of(credential.id),
                recipient: Some(recipient(step.seconds)),
                obstacle: (index % 4 == 3).then(|| "revoked".to_owned()),
            }
        };
        let plan = PlanCampaign {
            campaign,
            workspace: Some(self.credentials[0].workspace),
            selector: Selector::default(),
            settings: Settings { wave_size: 2, failures_max: 1, ..Settings::default() },
            items: (0..self.credentials.len()).map(item).collect(),
            plan: Hash([step.seconds; 32]),
            now: self.now,
        };
        self.decide_campaign(&Campaign { id: campaign, ..Campaign::default() }, CampaignCommand::Plan(plan));
    }

    fn decide_campaign(&mut self, state: &Campaign, command: CampaignCommand) {
        let workspace = self.credentials[0].workspace;
        for event in state.decide(command).unwrap_or_default() {
            self.record(StreamId::campaign(state.id), workspace, event.into(), None, self.next_id());
        }
    }
}
