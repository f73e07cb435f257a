//! Who signed a request? Answered from memory, in the same time for every wrong answer.

use std::sync::Arc;

use rota_aggregates::authority::SignedRequest;
use rota_aggregates::ids::Hash;
use rota_aggregates::record::Record;
use rota_aggregates::{CredentialId, Position, WorkspaceId};
use rota_projections::live::{Signers, Standing};
use rota_projections::public_id::PublicId;
use rota_projections::replay_index::SIGNED_SECONDS;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::caller::{Authenticated, Caller, Principal, Shown};
use super::idempotency::Idempotency;
use super::signing_keys::Opened;
use super::verify::{Matched, Verified};
use super::{Answer, App, Failure};
use crate::log::LogError;
use crate::sealing::{Item, Part, SealError};
use crate::signing::{self, Message, Refused, Signed};

/// What a signature opens.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// What its credential may do.
    Whole(Verified),
    /// The answer to the rotation that replaced its secret, and nothing else.
    ReplayOnly(Authenticated),
}

impl App {
    /// Who signed this request: a credential whose secret is valid now. Whatever is wrong with the signature, its
    /// time or its key, the failure is [`Failure::Unauthenticated`]. A request that does not say one thing is
    /// [`Failure::Invalid`].
    pub async fn authenticate_signature(
        &self,
        anonymous: &Caller,
        message: &Message<'_>,
    ) -> Result<Verified, Failure> {
        match self.enter_by_signature(anonymous, message).await? {
            Entry::Whole(verified) => Ok(verified),
            Entry::ReplayOnly(_) => Err(Failure::Unauthenticated),
        }
    }

    /// As [`App::authenticate_signature`], and also for whom no more than a lost answer is left.
    pub async fn enter_by_signature(
        &self,
        anonymous: &Caller,
        message: &Message<'_>,
    ) -> Result<Entry, Failure> {
        self.enter_by_signature_of(anonymous, message, |_| true).await
    }

    /// As [`App::enter_by_signature`], for those keys alone that `admits`: another is as wrong as an unknown one.
    pub(super) async fn enter_by_signature_of(
        &self,
        anonymous: &Caller,
        message: &Message<'_>,
        admits: impl Fn(&str) -> bool,
    ) -> Result<Entry, Failure> {
        self.may_answer()?;
        let signed = match signing::read(message) {
            Ok(Some(signed)) => signed,
            Ok(None) | Err(Refused::Malformed) => return Err(Failure::Unauthenticated),
            Err(Refused::Query(reason)) => return Err(Failure::invalid("query", reason)),
        };
        self.current().await?;
        // A second look is needed only if somebody else committed the prepared version at the same time.
        for _ in 0..2 {
            let now = self.now();
            let in_time = signed.at.plus_seconds(SIGNED_SECONDS) >= now
                && now.plus_seconds(SIGNED_SECONDS) >= signed.at
                && signed.expires_at.is_none_or(|end| now < end);
            let found = PublicId::parse(&signed.key).filter(|_| admits(&signed.key));
            let found = found.and_then(|id| self.tip.tip.read().live.signers(&id, now));
            let Some((signers, version, standing, payload)) = self.signer(&signed, found).await? else {
                return Err(Failure::Unauthenticated);
            };
            if !in_time {
                return Err(Failure::Unauthenticated);
            }
            let live = self.tip.tip.read().live.at(signers.slot);
            // What being let in leads to is no change that the request asked for.
            let shown = Shown::Signature(None);
            let request = Shown::Signature(Some(SignedRequest { at: signed.at, payload }));
            let matched = Matched { live, slot: signers.slot, version, standing, shown };
            if standing == Standing::ReplayOnly {
                return Ok(Entry::ReplayOnly(Authenticated { shown: request, ..matched.who() }));
            }
            if let Some(mut verified) = self.admit(anonymous, &matched, now).await? {
                verified.who.shown = request;
                return Ok(Entry::Whole(verified));
            }
        }
        Err(Failure::Unauthenticated)
    }

    /// The newest version that made a signature, with what it signed. As many secrets are tried whoever's key it is.
    async fn signer(
        &self,
        signed: &Signed,
        found: Option<Signers>,
    ) -> Result<Option<(Signers, u32, Standing, Hash)>, Failure> {
        let none: Opened = Arc::new(Zeroizing::new(vec![0; 57]));
        let mut matched = None;
        for place in 0..4 {
            let version = found.and_then(|signers| Some((signers, signers.versions[place]?)));
            let secret = match version {
                Some((signers, (position, ..))) => self.opened_secret(signers.credential, position).await?,
                None => None,
            };
            let known = secret.is_some();
            let by = signed.is_by(secret.as_ref().unwrap_or(&none));
            if let (Some(payload), Some((signers, (_, version, standing)))) = (by.filter(|_| known), version)
            {
                let payload = Hash(self.keys().signed(signers.credential.0, payload));
                matched = matched.or(Some((signers, version, standing, payload)));
            }
        }
        Ok(matched)
    }

    /// The signing secret that the event at `position` brought; `None` if it was destroyed.
    async fn opened_secret(
        &self,
        credential: CredentialId,
        position: Position,
    ) -> Result<Option<Opened>, Failure> {
        if let Some(secret) = self.signing_keys.get(position) {
            return Ok(Some(secret));
        }
        // A rewrapping may come between reading and opening: then it is read again.
        for last in [false, true] {
            let stored = self.log.read_at(&[position]).await?;
            let Some(stored) = stored.first() else { return Ok(None) };
            let Some(sealed) = &stored.side.secret else { return Ok(None) };
            let record =
                Record::decode(&stored.leaf).map_err(|source| LogError::BadLeaf { position, source })?;
            let item = Item { event: record.id.0, part: Part::Secret };
            match self.keys().open_sealed(&item, sealed) {
                Ok(secret) => {
                    let secret: Opened = Arc::new(secret);
                    self.signing_keys.insert(credential, position, Arc::clone(&secret));
                    if !self.tip.tip.read().live.is_sealed(credential, position) {
                        self.signing_keys.remove(std::iter::once(position));
                    }
                    return Ok(Some(secret));
                }
                Err(SealError::OtherMasterKey { .. }) if !last => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Lets go of opened signing secrets that were destroyed, by whomever.
    pub(super) fn sweep_signing_keys(&self) {
        let tip = self.tip.tip.read();
        self.signing_keys.retain(|credential, position| tip.live.is_sealed(credential, position));
    }

    /// Refuses a signed request that was used before for what is given out once. What it was used for by this process
    /// without changing anything is remembered in memory; what it changed is in the ledger.
    pub fn use_once(&self, caller: &Caller) -> Result<(), Failure> {
        let Some((by, request)) = caller.proof().once() else { return Ok(()) };
        let now = self.now();
        self.check_unspent(caller)?;
        let mut used = self.used_once.lock();
        while used.first().is_some_and(|(at, ..)| at.plus_seconds(SIGNED_SECONDS) < now) {
            used.pop_first();
        }
        if used.insert((request.at, by, request.payload.0)) { Ok(()) } else { Err(Failure::Captured) }
    }

    /// Refuses a signed request that has made a change.
    pub(super) fn check_unspent(&self, caller: &Caller) -> Result<(), Failure> {
        let Some((by, request)) = caller.proof().once() else { return Ok(()) };
        let now = self.now();
        let spent = self.tip.tip.read().replays.is_spent(by, &request, now);
        if spent { Err(Failure::Captured) } else { Ok(()) }
    }

    /// The answer to the rotation that replaced the caller's secret, asked for again with the same key by whoever
    /// asked for it: all that is left to that secret.
    pub async fn fetch_lost_answer(
        &self,
        caller: &Caller,
        who: &Authenticated,
        idempotency: &Idempotency,
    ) -> Result<Answer, Failure> {
        let caller = Caller { principal: Principal::Credential(*who), ..caller.clone() };
        let claim = idempotency.claim(self, who.workspace);
        let position = self.claimed(&claim).ok().flatten().ok_or(Failure::Unauthenticated)?;
        if !self.may_fetch(who.credential, who.version, position).await? {
            return Err(Failure::Unauthenticated);
        }
        self.use_once(&caller)?;
        self.replay(idempotency, position).await
    }

    /// Whether the rotation whose claim is at `position` replaced this version, which may fetch its answer still.
    pub(super) async fn may_fetch(
        &self,
        credential: CredentialId,
        version: u32,
        position: Position,
    ) -> Result<bool, Failure> {
        let now = self.now();
        let live = self.tip.tip.read().live.credential(credential);
        if live.and_then(|c| c.state.replay_only_at(now)).is_none_or(|kept| kept.version != version) {
            return Ok(false);
        }
        // The version is kept for its last replacement alone, and that is the event with the claim or the next one.
        let events = self.log.read_at(&[position, Position(position.0 + 1)]).await?;
        for stored in &events {
            let record = Record::decode(&stored.leaf)
                .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
            if record.stream.id != credential.0 {
                break;
            }
            if let rota_aggregates::Event::Credential(event) = &record.event
                && let Some(replaced) = event.replaced()
            {
                return Ok(replaced.version == version && replaced.replay_until.is_some());
            }
        }
        Ok(false)
    }

    /// An integrator by its public identifier, if the caller may know of it.
    pub fn find_integrator(&self, caller: &Caller, public_id: &str) -> Result<CredentialId, Failure> {
        let home = PublicId::parse(public_id).and_then(|id| self.tip.tip.read().live.by_public_id(&id));
        let home = home.map_or(WorkspaceId(Uuid::nil()), |live| live.state.workspace);
        let workspace = caller.workspace().unwrap_or(home);
        self.find_living(workspace, rota_aggregates::credential::Kind::Signing, public_id)
    }
}
