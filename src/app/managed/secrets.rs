//! What is published of managed rotations, and what was generated.

use rota_aggregates::managed_rotation::{Held, ManagedRotationCommand, Stage};
use rota_aggregates::secret::Secret;
use rota_aggregates::{FolderId, RotationId, SpaceId, Timestamp, WorkspaceId};
use rota_projections::live::LiveRotation;
use rota_targets::{Credential, Kind};
use uuid::Uuid;

use super::ground::secret_name;
use super::{ADMINS, CONSUMERS, READERS, ROTATORS};
use crate::app::{App, Caller, Failure};

/// A secret that a rotation publishes, or has left behind.
#[derive(Debug)]
pub struct MappedSecret {
    /// Its id.
    pub id: Uuid,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// The folder that it is in.
    pub folder: FolderId,
    /// Its name.
    pub key: String,
    /// Its version.
    pub version: u32,
    /// Its value; nothing for whoever may know that it is there and no more, or who did not ask.
    pub value: Option<Secret>,
    /// The rotation that publishes it; nothing where that is no more.
    pub rotation: Option<RotationId>,
    /// When it was first published.
    pub created_at: Timestamp,
    /// When this version was.
    pub updated_at: Timestamp,
}

/// A credential that was generated.
#[derive(Debug)]
pub struct Generated {
    /// Its place.
    pub slot: u8,
    /// Whether it is the one that is published.
    pub active: bool,
    /// Since when it has been published, and whether rota knows it to be dead.
    pub held: Held,
    /// Its fields, in the kind's order, the last of them secret.
    pub public: Vec<(String, String)>,
    /// The name of its secret field.
    pub secret_field: &'static str,
    /// Its secret.
    pub secret: Secret,
}

/// The value of a field.
fn value_of(kind: Kind, field: &str, credential: &Credential) -> Option<String> {
    let [public, secret] = kind.description().fields;
    if field == secret.name {
        return Some(credential.secret.expose().to_owned());
    }
    credential.public.get(public.name).filter(|_| field == public.name).cloned()
}

impl App {
    /// Whether the caller may read values in a workspace, and whether it may see that there are any.
    fn reads_values(caller: &Caller, workspace: WorkspaceId) -> Result<bool, Failure> {
        if caller.allow(workspace, CONSUMERS, "project").is_ok() {
            return Ok(true);
        }
        caller.allow(workspace, READERS, "project").map(|()| false)
    }

    /// The secrets in a folder, by name.
    pub async fn mapped_secrets(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        folder: FolderId,
        with_values: bool,
    ) -> Result<Vec<MappedSecret>, Failure> {
        let with_values = Self::reads_values(caller, workspace)? && with_values;
        let all: Vec<_> = {
            let tip = self.tip.tip.read();
            let here = |live: &&LiveRotation| live.state.folder == folder && live.has_secrets();
            tip.live.managed_rotations_of(workspace).filter(here).cloned().collect()
        };
        let mut secrets = Vec::new();
        for live in all {
            secrets.extend(self.secrets_of(&live, None, with_values).await?);
        }
        secrets.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(secrets)
    }

    /// A secret by its name, in the version that is asked for: one that is gone is not found.
    pub async fn mapped_secret(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        folder: FolderId,
        key: &str,
        version: Option<u32>,
        with_value: bool,
    ) -> Result<MappedSecret, Failure> {
        let with_value = Self::reads_values(caller, workspace)? && with_value;
        let live = self.owner_of(workspace, folder, key)?;
        let secrets = self.secrets_of(&live, version, with_value).await?;
        secrets.into_iter().find(|secret| secret.key == key).ok_or(Failure::NotFound("secret"))
    }

    /// A secret by its id.
    pub async fn mapped_secret_by_id(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        id: Uuid,
        with_value: bool,
    ) -> Result<MappedSecret, Failure> {
        let with_value = Self::reads_values(caller, workspace)? && with_value;
        let live = {
            let tip = self.tip.tip.read();
            let has = |live: &&LiveRotation| {
                live.has_secrets() && live.state.settings.mapping.values().any(|mapped| mapped.secret == id)
            };
            tip.live.managed_rotations_of(workspace).find(has).cloned()
        };
        let live = live.ok_or(Failure::NotFound("secret"))?;
        let secrets = self.secrets_of(&live, None, with_value).await?;
        secrets.into_iter().find(|secret| secret.id == id).ok_or(Failure::NotFound("secret"))
    }

    /// Deletes a secret that a rotation has left behind. One that is still published is not to be deleted.
    pub async fn delete_mapped_secret(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        folder: FolderId,
        key: &str,
    ) -> Result<MappedSecret, Failure> {
        caller.allow(workspace, ADMINS, "project")?;
        let live = self.owner_of(workspace, folder, key)?;
        let secrets = self.secrets_of(&live, None, true).await?;
        let secret = secrets.into_iter().find(|secret| secret.key == key);
        let secret = secret.ok_or(Failure::NotFound("secret"))?;
        let fields: Vec<_> = {
            let mapping = live.state.settings.mapping.iter();
            mapping.filter(|(_, mapped)| mapped.key == key).map(|(field, _)| field.clone()).collect()
        };
        let command = |live: &LiveRotation, _, now| {
            let (fields, sealed) = (fields.clone(), live.sealed);
            ManagedRotationCommand::DeleteSecrets { fields, sealed, now }
        };
        self.note(caller, live.id, None, command).await?;
        Ok(secret)
    }

    /// The credentials that were generated and are kept, by their places.
    pub async fn generated_credentials(
        &self,
        caller: &Caller,
        id: RotationId,
    ) -> Result<(u8, Vec<Generated>), Failure> {
        let live = self.managed_rotation(caller, id, ROTATORS)?;
        let kind = self.open_parameters(&live).await?.kind();
        let [public_field, secret_field] = kind.description().fields;
        let mut generated = Vec::new();
        for slot in 0..2_u8 {
            let index = usize::from(slot);
            let (Some(held), Some(position)) = (live.state.slots[index], live.sealed.slots[index]) else {
                continue;
            };
            let Credential { public, secret } = self.credential_at(Some(position)).await?;
            let name = public_field.name;
            let shown = public.get(name).map(|value| (name.to_owned(), value.clone()));
            generated.push(Generated {
                slot,
                active: slot == live.state.active,
                held,
                public: shown.into_iter().collect(),
                secret_field: secret_field.name,
                secret,
            });
        }
        Ok((live.state.active, generated))
    }

    /// The rotation whose secret has this name.
    fn owner_of(&self, workspace: WorkspaceId, folder: FolderId, key: &str) -> Result<LiveRotation, Failure> {
        let tip = self.tip.tip.read();
        let names = tip.live.names(SpaceId::folder(folder));
        let names = names.filter(|names| names.state.workspace == workspace);
        let owner = names.and_then(|names| names.state.names.get(&secret_name(key)));
        let live = owner.and_then(|owner| tip.live.managed_rotation(RotationId(*owner)));
        live.filter(|live| live.has_secrets()).cloned().ok_or(Failure::NotFound("secret"))
    }

    /// The secrets of a rotation.
    async fn secrets_of(
        &self,
        live: &LiveRotation,
        version: Option<u32>,
        with_values: bool,
    ) -> Result<Vec<MappedSecret>, Failure> {
        let version = version.unwrap_or(live.state.version);
        let slot = live.state.slots.iter().position(|held| held.is_some_and(|held| held.version == version));
        let Some(slot) = slot else { return Ok(Vec::new()) };
        let held = live.state.slots[slot];
        let kind: Kind = live.state.kind.parse().map_err(|_| Failure::NotFound("secret"))?;
        let credential =
            if with_values { Some(self.credential_at(live.sealed.slots[slot]).await?) } else { None };
        let mut secrets = Vec::new();
        for (field, mapped) in &live.state.settings.mapping {
            let value = credential.as_ref().and_then(|credential| value_of(kind, field, credential));
            secrets.push(MappedSecret {
                id: mapped.secret,
                workspace: live.state.workspace,
                folder: live.state.folder,
                key: mapped.key.clone(),
                version,
                value: value.map(Secret::new),
                rotation: (live.state.stage != Stage::Deleted).then_some(live.id),
                created_at: live.state.created_at,
                updated_at: held.map_or(live.state.updated_at, |held| held.since),
            });
        }
        Ok(secrets)
    }
}
