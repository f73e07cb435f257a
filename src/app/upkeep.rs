//! What rota does by itself: expiring what is due, cancelling what was not committed, destroying what has had
//! its time, writing snapshots and use marks. Validity never waits for any of it: time decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rota_aggregates::credential::{CredentialRefusal, EndCause, ReplayEndCause};
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::{CredentialId, Event, Position, Timestamp, WorkspaceId};
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
/// Use marks are written down at least this often.
const MARKS_SECONDS: u64 = 60;
/// Ended digests are looked for this often.
const DIGESTS_SECONDS: u64 = 3_600;

impl App {
    /// Does what is due, for ever.
    pub async fn upkeep(self: Arc<Self>) {
        let mut head = self.head();
        // What goes on beside this ends with it.
        let mut aside = JoinSet::new();
        let mut digests_at = self.now();
        let mut marks_at = self.now().plus_seconds(MARKS_SECONDS);
        loop {
            let worked = self.do_due().await;
            let now = self.now();
            if now >= marks_at {
                self.sweep_signing_keys();
                if self.tip.has_marks() {
                    self.committer.flush().await;
                }
                marks_at = now.plus_seconds(MARKS_SECONDS);
            }
            if now >= digests_at {
                // On its own: what is due must not wait for it.
                let app = Arc::clone(&self);
                aside.spawn(async move {
                    if let Err(error) = app.shred_digests().await {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "digests could not be destroyed");
                    }
                });
                digests_at = now.plus_seconds(DIGESTS_SECONDS);
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
            let mut next = self.next_due().unwrap_or(marks_at).min(marks_at).min(digests_at);
            if !self.is_healthy() {
                next = next.min(now.plus_seconds(1));
            }
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                changed = head.changed() => if changed.is_err() { return },
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
        [tip.live.next_due(), tip.replays.next_answer_due(), self.token_keys_due(&tip.live)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does a portion of what is due. Whether there may be more.
    pub async fn do_due(&self) -> Result<bool, Failure> {
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
        let mut parts: BTreeMap<WorkspaceId, Vec<PartRef>> = BTreeMap::new();
        let due = {
            let tip = self.tip.tip.read();
            let due = tip.replays.answers_due(now, PARTS_MAX);
            for (position, credential) in &due {
                let live = credential.and_then(|id| tip.live.credential(id));
                let workspace = live.map(|c| c.state.workspace).unwrap_or_default();
                let part = PartRef { position: *position, part: SealedPart::Answer };
                parts.entry(workspace).or_default().push(part);
            }
            due.len()
        };
        for (workspace, parts) in parts {
            self.shred_due(workspace, parts, now).await?;
        }
        Ok(due == PARTS_MAX)
    }

    /// Destroys digests of versions that ended longer ago than their workspace's policy keeps them.
    pub async fn shred_digests(&self) -> Result<(), Failure> {
        let now = self.now();
        let workspaces: Vec<_> = self.tip.tip.read().live.workspaces().collect();
        for (id, workspace) in workspaces {
            let keep = u64::from(workspace.policy.digest_retention_days) * 86_400;
            loop {
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
                self.shred_due(id, parts, now).await?;
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
    async fn shred_due(
        &self,
        workspace: WorkspaceId,
        parts: Vec<PartRef>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let caller = Caller::scheduler(self.new_request_id()?);
        match self.shred(&caller, workspace, parts, Vec::new(), now).await? {
            Verdict::Recorded(_) | Verdict::Stale => Ok(()),
            Verdict::AlreadyRecorded(_) | Verdict::KeyReused | Verdict::Captured => {
                Err(Failure::OutcomeUnknown)
            }
        }
    }
}
