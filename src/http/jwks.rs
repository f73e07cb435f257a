//! `GET /.well-known/jwks.json`: the public keys of session tokens (RFC 7517), for whoever checks tokens alone.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::request::Request;

/// A copy may be used for five minutes; a new key is published for twice as long before it signs.
const CACHING: &str = "public, max-age=300";

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/.well-known/jwks.json", web::get().to(keys));
}

async fn keys(request: Request) -> HttpResponse {
    let keys = request.app().published_keys();
    // Keys come at the end and go at the beginning.
    let name = keys.last().map(|key| key.id.to_string()).unwrap_or_default();
    let tag = format!("\"{}-{name}\"", keys.len());
    if request.header(IF_NONE_MATCH).is_some_and(|known| known.split(',').any(|t| t.trim() == tag)) {
        return HttpResponse::NotModified()
            .insert_header((CACHE_CONTROL, CACHING))
            .insert_header((ETAG, tag))
            .finish();
    }
    let keys: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": key.id, "x": key.public,
            })
        })
        .collect();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/jwk-set+json"))
        .insert_header((CACHE_CONTROL, CACHING))
        .insert_header((ETAG, tag))
        .body(json!({ "keys": keys }).to_string())
}
