//! What every change has in common: look, decide, append; and decide again if the log has moved on.

use std::sync::Arc;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use rota_aggregates::credential::{
    Credential, CredentialCommand, CredentialEvent, CredentialRefusal, Kind, SecretRef,
};
use rota_aggregates::ids::Hash;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::record::{Claim, SealedHashes, encode_body};
use rota_aggregates::secret::{RANDOM_BYTES, Secret, SecretShape, generate_secret};
use rota_aggregates::workspace::Policy;
use rota_aggregates::{CredentialId, Event, Sequence, StreamId, Timestamp, WorkspaceId};
use rota_projections::Details;
use rota_projections::live::LiveCredential;
use zeroize::Zeroizing;

use super::caller::{Authenticated, Caller, Principal, Shown};
use super::entropy::Entropy;
use super::idempotency::{Idempotency, InProgress};
use super::sessions::still_alive;
use super::{App, Failure, new_event_id};
use crate::log::committer::{Place, Recording, Verdict};
use crate::log::{Append, NewEvent, Side};
use crate::sealing::{Item, KeyRing, Part};

/// A decision that others keep overtaking is given up after so many attempts.
pub(super) const ATTEMPTS_MAX: usize = 16;

/// What a change answers: bytes that its way in rendered, now or the first time.
#[derive(Debug)]
pub struct Answer {
    /// The rendered answer.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The position of the change's last event, or of the first answer's.
    pub position: rota_aggregates::Position,
    /// Whether this is the first answer, given again.
    pub replayed: bool,
    /// Whether the secret in it has been replaced since.
    pub superseded: bool,
}

/// The last sequences of the streams that a decision rests on.
pub(super) type Expected = Vec<(StreamId, Option<Sequence>)>;

/// A credential at the moment of a decision, with everything that the decision rests on.
pub(super) struct Subject {
    pub live: LiveCredential,
    pub policy: Policy,
    pub sealed: rota_aggregates::credential::SealedParts,
    pub now: Timestamp,
    /// The streams that must not have moved.
    pub expected: Expected,
    /// The caller, with what is known of its proof now.
    pub caller: Caller,
    /// Held until the command is recorded: see [`super::rewrap`].
    pub _ring: Arc<KeyRing>,
}

/// A secret that is about to be recorded.
pub(super) struct Fresh {
    pub secret: Secret,
    pub reference: SecretRef,
    pub digest: [u8; 32],
    pub sealed: Option<crate::sealing::Sealed>,
    /// The id of the event that brings it.
    pub event: rota_aggregates::EventId,
}

/// What goes along with the events of one command.
#[derive(Default)]
pub(super) struct Along<'a> {
    pub claim: Option<Claim>,
    pub details: Details,
    pub fresh: Option<&'a Fresh>,
    /// Answer and the key that it is sealed for.
    pub answer: Option<(&'a Idempotency, &'a [u8])>,
}

/// Lets a credential decide.
pub(super) async fn decide(
    mut state: Credential,
    command: CredentialCommand,
) -> Result<Vec<CredentialEvent>, CredentialRefusal> {
    let sink = EventSink::default();
    state.handle(command, &(), &sink).await?;
    Ok(sink.collect().await)
}

/// The shape of a kind's secrets.
pub(super) fn shape(kind: Kind, mode: Option<rota_aggregates::secret::Mode>) -> SecretShape {
    match kind {
        Kind::Client => SecretShape::Client,
        Kind::Exchange => SecretShape::Exchange,
        Kind::Signing => SecretShape::Signing,
        Kind::WorkspaceKey => SecretShape::WorkspaceKey(mode.unwrap_or(rota_aggregates::secret::Mode::Prod)),
        Kind::Webhook => SecretShape::Webhook,
    }
}

impl App {
    /// Looks at a credential for a decision. The caller's own proof is looked at again: what was valid when the
    /// request came may be dead by now.
    pub(super) fn subject(&self, caller: &Caller, id: CredentialId) -> Result<Subject, Failure> {
        self.check_unspent(caller)?;
        let now = self.now();
        let ring = self.keys();
        let mut caller = caller.clone();
        let tip = self.tip.tip.read();
        let live = tip.live.credential(id).ok_or(Failure::NotFound("credential"))?;
        let workspace = live.state.workspace;
        let mut expected = vec![(StreamId::credential(id), Some(live.sequence))];
        if let Principal::Credential(who) = &mut caller.principal {
            if who.workspace != workspace {
                return Err(Failure::NotFound("credential"));
            }
            expected.extend(standing(&tip.live, who, now)?);
        }
        let (state, sequence) = tip.live.workspace(workspace).ok_or(Failure::NotFound("workspace"))?;
        expected.push((StreamId::workspace(workspace), Some(sequence)));
        let mut sealed = tip.live.sealed_secrets(id);
        sealed.answers = tip.replays.answers_of(id);
        Ok(Subject { live, policy: state.policy, sealed, now, expected, caller, _ring: ring })
    }

    /// As [`App::subject`] for a workspace in which something new is made.
    pub(super) fn ground(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
    ) -> Result<(Caller, Expected, Timestamp), Failure> {
        self.check_unspent(caller)?;
        let now = self.now();
        let mut caller = caller.clone();
        let tip = self.tip.tip.read();
        let mut expected = Vec::with_capacity(2);
        if let Principal::Credential(who) = &mut caller.principal {
            expected.extend(standing(&tip.live, who, now)?);
            who.check_current()?;
        }
        let (_, sequence) = tip.live.workspace(workspace).ok_or(Failure::NotFound("workspace"))?;
        expected.push((StreamId::workspace(workspace), Some(sequence)));
        Ok((caller, expected, now))
    }

    /// Makes a further secret for a known public identifier.
    pub(super) fn fresh_secret(
        &self,
        live: &LiveCredential,
        version: u32,
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> Fresh {
        let random = Zeroizing::new(entropy.take::<RANDOM_BYTES>());
        let secret = generate_secret(shape(live.state.kind, live.mode), &live.public_id.text(), &random);
        self.fresh(live.state.id, live.state.kind, version, secret, now, entropy)
    }

    /// What is kept of a secret: its digest, and the secret itself where it must be recoverable.
    pub(super) fn fresh(
        &self,
        credential: CredentialId,
        kind: Kind,
        version: u32,
        secret: Secret,
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> Fresh {
        let keys = self.keys();
        let event = new_event_id(entropy, now);
        let digest = keys.digest(credential.0, secret.expose());
        let sealed = kind.recoverable().then(|| {
            let item = Item { event: event.0, part: Part::Secret };
            keys.seal(&item, secret.expose().as_bytes(), &Zeroizing::new(entropy.take::<32>()))
        });
        let reference = SecretRef {
            version,
            hint: secret.hint(),
            digest: sha256(&digest),
            sealed: sealed.as_ref().map(|s| Hash(s.sha256())),
        };
        Fresh { secret, reference, digest, sealed, event }
    }

    /// Encodes events with all that is sealed beside them. Claim and answer go with the first, what is personal
    /// with the last.
    pub(super) fn encode(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        events: Vec<(StreamId, Event)>,
        along: &Along<'_>,
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> Result<Vec<NewEvent>, Failure> {
        let keys = self.keys();
        let last = events.len().saturating_sub(1);
        let mut encoded = Vec::with_capacity(events.len());
        for (index, (stream, event)) in events.into_iter().enumerate() {
            let fresh = along
                .fresh
                .filter(|_| matches!(&event, Event::Credential(event) if event.secret().is_some()));
            let id = fresh.map_or_else(|| new_event_id(entropy, now), |fresh| fresh.event);
            let mut side = Side {
                digest: fresh.map(|f| f.digest),
                secret: fresh.and_then(|f| f.sealed.clone()),
                ..Side::default()
            };
            if let Some((idempotency, answer)) = along.answer.filter(|_| index == 0) {
                let item = Item { event: id.0, part: Part::Answer };
                let random = Zeroizing::new(entropy.take::<32>());
                side.answer = Some(keys.seal_answer(&item, idempotency.key(), answer, &random));
            }
            if index == last && !along.details.is_empty() {
                let plain =
                    serde_json::to_vec(&along.details).map_err(|e| Failure::NotRecordable(e.into()))?;
                let item = Item { event: id.0, part: Part::Details };
                side.details = Some(keys.seal(&item, &plain, &Zeroizing::new(entropy.take::<32>())));
            }
            let sealed = SealedHashes {
                answer: side.answer.as_ref().map(|s| Hash(s.sha256())),
                details: side.details.as_ref().map(|s| Hash(s.sha256())),
            };
            let context = caller.context(workspace);
            let claim = along.claim.filter(|_| index == 0);
            let body = encode_body(id, stream, &context, claim, sealed, &event)?;
            encoded.push(NewEvent { id, stream, context, event, body, side });
        }
        Ok(encoded)
    }

    /// Hands a decided command to the committer. `None`: it is stale, decide again.
    pub(super) async fn commit(
        &self,
        place: Place<'_>,
        append: Append,
        held: Option<Arc<InProgress>>,
    ) -> Result<Option<Recording>, Committed> {
        let held = held.map(|h| Box::new(h) as Box<dyn Send + Sync>);
        let secrets = append.shred.iter().filter(|part| part.part == SealedPart::Secret);
        let secrets: Vec<_> = secrets.map(|part| part.position).collect();
        match place.append(append, held).await {
            Ok(Verdict::Recorded(recording)) => {
                self.signing_keys.remove(secrets.into_iter());
                Ok(Some(recording))
            }
            Ok(Verdict::Stale) => Ok(None),
            Ok(Verdict::AlreadyRecorded(position)) => Err(Committed::Before(position)),
            Ok(Verdict::KeyReused) => Err(Committed::Failed(Failure::KeyReused)),
            Ok(Verdict::Captured) => Err(Committed::Failed(Failure::Captured)),
            Err(error) => Err(Committed::Failed(error.into())),
        }
    }

    /// What a command that renders an answer gives, now or as it did the first time. `None`: it is stale, decide again.
    pub(super) async fn answer(
        &self,
        committed: Result<Option<Recording>, Committed>,
        idempotency: Option<&Idempotency>,
        bytes: Zeroizing<Vec<u8>>,
    ) -> Result<Option<Answer>, Failure> {
        match (committed, idempotency) {
            (Ok(recording), _) => Ok(recording.map(|recording| Answer {
                bytes,
                position: recording.last,
                replayed: false,
                superseded: false,
            })),
            (Err(Committed::Failed(failure)), _) => Err(failure),
            (Err(Committed::Before(position)), Some(idempotency)) => {
                self.replay(idempotency, position).await.map(Some)
            }
            (Err(Committed::Before(_)), None) => Err(Failure::OutcomeUnknown),
        }
    }

    /// A place in the committer's queue.
    pub(super) fn place(&self) -> Result<Place<'_>, Failure> {
        self.may_answer()?;
        Ok(self.committer.reserve()?)
    }
}

/// A command that was not recorded now.
pub(super) enum Committed {
    /// It was recorded before, by the event at this position.
    Before(rota_aggregates::Position),
    /// It was not recorded.
    Failed(Failure),
}

/// Looks at a proof again: the version must still live. Gives the streams that must not move until the append.
fn standing(
    live: &rota_projections::live::Live,
    who: &mut Authenticated,
    now: Timestamp,
) -> Result<Expected, Failure> {
    let own = still_alive(live, who, now).ok_or(Failure::Unauthenticated)?;
    who.refresh(&own, now);
    let mut streams = vec![(StreamId::credential(who.credential), Some(own.sequence))];
    if matches!(who.shown, Shown::Session(session) if session.login.is_some()) {
        let ends = StreamId::sessions(who.credential);
        streams.push((ends, live.sequence(&ends)));
    }
    Ok(streams)
}

pub(super) fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = [0u8; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    Hash(hash)
}

/// The sealed parts that events say they destroy.
pub(super) fn shredded(events: &[CredentialEvent]) -> Vec<PartRef> {
    events.iter().flat_map(CredentialEvent::shredded).copied().collect()
}

impl Fresh {
    /// The secret for rendering the answer.
    pub(super) fn secret_copy(&self) -> Secret {
        Secret::new(self.secret.expose().to_owned())
    }
}
