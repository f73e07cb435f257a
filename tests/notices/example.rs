//! The example in the documentation does what it says.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::receiver::{Desk, Receiver};

/// The first block of Python in `docs/notices.md`.
fn example() -> String {
    let text = include_str!("../../docs/notices.md");
    let (_, rest) = text.split_once("```python\n").expect("there is an example");
    rest.split_once("```").expect("it ends").0.to_owned()
}

/// Asks the example about a delivery, at the instant of the tests' clock.
fn verifies(secret: &str, id: &str, timestamp: &str, signature: &str, body: &str) -> bool {
    let program = format!(
        "{}\nimport sys\nbody = sys.stdin.buffer.read()\n\
         headers = {{\"webhook-id\": sys.argv[2], \"webhook-timestamp\": sys.argv[3], \"webhook-signature\": sys.argv[4]}}\n\
         sys.exit(0 if verify(sys.argv[1], headers, body, now=1800000000) else 3)\n",
        example()
    );
    let mut child = Command::new("python3")
        .args(["-c", &program, secret, id, timestamp, signature])
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    match child.wait().unwrap().code() {
        Some(0) => true,
        Some(3) => false,
        other => panic!("the example ended with {other:?}"),
    }
}

#[tokio::test]
async fn the_documented_receiver_accepts_what_is_sent_and_nothing_else() {
    let (desk, receiver) = (Desk::new().await, Receiver::start());
    let (webhook, old) = desk.register(json!({ "url": receiver.url, "types": ["credential.revoked"] })).await;
    let path = format!("/v1/webhooks/{webhook}/rotate-secret");
    let rotated = desk.server.post(&desk.admin(), &path, &json!({ "gracePeriodSeconds": 60 })).await.json();
    let new = rotated["secret"].as_str().unwrap();
    let (id, ..) = desk.issue().await;
    desk.server.post(&desk.admin(), &format!("/v1/credentials/{id}/revoke"), &json!({})).await;
    let seen = receiver.wait(1).await[0].clone();
    let (id, at) = (seen.header("webhook-id"), seen.header("webhook-timestamp"));
    let signature = seen.header("webhook-signature");
    assert!(verifies(new, id, at, signature, &seen.body));
    assert!(verifies(&old, id, at, signature, &seen.body));
    assert!(!verifies("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", id, at, signature, &seen.body));
    assert!(!verifies(new, "other", at, signature, &seen.body));
    assert!(!verifies(new, id, "1799999000", signature, &seen.body));
    assert!(!verifies(new, id, at, signature, &seen.body.replace("revoked", "rotated")));
}
