//! Access tokens by the client credentials grant of OAuth 2.0, and where they are kept until they expire.

use std::future::Future;
use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Url};
use rota_aggregates::secret::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Answer, Effect, Request, Rest};
use crate::failure::Failure;

/// A token is not used any more when it has less than this left.
const MARGIN: Duration = Duration::from_mins(1);
/// Nor longer than this: a right that was taken away is then missed soon.
const KEPT_MAX: Duration = Duration::from_mins(10);
/// Where the vendor does not say how long.
const UNSAID: Duration = Duration::from_mins(5);

/// A token and until when it is used.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<Option<(Secret, Instant)>>);

#[derive(Deserialize)]
struct Issued {
    access_token: Secret,
    expires_in: Option<u64>,
}

impl Tokens {
    /// Sends a request with the token that is at hand, or a new one that `issue` asks for. One that was at hand and is
    /// not accepted any more is replaced once.
    pub(crate) async fn ask<F>(
        &self,
        rest: &Rest,
        request: impl Fn() -> Request,
        issue: impl Fn() -> F,
    ) -> Result<Answer, Failure>
    where
        F: Future<Output = Result<Answer, Failure>>,
    {
        let mut kept = self.0.lock().await;
        if let Some((token, until)) = &*kept
            && Instant::now() < *until
        {
            let answer = rest.ask(with(request(), token)?).await?;
            if answer.status != 401 {
                return Ok(answer);
            }
        }
        *kept = None;
        let answer = issue().await?;
        if !answer.ok() {
            return Err(rest.failure(&answer, Effect::Reads, "for an access token"));
        }
        let Issued { access_token, expires_in } =
            answer.read().ok_or_else(|| rest.not_understood(Effect::Reads, "for an access token"))?;
        let lasts = expires_in.map_or(UNSAID, Duration::from_secs).saturating_sub(MARGIN).min(KEPT_MAX);
        let first = with(request(), &access_token)?;
        *kept = Some((access_token, Instant::now() + lasts));
        drop(kept);
        rest.ask(first).await
    }
}

fn with(request: Request, token: &Secret) -> Result<Request, Failure> {
    let value = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
    request.header(AUTHORIZATION, &value)
}

/// Asks for a token by the client credentials grant; whatever the answer is, it is the caller's.
pub(crate) async fn client_credentials(
    rest: &Rest,
    url: Url,
    basic: Option<(&str, &Secret)>,
    fields: &[(&str, &str)],
) -> Result<Answer, Failure> {
    use base64::Engine as _;
    let mut all = vec![("grant_type", "client_credentials")];
    all.extend_from_slice(fields);
    let mut request = Request::new(Method::POST, url, Effect::Reads, "for an access token").form(&all);
    if let Some((id, secret)) = basic {
        let pair = zeroize::Zeroizing::new(format!("{id}:{}", secret.expose()));
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
        let value = zeroize::Zeroizing::new(format!("Basic {encoded}"));
        request = request.header(AUTHORIZATION, &value)?;
    }
    rest.ask(request).await
}
