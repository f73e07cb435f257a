//! Carrying campaigns out: one item after the other, each in an append of its own.
//!
//! The rotation, the sealed hand-over and the item's place in the campaign are recorded together or not at all, and the
//! append rests on the campaign's stream: whatever dies when, and however many replicas think that it is their turn, no
//! credential is rotated twice by one campaign. Where it was interrupted, it goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use rota_aggregates::authority::Proof;
use rota_aggregates::campaign::{CampaignCommand, CampaignEvent, Outcome, PlannedItem, Settings, Stage};
use rota_aggregates::credential::{
    CredentialCommand, CredentialEvent, CredentialRefusal, RotateSecret, Status,
};
use rota_aggregates::custody::Recipient;
use rota_aggregates::ids::Hash;
use rota_aggregates::record::{SealedHashes, encode_body};
use rota_aggregates::{
    CampaignId, CredentialId, Event, Position, Sequence, StreamId, Timestamp, WorkspaceId,
};

use super::hand_over::{Document, FORMAT, seal};
use super::select::OWNER_REVOKED;
use crate::app::change::{ATTEMPTS_MAX, Along, Committed, Expected, Subject, decide, shredded};
use crate::app::entropy::Entropy;
use crate::app::{App, Caller, Failure, new_event_id};
use crate::log::committer::Place;
use crate::log::{Append, NewEvent, Side};
use crate::sealing::Sealed;

/// Sealed secrets that had their time are looked for this often.
const LOOK_SECONDS: u64 = 60;
/// After events came, what is due because of them is looked for so much later.
const PAUSE: Duration = Duration::from_millis(20);
/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_millis(250);
/// Sealed secrets destroyed in one append.
const DESTROYED_AT_ONCE: usize = 400;
/// Somebody rotated the credential after the plan was applied.
const OVERTAKEN: &str = "overtaken";

/// The item whose turn it is.
struct Turn {
    campaign: CampaignId,
    workspace: Option<WorkspaceId>,
    sequence: Sequence,
    settings: Settings,
    item: PlannedItem,
}

/// A secret that was made for an item, sealed to its owner.
struct Sealing {
    event: rota_aggregates::EventId,
    sealed: Sealed,
}

impl Turn {
    /// Whose doing it is: the scheduler's, on behalf of the campaign.
    fn caller(&self, app: &App) -> Result<Caller, Failure> {
        Ok(Caller { correlation: self.campaign.0, ..Caller::scheduler(app.new_request_id()?) })
    }

    fn stream(&self) -> StreamId {
        StreamId::campaign(self.campaign)
    }

    fn expected(&self) -> (StreamId, Option<Sequence>) {
        (self.stream(), Some(self.sequence))
    }
}

/// Whether a failure is that of the moment and not of the item.
fn passes(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Overloaded | Failure::Unavailable(_) | Failure::OutcomeUnknown | Failure::NotWhole(_)
    )
}

impl App {
    /// Carries campaigns out, for ever.
    pub(crate) async fn keep_campaigns(self: Arc<Self>) {
        let mut head = self.head();
        let mut duty = self.upkeep_duty.leads();
        let mut look_at = self.now();
        loop {
            let now = self.now();
            let mut next = now.plus_seconds(LOOK_SECONDS);
            if self.does_upkeep() && self.is_whole().is_ok() {
                let mut worked = self.do_campaigns().await;
                if worked.is_ok() && now >= look_at {
                    look_at = now.plus_seconds(LOOK_SECONDS);
                    if let Err(failure) = self.destroy_hand_overs().await {
                        worked = Err(failure);
                    }
                }
                match worked {
                    Ok(Some(at)) => next = next.min(at),
                    Ok(None) => {}
                    Err(failure) => {
                        tracing::error!(
                            error = &failure as &dyn std::error::Error,
                            "a campaign could not be gone on with"
                        );
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            }
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                changed = head.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                changed = duty.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Rotates what is due, one item of each campaign in turn. When the next item is due; nothing if none is.
    pub async fn do_campaigns(&self) -> Result<Option<Timestamp>, Failure> {
        loop {
            let now = self.now();
            let running: Vec<_> = self.tip.tip.read().live.running_campaigns().collect();
            if !self.does_upkeep() || running.iter().all(|(_, at)| *at > now) {
                return Ok(running.iter().map(|(_, at)| *at).min());
            }
            for (id, _) in running.iter().filter(|(_, at)| *at <= now) {
                self.rotate_next(*id).await?;
            }
        }
    }

    fn turn(&self, id: CampaignId) -> Option<Turn> {
        let tip = self.tip.tip.read();
        let live = tip.live.campaign(id).filter(|live| live.state.stage == Stage::Running)?;
        Some(Turn {
            campaign: id,
            workspace: live.state.workspace,
            sequence: live.sequence,
            settings: live.state.settings.clone(),
            item: live.state.next()?.planned.clone(),
        })
    }

    /// Rotates the next item of a campaign, or notes why not.
    async fn rotate_next(&self, id: CampaignId) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(turn) = self.turn(id) else { return Ok(()) };
            let done = match self.rotate_item(&turn).await {
                Ok(done) => done,
                Err(failure) if passes(&failure) => return Err(failure),
                Err(failure) => {
                    let reason = failure.code().to_owned();
                    tracing::warn!(campaign = %id, credential = %turn.item.credential, reason, "an item failed");
                    self.settle_item(&turn, Outcome::Failed { reason }).await?
                }
            };
            if done {
                return Ok(());
            }
        }
        Err(Failure::Overloaded)
    }

    /// Rotates an item. Whether it is recorded; if not it is stale.
    async fn rotate_item(&self, turn: &Turn) -> Result<bool, Failure> {
        let skipped = |reason: &str| Outcome::Skipped { reason: reason.to_owned() };
        let failed = |reason: &str| Outcome::Failed { reason: reason.to_owned() };
        let caller = turn.caller(self)?;
        let id = turn.item.credential;
        let subject = self.subject(&caller, id)?;
        let state = subject.live.state;
        if state.status != Status::Active {
            return self.settle_item(turn, skipped(CredentialRefusal::Revoked.code())).await;
        }
        if state.active != turn.item.version {
            return self.settle_item(turn, skipped(OVERTAKEN)).await;
        }
        let (recipient, custody) = match self.still_for(turn) {
            Ok(found) => found,
            Err(reason) => return self.settle_item(turn, failed(reason)).await,
        };
        let place = self.place()?;
        let mut entropy = self.entropy()?;
        let fresh = self.fresh_secret(&subject.live, state.last_version + 1, subject.now, &mut entropy);
        let rotate = CredentialCommand::Rotate(RotateSecret {
            secret: fresh.reference.clone(),
            means: turn.item.version,
            grace_seconds: turn.settings.grace_seconds,
            compromised: turn.settings.compromised,
            replayable: false,
            proof: Proof::SCHEDULE,
            policy: subject.policy,
            sealed: subject.sealed.clone(),
            now: subject.now,
        });
        let rotated = match decide(state, rotate).await {
            Ok(events) => events,
            Err(refusal) => {
                drop(place);
                return self.settle_item(turn, failed(refusal.code())).await;
            }
        };
        let public_id = subject.live.public_id.text();
        let document = Document {
            format: FORMAT,
            campaign_id: turn.campaign,
            workspace_id: state.workspace,
            credential_id: id,
            kind: state.kind.name(),
            public_id: &public_id,
            version: fresh.reference.version,
            secret: fresh.secret.expose(),
            made_at: subject.now,
            old_secret_expires_at: old_expires_at(&rotated),
        };
        let file = seal(&document, &recipient)?;
        let (event, sealed) = self.seal_beside(&file, subject.now, &mut entropy);
        let outcome =
            Outcome::Done { version: fresh.reference.version, recipient, sealed: Hash(sealed.sha256()) };
        let noted = self.noted(turn, outcome, subject.now)?;
        let shred = shredded(&rotated);
        let events = rotated.into_iter().map(|e| (StreamId::credential(id), Event::from(e))).collect();
        let along = Along { fresh: Some(&fresh), ..Along::default() };
        let Subject { now, mut expected, caller, .. } = subject;
        let mut events = self.encode(&caller, state.workspace, events, &along, now, &mut entropy)?;
        let kept = Some(Sealing { event, sealed });
        events.extend(encode_noted(turn, &caller, noted, kept, now, &mut entropy)?);
        expected.extend(custody);
        expected.push(turn.expected());
        let append = Append { expected, claim: None, events, shred, decided_at: now };
        let done = self.append_turn(place, append).await?;
        if done {
            metrics::counter!("rota_campaign_items_total", "outcome" => "done").increment(1);
        }
        Ok(done)
    }

    /// The key to seal an item's secret to, and what that rests on. It is the planned one or none: a key that was
    /// changed while the campaign runs was seen by nobody who applied the plan.
    fn still_for(&self, turn: &Turn) -> Result<(Recipient, Expected), &'static str> {
        let tip = self.tip.tip.read();
        let PlannedItem { credential, owner, .. } = turn.item;
        if tip.live.owner_of(credential) != owner {
            return Err("owner-changed");
        }
        let answers = tip.live.credential(owner).filter(|live| live.state.status == Status::Active);
        let answers = answers.ok_or(OWNER_REVOKED)?;
        let recipient = tip.live.custody(owner).and_then(|custody| custody.state.recipient.clone());
        let recipient = recipient.filter(|now| Some(now) == turn.item.recipient.as_ref());
        let recipient = recipient.ok_or("recipient-changed")?;
        let mut expected = Vec::with_capacity(3);
        let streams: std::collections::BTreeSet<_> =
            [StreamId::custody(credential), StreamId::custody(owner)].into();
        expected.extend(streams.into_iter().map(|stream| (stream, tip.live.sequence(&stream))));
        if owner != credential {
            expected.push((StreamId::credential(owner), Some(answers.sequence)));
        }
        Ok((recipient, expected))
    }

    /// What the campaign makes of an outcome.
    fn noted(&self, turn: &Turn, outcome: Outcome, now: Timestamp) -> Result<Vec<CampaignEvent>, Failure> {
        let credential = turn.item.credential;
        let tip = self.tip.tip.read();
        let live = tip.live.campaign(turn.campaign).ok_or(Failure::NotFound("campaign"))?;
        Ok(live.state.decide(CampaignCommand::Settle { credential, outcome, now })?)
    }

    /// Records an outcome that changes no credential. Whether it is recorded; if not it is stale.
    async fn settle_item(&self, turn: &Turn, outcome: Outcome) -> Result<bool, Failure> {
        let name = if matches!(outcome, Outcome::Failed { .. }) { "failed" } else { "skipped" };
        let caller = turn.caller(self)?;
        let now = self.now();
        let place = self.place()?;
        let noted = match self.noted(turn, outcome, now) {
            // Somebody stopped it in this moment.
            Err(Failure::Campaign(_)) => return Ok(false),
            noted => noted?,
        };
        let mut entropy = self.entropy()?;
        let events = encode_noted(turn, &caller, noted, None, now, &mut entropy)?;
        let expected = vec![turn.expected()];
        let append = Append { expected, claim: None, events, shred: Vec::new(), decided_at: now };
        let done = self.append_turn(place, append).await?;
        if done {
            metrics::counter!("rota_campaign_items_total", "outcome" => name).increment(1);
        }
        Ok(done)
    }

    async fn append_turn(&self, place: Place<'_>, append: Append) -> Result<bool, Failure> {
        match self.commit(place, append, None).await {
            Ok(recording) => Ok(recording.is_some()),
            Err(Committed::Failed(failure)) => Err(failure),
            Err(Committed::Before(_)) => Err(Failure::OutcomeUnknown),
        }
    }

    /// Destroys sealed secrets that were kept as long as the campaign says, or whose version is active no more.
    pub async fn destroy_hand_overs(&self) -> Result<(), Failure> {
        let now = self.now();
        let due: Vec<_> = {
            let tip = self.tip.tip.read();
            let live = &tip.live;
            let over = |campaign: &rota_projections::live::LiveCampaign| {
                let keep = u64::from(campaign.state.settings.keep_days) * 86_400;
                let useless = |id: CredentialId| {
                    let made = match campaign.state.item(id).map(|item| &item.standing) {
                        Some(rota_aggregates::campaign::Standing::Done { version, .. }) => Some(*version),
                        _ => None,
                    };
                    made.is_none() || live.credential(id).is_none_or(|live| live.state.active != made)
                };
                let of: Vec<(CredentialId, Position)> = campaign
                    .kept
                    .iter()
                    .filter(|(id, (_, at))| now >= at.plus_seconds(keep) || useless(**id))
                    .map(|(id, (position, _))| (*id, *position))
                    .take(DESTROYED_AT_ONCE)
                    .collect();
                (campaign.state.id, of)
            };
            live.campaigns_after(None).filter(|c| !c.kept.is_empty()).map(over).collect()
        };
        for (id, of) in due.into_iter().filter(|(_, of)| !of.is_empty()) {
            let caller = Caller::scheduler(self.new_request_id()?);
            self.command_campaign(&caller, id, |_, live, now| {
                Ok(live.state.decide(CampaignCommand::DestroyHandOvers { of: of.clone(), now })?)
            })
            .await?;
        }
        Ok(())
    }
}

/// Encodes events of a campaign; what is sealed goes beside the first.
fn encode_noted(
    turn: &Turn,
    caller: &Caller,
    events: Vec<CampaignEvent>,
    mut kept: Option<Sealing>,
    now: Timestamp,
    entropy: &mut Entropy,
) -> Result<Vec<NewEvent>, Failure> {
    let stream = turn.stream();
    let context = caller.context(turn.workspace.unwrap_or_default());
    let mut encoded = Vec::with_capacity(events.len());
    for event in events {
        let event = Event::from(event);
        let (id, secret) = match kept.take() {
            Some(Sealing { event, sealed }) => (event, Some(sealed)),
            None => (new_event_id(entropy, now), None),
        };
        let body = encode_body(id, stream, &context, None, SealedHashes::default(), &event)?;
        encoded.push(NewEvent { id, stream, context, event, body, side: Side { secret, ..Side::default() } });
    }
    Ok(encoded)
}

/// The end of the replaced version's grace period, if it got one.
fn old_expires_at(events: &[CredentialEvent]) -> Option<Timestamp> {
    events.iter().find_map(|event| match event {
        CredentialEvent::SecretRotated(e) => e.replaced.as_ref().and_then(|replaced| replaced.expires_at),
        _ => None,
    })
}
