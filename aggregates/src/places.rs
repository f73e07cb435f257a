//! The places of a workspace: its environments, and the folders in each of them. Secrets that are published for
//! others to read are in a folder.
//!
//! Every workspace has three environments from the start, and every environment its root folder; they have no
//! events of their own, and their ids follow from the workspace's. The name that people give an environment and the
//! descriptions of folders travel in the sealed details of the events; slugs and the names of folders are parts of
//! paths, and in the events.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{EnvironmentId, FolderId, WorkspaceId};
use crate::time::Timestamp;

/// The environments that every workspace has: slug, and what people call it.
pub const GIVEN: [(&str, &str); 3] = [("dev", "Development"), ("staging", "Staging"), ("prod", "Production")];
/// A workspace has at most so many environments.
pub const ENVIRONMENTS_MAX: usize = 50;
/// A workspace has at most so many folders beside the root folders.
pub const FOLDERS_MAX: usize = 1_000;
/// A folder is at most so deep.
pub const DEPTH_MAX: usize = 20;
/// A slug, and the name of a folder, has at most so many characters.
pub const SLUG_CHARS_MAX: usize = 64;

impl EnvironmentId {
    /// The id of an environment that a workspace has from the start.
    pub fn given(workspace: WorkspaceId, slug: &str) -> Self {
        Self(Uuid::new_v5(&workspace.0, format!("environment/{slug}").as_bytes()))
    }

    /// Its root folder.
    pub fn root(self) -> FolderId {
        FolderId(Uuid::new_v5(&self.0, b"/"))
    }
}

/// Whether a text is a slug: lower-case letters, digits and single hyphens between them.
pub fn is_slug(text: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= SLUG_CHARS_MAX && text.split('-').all(part)
}

/// Whether a text may be the name of a folder.
pub fn is_folder_name(text: &str) -> bool {
    (1..=SLUG_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// What may be asked of the places of a workspace.
#[derive(Clone, Debug)]
pub enum PlacesCommand {
    /// Add an environment. Its name travels in the event's sealed details.
    AddEnvironment {
        /// Its id.
        environment: EnvironmentId,
        /// Its slug.
        slug: String,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Change an environment.
    ChangeEnvironment {
        /// Its id.
        environment: EnvironmentId,
        /// The slug from now on.
        slug: String,
        /// Whether its name changes.
        renamed: bool,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Remove an environment that has no folder.
    RemoveEnvironment {
        /// Its id.
        environment: EnvironmentId,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Add a folder. Its description travels in the event's sealed details.
    AddFolder {
        /// Its id.
        folder: FolderId,
        /// The folder that it is in.
        parent: FolderId,
        /// Its name.
        name: String,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Change a folder.
    ChangeFolder {
        /// Its id.
        folder: FolderId,
        /// Its name from now on.
        name: String,
        /// Whether its description changes.
        described: bool,
        /// The time of the decision.
        now: Timestamp,
    },
    /// Remove a folder that has no folder in it.
    RemoveFolder {
        /// Its id.
        folder: FolderId,
        /// The time of the decision.
        now: Timestamp,
    },
}

crate::event::events! {
    /// What has happened to the places of a workspace.
    PlacesEvent {
        /// An environment was added.
        EnvironmentAdded = "rota.places.environment-added.v1",
        /// An environment has another slug or name.
        EnvironmentChanged = "rota.places.environment-changed.v1",
        /// An environment was removed.
        EnvironmentRemoved = "rota.places.environment-removed.v1",
        /// A folder was added.
        FolderAdded = "rota.places.folder-added.v1",
        /// A folder has another name or description.
        FolderChanged = "rota.places.folder-changed.v1",
        /// A folder was removed.
        FolderRemoved = "rota.places.folder-removed.v1",
    }
}

/// An environment was added.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentAdded {
    /// Its id.
    pub environment: EnvironmentId,
    /// Its slug.
    pub slug: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// An environment has another slug or name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentChanged {
    /// Its id.
    pub environment: EnvironmentId,
    /// Its slug from now on.
    pub slug: String,
    /// Whether it has another name.
    pub renamed: bool,
    /// When it was decided.
    pub at: Timestamp,
}

/// An environment was removed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentRemoved {
    /// Its id.
    pub environment: EnvironmentId,
    /// When it was decided.
    pub at: Timestamp,
}

/// A folder was added.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FolderAdded {
    /// Its id.
    pub folder: FolderId,
    /// The environment that it is in.
    pub environment: EnvironmentId,
    /// The folder that it is in.
    pub parent: FolderId,
    /// Its name.
    pub name: String,
    /// When it was decided.
    pub at: Timestamp,
}

/// A folder has another name or description.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FolderChanged {
    /// Its id.
    pub folder: FolderId,
    /// Its name from now on.
    pub name: String,
    /// Whether it has another description.
    pub described: bool,
    /// When it was decided.
    pub at: Timestamp,
}

/// A folder was removed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FolderRemoved {
    /// Its id.
    pub folder: FolderId,
    /// When it was decided.
    pub at: Timestamp,
}

/// Why the places of a workspace refuse.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlacesRefusal {
    /// There is no such environment.
    #[error("there is no such environment")]
    UnknownEnvironment,
    /// There is no such folder.
    #[error("there is no such folder")]
    UnknownFolder,
    /// Another environment has this slug.
    #[error("there is an environment with this slug already")]
    SlugTaken,
    /// Another folder in the same one has this name.
    #[error("there is a folder with this name already")]
    NameTaken,
    /// There is something in it.
    #[error("there is something in it; remove that first")]
    NotEmpty,
    /// The root folder stays as it is.
    #[error("the root folder is part of its environment")]
    RootFolder,
    /// There are as many as there may be.
    #[error("there are as many as there may be; remove one first")]
    TooMany,
    /// A value is out of bounds.
    #[error("{field} {reason}")]
    Invalid {
        /// The value.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An environment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Its slug.
    pub slug: String,
    /// When it was added; `None` for one that the workspace has from the start.
    pub added_at: Option<Timestamp>,
    /// When it was changed last.
    pub changed_at: Option<Timestamp>,
}

/// A folder that is no root folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Folder {
    /// Its id.
    pub id: FolderId,
    /// The environment that it is in.
    pub environment: EnvironmentId,
    /// The folder that it is in.
    pub parent: FolderId,
    /// Its name.
    pub name: String,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it was changed last, or added.
    pub changed_at: Timestamp,
}

/// The places of a workspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Places {
    /// The environments, in order of their making.
    pub environments: Vec<Environment>,
    /// The folders beside the root folders, in order of their making.
    pub folders: Vec<Folder>,
}

impl Default for Places {
    fn default() -> Self {
        Self::of(WorkspaceId::default())
    }
}

impl Places {
    /// What a workspace has from the start.
    pub fn of(workspace: WorkspaceId) -> Self {
        let environment = |(slug, _): (&str, _)| Environment {
            id: EnvironmentId::given(workspace, slug),
            slug: slug.to_owned(),
            added_at: None,
            changed_at: None,
        };
        Self { environments: GIVEN.map(environment).to_vec(), folders: Vec::new() }
    }

    /// An environment by its id.
    pub fn environment(&self, id: EnvironmentId) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.id == id)
    }

    /// An environment by its slug.
    pub fn by_slug(&self, slug: &str) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.slug == slug)
    }

    /// A folder by its id; `None` for a root folder.
    pub fn folder(&self, id: FolderId) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.id == id)
    }

    /// The folders in a folder.
    pub fn within(&self, parent: FolderId) -> impl Iterator<Item = &Folder> {
        self.folders.iter().filter(move |folder| folder.parent == parent)
    }

    /// The environment that a folder is in.
    pub fn environment_of(&self, id: FolderId) -> Option<&Environment> {
        let root = || self.environments.iter().find(|environment| environment.id.root() == id);
        match self.folder(id) {
            Some(folder) => self.environment(folder.environment),
            None => root(),
        }
    }

    /// The folder at a path such as `/apps/billing`; a slash at its end is passed over.
    pub fn at_path(&self, environment: EnvironmentId, path: &str) -> Option<FolderId> {
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let root = self.environment(environment)?.id.root();
        let step = |parent, name: &str| self.within(parent).find(|f| f.name == name).map(|f| f.id);
        path.split('/').filter(|_| !path.is_empty()).try_fold(root, step)
    }

    /// Where a folder is, such as `/apps/billing`; `/` for a root folder.
    pub fn path_of(&self, id: FolderId) -> Option<String> {
        let mut names = Vec::new();
        let mut at = id;
        while let Some(folder) = self.folder(at) {
            names.push(folder.name.as_str());
            at = folder.parent;
        }
        self.environment_of(at)?;
        names.push("");
        names.reverse();
        Some(if names.len() == 1 { "/".to_owned() } else { names.join("/") })
    }

    fn depth_of(&self, id: FolderId) -> usize {
        std::iter::successors(self.folder(id), |folder| self.folder(folder.parent)).count()
    }

    fn check_slug(&self, id: EnvironmentId, slug: &str) -> Result<(), PlacesRefusal> {
        if !is_slug(slug) {
            let reason = "must have 1 to 64 lower-case letters, digits and single hyphens between them";
            return Err(PlacesRefusal::Invalid { field: "slug", reason });
        }
        match self.by_slug(slug) {
            Some(other) if other.id != id => Err(PlacesRefusal::SlugTaken),
            _ => Ok(()),
        }
    }

    fn check_name(&self, id: FolderId, parent: FolderId, name: &str) -> Result<(), PlacesRefusal> {
        if !is_folder_name(name) {
            let reason = "must have 1 to 64 letters, digits, hyphens and underscores";
            return Err(PlacesRefusal::Invalid { field: "name", reason });
        }
        if self.within(parent).any(|other| other.name == name && other.id != id) {
            return Err(PlacesRefusal::NameTaken);
        }
        Ok(())
    }

    /// A folder that may be changed.
    fn changeable(&self, id: FolderId) -> Result<&Folder, PlacesRefusal> {
        let root = || match self.environment_of(id) {
            Some(_) => PlacesRefusal::RootFolder,
            None => PlacesRefusal::UnknownFolder,
        };
        self.folder(id).ok_or_else(root)
    }

    /// The decision: what happens, or why not. Nothing means that it is so already.
    pub fn decide(&self, command: PlacesCommand) -> Result<Option<PlacesEvent>, PlacesRefusal> {
        match command {
            PlacesCommand::AddEnvironment { environment, slug, now: at } => {
                self.check_slug(environment, &slug)?;
                if self.environments.len() >= ENVIRONMENTS_MAX {
                    return Err(PlacesRefusal::TooMany);
                }
                Ok(Some(EnvironmentAdded { environment, slug, at }.into()))
            }
            PlacesCommand::ChangeEnvironment { environment, slug, renamed, now: at } => {
                let before = self.environment(environment).ok_or(PlacesRefusal::UnknownEnvironment)?;
                self.check_slug(environment, &slug)?;
                let changes = renamed || before.slug != slug;
                Ok(changes.then(|| EnvironmentChanged { environment, slug, renamed, at }.into()))
            }
            PlacesCommand::RemoveEnvironment { environment, now: at } => {
                self.environment(environment).ok_or(PlacesRefusal::UnknownEnvironment)?;
                if self.folders.iter().any(|folder| folder.environment == environment) {
                    return Err(PlacesRefusal::NotEmpty);
                }
                Ok(Some(EnvironmentRemoved { environment, at }.into()))
            }
            PlacesCommand::AddFolder { folder, parent, name, now: at } => {
                let environment = self.environment_of(parent).ok_or(PlacesRefusal::UnknownFolder)?.id;
                self.check_name(folder, parent, &name)?;
                if self.folders.len() >= FOLDERS_MAX || self.depth_of(parent) >= DEPTH_MAX {
                    return Err(PlacesRefusal::TooMany);
                }
                Ok(Some(FolderAdded { folder, environment, parent, name, at }.into()))
            }
            PlacesCommand::ChangeFolder { folder, name, described, now: at } => {
                let before = self.changeable(folder)?;
                self.check_name(folder, before.parent, &name)?;
                let changes = described || before.name != name;
                Ok(changes.then(|| FolderChanged { folder, name, described, at }.into()))
            }
            PlacesCommand::RemoveFolder { folder, now: at } => {
                self.changeable(folder)?;
                if self.within(folder).next().is_some() {
                    return Err(PlacesRefusal::NotEmpty);
                }
                Ok(Some(FolderRemoved { folder, at }.into()))
            }
        }
    }

    /// Takes in what has happened.
    pub fn evolve(&mut self, event: &PlacesEvent) {
        match event {
            PlacesEvent::EnvironmentAdded(e) => self.environments.push(Environment {
                id: e.environment,
                slug: e.slug.clone(),
                added_at: Some(e.at),
                changed_at: None,
            }),
            PlacesEvent::EnvironmentChanged(e) => {
                if let Some(known) = self.environments.iter_mut().find(|known| known.id == e.environment) {
                    known.slug.clone_from(&e.slug);
                    known.changed_at = Some(e.at);
                }
            }
            PlacesEvent::EnvironmentRemoved(e) => self.environments.retain(|known| known.id != e.environment),
            PlacesEvent::FolderAdded(e) => self.folders.push(Folder {
                id: e.folder,
                environment: e.environment,
                parent: e.parent,
                name: e.name.clone(),
                added_at: e.at,
                changed_at: e.at,
            }),
            PlacesEvent::FolderChanged(e) => {
                if let Some(known) = self.folders.iter_mut().find(|known| known.id == e.folder) {
                    known.name.clone_from(&e.name);
                    known.changed_at = e.at;
                }
            }
            PlacesEvent::FolderRemoved(e) => self.folders.retain(|known| known.id != e.folder),
        }
    }
}

impl Aggregate for Places {
    const TYPE: &'static str = "places";
    type Command = PlacesCommand;
    type Event = PlacesEvent;
    type Error = PlacesRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: PlacesCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), PlacesRefusal> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: PlacesEvent) {
        self.evolve(&event);
    }
}
