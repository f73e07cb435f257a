//! What auditors read: tiles and entries, checkpoints and proofs.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rota_aggregates::authority::Role;
use rota_aggregates::ids::Hash;
use rota_aggregates::ledger::{LedgerEvent, LedgerKey};
use rota_aggregates::record::Record;
use rota_aggregates::{Event, Position, Timestamp, WorkspaceId};
use rota_projections::audit::Facet;
use uuid::Uuid;

use super::proofs::Trunk;
use super::{Published, bar};
use crate::app::{App, Caller, Failure, Principal};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::proof::{Plan, check_consistency, check_inclusion};
use crate::ledger::receipt::Receipt;
use crate::ledger::rfc6962::leaf_hash;
use crate::ledger::tile::{Kind, TileId, TilePath, WIDTH, put_entry, to_bytes};
use crate::log::LogError;
use crate::log::tree::SignedRoot;
use crate::sealing::same;
use crate::views::AuditQuery;

/// Who may ask for proofs of their workspace's events.
const READERS: &[Role] = &[Role::Auditor, Role::Analyst];
/// What follows `ledger/~` in the path of an auditor: an id and a MAC.
const ID_CHARS: usize = 32;

/// How checkpoints can be checked, and where the tiles are.
pub struct Keys {
    /// The name of the log.
    pub origin: String,
    /// Its keys, oldest first; the last one signs.
    pub keys: Vec<LedgerKey>,
    /// The path under which the caller may read tiles.
    pub prefix: Option<String>,
}

/// Somebody who may read the tiles.
pub struct Auditor {
    /// Who.
    pub id: Uuid,
    /// Their name, unless it was erased.
    pub name: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// The path under which they read.
    pub prefix: String,
}

fn no_event() -> Failure {
    Failure::NotFound("event")
}

fn unfit() -> LogError {
    LogError::Corrupt("a proof does not fit: see `rota verify`".to_owned())
}

impl App {
    /// The newest checkpoint: of everything that was committed when this was called.
    pub async fn newest_checkpoint(&self) -> Result<Arc<Published>, Failure> {
        self.current().await?;
        let size = self.tip.tip.read().live.next_position().0;
        self.signed_for(size.max(1)).await
    }

    /// The newest checkpoint that there is.
    pub fn last_checkpoint(&self) -> Option<Arc<Published>> {
        self.ledger.published()
    }

    /// How checkpoints can be checked.
    pub fn ledger_keys(&self, caller: &Caller) -> Result<Keys, Failure> {
        let tip = self.tip.tip.read();
        let ledger = tip.live.ledger();
        let origin = ledger.origin().ok_or(Failure::NotFound("ledger"))?.to_owned();
        let keys = ledger.present_keys().cloned().collect();
        drop(tip);
        let prefix = (caller.principal == Principal::Operator).then(|| self.prefix(Uuid::nil()));
        Ok(Keys { origin, keys, prefix })
    }

    /// The path under which somebody may read the tiles without showing anything else.
    pub(super) fn prefix(&self, auditor: Uuid) -> String {
        format!("/ledger/~{}{}", auditor.simple(), URL_SAFE_NO_PAD.encode(self.capability(auditor)))
    }

    /// What an auditor's path must carry. The operator's own changes with the operator key.
    fn capability(&self, auditor: Uuid) -> [u8; 32] {
        let operator = if auditor.is_nil() { Hash(*self.operator.read()).to_string() } else { String::new() };
        self.keys().digest(auditor, &format!("ledger tiles {operator}"))
    }

    /// Whether what a path carries lets its bearer read the tiles.
    pub async fn may_read_tiles_by(&self, token: &str) -> Result<(), Failure> {
        let parsed = token.split_at_checked(ID_CHARS).and_then(|(id, mac)| {
            let mac: [u8; 32] = URL_SAFE_NO_PAD.decode(mac).ok()?.try_into().ok()?;
            Some((id.parse::<Uuid>().ok()?, mac))
        });
        let nowhere = || Failure::NotFound("resource");
        let (auditor, mac) = parsed.ok_or_else(nowhere)?;
        if !same(&mac, &self.capability(auditor)) {
            return Err(nowhere());
        }
        self.current().await?;
        let named = auditor.is_nil()
            || self.tip.tip.read().live.ledger().auditors.iter().any(|(known, _)| *known == auditor);
        if named { Ok(()) } else { Err(nowhere()) }
    }

    /// Who may read the tiles, beside the operator.
    pub async fn auditors(&self, caller: &Caller) -> Result<Vec<Auditor>, Failure> {
        caller.operator_only()?;
        self.settled().await?;
        let known = self.tip.tip.read().live.ledger().auditors.clone();
        let mut names = HashMap::new();
        let named = "rota.ledger.auditor-named.v1".to_owned();
        let mut query =
            AuditQuery { facets: vec![Facet::Type(named)], limit: 1_000, ..AuditQuery::default() };
        loop {
            let page = self.views.audit(&query).await?;
            let Some((_, last)) = page.last() else { break };
            query.after = Some(last.position);
            for (record, stored) in &page {
                if let Event::Ledger(LedgerEvent::LedgerAuditorNamed(e)) = &record.event {
                    names.insert(e.auditor, self.details(record, stored).and_then(|details| details.name));
                }
            }
        }
        let auditor = |(id, since): (Uuid, Timestamp)| Auditor {
            id,
            name: names.remove(&id).flatten(),
            since,
            prefix: self.prefix(id),
        };
        Ok(known.into_iter().map(auditor).collect())
    }

    /// A tile, or a bundle of entries, of the published tree.
    pub async fn tile(&self, path: &TilePath) -> Result<Vec<u8>, Failure> {
        let nowhere = || Failure::NotFound("tile");
        let published = match self.ledger.published() {
            Some(published) if path.is_in(published.checkpoint.size) => published,
            // It may be there, and not signed for yet.
            _ => self.newest_checkpoint().await?,
        };
        if !path.is_in(published.checkpoint.size) {
            return Err(nowhere());
        }
        let (first, end) = path.range();
        match path.kind {
            Kind::Hashes(level) => {
                let trunk = Trunk { log: &*self.log, edge: &published.edge };
                let hashes = trunk.tile(TileId { level, index: first / WIDTH }).await?;
                let hashes = hashes.get(..usize::from(path.width)).ok_or_else(nowhere)?;
                Ok(to_bytes(hashes))
            }
            Kind::Entries => {
                let page = self.log.read(Position(first), (end - first) as usize).await?;
                if page.leaves.len() as u64 != end - first {
                    return Err(nowhere());
                }
                let mut bundle = Vec::with_capacity(page.leaves.iter().map(|(leaf, _)| leaf.len() + 2).sum());
                for (leaf, _) in &page.leaves {
                    put_entry(&mut bundle, leaf)
                        .ok_or_else(|| LogError::Corrupt("an event is too long for the format".to_owned()))?;
                }
                Ok(bundle)
            }
        }
    }

    /// The bytes of an event that the caller may have proved, as they are hashed.
    pub async fn entry(&self, caller: &Caller, position: Position) -> Result<Vec<u8>, Failure> {
        let foreign = match caller.principal {
            Principal::Operator | Principal::Scheduler => None,
            Principal::Credential(who) => {
                caller.allow(who.workspace, READERS, "event")?;
                Some(who.workspace)
            }
            Principal::Anonymous => return Err(Failure::Unauthenticated),
        };
        let stored = self.log.read_at(&[position]).await?.into_iter().next().ok_or_else(no_event)?;
        if let Some(own) = foreign {
            let record = Record::decode(&stored.leaf)
                .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
            if record.context.workspace != own || own == WorkspaceId::default() {
                return Err(no_event());
            }
        }
        self.note_read(caller, foreign, "entry").await;
        Ok(stored.leaf)
    }

    /// The proof that an event is in the ledger: under the checkpoint of `size` events, or the newest one.
    pub async fn proof(
        &self,
        caller: &Caller,
        position: Position,
        size: Option<u64>,
    ) -> Result<String, Failure> {
        let leaf = self.entry(caller, position).await?;
        let published = self.signed_for(position.0 + 1).await?;
        let (checkpoint, note) = match size {
            None => (published.checkpoint.clone(), published.note.clone()),
            Some(size) if size <= position.0 => {
                return Err(Failure::invalid("size", "must be more than the position"));
            }
            Some(size) => self.checkpoint_of_size(size).await?,
        };
        self.receipt_of(&published, &leaf, position, checkpoint, note).await
    }

    /// The receipt of a change that was just recorded, under the newest checkpoint.
    pub async fn receipt(&self, position: Position) -> Result<String, Failure> {
        let published = self.signed_for(position.0 + 1).await?;
        let stored = self.log.read_at(&[position]).await?.into_iter().next().ok_or_else(no_event)?;
        let (checkpoint, note) = (published.checkpoint.clone(), published.note.clone());
        self.receipt_of(&published, &stored.leaf, position, checkpoint, note).await
    }

    async fn receipt_of(
        &self,
        published: &Published,
        leaf: &[u8],
        position: Position,
        checkpoint: Checkpoint,
        note: String,
    ) -> Result<String, Failure> {
        let plan = Plan::inclusion(position.0, checkpoint.size).ok_or_else(no_event)?;
        let trunk = Trunk { log: &*self.log, edge: &published.edge };
        let hashes = trunk.assemble(&plan).await?;
        // Nobody gets a proof that does not hold.
        check_inclusion(&leaf_hash(leaf), position.0, checkpoint.size, &checkpoint.root, &hashes)
            .map_err(|_| unfit())?;
        Ok(Receipt { index: position.0, hashes, checkpoint: note }.text())
    }

    /// A checkpoint of so many events: the one that was given out, or one that is signed now, over a tree that is
    /// proved to be the beginning of the published one.
    async fn checkpoint_of_size(&self, size: u64) -> Result<(Checkpoint, String), Failure> {
        let beyond = || Failure::NotFound("checkpoint");
        let published = self.newest_checkpoint().await?;
        if size == published.checkpoint.size {
            return Ok((published.checkpoint.clone(), published.note.clone()));
        }
        if size == 0 || size > published.checkpoint.size {
            return Err(beyond());
        }
        let origin = &published.checkpoint.origin;
        let kept = self.log.tree().checkpoints(size - 1, 1).await?.into_iter().next();
        if let Some(kept) = kept.filter(|kept| kept.size == size) {
            let checkpoint = bar::checkpoint_of(&kept)?;
            if checkpoint.origin == *origin {
                return Ok((checkpoint, kept.note));
            }
        }
        let trunk = Trunk { log: &*self.log, edge: &published.edge };
        let root = trunk.root_of(size).await?.ok_or_else(beyond)?;
        let checkpoint = Checkpoint { origin: origin.clone(), size, root };
        let keys = self.signing_keys_of(origin, self.now()).await?;
        let note = checkpoint.sign(&keys.iter().map(|key| &**key).collect::<Vec<_>>());
        Ok((checkpoint, note))
    }

    /// The signed note over exactly so many events, for what was computed from them; `None` while the store is not what
    /// was signed for, and for an empty ledger.
    pub async fn checkpoint_over(&self, size: u64) -> Result<Option<String>, Failure> {
        if size == 0 {
            return Ok(None);
        }
        match self.signed_for(size).await {
            Ok(_) => self.checkpoint_of_size(size).await.map(|(_, note)| Some(note)),
            Err(Failure::NotWhole(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// That the first `from` events are the beginning of the first `to`, or of all that are signed for.
    pub async fn consistency(
        &self,
        caller: &Caller,
        from: u64,
        to: Option<u64>,
    ) -> Result<Vec<Hash>, Failure> {
        may_ask(caller)?;
        let published = self.newest_checkpoint().await?;
        let to = to.unwrap_or(published.checkpoint.size);
        if from == 0 {
            return Err(Failure::invalid(
                "from",
                "must be at least 1: there is nothing to prove from an empty ledger",
            ));
        }
        if to > published.checkpoint.size {
            return Err(Failure::NotFound("checkpoint"));
        }
        if from > to {
            return Err(Failure::invalid("from", "must not be more than `to`"));
        }
        self.link(&published, from, to).await
    }

    /// The proof that the first `from` events, at least one, are the beginning of the first `to`, which a checkpoint
    /// signs for.
    pub(super) async fn link(&self, published: &Published, from: u64, to: u64) -> Result<Vec<Hash>, Failure> {
        let plan = Plan::consistency(from, to).ok_or_else(unfit)?;
        let trunk = Trunk { log: &*self.log, edge: &published.edge };
        let hashes = trunk.assemble(&plan).await?;
        let (old, new) = (trunk.root_of(from).await?, trunk.root_of(to).await?);
        let (Some(old), Some(new)) = (old, new) else { return Err(unfit().into()) };
        check_consistency(from, &old, to, &new, &hashes).map_err(|_| unfit())?;
        Ok(hashes)
    }

    /// The newest checkpoint that was signed at or before an instant.
    pub async fn checkpoint_at(&self, caller: &Caller, at: Timestamp) -> Result<Option<SignedRoot>, Failure> {
        may_ask(caller)?;
        let newest = self.newest_checkpoint().await?;
        if newest.time <= at {
            return Ok(Some(signed_root(&newest)));
        }
        Ok(self.log.tree().checkpoint_at(at).await?)
    }

    /// Kept checkpoints of more than `after` events, and the newest one, ascending.
    pub async fn checkpoints(
        &self,
        caller: &Caller,
        after: u64,
        limit: usize,
    ) -> Result<Vec<SignedRoot>, Failure> {
        may_ask(caller)?;
        let newest = self.newest_checkpoint().await?;
        let mut kept = self.log.tree().checkpoints(after, limit).await?;
        let last = kept.last().map_or(after, |last| last.size);
        if kept.len() < limit && last < newest.checkpoint.size {
            kept.push(signed_root(&newest));
        }
        Ok(kept)
    }
}

/// Checkpoints tell how many events there are and no more; whoever may have proofs may have them.
fn may_ask(caller: &Caller) -> Result<(), Failure> {
    match caller.principal {
        Principal::Operator | Principal::Scheduler => Ok(()),
        Principal::Credential(who) => caller.allow(who.workspace, READERS, "checkpoint"),
        Principal::Anonymous => Err(Failure::Unauthenticated),
    }
}

fn signed_root(published: &Published) -> SignedRoot {
    SignedRoot {
        size: published.checkpoint.size,
        root: published.checkpoint.root,
        time: published.time,
        note: published.note.clone(),
        token: crate::log::lease::Token(0),
    }
}
