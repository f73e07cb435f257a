//! Campaigns: many credentials rotated by one plan, each new secret handed over sealed to its owner's key.
//!
//! - [`select`]: what a selector selects now, and what has moved since a plan was made;
//! - here: planning, applying, stopping, going on and looking;
//! - [`run`]: one item after the other, and destroying what was kept long enough;
//! - [`hand_over`]: the sealed files.

mod hand_over;
mod run;
mod select;

use rota_aggregates::authority::Role;
use rota_aggregates::campaign::{
    Campaign, CampaignCommand, CampaignEvent, CampaignRefusal, Item, PlanCampaign, Selector, Settings, Stage,
};
use rota_aggregates::credential::Kind;
use rota_aggregates::ids::Hash;
use rota_aggregates::record::Record;
use rota_aggregates::{CampaignId, CredentialId, Event, Position, StreamId, Timestamp, WorkspaceId};
use rota_projections::live::LiveCampaign;

pub use self::select::Moved;
use super::change::{ATTEMPTS_MAX, Along, Committed, Expected};
use super::rotate::{COMPROMISED, check_reason};
use super::{App, Caller, Failure};
use crate::log::{Append, LogError};

/// A workspace has at most so many campaigns that are not over; so has the deployment as a whole.
pub const OPEN_MAX: usize = 20;
/// Whoever may see campaigns.
const READERS: &[Role] = &[Role::Auditor, Role::Rotator];

/// Plan a campaign.
#[derive(Clone, Debug)]
pub struct NewCampaign {
    /// Its workspace; `None` for the whole deployment.
    pub workspace: Option<WorkspaceId>,
    /// Which credentials.
    pub selector: Selector,
    /// How it is carried out. Whether secrets are compromised follows from the reason.
    pub settings: Settings,
    /// Why; [`COMPROMISED`] has consequences.
    pub reason: Option<String>,
}

/// A campaign as people see it.
#[derive(Clone, Debug)]
pub struct CampaignView {
    /// Its state, without items.
    pub state: Campaign,
    /// How many items it has.
    pub items: usize,
    /// How many sealed secrets are kept for their owners.
    pub kept: usize,
    /// How many items have which obstacle.
    pub obstacles: std::collections::BTreeMap<String, usize>,
    /// Why, in the caller's words; `None` where there is none, or it was erased.
    pub reason: Option<String>,
}

/// An item as people see it.
#[derive(Clone, Debug)]
pub struct ItemView {
    /// The item.
    pub item: Item,
    /// Whether its sealed secret is kept.
    pub kept: bool,
    /// How its credential's secret is presented.
    pub kind: Option<Kind>,
    /// The credential's public identifier.
    pub public_id: Option<String>,
    /// The credential's name, where it is asked for and was not erased.
    pub name: Option<String>,
}

/// Items of a campaign.
#[derive(Clone, Debug)]
pub struct ItemPage {
    /// The items.
    pub items: Vec<ItemView>,
    /// The first item of the next page.
    pub next: Option<usize>,
}

/// Whoever may plan, apply and stop.
fn may_manage(caller: &Caller, workspace: Option<WorkspaceId>, what: &'static str) -> Result<(), Failure> {
    match workspace {
        Some(workspace) => caller.allow(workspace, &[Role::Admin], what),
        None => caller.operator_only(),
    }
}

fn may_read(caller: &Caller, workspace: Option<WorkspaceId>) -> Result<(), Failure> {
    match workspace {
        Some(workspace) => caller.allow(workspace, READERS, "campaign"),
        // One of the whole deployment is as if it did not exist.
        None if caller.credential().is_some() => Err(Failure::NotFound("campaign")),
        None => caller.operator_only(),
    }
}

impl App {
    /// Plans a campaign: says what would be rotated, for whom, and records that. Nothing is rotated.
    pub async fn plan_campaign(
        &self,
        caller: &Caller,
        new: &NewCampaign,
    ) -> Result<(CampaignId, Position), Failure> {
        may_manage(caller, new.workspace, "workspace")?;
        check_reason(new.reason.as_deref())?;
        let mut settings = new.settings.clone();
        settings.compromised = new.reason.as_deref() == Some(COMPROMISED);
        self.check_named(new.workspace, &new.selector)?;
        for _ in 0..ATTEMPTS_MAX {
            let (caller, mut expected, now) = self.campaign_ground(caller, new.workspace)?;
            self.make_room(&caller, new.workspace).await?;
            let items = self.select(new.workspace, &new.selector, &settings, now);
            let plan = select::hash(new.workspace, &new.selector, &settings, &items)?;
            let mut entropy = self.entropy()?;
            let id = CampaignId(entropy.id(now));
            let command = CampaignCommand::Plan(PlanCampaign {
                campaign: id,
                workspace: new.workspace,
                selector: new.selector.clone(),
                settings: settings.clone(),
                items,
                plan,
                now,
            });
            let events = Campaign::default().decide(command)?;
            expected.push((StreamId::campaign(id), None));
            let mut details = caller.details();
            details.reason.clone_from(&new.reason);
            let along = Along { details, ..Along::default() };
            if let Some(position) =
                self.record_campaign(&caller, new.workspace, id, expected, events, &along, now).await?
            {
                return Ok((id, position));
            }
        }
        Err(Failure::Overloaded)
    }

    /// Drops the oldest plan that was never applied, where there are as many campaigns as there may be: plans are looked
    /// at and made again until one is right.
    async fn make_room(&self, caller: &Caller, workspace: Option<WorkspaceId>) -> Result<(), Failure> {
        let oldest = {
            let tip = self.tip.tip.read();
            if tip.live.open_campaigns(workspace) < OPEN_MAX {
                return Ok(());
            }
            let planned = |live: &&LiveCampaign| {
                live.state.workspace == workspace && live.state.stage == Stage::Planned
            };
            let planned = tip.live.campaigns_after(None).filter(planned);
            planned.min_by_key(|live| live.planned).map(|live| live.state.id)
        };
        let what = "campaigns that go on or are paused";
        let oldest = oldest.ok_or(Failure::TooMany { what, most: OPEN_MAX })?;
        self.end_campaign(caller, oldest).await.map(drop)
    }

    /// Carries a plan out, if it is the one that is meant and nothing has moved since.
    pub async fn apply_campaign(
        &self,
        caller: &Caller,
        id: CampaignId,
        plan: Hash,
    ) -> Result<Option<Position>, Failure> {
        self.command_campaign(caller, id, |app, live, now| {
            let state = &live.state;
            let mut moved = Vec::new();
            if state.stage == Stage::Planned && state.plan == Some(plan) {
                let items = app.select(state.workspace, &state.selector, &state.settings, now);
                moved = select::moved(&state.items, &items);
            }
            let command = CampaignCommand::Apply { plan, moved: moved.len(), now };
            match state.decide(command) {
                Err(CampaignRefusal::Moved { .. }) => Err(Failure::PlanMoved(moved)),
                decided => Ok(decided?),
            }
        })
        .await
    }

    /// Stops a campaign for now. An item that is being rotated is finished.
    pub async fn pause_campaign(&self, caller: &Caller, id: CampaignId) -> Result<Option<Position>, Failure> {
        self.command_campaign(caller, id, |_, live, now| {
            Ok(live.state.decide(CampaignCommand::Pause { now })?)
        })
        .await
    }

    /// Lets a campaign go on that was stopped; items that failed get another turn if that is asked for.
    pub async fn resume_campaign(
        &self,
        caller: &Caller,
        id: CampaignId,
        retry_failed: bool,
    ) -> Result<Option<Position>, Failure> {
        self.command_campaign(caller, id, |_, live, now| {
            Ok(live.state.decide(CampaignCommand::Resume { retry_failed, now })?)
        })
        .await
    }

    /// Ends a campaign for good; what waits is not rotated.
    pub async fn end_campaign(&self, caller: &Caller, id: CampaignId) -> Result<Option<Position>, Failure> {
        self.command_campaign(caller, id, |_, live, now| {
            Ok(live.state.decide(CampaignCommand::End { now })?)
        })
        .await
    }

    /// Campaigns that the caller may see, by order of planning.
    pub async fn campaigns(
        &self,
        caller: &Caller,
        workspace: Option<WorkspaceId>,
        plan: Option<Hash>,
        after: Option<CampaignId>,
        limit: usize,
    ) -> Result<(Vec<CampaignView>, Option<CampaignId>), Failure> {
        let workspace = match caller.workspace() {
            Some(_) => Some(caller.resolve_workspace(workspace)?),
            None => workspace,
        };
        if workspace.is_some() {
            may_read(caller, workspace)?;
        } else {
            caller.operator_only()?;
        }
        let (found, more) = {
            let tip = self.tip.tip.read();
            let asked = |live: &&LiveCampaign| {
                (workspace.is_none() || live.state.workspace == workspace)
                    && (plan.is_none() || live.state.plan == plan)
            };
            let mut all = tip.live.campaigns_after(after).filter(asked);
            let found: Vec<_> = all.by_ref().take(limit).map(seen).collect();
            (found, all.next().is_some())
        };
        let mut views = Vec::with_capacity(found.len());
        for (mut view, planned) in found {
            view.reason = self.reason_at(planned).await?;
            views.push(view);
        }
        let next = views.last().filter(|_| more).map(|view| view.state.id);
        Ok((views, next))
    }

    /// A campaign and a page of its items.
    pub async fn campaign(
        &self,
        caller: &Caller,
        id: CampaignId,
        standing: Option<&str>,
        from: usize,
        limit: usize,
        names: bool,
    ) -> Result<(CampaignView, ItemPage), Failure> {
        let (mut view, planned, mut page) = {
            let tip = self.tip.tip.read();
            let live = tip.live.campaign(id).ok_or(Failure::NotFound("campaign"))?;
            may_read(caller, live.state.workspace)?;
            let asked = |(_, item): &(usize, &Item)| standing.is_none_or(|name| item.standing.name() == name);
            let mut asked = live.state.items.iter().enumerate().skip(from).filter(asked);
            let items = asked.by_ref().take(limit);
            let items: Vec<_> = items
                .map(|(_, item)| {
                    let id = item.planned.credential;
                    let of = tip.live.credential(id);
                    ItemView {
                        item: item.clone(),
                        kept: live.kept.contains_key(&id),
                        kind: of.map(|of| of.state.kind),
                        public_id: of.map(|of| of.public_id.text()),
                        name: None,
                    }
                })
                .collect();
            let next = asked.next().map(|(index, _)| index);
            let (view, planned) = seen(live);
            (view, planned, ItemPage { items, next })
        };
        view.reason = self.reason_at(planned).await?;
        for one in page.items.iter_mut().filter(|_| names) {
            one.name = self.view(one.item.planned.credential, None).await?.and_then(|seen| seen.name);
        }
        Ok((view, page))
    }

    /// The caller as it is now, and what a decision about a workspace, or about all of them, rests on.
    fn campaign_ground(
        &self,
        caller: &Caller,
        workspace: Option<WorkspaceId>,
    ) -> Result<(Caller, Expected, Timestamp), Failure> {
        match workspace {
            Some(workspace) => self.ground(caller, workspace),
            None => Ok((caller.clone(), Vec::new(), self.now())),
        }
    }

    /// Decides about a campaign and appends, again if it is overtaken.
    async fn command_campaign(
        &self,
        caller: &Caller,
        id: CampaignId,
        decide: impl Fn(&Self, &LiveCampaign, Timestamp) -> Result<Vec<CampaignEvent>, Failure>,
    ) -> Result<Option<Position>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let live = self.tip.tip.read().live.campaign(id).cloned();
            let live = live.ok_or(Failure::NotFound("campaign"))?;
            let workspace = live.state.workspace;
            may_read(caller, workspace)?;
            may_manage(caller, workspace, "campaign")?;
            let (caller, mut expected, now) = self.campaign_ground(caller, workspace)?;
            let events = decide(self, &live, now)?;
            if events.is_empty() {
                return Ok(None);
            }
            expected.push((StreamId::campaign(id), Some(live.sequence)));
            let along = Along { details: caller.details(), ..Along::default() };
            let recorded =
                self.record_campaign(&caller, workspace, id, expected, events, &along, now).await?;
            if recorded.is_some() {
                return Ok(recorded);
            }
        }
        Err(Failure::Overloaded)
    }

    /// Appends once. `None`: it is stale, decide again.
    #[expect(clippy::too_many_arguments, reason = "all of it is one append")]
    async fn record_campaign(
        &self,
        caller: &Caller,
        workspace: Option<WorkspaceId>,
        id: CampaignId,
        expected: Expected,
        events: Vec<CampaignEvent>,
        along: &Along<'_>,
        now: Timestamp,
    ) -> Result<Option<Position>, Failure> {
        let place = self.place()?;
        let stream = StreamId::campaign(id);
        let shred = events.iter().flat_map(CampaignEvent::shredded).copied().collect();
        let events = events.into_iter().map(|event| (stream, Event::from(event))).collect();
        let mut entropy = self.entropy()?;
        let events = self.encode(caller, workspace.unwrap_or_default(), events, along, now, &mut entropy)?;
        let append = Append { expected, claim: None, events, shred, decided_at: now };
        match self.commit(place, append, None).await {
            Ok(recording) => Ok(recording.map(|recording| recording.last)),
            Err(Committed::Failed(failure)) => Err(failure),
            Err(Committed::Before(position)) => Ok(Some(position)),
        }
    }

    /// The reason that is sealed beside an event.
    async fn reason_at(&self, position: Position) -> Result<Option<String>, Failure> {
        let stored = self.log.read_at(&[position]).await?;
        let Some(stored) = stored.first() else { return Ok(None) };
        let record = Record::decode(&stored.leaf)
            .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
        Ok(self.details(&record, stored).and_then(|details| details.reason))
    }
}

/// A campaign without its items, and where its reason is.
fn seen(live: &LiveCampaign) -> (CampaignView, Position) {
    let mut obstacles = std::collections::BTreeMap::new();
    for obstacle in live.state.items.iter().filter_map(|item| item.planned.obstacle.as_ref()) {
        *obstacles.entry(obstacle.clone()).or_insert(0) += 1;
    }
    let view = CampaignView {
        state: live.state.without_items(),
        items: live.state.tally.items() as usize,
        kept: live.kept.len(),
        obstacles,
        reason: None,
    };
    (view, live.planned)
}

impl App {
    /// Refuses a selector that names what is not there. What is revoked later drops out of the plan instead.
    fn check_named(&self, workspace: Option<WorkspaceId>, selector: &Selector) -> Result<(), Failure> {
        let tip = self.tip.tip.read();
        let there = |id: CredentialId| {
            let live = tip.live.credential(id);
            live.is_some_and(|live| workspace.is_none_or(|own| own == live.state.workspace))
        };
        for (index, id) in selector.credentials.iter().enumerate() {
            if !there(*id) {
                let field = format!("credentialIds[{index}]");
                return Err(Failure::invalid(&field, "names no credential"));
            }
        }
        match selector.owner {
            Some(owner) if !there(owner) => Err(Failure::invalid("ownerId", "names no credential")),
            _ => Ok(()),
        }
    }
}
