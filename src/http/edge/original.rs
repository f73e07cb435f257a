//! The request that a proxy asks about, and what it may be asked for.
//!
//! Two places, and never both, so that nobody can say in one what the proxy says in the other:
//!
//! - `/v1/forward-auth` itself: the proxy says it in `X-Forwarded-*`, and the query is the proxy's;
//! - below it (`/v1/forward-auth/shop?item=1`): method, path, query and host are the original's own, and what the
//!   door asks for is in `Rota-Require`.

use actix_web::http::header::HOST;
use rota_aggregates::WorkspaceId;
use rota_aggregates::authority::Role;
use rota_aggregates::credential::Kind;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer};

use super::super::body;
use super::super::request::Request;
use super::PATH;
use crate::app::Failure;
use crate::app::edge::Door;

const METHOD: &str = "X-Forwarded-Method";
const URI: &str = "X-Forwarded-Uri";
const AUTHORITY: &str = "X-Forwarded-Host";
const REQUIRE: &str = "Rota-Require";

/// A target has at most this many bytes.
const TARGET_BYTES_MAX: usize = 8 * 1_024;

/// What the body is to a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BodyRule {
    /// It is what came along: nothing, where the proxy passes none.
    #[default]
    Seen,
    /// It is what `Content-Digest` says: whoever gets the body compares the two.
    Digest,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Require {
    workspace_id: Option<String>,
    kind: Option<String>,
    role: Option<String>,
    body: Option<String>,
}

/// A parameter's value; reading them one by one tells which is wrong.
fn value<T: DeserializeOwned>(name: &str, text: Option<String>) -> Result<Option<T>, Failure> {
    let read = |text: String| T::deserialize(text.into_deserializer());
    text.map(read)
        .transpose()
        .map_err(|error: serde::de::value::Error| Failure::invalid(name, error.to_string()))
}

/// The door that is asked for.
pub(super) fn door(request: &Request) -> Result<(Door, BodyRule), Failure> {
    let require: Require = if is_below(request) {
        let require: Require = body::query(only(request, REQUIRE)?.unwrap_or_default())?;
        // It could be the client's own header, and all but this make the door narrower.
        if require.body.is_some() {
            return Err(Failure::invalid(REQUIRE, "has no `body` here: let the proxy pass the body itself"));
        }
        require
    } else {
        body::query(request.http.query_string())?
    };
    let door = Door {
        workspace: value::<WorkspaceId>("workspaceId", require.workspace_id)?,
        kind: value::<Kind>("kind", require.kind)?,
        role: value::<Role>("role", require.role)?,
    };
    Ok((door, value("body", require.body)?.unwrap_or_default()))
}

/// Method, target and authority of the request that a door is asked to let through.
pub(super) struct Original<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) authority: &'a str,
}

impl<'a> Original<'a> {
    pub(super) fn of(request: &'a Request) -> Result<Self, Failure> {
        if is_below(request) {
            let uri = request.http.uri();
            let target = uri.path_and_query().and_then(|target| target.as_str().strip_prefix(PATH));
            return Ok(Self {
                method: request.http.method().as_str(),
                target: target.ok_or(Failure::NotFound("resource"))?,
                authority: only(request, HOST.as_str())?.unwrap_or_default(),
            });
        }
        let said = |name| only(request, name)?.ok_or_else(|| Failure::invalid(name, "the proxy must set it"));
        let (method, target) = (said(METHOD)?, said(URI)?);
        if method.is_empty()
            || !method.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        {
            return Err(Failure::invalid(METHOD, "must be a method"));
        }
        if !target.starts_with('/') || target.len() > TARGET_BYTES_MAX {
            return Err(Failure::invalid(URI, "must be a path with its query"));
        }
        Ok(Self { method, target, authority: only(request, AUTHORITY)?.unwrap_or_default() })
    }
}

fn is_below(request: &Request) -> bool {
    request.http.path() != PATH
}

/// A header's only value.
fn only<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, Failure> {
    let mut values = request.http.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::invalid(name, "must be given once"));
    }
    value.to_str().map(Some).map_err(|_| Failure::invalid(name, "must be visible ASCII characters"))
}
