//! What is kept about notices, in each store that can keep it.

use std::sync::Arc;

use futures_util::future::join_all;
use rota::notices::postgres::PostgresNotices;
use rota::notices::sqlite::SqliteNotices;
use rota::notices::store::{
    Attempt, Change, Delivery, Health, KEPT_MAX, NewDelivery, NoticeStore, Outcome, State,
};
use rota_aggregates::{Position, Timestamp, WebhookId};
use sqlx::PgPool;
use tempfile::TempDir;
use uuid::Uuid;

use crate::postgres;
use crate::postgres_server::Cluster;

type Store = Arc<dyn NoticeStore>;

const WEBHOOK: WebhookId = webhook(1);

const fn webhook(number: u128) -> WebhookId {
    WebhookId(Uuid::from_u128(number))
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(second)
}

/// A notice to a webhook, both by number.
pub fn notice(of: u128, number: u128) -> NewDelivery {
    NewDelivery {
        webhook: webhook(of),
        notice: Uuid::from_u128(number),
        name: "secret.rotated".to_owned(),
        position: Some(Position(number as u64)),
        payload: format!("{{\"number\":{number}}}"),
        created: at(0),
        next: at(0),
    }
}

fn attempt(second: u64, status: u16) -> Attempt {
    Attempt { at: at(second), status: Some(status), error: None, duration_millis: 5 }
}

async fn due(store: &Store, second: u64) -> Vec<Delivery> {
    store.due(WEBHOOK, at(second), 10_000).await.unwrap()
}

async fn claim(store: &Store, delivery: &Delivery, second: u64) -> Option<Delivery> {
    store.claim(delivery, at(second), at(second + 25)).await.unwrap()
}

async fn states(store: &Store) -> Vec<State> {
    let all = store.list(&[WEBHOOK], None, None, 10_000).await.unwrap();
    all.iter().map(|delivery| delivery.state).collect()
}

/// Delivers everything that is due.
async fn deliver_all(store: &Store, second: u64) {
    for delivery in due(store, second).await {
        let claimed = claim(store, &delivery, second).await.expect("nobody else claims it");
        store.settle(&claimed, &attempt(second, 204), Outcome::Delivered).await.unwrap().unwrap();
    }
}

/// If this fails, a deposed holder writes notices down that its successor has written down, or moves the cursor back.
async fn the_cursor_moves_only_from_where_it_is(store: Store) {
    let tell = |number| vec![Change::Tell(notice(1, number))];
    assert_eq!(store.cursor().await.unwrap(), None);
    assert!(!store.advance(Some(Position(0)), Position(1), &tell(1)).await.unwrap(), "it is nowhere yet");
    assert!(store.advance(None, Position(5), &tell(2)).await.unwrap());
    assert!(!store.advance(None, Position(9), &tell(3)).await.unwrap(), "it is somewhere");
    assert!(!store.advance(Some(Position(4)), Position(9), &tell(4)).await.unwrap());
    assert_eq!(store.cursor().await.unwrap(), Some(Position(5)));
    let racing = (10..18).map(|number| {
        let store = Arc::clone(&store);
        async move {
            let tell = [Change::Tell(notice(1, number))];
            store.advance(Some(Position(5)), Position(number as u64), &tell).await.unwrap()
        }
    });
    let moved = join_all(racing).await;
    assert_eq!(moved.iter().filter(|moved| **moved).count(), 1, "{moved:?}");
    let kept = due(&store, 0).await;
    assert_eq!(kept.len(), 2, "what came with a refused move is not there: {kept:?}");
    assert_eq!(store.cursor().await.unwrap(), kept[1].position);
    assert_eq!(store.health(WEBHOOK).await.unwrap().waiting, 2);
}

/// If this fails, two holders send the same delivery, or one that is late undoes what its successor noted.
async fn a_delivery_is_claimed_by_one_for_a_time(store: Store) {
    store.add(&notice(1, 1)).await.unwrap();
    let read = due(&store, 0).await.remove(0);
    let racing = join_all((0..8).map(|_| claim(&store, &read, 0))).await;
    let mut got: Vec<_> = racing.into_iter().flatten().collect();
    assert_eq!(got.len(), 1, "one of all that read the same");
    let first = got.remove(0);
    assert!(due(&store, 24).await.is_empty(), "nobody else is to have it");
    assert_eq!(store.waiting().await.unwrap()[0].next, at(25), "until then");
    assert!(claim(&store, &first, 24).await.is_none());

    let second = claim(&store, &due(&store, 25).await.remove(0), 25).await.expect("its time is over");
    let late = store.settle(&first, &attempt(26, 500), Outcome::Failed).await.unwrap();
    assert_eq!(late, None, "the first one comes too late");
    store.drop_claimed(&first).await.unwrap();
    assert_eq!(states(&store).await, [State::Waiting]);
    let settled = store.settle(&second, &attempt(26, 500), Outcome::Again(at(31))).await.unwrap().unwrap();
    let expected = Health { waiting: 1, failures: 1, last_success: None, last_failure: Some(at(26)) };
    assert_eq!(settled, expected);
    assert!(due(&store, 30).await.is_empty());
    let third = due(&store, 31).await.remove(0);
    assert_eq!((third.tries, third.attempts.len()), (1, 1), "an attempt that was not settled is none");
    let third = claim(&store, &third, 31).await.unwrap();
    let settled = store.settle(&third, &attempt(32, 204), Outcome::Delivered).await.unwrap().unwrap();
    assert_eq!((settled.waiting, settled.failures, settled.last_success), (0, 0, Some(at(32))));
    assert!(claim(&store, &third, 100).await.is_none(), "it waits no longer");
    assert!(store.waiting().await.unwrap().is_empty());

    // Asked for again it is due at once, whoever had it.
    assert!(store.again(WEBHOOK, third.notice, at(40)).await.unwrap());
    assert!(!store.again(WEBHOOK, Uuid::from_u128(99), at(40)).await.unwrap());
    let again = due(&store, 40).await.remove(0);
    assert_eq!((again.tries, again.attempts.len()), (0, 2));
    let again = claim(&store, &again, 40).await.unwrap();
    store.drop_claimed(&again).await.unwrap();
    assert_eq!(states(&store).await, [State::Dropped]);
    assert_eq!(store.health(WEBHOOK).await.unwrap().waiting, 0);
}

async fn changes_are_made_in_their_order(store: Store) {
    let warn = |number| NewDelivery { name: "secret.expiring".to_owned(), next: at(9), ..notice(1, number) };
    let replace = |new: Vec<_>| Change::Replace { webhook: WEBHOOK, name: "secret.expiring", new };
    let first = [
        Change::Tell(notice(1, 1)),
        Change::Tell(notice(1, 1)),
        Change::Tell(notice(2, 1)),
        Change::Tell(warn(2)),
        replace(vec![warn(3), warn(4)]),
        Change::Tell(warn(4)),
    ];
    assert!(store.advance(None, Position(1), &first).await.unwrap());
    let kept = due(&store, 9).await;
    let numbers: Vec<_> = kept.iter().map(|delivery| delivery.notice.as_u128()).collect();
    assert_eq!(numbers, [1, 3, 4], "each once, the first due first");
    assert_eq!(kept[0].payload, "{\"number\":1}");
    assert_eq!(store.health(WEBHOOK).await.unwrap().waiting, 3);
    let mut waiting = store.waiting().await.unwrap();
    waiting.sort_by_key(|waiting| waiting.webhook);
    assert_eq!(
        waiting.iter().map(|w| (w.webhook, w.next)).collect::<Vec<_>>(),
        [(webhook(1), at(0)), (webhook(2), at(0))]
    );
    assert_eq!(waiting[0].last, kept[2].number);

    let claimed = claim(&store, &kept[0], 1).await.unwrap();
    store.settle(&claimed, &attempt(1, 500), Outcome::Again(at(6))).await.unwrap();
    assert_eq!(store.health(WEBHOOK).await.unwrap().failures, 1);
    let second = [Change::Forgive(WEBHOOK), Change::Forget(webhook(2)), Change::Tell(notice(3, 7))];
    assert!(store.advance(Some(Position(1)), Position(2), &second).await.unwrap());
    assert_eq!(store.health(WEBHOOK).await.unwrap().failures, 0);
    assert_eq!(store.health(webhook(2)).await.unwrap(), Health::default());
    assert!(store.delivery(webhook(2), Uuid::from_u128(1)).await.unwrap().is_none());

    // Only what was there when it was looked at is dropped, and a plan made anew revives it.
    store.drop_waiting(WEBHOOK, kept[1].number).await.unwrap();
    assert_eq!(states(&store).await, [State::Waiting, State::Dropped, State::Dropped]);
    let third = [Change::Tell(warn(3))];
    assert!(store.advance(Some(Position(2)), Position(3), &third).await.unwrap());
    assert_eq!(states(&store).await, [State::Waiting, State::Waiting, State::Dropped]);
    assert_eq!(store.health(WEBHOOK).await.unwrap().waiting, 2);
    store.forget(WEBHOOK).await.unwrap();
    assert!(states(&store).await.is_empty());
}

async fn the_log_is_listed_in_pages_and_bounded(store: Store) {
    let count = u128::from(KEPT_MAX) + 20;
    let many: Vec<_> = (0..count).map(|number| Change::Tell(notice(1, number))).collect();
    assert!(store.advance(None, Position(1), &many).await.unwrap());
    store.add(&notice(2, 1)).await.unwrap();
    let page = store.list(&[WEBHOOK], None, None, 7).await.unwrap();
    let next = store.list(&[WEBHOOK], None, Some(page[6].number), 7).await.unwrap();
    let numbers: Vec<_> = page.iter().chain(&next).map(|delivery| delivery.notice.as_u128()).collect();
    assert_eq!(numbers, (count - 14..count).rev().collect::<Vec<_>>());
    assert_eq!(store.list(&[WEBHOOK, webhook(2)], None, None, 1).await.unwrap()[0].webhook, webhook(2));
    assert!(store.list(&[], None, None, 7).await.unwrap().is_empty());
    store.drop_waiting(WEBHOOK, page[1].number).await.unwrap();
    let dropped = store.list(&[WEBHOOK], Some(State::Dropped), None, 10_000).await.unwrap();
    assert_eq!(dropped.len(), KEPT_MAX as usize);
    assert_eq!(dropped[0].number, page[1].number, "the newest are kept");
    assert_eq!(store.list(&[WEBHOOK], Some(State::Waiting), None, 9).await.unwrap().len(), 1);
    deliver_all(&store, 0).await;
    assert_eq!(states(&store).await.len(), KEPT_MAX as usize);
}

/// If this fails, replicas that work on the same webhooks wait for each other in a circle, or miscount.
async fn many_at_once_count_right(store: Store) {
    let work = (0..6_u128).map(|worker| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..15_u128 {
                let number = worker * 100 + round;
                store.add(&notice(1, number)).await.unwrap();
                store.add(&notice(2, number)).await.unwrap();
                let of = webhook(1 + number % 2);
                for delivery in store.due(of, at(0), 2).await.unwrap() {
                    let Some(claimed) = claim(&store, &delivery, 0).await else { continue };
                    store.settle(&claimed, &attempt(0, 204), Outcome::Delivered).await.unwrap().unwrap();
                    store.again(of, claimed.notice, at(1)).await.unwrap();
                }
                let from = store.cursor().await.unwrap();
                let next = Position(from.map_or(0, |from| from.0) + 1);
                let both = [2, 1].map(|of| Change::Tell(notice(of, 10_000 + u128::from(next.0))));
                store.advance(from, next, &both).await.unwrap();
                if round % 5 == 0 {
                    store.drop_waiting(webhook(2 - number % 2), 3).await.unwrap();
                }
            }
        })
    });
    for worked in join_all(work).await {
        worked.unwrap();
    }
    for of in [1, 2].map(webhook) {
        let waiting = store.list(&[of], Some(State::Waiting), None, 10_000).await.unwrap().len();
        assert_eq!(store.health(of).await.unwrap().waiting, waiting as u64);
        let told = store.list(&[of], None, None, 10_000).await.unwrap().len() as u64;
        assert_eq!(
            told,
            90 + store.cursor().await.unwrap().unwrap().0,
            "a move of the cursor brings its own"
        );
    }
}

/// What a replica's role must be able to do.
pub async fn suits_a_replica(pool: PgPool) {
    let store: Store = Arc::new(PostgresNotices::new(pool));
    changes_are_made_in_their_order(Arc::clone(&store)).await;
    deliver_all(&store, 100).await;
}

struct OnDisk(TempDir);

impl OnDisk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Store {
        Arc::new(SqliteNotices::open(&self.0.path().join("notices")).await.unwrap())
    }
}

macro_rules! suite {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let folder = super::OnDisk::new();
                    super::$test(folder.open().await).await;
                }
            )+
        }
        mod postgresql {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let log = postgres::open(&Cluster::shared().schema().await).await;
                    super::$test(Arc::new(PostgresNotices::new(log.pool().clone()))).await;
                }
            )+
        }
    };
}

suite! {
    the_cursor_moves_only_from_where_it_is,
    a_delivery_is_claimed_by_one_for_a_time,
    changes_are_made_in_their_order,
    the_log_is_listed_in_pages_and_bounded,
    many_at_once_count_right,
}

/// The one process of a file has no need to wait for what it claimed before it died.
#[tokio::test]
async fn a_file_that_is_opened_again_is_claimed_by_nobody() {
    let folder = OnDisk::new();
    let store = folder.open().await;
    store.add(&notice(1, 1)).await.unwrap();
    let before = claim(&store, &due(&store, 0).await.remove(0), 0).await.unwrap();
    drop(store);
    let store = folder.open().await;
    let read = due(&store, 0).await.remove(0);
    assert_eq!(read.claim, before.claim);
    assert!(claim(&store, &read, 0).await.is_some());
}
