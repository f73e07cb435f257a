//! Managed rotations: making, changing, ending and finding them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rota_aggregates::ids::Hash;
use rota_aggregates::managed_rotation::schedule::Schedule;
use rota_aggregates::managed_rotation::{
    AttemptCause, CreateRotation, ManagedRotation, ManagedRotationCommand, Mapped, Model, RotationRefusal,
    SealedAt, Settings, Stage, StartAttempt, UpdateRotation,
};
use rota_aggregates::{
    AttemptId, ConnectionId, FolderId, Position, RotationId, SpaceId, StreamId, Timestamp, WorkspaceId,
};
use rota_projections::Details;
use rota_projections::live::LiveRotation;
use rota_targets::{Kind, Parameters, Slot};
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::ground::{Beside, Change, Names, Outcome, Planned, described, names_of};
use super::sealed::SealedIntent;
use super::steps::timed;
use super::{ADMINS, READERS, ROTATIONS_MAX};
use crate::app::change::ATTEMPTS_MAX;
use crate::app::idempotency::Idempotency;
use crate::app::{App, Caller, Failure};

/// Make a rotation.
#[derive(Debug)]
pub struct NewRotation {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The folder that its secrets go into.
    pub folder: FolderId,
    /// The kind of target.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// How the target is reached.
    pub connection: ConnectionId,
    /// What is rotated there.
    pub parameters: Parameters,
    /// The names of the secrets that it is published as, by field.
    pub mapping: BTreeMap<String, String>,
    /// When it is due.
    pub schedule: Schedule,
    /// Whether sessions that were opened with a retired credential are ended too.
    pub end_sessions: bool,
}

/// Change a rotation. What is `None` stays.
#[derive(Debug, Default)]
pub struct RotationEdit {
    /// Its name.
    pub name: Option<String>,
    /// What it is for; an empty text removes it.
    pub description: Option<String>,
    /// What is rotated, whole.
    pub parameters: Option<Parameters>,
    /// The names of the secrets, whole.
    pub mapping: Option<BTreeMap<String, String>>,
    /// When it is due, whole.
    pub schedule: Option<Schedule>,
    /// Whether sessions that were opened with a retired credential are ended too.
    pub end_sessions: Option<bool>,
}

/// A rotation as people see it.
#[derive(Clone, Debug)]
pub struct RotationView {
    /// Its id.
    pub id: RotationId,
    /// Its state.
    pub state: ManagedRotation,
    /// The kind of target.
    pub kind: Kind,
    /// What it is for.
    pub description: Option<String>,
    /// What is rotated.
    pub parameters: Value,
    /// The name and the app of its connection; nothing once that is gone.
    pub connection: Option<(String, String)>,
    /// The environment's slug and the folder's path; nothing once that is gone.
    pub place: Option<(String, String)>,
}

/// What a change of a rotation came to.
#[derive(Debug)]
pub struct Changed {
    /// The rotation, as it is now; one that was deleted, as it was.
    pub view: RotationView,
    /// The position of the change's last event, if there was anything to change.
    pub position: Option<Position>,
    /// Whether it was done before, by the same named request.
    pub replayed: bool,
}

/// The domain's word for who chooses the secret.
fn model(kind: Kind) -> Model {
    match kind.description().model {
        rota_targets::Model::TwoUsers => Model::TwoUsers,
        rota_targets::Model::TwoPasswords => Model::TwoPasswords,
        rota_targets::Model::Single => Model::Single,
        rota_targets::Model::Keys => Model::Keys,
    }
}

/// That a kind can be rotated here.
fn check_kind(kind: Kind) -> Result<(), Failure> {
    if rota_targets::is_available(kind) {
        return Ok(());
    }
    let reason = format!("rotations of the kind {kind} are not available in this build of rota");
    Err(Failure::invalid("kind", reason))
}

/// That a kind can be rotated so seldom.
fn check_interval(kind: Kind, interval_days: u32) -> Result<(), Failure> {
    rota_targets::parameters::check_interval(kind, f64::from(interval_days))
        .map_err(|issue| Failure::invalid("schedule.intervalDays", issue.message))
}

fn check_fields(kind: Kind, mapping: &BTreeMap<String, String>) -> Result<(), Failure> {
    let fields: BTreeSet<_> = kind.description().fields.iter().map(|field| field.name).collect();
    if mapping.keys().map(String::as_str).eq(fields.iter().copied()) {
        return Ok(());
    }
    let fields: Vec<_> = fields.into_iter().collect();
    Err(Failure::invalid("secretsMapping", format!("must name the secrets of {}", fields.join(" and "))))
}

/// The id of the secret that a field of a rotation is published as: it stays when the secret is renamed.
fn secret_id(rotation: RotationId, field: &str) -> Uuid {
    Uuid::new_v5(&rotation.0, format!("secret/{field}").as_bytes())
}

fn mapped(rotation: RotationId, mapping: &BTreeMap<String, String>) -> BTreeMap<String, Mapped> {
    let mapped = |(field, key): (&String, &String)| {
        (field.clone(), Mapped { secret: secret_id(rotation, field), key: key.trim().to_owned() })
    };
    mapping.iter().map(mapped).collect()
}

/// A rotation that is about to be made.
struct Drafted {
    id: RotationId,
    workspace: WorkspaceId,
    kind: Kind,
    connection: ConnectionId,
    folder: FolderId,
    settings: Settings,
    details: Details,
    parameters: Zeroizing<Vec<u8>>,
    intent: Zeroizing<Vec<u8>>,
}

impl Drafted {
    fn create(&self, sealed: Hash, now: Timestamp) -> ManagedRotationCommand {
        ManagedRotationCommand::Create(CreateRotation {
            rotation: self.id,
            workspace: self.workspace,
            kind: self.kind.id().to_owned(),
            model: model(self.kind),
            connection: self.connection,
            folder: self.folder,
            settings: self.settings.clone(),
            sealed,
            now,
        })
    }
}

pub(super) fn names(settings: &Settings) -> BTreeSet<String> {
    names_of(&settings.name, settings.mapping.values().map(|mapped| mapped.key.as_str()))
}

impl App {
    /// Makes a rotation and its first credential, and publishes that. If the target refuses, nothing was made.
    pub async fn create_rotation(
        self: &Arc<Self>,
        caller: &Caller,
        new: NewRotation,
        idempotency: Option<&Idempotency>,
    ) -> Result<Changed, Failure> {
        let workspace = new.workspace;
        caller.allow(workspace, ADMINS, "project")?;
        let claimed = self.claim(idempotency, workspace)?;
        if let Some(position) = claimed.before {
            self.ground(caller, workspace)?;
            return self.created_before(position).await;
        }
        let drafted = self.draft(caller, new).await?;
        let rotation = drafted.id;
        for _ in 0..ATTEMPTS_MAX {
            let _ring = self.keys();
            let (caller, mut expected, now) = self.ground(caller, workspace)?;
            let connection = self.managed_connection(&caller, drafted.connection, ADMINS)?;
            let mut entropy = self.entropy()?;
            let (parameters_id, sealed_parameters) = self.seal_beside(&drafted.parameters, now, &mut entropy);
            let (intent_id, sealed_intent) = self.seal_beside(&drafted.intent, now, &mut entropy);
            let attempt = AttemptId(entropy.id(now));
            let mut state = ManagedRotation::default();
            let stream = StreamId::managed_rotation(rotation);
            let mut events = Vec::new();
            for event in state.decide(drafted.create(Hash(sealed_parameters.sha256()), now))? {
                state.evolve(&event);
                events.push(Planned::new(stream, event).with(Beside {
                    id: Some(parameters_id),
                    secret: Some(sealed_parameters.clone()),
                    details: Some(drafted.details.clone()),
                    digest: None,
                }));
            }
            let start = ManagedRotationCommand::Start(StartAttempt {
                attempt,
                cause: AttemptCause::Create,
                by: self.managed.process,
                intent: Hash(sealed_intent.sha256()),
                min_overlap_seconds: 0,
                sealed: SealedAt::default(),
                now,
            });
            for event in state.decide(start)? {
                let secret = Some(sealed_intent.clone());
                let beside = Beside { id: Some(intent_id), secret, ..Beside::default() };
                events.push(Planned::new(stream, event).with(beside));
            }
            let space = SpaceId::folder(drafted.folder);
            let (held, of_names) = self.hold(space, workspace, rotation.0, names(&drafted.settings), now)?;
            events.extend(held);
            expected.extend([(stream, None), of_names]);
            expected.push((StreamId::connection(connection.id), Some(connection.sequence)));
            expected.push(self.folder_there(workspace, drafted.folder)?);
            let change = Change { workspace, expected, events, claim: claimed.claim, now };
            let running = self.managed.begin(rotation, || false);
            match self.record(&caller, change, claimed.held.clone()).await? {
                Outcome::Recorded(_) => {
                    let running = running.ok_or(RotationRefusal::InProgress)?;
                    let ended = self.go_on(&caller, rotation, attempt, running).await;
                    return self.after_attempt(rotation, ended, false).await;
                }
                Outcome::Before(position) => return self.created_before(position).await,
                Outcome::Stale => {}
            }
        }
        Err(Failure::Overloaded)
    }

    /// Checks what is asked for and says what is to be done first. What can be known without the target is said
    /// before it is asked.
    async fn draft(&self, caller: &Caller, mut new: NewRotation) -> Result<Drafted, Failure> {
        let workspace = new.workspace;
        check_kind(new.kind)?;
        check_interval(new.kind, new.schedule.interval_days)?;
        check_fields(new.kind, &new.mapping)?;
        let details = described(new.description.as_deref())?;
        self.folder_there(workspace, new.folder)?;
        let connection = self.managed_connection(caller, new.connection, ADMINS)?;
        let app = new.kind.description().app;
        if connection.state.workspace != workspace {
            return Err(Failure::NotFound("connection"));
        }
        if connection.state.app != app.id() {
            let reason = format!("rotations of the kind {} take a connection of the app {app}", new.kind);
            return Err(Failure::invalid("connectionId", reason));
        }
        let id = RotationId(self.entropy()?.id(self.now()));
        let settings = Settings {
            name: new.name,
            schedule: new.schedule,
            mapping: mapped(id, &new.mapping),
            end_sessions: new.end_sessions,
        };
        let parameters = Zeroizing::new(serde_json::to_vec(&new.parameters.value()).unwrap_or_default());
        let mut drafted = Drafted {
            id,
            workspace,
            kind: new.kind,
            connection: new.connection,
            folder: new.folder,
            settings,
            details,
            parameters,
            intent: Zeroizing::default(),
        };
        let now = self.now();
        ManagedRotation::default().decide(drafted.create(Hash([0; 32]), now))?;
        self.hold(SpaceId::folder(new.folder), workspace, id.0, names(&drafted.settings), now)?;
        if self.tip.tip.read().live.managed_rotations_of(workspace).count() >= ROTATIONS_MAX {
            return Err(Failure::TooMany { what: "rotations in a workspace", most: ROTATIONS_MAX });
        }
        let current = new.parameters.take_current();
        let credentials = self.open_connection(&connection).await?;
        let target = self.managed.targets.open(new.kind, &credentials, &new.parameters)?;
        let random = Zeroizing::new(self.entropy()?.take::<32>());
        timed(target.has_room(None)).await?;
        let intent = timed(target.intend(Slot(0), current.as_ref(), *random)).await?;
        drafted.intent = SealedIntent { intent, current }.to_bytes()?;
        Ok(drafted)
    }

    /// That a folder is there, as what is put into it rests on.
    pub(super) fn folder_there(
        &self,
        workspace: WorkspaceId,
        folder: FolderId,
    ) -> Result<(StreamId, Option<rota_aggregates::Sequence>), Failure> {
        let places = self.live_places(workspace)?;
        if places.state.environment_of(folder).is_none() {
            return Err(Failure::NotFound("folder"));
        }
        Ok((StreamId::places(workspace), places.sequence))
    }

    /// What a rotation came to that the same named request made before.
    async fn created_before(self: &Arc<Self>, position: Position) -> Result<Changed, Failure> {
        let (rotation, ended) = self.wait_for(position).await?;
        self.after_attempt(rotation, ended, true).await
    }

    /// Changes a rotation. Nothing is rotated by it.
    pub async fn update_rotation(
        &self,
        caller: &Caller,
        id: RotationId,
        edit: RotationEdit,
    ) -> Result<Changed, Failure> {
        let first = self.managed_rotation(caller, id, ADMINS)?;
        let workspace = first.state.workspace;
        let kind: Result<Kind, _> = first.state.kind.parse();
        if let (Ok(kind), Some(schedule)) = (kind, &edit.schedule) {
            check_interval(kind, schedule.interval_days)?;
        }
        let details = match &edit.description {
            None => None,
            Some(text) => {
                let before = self.description_at(first.described).await?;
                let same = before.as_deref().unwrap_or_default() == text;
                if same { None } else { Some(described(Some(text))?) }
            }
        };
        let mut parameters = None;
        if let Some(given) = &edit.parameters {
            let before = self.open_parameters(&first).await?;
            if given.value() != before.value() {
                parameters = Some(Zeroizing::new(serde_json::to_vec(&given.value()).unwrap_or_default()));
            }
        }
        for _ in 0..ATTEMPTS_MAX {
            let _ring = self.keys();
            let live = self.managed_rotation(caller, id, ADMINS)?;
            let (caller, mut expected, now) = self.ground(caller, workspace)?;
            let mut settings = live.state.settings.clone();
            if let Some(name) = &edit.name {
                settings.name.clone_from(name);
            }
            if let Some(mapping) = &edit.mapping {
                settings.mapping = mapped(id, mapping);
            }
            if let Some(schedule) = &edit.schedule {
                settings.schedule = schedule.clone();
            }
            if let Some(end_sessions) = edit.end_sessions {
                settings.end_sessions = end_sessions;
            }
            let mut entropy = self.entropy()?;
            let sealed = parameters.as_ref().map(|bytes| self.seal_beside(bytes, now, &mut entropy));
            let update = ManagedRotationCommand::Update(UpdateRotation {
                settings: settings.clone(),
                described: details.is_some(),
                parameters: sealed.as_ref().map(|(_, sealed)| Hash(sealed.sha256())),
                sealed: live.sealed,
                now,
            });
            let decided = live.state.decide(update)?;
            if decided.is_empty() {
                return Ok(Changed {
                    view: self.rotation_view(&live).await?,
                    position: None,
                    replayed: false,
                });
            }
            let stream = StreamId::managed_rotation(id);
            let (event_id, secret) = sealed.unzip();
            let beside = Beside { id: event_id, secret, details: details.clone(), digest: None };
            let mut events: Vec<_> = decided.into_iter().map(|event| Planned::new(stream, event)).collect();
            if let Some(first) = events.first_mut() {
                first.beside = beside;
            }
            let space = SpaceId::folder(live.state.folder);
            let (held, of_names) = self.hold(space, workspace, id.0, names(&settings), now)?;
            events.extend(held);
            expected.extend([(stream, Some(live.sequence)), of_names]);
            let change = Change { workspace, expected, events, claim: None, now };
            if let Outcome::Recorded(recording) = self.record(&caller, change, None).await? {
                let live = self.live_rotation(id)?;
                let position = Some(recording.last);
                return Ok(Changed { view: self.rotation_view(&live).await?, position, replayed: false });
            }
        }
        Err(Failure::Overloaded)
    }

    /// The rotations of a workspace that people see, in order of their making.
    pub async fn managed_rotations(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
    ) -> Result<Vec<RotationView>, Failure> {
        let (views, _) = self.managed_rotations_page(caller, workspace, None, usize::MAX).await?;
        Ok(views)
    }

    /// A page of them, after one of them, and whether there are more.
    pub async fn managed_rotations_page(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        after: Option<RotationId>,
        limit: usize,
    ) -> Result<(Vec<RotationView>, bool), Failure> {
        caller.allow(workspace, READERS, "project")?;
        let mut all: Vec<_> = {
            let tip = self.tip.tip.read();
            if tip.live.workspace(workspace).is_none() {
                return Err(Failure::NotFound("project"));
            }
            let all = tip.live.managed_rotations_of(workspace).filter(|live| live.state.exists());
            all.filter(|live| after.is_none_or(|after| live.id > after)).cloned().collect()
        };
        // An id begins with the time of its making: a page does not shift because something was added or has gone.
        all.sort_unstable_by_key(|live| live.id);
        let more = all.len() > limit;
        all.truncate(limit);
        let mut views = Vec::with_capacity(all.len());
        for live in all {
            views.push(self.rotation_view(&live).await?);
        }
        Ok((views, more))
    }

    /// A rotation.
    pub async fn rotation(&self, caller: &Caller, id: RotationId) -> Result<RotationView, Failure> {
        let live = self.managed_rotation(caller, id, READERS)?;
        self.rotation_view(&live).await
    }

    /// A rotation by its name, in a folder.
    pub async fn rotation_named(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        folder: FolderId,
        name: &str,
    ) -> Result<RotationView, Failure> {
        caller.allow(workspace, READERS, "rotation")?;
        let id = {
            let tip = self.tip.tip.read();
            let names = tip.live.names(SpaceId::folder(folder));
            let names = names.filter(|names| names.state.workspace == workspace);
            names.and_then(|names| names.state.names.get(&super::ground::rotation_name(name)).copied())
        };
        let live = self.managed_rotation(caller, RotationId(id.unwrap_or_default()), READERS)?;
        self.rotation_view(&live).await
    }

    /// A rotation that people see, of the caller's workspace.
    pub(super) fn managed_rotation(
        &self,
        caller: &Caller,
        id: RotationId,
        roles: &[rota_aggregates::authority::Role],
    ) -> Result<LiveRotation, Failure> {
        let live = self.live_rotation(id)?;
        caller.allow(live.state.workspace, roles, "rotation")?;
        Ok(live)
    }

    pub(super) async fn rotation_view(&self, live: &LiveRotation) -> Result<RotationView, Failure> {
        let parameters = self.open_parameters(live).await?;
        let (connection, place) = {
            let tip = self.tip.tip.read();
            let connection = tip.live.connection(live.state.connection);
            let places = tip.live.places(live.state.workspace).map(|places| places.state);
            let place = places.as_ref().and_then(|places| {
                let environment = places.environment_of(live.state.folder)?;
                Some((environment.slug.clone(), places.path_of(live.state.folder)?))
            });
            (connection.map(|live| (live.state.name.clone(), live.state.app.clone())), place)
        };
        Ok(RotationView {
            id: live.id,
            state: live.state.clone(),
            kind: parameters.kind(),
            description: self.description_at(live.described).await?,
            parameters: parameters.value(),
            connection,
            place,
        })
    }

    /// What a rotation that is gone holds in its folder from now on: nothing, or its secrets but those of some fields.
    pub(super) fn hold_after(
        &self,
        live: &LiveRotation,
        kept_but: Option<&[String]>,
        now: rota_aggregates::Timestamp,
    ) -> Result<Names, Failure> {
        let names = match kept_but {
            Some(gone) if live.state.stage != Stage::Creating => {
                let kept = live.state.settings.mapping.iter().filter(|(field, _)| !gone.contains(field));
                kept.map(|(_, mapped)| super::ground::secret_name(&mapped.key)).collect()
            }
            _ => BTreeSet::new(),
        };
        self.hold(SpaceId::folder(live.state.folder), live.state.workspace, live.id.0, names, now)
    }
}
