//! Speaking to a witness (c2sp.org/tlog-witness).

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};

use super::{Trouble, no_answer, refused, text};
use crate::ledger::cosigning::{AddCheckpoint, SIZE_TYPE, parse_size};
use crate::ledger::policy::Witness;
use crate::witness::origin_hash;

/// A witness that can be asked.
pub struct WitnessClient {
    /// Who it is.
    pub witness: Witness,
    url: String,
    client: Client,
}

/// What a witness makes of a checkpoint.
#[derive(Debug)]
pub enum Answer {
    /// Signature lines.
    Cosigned(String),
    /// It cosigned another size last.
    Has(u64),
    /// It is shown another history, it says.
    Inconsistent,
}

impl WitnessClient {
    /// A witness below a URL; `None` if the policy gives none.
    pub fn new(witness: Witness, client: Client) -> Option<Self> {
        let url = witness.url.clone()?;
        Some(Self { witness, url, client })
    }

    /// Asks it to cosign.
    pub async fn add(&self, request: &AddCheckpoint) -> Result<Answer, Trouble> {
        let sent = self.client.post(format!("{}/add-checkpoint", self.url)).body(request.text()).send().await;
        let answer = sent.map_err(no_answer)?;
        match answer.status() {
            StatusCode::OK => Ok(Answer::Cosigned(text(answer).await?)),
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::Inconsistent),
            StatusCode::CONFLICT => {
                let header = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                if header != Some(SIZE_TYPE) {
                    return Err(refused(StatusCode::CONFLICT, answer).await);
                }
                let size = text(answer).await?;
                let size = size.strip_suffix('\n').and_then(parse_size);
                size.map(Answer::Has).ok_or(Trouble::Other("no size"))
            }
            status => Err(refused(status, answer).await),
        }
    }

    /// The checkpoint that it cosigned last for a log, if it tells.
    pub async fn latest(&self, origin: &str) -> Result<Option<String>, Trouble> {
        let url = format!("{}/{}/checkpoint", self.url, origin_hash(origin));
        let answer = self.client.get(url).send().await.map_err(no_answer)?;
        match answer.status() {
            StatusCode::OK => text(answer).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(refused(status, answer).await),
        }
    }
}
