//! A bare actix-web server, as the ceiling of what rota's routes can reach: `GET /` answers a constant, `POST /` reads
//! JSON of the shape of a verification and answers a constant. Prints its address, and ends with its parent's pipe.
#![expect(clippy::print_stdout, reason = "whoever started it reads the address")]

use actix_web::{App, HttpResponse, HttpServer, web};
use rota_benches::Outcome;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    public_id: String,
    secret: String,
}

async fn get() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"up"}"#)
}

async fn post(body: web::Json<Body>) -> HttpResponse {
    if body.public_id.is_empty() || body.secret.is_empty() {
        return HttpResponse::BadRequest().finish();
    }
    HttpResponse::Ok().content_type("application/json").body(r#"{"active":true}"#)
}

#[actix_web::main]
async fn main() -> Outcome {
    let routes = || App::new().route("/", web::get().to(get)).route("/", web::post().to(post));
    let server = HttpServer::new(routes).bind("127.0.0.1:0")?;
    let address = server.addrs()[0];
    println!("http://{address}");
    server.run().await?;
    Ok(())
}
