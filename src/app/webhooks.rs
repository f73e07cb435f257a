//! Webhooks: making, changing and ending them, and what became of their deliveries.
//!
//! Making one resolves no name; delivering does. The address is sealed beside the event that brings it, since
//! people put tokens into addresses.

use std::collections::BTreeSet;

use rota_aggregates::authority::Role;
use rota_aggregates::credential::{CredentialCommand, CredentialRefusal, Kind, RevokeCredential};
use rota_aggregates::record::Record;
use rota_aggregates::secret::Secret;
use rota_aggregates::webhook::{
    DisableCause, Scheme, Settings, Webhook, WebhookCommand, WebhookEvent, WebhookRefusal,
};
use rota_aggregates::{CredentialId, Event, Position, StreamId, WebhookId, WorkspaceId};
use rota_projections::Details;
use rota_projections::live::LiveWebhook;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::change::{ATTEMPTS_MAX, Along, Committed, decide, shredded};
use super::idempotency::Idempotency;
use super::issue::{Beside, Issue};
use super::rotate::{Made, Rotate};
use super::{Answer, App, Caller, Failure};
use crate::log::{Append, LogError};
use crate::notices::notice::Notice;
use crate::notices::store::{Delivery, Health, NewDelivery, State};
use crate::sealing::{Item, Part};

/// A workspace has at most so many.
pub const WEBHOOKS_MAX: usize = 100;
/// A description has at most so many characters.
pub const DESCRIPTION_CHARS_MAX: usize = 500;

/// Where a webhook is, in people's words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// The URL; `None` once erased.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

impl Address {
    fn of(profile: &Map<String, Value>) -> Self {
        let text = |name| profile.get(name).and_then(Value::as_str).map(str::to_owned);
        Self { url: text("url"), description: text("description") }
    }

    fn profile(&self) -> Map<String, Value> {
        let members = [("url", &self.url), ("description", &self.description)];
        let given = members.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
        given.map(|(name, text)| (name.to_owned(), Value::String(text))).collect()
    }
}

/// Make a webhook.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The credential that it is for: then it is told of that one alone, and its deliveries are signed with that
    /// one's webhook secret ([`Scheme::Body`]). Without an owner it has a secret of its own ([`Scheme::Standard`]).
    pub owner: Option<CredentialId>,
    /// Where it is.
    pub address: Address,
    /// What is told, and when.
    pub settings: Settings,
}

/// Change a webhook. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Where it is.
    pub url: Option<String>,
    /// What it is for; an empty text removes it.
    pub description: Option<String>,
    /// The types of notices that are sent.
    pub types: Option<Vec<String>>,
    /// How long before the end of a grace period a notice of it is sent.
    pub expiry_lead_seconds: Option<u64>,
    /// Whether anything is sent.
    pub enabled: Option<bool>,
}

/// A webhook as people see it.
#[derive(Clone, Debug)]
pub struct WebhookView {
    /// Its id.
    pub id: WebhookId,
    /// Its state.
    pub state: Webhook,
    /// Where it is.
    pub address: Address,
    /// How it does.
    pub health: Health,
}

/// Which deliveries.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryQuery {
    /// In this state.
    pub state: Option<State>,
    /// Below this number: older than what an earlier page ended with.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl App {
    /// Makes a webhook. `render` makes the answer's bytes; they have the secret, if it has one of its own, and are
    /// sealed with the event if the request is named.
    pub async fn register_webhook(
        &self,
        caller: &Caller,
        register: &Register,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&WebhookView, Option<&Made>) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        may_manage(caller, register.workspace, register.owner)?;
        self.check_address(&register.address)?;
        let count = self.tip.tip.read().live.webhooks_of(register.workspace).count();
        let profile = register.address.profile();
        let event = |webhook, now| -> Result<WebhookEvent, Failure> {
            // A retry is answered before anybody comes here.
            if count >= WEBHOOKS_MAX {
                return Err(Failure::TooMany { what: "webhooks in a workspace", most: WEBHOOKS_MAX });
            }
            let command = WebhookCommand::Register {
                webhook,
                workspace: register.workspace,
                owner: register.owner,
                scheme: if register.owner.is_some() { Scheme::Body } else { Scheme::Standard },
                settings: register.settings.clone(),
                now,
            };
            Webhook::default().decide(command)?.ok_or(Failure::Overloaded)
        };
        let view = |id, event: &WebhookEvent| {
            let mut state = Webhook::default();
            state.evolve(event);
            WebhookView { id, state, address: register.address.clone(), health: Health::default() }
        };
        if register.owner.is_some() {
            let (caller, mut expected, now) = self.ground(caller, register.workspace)?;
            let place = self.place()?;
            let _ring = self.keys();
            let mut entropy = self.entropy()?;
            let id = WebhookId(entropy.id(now));
            let event = event(id, now)?;
            let bytes = zeroize::Zeroizing::new(render(&view(id, &event), None)?);
            let stream = StreamId::webhook(id);
            expected.push((stream, None));
            let details = Details { profile: Some(profile), ..caller.details() };
            let along = Along { details, ..Along::default() };
            let events = vec![(stream, event.into())];
            let events = self.encode(&caller, register.workspace, events, &along, now, &mut entropy)?;
            let append = Append { expected, claim: None, events, shred: Vec::new(), decided_at: now };
            let committed = self.commit(place, append, None).await;
            return self.answer(committed, None, bytes).await?.ok_or(Failure::Overloaded);
        }
        let issue = Issue {
            workspace: register.workspace,
            kind: Kind::Webhook,
            name: "webhook".to_owned(),
            roles: [].into_iter().collect(),
            mode: None,
            parent: None,
            profile: Map::new(),
        };
        let render = |made: &Made| {
            let id = WebhookId(made.credential.0);
            render(&view(id, &event(id, made.at)?), Some(made))
        };
        let beside = |credential: CredentialId, now| {
            let id = WebhookId(credential.0);
            let (stream, event) = (StreamId::webhook(id), event(id, now)?.into());
            Ok(Some(Beside { stream, event, profile: profile.clone() }))
        };
        self.issue_beside(caller, &issue, None, idempotency, render, beside).await
    }

    /// Changes a webhook. The position of its last event; `None` if it was so already.
    pub async fn change_webhook(
        &self,
        caller: &Caller,
        id: WebhookId,
        edit: &Edit,
    ) -> Result<Option<Position>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let live = self.live_webhook(id)?;
            may_manage(caller, live.state.workspace, live.state.owner)?;
            let before = self.webhook_address(&live).await?;
            let mut address = before.clone();
            if let Some(url) = &edit.url {
                address.url = Some(url.clone());
            }
            if let Some(description) = &edit.description {
                address.description = Some(description.clone()).filter(|text| !text.is_empty());
            }
            let mut described = Vec::new();
            if address.url != before.url {
                described.push("url".to_owned());
            }
            if address.description != before.description {
                described.push("description".to_owned());
            }
            if !described.is_empty() {
                self.check_address(&address)?;
            }
            let profile = (!described.is_empty()).then(|| address.profile());
            let settings = Settings {
                types: edit.types.clone().unwrap_or_else(|| live.state.settings.types.clone()),
                expiry_lead_seconds: edit
                    .expiry_lead_seconds
                    .unwrap_or(live.state.settings.expiry_lead_seconds),
            };
            let now = self.now();
            let mut commands = Vec::new();
            match edit.enabled {
                Some(true) => commands.push(WebhookCommand::Enable { now }),
                Some(false) => commands.push(WebhookCommand::Disable { cause: DisableCause::Call, now }),
                None => {}
            }
            // What is sealed goes with the last event.
            commands.push(WebhookCommand::Change { settings, described, now });
            if edit.enabled == Some(true) && !self.can_sign(&live) {
                let reason = "its secret was revoked, so that nothing can be signed; make another webhook";
                return Err(Failure::invalid("enabled", reason));
            }
            if let Some(position) = self.append_webhook(caller, &live, commands, profile, false).await? {
                return Ok(position);
            }
        }
        Err(Failure::Overloaded)
    }

    /// Ends a webhook, and its secret with it.
    pub async fn delete_webhook(&self, caller: &Caller, id: WebhookId) -> Result<Option<Position>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let live = self.live_webhook(id)?;
            may_manage(caller, live.state.workspace, live.state.owner)?;
            let commands = vec![WebhookCommand::Delete { now: self.now() }];
            if let Some(position) = self.append_webhook(caller, &live, commands, None, true).await? {
                return Ok(position);
            }
        }
        Err(Failure::Overloaded)
    }

    /// Disables a webhook for what became of its deliveries.
    pub(crate) async fn disable_failing_webhook(
        &self,
        id: WebhookId,
        cause: DisableCause,
    ) -> Result<(), Failure> {
        let caller = Caller::scheduler(self.new_request_id()?);
        for _ in 0..ATTEMPTS_MAX {
            let Ok(live) = self.live_webhook(id) else { return Ok(()) };
            let commands = vec![WebhookCommand::Disable { cause, now: self.now() }];
            if self.append_webhook(&caller, &live, commands, None, false).await?.is_some() {
                tracing::warn!(webhook = %id, cause = cause.name(), "a webhook was disabled");
                self.notices.wake();
                return Ok(());
            }
        }
        Err(Failure::Overloaded)
    }

    /// Gives a webhook another secret of its own; deliveries carry both signatures while the old one retires.
    pub async fn rotate_webhook_secret(
        &self,
        caller: &Caller,
        id: WebhookId,
        rotate: &Rotate,
        idempotency: Option<&Idempotency>,
        render: impl Fn(&Made) -> Result<Vec<u8>, Failure>,
    ) -> Result<Answer, Failure> {
        // Another workspace's, and one that is no more, answer alike.
        let hidden = |failure| match failure {
            Failure::NotFound(_) => Failure::NotFound("webhook"),
            other => other,
        };
        let live = self.live_webhook(id)?;
        if live.state.scheme != Scheme::Standard {
            return Err(Failure::NotFound("webhook"));
        }
        self.rotate(caller, CredentialId(id.0), rotate, idempotency, render).await.map_err(hidden)
    }

    /// The webhooks of a workspace, or of one of its credentials, in order of their making.
    pub async fn webhooks(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        owner: Option<CredentialId>,
    ) -> Result<Vec<WebhookView>, Failure> {
        may_read(caller, workspace, owner)?;
        let webhooks: Vec<_> = {
            let tip = self.tip.tip.read();
            if tip.live.workspace(workspace).is_none() {
                return Err(Failure::NotFound("workspace"));
            }
            let all = tip.live.webhooks_of(workspace);
            all.filter(|w| owner.is_none() || w.state.owner == owner).cloned().collect()
        };
        let mut views = Vec::with_capacity(webhooks.len());
        for live in webhooks {
            views.push(self.webhook_view(live).await?);
        }
        Ok(views)
    }

    /// A webhook.
    pub async fn webhook(&self, caller: &Caller, id: WebhookId) -> Result<WebhookView, Failure> {
        let live = self.live_webhook(id)?;
        may_read(caller, live.state.workspace, live.state.owner)?;
        self.webhook_view(live).await
    }

    /// What became of the notices to some webhooks, newest first.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        webhooks: &[WebhookId],
        query: &DeliveryQuery,
    ) -> Result<Vec<Delivery>, Failure> {
        for id in webhooks {
            let live = self.live_webhook(*id)?;
            may_read(caller, live.state.workspace, live.state.owner)?;
        }
        Ok(self.notices.store.list(webhooks, query.state, query.before, query.limit).await?)
    }

    /// Sends a notice that says nothing, to see whether it arrives.
    pub async fn test_webhook(&self, caller: &Caller, id: WebhookId) -> Result<Delivery, Failure> {
        let live = self.sending_webhook(caller, id)?;
        let now = self.now();
        let notice = Notice::test(self.entropy()?.id(now), live.state.workspace, now);
        let new = NewDelivery {
            webhook: id,
            notice: notice.id,
            name: notice.name.to_owned(),
            position: None,
            payload: notice.payload(Map::new()),
            created: now,
            next: now,
        };
        self.notices.store.add(&new).await?;
        self.notices.wake();
        self.delivery(id, notice.id).await
    }

    /// Delivers a notice once more, whatever became of it.
    pub async fn redeliver(&self, caller: &Caller, id: WebhookId, notice: Uuid) -> Result<Delivery, Failure> {
        self.sending_webhook(caller, id)?;
        if !self.notices.store.again(id, notice, self.now()).await? {
            return Err(Failure::NotFound("delivery"));
        }
        self.notices.wake();
        self.delivery(id, notice).await
    }

    async fn delivery(&self, id: WebhookId, notice: Uuid) -> Result<Delivery, Failure> {
        let delivery = self.notices.store.delivery(id, notice).await?;
        delivery.ok_or(Failure::NotFound("delivery"))
    }

    /// A webhook that the caller may manage and that is enabled.
    fn sending_webhook(&self, caller: &Caller, id: WebhookId) -> Result<LiveWebhook, Failure> {
        let live = self.live_webhook(id)?;
        may_manage(caller, live.state.workspace, live.state.owner)?;
        match live.state.status {
            rota_aggregates::webhook::Status::Enabled => Ok(live),
            _ => Err(WebhookRefusal::Disabled.into()),
        }
    }

    async fn webhook_view(&self, live: LiveWebhook) -> Result<WebhookView, Failure> {
        let address = self.webhook_address(&live).await?;
        let health = self.notices.store.health(live.id).await?;
        Ok(WebhookView { id: live.id, state: live.state, address, health })
    }

    fn live_webhook(&self, id: WebhookId) -> Result<LiveWebhook, Failure> {
        let live = self.tip.tip.read().live.webhook(id).cloned();
        live.ok_or(Failure::NotFound("webhook"))
    }

    /// Whether a webhook has what its deliveries are signed with.
    fn can_sign(&self, live: &LiveWebhook) -> bool {
        let now = self.now();
        let own = || self.tip.tip.read().live.credential(CredentialId(live.id.0));
        live.state.scheme != Scheme::Standard
            || own().is_some_and(|secret| secret.state.live_versions(now).next().is_some())
    }

    fn check_address(&self, address: &Address) -> Result<(), Failure> {
        let url = address.url.as_deref().unwrap_or_default();
        if let Err(refused) = self.notices.egress.check(url) {
            return Err(Failure::invalid("url", refused.to_string()));
        }
        let description = address.description.as_deref().unwrap_or_default();
        if description.chars().count() > DESCRIPTION_CHARS_MAX || description.chars().any(char::is_control) {
            let reason = format!("must have at most {DESCRIPTION_CHARS_MAX} characters and none of control");
            return Err(Failure::invalid("description", reason));
        }
        Ok(())
    }

    /// Decides and appends once. The position, if anything was to be recorded; `None`: it is stale, decide again.
    async fn append_webhook(
        &self,
        caller: &Caller,
        live: &LiveWebhook,
        commands: Vec<WebhookCommand>,
        profile: Option<Map<String, Value>>,
        with_secret: bool,
    ) -> Result<Option<Option<Position>>, Failure> {
        let workspace = live.state.workspace;
        let (mut caller, mut expected, mut now) = self.ground(caller, workspace)?;
        let place = self.place()?;
        let _ring = self.keys();
        let stream = StreamId::webhook(live.id);
        let mut state = live.state.clone();
        let mut events: Vec<(StreamId, Event)> = Vec::new();
        for command in commands {
            if let Some(event) = state.decide(command)? {
                state.evolve(&event);
                events.push((stream, event.into()));
            }
        }
        if events.is_empty() {
            return Ok(Some(None));
        }
        expected.push((stream, Some(live.sequence)));
        let mut shred = Vec::new();
        let own = CredentialId(live.id.0);
        if with_secret && self.tip.tip.read().live.credential(own).is_some() {
            let subject = self.subject(&caller, own)?;
            let revoke = RevokeCredential {
                proof: subject.caller.proof(),
                sealed: subject.sealed.clone(),
                now: subject.now,
            };
            let revoked = match decide(subject.live.state, CredentialCommand::Revoke(revoke)).await {
                Ok(revoked) => revoked,
                Err(CredentialRefusal::Revoked) => Vec::new(),
                Err(refusal) => return Err(refusal.into()),
            };
            shred = shredded(&revoked);
            let own = StreamId::credential(own);
            events.splice(0..0, revoked.into_iter().map(|event| (own, Event::from(event))));
            let known: BTreeSet<_> = expected.iter().map(|(stream, _)| *stream).collect();
            expected.extend(subject.expected.iter().filter(|(stream, _)| !known.contains(stream)));
            now = subject.now;
            caller = subject.caller;
        }
        let along = Along { details: Details { profile, ..caller.details() }, ..Along::default() };
        let mut entropy = self.entropy()?;
        let events = self.encode(&caller, workspace, events, &along, now, &mut entropy)?;
        let append = Append { expected, claim: None, events, shred, decided_at: now };
        match self.commit(place, append, None).await {
            Ok(recording) => Ok(recording.map(|recording| Some(recording.last))),
            Err(Committed::Failed(failure)) => Err(failure),
            Err(Committed::Before(position)) => Ok(Some(Some(position))),
        }
    }

    /// Where a webhook is. Read anew each time: what is erased is gone at once.
    pub(crate) async fn webhook_address(&self, live: &LiveWebhook) -> Result<Address, Failure> {
        let stored = self.log.read_at(&[live.described]).await?;
        let stored = stored.first().ok_or(Failure::NotFound("webhook"))?;
        let record = Record::decode(&stored.leaf)
            .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
        let details = self.details(&record, stored).and_then(|details| details.profile);
        Ok(details.as_ref().map(Address::of).unwrap_or_default())
    }

    /// The secrets of a credential that are accepted now, newest first: of kinds that can be recovered.
    pub(crate) async fn live_secrets(&self, id: CredentialId) -> Result<Vec<Secret>, Failure> {
        let now = self.now();
        let positions: Vec<Position> = {
            let tip = self.tip.tip.read();
            let Some(live) = tip.live.credential(id) else { return Ok(Vec::new()) };
            let sealed = tip.live.sealed_secrets(id).secrets;
            let position = |version| sealed.iter().find(|(of, _)| *of == version).map(|(_, at)| *at);
            live.state.live_versions(now).filter_map(position).collect()
        };
        let stored = self.log.read_at(&positions).await?;
        let keys = self.keys();
        let mut secrets = Vec::with_capacity(positions.len());
        for position in positions {
            let Some(stored) = stored.iter().find(|stored| stored.position == position) else { continue };
            // Destroyed in this moment.
            let Some(sealed) = &stored.side.secret else { continue };
            let record = Record::decode(&stored.leaf)
                .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
            let opened = keys.open_sealed(&Item { event: record.id.0, part: Part::Secret }, sealed)?;
            let text = std::str::from_utf8(&opened)
                .map_err(|_| Failure::Sealed(crate::sealing::SealError::UnknownFormat))?;
            secrets.push(Secret::new(text.to_owned()));
        }
        Ok(secrets)
    }
}

/// Whoever has the workspace, or the credential that the webhook is for, with its current secret.
fn may_manage(caller: &Caller, workspace: WorkspaceId, owner: Option<CredentialId>) -> Result<(), Failure> {
    match caller.credential() {
        Some(who) if owner == Some(who.credential) && who.workspace == workspace => {
            if who.retiring {
                Err(CredentialRefusal::RetiringSecret.into())
            } else {
                Ok(())
            }
        }
        _ => caller.allow(workspace, &[Role::Admin], "webhook"),
    }
}

fn may_read(caller: &Caller, workspace: WorkspaceId, owner: Option<CredentialId>) -> Result<(), Failure> {
    match caller.credential() {
        Some(who) if owner == Some(who.credential) && who.workspace == workspace => Ok(()),
        _ => caller.allow(workspace, &[Role::Auditor], "webhook"),
    }
}
