//! What rota does by itself: expiring what is due, cancelling what was not committed, destroying what has had
//! its time, writing snapshots and use marks. Validity never waits for any of it: time decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rota_aggregates::credential::{CredentialRefusal, EndCause, ReplayEndCause};
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::{CredentialId, Event, Position, Sequence, StreamId, Timestamp, WorkspaceId};
use rota_projections::audit::Facet;
use rota_projections::live::Due;
use tokio::task::JoinSet;

use super::erase::PARTS_MAX;
use super::lifecycle::Change;
use super::{App, Caller, Failure};
use crate::log::committer::Verdict;
use crate::views::AuditQuery;

/// What falls due is worked off in portions, so that logins go on beside it.
const PORTION: usize = 256;
/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_millis(250);
/// After events came, what is due because of them is looked for so much later.
const PAUSE: Duration = Duration::from_millis(50);
/// Use marks are written down at least this often.
const MARKS_SECONDS: u64 = 60;
/// Whether old secrets are used still is looked at this often, where a policy asks for it.
const GRACES_SECONDS: u64 = 30;
/// Ended digests are looked for this often.
const DIGESTS_SECONDS: u64 = 3_600;
/// While they can't be, it is tried again after this long, and so many times: until the next look.
const DIGESTS_RETRY: Duration = Duration::from_mins(1);
const DIGESTS_TRIES: usize = 50;

/// Parts that have had their time, as they were found.
struct Shredding {
    workspace: WorkspaceId,
    /// The last sequence of the stream of destructions when they were: if another replica destroys them first, this
    /// has moved.
    sequence: Option<Sequence>,
    parts: Vec<PartRef>,
}

impl App {
    /// Does what is due, for ever.
    pub async fn upkeep(self: Arc<Self>) {
        let mut head = self.head();
        let mut duty = self.upkeep_duty.leads();
        let mut was_on_duty = false;
        // What goes on beside this ends with it.
        let mut aside = JoinSet::new();
        let mut digests_at = self.now();
        let mut marks_at = self.now().plus_seconds(MARKS_SECONDS);
        let mut graces_at = self.now();
        loop {
            // What is done once for all is done by the replica whose job it is.
            let on_duty = self.does_upkeep();
            if self.is_shared() && std::mem::replace(&mut was_on_duty, on_duty) != on_duty {
                tracing::info!(on_duty, "who does the upkeep has changed");
            }
            let worked = if on_duty { self.do_due().await } else { Ok(false) };
            let now = self.now();
            if now >= marks_at {
                self.sweep_signing_keys();
                if self.tip.has_marks() {
                    self.committer.flush().await;
                }
                marks_at = now.plus_seconds(MARKS_SECONDS);
            }
            if now >= digests_at && on_duty && self.is_whole().is_ok() {
                // On its own: what is due must not wait for it.
                let app = Arc::clone(&self);
                aside.spawn(async move { app.keep_digests().await });
                digests_at = now.plus_seconds(DIGESTS_SECONDS);
            }
            if now >= graces_at && on_duty {
                if self.watches_graces() {
                    let app = Arc::clone(&self);
                    aside.spawn(async move { app.watch_graces().await });
                }
                graces_at = now.plus_seconds(GRACES_SECONDS);
            }
            if self.snapshot_is_due() {
                let app = Arc::clone(&self);
                aside.spawn(async move { app.snapshot().await });
            }
            while aside.try_join_next().is_some() {}
            self.probe_if_unhealthy().await;
            match worked {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "what is due could not be done"
                    );
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            let mut next = marks_at;
            if on_duty {
                next = self.next_due().unwrap_or(marks_at).min(marks_at).min(digests_at);
                if self.watches_graces() {
                    next = next.min(graces_at);
                }
            }
            if !self.is_healthy() {
                next = next.min(now.plus_seconds(1));
            }
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                changed = head.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // One look for all that come at once: woken for each, it would take the time of their own work.
                    tokio::time::sleep(PAUSE).await;
                }
                changed = duty.changed() => if changed.is_err() { return },
            }
        }
    }

    /// After a failed commit: finds out whether the store can be written to again, so that rota becomes ready without
    /// waiting for somebody's change.
    async fn probe_if_unhealthy(&self) {
        if !self.is_healthy() && self.log.set_meta(&[("probe", b"")]).await.is_ok() {
            tracing::info!("the store can be written to again");
            self.committer.recovered();
        }
    }

    /// When the next thing falls due.
    fn next_due(&self) -> Option<Timestamp> {
        let tip = self.tip.tip.read();
        let ledger_key = tip.live.ledger_key_due().map(|(at, _)| at);
        [tip.live.next_due(), tip.replays.next_answer_due(), self.token_keys_due(&tip.live), ledger_key]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does a portion of what is due. Whether there may be more.
    pub async fn do_due(&self) -> Result<bool, Failure> {
        // Nothing is appended to a store that is not what was signed for.
        if self.is_whole().is_err() {
            return Ok(false);
        }
        let now = self.now();
        let due = self.tip.tip.read().live.due(now, PORTION);
        let more = due.len() == PORTION;
        let mut ended = Vec::new();
        if !due.is_empty() {
            let caller = Caller::scheduler(self.new_request_id()?);
            ended = join_all(due.into_iter().map(|(id, due)| self.end(&caller, id, due))).await;
        }
        let shredded = self.shred_answers(now).await?;
        self.keep_token_keys().await?;
        self.keep_ledger_keys().await?;
        // One that fails must not keep the others from their end.
        ended.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(more || shredded)
    }

    async fn end(&self, caller: &Caller, id: CredentialId, due: Due) -> Result<(), Failure> {
        let change = match due {
            Due::Expiry => {
                let retiring = self.tip.tip.read().live.credential(id).and_then(|c| c.state.retiring);
                let Some(retiring) = retiring else { return Ok(()) };
                Change::Expire { version: retiring.version }
            }
            Due::Deadline => Change::Cancel { cause: EndCause::Due },
            Due::Replay => Change::EndReplay { cause: ReplayEndCause::Due },
        };
        match self.change(caller, id, &change, None).await {
            // Somebody else ended it in the meantime.
            Err(Failure::Credential(
                CredentialRefusal::NothingRetiring
                | CredentialRefusal::NothingPrepared
                | CredentialRefusal::VersionConflict
                | CredentialRefusal::NotDue { .. }
                | CredentialRefusal::Revoked,
            ))
            | Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Destroys answers whose 24 hours are over. Whether there may be more.
    async fn shred_answers(&self, now: Timestamp) -> Result<bool, Failure> {
        let mut parts: BTreeMap<WorkspaceId, Shredding> = BTreeMap::new();
        let due = {
            let tip = self.tip.tip.read();
            let due = tip.replays.answers_due(now, PARTS_MAX);
            for (position, credential) in &due {
                let live = credential.and_then(|id| tip.live.credential(id));
                let workspace = live.map(|c| c.state.workspace).unwrap_or_default();
                let part = PartRef { position: *position, part: SealedPart::Answer };
                let shredding = parts.entry(workspace).or_insert_with(|| Shredding {
                    workspace,
                    sequence: tip.live.sequence(&StreamId::shredding(workspace)),
                    parts: Vec::new(),
                });
                shredding.parts.push(part);
            }
            due.len()
        };
        for shredding in parts.into_values() {
            self.shred_due(shredding, now).await?;
        }
        Ok(due == PARTS_MAX)
    }

    /// Destroys digests that had their time; later, while the views that tell which catch up or the store is away.
    async fn keep_digests(&self) {
        for _ in 0..DIGESTS_TRIES {
            match self.shred_digests().await {
                Ok(()) => return,
                Err(error @ Failure::Unavailable(_)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::info!(error, "digests are destroyed later");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "digests could not be destroyed");
                    return;
                }
            }
            tokio::time::sleep(DIGESTS_RETRY).await;
        }
        tracing::error!("digests could not be destroyed: the store or its views were not there for long");
    }

    /// Destroys digests of versions that ended longer ago than their workspace's policy keeps them.
    pub async fn shred_digests(&self) -> Result<(), Failure> {
        let now = self.now();
        let workspaces: Vec<_> = self.tip.tip.read().live.workspaces().collect();
        for (id, workspace) in workspaces {
            let keep = u64::from(workspace.policy.digest_retention_days) * 86_400;
            while self.does_upkeep() {
                // Looked at first: whatever was destroyed after this is found out at the append.
                let sequence = self.tip.tip.read().live.sequence(&StreamId::shredding(id));
                self.settled().await?;
                let ended = self.views.ended_before(id, now.minus_seconds(keep), PARTS_MAX).await?;
                if ended.is_empty() {
                    break;
                }
                let mut parts = Vec::with_capacity(ended.len());
                for (credential, version) in &ended {
                    if let Some(position) = self.position_of(*credential, *version).await? {
                        parts.push(PartRef { position, part: SealedPart::Digest });
                    }
                }
                if parts.is_empty() {
                    break;
                }
                self.shred_due(Shredding { workspace: id, sequence, parts }, now).await?;
            }
        }
        Ok(())
    }

    /// The event that brought a version.
    async fn position_of(&self, id: CredentialId, version: u32) -> Result<Option<Position>, Failure> {
        let mut query =
            AuditQuery { facets: vec![Facet::Credential(id)], limit: 1_000, ..AuditQuery::default() };
        loop {
            let page = self.views.audit(&query).await?;
            let found = page.iter().find_map(|(record, stored)| match &record.event {
                Event::Credential(event) => {
                    event.secret().filter(|s| s.version == version).map(|_| stored.position)
                }
                _ => None,
            });
            let Some((_, last)) = page.last().filter(|_| found.is_none()) else { return Ok(found) };
            query.after = Some(last.position);
        }
    }

    /// Destroys what has had its time. If it is overtaken the next round finds it again.
    async fn shred_due(&self, shredding: Shredding, now: Timestamp) -> Result<(), Failure> {
        let Shredding { workspace, sequence, parts } = shredding;
        let caller = Caller::scheduler(self.new_request_id()?);
        let expected = vec![(StreamId::shredding(workspace), sequence)];
        match self.shred(&caller, workspace, parts, expected, now).await? {
            Verdict::Recorded(_) | Verdict::Stale => Ok(()),
            Verdict::AlreadyRecorded(_) | Verdict::KeyReused | Verdict::Captured => {
                Err(Failure::OutcomeUnknown)
            }
        }
    }
}
