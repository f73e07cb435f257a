//! Environments and folders of a workspace: adding, changing, removing, finding.

use rota_aggregates::authority::Role;
use rota_aggregates::places::{GIVEN, PlacesCommand, PlacesRefusal};
use rota_aggregates::record::Record;
use rota_aggregates::{EnvironmentId, FolderId, Position, SpaceId, StreamId, Timestamp, WorkspaceId};
use rota_projections::Details;
use rota_projections::live::LivePlaces;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::change::{ATTEMPTS_MAX, Along, Committed};
use super::issue::check_name;
use super::{App, Caller, Failure};
use crate::log::{Append, LogError};

/// A description has at most so many characters.
pub const DESCRIPTION_CHARS_MAX: usize = 500;
/// Whoever may read where things are.
const READERS: &[Role] = &[Role::Auditor, Role::Rotator, Role::Verifier, Role::Analyst];

/// An environment as people see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentView {
    /// Its id.
    pub id: EnvironmentId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its slug.
    pub slug: String,
    /// Its name; `None` once erased.
    pub name: Option<String>,
    /// Its place among the workspace's, from 1.
    pub position: usize,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last, or made.
    pub updated_at: Timestamp,
}

/// A folder as people see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FolderView {
    /// Its id.
    pub id: FolderId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The environment that it is in.
    pub environment: EnvironmentId,
    /// The folder that it is in; `None` for a root folder.
    pub parent: Option<FolderId>,
    /// Its name; `root` for a root folder.
    pub name: String,
    /// Where it is, such as `/apps/billing`.
    pub path: String,
    /// What it is for.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last, or made.
    pub updated_at: Timestamp,
}

/// A place by slug and path, as requests name one.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The environment's slug.
    pub environment: &'a str,
    /// The folder's path.
    pub path: &'a str,
}

/// Change a folder. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct FolderEdit {
    /// Its name.
    pub name: Option<String>,
    /// What it is for; an empty text removes it.
    pub description: Option<String>,
}

/// What is sealed beside the event about a place.
#[derive(Default)]
struct Described {
    name: Option<String>,
    description: Option<String>,
}

impl Described {
    fn details(&self, caller: &Caller) -> Details {
        let description = self.description.clone().map(Value::String);
        let profile = description.map(|text| Map::from_iter([("description".to_owned(), text)]));
        Details { name: self.name.clone(), profile, ..caller.details() }
    }
}

fn check_description(text: &str) -> Result<(), Failure> {
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        let reason = format!("must have at most {DESCRIPTION_CHARS_MAX} characters");
        return Err(Failure::invalid("description", reason));
    }
    Ok(())
}

impl App {
    /// The places of a workspace, for whoever may read there.
    fn readable_places(&self, caller: &Caller, workspace: WorkspaceId) -> Result<LivePlaces, Failure> {
        caller.allow(workspace, READERS, "project")?;
        self.live_places(workspace)
    }

    /// The places of a workspace.
    pub(super) fn live_places(&self, workspace: WorkspaceId) -> Result<LivePlaces, Failure> {
        self.tip.tip.read().live.places(workspace).ok_or(Failure::NotFound("project"))
    }

    /// The folder of a place. That a part of it is not there is said in these words: "environment", "folder".
    pub fn folder_at(&self, caller: &Caller, place: &Place<'_>) -> Result<FolderView, Failure> {
        let places = self.readable_places(caller, place.workspace)?;
        let id = find(&places, place)?;
        self.bare_folder(&places, place.workspace, id)
    }

    /// The environments of a workspace, in order.
    pub async fn environments(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
    ) -> Result<Vec<EnvironmentView>, Failure> {
        let places = self.readable_places(caller, workspace)?;
        let mut views = Vec::with_capacity(places.state.environments.len());
        for environment in &places.state.environments {
            views.push(self.environment_view(&places, workspace, environment.id).await?);
        }
        Ok(views)
    }

    /// An environment.
    pub async fn environment(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        id: EnvironmentId,
    ) -> Result<EnvironmentView, Failure> {
        let places = self.readable_places(caller, workspace)?;
        self.environment_view(&places, workspace, id).await
    }

    /// Adds an environment.
    pub async fn add_environment(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        name: &str,
        slug: &str,
    ) -> Result<(EnvironmentView, Option<Position>), Failure> {
        check_name("name", name)?;
        let id = EnvironmentId(self.entropy()?.id(self.now()));
        let described = Described { name: Some(name.to_owned()), ..Described::default() };
        let command = |_: &LivePlaces, now| {
            Ok(PlacesCommand::AddEnvironment { environment: id, slug: slug.to_owned(), now })
        };
        let position = self.change_places(caller, workspace, command, &described, None).await?;
        Ok((self.environment_view(&self.live_places(workspace)?, workspace, id).await?, position))
    }

    /// Changes an environment's slug or name.
    pub async fn change_environment(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        id: EnvironmentId,
        name: Option<&str>,
        slug: Option<&str>,
    ) -> Result<(EnvironmentView, Option<Position>), Failure> {
        name.map_or(Ok(()), |name| check_name("name", name))?;
        let described = Described { name: name.map(str::to_owned), ..Described::default() };
        let command = |places: &LivePlaces, now| {
            let before = places.state.environment(id).ok_or(Failure::NotFound("environment"))?;
            let slug = slug.map_or_else(|| before.slug.clone(), str::to_owned);
            Ok(PlacesCommand::ChangeEnvironment { environment: id, slug, renamed: name.is_some(), now })
        };
        let position = self.change_places(caller, workspace, command, &described, None).await?;
        Ok((self.environment_view(&self.live_places(workspace)?, workspace, id).await?, position))
    }

    /// Removes an environment that has nothing in it.
    pub async fn remove_environment(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        id: EnvironmentId,
    ) -> Result<(EnvironmentView, Option<Position>), Failure> {
        caller.allow(workspace, &[Role::Admin], "project")?;
        let view = self.environment_view(&self.live_places(workspace)?, workspace, id).await?;
        let command = |_: &LivePlaces, now| Ok(PlacesCommand::RemoveEnvironment { environment: id, now });
        let position =
            self.change_places(caller, workspace, command, &Described::default(), Some(id.root())).await?;
        Ok((view, position))
    }

    /// The folders in a folder; with `deep`, all below it.
    pub async fn folders(
        &self,
        caller: &Caller,
        place: &Place<'_>,
        deep: bool,
    ) -> Result<Vec<FolderView>, Failure> {
        let places = self.readable_places(caller, place.workspace)?;
        let mut open = vec![find(&places, place)?];
        let mut found = Vec::new();
        while let Some(parent) = open.pop() {
            for folder in places.state.within(parent) {
                found.push(folder.id);
                if deep {
                    open.push(folder.id);
                }
            }
        }
        let mut views = Vec::with_capacity(found.len());
        for id in found {
            views.push(self.folder_view(&places, place.workspace, id).await?);
        }
        views.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(views)
    }

    /// A folder by its id, in whichever workspace of the caller's it is.
    pub async fn folder(
        &self,
        caller: &Caller,
        id: FolderId,
    ) -> Result<(FolderView, EnvironmentView), Failure> {
        let unknown = Failure::NotFound("folder");
        let workspaces = match caller.workspace() {
            Some(own) => vec![own],
            None => self.tip.tip.read().live.workspaces().map(|(workspace, _)| workspace).collect(),
        };
        for workspace in workspaces {
            let places = self.readable_places(caller, workspace)?;
            let Some(environment) = places.state.environment_of(id).map(|e| e.id) else { continue };
            let folder = self.folder_view(&places, workspace, id).await?;
            return Ok((folder, self.environment_view(&places, workspace, environment).await?));
        }
        Err(unknown)
    }

    /// Adds a folder.
    pub async fn add_folder(
        &self,
        caller: &Caller,
        place: &Place<'_>,
        name: &str,
        description: Option<&str>,
    ) -> Result<(FolderView, Option<Position>), Failure> {
        description.map_or(Ok(()), check_description)?;
        let id = FolderId(self.entropy()?.id(self.now()));
        let described = Described { description: description.map(str::to_owned), ..Described::default() };
        let command = |places: &LivePlaces, now| {
            let parent = find(places, place)?;
            Ok(PlacesCommand::AddFolder { folder: id, parent, name: name.to_owned(), now })
        };
        let position = self.change_places(caller, place.workspace, command, &described, None).await?;
        Ok((self.folder_view(&self.live_places(place.workspace)?, place.workspace, id).await?, position))
    }

    /// Changes a folder.
    pub async fn change_folder(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        id: FolderId,
        edit: &FolderEdit,
    ) -> Result<(FolderView, Option<Position>), Failure> {
        edit.description.as_deref().map_or(Ok(()), check_description)?;
        let described = Described { description: edit.description.clone(), ..Described::default() };
        let command = |places: &LivePlaces, now| {
            let before = places.state.folder(id).map(|folder| folder.name.clone());
            let name = edit.name.clone().or(before).unwrap_or_default();
            Ok(PlacesCommand::ChangeFolder { folder: id, name, described: edit.description.is_some(), now })
        };
        let position = self.change_places(caller, workspace, command, &described, None).await?;
        Ok((self.folder_view(&self.live_places(workspace)?, workspace, id).await?, position))
    }

    /// Removes a folder that has nothing in it.
    pub async fn remove_folder(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        id: FolderId,
    ) -> Result<(FolderView, Option<Position>), Failure> {
        caller.allow(workspace, &[Role::Admin], "project")?;
        let view = self.folder_view(&self.live_places(workspace)?, workspace, id).await?;
        let command = |_: &LivePlaces, now| Ok(PlacesCommand::RemoveFolder { folder: id, now });
        let position =
            self.change_places(caller, workspace, command, &Described::default(), Some(id)).await?;
        Ok((view, position))
    }

    /// Changes the places of a workspace. `emptied` is a folder that must have nothing in it. The event's position;
    /// `None` if it was so already.
    async fn change_places(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        command: impl Fn(&LivePlaces, Timestamp) -> Result<PlacesCommand, Failure>,
        described: &Described,
        emptied: Option<FolderId>,
    ) -> Result<Option<Position>, Failure> {
        caller.allow(workspace, &[Role::Admin], "project")?;
        for _ in 0..ATTEMPTS_MAX {
            let (caller, mut expected, now) = self.ground(caller, workspace)?;
            let places = self.live_places(workspace)?;
            let stream = StreamId::places(workspace);
            let Some(event) = places.state.decide(command(&places, now)?)? else { return Ok(None) };
            expected.push((stream, places.sequence));
            if let Some(folder) = emptied.map(SpaceId::folder) {
                // Whoever puts something there writes to this stream.
                let tip = self.tip.tip.read();
                let names = tip.live.names(folder);
                if names.is_some_and(|names| !names.state.names.is_empty()) {
                    return Err(PlacesRefusal::NotEmpty.into());
                }
                expected.push((StreamId::name_space(folder), names.map(|names| names.sequence)));
            }
            let place = self.place()?;
            // Held until the command is recorded: see `rewrap`.
            let _ring = self.keys();
            let along = Along { details: described.details(&caller), ..Along::default() };
            let mut entropy = self.entropy()?;
            let events = vec![(stream, event.into())];
            let events = self.encode(&caller, workspace, events, &along, now, &mut entropy)?;
            let append = Append { expected, claim: None, events, shred: Vec::new(), decided_at: now };
            match self.commit(place, append, None).await {
                Ok(Some(recording)) => return Ok(Some(recording.last)),
                Ok(None) => {}
                Err(Committed::Failed(failure)) => return Err(failure),
                Err(Committed::Before(position)) => return Ok(Some(position)),
            }
        }
        Err(Failure::Overloaded)
    }

    fn opened_at(&self, workspace: WorkspaceId) -> Timestamp {
        let state = self.tip.tip.read().live.workspace(workspace).map(|(state, _)| state);
        state.and_then(|state| state.opened_at).unwrap_or_default()
    }

    async fn environment_view(
        &self,
        places: &LivePlaces,
        workspace: WorkspaceId,
        id: EnvironmentId,
    ) -> Result<EnvironmentView, Failure> {
        let unknown = Failure::NotFound("environment");
        let index = places.state.environments.iter().position(|environment| environment.id == id);
        let Some((index, environment)) = index.zip(places.state.environment(id)) else { return Err(unknown) };
        let given = GIVEN.iter().find(|(slug, _)| EnvironmentId::given(workspace, slug) == id);
        let name = match (places.described.get(&id.0), given) {
            (None, Some((_, name))) => Some((*name).to_owned()),
            _ => self.described(places, id.0).await?.name,
        };
        let created_at = environment.added_at.unwrap_or_else(|| self.opened_at(workspace));
        Ok(EnvironmentView {
            id,
            workspace,
            slug: environment.slug.clone(),
            name,
            position: index + 1,
            created_at,
            updated_at: environment.changed_at.unwrap_or(created_at),
        })
    }

    async fn folder_view(
        &self,
        places: &LivePlaces,
        workspace: WorkspaceId,
        id: FolderId,
    ) -> Result<FolderView, Failure> {
        let mut view = self.bare_folder(places, workspace, id)?;
        view.description = self.described(places, id.0).await?.description.filter(|text| !text.is_empty());
        Ok(view)
    }

    /// A folder without what is sealed about it.
    fn bare_folder(
        &self,
        places: &LivePlaces,
        workspace: WorkspaceId,
        id: FolderId,
    ) -> Result<FolderView, Failure> {
        let unknown = || Failure::NotFound("folder");
        let path = places.state.path_of(id).ok_or_else(unknown)?;
        let environment = places.state.environment_of(id).ok_or_else(unknown)?;
        let folder = places.state.folder(id);
        let created_at = match folder {
            Some(folder) => folder.added_at,
            None => environment.added_at.unwrap_or_else(|| self.opened_at(workspace)),
        };
        Ok(FolderView {
            id,
            workspace,
            environment: environment.id,
            parent: folder.map(|folder| folder.parent),
            name: folder.map_or_else(|| "root".to_owned(), |folder| folder.name.clone()),
            path,
            description: None,
            created_at,
            updated_at: folder.map_or(created_at, |folder| folder.changed_at),
        })
    }

    /// What is sealed about a place. Read anew each time: what is erased is gone at once.
    async fn described(&self, places: &LivePlaces, id: Uuid) -> Result<Described, Failure> {
        let Some(position) = places.described.get(&id).copied() else { return Ok(Described::default()) };
        let stored = self.log.read_at(&[position]).await?;
        let Some(stored) = stored.first() else { return Ok(Described::default()) };
        let record = Record::decode(&stored.leaf).map_err(|source| LogError::BadLeaf { position, source })?;
        let details = self.details(&record, stored).unwrap_or_default();
        let description = details.profile.as_ref().and_then(|profile| profile.get("description"));
        let description = description.and_then(Value::as_str).map(str::to_owned);
        Ok(Described { name: details.name, description })
    }
}

fn find(places: &LivePlaces, place: &Place<'_>) -> Result<FolderId, Failure> {
    let environment = places.state.by_slug(place.environment).ok_or(Failure::NotFound("environment"))?;
    places.state.at_path(environment.id, place.path).ok_or(Failure::NotFound("folder"))
}
