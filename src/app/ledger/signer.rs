//! Signing: after the commit, over what was read back from the store and compared with what was hashed before it was
//! written.
//!
//! | step | why |
//! |---|---|
//! | the events since the last signature are read back and hashed | what is signed is what is stored |
//! | the tree over them is compared with the tip's | a bit that changed on the way to the store is found before it is signed |
//! | it begins with the tree that was signed last | by construction: the same edge grows on, or was taken up from the tiles and proved to have the root that was signed |
//! | on a shared store the signed root takes the last one's place | of two signers one signs, and a deposed one does not |
//! | the note goes into the guard file | a store that is put back later is known |
//! | the note is published | |
//!
//! Ed25519 gives the same signature for the same text: a note that a crash takes is made again, byte for byte, as long
//! as the events are there, and those were flushed before they were signed. So no answer waits for the note to be
//! flushed; the store gets it within [`KEEP`], and a shared store before it is published.
//!
//! The keys sign whenever the ledger has grown, but at most every [`PAUSE`]; at once when somebody waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rota_aggregates::Position;
use rota_aggregates::record::Record;
use zeroize::Zeroizing;

use super::Published;
use super::bar::{Bar, Unlike, checkpoint_of, compare};
use super::proofs::Trunk;
use crate::app::{App, Failure};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::SigningKey;
use crate::ledger::rfc6962::leaf_hash;
use crate::ledger::tile::Edge;
use crate::log::tree::{self, SignedRoot};
use crate::log::{EventLog, LogError};
use crate::sealing::{Item, Part, SealError};

/// The time between two signatures that nobody waits for.
const PAUSE: Duration = Duration::from_secs(1);
/// The same where other replicas wait for this one's signatures.
const PAUSE_SHARED: Duration = Duration::from_millis(100);
/// A replica that does not sign looks this often for a checkpoint that somebody waits for.
const LOOK: Duration = Duration::from_millis(10);
/// After a failure the next attempt waits this long.
const RETRY: Duration = Duration::from_secs(1);
/// The store has the last note at most so long after it was made, and a checkpoint of each such span is kept.
const KEEP: Duration = Duration::from_secs(1);
/// Events that are read back at once.
const PAGE: usize = 2_048;
/// Somebody who waits for a checkpoint waits at most so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the signer goes on with.
#[derive(Default)]
pub(in crate::app) struct Signer {
    /// The tree over what was read back; `None` until it is taken up.
    edge: Option<Edge>,
    /// The root that the store has as the one signed last.
    stored: Option<u64>,
    /// What was signed and is not in the store yet.
    pending: Option<SignedRoot>,
    /// When the store got the last one.
    kept: Option<Instant>,
}

impl App {
    /// Signs what grows, for ever.
    pub(in crate::app) async fn sign_for_ever(self: Arc<Self>) {
        let (mut head, mut wanted) = (self.head(), self.ledger.wanted.subscribe());
        let mut leads = self.ledger.duty.leads();
        let pause = if self.is_shared() { PAUSE_SHARED } else { PAUSE };
        let mut last: Option<Instant> = None;
        loop {
            let size = head.borrow_and_update().0;
            let asked = *wanted.borrow_and_update();
            leads.mark_unchanged();
            let signed = self.ledger.published().map_or(0, |published| published.checkpoint.size);
            if self.is_whole().is_err() {
                // Until the operator has decided there is nothing to sign.
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let due = last.is_none_or(|last| last.elapsed() >= pause);
            let waited_for = asked > signed && size > signed;
            if (due && size > signed) || waited_for {
                last = Some(Instant::now());
                if let Err(error) = self.sign().await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "no checkpoint could be signed; trying again"
                    );
                    tokio::time::sleep(RETRY).await;
                }
            }
            let signed_now = self.ledger.published().map_or(0, |published| published.checkpoint.size);
            let rest = if signed_now >= size {
                // The store gets the last note even when nothing follows.
                KEEP
            } else if asked > signed_now && self.ledger.duty.held().is_none() {
                LOOK
            } else {
                last.map_or(pause, |last| pause.saturating_sub(last.elapsed()))
            };
            let grown = async {
                // While a pause lasts more that comes changes nothing.
                if signed_now < size { std::future::pending().await } else { head.changed().await }
            };
            tokio::select! {
                changed = grown => if changed.is_err() { return },
                changed = wanted.changed() => if changed.is_err() { return },
                changed = leads.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(rest) => self.keep_last_note(false).await,
            }
        }
    }

    /// Signs what is committed now, if it is more than was signed; on a replica that does not sign, takes over what
    /// another has signed.
    pub(in crate::app) async fn sign(&self) -> Result<(), Failure> {
        self.is_whole()?;
        let mut signer = self.ledger.signer.lock().await;
        let Some(token) = self.ledger.duty.held() else {
            signer.edge = None;
            return self.adopt_signed().await;
        };
        let Some(origin) = self.origin() else { return Ok(()) };
        if signer.edge.is_none() {
            self.take_up(&mut signer, &origin).await?;
        }
        let Some(mut edge) = signer.edge.take() else { return Ok(()) };
        let tree = self.tip.tip.read().tree.clone();
        if tree.size() > edge.size() {
            let read = read_back(&*self.log, &mut edge, tree.size()).await;
            if let Err(error) = read {
                return Err(error.into());
            }
            if edge != tree {
                let signed = Checkpoint { origin, size: tree.size(), root: tree.root() };
                self.set_bar(Bar {
                    signed,
                    unlike: Unlike::Differs,
                    known_to: "what was written".to_owned(),
                });
                return self.is_whole();
            }
        }
        if edge.size() == 0 {
            signer.edge = Some(edge);
            return Ok(());
        }
        let published = self.ledger.published();
        let known = published
            .is_some_and(|known| known.checkpoint.size == edge.size() && known.checkpoint.origin == origin);
        if known {
            signer.edge = Some(edge);
            return Ok(());
        }
        let checkpoint = Checkpoint { origin, size: edge.size(), root: edge.root() };
        let now = self.now();
        let keys = self.signing_keys_of(&checkpoint.origin, now).await?;
        let note = checkpoint.sign(&keys.iter().map(|key| &**key).collect::<Vec<_>>());
        let root = SignedRoot { size: checkpoint.size, root: checkpoint.root, time: now, note, token };
        if self.is_shared() {
            let keep = signer.kept.is_none_or(|kept| kept.elapsed() >= KEEP);
            // The duty is asked again: what was read took its time.
            if self.ledger.duty.held() != Some(token)
                || !self.log.tree().sign(&root, signer.stored, keep).await?
            {
                tracing::info!("another replica has signed in between");
                return Ok(());
            }
            if keep {
                signer.kept = Some(Instant::now());
            }
            signer.stored = Some(root.size);
        } else {
            signer.pending = Some(root.clone());
        }
        if let Some(guard) = &self.ledger.guard {
            guard.write(&root.note).map_err(LogError::unavailable)?;
        }
        metrics::counter!("rota_checkpoints_total").increment(1);
        self.publish(checkpoint, &root, edge.clone());
        signer.edge = Some(edge);
        drop(signer);
        self.keep_last_note(false).await;
        Ok(())
    }

    /// The name of the log.
    pub(super) fn origin(&self) -> Option<String> {
        self.tip.tip.read().live.ledger().origin().map(str::to_owned)
    }

    /// Gives the store what was signed and it has not yet: once in a while, or now.
    pub(in crate::app) async fn keep_last_note(&self, now: bool) {
        let mut signer = self.ledger.signer.lock().await;
        let due = now || signer.kept.is_none_or(|kept| kept.elapsed() >= KEEP);
        let Some(mut root) = signer.pending.clone().filter(|_| due) else { return };
        // A witness may have cosigned it meanwhile.
        if let Some(published) = self.ledger.published()
            && (published.checkpoint.size, published.checkpoint.root) == (root.size, root.root)
        {
            root.note.clone_from(&published.note);
        }
        match self.log.tree().sign(&root, signer.stored, true).await {
            Ok(true) => {
                signer.stored = Some(root.size);
                signer.pending = None;
                signer.kept = Some(Instant::now());
            }
            Ok(false) => {
                tracing::error!("the store has another signed root than this process left there");
                signer.pending = None;
                signer.edge = None;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the last checkpoint is not in the store yet");
            }
        }
        if now
            && let Some(guard) = &self.ledger.guard
            && let Err(error) = guard.flush()
        {
            tracing::warn!(%error, "the guard file could not be flushed");
        }
    }

    /// Takes the tree up where it was signed last, and proves that it is that tree.
    async fn take_up(&self, signer: &mut Signer, origin: &str) -> Result<(), Failure> {
        let stored = self.log.tree().signed().await?;
        signer.stored = stored.as_ref().map(|stored| stored.size);
        signer.pending = None;
        let mut last = match &stored {
            Some(stored) => Some(checkpoint_of(stored)?).filter(|last| last.origin == origin),
            None => None,
        };
        // The guard may know a later one, and so may whoever asked before.
        let known = self.ledger.published().map(|published| published.checkpoint.clone());
        let known = known.filter(|known| known.origin == origin);
        if known.as_ref().map(|known| known.size) > last.as_ref().map(|last| last.size) {
            last = known;
        }
        let tree = self.tip.tip.read().tree.clone();
        let Some(last) = last else {
            signer.edge = Some(Edge::default());
            return Ok(());
        };
        let trunk = Trunk { log: &*self.log, edge: &tree };
        if let Some(bar) = compare(trunk, &last, "the store itself").await? {
            self.set_bar(bar);
            return self.is_whole();
        }
        let edge = tree::resume(&*self.log, last.size, |_, _| ()).await?;
        if edge.root() != last.root {
            self.set_bar(Bar {
                signed: last,
                unlike: Unlike::Differs,
                known_to: "the store itself".to_owned(),
            });
            return self.is_whole();
        }
        signer.edge = Some(edge);
        Ok(())
    }

    /// Publishes what another replica has signed, once this one has found it true.
    async fn adopt_signed(&self) -> Result<(), Failure> {
        let Some(stored) = self.log.tree().signed().await? else { return Ok(()) };
        let known = self.ledger.published();
        if known.is_some_and(|known| known.note == stored.note) {
            return Ok(());
        }
        let checkpoint = checkpoint_of(&stored)?;
        if self.tip.tip.read().tree.size() < checkpoint.size {
            self.committer.follower().catch_up().await?;
        }
        let edge = self.tip.tip.read().tree.clone();
        if let Some(bar) =
            compare(Trunk { log: &*self.log, edge: &edge }, &checkpoint, "another replica").await?
        {
            self.set_bar(bar);
            return self.is_whole();
        }
        if let Some(guard) = &self.ledger.guard {
            guard.write(&stored.note).map_err(LogError::unavailable)?;
        }
        self.publish(checkpoint, &stored, edge);
        Ok(())
    }

    fn publish(&self, checkpoint: Checkpoint, root: &SignedRoot, edge: Edge) {
        let published = Published { checkpoint, note: root.note.clone(), time: root.time, edge };
        self.ledger.published.send_replace(Some(Arc::new(published)));
    }

    /// The private keys of an origin that sign at an instant, oldest first.
    pub(super) async fn signing_keys_of(
        &self,
        origin: &str,
        now: rota_aggregates::Timestamp,
    ) -> Result<Vec<Arc<SigningKey>>, Failure> {
        let wanted: Vec<(String, Option<Position>)> = {
            let tip = self.tip.tip.read();
            let private = |key: &str| tip.live.ledger_private().find(|(k, _)| *k == key).map(|(_, at)| at);
            let keys = tip.live.ledger().signing_at(now).filter(|key| key.origin == origin);
            keys.map(|key| (key.verifier_key.clone(), private(&key.verifier_key))).collect()
        };
        let mut keys = Vec::with_capacity(wanted.len());
        for (verifier_key, position) in wanted {
            let opened = self.ledger.opened.lock().get(&verifier_key).cloned();
            let key = match (opened, position) {
                (Some(key), _) => key,
                (None, Some(position)) => self.open_ledger_key(&verifier_key, origin, position).await?,
                (None, None) => continue,
            };
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(Failure::Sealed(SealError::DoesNotOpen));
        }
        Ok(keys)
    }

    async fn open_ledger_key(
        &self,
        verifier_key: &str,
        origin: &str,
        position: Position,
    ) -> Result<Arc<SigningKey>, Failure> {
        let closed = || Failure::Sealed(SealError::DoesNotOpen);
        let stored = self.log.read_at(&[position]).await?.into_iter().next().ok_or_else(closed)?;
        let record = Record::decode(&stored.leaf)
            .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
        let sealed = stored.side.secret.as_ref().ok_or_else(closed)?;
        let seed = self.keys().open_sealed(&Item { event: record.id.0, part: Part::Secret }, sealed)?;
        let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| closed())?;
        let seed = Zeroizing::new(*seed);
        let key = SigningKey::of_log(origin, &seed).map_err(|_| closed())?;
        if key.verifier().to_string() != verifier_key {
            return Err(closed());
        }
        let key = Arc::new(key);
        self.ledger.opened.lock().insert(verifier_key.to_owned(), Arc::clone(&key));
        Ok(key)
    }

    /// Waits until so many events are signed for, and gives the checkpoint that does so.
    pub async fn signed_for(&self, size: u64) -> Result<Arc<Published>, Failure> {
        self.is_whole()?;
        let mut published = self.ledger.published.subscribe();
        let enough = |known: &Option<Arc<Published>>| {
            known.as_ref().is_some_and(|known| known.checkpoint.size >= size)
        };
        if let Some(known) = published.borrow().as_ref().filter(|known| known.checkpoint.size >= size) {
            return Ok(Arc::clone(known));
        }
        self.ledger.wanted.send_if_modified(|wanted| {
            let more = size > *wanted;
            *wanted = size.max(*wanted);
            more
        });
        let waited = tokio::time::timeout(PATIENCE, published.wait_for(enough)).await;
        let known = waited.ok().and_then(Result::ok).and_then(|known| known.clone());
        self.is_whole()?;
        known.ok_or_else(|| LogError::unavailable("no checkpoint could be signed in time").into())
    }
}

/// Reads events back and takes them into the tree, up to `size` of them.
async fn read_back(log: &dyn EventLog, edge: &mut Edge, size: u64) -> Result<(), LogError> {
    let mut full = Vec::new();
    while edge.size() < size {
        let count = ((size - edge.size()) as usize).min(PAGE);
        let page = log.read(Position(edge.size()), count).await?;
        if page.leaves.is_empty() {
            return Err(LogError::Corrupt(format!("the event at position {} is gone", edge.size())));
        }
        for (leaf, _) in page.leaves.iter().take(count) {
            edge.push(leaf_hash(leaf), &mut full);
        }
        full.clear();
        tokio::task::yield_now().await;
    }
    Ok(())
}
