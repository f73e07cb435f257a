//! Logins with keys that are new: a vendor that has just made one does not know it everywhere at once.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::target::{Credential, Login};

/// When the same is worth asking again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// A vendor that takes a while.
#[async_trait]
pub(crate) trait SlowToKnow {
    /// For people.
    const VENDOR: &'static str;
    /// So long a key is young: so long may it not be known everywhere.
    const YOUNG_SECONDS: i64;
    /// So long a login waits for a young key.
    const PATIENCE: Duration;
    /// Between two tries.
    const PAUSE: Duration;

    /// One login. `None` is a key that is not known where it was tried.
    async fn try_log_in(&self, credential: &Credential) -> Result<Option<Login>, Failure>;

    /// When the key was made, in seconds since 1970, if the vendor lists it as one that is good.
    async fn made_at(&self, id: &str) -> Result<Option<i64>, Failure>;

    /// The time, likewise.
    fn now(&self) -> i64;
}

/// Logs in. A key that is listed as good and young, and is not known yet, is waited for; in the end it is neither
/// accepted nor refused.
pub(crate) async fn log_in<T: SlowToKnow + Sync>(
    target: &T,
    credential: &Credential,
    id: &str,
) -> Result<Login, Failure> {
    let end = Instant::now() + T::PATIENCE;
    let mut young = None;
    loop {
        if let Some(login) = target.try_log_in(credential).await? {
            return Ok(login);
        }
        if young.is_none() {
            let made = target.made_at(id).await?;
            young = Some(made.is_some_and(|made| target.now() - made < T::YOUNG_SECONDS));
        }
        if young == Some(false) {
            return Ok(Login::Refused);
        }
        if Instant::now() >= end {
            let text = format!("{} has {id} and does not accept it yet", T::VENDOR);
            return Err(Failure::unreachable(text).after(ASK_AGAIN));
        }
        tokio::time::sleep(T::PAUSE).await;
    }
}
