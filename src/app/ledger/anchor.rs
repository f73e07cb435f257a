//! Anchoring: checkpoints go to witnesses, which cosign them, and to copies in places of the operator's choice. After
//! that nobody, the operator included, can show another history to somebody who asks there.
//!
//! | step | why |
//! |---|---|
//! | every [`AnchorOptions::pause`], if the ledger has grown, one checkpoint is the next to be anchored | all witnesses cosign the same one, so that a quorum comes together |
//! | what a copy holds, and what a witness cosigned last, is compared with the store before anything new goes there | a store that was put back is known by those who saw more of it, also where replicas have no guard file in common |
//! | a witness gets the checkpoint with the proof from its last one | it need not trust anybody |
//! | its cosignature is kept with the checkpoint | |
//! | when the quorum has cosigned, the note is the newest cosigned checkpoint, for every replica | |
//!
//! None of it is on the way of a change, or of a checkpoint that is not cosigned. What fails is tried again, later and
//! later up to [`RETRY_MAX`], and is told by metrics and by `rota ledger`. The replica that signs does it for all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rota_aggregates::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Published;
use super::bar::{Bar, compare};
use super::proofs::Trunk;
use crate::anchors::copies::{Copy, Place};
use crate::anchors::witnesses::{Answer, WitnessClient};
use crate::anchors::{Trouble, client};
use crate::app::{App, Caller, Failure};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::cosigning::AddCheckpoint;
use crate::ledger::note::{SignedNote, VerifierKey};
use crate::ledger::policy::Policy;
use crate::log::tree::SignedRoot;
use crate::log::{EventLog, LogError};

/// How often checkpoints are anchored by default.
pub const PAUSE_SECONDS_DEFAULT: u32 = 10;
/// After a failure the next attempt waits this long, and then twice as long each time,
const RETRY: Duration = Duration::from_secs(1);
/// but no longer than this.
pub const RETRY_MAX: Duration = Duration::from_mins(1);
/// A start waits so long for witnesses and copies to say what they saw last.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// Whoever asks for an anchor waits at most so long for it.
const ASK_PATIENCE: Duration = Duration::from_secs(15);
/// A witness is asked so often in a row: with the size that is known, and with the one that it says.
const TURNS: usize = 3;
/// Checkpoints for which cosignatures may come late.
const GATHERED_MAX: usize = 8;
/// The named value that holds the newest cosigned checkpoint.
const COSIGNED: &str = "cosigned-checkpoint";

/// Where checkpoints go.
pub struct AnchorOptions {
    /// The witnesses and how many of them are enough.
    pub policy: Option<Policy>,
    /// Where copies go.
    pub copies: Vec<Place>,
    /// The file with the bearer token for copies at addresses.
    pub bearer: Option<PathBuf>,
    /// How often.
    pub pause: Duration,
}

impl Default for AnchorOptions {
    fn default() -> Self {
        let pause = Duration::from_secs(u64::from(PAUSE_SECONDS_DEFAULT));
        Self { policy: None, copies: Vec::new(), bearer: None, pause }
    }
}

/// How far a witness or a copy is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The checkpoint that it has, by its number of events.
    pub size: Option<u64>,
    /// Since when.
    pub at: Option<Timestamp>,
    /// What keeps it from having the next one.
    pub trouble: Option<String>,
}

/// How far witnesses and copies are, by their names.
#[derive(Clone, Debug)]
pub struct Anchored {
    /// The witnesses.
    pub witnesses: Vec<(String, Progress)>,
    /// The copies.
    pub copies: Vec<(String, Progress)>,
}

/// A checkpoint that the quorum cosigned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cosigned {
    /// Of how many events.
    pub size: u64,
    /// When it was signed.
    pub time: Timestamp,
    /// The note with all signatures.
    pub note: String,
}

struct To<T> {
    what: T,
    /// For people and metrics.
    name: String,
    progress: Mutex<Progress>,
}

/// What is anchored where.
pub(in crate::app) struct Anchors {
    policy: Option<Policy>,
    pause: Duration,
    witnesses: Vec<To<WitnessClient>>,
    copies: Vec<To<Copy>>,
    /// The checkpoint that witnesses are to cosign.
    target: watch::Sender<Option<Arc<Published>>>,
    /// Grows when somebody wants an anchor now.
    asked: watch::Sender<u64>,
    /// Grows whenever a witness or a copy has moved or failed.
    moved: watch::Sender<u64>,
    /// The last checkpoints with what cosignatures came of each.
    gathered: Mutex<Vec<(Checkpoint, String)>>,
}

impl Anchors {
    pub(in crate::app) fn new(options: AnchorOptions) -> Result<Self, LogError> {
        let AnchorOptions { policy, copies, bearer, pause } = options;
        let client = client().map_err(LogError::unavailable)?;
        let to = |name: String| (name, Mutex::default());
        let of_policy = policy.iter().flat_map(|policy| policy.witnesses.iter().cloned());
        let witnesses = of_policy.filter_map(|witness| WitnessClient::new(witness, client.clone()));
        let witnesses = witnesses.map(|what| {
            let (name, progress) = to(what.witness.name.clone());
            To { what, name, progress }
        });
        let copies = copies.into_iter().map(|place| {
            let (name, progress) = to(place.to_string());
            To { what: Copy::new(place, bearer.clone(), client.clone()), name, progress }
        });
        Ok(Self {
            witnesses: witnesses.collect(),
            copies: copies.collect(),
            policy,
            pause,
            target: watch::channel(None).0,
            asked: watch::channel(0).0,
            moved: watch::channel(0).0,
            gathered: Mutex::default(),
        })
    }
}

impl<T> To<T> {
    fn done(&self, size: u64, at: Timestamp) {
        *self.progress.lock() = Progress { size: Some(size), at: Some(at), trouble: None };
    }

    fn failed(&self, kind: &'static str, trouble: &Trouble) {
        let error = trouble as &dyn std::error::Error;
        tracing::warn!(error, to = %self.name, "a checkpoint could not be anchored");
        metrics::counter!("rota_anchor_failures_total", "kind" => kind, "to" => self.name.clone())
            .increment(1);
        let mut says = trouble.to_string();
        if let Some(source) = error.source() {
            says = format!("{says}: {source}");
        }
        self.progress.lock().trouble = Some(says);
    }

    fn behind(&self, newest: u64) -> u64 {
        newest.saturating_sub(self.progress.lock().size.unwrap_or(0))
    }
}

/// A checkpoint and who signed it, as somebody shows it.
fn parse(note: &str) -> Option<(SignedNote, Checkpoint)> {
    let parsed = SignedNote::parse(note).ok()?;
    let checkpoint = Checkpoint::parse(parsed.text()).ok()?;
    Some((parsed, checkpoint))
}

/// The newest checkpoint in a store that a quorum cosigned, of whatever origin.
pub async fn cosigned_of(log: &dyn EventLog) -> Result<Option<Cosigned>, LogError> {
    let Some(bytes) = log.meta(COSIGNED).await? else { return Ok(None) };
    let cosigned = serde_json::from_slice(&bytes);
    cosigned.map(Some).map_err(|_| LogError::Corrupt("the cosigned checkpoint can't be read".to_owned()))
}

impl App {
    /// Starts anchoring.
    pub(in crate::app) fn anchor_for_ever(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let anchors = &self.ledger.anchors;
        if anchors.witnesses.is_empty() && anchors.copies.is_empty() {
            return Vec::new();
        }
        let mut tasks = vec![tokio::spawn(Arc::clone(self).aim_for_ever())];
        tasks.extend((0..anchors.witnesses.len()).map(|i| tokio::spawn(Arc::clone(self).feed_for_ever(i))));
        tasks.extend((0..anchors.copies.len()).map(|i| tokio::spawn(Arc::clone(self).copy_for_ever(i))));
        tasks
    }

    fn anchors_now(&self) -> bool {
        self.ledger.duty.held().is_some() && self.is_whole().is_ok()
    }

    /// Chooses the checkpoint that is anchored next.
    async fn aim_for_ever(self: Arc<Self>) {
        let anchors = &self.ledger.anchors;
        let (mut asked, mut published) = (anchors.asked.subscribe(), self.ledger.published.subscribe());
        loop {
            asked.mark_unchanged();
            let newest = published.borrow_and_update().clone();
            if let Some(newest) = &newest {
                self.tell_lag(newest.checkpoint.size);
                let aimed = anchors.target.borrow().clone();
                let grown = aimed.is_none_or(|aimed| aimed.checkpoint != newest.checkpoint);
                if grown && self.anchors_now() {
                    anchors.target.send_replace(Some(Arc::clone(newest)));
                }
            }
            let pause = async {
                if newest.is_none() {
                    return published.changed().await.is_ok();
                }
                tokio::time::sleep(anchors.pause).await;
                true
            };
            tokio::select! {
                goes_on = pause => if !goes_on { return },
                changed = asked.changed() => if changed.is_err() { return },
            }
        }
    }

    fn tell_lag(&self, newest: u64) {
        for to in &self.ledger.anchors.witnesses {
            metrics::gauge!("rota_witness_behind_events", "witness" => to.name.clone())
                .set(to.behind(newest) as f64);
        }
        for to in &self.ledger.anchors.copies {
            metrics::gauge!("rota_checkpoint_copy_behind_events", "place" => to.name.clone())
                .set(to.behind(newest) as f64);
        }
    }

    /// Brings one witness every checkpoint that is to be anchored.
    async fn feed_for_ever(self: Arc<Self>, index: usize) {
        let anchors = &self.ledger.anchors;
        let (to, mut target) = (&anchors.witnesses[index], anchors.target.subscribe());
        let (mut pause, mut done) = (RETRY, None);
        loop {
            let aim = target.borrow_and_update().clone();
            let aim = aim.filter(|aim| done.as_ref() != Some(&aim.checkpoint) && self.anchors_now());
            if let Some(aim) = aim {
                match self.cosign(to, &aim).await {
                    Ok(()) => {
                        to.done(aim.checkpoint.size, self.clock.now());
                        metrics::counter!("rota_cosignatures_total", "witness" => to.name.clone())
                            .increment(1);
                        pause = RETRY;
                        done = Some(aim.checkpoint.clone());
                    }
                    Err(trouble) => {
                        to.failed("witness", &trouble);
                        anchors.moved.send_modify(|moved| *moved += 1);
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(RETRY_MAX);
                        continue;
                    }
                }
                anchors.moved.send_modify(|moved| *moved += 1);
            }
            if target.changed().await.is_err() {
                return;
            }
        }
    }

    /// Has a witness cosign a checkpoint.
    async fn cosign(&self, to: &To<WitnessClient>, aim: &Published) -> Result<(), Trouble> {
        let Checkpoint { origin, size, .. } = &aim.checkpoint;
        let mut old = to.progress.lock().size.filter(|known| known <= size).unwrap_or(0);
        for _ in 0..TURNS {
            let proof = match old {
                0 => Vec::new(),
                old => {
                    self.link(aim, old, *size).await.map_err(|error| Trouble::NoProof(error.to_string()))?
                }
            };
            let request = AddCheckpoint { old, proof, note: aim.note.clone() };
            match to.what.add(&request).await? {
                Answer::Cosigned(lines) => {
                    return self.take_cosignature(&to.what.witness.key, aim, &lines).await;
                }
                // It saw more, and may have been shown that by another replica, or before a crash; by whom else is
                // looked at when it goes on to be more than there is.
                Answer::Has(has) if has > *size => {
                    self.confront_witness(to, origin).await?;
                    return Err(Trouble::Contradicts(format!(
                        "it has cosigned a later checkpoint than this one, of {has} events"
                    )));
                }
                Answer::Has(has) if has != old => old = has,
                Answer::Has(_) | Answer::Inconsistent => {
                    self.confront_witness(to, origin).await?;
                    return Err(Trouble::Contradicts(format!(
                        "it refuses this checkpoint as another history than that of {old} events which it cosigned"
                    )));
                }
            }
        }
        Err(Trouble::Other("it cosigned another size each time"))
    }

    /// Holds the store against what a witness cosigned last, if it tells.
    async fn confront_witness(&self, to: &To<WitnessClient>, origin: &str) -> Result<(), Trouble> {
        match to.what.latest(origin).await? {
            Some(note) => self.confront(&note, &format!("the witness {}", to.name), false).await,
            None => Ok(()),
        }
    }

    /// Holds the store against a checkpoint that somebody shows. What contradicts it bars everything, if it is this
    /// ledger that signed it; of the operator's own places that is believed, as it is of the guard file.
    async fn confront(&self, note: &str, by: &str, own: bool) -> Result<(), Trouble> {
        let (signed, shown) = parse(note).ok_or(Trouble::Other("it shows no checkpoint"))?;
        let (origin, known): (Option<String>, Vec<(String, String)>) = {
            let tip = self.tip.tip.read();
            let ledger = tip.live.ledger();
            let keys = ledger.keys.iter().map(|key| (key.origin.clone(), key.verifier_key.clone()));
            (ledger.origin().map(str::to_owned), keys.collect())
        };
        if origin.as_ref() != Some(&shown.origin) {
            // What was signed under a former origin was lost, and recorded as lost.
            if known.iter().any(|(origin, _)| *origin == shown.origin) {
                return Ok(());
            }
            return Err(Trouble::Contradicts(format!(
                "it holds a checkpoint of another ledger, {}: nothing is put in its place",
                shown.origin
            )));
        }
        let of_ledger = || {
            let keys = known.iter().filter_map(|(_, key)| key.parse::<VerifierKey>().ok());
            keys.filter(|key| key.name() == shown.origin).any(|key| signed.check(&key).is_ok())
        };
        if !own && !of_ledger() {
            return Err(Trouble::Contradicts(
                "it shows a checkpoint that no key of this ledger signed".to_owned(),
            ));
        }
        let unavailable = |error: LogError| Trouble::NoProof(error.to_string());
        if self.tip.tip.read().tree.size() < shown.size && self.is_shared() {
            self.committer.follower().catch_up().await.map_err(unavailable)?;
        }
        let edge = self.tip.tip.read().tree.clone();
        let trunk = Trunk { log: &*self.log, edge: &edge };
        match compare(trunk, &shown, by).await.map_err(unavailable)? {
            None => Ok(()),
            Some(bar) => {
                let says = Bar::to_string(&bar);
                self.set_bar(bar);
                Err(Trouble::Contradicts(says))
            }
        }
    }

    /// Keeps a cosignature with its checkpoint.
    async fn take_cosignature(&self, key: &VerifierKey, aim: &Published, lines: &str) -> Result<(), Trouble> {
        let text = aim.checkpoint.text();
        let line = SignedNote::parse(&format!("{text}\n{lines}")).ok().and_then(|note| note.line_of(key));
        let line = line.ok_or(Trouble::Other("no cosignature of the witness's key over the checkpoint"))?;
        // Notes reach the store one at a time, so that none is put in the place of one with more signatures.
        let _signer = self.ledger.signer.lock().await;
        let anchors = &self.ledger.anchors;
        let (note, parsed) = {
            let mut gathered = anchors.gathered.lock();
            let place = gathered.iter().position(|(known, _)| *known == aim.checkpoint);
            let place = place.unwrap_or_else(|| {
                if gathered.len() == GATHERED_MAX {
                    gathered.remove(0);
                }
                gathered.push((aim.checkpoint.clone(), aim.note.clone()));
                gathered.len() - 1
            });
            let unfit = || Trouble::Other("the note can't be read with it");
            let before = SignedNote::parse(&gathered[place].1).map_err(|_| unfit())?;
            let note = before.with_line_of(key, &line);
            let parsed = SignedNote::parse(&note).map_err(|_| unfit())?;
            gathered[place].1.clone_from(&note);
            (note, parsed)
        };
        let kept = SignedRoot {
            size: aim.checkpoint.size,
            root: aim.checkpoint.root,
            time: aim.time,
            note: note.clone(),
            token: self.ledger.duty.held().unwrap_or(crate::log::lease::Token(0)),
        };
        let unavailable = |error: LogError| Trouble::NoProof(error.to_string());
        self.log.tree().keep_checkpoint(&kept).await.map_err(unavailable)?;
        self.ledger.published.send_if_modified(|published| match published {
            Some(newest) if newest.checkpoint == aim.checkpoint => {
                let Published { checkpoint, time, edge, .. } = &**newest;
                let (checkpoint, time, edge) = (checkpoint.clone(), *time, edge.clone());
                *newest = Arc::new(Published { checkpoint, note: note.clone(), time, edge });
                true
            }
            _ => false,
        });
        if anchors.policy.as_ref().is_some_and(|policy| policy.is_satisfied(&parsed)) {
            let cosigned = Cosigned { size: aim.checkpoint.size, time: aim.time, note };
            let newer = self.newest_cosigned().await.map_err(unavailable)?;
            if newer.is_none_or(|newer| newer.size <= cosigned.size) {
                let bytes =
                    serde_json::to_vec(&cosigned).map_err(|e| unavailable(LogError::unavailable(e)))?;
                self.log.set_meta(&[(COSIGNED, &bytes)]).await.map_err(unavailable)?;
            }
        }
        Ok(())
    }

    /// The newest checkpoint of the present origin that the quorum cosigned.
    async fn newest_cosigned(&self) -> Result<Option<Cosigned>, LogError> {
        let Some(cosigned) = cosigned_of(&*self.log).await? else { return Ok(None) };
        let origin = self.origin();
        let present = parse(&cosigned.note).is_some_and(|(_, checkpoint)| Some(checkpoint.origin) == origin);
        Ok(present.then_some(cosigned))
    }

    /// The newest checkpoint that the quorum of witnesses cosigned.
    pub async fn cosigned_checkpoint(&self) -> Result<Cosigned, Failure> {
        self.is_whole()?;
        self.newest_cosigned().await?.ok_or(Failure::NotFound("cosigned checkpoint"))
    }

    /// Brings one place every checkpoint that is published when its turn comes.
    async fn copy_for_ever(self: Arc<Self>, index: usize) {
        let anchors = &self.ledger.anchors;
        let (to, mut asked) = (&anchors.copies[index], anchors.asked.subscribe());
        let mut published = self.ledger.published.subscribe();
        let (mut pause, mut compared, mut last) = (RETRY, false, String::new());
        loop {
            asked.mark_unchanged();
            let newest = published.borrow_and_update().clone();
            // Whoever signed meanwhile has put something there.
            compared &= self.ledger.duty.held().is_some();
            let next = newest.filter(|newest| newest.note != last && self.anchors_now());
            let mut rest = (!last.is_empty()).then_some(anchors.pause);
            if let Some(next) = next {
                match self.put_copy(to, &next, &mut compared).await {
                    Ok(()) => {
                        to.done(next.checkpoint.size, self.clock.now());
                        pause = RETRY;
                        last.clone_from(&next.note);
                        rest = Some(anchors.pause);
                    }
                    Err(trouble) => {
                        to.failed("copy", &trouble);
                        rest = Some(pause);
                        pause = (pause * 2).min(RETRY_MAX);
                    }
                }
                anchors.moved.send_modify(|moved| *moved += 1);
            }
            let wait = async {
                match rest {
                    None => published.changed().await.is_ok(),
                    Some(rest) => {
                        tokio::time::sleep(rest).await;
                        true
                    }
                }
            };
            tokio::select! {
                goes_on = wait => if !goes_on { return },
                changed = asked.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn put_copy(&self, to: &To<Copy>, next: &Published, compared: &mut bool) -> Result<(), Trouble> {
        if !*compared {
            if let Some(note) = to.what.read().await? {
                self.confront(&note, &format!("the copy at {}", to.name), true).await?;
            }
            *compared = true;
        }
        to.what.write(&next.note).await
    }

    /// Asks witnesses and copies what they saw last, and bars everything if that is more than there is, or something
    /// else. Who does not answer in time is asked again before anything new goes there.
    pub(in crate::app) async fn ask_elsewhere(&self) {
        let anchors = &self.ledger.anchors;
        let Some(origin) = self.origin() else { return };
        let witnesses = anchors.witnesses.iter().map(|to| self.confront_witness(to, &origin));
        let copies = anchors.copies.iter().map(|to| async {
            let Some(note) = to.what.read().await? else { return Ok(()) };
            self.confront(&note, &format!("the copy at {}", to.name), true).await
        });
        let asked = futures_util::future::join(
            futures_util::future::join_all(witnesses),
            futures_util::future::join_all(copies),
        );
        let Ok((witnesses, copies)) = tokio::time::timeout(START_PATIENCE, asked).await else {
            tracing::warn!("not every witness and copy has said in time what it saw last");
            return;
        };
        for (to, said) in anchors.witnesses.iter().zip(&witnesses) {
            if let Err(trouble) = said {
                to.failed("witness", trouble);
            }
        }
        for (to, said) in anchors.copies.iter().zip(&copies) {
            if let Err(trouble) = said {
                to.failed("copy", trouble);
            }
        }
    }

    /// Anchors what is recorded now, and waits a while until every witness and copy has it or has failed.
    pub async fn anchor(&self, caller: &Caller) -> Result<(), Failure> {
        caller.operator_only()?;
        let size = self.newest_checkpoint().await?.checkpoint.size;
        let anchors = &self.ledger.anchors;
        let mut moved = anchors.moved.subscribe();
        let of_witnesses = anchors.witnesses.iter().map(|to| &to.progress);
        for progress in of_witnesses.chain(anchors.copies.iter().map(|to| &to.progress)) {
            progress.lock().trouble = None;
        }
        anchors.asked.send_modify(|asked| *asked += 1);
        let settled = |progress: &Mutex<Progress>| {
            let progress = progress.lock();
            progress.trouble.is_some() || progress.size.is_some_and(|has| has >= size)
        };
        let all = async {
            while !anchors.witnesses.iter().all(|to| settled(&to.progress))
                || !anchors.copies.iter().all(|to| settled(&to.progress))
            {
                if moved.changed().await.is_err() {
                    return;
                }
            }
        };
        // Who is late is so in what is told.
        let _ = tokio::time::timeout(ASK_PATIENCE, all).await;
        Ok(())
    }

    /// How far witnesses and copies are, by their names.
    pub fn anchored(&self) -> Anchored {
        let anchors = &self.ledger.anchors;
        let witnesses = anchors.witnesses.iter().map(|to| (to.name.clone(), to.progress.lock().clone()));
        let copies = anchors.copies.iter().map(|to| (to.name.clone(), to.progress.lock().clone()));
        Anchored { witnesses: witnesses.collect(), copies: copies.collect() }
    }

    /// The policy that an auditor checks cosigned checkpoints with.
    pub fn witness_policy(&self, caller: &Caller) -> Result<String, Failure> {
        let keys = self.ledger_keys(caller)?;
        let policy = self.ledger.anchors.policy.as_ref().ok_or(Failure::NotFound("witness policy"))?;
        let keys: Vec<_> = keys.keys.into_iter().map(|key| key.verifier_key).collect();
        Ok(policy.text_for(&keys))
    }
}
