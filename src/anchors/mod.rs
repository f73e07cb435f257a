//! Where checkpoints go, so that the operator alone can't rewrite history: to [`witnesses`], which cosign them, and as
//! [`copies`] to folders and addresses of the operator's choice. How each is spoken to; what is done with that is in
//! [`crate::app::ledger::anchor`].
//!
//! These addresses come from whoever runs rota, not from its callers: they may lead to private networks.

pub mod copies;
pub mod witnesses;

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, redirect};

use crate::ledger::note::NOTE_BYTES_MAX;

/// An attempt takes at most so long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same until there is a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a checkpoint did not get where it was to go.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody answers.
    #[error("no answer")]
    NoAnswer(#[source] reqwest::Error),
    /// The answer is a refusal.
    #[error("it answers {status}: {says}")]
    Refused {
        /// The status.
        status: u16,
        /// The first line of what it says.
        says: String,
    },
    /// The answer is not what it must be.
    #[error("it answers something else: {0}")]
    Other(&'static str),
    /// A file.
    #[error("the file can't be used")]
    File(#[from] std::io::Error),
    /// It shows another history, or more of this one than there is.
    #[error("{0}")]
    Contradicts(String),
    /// The ledger itself.
    #[error("the ledger gives no proof: {0}")]
    NoProof(String),
}

/// The client for all of them. No redirects: what is sent goes where it was meant to go.
pub fn client() -> reqwest::Result<Client> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .referer(false)
        .user_agent(concat!("rota/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The text of an answer, which is short.
async fn text(mut answer: Response) -> Result<String, Trouble> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(no_answer)? {
        if bytes.len() + chunk.len() > NOTE_BYTES_MAX {
            return Err(Trouble::Other("it is too long"));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Trouble::Other("it is no text"))
}

/// The address may have something secret in it.
fn no_answer(error: reqwest::Error) -> Trouble {
    Trouble::NoAnswer(error.without_url())
}

async fn refused(status: StatusCode, answer: Response) -> Trouble {
    let says = text(answer).await.unwrap_or_default();
    let says: String = says.lines().next().unwrap_or_default().chars().take(200).collect();
    Trouble::Refused { status: status.as_u16(), says }
}
