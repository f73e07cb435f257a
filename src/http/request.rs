//! What a handler gets of a request before it is authenticated.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HeaderName, USER_AGENT};
use actix_web::{FromRequest, HttpRequest, web};
use ring::rand::{SecureRandom, SystemRandom};
use rota_aggregates::authority::Dialect;
use rota_aggregates::{RequestId, Timestamp};
use uuid::{Builder, Uuid};

use super::Server;
use crate::app::{App, Caller, Principal};

/// The header that names a request, in answers and, if the caller has a UUID of their own, in requests.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A user agent is kept up to this many characters.
const USER_AGENT_CHARS_MAX: usize = 200;

/// Makes request ids: unique and ordered by time, not secret, and so not worth a system call each.
pub(super) struct RequestIds {
    seed: [u64; 2],
    count: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut seed = [0u8; 16];
        SystemRandom::new().fill(&mut seed).map_err(|_| std::io::Error::other("no randomness"))?;
        let wide = u128::from_le_bytes(seed);
        Ok(Self { seed: [wide as u64, (wide >> 64) as u64], count: AtomicU64::new(0) })
    }

    fn next(&self, now: Timestamp) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0u8; 10];
        bytes[..2].copy_from_slice(&(count as u16).to_be_bytes());
        let rest = self.seed[0].wrapping_add((count ^ self.seed[1]).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        bytes[2..].copy_from_slice(&rest.to_be_bytes());
        let millis = (now.micros() / 1_000) as u64;
        RequestId(Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
    }
}

/// A request, before anybody knows whose it is.
pub(crate) struct Request {
    pub(crate) server: web::Data<Server>,
    pub(crate) id: RequestId,
    pub(crate) http: HttpRequest,
}

impl FromRequest for Request {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(http: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(server) = http.app_data::<web::Data<Server>>() else {
            return ready(Err(actix_web::error::ErrorInternalServerError("no server")));
        };
        let id = server.ids.next(server.app.clock().now());
        ready(Ok(Self { server: server.clone(), id, http: http.clone() }))
    }
}

impl Request {
    pub(crate) fn app(&self) -> &App {
        &self.server.app
    }

    /// A header's value as text.
    pub(crate) fn header(&self, name: impl actix_web::http::header::AsHeaderName) -> Option<&str> {
        self.http.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The `Authorization` header: scheme and credentials.
    pub(super) fn authorization(&self) -> Option<(&str, &str)> {
        let mut all = self.http.headers().get_all(AUTHORIZATION);
        let value = all.next()?.to_str().ok()?;
        if all.next().is_some() {
            return None;
        }
        value.split_once(' ').map(|(scheme, rest)| (scheme, rest.trim()))
    }

    /// The caller's address: the connection's, or what the proxy in front says if it is to be believed.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let peer = self.http.peer_addr().map(|a| a.ip());
        if !self.server.trust_forwarded_for {
            return peer;
        }
        // The last entry is the one that our own proxy wrote.
        let lines = self.http.headers().get_all("x-forwarded-for");
        let forwarded = lines.last().and_then(|line| line.to_str().ok()?.rsplit(',').next());
        forwarded.and_then(|text| text.trim().parse().ok()).or(peer)
    }

    /// The caller, once it is known who that is.
    pub(super) fn caller(&self, principal: Principal, dialect: Dialect) -> Caller {
        let own = self.header(REQUEST_ID).and_then(|text| Uuid::parse_str(text).ok());
        let user_agent =
            self.header(USER_AGENT).map(|text| text.chars().take(USER_AGENT_CHARS_MAX).collect());
        Caller {
            principal,
            dialect,
            request: self.id,
            correlation: own.unwrap_or(self.id.0),
            client_address: self.address().map(|a| a.to_string()),
            user_agent,
        }
    }
}
