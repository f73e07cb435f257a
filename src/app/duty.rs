//! Jobs that one replica does for all: it holds the job's lease, renews it, and stops when it can't.
//!
//! A lease runs for [`TERM`] and is renewed, or asked for, every [`RENEW`]: when its holder dies, another replica
//! has the job within `TERM + RENEW`, less than five seconds. The holder counts from before it asked, on its own
//! clock of elapsed time, and so believes itself deposed before the store does; one that was stopped for a while
//! finds its time over. Where a store has one process, the job is that one's at once and for good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::log::lease::Token;
use crate::log::{EventLog, LogError};

/// How long a lease runs without being renewed.
pub const TERM: Duration = Duration::from_secs(3);
/// How often it is renewed or asked for.
pub const RENEW: Duration = Duration::from_millis(750);

#[derive(Clone, Copy, Debug)]
struct Held {
    token: Token,
    /// `None`: for good.
    until: Option<Instant>,
}

/// A job that is this replica's as long as it holds the lease.
pub struct Duty {
    log: Arc<dyn EventLog>,
    name: String,
    holder: Uuid,
    held: Mutex<Option<Held>>,
    leads: watch::Sender<bool>,
    /// Somebody else is to have the job: not asked for until then.
    aside: Mutex<Option<Instant>>,
}

impl Duty {
    /// The job of this name, for this replica. [`Duty::keep`] takes the lease.
    pub fn new(log: Arc<dyn EventLog>, name: impl Into<String>, holder: Uuid) -> Arc<Self> {
        let name = name.into();
        let alone = log.leases().is_none().then_some(Held { token: Token(0), until: None });
        Arc::new(Self {
            log,
            name,
            holder,
            held: Mutex::new(alone),
            leads: watch::channel(alone.is_some()).0,
            aside: Mutex::default(),
        })
    }

    /// The token under which the job is this replica's right now. To be asked before each portion of work.
    pub fn held(&self) -> Option<Token> {
        let held = *self.held.lock();
        held.filter(|held| held.until.is_none_or(|until| Instant::now() < until)).map(|held| held.token)
    }

    /// Tells when the job comes or goes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// How long the job is this replica's for sure; [`TERM`] if it is not.
    fn left(&self) -> Duration {
        let until = self.held.lock().and_then(|held| held.until);
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero()).unwrap_or(TERM)
    }

    /// Takes the lease when it is free and renews it, for ever.
    pub async fn keep(self: Arc<Self>) {
        loop {
            if let Err(error) = self.ask().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    job = %self.name,
                    "no word on the lease"
                );
            }
            if self.held().is_none() {
                self.set(None);
            }
            tokio::time::sleep(RENEW.min(self.left())).await;
        }
    }

    /// Asks for the lease once.
    pub(super) async fn ask(&self) -> Result<(), LogError> {
        let Some(leases) = self.log.leases() else { return Ok(()) };
        let asked = Instant::now();
        if self.aside.lock().is_some_and(|until| asked < until) {
            return Ok(());
        }
        let granted = tokio::time::timeout(self.left(), leases.acquire(&self.name, self.holder, TERM)).await;
        let granted = granted.unwrap_or_else(|_| Err(LogError::unavailable("the store does not answer")))?;
        self.set(granted.map(|token| Held { token, until: Some(asked + TERM) }));
        Ok(())
    }

    /// Sets what is held; tells the watchers if the job came or went.
    fn set(&self, now: Option<Held>) {
        let before = std::mem::replace(&mut *self.held.lock(), now).map(|held| held.token);
        let token = now.map(|held| held.token);
        if before != token {
            tracing::debug!(job = %self.name, ?token, "a lease came or went");
            self.leads.send_replace(token.is_some());
        }
    }

    /// Gives the job up, so that another replica need not wait for the lease's end.
    pub async fn leave(&self) {
        let Some(leases) = self.log.leases() else { return };
        *self.aside.lock() = Some(Instant::now() + TERM);
        self.set(None);
        if let Err(error) = leases.release(&self.name, self.holder).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                job = %self.name,
                "a lease was not given back"
            );
        }
    }
}
