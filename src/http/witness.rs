//! rota as a witness over HTTP (c2sp.org/tlog-witness).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{App as HttpApp, HttpResponse, HttpServer, web};
use tokio::sync::watch;

use super::{Running, STOP_SECONDS, TlsFiles, tls};
use crate::ledger::cosigning::{NotCosigned, REQUEST_BYTES_MAX, SIZE_TYPE};
use crate::witness::{Answer, Witness, WitnessError};

const TEXT: &str = "text/plain; charset=utf-8";

fn text(status: StatusCode, body: impl Into<String>) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, TEXT))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body.into())
}

fn status_of(refused: NotCosigned) -> StatusCode {
    match refused {
        NotCosigned::Malformed | NotCosigned::Backwards => StatusCode::BAD_REQUEST,
        NotCosigned::UnknownLog => StatusCode::NOT_FOUND,
        NotCosigned::NotSigned => StatusCode::FORBIDDEN,
        NotCosigned::Elsewhere { .. } => StatusCode::CONFLICT,
        NotCosigned::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn failed(error: &WitnessError) -> HttpResponse {
    tracing::error!(error = error as &dyn std::error::Error, "the witness could not do its work");
    text(StatusCode::INTERNAL_SERVER_ERROR, "the witness can't do its work right now\n")
}

/// Away from the threads that answer others: it waits for the disk.
async fn aside<T: Send + 'static>(
    witness: web::Data<Witness>,
    work: impl FnOnce(&Witness) -> Result<T, WitnessError> + Send + 'static,
) -> Result<T, HttpResponse> {
    match web::block(move || work(&witness)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(text(StatusCode::SERVICE_UNAVAILABLE, "the witness is stopping\n")),
    }
}

/// `POST /add-checkpoint`
async fn add_checkpoint(witness: web::Data<Witness>, body: web::Bytes) -> HttpResponse {
    let Ok(body) = String::from_utf8(body.to_vec()) else {
        return text(StatusCode::BAD_REQUEST, format!("{}\n", NotCosigned::Malformed));
    };
    let answer = aside(witness, move |witness| witness.add_checkpoint(&body)).await;
    let (outcome, answer) = match answer {
        Ok(Answer::Cosigned(line)) => ("cosigned", text(StatusCode::OK, line)),
        Ok(Answer::Refused(NotCosigned::Elsewhere { has })) => {
            let answer =
                HttpResponse::Conflict().insert_header((CONTENT_TYPE, SIZE_TYPE)).body(format!("{has}\n"));
            ("elsewhere", answer)
        }
        Ok(Answer::Refused(refused)) => ("refused", text(status_of(refused), format!("{refused}\n"))),
        Err(failed) => ("failed", failed),
    };
    tracing::debug!(outcome, "asked to cosign");
    answer
}

/// `GET /HASH/checkpoint`: what was cosigned last for the log whose origin has this SHA-256.
async fn latest(witness: web::Data<Witness>, hash: web::Path<String>) -> HttpResponse {
    match aside(witness, move |witness| witness.latest(&hash)).await {
        Ok(Some(note)) => text(StatusCode::OK, note),
        Ok(None) => text(StatusCode::NOT_FOUND, "nothing was cosigned for such a log\n"),
        Err(failed) => failed,
    }
}

async fn live() -> HttpResponse {
    text(StatusCode::OK, "live\n")
}

/// Starts serving a witness.
#[expect(clippy::unused_async, reason = "it spawns, and so can only be called on a runtime")]
pub async fn start(
    witness: Arc<Witness>,
    listen: SocketAddr,
    files: Option<TlsFiles>,
) -> std::io::Result<Running> {
    let witness = web::Data::from(witness);
    let http = HttpServer::new(move || {
        HttpApp::new()
            .app_data(witness.clone())
            .app_data(web::PayloadConfig::new(REQUEST_BYTES_MAX))
            .route("/add-checkpoint", web::post().to(add_checkpoint))
            .route("/{hash}/checkpoint", web::get().to(latest))
            .route("/health/live", web::get().to(live))
    })
    .disable_signals()
    .workers(2)
    .client_request_timeout(Duration::from_secs(10))
    .shutdown_timeout(STOP_SECONDS);
    let (http, scheme) = match &files {
        Some(files) => (http.bind_rustls_0_23(listen, tls::config(files)?)?, "https"),
        None => (http.bind(listen)?, "http"),
    };
    let address = http.addrs().first().copied().unwrap_or(listen);
    let running = http.run();
    let handle = running.handle();
    let url = format!("{scheme}://{address}");
    Ok(Running { url, handle, task: tokio::spawn(running), stopping: watch::channel(false).0 })
}
