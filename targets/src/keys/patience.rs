//! Logins with keys that are new: a vendor that has just made one does not know it everywhere at once.

use std::time::Duration;

use tokio::time::Instant;

use super::Vendor;
use crate::failure::Failure;
use crate::target::{Credential, Login};

/// When the same is worth asking again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Logs in. A key that is listed as good and young, and is not known yet, is waited for; in the end it is neither
/// accepted nor refused.
pub(super) async fn log_in<V: Vendor>(
    vendor: &V,
    credential: &Credential,
    id: &str,
) -> Result<Login, Failure> {
    let end = Instant::now() + V::PATIENCE;
    let mut young = None;
    loop {
        if let Some(login) = vendor.try_log_in(credential).await? {
            return Ok(login);
        }
        if young.is_none() {
            let listed = vendor.list().await?;
            let made = listed.iter().find(|key| key.id == id && key.active).and_then(|key| key.made_at);
            young = Some(made.is_some_and(|made| vendor.now() - made < V::YOUNG_SECONDS));
        }
        if young == Some(false) {
            return Ok(Login::Refused);
        }
        if Instant::now() >= end {
            let text = format!("{} has {id} and does not accept it yet", V::VENDOR);
            return Err(Failure::unreachable(text).after(ASK_AGAIN));
        }
        tokio::time::sleep(V::PAUSE).await;
    }
}
