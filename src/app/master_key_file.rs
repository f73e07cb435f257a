//! A new master key in the place of the old one, in an order that a crash may cut anywhere.
//!
//! | step | after a crash here, the next start |
//! |---|---|
//! | 1. the old key is written to `master.key.previous` | finds the same key in both files, and goes on with it |
//! | 2. `master.key` gets the new key | finds that the store is under the previous key still, and uses that |
//! | 3. the store's own keys are wrapped by the new key | opens with the new key, and reads older items with the previous one |
//! | 4. every data key is wrapped anew | the same |
//! | 5. `master.key.previous` is removed | finds the new key only |
//!
//! Resuming begins at whatever step was the last.

use std::path::Path;

use super::options::previous_key_path;
use super::rewrap::KEYS;
use super::{App, Failure};
use crate::sealing::{MasterKey, MasterKeyError, SealError, StoredKeys};

/// Why the master key was not changed. What was done until then stays, and can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum NotRewrapped {
    /// A key file.
    #[error(transparent)]
    File(#[from] MasterKeyError),
    /// The previous key's file can't be removed.
    #[error("everything is under the new master key, and {} can't be removed: remove it", path.display())]
    Leftover {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// An earlier rewrapping waits.
    #[error("an earlier rewrapping is not finished: finish it with `rota rewrap --resume` first")]
    Unfinished,
    /// The store or the sealing.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl App {
    /// Puts everything under a new master key, which takes the place of the old one in its file; if the old one
    /// was given directly, nobody but the operator can put the new one there. How many data keys were wrapped anew.
    pub async fn change_master_key(
        &self,
        new: MasterKey,
        progress: impl FnMut(u64, u64),
    ) -> Result<u64, NotRewrapped> {
        let Some(path) = &self.master_key_file else {
            self.begin_rewrap(new).await?;
            return Ok(self.finish_rewrap(progress).await?);
        };
        let previous = previous_key_path(path);
        if previous.exists() {
            return Err(NotRewrapped::Unfinished);
        }
        if self.is_under(&new).await? {
            return Err(Failure::from(SealError::SameMasterKey).into());
        }
        MasterKey::replace_file(&previous, &MasterKey::from_file(path)?)?;
        MasterKey::replace_file(path, &new)?;
        self.begin_rewrap(new).await?;
        self.finish(&previous, progress).await
    }

    /// Goes on with a change of the master key that was cut short. How many data keys were wrapped anew.
    pub async fn resume_master_key(&self, progress: impl FnMut(u64, u64)) -> Result<u64, NotRewrapped> {
        let Some(path) = &self.master_key_file else { return Ok(self.finish_rewrap(progress).await?) };
        let previous = previous_key_path(path);
        if !previous.exists() {
            return Ok(0);
        }
        let current = MasterKey::from_file(path)?;
        if !self.is_under(&current).await? {
            self.begin_rewrap(current).await?;
        }
        self.finish(&previous, progress).await
    }

    /// Where the master key's file is, unless the key was given directly.
    pub fn master_key_file(&self) -> Option<&Path> {
        self.master_key_file.as_deref()
    }

    /// Whether the store's own keys are under this master key.
    async fn is_under(&self, key: &MasterKey) -> Result<bool, Failure> {
        let Some(stored) = self.log().meta(KEYS).await? else { return Ok(false) };
        Ok(StoredKeys::from_bytes(&stored)?.master_key_id() == key.id())
    }

    async fn finish(&self, previous: &Path, progress: impl FnMut(u64, u64)) -> Result<u64, NotRewrapped> {
        let wrapped = self.finish_rewrap(progress).await?;
        std::fs::remove_file(previous)
            .map_err(|source| NotRewrapped::Leftover { path: previous.to_owned(), source })?;
        Ok(wrapped)
    }
}
