//! A target over what one vendor has to say of its keys.

use std::time::Duration;

use async_trait::async_trait;

use super::patience;
use crate::failure::Failure;
use crate::keys;
use crate::target::{Credential, Intent, Login, Plan, Slot, Target};

/// A key as its vendor lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    /// Whether it is good for logging in.
    pub(crate) active: bool,
    /// Of the attempt that made it, where the vendor has a place for one.
    pub(crate) label: Option<String>,
    /// In seconds since 1970.
    pub(crate) made_at: Option<i64>,
}

/// A vendor that chooses the secret: its requests, and where it differs from others.
#[async_trait]
pub(crate) trait Vendor: Send + Sync {
    /// For people.
    const VENDOR: &'static str;
    /// The public field that tells a key from others.
    const ID: &'static str;
    /// What the vendor calls one.
    const NOUN: &'static str;
    /// How many there can be at once.
    const MAX: usize;
    /// Whether a key bears the label of the attempt that made it.
    const HAS_LABELS: bool = false;
    /// So long a key is young: so long may it not be known everywhere.
    const YOUNG_SECONDS: i64;
    /// So long a login waits for a young key.
    const PATIENCE: Duration;
    /// Between two tries.
    const PAUSE: Duration;

    /// Whose keys they are, such as `user app`.
    fn owner(&self) -> String;

    /// The time, in seconds since 1970.
    fn now(&self) -> i64;

    /// All keys.
    async fn list(&self) -> Result<Vec<Listed>, Failure>;

    /// All keys, once what was just made under this label may be expected to show.
    async fn list_patiently(&self, _label: &str) -> Result<Vec<Listed>, Failure> {
        self.list().await
    }

    /// Makes one.
    async fn make(&self, label: &str) -> Result<Credential, Failure>;

    /// One login. `None` is a key that is not known where it was tried.
    async fn try_log_in(&self, credential: &Credential) -> Result<Option<Login>, Failure>;

    /// Ends one for good. What is not there has ended.
    async fn end(&self, id: &str) -> Result<(), Failure>;

    /// Ends one that another has replaced.
    async fn end_replaced(&self, id: &str, _by: &str) -> Result<(), Failure> {
        self.end(id).await
    }

    /// Ends the last of a rotation.
    async fn end_last(&self, id: &str) -> Result<(), Failure> {
        self.end(id).await
    }

    /// Whether what an interrupted attempt left may be ended. The failure says why not.
    async fn may_end(&self, _key: &Listed) -> Result<(), Failure> {
        Ok(())
    }

    /// What a rotation would do, with so many keys there.
    async fn foresee(&self, count: usize) -> Result<Plan, Failure>;

    /// When a key was last used, where the vendor knows.
    async fn used_at(&self, _id: &str) -> Result<Option<i64>, Failure> {
        Ok(None)
    }
}

/// Whether there is room for one more.
fn room<V: Vendor>(vendor: &V, listed: &[Listed]) -> Result<(), Failure> {
    if listed.len() < V::MAX {
        return Ok(());
    }
    let state = |key: &Listed| if key.active { "active" } else { "inactive" };
    let keys: Vec<_> = listed.iter().map(|key| format!("{} ({})", key.id, state(key))).collect();
    Err(Failure::refused(format!(
        "{} has {} {}s, and {} allows no more: {}; rota deletes none that it did not make: delete one that nobody uses",
        vendor.owner(),
        listed.len(),
        V::NOUN,
        V::VENDOR,
        keys.join(", ")
    )))
}

/// Ends what an interrupted attempt left, if nobody can have its secret. What remains, and how many went.
async fn clean<V: Vendor>(
    vendor: &V,
    mut listed: Vec<Listed>,
    intent: &Intent,
    keep: &[&Credential],
) -> Result<(Vec<Listed>, usize), Failure> {
    let (existing, label) = keys::minting(intent)?;
    let left = keys::left(&listed, |key| &key.id, existing, keep, V::ID);
    let left: Vec<String> = if V::HAS_LABELS {
        let ours = left.into_iter().filter(|key| key.label.as_deref() == Some(label));
        ours.map(|key| key.id.clone()).collect()
    } else {
        let one = keys::at_most_one(&left, |key| &key.id, V::NOUN)?;
        if let Some(key) = one {
            vendor.may_end(key).await?;
        }
        one.map(|key| key.id.clone()).into_iter().collect()
    };
    for id in &left {
        vendor.end(id).await?;
    }
    listed.retain(|key| !left.contains(&key.id));
    Ok((listed, left.len()))
}

#[async_trait]
impl<V: Vendor> Target for V {
    async fn check(&self) -> Result<(), Failure> {
        // Right credentials, and the one right that everything else begins with.
        self.list().await.map(drop)
    }

    async fn plan(&self, _slot: Slot) -> Result<Plan, Failure> {
        self.foresee(self.list().await?.len()).await
    }

    async fn has_room(&self, vacated: Option<&Credential>) -> Result<(), Failure> {
        let mut listed = self.list().await?;
        if let Some(vacated) = vacated {
            let id = keys::id_of(vacated, V::ID)?;
            listed.retain(|key| key.id != id);
        }
        room(self, &listed)
    }

    async fn intend(
        &self,
        slot: Slot,
        _current: Option<&Credential>,
        random: [u8; 32],
    ) -> Result<Intent, Failure> {
        let listed = self.list().await?;
        Ok(keys::mint(slot, listed.into_iter().map(|key| key.id).collect(), &random))
    }

    async fn set(&self, intent: &Intent, current: Option<&Credential>) -> Result<Credential, Failure> {
        let keep: Vec<_> = current.into_iter().collect();
        let (_, label) = keys::minting(intent)?;
        // One look, not the patient one: a first attempt has left nothing.
        let (listed, _) = clean(self, self.list().await?, intent, &keep).await?;
        room(self, &listed)?;
        self.make(label).await
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        patience::log_in(self, credential, keys::id_of(credential, V::ID)?).await
    }

    async fn undo(&self, intent: &Intent, keep: &[&Credential]) -> Result<usize, Failure> {
        let (_, label) = keys::minting(intent)?;
        let listed = self.list_patiently(label).await?;
        Ok(clean(self, listed, intent, keep).await?.1)
    }

    /// Sessions opened with it end when the vendor lets them.
    async fn retire(&self, old: &Credential, active: &Credential, _: bool) -> Result<(), Failure> {
        let (id, by) = (keys::id_of(old, V::ID)?, keys::id_of(active, V::ID)?);
        keys::not_the_active(id, by, V::NOUN)?;
        self.end_replaced(id, by).await
    }

    async fn revoke(&self, credential: &Credential, _random: [u8; 32]) -> Result<(), Failure> {
        self.end_last(keys::id_of(credential, V::ID)?).await
    }

    async fn last_used(&self, credential: &Credential) -> Result<Option<i64>, Failure> {
        self.used_at(keys::id_of(credential, V::ID)?).await
    }
}
