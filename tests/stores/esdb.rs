//! What is particular to EventStoreDB, on the protocol double: doubt, deletions, sweeps, broken connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use esdb_double::{Call, Double, Fault, Method};
use rota::log::committer::{CommitError, Verdict};
use rota::log::conformance::{Workshop, assert_holds, batch, row};
use rota::log::esdb::{EsdbLog, EsdbUrl};
use rota::log::lease::Leases;
use rota::log::reading::decode;
use rota::log::{Batch, EventLog, LogError, Row};
use rota_aggregates::Position;
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::record::Record;
use tokio::sync::OnceCell;

use crate::committer::{Scene, claim, command, hammer, hammer_until, stream};
use crate::writers::{Writer, every_request_to_all};

/// A ledger of its own for each log, on one double.
#[derive(Default)]
pub struct OnDouble {
    double: OnceCell<Double>,
    made: AtomicU32,
}

impl OnDouble {
    async fn open(&self) -> Arc<dyn EventLog> {
        let double = self.double.get_or_init(Double::start).await;
        let name = format!("conformance_{}", self.made.load(Ordering::SeqCst));
        Arc::new(EsdbLog::open(&url(double, &name)).await.unwrap())
    }
}

#[async_trait]
impl Workshop for OnDouble {
    async fn fresh(&self) -> Arc<dyn EventLog> {
        self.made.fetch_add(1, Ordering::SeqCst);
        self.open().await
    }

    async fn reopen(&self, log: Arc<dyn EventLog>) -> Option<Arc<dyn EventLog>> {
        drop(log);
        Some(self.open().await)
    }
}

fn url(double: &Double, ledger: &str) -> EsdbUrl {
    format!("{}&ledger={ledger}&discoveryInterval=5", double.url()).parse().unwrap()
}

async fn open(double: &Double) -> Arc<EsdbLog> {
    Arc::new(EsdbLog::open(&url(double, "t")).await.unwrap())
}

const LEDGER: &str = "t-ledger";

fn is_commit(call: &Call) -> bool {
    call.method == Method::Append && call.stream == LEDGER
}

/// The faults of a server and its connections, by turns.
const FAULTS: [Fault; 5] = [Fault::Lost, Fault::Unheard, Fault::CutBefore, Fault::CutAfter, Fault::NotLeader];

/// Waits until a condition holds.
async fn until(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("the condition comes to hold");
}

/// If this fails, a fault at some write of the ledger doubles, loses or invents an event.
#[tokio::test(flavor = "multi_thread")]
async fn every_write_fails_in_every_way() {
    for with_success in [false, true] {
        let double = Double::start().await;
        let turn = AtomicU64::new(0);
        double.fail(move |call| {
            let turns = FAULTS.len() + usize::from(with_success);
            let turn = is_commit(call).then(|| turn.fetch_add(1, Ordering::SeqCst) as usize % turns)?;
            FAULTS.get(turn).copied()
        });
        hammer(Scene::new(open(&double).await, 0, |_| None), 4).await;
    }
}

/// Each fault at each of the first calls of every kind, and only there: side streams, reads and deletions too.
#[tokio::test(flavor = "multi_thread")]
async fn one_call_fails_in_one_way() {
    for fault in FAULTS {
        for method in [Method::Append, Method::Read, Method::Tombstone] {
            for at in [0, 1, 4, 9] {
                let double = Double::start().await;
                let log = open(&double).await;
                double.fail(move |call| (call.method == method && call.number == at).then_some(fault));
                let mut rows = batch(0, 3).rows;
                write(&log, &batch(0, 3)).await;
                let mut second = batch(3, 2);
                second.shred = vec![PartRef { position: Position(0), part: SealedPart::Answer }];
                write(&log, &second).await;
                rows.extend(second.rows);
                rows[0].side.answer = None;
                assert_holds(&*log, &rows).await;
            }
        }
    }
}

/// Appends as the committer does: what is surely not done is done again, what is in doubt is looked at.
async fn write(log: &EsdbLog, batch: &Batch) {
    for _ in 0..20 {
        match log.append(batch).await {
            Ok(()) => return,
            Err(LogError::Unavailable(_)) => {}
            Err(LogError::Indeterminate(_)) => {
                if log.next().await.is_ok_and(|next| next > batch.at) {
                    return;
                }
            }
            Err(other) => panic!("an append was answered with {other}"),
        }
    }
    panic!("an append does not get through");
}

/// Connections break at random while everybody writes.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_cut_at_random() {
    let double = Double::start().await;
    let log = open(&double).await;
    let done = Arc::new(AtomicBool::new(false));
    let cutter = {
        let (double, done) = (double.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut state = 0x2545_f491_4f6c_dd1d_u64;
            while !done.load(Ordering::SeqCst) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                tokio::time::sleep(Duration::from_millis(20 + (state >> 33) % 150)).await;
                double.cut();
            }
        })
    };
    let calm = async || {
        done.store(true, Ordering::SeqCst);
        cutter.await.unwrap();
    };
    hammer_until(Scene::new(log, 0, |_| None), 4, calm).await;
}

/// Follows a log from the start while it grows: every record once, in order, until there are so many.
async fn tail(log: Arc<EsdbLog>, until: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < until {
        let from = Position(records.len() as u64);
        if let Ok(page) = log.read(from, 40).await {
            assert_eq!(page.first, from);
            records.extend(decode(page).map(|recorded| recorded.unwrap().record));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    records
}

/// Sends a request to a writer until it is told where it is recorded.
async fn request(scene: Arc<Scene>, writer: u64, number: u64) -> Position {
    let stream = stream(number % 20);
    loop {
        // Each writer draws ids of its own: only the claim says that it is one request.
        let expected = [(stream, scene.sequence(stream))];
        let append = command(number + writer * 1_000_000, &expected, Some(claim(number, 1)));
        match scene.append(append).await {
            Ok(Verdict::Recorded(recording)) => return recording.first,
            Ok(Verdict::AlreadyRecorded(position)) => return position,
            Ok(Verdict::Stale) | Err(CommitError::Unavailable) => tokio::task::yield_now().await,
            other => panic!("request {number} was answered with {other:?}"),
        }
    }
}

/// Two processes get every request, while commits fail and connections break: each is recorded once, both tell the
/// same place of it, and whoever follows misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn two_writers_record_every_request_once() {
    const REQUESTS: u64 = 160;
    let double = Double::start().await;
    let scenes = [open(&double).await, open(&double).await].map(|log| Arc::new(Scene::new(log, 0, |_| None)));
    let tail = tokio::spawn(tail(open(&double).await, REQUESTS as usize));
    let commits = AtomicU64::new(0);
    double.fail(move |call| {
        let number = is_commit(call).then(|| commits.fetch_add(1, Ordering::SeqCst))?;
        (number % 4 == 3).then(|| FAULTS[number as usize / 4 % FAULTS.len()])
    });
    let callers = (0..16).flat_map(|caller| [(caller, 0), (caller, 1)]).map(|(caller, writer)| {
        let scene = Arc::clone(&scenes[writer]);
        tokio::spawn(async move {
            let mut told = Vec::new();
            for number in (caller..REQUESTS).step_by(16) {
                told.push((number, request(Arc::clone(&scene), writer as u64, number).await));
            }
            told
        })
    });
    let mut places = BTreeMap::new();
    for caller in callers.collect::<Vec<_>>() {
        for (number, position) in caller.await.unwrap() {
            let other = *places.entry(number).or_insert(position);
            assert_eq!(other, position, "request {number} has one place, whoever tells it");
        }
    }
    double.heal();
    let records = tail.await.unwrap();
    let log = open(&double).await;
    assert_eq!(log.next().await.unwrap(), Position(REQUESTS), "nothing but the requests is recorded");
    let mut sequences = BTreeMap::new();
    for (position, record) in (0..).map(Position).zip(&records) {
        let sequence: &mut u32 = sequences.entry(record.stream).or_default();
        *sequence += 1;
        assert_eq!(record.sequence.0, *sequence, "{} is contiguous", record.stream);
        let key = record.claim.unwrap().key;
        let number = (0..REQUESTS).find(|number| claim(*number, 1).key == key).unwrap();
        assert_eq!(places.remove(&number), Some(position), "where request {number} is");
    }
    assert!(places.is_empty());
}

/// As on every store that several processes share.
#[tokio::test(flavor = "multi_thread")]
async fn two_writers_on_one_cluster() {
    let double = Double::start().await;
    let writers = [Writer::new(1, open(&double).await), Writer::new(2, open(&double).await)];
    every_request_to_all(&writers, open(&double).await, 8).await;
}

/// A commit that nobody heard of, however often it was sent: the next look at the tip finds out.
#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_is_settled_before_the_tip_is_told() {
    for fault in [Fault::Lost, Fault::Unheard, Fault::CutBefore, Fault::CutAfter] {
        let double = Double::start().await;
        let log = open(&double).await;
        write(&log, &batch(0, 2)).await;
        double.fail(move |call| is_commit(call).then_some(fault));
        let answer = log.append(&batch(2, 3)).await;
        assert!(matches!(answer, Err(LogError::Indeterminate(_))), "{fault:?}: {answer:?}");
        let stored = matches!(fault, Fault::Unheard | Fault::CutAfter);
        let next = log.next().await;
        assert_eq!(next.ok(), stored.then_some(Position(5)), "{fault:?}: what is not there could still come");
        double.heal();
        assert_eq!(log.next().await.unwrap(), Position(5), "{fault:?}");
        assert_holds(&*log, &batch(0, 5).rows).await;
    }
}

/// A batch in doubt whose place somebody else took is not recorded, and what it had written beside goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_can_be_overtaken() {
    let double = Double::start().await;
    let (one, other) = (open(&double).await, open(&double).await);
    double.fail(|call| is_commit(call).then_some(Fault::Lost));
    assert!(matches!(one.append(&batch(0, 3)).await, Err(LogError::Indeterminate(_))));
    double.heal();
    let rows: Vec<Row> = (10..12).map(row).collect();
    write(&other, &Batch { rows: rows.clone(), ..Batch::default() }).await;
    assert_eq!(one.next().await.unwrap(), Position(2));
    assert_holds(&*one, &rows).await;
    let named = count_parts(&rows);
    until(async || parts(&double).len() == named).await;
}

fn count_parts(rows: &[Row]) -> usize {
    let sealed = |row: &Row| {
        let side = &row.side;
        let sealed = [&side.secret, &side.answer, &side.details].into_iter().flatten().count();
        sealed + usize::from(side.digest.is_some())
    };
    rows.iter().map(sealed).sum()
}

fn parts(double: &Double) -> Vec<String> {
    double.streams().into_iter().filter(|name| name.starts_with("t_part-")).collect()
}

/// A call that hangs is given up, and what became of it is found out.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_hangs_is_settled() {
    for fault in [Fault::Slow(Duration::from_mins(1)), Fault::SlowAnswer(Duration::from_mins(1))] {
        let double = Double::start().await;
        let log = open(&double).await;
        let hung = AtomicBool::new(false);
        double.fail(move |call| (is_commit(call) && !hung.swap(true, Ordering::SeqCst)).then_some(fault));
        tokio::time::timeout(Duration::from_secs(30), log.append(&batch(0, 3))).await.unwrap().unwrap();
        assert_holds(&*log, &batch(0, 3).rows).await;
    }
}

/// A server that is gone is an error at once and not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_go_and_come_back() {
    let double = Double::start().await;
    let log = open(&double).await;
    write(&log, &batch(0, 2)).await;
    for at in [2, 4] {
        double.go_away();
        for _ in 0..3 {
            let answer = log.append(&batch(at, 2)).await;
            assert!(
                matches!(answer, Err(LogError::Unavailable(_) | LogError::Indeterminate(_))),
                "{answer:?}"
            );
            assert!(log.read(Position(0), 10).await.is_err());
        }
        double.come_back();
        write(&log, &batch(at, 2)).await;
        assert_holds(&*log, &batch(0, at as usize + 2).rows).await;
    }
}

/// A page that ends early is not the end of the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_cut_short_is_read_on() {
    let double = Double::start().await;
    let log = open(&double).await;
    write(&log, &batch(0, 40)).await;
    double.fail(|call| (call.method == Method::Read && call.stream == LEDGER).then_some(Fault::Short(7)));
    assert_eq!(log.read(Position(0), 30).await.unwrap().leaves.len(), 30);
    assert_eq!(log.read(Position(3), 100).await.unwrap().leaves.len(), 37);
}

/// An id that is the same for two writers, as an observation's is, does not make one's bytes pass for the other's.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_other_bytes_is_another_event() {
    let double = Double::start().await;
    let (one, other) = (open(&double).await, open(&double).await);
    let mut rows = vec![row(3)];
    write(&one, &Batch { rows: rows.clone(), ..Batch::default() }).await;
    rows[0].leaf = row(4).leaf;
    let answer = other.append(&Batch { rows, ..Batch::default() }).await;
    assert!(matches!(answer, Err(LogError::Behind { next: Position(1) })), "{answer:?}");
}

/// What is destroyed is gone from the first look on, also after a crash before the server could delete it, and its
/// bytes do not survive a scavenge.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_destroyed_stays_so_after_a_crash() {
    let double = Double::start().await;
    let log = open(&double).await;
    let mut rows = batch(0, 16).rows;
    write(&log, &batch(0, 16)).await;
    double.fail(|call| (call.method == Method::Tombstone).then_some(Fault::Lost));
    let mut next = batch(16, 1);
    let every = [SealedPart::Digest, SealedPart::Secret, SealedPart::Answer, SealedPart::Details];
    next.shred = every.map(|part| PartRef { position: Position(0), part }).to_vec();
    write(&log, &next).await;
    let content = rows[0].side.secret.clone().unwrap().ciphertext;
    rows.extend(next.rows);
    rows[0].side = rota::log::Side::default();
    assert_holds(&*log, &rows).await;
    assert_eq!(log.hidden(), 4);
    drop(log);
    let log = open(&double).await;
    assert_holds(&*log, &rows).await;
    double.heal();
    log.sweep().await.unwrap();
    assert_eq!(log.hidden(), 0);
    assert_holds(&*log, &rows).await;
    let holds = |bytes: &Vec<u8>| bytes.windows(content.len()).any(|window| window == content);
    // Position 0 alone has these bytes: they follow from the row's number.
    assert!(!double.scavenged().iter().any(holds), "the secret survives");
}

/// Parts that no event names are deleted after a day, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_swept_after_a_day() {
    let double = Double::start().await;
    let log = open(&double).await;
    let mut rows = batch(0, 8).rows;
    write(&log, &batch(0, 8)).await;
    let named = parts(&double).len();
    // As after a crash between the parts and their events: nothing cleans up.
    double.fail(|call| match call.method {
        Method::Append if call.stream == LEDGER => Some(Fault::Denied),
        Method::Tombstone => Some(Fault::Lost),
        _ => None,
    });
    let answer = log.append(&batch(8, 4)).await;
    assert!(matches!(answer, Err(LogError::Unavailable(_))), "{answer:?}");
    let orphaned = parts(&double).len();
    assert_eq!(orphaned - named, count_parts(&batch(8, 4).rows));
    until(async || double.tombstones() >= 3 * (orphaned - named) as u64).await;
    double.heal();
    // Answers vanish by themselves after 25 hours.
    let kept = named - rows.iter().filter(|row| row.side.answer.is_some()).count();
    for (hours, left) in [(23, orphaned), (2, kept)] {
        double.pass(Duration::from_hours(hours));
        let at = rows.len() as u64;
        write(&log, &batch_without_parts(at)).await;
        rows.extend(batch_without_parts(at).rows);
        log.sweep().await.unwrap();
        assert_eq!(parts(&double).len(), left, "after {hours} more hours");
    }
    for row in rows.iter_mut().take(8) {
        row.side.answer = None;
    }
    assert_holds(&*log, &rows).await;
}

fn batch_without_parts(at: u64) -> Batch {
    let mut row = row(15 + 16 * at);
    row.side = rota::log::Side::default();
    Batch { at: Position(at), rows: vec![row], ..Batch::default() }
}

/// After a rewrapping the server holds no key that was wrapped before it, once it has scavenged.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewrapping_leaves_no_old_key() {
    let double = Double::start().await;
    let log = open(&double).await;
    let mut rows = batch(0, 1).rows;
    write(&log, &batch(0, 1)).await;
    let old = rows[0].side.secret.clone().unwrap().wrapped_key;
    let part = PartRef { position: Position(0), part: SealedPart::Secret };
    log.rewrap(&[(part, vec![77; 53])]).await.unwrap();
    log.rewrap(&[(part, vec![77; 53])]).await.unwrap();
    rows[0].side.secret.as_mut().unwrap().wrapped_key = vec![77; 53];
    assert_holds(&*log, &rows).await;
    assert!(!double.scavenged().iter().any(|bytes| bytes.windows(53).any(|window| window == old)));
}

/// Marks are kept, however long their stream, and it does not grow for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_marks_is_begun_anew() {
    let double = Double::start().await;
    let log = open(&double).await;
    let mark = |last| rota_projections::live::UseMark {
        credential: rota_aggregates::CredentialId(uuid::Uuid::from_u128(u128::from(last % 5))),
        version: 1,
        first: 0,
        last,
    };
    for last in 0..1_100 {
        log.append(&Batch { marks: vec![mark(last)], ..Batch::default() }).await.unwrap();
    }
    write(&log, &batch(0, 1)).await;
    log.sweep().await.unwrap();
    let mut marks = log.use_marks().await.unwrap();
    marks.sort_unstable_by_key(|mark| mark.last);
    assert_eq!(marks, [1_095, 1_096, 1_097, 1_098, 1_099].map(mark));
    let kept = double.scavenged().iter().map(Vec::len).sum::<usize>();
    log.append(&Batch { at: Position(1), marks: vec![mark(2_000)], ..Batch::default() }).await.unwrap();
    assert!(kept < 10_000, "{kept} bytes are left");
    assert!(log.use_marks().await.unwrap().contains(&mark(2_000)));
}

/// Whoever may not write is told what to do, and no password is in what they are told.
#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do() {
    let double = Double::start().await;
    double.fail(|_| Some(Fault::Denied));
    let port = double.url();
    let secret = port.replace("esdb://", "esdb://admin:geheim@");
    let error = EsdbLog::open(&secret.parse().unwrap()).await.err().unwrap();
    let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(text.contains("USER:PASSWORD") && !text.contains("geheim"), "{text}");
    double.go_away();
    let error = EsdbLog::open(&secret.parse().unwrap()).await.err().unwrap();
    let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(text.contains("Is it running") && !text.contains("geheim"), "{text}");
    let missing = format!("{port}&tlsCAFile=/nowhere/ca.pem");
    let error = EsdbLog::open(&missing.parse().unwrap()).await.err().unwrap();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("/nowhere/ca.pem"));
}

/// One process has a lease at a time, another one once it has ended, and each new holder gets a higher token.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_one_holder() {
    const TERM: Duration = Duration::from_millis(600);
    let double = Double::start().await;
    let (one, other) = (open(&double).await, open(&double).await);
    let [a, b] = [1, 2].map(uuid::Uuid::from_u128);
    let first = one.acquire("job", a, TERM).await.unwrap().unwrap();
    assert_eq!(other.acquire("job", b, TERM).await.unwrap(), None);
    for _ in 0..8 {
        tokio::time::sleep(TERM / 4).await;
        assert_eq!(one.acquire("job", a, TERM).await.unwrap(), Some(first), "renewed");
        assert_eq!(other.acquire("job", b, TERM).await.unwrap(), None);
    }
    // It is not renewed any more: to be had after its term and not before.
    let ended = std::time::Instant::now();
    until(async || other.acquire("job", b, TERM).await.unwrap().is_some()).await;
    assert!(ended.elapsed() > TERM / 2, "after {:?}", ended.elapsed());
    let second = other.acquire("job", b, TERM).await.unwrap().unwrap();
    assert!(second > first);
    assert_eq!(one.acquire("job", a, TERM).await.unwrap(), None, "a deposed holder");
    one.release("job", a).await.unwrap();
    assert_eq!(one.acquire("job", a, TERM).await.unwrap(), None, "what is another's is not given back");
    other.release("job", b).await.unwrap();
    assert!(one.acquire("job", a, TERM).await.unwrap().unwrap() > second);
    let kept =
        double.scavenged().iter().filter(|bytes| bytes.windows(10).any(|w| w == b"termMillis")).count();
    assert_eq!(kept, 1, "a stream of leases does not grow");
}

/// Whoever asks knows the answer when it is told, also of what somebody left who was killed.
#[tokio::test(flavor = "multi_thread")]
async fn leases_of_the_dead_are_told_from_those_of_the_living() {
    const TERM: Duration = Duration::from_millis(600);
    let double = Double::start().await;
    let ids = [1, 2, 3].map(uuid::Uuid::from_u128);
    let name = |number: usize| format!("replica/{}", ids[number]);
    let dead = open(&double).await;
    assert!(dead.acquire(&name(0), ids[0], TERM).await.unwrap().is_some());
    let renewing = [1, 2].map(|number| {
        let (double, name, id) = (double.clone(), name(number), ids[number]);
        tokio::spawn(async move {
            let living = open(&double).await;
            loop {
                assert!(living.acquire(&name, id, TERM).await.unwrap().is_some());
                tokio::time::sleep(TERM / 6).await;
            }
        })
    });
    let newcomer = open(&double).await;
    until(async || newcomer.count("replica/").await.unwrap() == 2).await;
    let asked = open(&double).await.acquire(&name(2), ids[0], Duration::ZERO).await.unwrap();
    assert_eq!(asked, None, "its holder lives");
    for renewing in renewing {
        renewing.abort();
    }
    assert!(dead.acquire("copy", ids[0], TERM).await.unwrap().is_some());
    let free = open(&double).await.acquire("copy", ids[1], Duration::ZERO).await.unwrap();
    assert!(free.is_some(), "its holder is dead");
}

/// A lease that many want at the same moment, while connections break: never two at a time.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_one_gets_the_lease() {
    let double = Double::start().await;
    let taken = AtomicU64::new(0);
    double.fail(move |call| {
        let lease = call.method == Method::Append && call.stream.starts_with("t_lease-");
        let number = lease.then(|| taken.fetch_add(1, Ordering::SeqCst))?;
        (number % 3 == 2).then(|| FAULTS[number as usize / 3 % FAULTS.len()])
    });
    for round in 0..8 {
        let name = format!("job{round}");
        let mut asking = tokio::task::JoinSet::new();
        for holder in 0..6 {
            let (log, name) = (open(&double).await, name.clone());
            asking.spawn(async move {
                let holder = uuid::Uuid::from_u128(holder);
                loop {
                    if let Ok(token) = log.acquire(&name, holder, Duration::from_mins(1)).await {
                        return token;
                    }
                }
            });
        }
        let granted = asking.join_all().await.into_iter().flatten().count();
        assert_eq!(granted, 1, "round {round}");
    }
}

/// What is this store's own is not told as a value of the ledger's, which another store would be given.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_sweep_keeps_is_no_named_value() {
    let double = Double::start().await;
    let log = open(&double).await;
    write(&log, &batch(0, 4)).await;
    log.set_meta(&[("a", b"1")]).await.unwrap();
    log.sweep().await.unwrap();
    assert_eq!(log.names().await.unwrap(), ["a"]);
}
