//! Witnesses and copies: nobody, the operator included, shows another history to somebody who asks there.

use std::path::Path;

use reqwest::Method;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::cosigning::AddCheckpoint;
use rota::ledger::note::{SignedNote, SigningKey, VerifierKey};
use rota::ledger::rfc6962::{Frontier, leaf_hash, node_hash};
use rota_aggregates::ids::Hash;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Caller, OPERATOR, Process, Reply, files, free_port, rota, run, until};

const ORIGIN: &str = "log.example/a";

/// `rota witness serve` in a folder, at a port.
fn serve_witness(folder: &Path, port: u16) -> Process {
    let mut command = rota(folder);
    command.args(["witness", "serve", "--listen", &format!("127.0.0.1:{port}")]);
    Process::start(command)
}

/// A witness in a folder of its own, and its key.
fn witness(name: &str) -> (TempDir, Process, String) {
    let folder = tempfile::tempdir().unwrap();
    let vkey = run(folder.path(), &["witness", "init", "--name", name, "--format", "json"]).exits(0).json();
    let served = serve_witness(folder.path(), 0);
    (folder, served, vkey["vkey"].as_str().unwrap().to_owned())
}

fn log() -> SigningKey {
    SigningKey::of_log(ORIGIN, &[1; 32]).unwrap()
}

fn checkpoint(size: u64, root: Hash) -> Checkpoint {
    Checkpoint { origin: ORIGIN.to_owned(), size, root }
}

async fn ask(witness: &Caller, old: u64, proof: &[Hash], note: String) -> Reply {
    let body = AddCheckpoint { old, proof: proof.to_vec(), note }.text();
    witness.send(Method::POST, "/add-checkpoint", &[], Some(body.into_bytes())).await.unwrap()
}

/// A log that follows the protocol would not be cosigned, or one that lies would.
#[tokio::test]
async fn a_witness_answers_as_the_protocol_says() {
    let (folder, served, vkey) = witness("witness.example/w1");
    let key: VerifierKey = vkey.parse().unwrap();
    let asked = Caller::nobody(&served.url);
    let (first, second) = (leaf_hash(b"first"), leaf_hash(b"second"));
    let one = checkpoint(1, first);
    let two = checkpoint(2, node_hash(&first, &second));
    ask(&asked, 0, &[], one.sign(&[&log()])).await.expect(404);
    run(folder.path(), &["witness", "add", &log().verifier().to_string()]).exits(0);
    run(folder.path(), &["witness", "add", &vkey]).exits(1);
    run(folder.path(), &["witness", "add", "nothing"]).exits(2);
    run(folder.path(), &["witness", "init", "--name", "another"]).exits(1);
    run(folder.path(), &["witness", "serve", "--listen", "127.0.0.1:0"]).exits(1);

    let forger = SigningKey::of_log(ORIGIN, &[2; 32]).unwrap();
    ask(&asked, 0, &[], one.sign(&[&forger])).await.expect(403);
    let cosigned = ask(&asked, 0, &[], one.sign(&[&forger, &log()])).await.expect(200).text;
    let note = SignedNote::parse(&format!("{}\n{cosigned}", one.text())).unwrap();
    assert!(note.check(&key).unwrap().unwrap() > 1_700_000_000, "{cosigned}");
    // The answer may get lost: asked again, it is given again.
    ask(&asked, 1, &[], one.sign(&[&log()])).await.expect(200);
    let elsewhere = ask(&asked, 0, &[], two.sign(&[&log()])).await.expect(409);
    assert_eq!((elsewhere.text.as_str(), elsewhere.header("content-type")), ("1\n", "text/x.tlog.size"));
    ask(&asked, 2, &[], one.sign(&[&log()])).await.expect(400);
    ask(&asked, 1, &[], two.sign(&[&log()])).await.expect(422);
    ask(&asked, 1, &[leaf_hash(b"another")], two.sign(&[&log()])).await.expect(422);
    ask(&asked, 1, &[], checkpoint(1, second).sign(&[&log()])).await.expect(422);
    for bad in ["", "old 1\n", "old x\n\nnote\n", "old 1\n\nno note at all\n"] {
        let body = Some(bad.as_bytes().to_vec());
        asked.send(Method::POST, "/add-checkpoint", &[], body).await.unwrap().expect(400);
    }
    let body = Some(vec![b'x'; 100_000]);
    asked.send(Method::POST, "/add-checkpoint", &[], body).await.unwrap().expect(413);
    ask(&asked, 1, &[second], two.sign(&[&log()])).await.expect(200);
    // What it cosigned last, and what was shown to it in vain.
    let shown =
        asked.get(&format!("/{}/checkpoint", rota::witness::origin_hash(ORIGIN))).await.expect(200).text;
    assert_eq!(Checkpoint::open(&shown, log().verifier()), Ok(two));
    assert!(SignedNote::parse(&shown).unwrap().check(&key).is_ok());
    asked.get(&format!("/{}/checkpoint", rota::witness::origin_hash("another"))).await.expect(404);
    let listed = run(folder.path(), &["witness", "list", "--format", "json"]).exits(0).json();
    assert_eq!((&listed[0]["origin"], &listed[0]["size"]), (&ORIGIN.into(), &2.into()));
    assert_eq!(listed[0]["evidence"].as_array().unwrap().len(), 2, "{listed}");
}

/// A witness that is killed would forget what it cosigned, and cosign another history.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_is_killed_goes_only_forward() {
    let (folder, served, _) = witness("witness.example/w1");
    run(folder.path(), &["witness", "add", &log().verifier().to_string()]).exits(0);
    let port = served.url.rsplit(':').next().unwrap().parse().unwrap();
    let mut served = Some(served);
    // A tree of one leaf that doubles: its proof is always the root of the half that came.
    let mut tree = Frontier::default();
    let mut cosigned = 0u64;
    for round in 0..12u64 {
        let asked = Caller::nobody(&served.as_ref().unwrap().url);
        let asking = tokio::spawn(async move {
            let mut last = cosigned;
            let mut next = tree.clone();
            loop {
                let (old, half) = (next.size(), next.root());
                let mut proof = Vec::new();
                // Large enough: from there on the same one is asked for again.
                if old < 1 << 12 {
                    let mut right = Frontier::default();
                    for index in 0..old.max(1) {
                        let leaf = leaf_hash(&(old + index).to_be_bytes());
                        next.push(leaf, |_, _| ());
                        right.push(leaf, |_, _| ());
                    }
                    if old > 0 {
                        assert_eq!(next.root(), node_hash(&half, &right.root()));
                        proof.push(right.root());
                    }
                }
                let note = checkpoint(next.size(), next.root()).sign(&[&log()]);
                let body = AddCheckpoint { old, proof, note }.text();
                let sent = asked.send(Method::POST, "/add-checkpoint", &[], Some(body.into_bytes())).await;
                match sent {
                    Ok(reply) if reply.status == 200 => last = next.size(),
                    Ok(reply) => panic!("{}: {}", reply.status, reply.text),
                    Err(_) => return last,
                }
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(5 + round)).await;
        served.take().unwrap().kill();
        cosigned = asking.await.unwrap();
        served = Some(serve_witness(folder.path(), port));
        let listed = run(folder.path(), &["witness", "list", "--format", "json"]).exits(0).json();
        let has = listed[0]["size"].as_u64().unwrap_or(0);
        assert!(has >= cosigned, "it cosigned {cosigned}, and remembers {has}");
        let mut again = Frontier::default();
        for index in 0..has {
            again.push(leaf_hash(&index.to_be_bytes()), |_, _| ());
        }
        if has > 0 {
            assert_eq!(listed[0]["root"], again.root().to_string());
        }
        // Another history of that size is refused.
        let asked = Caller::nobody(&served.as_ref().unwrap().url);
        if has > 0 {
            ask(&asked, has, &[], checkpoint(has, leaf_hash(b"another")).sign(&[&log()])).await.expect(422);
        }
        (cosigned, tree) = (has, again);
    }
    assert!(cosigned > 1, "something was cosigned");
}

/// Starts rota on `folder/rota.db`, with witnesses and copies as the arguments say.
fn serve(folder: &Path, more: &[&str]) -> Process {
    let mut command = rota(folder);
    command.args(["serve", "--listen", "127.0.0.1:0", "--store", "sqlite:rota.db", "--anchor-seconds", "1"]);
    command.args(more).env("ROTA_OPERATOR_KEY", OPERATOR);
    Process::start(command)
}

async fn state(operator: &Caller) -> Value {
    operator.get("/v1/ledger/state").await.expect(200).json()
}

/// Somebody who keeps what is put there, and asks for a token.
mod keeper {
    use std::sync::{Arc, Mutex};

    use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

    pub type Kept = Arc<Mutex<(Option<String>, u16)>>;

    pub fn start() -> (String, Kept) {
        let kept: Kept = Arc::new(Mutex::new((None, 200)));
        let data = web::Data::new(Arc::clone(&kept));
        let server = HttpServer::new(move || {
            App::new().app_data(data.clone()).default_service(web::to(
                async |kept: web::Data<Kept>, request: HttpRequest, body: web::Bytes| {
                    let token = request.headers().get("authorization").map(|value| value.to_str().unwrap());
                    let mut kept = kept.lock().unwrap();
                    if token != Some("Bearer a-token") || kept.1 != 200 {
                        return HttpResponse::ServiceUnavailable().body("not now");
                    }
                    match request.method().as_str() {
                        "PUT" => {
                            kept.0 = Some(String::from_utf8(body.to_vec()).unwrap());
                            HttpResponse::NoContent().finish()
                        }
                        _ => match &kept.0 {
                            Some(note) => HttpResponse::Ok().body(note.clone()),
                            None => HttpResponse::NotFound().finish(),
                        },
                    }
                },
            ))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/kept", server.addrs()[0]);
        tokio::spawn(server.shutdown_timeout(0).run());
        (url, kept)
    }
}

/// An auditor asks for the quorum, and trusts no single one of them.
fn an_auditor_asks_for_the_quorum(at: &Path, served: &Process, vkey: &str) {
    let given = served.verb_as(at, OPERATOR, &["ledger", "policy"]).exits(0).out;
    std::fs::write(at.join("policy"), &given).unwrap();
    assert!(given.contains(vkey) && !given.contains("http"), "{given}");
    let verified = ["verify", "--url", &served.url, "--key", OPERATOR, "--policy", "policy"];
    run(at, &verified).exits(0);
    // From a checkpoint that was kept, and for a receipt under the newest one.
    let kept = ["verify", "--url", &served.url, "--key", OPERATOR, "--save", "monday"];
    run(at, &kept).exits(0);
    let since = ["verify", "--url", &served.url, "--key", OPERATOR, "--from", "monday", "--vkey", vkey];
    assert!(run(at, &since).exits(0).out.contains("held against the checkpoint that was kept"));
    served.verb_as(at, OPERATOR, &["receipt", "2", "--out", "2.tlog-proof", "--entry", "2.json"]).exits(0);
    let report =
        run(at, &["verify", "receipt", "2.tlog-proof", "--vkey", vkey, "--format", "json"]).exits(0).json();
    let entry: Value = serde_json::from_slice(&std::fs::read(at.join("2.json")).unwrap()).unwrap();
    assert_eq!((&report["position"], &report["event"]), (&2.into(), &entry));
    let receipt = ["receipt", "3", "--cosigned", "--out", "3.tlog-proof"];
    served.verb_as(at, OPERATOR, &receipt).exits(0);
    run(at, &["verify", "receipt", "3.tlog-proof", "--policy", "policy"]).exits(0);
    std::fs::write(at.join("stricter"), given.replace("group Q 2", "group Q all")).unwrap();
    run(at, &["verify", "receipt", "3.tlog-proof", "--policy", "stricter"]).exits(1);
    let refused =
        run(at, &["verify", "--url", &served.url, "--key", OPERATOR, "--policy", "stricter"]).exits(1);
    assert!(refused.out.contains("not cosigned by the quorum Q"), "{}", refused.out);
    served.verb_as(at, OPERATOR, &["receipt", "99999", "--cosigned"]).exits(1);
    // What an auditor takes home says who else saw this history, and that the answers are part of it.
    served.verb_as(at, OPERATOR, &["report", "population", "--pack", "pack"]).exits(0);
    let packed = |name: &str| std::fs::read_to_string(at.join("pack").join(name)).unwrap();
    assert_eq!(packed("policy"), given);
    let (own, cosigned) = (packed("checkpoint"), packed("cosigned"));
    assert!(cosigned.contains("w1.example") && cosigned.contains("w2.example"), "{cosigned}");
    let size = |note: &str| note.lines().nth(1).unwrap().parse::<u64>().unwrap();
    if size(&own) == size(&cosigned) {
        assert_eq!(own.lines().nth(2), cosigned.lines().nth(2));
        return;
    }
    let (from, to) = (size(&own).min(size(&cosigned)), size(&own).max(size(&cosigned)));
    assert_eq!(packed(&format!("consistency/{}.checkpoint", size(&own))), own);
    assert_eq!(packed(&format!("consistency/{}.checkpoint", size(&cosigned))), cosigned);
    packed(&format!("consistency/{from}-{to}.txt"));
}

/// An auditor would have to trust the operator alone, or a witness that is away would keep rota from serving.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_cosigned_and_copied() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let (first_at, first, first_key) = witness("w1.example");
    let (second_at, second, second_key) = witness("w2.example");
    let away = SigningKey::of_witness("w3.example", &[3; 32]).unwrap();
    let policy = format!(
        "witness W1 {first_key} {}\nwitness W2 {second_key} {}/\nwitness W3 {} http://127.0.0.1:{}\n\
         group Q 2 W1 W2 W3\nquorum Q\n",
        first.url,
        second.url,
        away.verifier(),
        free_port(),
    );
    std::fs::write(at.join("witnesses"), &policy).unwrap();
    std::fs::write(at.join("token"), "a-token\n").unwrap();
    let (url, kept) = keeper::start();
    kept.lock().unwrap().1 = 503;
    let copies = format!("copies,{url}");
    let arguments = [
        "--witnesses",
        "witnesses",
        "--checkpoint-copies",
        &copies,
        "--checkpoint-copies-token-file",
        "token",
    ];
    let served = serve(at, &arguments);
    let operator = Caller::bearer(&served.url, OPERATOR);
    let vkey = operator.get("/v1/ledger/key").await.expect(200).json()["keys"][0]["vkey"].clone();
    let vkey = vkey.as_str().unwrap().to_owned();
    // Nobody waits for witnesses that do not know the log yet, nor for a copy that is refused.
    operator.open_workspace("early").await;
    operator.get("/ledger/checkpoint").await.expect(200);
    operator.get("/ledger/cosigned/checkpoint").await.expect(404);
    until("the trouble is told", async || {
        let state = state(&operator).await;
        state["witnesses"][0]["trouble"].is_string() && state["copies"][1]["trouble"].is_string()
    })
    .await;
    for folder in [&first_at, &second_at] {
        run(folder.path(), &["witness", "add", &vkey]).exits(0);
    }
    kept.lock().unwrap().1 = 200;
    for _ in 0..20 {
        operator.open_workspace("w").await;
    }
    let events = operator.events().await;
    until("two of three have cosigned", async || {
        state(&operator).await["cosigned"]["size"].as_u64() >= Some(events)
    })
    .await;
    let told = state(&operator).await;
    assert!(
        told["witnesses"][2]["trouble"].is_string() && told["witnesses"][0]["trouble"].is_null(),
        "{told}"
    );
    let text = served.verb_as(at, OPERATOR, &["ledger"]).exits(0).out;
    assert!(text.contains("W1: ") && text.contains("W3: nothing yet"), "{text}");
    let metrics = operator.get("/metrics").await.text;
    assert!(metrics.contains("rota_witness_behind_events{witness=\"W3\"}"), "{metrics}");
    // What is a secret in an address is told nowhere.
    until("the copies are there", async || {
        let note = kept.lock().unwrap().0.clone();
        let newest = std::fs::read_to_string(at.join("copies/checkpoint")).ok();
        note.is_some() && note == newest && note.is_some_and(|note| note.contains("w1.example"))
    })
    .await;
    let history = std::fs::read_to_string(at.join("copies/history")).unwrap();
    assert!(history.contains(kept.lock().unwrap().0.as_ref().unwrap().as_str()));

    an_auditor_asks_for_the_quorum(at, &served, &vkey);

    // A restart goes on with the same witnesses; the cosigned checkpoint is there at once.
    served.stop();
    let doctor =
        ["doctor", "--store", "sqlite:rota.db", "--witnesses", "witnesses", "--checkpoint-copies", "copies"];
    let looked = run(at, &doctor).out;
    assert!(looked.contains("by the quorum") && looked.contains("good  copy"), "{looked}");
    let served = serve(at, &arguments);
    let operator = Caller::bearer(&served.url, OPERATOR);
    operator.get("/ledger/cosigned/checkpoint").await.expect(200);
    operator.open_workspace("later").await;
    let events = operator.events().await;
    until("they go on", async || state(&operator).await["cosigned"]["size"].as_u64() >= Some(events)).await;
    // Whoever asks for an anchor has it: but for the one that is away.
    operator.open_workspace("last").await;
    served.verb_as(at, OPERATOR, &["ledger", "anchor"]).exits(1);
    let told = state(&operator).await;
    assert_eq!(
        (&told["witnesses"][0]["behind"], &told["copies"][1]["behind"]),
        (&0.into(), &0.into()),
        "{told}"
    );
    let said = String::from_utf8(served.stop()).unwrap();
    assert!(!said.contains("a-token"));
    for folder in [&first_at, &second_at] {
        let listed = run(folder.path(), &["witness", "list", "--format", "json"]).exits(0).json();
        assert_eq!(listed[0]["evidence"].as_array().map(Vec::len), Some(0), "{listed}");
    }
}

/// A replica on another machine, which has no guard file, would serve an older database and sign another history.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_is_known_by_whoever_saw_more() {
    let (url, kept) = keeper::start();
    let (witness_at, witness, witness_key) = witness("w1.example");
    for by in ["folder", "address", "witness"] {
        let home = tempfile::tempdir().unwrap();
        let at = home.path();
        kept.lock().unwrap().0 = None;
        std::fs::write(at.join("token"), "a-token").unwrap();
        let policy = format!("witness W1 {witness_key} {}\nquorum W1\n", witness.url);
        std::fs::write(at.join("witnesses"), policy).unwrap();
        let more: Vec<&str> = match by {
            "folder" => vec!["--checkpoint-copies", "copies"],
            "address" => vec!["--checkpoint-copies", &url, "--checkpoint-copies-token-file", "token"],
            _ => vec!["--witnesses", "witnesses"],
        };
        let served = serve(at, &more);
        let operator = Caller::bearer(&served.url, OPERATOR);
        let key = operator.get("/v1/ledger/key").await.expect(200).json()["keys"][0]["vkey"].clone();
        run(witness_at.path(), &["witness", "add", key.as_str().unwrap()]).exits(0);
        served.verb_as(at, OPERATOR, &["backup", at.join("older.db").to_str().unwrap()]).exits(0);
        operator.open_workspace("lost").await;
        operator.open_workspace("lost too").await;
        served.verb_as(at, OPERATOR, &["ledger", "anchor"]).exits(0);
        served.stop();
        for file in files(at) {
            if file.file_name().unwrap().to_string_lossy().starts_with("rota.db") {
                std::fs::remove_file(file).unwrap();
            }
        }
        std::fs::rename(at.join("older.db"), at.join("rota.db")).unwrap();
        let served = serve(at, &more);
        let operator = Caller::bearer(&served.url, OPERATOR);
        let refused = operator.post("/v1/workspaces", serde_json::json!({ "name": "w" })).await.expect(503);
        assert_eq!(refused.code(), "history-lost", "{by}");
        let told = state(&operator).await;
        let reason = told["lost"]["reason"].as_str().unwrap().to_owned();
        let who = if by == "witness" { "the witness W1" } else { "the copy at" };
        assert!(reason.contains(who), "{reason}");
        // The operator accepts the loss, and everybody gets the checkpoints of the other name.
        served.verb_as(at, OPERATOR, &["ledger", "restored"]).exits(0);
        operator.open_workspace("again").await;
        if by != "witness" {
            served.verb_as(at, OPERATOR, &["ledger", "anchor"]).exits(0);
        }
        served.stop();
        let served = serve(at, &more);
        let operator = Caller::bearer(&served.url, OPERATOR);
        operator.open_workspace("and again").await;
        served.stop();
    }
}

/// Two ledgers would overwrite each other's copies, and neither could be found again.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_another_ledger_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    std::fs::create_dir(at.join("copies")).unwrap();
    let other = checkpoint(7, leaf_hash(b"another")).sign(&[&log()]);
    std::fs::write(at.join("copies/checkpoint"), &other).unwrap();
    let served = serve(at, &["--checkpoint-copies", "copies"]);
    let operator = Caller::bearer(&served.url, OPERATOR);
    operator.open_workspace("w").await;
    served.verb_as(at, OPERATOR, &["ledger", "anchor"]).exits(1);
    let told = state(&operator).await;
    assert!(told["copies"][0]["trouble"].as_str().unwrap().contains(ORIGIN), "{told}");
    assert_eq!(std::fs::read_to_string(at.join("copies/checkpoint")).unwrap(), other);
    // What is wrong with the settings is told before anything is served.
    for (file, says) in [("witness W1 nothing\nquorum W1\n", "line 1"), ("quorum W1\n", "line 1")] {
        std::fs::write(at.join("bad"), file).unwrap();
        let refused = run(at, &["serve", "--store", "sqlite:other.db", "--witnesses", "bad"]).exits(1);
        assert!(refused.err.contains(says), "{}", refused.err);
    }
    run(at, &["serve", "--store", "sqlite:other.db", "--witnesses", "nowhere"]).exits(1);
    run(at, &["serve", "--store", "sqlite:other.db", "--checkpoint-copies", "ftp://a.example/x"]).exits(2);
}
