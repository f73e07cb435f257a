//! What the changes of connections and rotations have in common.

use std::collections::BTreeSet;

use rota_aggregates::ids::Hash;
use rota_aggregates::managed_rotation::{Model, RotationRefusal};
use rota_aggregates::name_space::{HoldNames, NameSpace};
use rota_aggregates::observation::PartRef;
use rota_aggregates::record::{Claim, Record, SealedHashes, encode_body};
use rota_aggregates::{
    ConnectionId, Event, EventId, Position, RotationId, Sequence, SpaceId, StreamId, Timestamp, WorkspaceId,
};
use rota_projections::Details;
use rota_projections::live::{LiveConnection, LiveRotation};
use rota_targets::{Credential, Kind, Parameters, Target};
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::DESCRIPTION_CHARS_MAX;
use super::sealed::{SealedIntent, copy, credential_of};
use crate::app::change::{Expected, sha256};
use crate::app::entropy::Entropy;
use crate::app::idempotency::{Idempotency, InProgress};
use crate::app::{App, Caller, Failure, new_event_id};
use crate::log::committer::{Recording, Verdict};
use crate::log::{Append, LogError, NewEvent, Side};
use crate::sealing::{Item, Part, SealError, Sealed};

/// An event that was decided, with what is kept beside it.
pub(super) struct Planned {
    pub stream: StreamId,
    pub event: Event,
    pub beside: Beside,
}

/// What is kept beside an event. It is bound to the event's id.
#[derive(Default)]
pub(super) struct Beside {
    pub id: Option<EventId>,
    pub secret: Option<Sealed>,
    pub digest: Option<[u8; 32]>,
    pub details: Option<Details>,
}

impl Planned {
    pub(super) fn new(stream: StreamId, event: impl Into<Event>) -> Self {
        Self { stream, event: event.into(), beside: Beside::default() }
    }

    pub(super) fn with(self, beside: Beside) -> Self {
        Self { beside, ..self }
    }
}

/// What is to be recorded together.
pub(super) struct Change {
    pub workspace: WorkspaceId,
    pub expected: Expected,
    pub events: Vec<Planned>,
    pub claim: Option<Claim>,
    pub now: Timestamp,
}

/// What became of a change.
pub(super) enum Outcome {
    Recorded(Recording),
    /// The same request was recorded before, by the event at this position.
    Before(Position),
    /// Something that it rests on has moved: decide again.
    Stale,
}

/// The event by which names are held, if they are not held already, and what that rests on.
pub(super) type Names = (Option<Planned>, (StreamId, Option<Sequence>));

/// A rotation's settings as names that are held in its folder.
pub(super) fn names_of<'a>(name: &str, keys: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    keys.map(secret_name).chain([rotation_name(name)]).collect()
}

pub(super) fn rotation_name(name: &str) -> String {
    format!("rotation/{name}")
}

pub(super) fn secret_name(key: &str) -> String {
    format!("secret/{key}")
}

/// A description within bounds, as it is sealed.
pub(super) fn described(description: Option<&str>) -> Result<Details, Failure> {
    let text = description.unwrap_or_default();
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        let reason = format!("must have at most {DESCRIPTION_CHARS_MAX} characters");
        return Err(Failure::invalid("description", reason));
    }
    let mut profile = Map::new();
    if !text.is_empty() {
        profile.insert("description".to_owned(), Value::String(text.to_owned()));
    }
    Ok(Details { profile: Some(profile), ..Details::default() })
}

impl App {
    /// Seals something beside an event that is still to be made. Its identity is the event's.
    pub(in crate::app) fn seal_beside(
        &self,
        plain: &[u8],
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> (EventId, Sealed) {
        let id = new_event_id(entropy, now);
        let item = Item { event: id.0, part: Part::Secret };
        (id, self.keys().seal(&item, plain, &Zeroizing::new(entropy.take::<32>())))
    }

    /// What is sealed as the secret beside the event at a position.
    pub(in crate::app) async fn open_beside(
        &self,
        position: Position,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let stored = self.log.read_at(&[position]).await?;
        let gone = || Failure::Sealed(SealError::DoesNotOpen);
        let stored = stored.into_iter().next().ok_or_else(gone)?;
        let sealed = stored.side.secret.as_ref().ok_or_else(gone)?;
        let record = Record::decode(&stored.leaf)
            .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
        Ok(self.keys().open_sealed(&Item { event: record.id.0, part: Part::Secret }, sealed)?)
    }

    /// The description that is sealed in the details beside the event at a position.
    pub(super) async fn description_at(&self, position: Position) -> Result<Option<String>, Failure> {
        let stored = self.log.read_at(&[position]).await?;
        let Some(stored) = stored.into_iter().next() else { return Ok(None) };
        let record = Record::decode(&stored.leaf)
            .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
        let profile = self.details(&record, &stored).and_then(|details| details.profile);
        let text = profile.as_ref().and_then(|profile| profile.get("description")).and_then(Value::as_str);
        Ok(text.map(str::to_owned))
    }

    /// Records a change.
    pub(super) async fn record(
        &self,
        caller: &Caller,
        change: Change,
        held: Option<std::sync::Arc<InProgress>>,
    ) -> Result<Outcome, Failure> {
        let Change { workspace, expected, events, claim, now } = change;
        let place = self.place()?;
        let keys = self.keys();
        let mut entropy = self.entropy()?;
        let mut shred: Vec<PartRef> = Vec::new();
        let mut encoded = Vec::with_capacity(events.len());
        for (index, Planned { stream, event, beside }) in events.into_iter().enumerate() {
            let id = beside.id.unwrap_or_else(|| new_event_id(&mut entropy, now));
            let own = Details { profile: None, ..caller.details() };
            let details = beside.details.map_or(own.clone(), |details| Details {
                client_address: own.client_address,
                user_agent: own.user_agent,
                ..details
            });
            let sealed_details = if details.is_empty() {
                None
            } else {
                let plain = serde_json::to_vec(&details).map_err(|e| Failure::NotRecordable(e.into()))?;
                let item = Item { event: id.0, part: Part::Details };
                Some(keys.seal(&item, &plain, &Zeroizing::new(entropy.take::<32>())))
            };
            let sealed = SealedHashes {
                answer: None,
                details: sealed_details.as_ref().map(|sealed| Hash(sealed.sha256())),
            };
            let context = caller.context(workspace);
            shred.extend_from_slice(event.shredded());
            let body = encode_body(id, stream, &context, claim.filter(|_| index == 0), sealed, &event)?;
            let side =
                Side { digest: beside.digest, secret: beside.secret, answer: None, details: sealed_details };
            encoded.push(NewEvent { id, stream, context, event, body, side });
        }
        let append = Append { expected, claim, events: encoded, shred, decided_at: now };
        let held = held.map(|held| Box::new(held) as Box<dyn Send + Sync>);
        match place.append(append, held).await? {
            Verdict::Recorded(recording) => {
                self.managed.wake.notify_waiters();
                Ok(Outcome::Recorded(recording))
            }
            Verdict::AlreadyRecorded(position) => Ok(Outcome::Before(position)),
            Verdict::Stale => Ok(Outcome::Stale),
            Verdict::KeyReused => Err(Failure::KeyReused),
            Verdict::Captured => Err(Failure::Captured),
        }
    }

    /// The event by which somebody holds other names in a space, and what it rests on; no event where they are held
    /// already.
    pub(super) fn hold(
        &self,
        space: SpaceId,
        workspace: WorkspaceId,
        owner: Uuid,
        names: BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Names, Failure> {
        let stream = StreamId::name_space(space);
        let tip = self.tip.tip.read();
        let live = tip.live.names(space);
        let none = NameSpace::default();
        let state = live.map_or(&none, |live| &live.state);
        let event = state.decide(HoldNames { workspace, owner, names, now })?;
        let expected = (stream, live.map(|live| live.sequence));
        Ok((event.map(|event| Planned::new(stream, event)), expected))
    }

    /// A connection of a workspace that the caller may see.
    pub(super) fn live_connection(&self, id: ConnectionId) -> Result<LiveConnection, Failure> {
        self.tip.tip.read().live.connection(id).cloned().ok_or(Failure::NotFound("connection"))
    }

    /// A rotation, whatever its stage.
    pub(super) fn any_rotation(&self, id: RotationId) -> Result<LiveRotation, Failure> {
        let tip = self.tip.tip.read();
        tip.live.managed_rotation(id).cloned().ok_or(Failure::NotFound("rotation"))
    }

    /// A rotation that people see.
    pub(super) fn live_rotation(&self, id: RotationId) -> Result<LiveRotation, Failure> {
        let live = self.any_rotation(id)?;
        if live.state.exists() { Ok(live) } else { Err(Failure::NotFound("rotation")) }
    }

    /// The credentials of a connection.
    pub(super) async fn open_connection(
        &self,
        live: &LiveConnection,
    ) -> Result<rota_targets::Connection, Failure> {
        let position = live.sealed.ok_or(Failure::NotFound("connection"))?;
        let bytes = self.open_beside(position).await?;
        rota_targets::Connection::from_sealed(&bytes).map_err(|_| Failure::Sealed(SealError::UnknownFormat))
    }

    /// The parameters of a rotation.
    pub(super) async fn open_parameters(&self, live: &LiveRotation) -> Result<Parameters, Failure> {
        let unreadable = || Failure::Sealed(SealError::UnknownFormat);
        let position = live.sealed.parameters.ok_or(Failure::NotFound("rotation"))?;
        let bytes = self.open_beside(position).await?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
        let kind: Kind = live.state.kind.parse().map_err(|_| unreadable())?;
        Parameters::from_value(kind, &value).map_err(|_| unreadable())
    }

    /// What an attempt is to do.
    pub(super) async fn intent(&self, live: &LiveRotation) -> Result<SealedIntent, Failure> {
        let position = live.sealed.intent.ok_or(RotationRefusal::Overtaken)?;
        SealedIntent::of(&self.open_beside(position).await?)
    }

    /// The credential that is sealed beside the event at a position.
    pub(super) async fn credential_at(&self, position: Option<Position>) -> Result<Credential, Failure> {
        let position = position.ok_or(RotationRefusal::Overtaken)?;
        credential_of(&self.open_beside(position).await?)
    }

    /// The credential that is published, if one is.
    pub(super) async fn active_credential(&self, live: &LiveRotation) -> Result<Option<Credential>, Failure> {
        match live.sealed.slots[usize::from(live.state.active % 2)] {
            Some(position) if live.state.version > 0 => Ok(Some(self.credential_at(Some(position)).await?)),
            _ => Ok(None),
        }
    }

    /// What rota made and ends before the next one is set, where the target has room for so many alone.
    pub(super) async fn vacated_credential(
        &self,
        live: &LiveRotation,
    ) -> Result<Option<Credential>, Failure> {
        let slot = usize::from(live.state.next_slot() % 2);
        let there = live.state.slots[slot].is_some_and(|held| !held.ended);
        match live.sealed.slots[slot].filter(|_| there && live.state.model == Model::Keys) {
            Some(position) => Ok(Some(self.credential_at(Some(position)).await?)),
            None => Ok(None),
        }
    }

    /// The credentials in both places: what must not be taken for something that nobody knows.
    pub(super) async fn kept_credentials(&self, live: &LiveRotation) -> Result<Vec<Credential>, Failure> {
        let mut kept = Vec::new();
        for position in live.sealed.slots.into_iter().chain([live.sealed.former]).flatten() {
            kept.push(copy(&self.credential_at(Some(position)).await?));
        }
        Ok(kept)
    }

    /// The system of a rotation, and the host that it is on.
    pub(super) async fn open_target(
        &self,
        live: &LiveRotation,
    ) -> Result<(Box<dyn Target>, String), Opening> {
        let connection = self.live_connection(live.state.connection)?;
        let credentials = self.open_connection(&connection).await?;
        let parameters = self.open_parameters(live).await?;
        let host = ["host", "url", "domain", "instanceUrl", "workspaceUrl"];
        let host = host.into_iter().find_map(|name| credentials.text(name));
        let host = format!("{} {}", connection.state.app, host.unwrap_or_default());
        let target = self.managed.targets.open(parameters.kind(), &credentials, &parameters)?;
        Ok((target, host))
    }

    /// The claim of a named request and, if it was carried out before, where.
    pub(super) fn claim(
        &self,
        idempotency: Option<&Idempotency>,
        workspace: WorkspaceId,
    ) -> Result<Claimed, Failure> {
        let Some(idempotency) = idempotency else { return Ok(Claimed::default()) };
        let claim = idempotency.claim(self, workspace);
        let held = InProgress::begin(self, &claim)?;
        let before = self.claimed(&claim)?;
        Ok(Claimed { claim: Some(claim), held: Some(held), before })
    }
}

/// A named request.
#[derive(Default)]
pub(super) struct Claimed {
    pub claim: Option<Claim>,
    pub held: Option<std::sync::Arc<InProgress>>,
    /// Where it was recorded before.
    pub before: Option<Position>,
}

/// Why a target could not be opened.
pub(super) enum Opening {
    /// The ledger, or what is sealed in it.
    Ours(Failure),
    /// The connection or the parameters do not do.
    Theirs(rota_targets::Failure),
}

impl From<Failure> for Opening {
    fn from(failure: Failure) -> Self {
        Self::Ours(failure)
    }
}

impl From<rota_targets::Failure> for Opening {
    fn from(failure: rota_targets::Failure) -> Self {
        Self::Theirs(failure)
    }
}

/// The keyed digest of what is sealed, by which a change of it is seen.
pub(super) fn digest_of(app: &App, id: Uuid, plain: &[u8]) -> Result<[u8; 32], Failure> {
    let text = std::str::from_utf8(plain).map_err(|_| Failure::Sealed(SealError::UnknownFormat))?;
    Ok(app.keys().digest(id, text))
}

/// SHA-256 of a digest, as events have it.
pub(super) fn hash(digest: &[u8; 32]) -> Hash {
    sha256(digest)
}
