//! `/v1/forward-auth`: a proxy in front of a service asks whether to let a request through.
//!
//! Whatever method the proxy asks with, the answer is 200 with headers that say who it is, or the refusal of the
//! format that the caller spoke. Nothing but the caller's own headers decides who it is; which request was signed is
//! the proxy's to say ([`original`]).

mod original;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rota_aggregates::authority::{Dialect, Role};
use rota_aggregates::credential::Kind;

use self::original::{BodyRule, Original};
use super::auth::{NotLetIn, decode_basic};
use super::request::{REQUEST_ID, Request};
use super::{body, fluide, hopae, problem, spritz};
use crate::app::caller::Shown;
use crate::app::edge::{Door, Passed, Presented};
use crate::app::{Authenticated, Failure, Principal};
use crate::signing::{self, Body, Message};

const PATH: &str = "/v1/forward-auth";
/// What a header says that has nothing to say: each is always there, so that none of the client's own stays.
const NONE: &str = "none";

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route(PATH, web::route().to(ask)).route("/v1/forward-auth/{original:.*}", web::route().to(ask));
}

/// In which way somebody shows who they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Basic,
    Bearer,
    Session,
    UserToken,
    Signature,
}

impl Way {
    /// A signature covers the request, and so comes before what could be added to it.
    fn of(request: &Request) -> Option<Self> {
        if request.is_signed() {
            return Some(Self::Signature);
        }
        match request.authorization() {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("basic") => Some(Self::Basic),
            _ if request.shows_user_token() => Some(Self::UserToken),
            _ if request.shows_session() || fluide::is_spoken(request) => Some(Self::Session),
            Some(_) => Some(Self::Bearer),
            None => request.header("authorization").map(|_| Self::Bearer),
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Basic => Dialect::Hopae,
            Self::Bearer => Dialect::Native,
            Self::Session => Dialect::Fluide,
            Self::UserToken | Self::Signature => Dialect::Spritz,
        }
    }
}

/// Answers a proxy.
async fn ask(request: Request, payload: web::Payload) -> HttpResponse {
    let asked = async {
        let (door, rule) = original::door(&request)?;
        Ok((door, rule, body::bytes(payload).await?))
    };
    let (door, rule, body) = match asked.await {
        Ok(asked) => asked,
        Err(failure) => return problem::of_failure(&request, &failure),
    };
    let Some(way) = Way::of(&request) else { return nothing_shown(&request, &door) };
    let entered = match way {
        Way::Basic => basic(&request, &door).await,
        Way::Bearer => bearer(&request, &door).await,
        Way::UserToken => user_token(&request, &door).await,
        Way::Session => match fluide::enter(&request).await {
            Ok(who) => session(&request, way, &door, who).await,
            Err(refused) => return fluide::turn_away(&request, refused),
        },
        Way::Signature => match Original::of(&request) {
            Ok(original) => signature(&request, &door, &original, rule, &body).await,
            // The proxy is at fault, and not the caller.
            Err(failure) => return problem::of_failure(&request, &failure),
        },
    };
    match entered {
        Ok((passed, digest)) => identity(&request, way, &passed, digest),
        Err(failure) => refuse(&request, way, request.keep_out(failure)),
    }
}

/// Who passed, and the digest of the body that was signed and not seen.
type Entered = Result<(Passed, Option<[u8; 32]>), Failure>;

async fn basic(request: &Request, door: &Door) -> Entered {
    let anonymous = request.caller(Principal::Anonymous, Way::Basic.dialect());
    let pair = request.authorization().and_then(|(_, encoded)| decode_basic(encoded));
    let (id, secret) = pair.ok_or(Failure::Unauthenticated)?;
    Ok((request.app().pass(door, &anonymous, Presented::Pair(&id, &secret)).await?, None))
}

async fn bearer(request: &Request, door: &Door) -> Entered {
    let anonymous = request.caller(Principal::Anonymous, Way::Bearer.dialect());
    let shown = request.authorization().filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, key) = shown.ok_or(Failure::Unauthenticated)?;
    Ok((request.app().pass(door, &anonymous, Presented::Key(key)).await?, None))
}

async fn user_token(request: &Request, door: &Door) -> Entered {
    let who = request.user_of_token().await?;
    session(request, Way::UserToken, door, who).await
}

async fn session(request: &Request, way: Way, door: &Door, who: Authenticated) -> Entered {
    let anonymous = request.caller(Principal::Anonymous, way.dialect());
    Ok((request.app().pass(door, &anonymous, Presented::Session(who)).await?, None))
}

async fn signature(
    request: &Request,
    door: &Door,
    original: &Original<'_>,
    rule: BodyRule,
    body: &[u8],
) -> Entered {
    let anonymous = request.caller(Principal::Anonymous, Way::Signature.dialect());
    let fields = request.fields();
    let Original { method, target, authority } = *original;
    let seen = Message { method, target, authority, fields: &fields, body: Body::Bytes(body) };
    let digest = match rule {
        BodyRule::Digest if body.is_empty() => signing::claimed_digest(&seen),
        BodyRule::Digest | BodyRule::Seen => None,
    };
    // An empty body is signed as none at all.
    let digest = digest.filter(|digest| *digest != signing::sha256(b""));
    let message = Message { body: digest.map_or(Body::Bytes(body), Body::Sha256), ..seen };
    let passed = request.app().pass(door, &anonymous, Presented::Signature(&message)).await?;
    Ok((passed, digest))
}

/// Says who it is: ids, numbers and names of rota's own, and nothing that anybody chose.
fn identity(request: &Request, way: Way, passed: &Passed, digest: Option<[u8; 32]>) -> HttpResponse {
    let (who, until) = (passed.verified.who, passed.verified.expires_at);
    let proof = match way {
        Way::Signature => "signature",
        Way::Session | Way::UserToken => "session",
        Way::Basic | Way::Bearer if who.kind == Kind::WorkspaceKey => "workspace-key",
        Way::Basic | Way::Bearer => "secret",
    };
    let user = match who.shown {
        Shown::Session(session) => session.user,
        Shown::Secret | Shown::Signature(_) => None,
    };
    let roles: Vec<_> = who.roles.iter().map(Role::name).collect();
    let roles = if roles.is_empty() { NONE.to_owned() } else { roles.join(",") };
    let digest = digest.map(|digest| format!("sha-256=:{}:", STANDARD.encode(digest)));
    let mut response = HttpResponse::build(StatusCode::OK);
    response.insert_header((REQUEST_ID, request.id.to_string()));
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.insert_header(("Rota-Workspace", who.workspace.to_string()));
    response.insert_header(("Rota-Credential", who.credential.to_string()));
    response.insert_header(("Rota-Public-Id", passed.public_id.as_str()));
    response.insert_header(("Rota-Kind", who.kind.name()));
    response.insert_header(("Rota-Version", who.version.to_string()));
    response.insert_header(("Rota-Roles", roles));
    response.insert_header(("Rota-Proof", proof));
    response.insert_header(("Rota-User", user.map_or(NONE.to_owned(), |user| user.id.to_string())));
    response.insert_header(("Rota-Expires-At", until.map_or(NONE.to_owned(), |until| until.to_string())));
    response.insert_header(("Rota-Content-Digest", digest.unwrap_or_else(|| NONE.to_owned())));
    response.finish()
}

/// Why somebody is not let through, in the words of the format that they spoke.
fn refuse(request: &Request, way: Way, not: NotLetIn) -> HttpResponse {
    match way {
        Way::Basic => hopae::refuse_app(request, &not),
        Way::Bearer => problem::of_entry(request, &not),
        Way::Session => fluide::refuse(request, not),
        Way::UserToken | Way::Signature => spritz::refuse(request, &not),
    }
}

/// What is to be shown at this door.
fn nothing_shown(request: &Request, door: &Door) -> HttpResponse {
    let not = NotLetIn::Unknown { shown: false };
    match door.kind {
        Some(Kind::Client) => refuse(request, Way::Basic, not),
        Some(Kind::Exchange) => refuse(request, Way::Session, not),
        Some(Kind::Signing) => refuse(request, Way::Signature, not),
        Some(Kind::WorkspaceKey) => refuse(request, Way::Bearer, not),
        // Some proxies pass on one line of this alone.
        _ => {
            metrics::counter!("rota_refusals_total", "code" => "unauthenticated").increment(1);
            let detail = "show a client's secret, a workspace key, a session with its key, or a signature";
            let status = StatusCode::UNAUTHORIZED;
            let mut response =
                problem::problem(request, status, "unauthenticated", detail.to_owned(), None, None);
            let all =
                "Basic realm=\"rota\", charset=\"UTF-8\", Bearer realm=\"rota\", Spritz-HMAC realm=\"API\"";
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(all));
            response
        }
    }
}
