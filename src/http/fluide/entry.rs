//! Who asks: token, client id and key, and that they belong together.

use rota_aggregates::CredentialId;
use rota_aggregates::authority::Dialect;
use rota_aggregates::credential::Kind;

use super::super::request::Request;
use super::error::Refused;
use crate::app::sessions::FLUIDE_CLIENT;
use crate::app::{Caller, Failure};
use crate::tokens::Claims;

pub(super) const CLIENT: &str = "X-Fluide-Client-Id";
pub(super) const KEY: &str = "X-Fluide-Api-Key";
pub(super) const SECRET: &str = "X-Fluide-Api-Secret";

/// Who asks with a session.
pub(super) struct Asker {
    pub(super) caller: Caller,
    pub(super) claims: Claims,
}

/// A header that is given once, if at all.
fn header<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, Refused> {
    let mut values = request.http.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid(name, "must be given once").into());
    }
    match value.to_str() {
        Ok(text) if !text.is_empty() => Ok(Some(text)),
        Ok(_) => Ok(None),
        Err(_) => Err(Failure::invalid(name, "must be visible ASCII characters").into()),
    }
}

/// The client id must be there, and the one program's that tokens are for.
fn client(request: &Request) -> Result<(), Refused> {
    match header(request, CLIENT)? {
        Some(FLUIDE_CLIENT) => Ok(()),
        Some(_) => Err(Refused::client()),
        None => Err(Refused::missing(CLIENT)),
    }
}

/// The secret has one place where it is shown; elsewhere it would be read by who should not.
fn no_secret(request: &Request) -> Result<(), Refused> {
    match header(request, SECRET)? {
        None => Ok(()),
        Some(_) => Err(Failure::invalid(SECRET, "must be sent to the token exchange alone").into()),
    }
}

/// Lets in a key with its secret, to be exchanged.
pub(super) async fn pair(request: &Request) -> Result<Caller, Refused> {
    client(request)?;
    let key = header(request, KEY)?.ok_or_else(|| Refused::missing_key(KEY))?;
    let secret = header(request, SECRET)?.ok_or_else(|| Refused::missing_key(SECRET))?;
    let entered = request.pair(Dialect::Fluide, key, secret, &[Kind::Exchange]).await;
    entered.map_err(|not| Refused::entry(not, true))
}

/// Lets in a session. Its key may be left out where `key_required` is not set, and must be its own if it is there.
pub(super) async fn session(request: &Request, key_required: bool) -> Result<Asker, Refused> {
    no_secret(request)?;
    enter(request, key_required).await
}

async fn enter(request: &Request, key_required: bool) -> Result<Asker, Refused> {
    if request.header("authorization").is_none() {
        return Err(Refused::missing("Authorization"));
    }
    let named = header(request, CLIENT)?.ok_or_else(|| Refused::missing(CLIENT))?;
    let key = header(request, KEY)?;
    if key_required && key.is_none() {
        return Err(Refused::missing(KEY));
    }
    let entered = request.session(Dialect::Fluide).await.map_err(|not| Refused::entry(not, false))?;
    let asker = Asker { caller: entered.0, claims: entered.1 };
    if asker.claims.client_id.as_deref() != Some(named) {
        return Err(Refused::client());
    }
    match key {
        Some(key) if key != asker.claims.api_key => Err(Refused::keys()),
        _ => Ok(asker),
    }
}

/// Lets in whoever may look after a credential, and which one that is: a session after its own, a workspace's key
/// after the one that the key header names. A secret that is shown as well proves more than a session.
pub(super) async fn keeper(
    request: &Request,
    with_secret: bool,
) -> Result<(Caller, CredentialId, String), Refused> {
    if !with_secret {
        no_secret(request)?;
    }
    let (caller, id, key) = if request.shows_session() || request.header("authorization").is_none() {
        let Asker { caller, claims } = enter(request, false).await?;
        (caller, claims.sub, claims.api_key)
    } else {
        client(request)?;
        let caller = request.bearer(Dialect::Fluide).await.map_err(|not| Refused::entry(not, false))?;
        let key = header(request, KEY)?.ok_or_else(|| Refused::missing(KEY))?;
        let live = request.app().exchange_credential(caller.workspace(), key)?;
        (caller, live.state.id, key.to_owned())
    };
    let Some(secret) = header(request, SECRET)? else { return Ok((caller, id, key)) };
    let shown = request.pair(Dialect::Fluide, &key, secret, &[Kind::Exchange]).await;
    Ok((shown.map_err(|not| Refused::entry(not, true))?, id, key))
}
