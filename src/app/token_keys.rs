//! The keys that sign session tokens: made at the first start, replaced on time or on the operator's word.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use rota_aggregates::ids::{Hash, PublicKey};
use rota_aggregates::record::{SealedHashes, encode_body};
use rota_aggregates::token_keys::{
    MakeTokenKey, TokenKey, TokenKeyCause, TokenKeys, TokenKeysCommand, TokenKeysEvent, TokenKeysRefusal,
};
use rota_aggregates::{Event, EventId, Position, Sequence, StreamId, Timestamp, TokenKeyId, WorkspaceId};
use zeroize::Zeroizing;

use super::change::{ATTEMPTS_MAX, Committed};
use super::{App, Caller, Failure, new_event_id};
use crate::log::{Append, NewEvent, Side};
use crate::sealing::{Item, Part, SealError, Sealed};
use crate::tokens::SigningKey;

/// The keys as they are at an instant.
struct Ground {
    state: TokenKeys,
    private: Vec<(TokenKeyId, Position)>,
    sequence: Option<Sequence>,
    now: Timestamp,
}

/// Lets the token keys decide.
async fn decide(
    mut state: TokenKeys,
    command: TokenKeysCommand,
) -> Result<Vec<TokenKeysEvent>, TokenKeysRefusal> {
    let sink = EventSink::default();
    state.handle(command, &(), &sink).await?;
    Ok(sink.collect().await)
}

impl App {
    /// The public parts of the keys whose signatures count now, for whoever checks tokens.
    pub fn published_keys(&self) -> Vec<TokenKey> {
        let now = self.now();
        self.tip.tip.read().live.token_keys().verifying_at(now).copied().collect()
    }

    /// Replaces the key that signs tokens: after it has been published for a while, or at once and with the end of
    /// every token so far if somebody else may have it.
    pub async fn replace_token_key(
        &self,
        caller: &Caller,
        compromised: bool,
    ) -> Result<Option<Position>, Failure> {
        caller.operator_only()?;
        let cause = if compromised { TokenKeyCause::Compromised } else { TokenKeyCause::Call };
        self.make_token_key(caller, cause).await
    }

    /// Makes the first key, unless there is one.
    pub(super) async fn first_token_key(&self) -> Result<(), Failure> {
        if self.tip.tip.read().live.token_keys().keys.is_empty() {
            let caller = Caller::scheduler(self.new_request_id()?);
            self.make_token_key(&caller, TokenKeyCause::First).await?;
        }
        Ok(())
    }

    /// Does what is due for the keys: replaces one that has signed long enough, destroys what signs no more.
    pub(super) async fn keep_token_keys(&self) -> Result<(), Failure> {
        let now = self.now();
        let (replace, retire) = {
            let tip = self.tip.tip.read();
            let due = self.token_key_ends(tip.live.token_keys()).is_some_and(|at| at <= now);
            (due, tip.live.token_key_due().filter(|(at, _)| *at <= now))
        };
        if replace {
            let caller = Caller::scheduler(self.new_request_id()?);
            self.make_token_key(&caller, TokenKeyCause::Schedule).await?;
        }
        if let Some((_, key)) = retire {
            let caller = Caller::scheduler(self.new_request_id()?);
            self.retire_token_key(&caller, key).await?;
        }
        Ok(())
    }

    /// When something falls due for the keys.
    pub(super) fn token_keys_due(&self, live: &rota_projections::live::Live) -> Option<Timestamp> {
        let ends = self.token_key_ends(live.token_keys());
        [ends, live.token_key_due().map(|(at, _)| at)].into_iter().flatten().min()
    }

    /// When the newest key has signed long enough.
    fn token_key_ends(&self, keys: &TokenKeys) -> Option<Timestamp> {
        let seconds = u64::from(self.sessions.options.key_days) * 86_400;
        keys.keys.last().map(|key| key.signs_from.plus_seconds(seconds))
    }

    fn token_ground(&self) -> Ground {
        let now = self.now();
        let tip = self.tip.tip.read();
        Ground {
            state: tip.live.token_keys().clone(),
            private: tip.live.token_private().collect(),
            sequence: tip.live.sequence(&StreamId::TOKEN_KEYS),
            now,
        }
    }

    async fn make_token_key(
        &self,
        caller: &Caller,
        cause: TokenKeyCause,
    ) -> Result<Option<Position>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            // Held until the command is recorded: see `rewrap`.
            let ring = self.keys();
            let Ground { state, private, sequence, now } = self.token_ground();
            let mut entropy = self.entropy()?;
            let event = new_event_id(&mut entropy, now);
            let seed = Zeroizing::new(entropy.take::<32>());
            let signer = SigningKey::new(TokenKeyId(entropy.id(now)), &*seed);
            let signer = signer.ok_or(Failure::Sealed(SealError::NoRandomness))?;
            let item = Item { event: event.0, part: Part::Secret };
            let sealed = ring.seal(&item, &*seed, &Zeroizing::new(entropy.take::<32>()));
            let make = MakeTokenKey {
                key: signer.id(),
                public: PublicKey(signer.public().0),
                sealed: Hash(sealed.sha256()),
                cause,
                token_seconds: self.sessions.options.token_seconds.into(),
                private,
                now,
            };
            let events = decide(state, TokenKeysCommand::Make(make)).await?;
            if events.is_empty() {
                return Ok(None);
            }
            if let Some(position) =
                self.append_token_keys(caller, sequence, events, Some((event, sealed)), now).await?
            {
                return Ok(Some(position));
            }
        }
        Err(Failure::Overloaded)
    }

    async fn retire_token_key(&self, caller: &Caller, key: TokenKeyId) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let Ground { state, private, sequence, now } = self.token_ground();
            let sealed = private.iter().find(|(id, _)| *id == key).map(|(_, position)| *position);
            let events = decide(state, TokenKeysCommand::Retire { key, sealed, now }).await?;
            if events.is_empty()
                || self.append_token_keys(caller, sequence, events, None, now).await?.is_some()
            {
                return Ok(());
            }
        }
        Err(Failure::Overloaded)
    }

    /// Records decided events; the private part goes with the first. `None`: stale, decide again.
    async fn append_token_keys(
        &self,
        caller: &Caller,
        sequence: Option<Sequence>,
        events: Vec<TokenKeysEvent>,
        mut made: Option<(EventId, Sealed)>,
        now: Timestamp,
    ) -> Result<Option<Position>, Failure> {
        let place = self.place()?;
        let mut entropy = self.entropy()?;
        let stream = StreamId::TOKEN_KEYS;
        let shred = events.iter().flat_map(TokenKeysEvent::shredded).copied().collect();
        let mut encoded = Vec::with_capacity(events.len());
        for event in events {
            let (id, secret) = match made.take() {
                Some((id, sealed)) => (id, Some(sealed)),
                None => (new_event_id(&mut entropy, now), None),
            };
            let context = caller.context(WorkspaceId::default());
            let event = Event::from(event);
            let body = encode_body(id, stream, &context, None, SealedHashes::default(), &event)?;
            encoded.push(NewEvent {
                id,
                stream,
                context,
                event,
                body,
                side: Side { secret, ..Side::default() },
            });
        }
        let expected = vec![(stream, sequence)];
        let append = Append { expected, claim: None, events: encoded, shred, decided_at: now };
        match self.commit(place, append, None).await {
            Ok(recording) => Ok(recording.map(|r| r.last)),
            Err(Committed::Failed(failure)) => Err(failure),
            Err(Committed::Before(position)) => Ok(Some(position)),
        }
    }
}
