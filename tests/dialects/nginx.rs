//! A real nginx in front of a site and a service, set up as in `deploy/`, with rota at the door.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::forward_auth::{ASK, Guarded, Held, IDENTITY, with};
use crate::support::{As, Caller, Front, Reply, nginx, send};

const SITE: &str = "the site that rota guards";

/// nginx with the configuration of `deploy/`.
async fn guarding(rota: &str, service: &str) -> Front {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    Front::start(|folder, own| {
        for name in ["nginx-edge.conf", "rota-ask.conf", "rota-identity.conf"] {
            let mut text = std::fs::read_to_string(deploy.join(name)).unwrap();
            for (address, here) in
                [("127.0.0.1:8700", rota), ("127.0.0.1:9000", service), ("127.0.0.1:8080", own)]
            {
                assert!(name != "nginx-edge.conf" || text.contains(address), "{address}");
                text = text.replace(address, here);
            }
            std::fs::write(folder.join(name), text).unwrap();
        }
        std::fs::create_dir(folder.join("site")).unwrap();
        std::fs::write(folder.join("site/index.html"), SITE).unwrap();
        nginx(folder, "nginx-edge.conf")
    })
    .await
}

/// A service that answers with what it was sent. Its address.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut seen, mut buffer) = (Vec::new(), [0u8; 4_096]);
                let length = loop {
                    match stream.read(&mut buffer).await {
                        Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                    let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                        break seen.len();
                    }
                };
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(&[head.as_bytes(), &seen].concat()).await;
            });
        }
    });
    address
}

/// nginx, what it guards, and whoever asks it.
struct Behind {
    guarded: Guarded,
    nginx: Front,
    nobody: Caller,
}

impl Behind {
    async fn new() -> Self {
        let guarded = Guarded::new().await;
        let rota = guarded.server.url().trim_start_matches("http://").to_owned();
        let nginx = guarding(&rota, &echo().await).await;
        let nobody = Caller::nobody(&nginx.url());
        Self { guarded, nginx, nobody }
    }

    async fn get(&self, who: &As<'_>, path: &str) -> Reply {
        self.nobody.with(who).get(path).await
    }

    async fn signed(&self, held: &Held, path: &str, more: &[(&str, &str)]) -> Reply {
        let mut headers = held.signer().headers(self.guarded.millis(), "GET", path, "");
        headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        send(with(self.nobody.request(Method::GET, path), &headers)).await
    }
}

/// What the service saw of a header, each time it saw it.
fn seen(reply: &Reply, name: &str) -> Vec<String> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let lines = reply.text.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

#[track_caller]
fn kept_out(reply: &Reply, challenge: &str) {
    assert_eq!(reply.status, 401, "{reply:?}");
    assert!(reply.header("www-authenticate").starts_with(challenge), "{reply:?}");
    assert!(!reply.text.contains(SITE), "{reply:?}");
}

#[tokio::test]
async fn a_site_is_open_until_the_rotation_is_answered() {
    let behind = Behind::new().await;
    let guarded = &behind.guarded;
    let client = guarded.issue("client").await;
    kept_out(&behind.get(&As::Nobody, "/").await, "Basic realm=\"rota\"");
    let reply = behind.get(&client.basic(), "/").await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, SITE));
    let new = guarded.rotate(&client, json!({})).await;
    kept_out(&behind.get(&client.basic(), "/").await, "Basic realm=\"hopae\"");
    assert_eq!(behind.get(&new.basic(), "/").await.text, SITE);

    let signing = guarded.issue("signing").await;
    assert_eq!(behind.signed(&signing, "/?a=1&b=%20", &[]).await.text, SITE);
    let new = guarded.rotate(&signing, json!({})).await;
    kept_out(&behind.signed(&signing, "/?a=1&b=%20", &[]).await, "Spritz-HMAC");
    assert_eq!(behind.signed(&new, "/?a=1&b=%20", &[]).await.text, SITE);

    let exchange = guarded.issue("exchange").await;
    let token = guarded.token(&exchange).await;
    let session = async || {
        let request = behind.nobody.with_bearer(&token).request(Method::GET, "/");
        let request = request.header("X-Fluide-Api-Key", &exchange.public);
        send(request.header("X-Fluide-Client-Id", crate::fluide::CLIENT)).await
    };
    assert_eq!(session().await.text, SITE);
    let path = format!("/v1/credentials/{}/revoke", exchange.id);
    guarded.server.operator().post(&path, json!({})).await.expect(200);
    kept_out(&session().await, "Bearer realm=\"fluide\"");

    let key = guarded.server.key(&guarded.workspace, &["verifier"]).await;
    assert_eq!(behind.get(&As::Bearer(&key), "/").await.text, SITE);
    kept_out(&behind.get(&As::Bearer("wrong"), "/").await, "Bearer");
}

#[tokio::test]
async fn the_service_learns_who_it_is_from_rota_alone() {
    let behind = Behind::new().await;
    let client = behind.guarded.issue("client").await;
    let spoofed = behind.nobody.with(&client.basic()).request(Method::POST, "/service/a?kind=signing");
    let spoofed = IDENTITY.iter().fold(spoofed, |request, name| request.header(*name, "spoofed"));
    let reply = send(spoofed.header("X-Forwarded-Method", "TRACE").body("the body")).await;
    assert!(
        reply.text.starts_with("POST /service/a?kind=signing ") && reply.text.ends_with("the body"),
        "{reply:?}"
    );
    let workspace = &behind.guarded.workspace;
    let expected =
        [workspace, &client.id, &client.public, "client", "1", "none", "secret", "none", "none", "none"];
    for (name, value) in IDENTITY.iter().zip(expected) {
        assert_eq!(seen(&reply, name), [value], "{name}");
    }
    assert!(seen(&reply, "authorization").is_empty());
    assert!(!reply.text.contains(&client.secret));
    // Only of the kind that it takes.
    let signing = behind.guarded.issue("signing").await;
    kept_out(&behind.signed(&signing, "/service/a", &[]).await, "Spritz-HMAC");
    kept_out(&behind.get(&As::Nobody, "/service/a").await, "Basic realm=\"hopae\"");
    kept_out(&behind.get(&client.basic(), "/signed/a").await, "Basic realm=\"hopae\"");
}

#[tokio::test]
async fn a_captured_signature_opens_no_other_path() {
    let behind = Behind::new().await;
    let signing = behind.guarded.issue("signing").await;
    let reply = behind.signed(&signing, "/signed/a?b=1", &[]).await;
    assert_eq!(seen(&reply, "rota-credential"), [signing.id.as_str()]);
    let captured = signing.signer().headers(behind.guarded.millis(), "GET", "/signed/a", "");
    let ask = async |method: Method, path: &str| {
        let request = with(behind.nobody.request(method, path), &captured);
        let request = request.header("X-Forwarded-Method", "GET").header("X-Forwarded-Uri", "/signed/a");
        send(request.header("X-Forwarded-Host", "shop.example").body("a body of the thief's")).await
    };
    for (method, path) in
        [(Method::GET, "/signed/b"), (Method::DELETE, "/signed/a"), (Method::GET, "/signed/a?x=1")]
    {
        kept_out(&ask(method, path).await, "Spritz-HMAC");
    }
    // Where it does open, nothing comes along that was not signed.
    let reply = ask(Method::GET, "/signed/a").await;
    assert!(reply.status == 200 && !reply.text.contains("thief"), "{reply:?}");
    // The way to ask is nginx' own.
    for path in ["/_rota", "/_rota_client", "/_rota_signing", ASK] {
        let reply = behind.signed(&signing, path, &[]).await;
        assert!(reply.status == 404 && seen_nothing(&reply), "{reply:?}");
    }
}

fn seen_nothing(reply: &Reply) -> bool {
    IDENTITY.iter().all(|name| reply.header(name).is_empty())
}

#[tokio::test]
async fn without_rota_nobody_gets_in() {
    let behind = Behind::new().await;
    let client = behind.guarded.issue("client").await;
    assert_eq!(behind.get(&client.basic(), "/").await.text, SITE);
    let Behind { guarded, nginx, nobody } = behind;
    guarded.server.stop().await;
    for path in ["/", "/service/a"] {
        let reply = nobody.with(&client.basic()).get(path).await;
        assert_eq!(reply.status, 500, "{reply:?}");
        assert!(!reply.text.contains(SITE), "{reply:?}");
    }
    drop(nginx);
}
