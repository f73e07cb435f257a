//! A store that is not the history that was signed for: an older copy that was put back, a lost end, another ledger.
//!
//! To go on as if nothing had happened would accept secrets that were ended, forget rotations that were answered, and
//! sign a second history. So nothing is verified and nothing appended until the right store is back, or the operator
//! records the loss.

use std::fmt;
use std::path::Path;

use rota_aggregates::ids::Hash;
use rota_aggregates::ledger::LedgerEvent;
use rota_aggregates::{Event, Position};

use super::guard::{Guard, Guarded};
use super::proofs::Trunk;
use crate::app::{App, Failure};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::SignedNote;
use crate::ledger::tile::Edge;
use crate::log::reading::catch_up;
use crate::log::tree::SignedRoot;
use crate::log::{EventLog, LogError};

/// Events among which a loss that was recorded a moment ago is looked for.
const RECENT: u64 = 100_000;

/// In what way the store is not what was signed for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unlike {
    /// It has only so many events.
    Behind {
        /// How many there are.
        size: u64,
    },
    /// Its first events are others.
    Differs,
}

/// Why nothing is verified and nothing appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bar {
    /// The last checkpoint that was signed, as far as is known.
    pub signed: Checkpoint,
    /// In what way the store is not that.
    pub unlike: Unlike,
    /// Who knows of the checkpoint.
    pub known_to: String,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checkpoint { origin, size: signed, .. } = &self.signed;
        match self.unlike {
            Unlike::Behind { size } => {
                write!(
                    f,
                    "the store has {size} events, and {signed} were signed for under the origin {origin}"
                )?;
            }
            Unlike::Differs => {
                write!(
                    f,
                    "the store's first {signed} events are not those that were signed for under {origin}"
                )?;
            }
        }
        write!(
            f,
            " ({} says so): it is an older copy, or another ledger. Put the newer store back, or record what was lost \
             with `rota ledger restored`",
            self.known_to
        )
    }
}

/// Holds a store against a checkpoint that was signed.
pub(super) async fn compare(
    trunk: Trunk<'_>,
    signed: &Checkpoint,
    known_to: &str,
) -> Result<Option<Bar>, LogError> {
    let bar = |unlike| Some(Bar { signed: signed.clone(), unlike, known_to: known_to.to_owned() });
    let size = trunk.edge.size();
    if size < signed.size {
        return Ok(bar(Unlike::Behind { size }));
    }
    let root: Option<Hash> = match trunk.root_of(signed.size).await {
        Ok(root) => root,
        // Tiles that lead nowhere are no history either.
        Err(LogError::Corrupt(problem)) => {
            tracing::error!(problem, "the tree could not be compared with what was signed");
            None
        }
        Err(error) => return Err(error),
    };
    Ok(if root == Some(signed.root) { None } else { bar(Unlike::Differs) })
}

/// What a stored root says.
pub(super) fn checkpoint_of(signed: &SignedRoot) -> Result<Checkpoint, LogError> {
    let damaged = |()| LogError::Corrupt("the root that was signed last is no checkpoint".to_owned());
    let note = SignedNote::parse(&signed.note).map_err(|_| ()).map_err(damaged)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|_| ()).map_err(damaged)?;
    if (checkpoint.size, checkpoint.root) == (signed.size, signed.root) {
        Ok(checkpoint)
    } else {
        Err(LogError::Corrupt("the root that was signed last is not what its note says".to_owned()))
    }
}

/// Opens the guard file and holds the store against it, and against what the store itself says was signed. A store
/// without any event is a new ledger: a guard of a former one is put aside.
pub(in crate::app) async fn look(
    log: &dyn EventLog,
    edge: &Edge,
    guard: Option<&Path>,
    origin: Option<&str>,
) -> Result<(Option<Guard>, Option<Bar>), LogError> {
    let trunk = Trunk { log, edge };
    let (mut opened, mut guarded) = (None, None);
    if let Some(path) = guard {
        let (file, held): (Guard, Option<Guarded>) = Guard::open(path)?;
        if let Some(held) = &held
            && edge.size() == 0
        {
            let former = Guard::put_aside(path).map_err(LogError::unavailable)?;
            tracing::warn!(
                former = %former.display(), events = held.checkpoint.size, origin = held.checkpoint.origin,
                "the store is empty, and so this is a new ledger; what was signed for the former one is put aside"
            );
            opened = Some(Guard::open(path)?.0);
        } else {
            opened = Some(file);
            guarded = held;
        }
    }
    if let Some(held) = guarded
        && let Some(file) = &opened
    {
        // The operator recorded the loss, and rota was stopped before it signed again.
        let passed = origin.is_some_and(|origin| origin != held.checkpoint.origin)
            && restored_from(log, &held.checkpoint).await?;
        if !passed
            && let Some(bar) = compare(trunk, &held.checkpoint, &file.path().display().to_string()).await?
        {
            return Ok((opened, Some(bar)));
        }
    }
    let Some(signed) = log.tree().signed().await? else { return Ok((opened, None)) };
    let checkpoint = checkpoint_of(&signed)?;
    // What was signed under a former origin was lost, and recorded as lost.
    if origin != Some(checkpoint.origin.as_str()) {
        return Ok((opened, None));
    }
    let bar = compare(trunk, &checkpoint, "the store itself").await?;
    Ok((opened, bar))
}

/// Whether the loss of what this checkpoint signs for is recorded.
async fn restored_from(log: &dyn EventLog, signed: &Checkpoint) -> Result<bool, LogError> {
    // It is among the last events: nothing else is appended to a store that is not what was signed for.
    let mut found = false;
    let end = log.next().await?;
    let from = Position(end.0.saturating_sub(RECENT));
    catch_up(log, from, |recorded| {
        if let Event::Ledger(LedgerEvent::LedgerRestored(e)) = &recorded.record.event {
            found |= e.former_origin == signed.origin && e.signed_root == signed.root;
        }
    })
    .await?;
    Ok(found)
}

impl App {
    /// Refuses while the store is not the history that was signed for.
    pub fn is_whole(&self) -> Result<(), Failure> {
        match &*self.ledger.bar.read() {
            None => Ok(()),
            Some(bar) => Err(Failure::NotWhole(Box::new(bar.clone()))),
        }
    }

    /// Refuses while this replica can't tell what is valid: its clock is off, or the store is not the history that
    /// was signed for.
    pub(in crate::app) fn may_answer(&self) -> Result<(), Failure> {
        self.trusts_its_clock()?;
        self.is_whole()
    }

    /// Bars everything until the operator has decided.
    pub(super) fn set_bar(&self, bar: Bar) {
        let mut held = self.ledger.bar.write();
        if held.is_none() {
            tracing::error!(bar = %bar, "nothing is verified and nothing appended");
            *held = Some(bar);
        }
    }

    pub(super) fn lift_bar(&self) {
        *self.ledger.bar.write() = None;
    }

    /// Why nothing is verified and nothing appended, if that is so.
    pub fn bar(&self) -> Option<Bar> {
        self.ledger.bar.read().clone()
    }
}
