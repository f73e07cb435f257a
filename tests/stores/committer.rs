//! The committer over a log that fails: every command exactly once or not at all, and nobody told otherwise.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use rota::log::committer::{CommitError, Committer, QUEUE_MAX, Verdict};
use rota::log::faulty::{Fault, FaultyLog};
use rota::log::memory::MemoryLog;
use rota::log::reading::{catch_up, decode};
use rota::log::sqlite::SqliteLog;
use rota::log::tip::{SharedTip, Tip};
use rota::log::{Append, EventLog, NewEvent, Side};
use rota_aggregates::authority::{Actor, Dialect, Proof, ProofKind, Roles, SignedRequest};
use rota_aggregates::credential::{CredentialIssued, Kind, SecretRef};
use rota_aggregates::ids::Hash;
use rota_aggregates::record::{Claim, Context, Record, SealedHashes, encode_body};
use rota_aggregates::workspace::{Policy, PolicySet, WorkspaceOpened};
use rota_aggregates::{
    CredentialId, Event, EventId, Position, RequestId, Sequence, StreamId, Timestamp, WorkspaceId,
};
use rota_projections::live::Live;
use uuid::Uuid;

const CALLERS: u64 = 64;
const STREAMS: u64 = 20;

/// A stream by number.
pub fn stream(number: u64) -> StreamId {
    StreamId::workspace(WorkspaceId(Uuid::from_u128(u128::from(number) + 1)))
}

fn event_id(number: u64, part: u64) -> EventId {
    EventId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | u128::from(number * 16 + part)))
}

/// A claim of the key with a number, for the request with a number.
pub fn claim(key: u64, request: u8) -> Claim {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&key.to_le_bytes());
    Claim { key: Hash(hash), fingerprint: Hash([request; 32]) }
}

/// A command with the given number: one event in each stream, after the given sequences.
pub fn command(number: u64, streams: &[(StreamId, Option<Sequence>)], claim: Option<Claim>) -> Append {
    command_of(number, streams, claim, |part| event_id(number, part))
}

/// The same, with ids of the caller's.
pub fn command_of(
    number: u64,
    streams: &[(StreamId, Option<Sequence>)],
    claim: Option<Claim>,
    id: impl Fn(u64) -> EventId,
) -> Append {
    let now = Timestamp::from_micros(1_790_000_000_000_000 + number as i64);
    let events = streams.iter().enumerate().map(|(part, (stream, _))| {
        let id = id(part as u64);
        let context = Context {
            workspace: WorkspaceId(stream.id),
            actor: Actor::OPERATOR,
            dialect: Dialect::Native,
            proof: Proof::OPERATOR,
            request: RequestId(id.0),
            causation: id.0,
            correlation: id.0,
        };
        let event = Event::Workspace(PolicySet { at: now, policy: Policy::default() }.into());
        let claim = claim.filter(|_| part == 0);
        let body = encode_body(id, *stream, &context, claim, SealedHashes::default(), &event).unwrap();
        NewEvent { id, stream: *stream, context, event, body, side: Side::default() }
    });
    let events = events.collect();
    Append { expected: streams.to_vec(), claim, events, shred: Vec::new(), decided_at: now }
}

/// A committer over a log that fails as it was told to.
pub struct Scene {
    log: Arc<FaultyLog>,
    inner: Arc<dyn EventLog>,
    tip: Arc<SharedTip>,
    committer: Committer,
}

impl Scene {
    pub fn new(
        inner: Arc<dyn EventLog>,
        blind: u64,
        plan: impl Fn(u64) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::new(FaultyLog::new(Arc::clone(&inner), plan).blind_after_doubt(blind));
        let tip = Arc::new(SharedTip::new(Tip::default()));
        let (committer, _) = Committer::start(log.clone(), Arc::clone(&tip));
        Self { log, inner, tip, committer }
    }

    fn in_memory(plan: impl Fn(u64) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(MemoryLog::new()), 0, plan)
    }

    pub fn sequence(&self, stream: StreamId) -> Option<Sequence> {
        self.tip.tip.read().live.sequence(&stream)
    }

    /// One event in one stream, at its tip.
    fn next(&self, number: u64, claim: Option<Claim>) -> Append {
        let stream = stream(number % STREAMS);
        command(number, &[(stream, self.sequence(stream))], claim)
    }

    pub async fn append(&self, append: Append) -> Result<Verdict, CommitError> {
        self.committer.append(append, None).await
    }

    async fn recorded(&self) -> Vec<Record> {
        let end = self.inner.next().await.unwrap().0 as usize;
        let page = self.inner.read(Position(0), end + 1).await.unwrap();
        let records: Vec<_> = decode(page).map(|r| r.unwrap().record).collect();
        assert_eq!(records.len(), end, "positions are dense");
        records
    }

    /// Holds the log against what it promises, and what the committer knows against the log.
    async fn check(&self) -> HashMap<EventId, Position> {
        let records = self.recorded().await;
        let mut positions = HashMap::new();
        let mut sequences: BTreeMap<StreamId, u32> = BTreeMap::new();
        let mut claims = HashMap::new();
        let mut time = Timestamp::default();
        for (position, record) in (0..).map(Position).zip(&records) {
            let earlier = positions.insert(record.id, position);
            assert_eq!(earlier, None, "{} is recorded twice, at {position} too", record.id);
            let sequence = sequences.entry(record.stream).or_default();
            *sequence += 1;
            assert_eq!(record.sequence.0, *sequence, "{} is contiguous", record.stream);
            assert!(record.time >= time, "the ledger's time never goes back");
            time = record.time;
            if let Some(claim) = record.claim {
                assert_eq!(claims.insert(claim.key, position), None, "a key is claimed once");
            }
        }
        let mut folded = Tip::default();
        catch_up(&*self.inner, Position(0), |recorded| folded.apply(&recorded.fact())).await.unwrap();
        let tip = self.tip.tip.read();
        assert_eq!(bytes(&tip.live), bytes(&folded.live), "the tip is the fold of the log");
        assert_eq!(tip.replays, folded.replays);
        positions
    }
}

fn bytes(live: &Live) -> Vec<u8> {
    let mut out = Vec::new();
    live.encode_slots(0, usize::MAX >> 1, &mut out);
    live.encode_rest(&mut out);
    out
}

/// What a caller was told in the end.
#[derive(Debug)]
enum Told {
    At(Position, Position),
    Nothing,
}

/// A caller appends its commands one after another, decides again when it is stale, and resends the same ids when
/// the store could not be written to. Every fourth command is given up at the first failure.
async fn call(scene: Arc<Scene>, caller: u64, commands: u64) -> Vec<(u64, usize, Told)> {
    let mut told = Vec::new();
    for command_number in 0..commands {
        let number = caller * 1_000 + command_number;
        let mut streams = vec![stream((caller * 7 + command_number * 3) % STREAMS)];
        if number.is_multiple_of(3) {
            streams.push(stream((caller * 7 + command_number * 3 + 5) % STREAMS));
        }
        let key = (number.is_multiple_of(2)).then(|| claim(number, 1));
        let outcome = loop {
            let expected: Vec<_> = streams.iter().map(|s| (*s, scene.sequence(*s))).collect();
            match scene.append(command(number, &expected, key)).await {
                Ok(Verdict::Recorded(recording)) => {
                    let count = recording.last.0 - recording.first.0 + 1;
                    assert_eq!(count, streams.len() as u64);
                    break Told::At(recording.first, recording.last);
                }
                Ok(Verdict::Stale) => tokio::task::yield_now().await,
                Err(CommitError::Unavailable) if command_number % 4 == 3 => break Told::Nothing,
                Err(CommitError::Unavailable) => {}
                other => panic!("command {number} was answered with {other:?}"),
            }
        };
        told.push((number, streams.len(), outcome));
    }
    told
}

/// Many callers at once; then what they were told is held against what is recorded.
pub async fn hammer(scene: Scene, commands: u64) {
    hammer_until(scene, commands, async || ()).await;
}

/// The same; `calm` comes between the callers' end and the look at what is recorded.
pub async fn hammer_until(scene: Scene, commands: u64, calm: impl AsyncFnOnce()) {
    let scene = Arc::new(scene);
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| tokio::spawn(call(Arc::clone(&scene), caller, commands))).collect();
    let mut told = Vec::new();
    for caller in callers {
        told.extend(caller.await.unwrap());
    }
    calm().await;
    let positions = scene.check().await;
    let mut expected = 0;
    for (number, count, outcome) in told {
        match outcome {
            Told::At(first, last) => {
                expected += count;
                let ends = [(0, first), (count as u64 - 1, last)];
                for (part, position) in ends {
                    let found = positions.get(&event_id(number, part));
                    assert_eq!(found, Some(&position), "command {number} was told that it is there");
                }
            }
            Told::Nothing => {
                for part in 0..count as u64 {
                    let found = positions.get(&event_id(number, part));
                    assert_eq!(found, None, "command {number} was told that nothing was done");
                }
            }
        }
    }
    assert_eq!(positions.len(), expected, "nothing is recorded that nobody was told of");
}

/// The faults by turns, with a write that succeeds after each round or without.
fn by_turns(write: u64, with_success: bool) -> Option<Fault> {
    let turn = write as usize % (Fault::ALL.len() + usize::from(with_success));
    Fault::ALL.get(turn).copied()
}

/// If this fails, a fault at some write doubles, loses or invents an event.
#[tokio::test(flavor = "multi_thread")]
async fn every_write_fails_in_every_way_in_memory() {
    for (with_success, blind) in [(false, 0), (true, 0), (true, 1)] {
        let memory = Arc::new(MemoryLog::new());
        hammer(Scene::new(memory, blind, move |n| by_turns(n, with_success)), 12).await;
    }
}

/// As above, on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn every_write_fails_in_every_way_on_disk() {
    for with_success in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(SqliteLog::open(&folder.path().join("rota.db")).await.unwrap());
        hammer(Scene::new(log, 0, move |n| by_turns(n, with_success)), 6).await;
    }
}

/// As above, on a store that others could write to.
#[tokio::test(flavor = "multi_thread")]
async fn every_write_fails_in_every_way_on_postgresql() {
    for (with_success, blind) in [(false, 0), (true, 1)] {
        let schema = crate::postgres_server::Cluster::shared().schema().await;
        let log = Arc::new(crate::postgres::open(&schema).await);
        hammer(Scene::new(log, blind, move |n| by_turns(n, with_success)), 4).await;
    }
}

/// Each fault at each of the first writes, and only there.
#[tokio::test(flavor = "multi_thread")]
async fn one_write_fails_in_one_way() {
    for fault in Fault::ALL {
        for at in 0..8 {
            let scene = Scene::in_memory(move |n| (n == at).then_some(fault));
            hammer(scene, 4).await;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for (number, fault) in Fault::ALL.into_iter().enumerate() {
        for at in 0..3 {
            let path = folder.path().join(format!("{number}-{at}.db"));
            let log = Arc::new(SqliteLog::open(&path).await.unwrap());
            hammer(Scene::new(log, 0, move |n| (n == at).then_some(fault)), 2).await;
        }
    }
}

/// A commit that nobody heard of is found by looking, and its callers are told what is true.
#[tokio::test(flavor = "multi_thread")]
async fn an_unheard_commit_is_told_as_recorded() {
    for blind in [0, 3] {
        let memory: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
        let scene = Scene::new(memory, blind, |_| Some(Fault::Unheard));
        for number in 0..5 {
            let verdict = scene.append(scene.next(number, None)).await.unwrap();
            assert!(matches!(&verdict, Verdict::Recorded(r) if r.first == Position(number)), "{verdict:?}");
        }
        scene.check().await;
        assert!(scene.committer.healthy());
    }
}

/// A lost commit is told as not done, leaves nothing, and the next one is as good as ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_is_told_as_not_done() {
    for fault in [Fault::Refused, Fault::Lost] {
        let scene = Scene::in_memory(move |n| (n == 0).then_some(fault));
        let told = scene.append(scene.next(1, None)).await;
        assert!(matches!(told, Err(CommitError::Unavailable)), "{told:?}");
        assert!(!scene.committer.healthy());
        assert_eq!(scene.check().await.len(), 0);
        let told = scene.append(scene.next(1, None)).await;
        assert!(matches!(told, Ok(Verdict::Recorded(_))), "{told:?}");
        assert!(scene.committer.healthy());
        assert_eq!(scene.check().await.len(), 1);
    }
}

/// One key is one request: the same again learns where it is, another one is refused, and neither is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_claimed_once() {
    let scene = Scene::in_memory(|_| None);
    scene.append(scene.next(0, None)).await.unwrap();
    let first = scene.append(scene.next(1, Some(claim(5, 1)))).await.unwrap();
    assert!(matches!(&first, Verdict::Recorded(r) if r.first == Position(1)));
    let again = scene.append(scene.next(2, Some(claim(5, 1)))).await.unwrap();
    assert_eq!(again, Verdict::AlreadyRecorded(Position(1)));
    let other = scene.append(scene.next(3, Some(claim(5, 2)))).await.unwrap();
    assert_eq!(other, Verdict::KeyReused);
    assert_eq!(scene.check().await.len(), 2);
}

/// A command that a signed request proves.
fn signed(mut append: Append, at: Timestamp, payload: u8) -> Append {
    let signed = Some(SignedRequest { at, payload: Hash([payload; 32]) });
    for event in &mut append.events {
        let by = CredentialId(Uuid::from_u128(9));
        event.context.proof = Proof { signed, ..Proof::of(ProofKind::Signature, by, 1, false) };
        let sealed = SealedHashes::default();
        event.body =
            encode_body(event.id, event.stream, &event.context, append.claim, sealed, &event.event).unwrap();
    }
    append
}

/// One signed request is one change: at once, in one batch, after a restart, and when it is too old to be remembered.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_changes_the_log_once() {
    let scene = Scene::in_memory(|_| None);
    let start = Timestamp::from_micros(1_790_000_000_000_000);
    let recorded = |verdict: Verdict| assert!(matches!(verdict, Verdict::Recorded(_)), "{verdict:?}");
    recorded(scene.append(signed(scene.next(0, None), start, 1)).await.unwrap());
    assert_eq!(scene.append(signed(scene.next(1, None), start, 1)).await.unwrap(), Verdict::Captured);
    // Not even with the key of a request that was recorded.
    recorded(scene.append(signed(scene.next(2, Some(claim(5, 1))), start, 2)).await.unwrap());
    let captured = scene.append(signed(scene.next(3, Some(claim(5, 1))), start, 2)).await.unwrap();
    assert_eq!(captured, Verdict::Captured);
    // Two at once: one of them.
    let both = [4, 5].map(|number| scene.append(signed(scene.next(number, None), start, 3)));
    let told = futures_util::future::join_all(both).await;
    let captured = told.iter().filter(|verdict| matches!(verdict, Ok(Verdict::Captured))).count();
    assert_eq!(captured, 1, "{told:?}");
    // Another one at the same instant is another one.
    recorded(scene.append(signed(scene.next(6, None), start, 4)).await.unwrap());
    assert_eq!(scene.check().await.len(), 4);

    let again = Scene::new(Arc::clone(&scene.inner), 0, |_| None);
    catch_up(&*again.inner, Position(0), |recorded| again.tip.tip.write().apply(&recorded.fact()))
        .await
        .unwrap();
    assert_eq!(again.append(signed(again.next(7, None), start, 1)).await.unwrap(), Verdict::Captured);
    let window = rota_projections::replay_index::SIGNED_SECONDS;
    let late = |time| Append { decided_at: time, ..again.next(8, None) };
    let end = start.plus_seconds(window);
    assert_eq!(again.append(signed(late(end), start, 1)).await.unwrap(), Verdict::Captured);
    recorded(again.append(late(Timestamp::from_micros(end.micros() + 1))).await.unwrap());
    assert_eq!(again.append(signed(again.next(9, None), start, 1)).await.unwrap(), Verdict::Captured);
    assert_eq!(again.append(signed(again.next(9, None), start, 99)).await.unwrap(), Verdict::Captured);
}

/// A key is spent for 24 hours by the ledger's time, to the microsecond, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_be_used_afresh_after_its_time() {
    let scene = Scene::in_memory(|_| None);
    let start = Timestamp::from_micros(1_790_000_000_000_000);
    let end = start.plus_seconds(rota_projections::replay_index::CLAIM_SECONDS);
    let at = |number, time| Append { decided_at: time, ..scene.next(number, Some(claim(1, 1))) };
    scene.append(at(0, start)).await.unwrap();
    let last = Timestamp::from_micros(end.micros() - 1);
    assert_eq!(scene.append(at(1, last)).await.unwrap(), Verdict::AlreadyRecorded(Position(0)));
    let afresh = scene.append(at(2, end)).await.unwrap();
    assert!(matches!(afresh, Verdict::Recorded(_)), "{afresh:?}");
}

/// Puts commands into one batch: the first write is held until all of them wait behind it.
async fn in_one_batch(scene: &Scene, commands: Vec<Append>) -> Vec<Result<Verdict, CommitError>> {
    scene.log.hold();
    let mut first = pin!(scene.append(scene.next(900, None)));
    assert!(first.as_mut().now_or_never().is_none());
    scene.log.begun(1).await;
    let mut waiting: Vec<_> = commands.into_iter().map(|c| Box::pin(scene.append(c))).collect();
    for command in &mut waiting {
        assert!(command.as_mut().now_or_never().is_none(), "a command waits behind the held one");
    }
    scene.log.release();
    first.await.unwrap();
    futures_util::future::join_all(waiting).await
}

/// Duplicates and neighbours in one batch are judged as if they had come one after another.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_judged_in_order() {
    let scene = Scene::in_memory(|_| None);
    let (a, b) = (stream(1), stream(2));
    let commands = vec![
        command(1, &[(a, None)], Some(claim(1, 1))),
        command(2, &[(b, None)], Some(claim(1, 1))),
        command(3, &[(b, None)], Some(claim(1, 2))),
        // The same expectation as the first one, which has changed it.
        command(4, &[(a, None)], None),
        // What the first one left.
        command(5, &[(a, Some(Sequence(1)))], None),
        // One of two streams has moved on: neither gets an event.
        command(6, &[(b, None), (a, Some(Sequence(1)))], Some(claim(6, 1))),
        command(7, &[(b, None), (a, Some(Sequence(2)))], Some(claim(6, 1))),
    ];
    let told: Vec<_> = in_one_batch(&scene, commands).await.into_iter().map(Result::unwrap).collect();
    let first = |verdict: &Verdict| match verdict {
        Verdict::Recorded(r) => r.first,
        other => panic!("{other:?} instead of a recording"),
    };
    assert_eq!(first(&told[0]), Position(1));
    assert_eq!(told[1], Verdict::AlreadyRecorded(Position(1)));
    assert_eq!(told[2], Verdict::KeyReused);
    assert_eq!(told[3], Verdict::Stale);
    assert_eq!(first(&told[4]), Position(2));
    assert_eq!(told[5], Verdict::Stale);
    assert_eq!(first(&told[6]), Position(3));
    let positions = scene.check().await;
    assert_eq!(positions.len(), 5);
    let records = scene.recorded().await;
    assert_eq!((records[3].stream, records[4].stream), (b, a));
}

/// Nobody hears of an event before it is recorded: not the duplicate either that came in the same batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_of_what_was_not_recorded_is_not_recorded() {
    for fault in [Fault::Refused, Fault::Lost] {
        let scene = Scene::in_memory(move |n| (n == 1).then_some(fault));
        let commands = vec![
            command(1, &[(stream(1), None)], Some(claim(1, 1))),
            command(2, &[(stream(2), None)], Some(claim(1, 1))),
            command(3, &[(stream(3), None)], Some(claim(1, 2))),
        ];
        for told in in_one_batch(&scene, commands).await {
            assert!(matches!(told, Err(CommitError::Unavailable)), "{fault:?}: {told:?}");
        }
        assert_eq!(scene.check().await.len(), 1);
        let told = scene.append(command(3, &[(stream(3), None)], Some(claim(1, 2)))).await;
        assert!(matches!(told, Ok(Verdict::Recorded(_))), "the key is free: {told:?}");
    }
}

/// Somebody else has written: nothing is recorded on what is no longer true, and the committer learns of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_write_makes_a_command_stale() {
    let scene = Scene::in_memory(|_| None);
    let (other, _) = Committer::start(Arc::clone(&scene.inner), Arc::new(SharedTip::new(Tip::default())));
    other.append(command(1, &[(stream(1), None)], None), None).await.unwrap();
    let told = scene.append(command(2, &[(stream(1), None)], None)).await.unwrap();
    assert_eq!(told, Verdict::Stale);
    assert_eq!(scene.sequence(stream(1)), Some(Sequence(1)), "the committer has caught up");
    let told = scene.append(command(2, &[(stream(1), Some(Sequence(1)))], None)).await.unwrap();
    assert!(matches!(&told, Verdict::Recorded(r) if r.first == Position(1)), "{told:?}");
    scene.check().await;
}

/// A full queue turns callers away at once, before they have made anything, and is of use again later.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_turns_away() {
    let scene = Scene::in_memory(|_| None);
    let places: Vec<_> = (0..QUEUE_MAX).map(|_| scene.committer.reserve().unwrap()).collect();
    assert!(matches!(scene.committer.reserve(), Err(CommitError::Overloaded)));
    let told = scene.append(scene.next(1, None)).await;
    assert!(matches!(told, Err(CommitError::Overloaded)), "{told:?}");
    assert_eq!(scene.check().await.len(), 0);
    drop(places);
    scene.append(scene.next(1, None)).await.unwrap();
    assert_eq!(scene.check().await.len(), 1);
}

/// A request that is dropped does not take its command with it, and what it held is let go with the verdict.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_request_is_recorded_all_the_same() {
    let scene = Scene::in_memory(|_| None);
    scene.log.hold();
    let held = Arc::new(());
    for number in 0..3 {
        let guard: Box<dyn Send + Sync> = Box::new(Arc::clone(&held));
        let dropped = scene.committer.append(scene.next(number, None), Some(guard)).now_or_never();
        assert!(dropped.is_none(), "it was not answered before it was dropped");
    }
    assert_eq!(Arc::strong_count(&held), 4, "held until there is a verdict");
    scene.log.release();
    scene.append(scene.next(3, None)).await.unwrap();
    let positions = scene.check().await;
    assert!((0..4).all(|number| positions.contains_key(&event_id(number, 0))));
    assert_eq!(Arc::strong_count(&held), 1, "nothing is held after the verdict");
}

/// A commit that fails does not take the use marks with it.
#[tokio::test(flavor = "multi_thread")]
async fn use_marks_survive_a_failed_commit() {
    let scene = Scene::in_memory(|n| (2..4).contains(&n).then_some(Fault::Refused));
    let workspace = WorkspaceId(Uuid::from_u128(1));
    let credential = CredentialId(Uuid::from_u128(2));
    let opened = WorkspaceOpened { at: Timestamp::default(), policy: Policy::default() };
    let issued = CredentialIssued {
        credential,
        workspace,
        kind: Kind::Client,
        public_id: "Ab3dEf9h".to_owned(),
        roles: Roles::NONE,
        mode: None,
        parent: None,
        secret: SecretRef { version: 1, hint: "abcd".to_owned(), digest: Hash([1; 32]), sealed: None },
        at: Timestamp::default(),
    };
    let events = vec![
        (StreamId::workspace(workspace), Event::Workspace(opened.into())),
        (StreamId::credential(credential), Event::Credential(issued.into())),
    ];
    for (number, (stream, event)) in events.into_iter().enumerate() {
        let mut append = command(number as u64, &[(stream, None)], None);
        let new = &mut append.events[0];
        new.body = encode_body(new.id, stream, &new.context, None, SealedHashes::default(), &event).unwrap();
        new.event = event;
        scene.append(append).await.unwrap();
    }
    scene.tip.tip.read().live.note_use(0, 1, Timestamp::from_micros(1_790_000_100_000_000));
    scene.tip.mark(0);
    for expected in [0, 0, 1] {
        scene.committer.flush().await;
        assert_eq!(scene.inner.use_marks().await.unwrap().len(), expected);
    }
    assert!(!scene.tip.has_marks());
}

/// Whoever flushes waits for every command before it, also where they fill more than one batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_waits_for_all_that_was_queued() {
    const COMMANDS: u64 = 200;
    let scene = Scene::in_memory(|_| None);
    scene.log.hold();
    for number in 0..COMMANDS {
        // Four events each: more than three batches.
        let stream = |part| (stream(number * 4 + part), None);
        let append = command(number, &[stream(0), stream(1), stream(2), stream(3)], None);
        assert!(scene.committer.append(append, None).now_or_never().is_none());
    }
    let mut flush = pin!(scene.committer.flush());
    assert!(flush.as_mut().now_or_never().is_none());
    scene.log.release();
    flush.await;
    assert_eq!(scene.inner.next().await.unwrap(), Position(COMMANDS * 4));
    scene.check().await;
}
