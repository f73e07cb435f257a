//! Long work that a server does on the operator's word.

use std::time::Duration;

use serde_json::Value;

use super::client::Remote;
use super::error::Stop;
use super::progress::Progress;

/// How often to ask how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// Starts a job and waits for its end.
pub async fn run(remote: &Remote, name: &str, what: &'static str, body: &Value) -> Result<(), Stop> {
    remote.post(&format!("/v1/admin/{name}"), body).await?;
    let progress = Progress::new(what);
    loop {
        let job = remote.get(&format!("/v1/admin/jobs/{name}"), &[]).await?;
        progress.at(job["done"].as_u64().unwrap_or(0), job["total"].as_u64().unwrap_or(0));
        match job["state"].as_str() {
            Some("done") => return Ok(()),
            Some("running") => tokio::time::sleep(LOOK).await,
            _ => return Err(Stop::refused(job["error"].as_str().unwrap_or("the server gave up").to_owned())),
        }
    }
}
