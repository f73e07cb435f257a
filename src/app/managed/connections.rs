//! Connections: how other systems are reached.

use rota_aggregates::connection::{Connection, ConnectionCommand, CredentialsRef};
use rota_aggregates::ids::Hash;
use rota_aggregates::{ConnectionId, Position, SpaceId, StreamId, WorkspaceId};
use rota_projections::live::LiveConnection;
use serde_json::Value;

use super::ground::{Beside, Change, Outcome, Planned, described, digest_of, hash};
use super::{ADMINS, CONNECTIONS_MAX, READERS};
use crate::app::change::ATTEMPTS_MAX;
use crate::app::{App, Caller, Failure};

/// Make a connection.
#[derive(Debug)]
pub struct NewConnection {
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Where the system is, and the authority that rota has there.
    pub connection: rota_targets::Connection,
}

/// Change a connection. What is `None` stays.
#[derive(Debug, Default)]
pub struct ConnectionEdit {
    /// Its name.
    pub name: Option<String>,
    /// What it is for; an empty text removes it.
    pub description: Option<String>,
    /// Where the system is and the authority there, whole, for the same app and method.
    pub connection: Option<rota_targets::Connection>,
}

/// A connection as people see it.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Its id.
    pub id: ConnectionId,
    /// Its state.
    pub state: Connection,
    /// What it is for.
    pub description: Option<String>,
    /// What may be shown of its credentials.
    pub credentials: Value,
    /// Changes when its credentials do, and only then.
    pub credentials_hash: String,
}

fn check_name(name: &str) -> Result<(), Failure> {
    let slug = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(slug) {
        return Ok(());
    }
    Err(Failure::invalid("name", "must be 1 to 64 lower-case letters, digits and hyphens"))
}

fn entry(name: &str) -> String {
    format!("connection/{name}")
}

impl App {
    /// Makes a connection, after the system has let rota in.
    pub async fn create_connection(
        &self,
        caller: &Caller,
        new: NewConnection,
    ) -> Result<(ConnectionView, Position), Failure> {
        let NewConnection { workspace, name, description, connection } = new;
        caller.allow(workspace, ADMINS, "project")?;
        check_name(&name)?;
        let details = described(description.as_deref())?;
        let id = ConnectionId(self.entropy()?.id(self.now()));
        // What can be known without the system is said before it is asked.
        self.name_is_free(workspace, &name, None)?;
        let connection = self.managed.targets.check(connection).await?;
        let bytes = connection.to_sealed();
        let digest = digest_of(self, id.0, &bytes)?;
        for _ in 0..ATTEMPTS_MAX {
            let _ring = self.keys();
            let (caller, mut expected, now) = self.ground(caller, workspace)?;
            if self.tip.tip.read().live.connections_of(workspace).count() >= CONNECTIONS_MAX {
                return Err(Failure::TooMany { what: "connections in a workspace", most: CONNECTIONS_MAX });
            }
            let mut entropy = self.entropy()?;
            let (event_id, sealed) = self.seal_beside(&bytes, now, &mut entropy);
            let credentials = CredentialsRef { sealed: Hash(sealed.sha256()), digest: hash(&digest) };
            let create = ConnectionCommand::Create {
                connection: id,
                workspace,
                app: connection.app().id().to_owned(),
                method: connection.method().to_owned(),
                name: name.clone(),
                credentials,
                now,
            };
            let event = Connection::default().decide(create)?.ok_or(Failure::Overloaded)?;
            let stream = StreamId::connection(id);
            let names = [entry(&name)].into_iter().collect();
            let (held, names) = self.hold(SpaceId::connections(workspace), workspace, id.0, names, now)?;
            expected.extend([(stream, None), names]);
            let beside = Beside {
                id: Some(event_id),
                secret: Some(sealed),
                digest: Some(digest),
                details: Some(details.clone()),
            };
            let mut events = vec![Planned::new(stream, event).with(beside)];
            events.extend(held);
            let change = Change { workspace, expected, events, claim: None, now };
            if let Outcome::Recorded(recording) = self.record(&caller, change, None).await? {
                let view = self.connection_view(&self.live_connection(id)?).await?;
                return Ok((view, recording.last));
            }
        }
        Err(Failure::Overloaded)
    }

    /// Changes a connection; other credentials are tried first.
    pub async fn update_connection(
        &self,
        caller: &Caller,
        id: ConnectionId,
        edit: ConnectionEdit,
    ) -> Result<(ConnectionView, Option<Position>), Failure> {
        let live = self.managed_connection(caller, id, ADMINS)?;
        let workspace = live.state.workspace;
        if let Some(name) = &edit.name {
            check_name(name)?;
            self.name_is_free(workspace, name, Some(id))?;
        }
        let mut checked = None;
        if let Some(connection) = edit.connection {
            if connection.app().id() != live.state.app || connection.method() != live.state.method {
                let reason = "must be of the connection's app and method; make another connection";
                return Err(Failure::invalid("method", reason));
            }
            let connection = self.managed.targets.check(connection).await?;
            let bytes = connection.to_sealed();
            let digest = digest_of(self, id.0, &bytes)?;
            // The same as before is no change.
            checked = (digest != live.digest).then_some((bytes, digest));
        }
        let described = match &edit.description {
            None => None,
            Some(text)
                if Some(text.as_str()).filter(|text| !text.is_empty())
                    == self.description_at(live.described).await?.as_deref() =>
            {
                None
            }
            Some(text) => Some(described(Some(text))?),
        };
        for _ in 0..ATTEMPTS_MAX {
            let _ring = self.keys();
            let live = self.managed_connection(caller, id, ADMINS)?;
            let (caller, mut expected, now) = self.ground(caller, workspace)?;
            let mut entropy = self.entropy()?;
            let sealed = checked.as_ref().map(|(bytes, digest)| {
                let (event, sealed) = self.seal_beside(bytes, now, &mut entropy);
                (event, sealed, *digest)
            });
            let credentials = sealed.as_ref().map(|(_, sealed, digest)| CredentialsRef {
                sealed: Hash(sealed.sha256()),
                digest: hash(digest),
            });
            let update = ConnectionCommand::Update {
                name: edit.name.clone(),
                described: described.is_some(),
                credentials,
                sealed: live.sealed,
                now,
            };
            let Some(event) = live.state.decide(update)? else {
                return Ok((self.connection_view(&live).await?, None));
            };
            let stream = StreamId::connection(id);
            expected.push((stream, Some(live.sequence)));
            let mut beside = Beside { details: described.clone(), ..Beside::default() };
            if let Some((event, sealed, digest)) = sealed {
                beside = Beside { id: Some(event), secret: Some(sealed), digest: Some(digest), ..beside };
            }
            let mut events = vec![Planned::new(stream, event).with(beside)];
            if let Some(name) = &edit.name {
                let names = [entry(name)].into_iter().collect();
                let (held, names) =
                    self.hold(SpaceId::connections(workspace), workspace, id.0, names, now)?;
                expected.push(names);
                events.extend(held);
            }
            let change = Change { workspace, expected, events, claim: None, now };
            if let Outcome::Recorded(recording) = self.record(&caller, change, None).await? {
                let view = self.connection_view(&self.live_connection(id)?).await?;
                return Ok((view, Some(recording.last)));
            }
        }
        Err(Failure::Overloaded)
    }

    /// Ends a connection that nothing uses. What it was.
    pub async fn delete_connection(
        &self,
        caller: &Caller,
        id: ConnectionId,
    ) -> Result<(ConnectionView, Position), Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let live = self.managed_connection(caller, id, ADMINS)?;
            let workspace = live.state.workspace;
            let view = self.connection_view(&live).await?;
            let (caller, mut expected, now) = self.ground(caller, workspace)?;
            let used_by = self.tip.tip.read().live.uses_of(id);
            let delete = ConnectionCommand::Delete { sealed: live.sealed, used_by, now };
            let event = live.state.decide(delete)?.ok_or(Failure::Overloaded)?;
            let stream = StreamId::connection(id);
            let none = std::collections::BTreeSet::new();
            let (held, names) = self.hold(SpaceId::connections(workspace), workspace, id.0, none, now)?;
            expected.extend([(stream, Some(live.sequence)), names]);
            let mut events = vec![Planned::new(stream, event)];
            events.extend(held);
            let change = Change { workspace, expected, events, claim: None, now };
            if let Outcome::Recorded(recording) = self.record(&caller, change, None).await? {
                return Ok((view, recording.last));
            }
        }
        Err(Failure::Overloaded)
    }

    /// Asks the system of a connection whether it still lets rota in, and notes the answer.
    pub async fn check_connection(
        &self,
        caller: &Caller,
        id: ConnectionId,
    ) -> Result<ConnectionView, Failure> {
        let live = self.managed_connection(caller, id, super::ROTATORS)?;
        let credentials = self.open_connection(&live).await?;
        let failure = self.managed.targets.check(credentials).await.err();
        for _ in 0..ATTEMPTS_MAX {
            let live = self.managed_connection(caller, id, super::ROTATORS)?;
            let (caller, mut expected, now) = self.ground(caller, live.state.workspace)?;
            let failure = failure.as_ref().map(|failure| failure.text().to_owned());
            let event = live.state.decide(ConnectionCommand::Check { failure, now })?;
            let event = event.ok_or(Failure::Overloaded)?;
            let stream = StreamId::connection(id);
            expected.push((stream, Some(live.sequence)));
            let events = vec![Planned::new(stream, event)];
            let workspace = live.state.workspace;
            let change = Change { workspace, expected, events, claim: None, now };
            if let Outcome::Recorded(_) = self.record(&caller, change, None).await? {
                return self.connection_view(&self.live_connection(id)?).await;
            }
        }
        Err(Failure::Overloaded)
    }

    /// The connections of a workspace, in order of their making.
    pub async fn connections(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
    ) -> Result<Vec<ConnectionView>, Failure> {
        caller.allow(workspace, READERS, "project")?;
        let all: Vec<_> = {
            let tip = self.tip.tip.read();
            if tip.live.workspace(workspace).is_none() {
                return Err(Failure::NotFound("project"));
            }
            tip.live.connections_of(workspace).cloned().collect()
        };
        let mut views = Vec::with_capacity(all.len());
        for live in all {
            views.push(self.connection_view(&live).await?);
        }
        Ok(views)
    }

    /// A connection.
    pub async fn connection(&self, caller: &Caller, id: ConnectionId) -> Result<ConnectionView, Failure> {
        let live = self.managed_connection(caller, id, READERS)?;
        self.connection_view(&live).await
    }

    /// A connection by its name.
    pub async fn connection_named(
        &self,
        caller: &Caller,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<ConnectionView, Failure> {
        caller.allow(workspace, READERS, "connection")?;
        let found = {
            let tip = self.tip.tip.read();
            tip.live.connections_of(workspace).find(|live| live.state.name == name).cloned()
        };
        self.connection_view(&found.ok_or(Failure::NotFound("connection"))?).await
    }

    /// A connection of the caller's workspace.
    pub(super) fn managed_connection(
        &self,
        caller: &Caller,
        id: ConnectionId,
        roles: &[rota_aggregates::authority::Role],
    ) -> Result<LiveConnection, Failure> {
        let live = self.live_connection(id)?;
        caller.allow(live.state.workspace, roles, "connection")?;
        Ok(live)
    }

    fn name_is_free(
        &self,
        workspace: WorkspaceId,
        name: &str,
        own: Option<ConnectionId>,
    ) -> Result<(), Failure> {
        let tip = self.tip.tip.read();
        let names = tip.live.names(SpaceId::connections(workspace));
        let by = names.and_then(|names| names.state.names.get(&entry(name)));
        match by {
            Some(by) if own.is_none_or(|own| own.0 != *by) => Err(Failure::taken(name)),
            _ => Ok(()),
        }
    }

    async fn connection_view(&self, live: &LiveConnection) -> Result<ConnectionView, Failure> {
        let credentials = self.open_connection(live).await?;
        Ok(ConnectionView {
            id: live.id,
            state: live.state.clone(),
            description: self.description_at(live.described).await?,
            credentials: credentials.public(),
            credentials_hash: Hash(live.digest).to_string(),
        })
    }
}
