//! A process that is killed in the middle of a campaign rotates nothing twice and goes on by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use age::x25519::Identity;
use serde_json::{Value, json};

use crate::support::{Caller, OPERATOR, Process, Ran, rota, text, until};

const APPS: usize = 80;

/// Runs a verb as the operator.
fn verb(process: &Process, folder: &std::path::Path, arguments: &[&str]) -> Ran {
    process.verb_as(folder, OPERATOR, arguments)
}

/// If this fails, whoever ran an emergency rotation into a crash has to find out by hand whose secret is what.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_is_killed_again_and_again_rotates_each_credential_once() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::serve_at(folder.path(), "127.0.0.1:0");
    let operator = Caller::bearer(&process.url, OPERATOR);
    let workspace = operator.open_workspace("w").await;
    let (team, team_key, _) = operator.workspace_key(&workspace, &["analyst"]).await;
    let identity = Identity::generate();
    let key = identity.to_public().to_string();
    verb(&process, folder.path(), &["owners", "key", &team, &key]).exits(0);
    let mut apps = BTreeMap::new();
    for _ in 0..APPS {
        let (id, public, secret) = operator.issue(&workspace, "client").await;
        apps.insert(id, (public, secret));
    }
    let mut assign = vec!["owners", "assign", &team];
    assign.extend(apps.keys().map(String::as_str));
    verb(&process, folder.path(), &assign).exits(0);
    let dry =
        ["rotate-all", "--dry-run", "--workspace", &workspace, "--kind", "client", "--reason", "compromised"];
    let planned = verb(&process, folder.path(), &[&dry[..], &["--format", "json"]].concat()).exits(0).json();
    assert_eq!(planned["counts"]["items"], APPS);
    let hash = text(&planned["planHash"]);
    let table = verb(&process, folder.path(), &dry).exits(0).out;
    assert!(table.contains(&format!("rota rotate-all --plan {hash}")), "{table}");
    verb(&process, folder.path(), &["rotate-all", "--plan", &hash, "--detach"]).exits(0);
    let path = |url: &str| Caller::bearer(url, OPERATOR);
    // The detached one was the newer plan of the two with this hash.
    let listed = path(&process.url).get(&format!("/v1/campaigns?planHash={hash}")).await.expect(200).json();
    let running: Vec<_> =
        listed["items"].as_array().unwrap().iter().filter(|c| c["status"] != "planned").collect();
    assert_eq!(running.len(), 1, "{listed}");
    let campaign = text(&running[0]["id"]);
    let counts = async |url: &str| {
        let seen = path(url).get(&format!("/v1/campaigns/{campaign}?limit=1")).await.expect(200).json();
        (seen["counts"]["waiting"].as_u64().unwrap(), text(&seen["status"]))
    };
    let mut kills = 0;
    loop {
        // The instant does not matter: before, between or in the commits of items.
        tokio::time::sleep(Duration::from_millis(20 + 13 * kills)).await;
        let (waiting, status) = counts(&process.url).await;
        if status == "ended" || kills == 12 {
            assert!(kills > 2 || waiting == 0, "it was too quick to be killed");
            break;
        }
        process.kill();
        kills += 1;
        process = Process::serve_at(folder.path(), "127.0.0.1:0");
    }
    let url = process.url.clone();
    until("the campaign ends by itself", async || counts(&url).await.1 == "ended").await;
    let operator = path(&url);
    let team = operator.with_bearer(&team_key);
    for (id, (public, old)) in &apps {
        let seen = operator.get(&format!("/v1/credentials/{id}")).await.expect(200).json();
        assert_eq!(seen["versions"].as_array().unwrap().len(), 2, "{seen}");
        let out = folder.path().join("app.age");
        let out = out.to_str().unwrap();
        let fetch = ["campaigns", "secret", campaign.as_str(), id, "--out", out];
        process.verb_as(folder.path(), &team_key, &fetch).exits(0);
        let document = age::decrypt(&identity, &std::fs::read(out).unwrap()).unwrap();
        let document: Value = serde_json::from_slice(&document).unwrap();
        assert!(operator.verifies(public, &text(&document["secret"])).await);
        assert!(!operator.verifies(public, old).await);
    }
    drop(team);
    let page = operator.get("/v1/events?type=rota.credential.secret-rotated.v1&limit=1000").await.expect(200);
    assert_eq!(page.json()["items"].as_array().unwrap().len(), APPS);
    let shown =
        verb(&process, folder.path(), &["campaigns", "--format", "json", "show", &campaign]).exits(0).json();
    assert_eq!((shown["counts"]["done"].clone(), shown["counts"]["failed"].clone()), (json!(APPS), json!(0)));
    let listed = verb(&process, folder.path(), &["campaigns", "list"]).exits(0).out;
    assert!(listed.contains(&campaign));
    // A plan that was made before is not carried out now.
    let refused = verb(&process, folder.path(), &["rotate-all", "--plan", &hash]).exits(1);
    assert!(refused.err.contains("version was 1, is 2"), "{}", refused.err);
    process.stop();
    rota(folder.path())
        .args(["verify", "--store", &format!("sqlite:{}", folder.path().join("rota.db").display())])
        .output()
        .map(Ran::from)
        .unwrap()
        .exits(0);
}
