//! The auditors' questions: each a pure fold of the ordered feed up to a position.
//!
//! A report sees recorded events and the parameters that were asked for, nothing else: no live state, no clock, no
//! sealed part. So the same question as of the same position gives the same rows for ever, whoever folds. Two
//! times are told apart: *as of* is what the ledger knew, which is where the feed is cut; *at* is the instant that
//! is asked about, which may lie before or after it.
//!
//! - [`catalogue`]: which reports there are, with their parameters and columns;
//! - [`Question`]: the parameters of one asking;
//! - [`Fold`]: what a report is; it hands its rows to [`Rows`] as soon as they are certain, and keeps at most a few
//!   words for each credential;
//! - one file for each question or family of questions.

mod campaigns;
pub mod catalogue;
mod compromises;
mod credentials;
mod custody;
mod erasures;
mod keys;
mod ledger_keys;
mod managed;
mod old_secrets;
mod policies;
mod policy_times;
mod population;
mod reads;
mod rotations;
mod secret_age;
mod steps;
mod versions;

use std::collections::{BTreeSet, HashMap};

use rota_aggregates::authority::Actor;
use rota_aggregates::credential::{CredentialEvent, Kind};
use rota_aggregates::custody::CustodyEvent;
use rota_aggregates::{CredentialId, Event, Position, RotationId, Timestamp, WorkspaceId};
use serde_json::Value;

pub use self::catalogue::{Definition, Parameter, find};
use crate::Fact;
use crate::audit::credential_of_event;

/// What is asked of a report.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Only of this workspace; `None` for all of them.
    pub workspace: Option<WorkspaceId>,
    /// Only this credential.
    pub credential: Option<CredentialId>,
    /// Only credentials of this kind.
    pub kind: Option<Kind>,
    /// Only credentials of this owner, as the ledger knew it where the feed is cut.
    pub owner: Option<CredentialId>,
    /// Those credentials, where an owner is asked for.
    pub owned: Option<Owned>,
    /// Only this managed rotation.
    pub rotation: Option<RotationId>,
    /// Only by this actor.
    pub actor: Option<Actor>,
    /// The instant that is asked about.
    pub at: Timestamp,
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Up to this instant, exclusive.
    pub to: Option<Timestamp>,
    /// Events from this position on.
    pub since: Option<Position>,
    /// Only this version.
    pub version: Option<u32>,
    /// Only secrets older than this.
    pub older_than_days: Option<u32>,
    /// How soon something must have happened.
    pub target_seconds: Option<u64>,
}

impl Question {
    /// Whether it is about some credentials and not about others.
    fn is_of_credentials(&self) -> bool {
        self.credential.is_some() || self.kind.is_some() || self.owner.is_some()
    }

    /// Whether an instant is within the asked time.
    fn covers(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }
}

/// The credentials of an owner.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owned {
    owner: CredentialId,
    assigned: BTreeSet<CredentialId>,
    /// Whether somebody else answers for the owner itself.
    given_away: bool,
}

impl Owned {
    /// Before any event every credential is its own owner.
    pub fn by(owner: CredentialId) -> Self {
        Self { owner, ..Self::default() }
    }

    /// Takes the next event in.
    pub fn take(&mut self, event: &Event) {
        let Event::Custody(CustodyEvent::OwnerSet(e)) = event else { return };
        if e.credential == self.owner {
            self.given_away = e.owner.is_some_and(|owner| owner != self.owner);
        } else if e.owner == Some(self.owner) {
            self.assigned.insert(e.credential);
        } else {
            self.assigned.remove(&e.credential);
        }
    }

    /// Whether a credential is among them.
    pub fn has(&self, credential: CredentialId) -> bool {
        if credential == self.owner { !self.given_away } else { self.assigned.contains(&credential) }
    }
}

/// Which credentials are asked about, where events name them that are about something else.
struct Asked {
    credential: Option<CredentialId>,
    owned: Option<Owned>,
    kind: Option<Kind>,
    of_kind: BTreeSet<CredentialId>,
}

impl Asked {
    fn of(question: &Question) -> Self {
        let Question { credential, kind, .. } = *question;
        Self { credential, owned: question.owned.clone(), kind, of_kind: BTreeSet::new() }
    }

    /// Takes the next event in, which may tell a credential's kind.
    fn take(&mut self, event: &Event) {
        if let Event::Credential(CredentialEvent::CredentialIssued(e)) = event
            && self.kind == Some(e.kind)
        {
            self.of_kind.insert(e.credential);
        }
    }

    fn has(&self, id: CredentialId) -> bool {
        self.credential.is_none_or(|asked| asked == id)
            && self.owned.as_ref().is_none_or(|owned| owned.has(id))
            && (self.kind.is_none() || self.of_kind.contains(&id))
    }
}

/// One answer: a cell for each column.
pub type Row = Vec<Value>;

/// Where rows go: those of the asked page are kept, all are counted.
#[derive(Debug, Default)]
pub struct Rows {
    skip: u64,
    limit: usize,
    kept: Vec<Row>,
    count: u64,
}

impl Rows {
    /// Keeps at most `limit` rows after the first `skip`.
    pub fn page(skip: u64, limit: usize) -> Self {
        Self { skip, limit, kept: Vec::new(), count: 0 }
    }

    /// Takes a row, which is made only if it is kept.
    fn add(&mut self, row: impl FnOnce() -> Row) {
        if self.count >= self.skip && self.kept.len() < self.limit {
            self.kept.push(row());
        }
        self.count += 1;
    }

    /// How many rows there are in all.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The rows of the page.
    pub fn into_kept(self) -> Vec<Row> {
        self.kept
    }
}

/// A report while it is being folded.
pub trait Fold: Send {
    /// Takes the next event in.
    fn take(&mut self, fact: &Fact<'_>, rows: &mut Rows);

    /// Gives the rows that only the end of the feed makes certain.
    fn finish(self: Box<Self>, rows: &mut Rows) {
        let _ = rows;
    }
}

/// A report and its filters, fed in position order.
pub struct Run {
    question: Question,
    fold: Box<dyn Fold>,
    rows: Rows,
    /// The kinds of credentials, where they are asked for.
    kinds: HashMap<CredentialId, Kind>,
}

impl Run {
    /// A run of a report.
    pub fn new(definition: &Definition, question: Question, rows: Rows) -> Self {
        let fold = (definition.fold)(question.clone());
        Self { question, fold, rows, kinds: HashMap::new() }
    }

    /// Takes the next event in, if the question is about it.
    pub fn take(&mut self, fact: &Fact<'_>) {
        if self.question.workspace.is_some_and(|own| own != fact.context.workspace) {
            return;
        }
        if let Some(about) = credential_of_event(fact.event, &fact.stream) {
            if self.question.credential.is_some_and(|asked| asked != about) {
                return;
            }
            if self.question.owned.as_ref().is_some_and(|owned| !owned.has(about)) {
                return;
            }
            if let Some(asked) = self.question.kind {
                if let Event::Credential(CredentialEvent::CredentialIssued(e)) = fact.event {
                    self.kinds.insert(e.credential, e.kind);
                }
                if self.kinds.get(&about) != Some(&asked) {
                    return;
                }
            }
        }
        self.fold.take(fact, &mut self.rows);
    }

    /// The rows.
    pub fn finish(mut self) -> Rows {
        self.fold.finish(&mut self.rows);
        self.rows
    }
}

/// A cell with an id or another thing that has a text.
fn text(thing: impl std::fmt::Display) -> Value {
    Value::String(thing.to_string())
}

/// A cell with something that may not be there.
fn maybe(thing: Option<impl std::fmt::Display>) -> Value {
    thing.map_or(Value::Null, text)
}

/// A cell with the name that a value has on every wire.
fn name(thing: &impl serde::Serialize) -> Value {
    serde_json::to_value(thing).unwrap_or_default()
}

/// Whole seconds from one instant to a later one; 0 if it is not later.
fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from((to.micros() - from.micros()) / 1_000_000).unwrap_or(0)
}

/// A number of days in seconds.
fn days(days: u32) -> u64 {
    u64::from(days) * 86_400
}
