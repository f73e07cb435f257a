//! Scratch folders: a ledger in one, what lies in it, and what nobody may do to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};
use tempfile::TempDir;

use super::program::run;

/// A folder with a ledger in `rota-data` that has been used and is not served.
pub fn ledger() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &["quickstart", "--once", "--listen", "127.0.0.1:0"]).exits(0);
        folder
    });
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(made.path().join("rota-data")).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    folder
}

/// The database of a folder that [`ledger`] gave.
pub fn database(folder: &Path) -> PathBuf {
    folder.join("rota-data/rota.db")
}

/// Does to a database what nobody may.
pub async fn tamper(path: &Path, sql: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection: SqliteConnection = options.connect().await.unwrap();
    connection
        .execute("DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_deleted")
        .await
        .unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

/// Permission bits.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
