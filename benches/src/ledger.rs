//! Ledgers of any size, written through the log in large batches, and rota opened on them.

use std::path::Path;
use std::sync::Arc;

use rota::app::clock::{Clock, SystemClock};
use rota::app::{App, Caller, Opened, Options, Principal, StoreUrl};
use rota::log::sqlite::{ROWS_MAX, SqliteLog};
use rota::log::{Batch, EventLog, Row, Side};
use rota_aggregates::authority::{Actor, Dialect, Proof, Roles};
use rota_aggregates::credential::{CredentialIssued, Kind, Replaced, SecretRef, SecretRotated};
use rota_aggregates::ids::Hash;
use rota_aggregates::record::{Context, SealedHashes, encode_body, stamp};
use rota_aggregates::secret::{RANDOM_BYTES, SecretShape, generate};
use rota_aggregates::workspace::{Workspace, WorkspaceCommand, WorkspaceEvent};
use rota_aggregates::{
    CredentialId, Event, EventId, Position, RequestId, Sequence, StreamId, Timestamp, WorkspaceId,
};
use rota_projections::Fact;
use uuid::{Builder, Uuid};

use crate::Outcome;

/// Numbers that look random and are the same at every run.
pub struct Numbers(u64);

impl Numbers {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }

    fn id(&mut self, now: Timestamp) -> Uuid {
        Builder::from_unix_timestamp_millis((now.micros() / 1_000) as u64, &self.bytes()).into_uuid()
    }
}

/// An event as the committer would record it.
pub struct Generated {
    /// Its place.
    pub position: Position,
    /// Its time.
    pub time: Timestamp,
    /// Its place in its stream.
    pub sequence: Sequence,
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// The circumstances.
    pub context: Context,
    /// What happened.
    pub event: Event,
    /// The digest of the secret that it brings.
    pub digest: Option<[u8; 32]>,
}

impl Generated {
    /// What a fold sees of it.
    pub fn fact(&self) -> Fact<'_> {
        Fact {
            position: self.position,
            time: self.time,
            sequence: self.sequence,
            id: self.id,
            stream: self.stream,
            context: &self.context,
            claim: None,
            has_answer: false,
            event: &self.event,
            digest: self.digest,
        }
    }

    /// What the log writes of it.
    pub fn row(&self) -> Outcome<Row> {
        let body =
            encode_body(self.id, self.stream, &self.context, None, SealedHashes::default(), &self.event)?;
        let side = Side { digest: self.digest, ..Side::default() };
        Ok(Row { id: self.id, leaf: stamp(&body, self.time, self.sequence), side })
    }
}

/// Makes the history of one workspace: all its credentials first, and then rotations of them at random.
pub struct History {
    numbers: Numbers,
    now: Timestamp,
    next: u64,
    workspace: WorkspaceId,
    credentials: Vec<(CredentialId, u32)>,
}

impl History {
    /// A history that begins a day ago.
    pub fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let now = SystemClock.now().minus_seconds(86_400);
        let workspace = WorkspaceId(numbers.id(now));
        Self { numbers, now, next: 0, workspace, credentials: Vec::new() }
    }

    /// The credentials that it has so far.
    pub fn credentials(&self) -> impl Iterator<Item = CredentialId> {
        self.credentials.iter().map(|(id, _)| *id)
    }

    /// Forgets the credentials that it has so far, for measuring what others keep of them.
    pub fn forget(&mut self) {
        self.credentials.clear();
    }

    /// The next event: the workspace's first, then up to `credentials` issues, then rotations.
    pub fn event(&mut self, credentials: usize) -> Outcome<Generated> {
        if self.next == 0 {
            let events = Workspace::default().decide(&WorkspaceCommand::OpenWorkspace { now: self.now })?;
            let opened: WorkspaceEvent =
                events.into_iter().next().ok_or("a workspace opens with an event")?;
            let stream = StreamId::workspace(self.workspace);
            return Ok(self.recorded(stream, Sequence(1), opened.into(), None));
        }
        let digest = self.numbers.bytes::<32>();
        let mut secret = SecretRef {
            version: 1,
            hint: "0a1b".to_owned(),
            digest: Hash(self.numbers.bytes()),
            sealed: None,
        };
        if self.credentials.len() < credentials {
            let id = CredentialId(self.numbers.id(self.now));
            let random = self.numbers.bytes::<RANDOM_BYTES>();
            let event = CredentialIssued {
                credential: id,
                workspace: self.workspace,
                kind: Kind::Client,
                public_id: generate(SecretShape::Client, &random).public_id,
                roles: Roles::default(),
                mode: None,
                parent: None,
                secret,
                at: self.now,
            };
            self.credentials.push((id, 1));
            let event = Event::Credential(event.into());
            return Ok(self.recorded(StreamId::credential(id), Sequence(1), event, Some(digest)));
        }
        let index = self.numbers.draw() as usize % self.credentials.len();
        let (id, version) = self.credentials[index];
        self.credentials[index].1 = version + 1;
        secret.version = version + 1;
        let event = SecretRotated {
            secret,
            replaced: Some(Replaced { version, expires_at: None, replay_until: None }),
            grace_seconds: 0,
            compromised: false,
            shredded: Vec::new(),
            at: self.now,
        };
        let event = Event::Credential(event.into());
        Ok(self.recorded(StreamId::credential(id), Sequence(version + 1), event, Some(digest)))
    }

    fn recorded(
        &mut self,
        stream: StreamId,
        sequence: Sequence,
        event: Event,
        digest: Option<[u8; 32]>,
    ) -> Generated {
        self.now = Timestamp::from_micros(self.now.micros() + 10);
        let request = RequestId(self.numbers.id(self.now));
        let context = Context {
            workspace: self.workspace,
            actor: Actor::OPERATOR,
            dialect: Dialect::Native,
            proof: Proof::OPERATOR,
            request,
            causation: request.0,
            correlation: request.0,
        };
        let (position, id) = (Position(self.next), EventId(self.numbers.id(self.now)));
        self.next += 1;
        Generated { position, time: self.now, sequence, id, stream, context, event, digest }
    }

    /// Appends so many events to a log, in the largest batches that are one statement.
    pub async fn append(&mut self, log: &dyn EventLog, events: usize, credentials: usize) -> Outcome {
        let mut left = events;
        while left > 0 {
            let mut batch = Batch { at: Position(self.next), ..Batch::default() };
            for _ in 0..left.min(ROWS_MAX) {
                batch.rows.push(self.event(credentials)?.row()?);
            }
            left -= batch.rows.len();
            log.append(&batch).await?;
        }
        Ok(())
    }
}

/// Writes a ledger of `credentials` and `rotations` into an empty folder. Returns its credentials.
pub async fn write(path: &Path, credentials: usize, rotations: usize) -> Outcome<Vec<CredentialId>> {
    let log = SqliteLog::open(path).await?;
    log.start_checkpoints().await?;
    let mut history = History::new(credentials as u64);
    history.append(&log, 1 + credentials + rotations, credentials).await?;
    Ok(history.credentials().collect())
}

/// Opens rota on a ledger, with everything that runs in production but the ways in.
pub async fn open(path: &Path) -> Outcome<Opened> {
    let options = Options::new(StoreUrl::Sqlite(path.to_owned()), Arc::new(SystemClock));
    let opened = App::open(options, |_, _| ()).await?;
    settled(&opened.app).await;
    Ok(opened)
}

/// Waits until the views hold everything that is recorded now, however long that takes.
pub async fn settled(app: &App) {
    while app.settled().await.is_err() {}
}

/// The operator, as a request over the native API would come.
pub fn operator(app: &App) -> Outcome<Caller> {
    let request = app.new_request_id()?;
    Ok(Caller {
        principal: Principal::Operator,
        dialect: Dialect::Native,
        request,
        correlation: request.0,
        client_address: Some("192.0.2.17".to_owned()),
        user_agent: Some("rota-benches/0.1".to_owned()),
    })
}
