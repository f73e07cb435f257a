//! Where a ledger's tiles are read from: a server's capability path, or a folder that holds the same.

use std::path::PathBuf;

use bytes::Bytes;
use rota::ledger::tile::TilePath;

use crate::cli::client::Remote;
use crate::cli::error::Stop;

/// Where tiles are.
pub enum Tiles {
    /// Below a path of a server.
    Served { remote: Remote, prefix: String },
    /// In a folder.
    Folder(PathBuf),
}

impl Tiles {
    /// The newest checkpoint.
    pub async fn checkpoint(&self) -> Result<String, Stop> {
        let bytes = self.read("checkpoint").await?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Stop::refused("the checkpoint is no text"))
    }

    /// A tile or a bundle.
    pub async fn tile(&self, path: TilePath) -> Result<Bytes, Stop> {
        self.read(&format!("tile/{path}")).await
    }

    async fn read(&self, path: &str) -> Result<Bytes, Stop> {
        match self {
            Self::Served { remote, prefix } => {
                Ok(remote.get_raw(&format!("{prefix}/{path}"), &[]).await?.body)
            }
            Self::Folder(folder) => {
                let file = folder.join(path);
                let read = tokio::fs::read(&file).await;
                read.map(Bytes::from)
                    .map_err(|error| Stop::failed(format!("can't read {}", file.display()), error))
            }
        }
    }
}
