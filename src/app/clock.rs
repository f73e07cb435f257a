//! The clock, injected: nothing else in rota asks the system for the time.

use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use rota_aggregates::Timestamp;
use tokio::sync::watch;

/// The longest sleep without looking at the clock again: a wall clock can be set.
const LOOK: Duration = Duration::from_millis(500);

/// Tells the time, and waits for it.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Returns once `now() >= time`.
    async fn sleep_until(&self, time: Timestamp);

    /// Whether it tells the real time, and can so be compared with another real clock.
    fn is_real(&self) -> bool {
        true
    }
}

/// The system's wall clock.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the system's clock is read")]
    fn now(&self) -> Timestamp {
        Utc::now().into()
    }

    async fn sleep_until(&self, time: Timestamp) {
        loop {
            let left = time.micros() - self.now().micros();
            if left <= 0 {
                return;
            }
            tokio::time::sleep(Duration::from_micros(left as u64).min(LOOK)).await;
        }
    }
}

/// A clock that moves when it is told to: for tests.
pub struct ManualClock(watch::Sender<Timestamp>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(watch::channel(start).0)
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, time: Timestamp) {
        self.0.send_replace(time);
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.0.send_modify(|now| *now = Timestamp::from_micros(now.micros().saturating_add(micros)));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn is_real(&self) -> bool {
        false
    }

    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep_until(&self, time: Timestamp) {
        let mut watch = self.0.subscribe();
        if watch.wait_for(|now| *now >= time).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
