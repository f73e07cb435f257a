//! What analysts take away: in every format all events once, and what was cut short goes on.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rota::ledger::rfc6962::{Frontier, leaf_hash};
use serde_json::{Value, json};

use crate::support::{Home, Process, ledger, python, rota, run, run_python};

/// Every line of a file.
fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The bytes that a line of NDJSON says the ledger hashes.
fn leaf(line: &str) -> &[u8] {
    let (_, leaf) = line.split_once("\"leaf\":").unwrap();
    leaf.strip_suffix('}').unwrap().as_bytes()
}

/// The root of RFC 6962 over what was exported, in base64.
fn root(lines: &[String]) -> String {
    let mut tree = Frontier::default();
    for line in lines {
        tree.push(leaf_hash(leaf(line)), |_, _| ());
    }
    STANDARD.encode(tree.root().0)
}

/// An event would be missing or twice in somebody's books, or its bytes would not be those that are signed for.
#[test]
fn every_format_has_every_event_once_and_in_order() {
    let folder = ledger();
    let at = folder.path();
    let count = run(at, &["verify", "--format", "json"]).exits(0).json()["events"].as_u64().unwrap();
    run(at, &["export", "--out", "all.ndjson"]).exits(0);
    let all = lines(&at.join("all.ndjson"));
    assert_eq!(all.len() as u64, count);
    for (position, line) in all.iter().enumerate() {
        let event = parse(line);
        assert_eq!(event["position"], position);
        assert_eq!(event["leafHash"], leaf_hash(leaf(line)).to_string());
        assert_eq!(parse(std::str::from_utf8(leaf(line)).unwrap()), event["leaf"]);
    }
    let events = run(at, &["export", "--format", "cloudevents"]).exits(0).out;
    for (event, line) in events.lines().map(parse).zip(&all) {
        let recorded = &parse(line)["leaf"];
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["sequence"], format!("{:020}", event["position"].as_u64().unwrap()));
        for (name, member) in [("id", "id"), ("type", "type"), ("time", "time"), ("data", "data")] {
            assert_eq!(event[name], recorded[member]);
        }
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        assert!(event.as_object().unwrap().keys().all(|name| plain(name)), "{event}");
    }
    let ocsf = run(at, &["export", "--format", "ocsf"]).exits(0).out;
    assert_eq!(ocsf.lines().count() as u64, count);
    for event in ocsf.lines().map(parse) {
        assert_eq!(
            event["type_uid"],
            event["class_uid"].as_u64().unwrap() * 100 + event["activity_id"].as_u64().unwrap()
        );
        assert_ne!(event["activity_id"], 99, "{event}");
    }
    let csv = run(at, &["export", "--format", "csv"]).exits(0).out;
    assert!(csv.starts_with("position,time,type,subject,"), "{csv}");
    assert_eq!(csv.lines().count() as u64, count + 1);
    let one = run(at, &["export", "--format", "csv", "--positions", "1..2"]).exits(0).out;
    assert_eq!(one.lines().nth(1), csv.lines().nth(2));
}

/// A filter that is passed over would hand out what was not asked for, and one that is wrong would say nothing.
#[test]
fn filters_choose_and_bad_ones_are_refused() {
    let folder = ledger();
    let at = folder.path();
    let rotated = "rota.credential.secret-rotated.v1";
    let all = run(at, &["export"]).exits(0).out;
    let all: Vec<Value> = all.lines().map(parse).collect();
    let chosen = |arguments: &[&str]| -> Vec<Value> {
        let ran = run(at, &[&["export"][..], arguments].concat()).exits(0);
        ran.out.lines().map(parse).collect()
    };
    let expect = |takes: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        let taken: Vec<_> = all.iter().filter(|event| takes(&event["leaf"])).cloned().collect();
        assert!(!taken.is_empty() && taken.len() < all.len());
        taken
    };
    assert_eq!(chosen(&["--type", rotated]), expect(&|leaf| leaf["type"] == rotated));
    let stream = expect(&|leaf| leaf["type"] == rotated)[0]["leaf"]["stream"].as_str().unwrap().to_owned();
    let about = chosen(&["--subject", &stream]);
    assert!(
        about.len() >= 2
            && about.iter().all(|e| e["leaf"]["stream"].as_str().unwrap().ends_with(&stream[11..]))
    );
    let middle = all[all.len() / 2]["leaf"]["time"].as_str().unwrap();
    let before = chosen(&["--to", middle]);
    let after = chosen(&["--from", middle]);
    assert_eq!([before, after].concat(), all);
    assert_eq!(chosen(&["--actor", "scheduler"]), expect(&|leaf| leaf["actor"]["kind"] == "scheduler"));
    for (wrong, says) in [
        (&["--subject", "nobody"][..], "--subject"),
        (&["--actor", "nobody"], "--actor"),
        (&["--positions", "5"], "FIRST..END"),
        (&["--from", "yesterday"], "RFC 3339"),
        (&["--format", "parquet"], "--out"),
        (&["--resume"], "--out"),
    ] {
        let ran = run(at, &[&["export"][..], wrong].concat()).exits(2);
        assert!(ran.err.contains(says), "{wrong:?}: {}", ran.err);
    }
}

/// Whoever asks a server would get something else than whoever reads the store, or what is not theirs.
#[test]
fn a_server_gives_what_the_store_has_and_to_a_workspace_its_own() {
    let folder = ledger();
    let at = folder.path();
    let mut server = Process::serve(at);
    server.verb(at, &["export", "--out", "served.ndjson"]).exits(0);
    let workspace =
        parse(&lines(&at.join("served.ndjson"))[0])["leaf"]["workspace"].as_str().unwrap().to_owned();
    let operator = std::fs::read_to_string(at.join("rota-data/operator.key")).unwrap();
    let key = runtime().block_on(async {
        let operator = crate::support::Caller::bearer(&server.url, operator.trim());
        let other = operator.open_workspace("other").await;
        operator.workspace_key(&other, &["analyst"]).await.1
    });
    let own = server.verb_as(at, &key, &["export"]).exits(0).out;
    assert_eq!(own.lines().count(), 2, "{own}");
    assert!(own.lines().all(|line| parse(line)["leaf"]["workspace"] != workspace.as_str()));
    server.verb_as(at, &key, &["export", "--workspace", &workspace]).exits(1);
    assert_eq!(server.signal("-TERM"), 0);
    let served = lines(&at.join("served.ndjson"));
    let stored = run(at, &["export", "--positions", &format!("..{}", served.len())]).exits(0).out;
    assert_eq!(stored.lines().collect::<Vec<_>>(), served);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs an export that may write files of so many KiB and no more: it is killed in the middle of a write.
fn cut_short(server: &Process, folder: &Path, kib: u32, arguments: &str) {
    let program = rota(folder).get_program().to_owned();
    let key = std::fs::read_to_string(folder.join("rota-data/operator.key")).unwrap();
    let script = format!("ulimit -c 0 -f {kib}; exec '{}' export {arguments}", program.display());
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .current_dir(folder)
        .env("ROTA_URL", &server.url)
        .env("ROTA_KEY", key.trim());
    assert!(!command.output().unwrap().status.success(), "it was not cut short");
}

/// After a crash rows would be missing, torn or twice.
#[test]
fn an_export_that_was_cut_short_goes_on_after_its_last_whole_row() {
    let folder = ledger();
    let at = folder.path();
    let mut server = Process::serve(at);
    let export = |more: &[&str]| server.verb(at, &[&["export", "--positions", "..7"][..], more].concat());
    for format in ["ndjson", "cloudevents", "ocsf", "csv"] {
        let whole = export(&["--format", format]).exits(0).out;
        let name = format!("out.{format}");
        let (file, partial) = (at.join(&name), at.join(format!("{name}.partial")));
        for kib in [1, 2, 3] {
            cut_short(&server, at, kib, &format!("--positions ..7 --format {format} --out {name}"));
            assert!(!file.exists(), "what is not complete has the name of what is");
            assert_eq!(std::fs::metadata(&partial).unwrap().len(), 1024 * u64::from(kib));
            let begun = ["--format", format, "--out", &name];
            export(&begun).exits(1);
            export(&[&begun[..], &["--resume", "--type", "other"]].concat()).exits(1);
            export(&[&begun[..], &["--resume"]].concat()).exits(0);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), whole, "{format} after {kib} KiB");
            assert!(!partial.exists() && !at.join(format!("{name}.partial.json")).exists());
            assert!(export(&[&begun[..], &["--resume"]].concat()).exits(1).err.contains("is complete"));
            export(&begun).exits(1);
            std::fs::remove_file(&file).unwrap();
        }
    }
    // The file of one ledger does not go on with the events of another.
    cut_short(&server, at, 2, "--positions ..7 --out other.ndjson");
    let other = tempfile::tempdir().unwrap();
    run(other.path(), &["quickstart", "--once", "--listen", "127.0.0.1:0"]).exits(0);
    for name in ["other.ndjson.partial", "other.ndjson.partial.json"] {
        std::fs::copy(at.join(name), other.path().join(name)).unwrap();
    }
    let resume = ["export", "--positions", "..7", "--out", "other.ndjson", "--resume"];
    let ran = run(other.path(), &resume).exits(1);
    assert!(ran.err.contains("another ledger"), "{}", ran.err);
    assert_eq!(server.signal("-TERM"), 0);
}

/// Rotations on three days, and 40 events in all at least.
async fn three_days() -> Home {
    let home = Home::at("2027-03-01T22:00:00Z".parse().unwrap());
    let server = home.serve().await;
    let operator = server.operator();
    let workspace = operator.open_workspace("analysts").await;
    let (id, ..) = operator.issue(&workspace, "client").await;
    for _ in 0..36 {
        home.clock.advance(Duration::from_hours(1));
        operator.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await;
    }
    server.stop().await;
    home
}

/// The state then would be another than the one that was true then.
#[tokio::test]
async fn a_replay_stops_where_it_is_told_and_a_diff_says_what_changed() {
    let home = three_days().await;
    let at = home.folder.path();
    let store = format!("sqlite:{}", home.path().display());
    let replay = |more: &[&str]| run(at, &[&["replay", "--store", &store][..], more].concat());
    let state = |more: &[&str]| replay(&[&["--format", "json"][..], more].concat()).exits(0).json();

    // Rotated at 23:00 with a minute of grace: the old secret is on its way out, then gone, though no event says so.
    let then = state(&["--until", "2027-03-01T23:00:59.999999Z"]);
    assert_eq!(then["credentials"][0]["versions"][0]["status"], "retiring");
    let later = state(&["--until", "2027-03-01T23:01:00Z"]);
    assert_eq!(later["credentials"][0]["versions"][0]["status"], "expired");
    assert_eq!(later["credentials"][0]["versions"][1]["status"], "active");
    assert_eq!(later["credentials"][0]["versions"].as_array().unwrap().len(), 2);
    let whole = state(&[]);
    assert_eq!(whole["credentials"][0]["versions"].as_array().unwrap().len(), 37);
    let last = whole["position"].as_u64().unwrap();
    assert_eq!(state(&["--until", &last.to_string()])["credentials"], whole["credentials"]);
    assert_eq!(whole["workspaces"][0]["policy"]["maxGraceSeconds"], 604_800);
    replay(&["--until", &(last + 1).to_string()]).exits(1);
    replay(&["--until", "soon"]).exits(2);
    replay(&["--diff", "9", "3"]).exits(2);

    let diff = ["--diff", "2027-03-01T23:00:30Z", "2027-03-02T00:00:30Z"];
    let changed = state(&diff);
    let change = |field: &str| {
        let all = changed.as_array().unwrap();
        let one = all.iter().find(|c| c["field"] == field).unwrap_or_else(|| panic!("{field}: {changed}"));
        (one["before"].clone(), one["after"].clone())
    };
    assert_eq!(change("versions.1.status"), (json!("retiring"), json!("expired")));
    assert_eq!(change("versions.2.status"), (json!("active"), json!("retiring")));
    assert_eq!(change("versions.3.status"), (Value::Null, json!("active")));
    assert!(changed.as_array().unwrap().iter().all(|c| c["field"] != "publicId"));
    assert_eq!(state(&["--diff", "2027-03-01T23:01:00Z", "2027-03-01T23:30:00Z"]), json!([]));
    let table = replay(&diff).exits(0).out;
    assert!(table.contains("versions.3.status") && table.contains("retiring"), "{table}");
    assert!(replay(&["--format", "csv"]).exits(0).out.starts_with("workspace,credential,kind,"));
}

/// Analysts could not read what they took away, or could not prove that it is all.
#[tokio::test]
async fn duckdb_and_polars_read_parquet_and_compute_the_signed_root() {
    let home = three_days().await;
    let at = home.folder.path();
    let store = format!("sqlite:{}", home.path().display());
    run(at, &["export", "--store", &store, "--out", "all.ndjson"]).exits(0);
    let all = lines(&at.join("all.ndjson"));
    let days: std::collections::BTreeSet<_> =
        all.iter().map(|line| parse(line)["leaf"]["time"].as_str().unwrap()[..10].to_owned()).collect();
    assert_eq!(days.len(), 3);

    // The first half, then what is left of an interrupted run, then the rest.
    let parquet = ["export", "--store", &store, "--format", "parquet", "--out", "events"];
    run(at, &[&parquet[..], &["--positions", "..17"]].concat()).exits(0);
    std::fs::write(at.join("events/day=2027-03-02/part-00000000000000000017.partial"), "torn").unwrap();
    run(at, &parquet).exits(1);
    run(at, &[&parquet[..], &["--resume", "--type", "other"]].concat()).exits(1);
    run(at, &[&parquet[..], &["--resume"]].concat()).exits(0);
    assert!(!at.join("events/day=2027-03-02/part-00000000000000000017.partial").exists());
    run(at, &[&parquet[..], &["--resume"]].concat()).exits(0);
    for day in &days {
        let files = std::fs::read_dir(at.join(format!("events/day={day}"))).unwrap();
        assert!(files.flatten().all(|f| f.path().extension().is_some_and(|e| e == "parquet")));
    }

    let Some(python) = python("duckdb_and_polars_read_parquet_and_compute_the_signed_root") else { return };
    let read = run_python(&python, "parquet.py", &[at.join("events").to_str().unwrap()]);
    let (duckdb, polars) = (&read["duckdb"], &read["polars"]);
    assert_eq!(duckdb["events"], all.len());
    assert_eq!(duckdb["positions"], all.len());
    assert_eq!((&duckdb["first"], &duckdb["last"]), (&json!(0), &json!(all.len() - 1)));
    assert_eq!((&duckdb["rotations"], &polars["rotations"]), (&json!(36), &json!(36)));
    assert_eq!((&duckdb["hashes"], &duckdb["days"]), (&json!(true), &json!(true)));
    assert_eq!(polars["events"], all.len());
    assert_eq!(polars["days"].as_array().unwrap().len(), 3);
    assert_eq!(polars["versions"].as_array().unwrap().iter().filter_map(Value::as_u64).max(), Some(37));
    assert_eq!((&duckdb["root"], &polars["root"]), (&json!(root(&all)), &json!(root(&all))));
    assert_eq!(duckdb["types"]["time"], "TIMESTAMP WITH TIME ZONE");
    assert_eq!(duckdb["types"]["leaf"], "BLOB");
    assert_eq!(polars["types"]["position"], "Int64");
    assert_eq!(polars["types"]["leaf"], "Binary");
}
