//! Evidence packs: what is in them, and that programs of others check them without rota and without a network.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Caller, OPERATOR, Process, files, python};

/// A ledger with something to prove: the process, a workspace, an auditor's key, and a checkpoint from before.
async fn history(folder: &Path) -> (Process, String, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let process = Process::serve_at(folder, "127.0.0.1:0");
    let operator = Caller::bearer(&process.url, OPERATOR);
    let workspace = operator.open_workspace("w").await;
    let (_, auditor, _) = operator.workspace_key(&workspace, &["auditor"]).await;
    let (first, ..) = operator.issue(&workspace, "client").await;
    let kept = process.verb_as(folder, OPERATOR, &["ledger", "checkpoint"]).exits(0).out;
    std::fs::write(folder.join("kept.checkpoint"), kept).unwrap();
    for _ in 0..3 {
        operator.rotate(&first, json!({ "gracePeriodSeconds": 3_600 })).await;
    }
    let elsewhere = operator.open_workspace("elsewhere").await;
    let (other, ..) = operator.issue(&elsewhere, "signing").await;
    operator.rotate(&other, json!({})).await;
    (process, workspace, auditor)
}

/// The program that a pack's own instructions have, run in the pack.
fn checks(python: &Path, pack: &Path) -> bool {
    let page = std::fs::read_to_string(pack.join("VERIFY.md")).unwrap();
    let block = page.split("```python\n").nth(1).unwrap().split("   ```").next().unwrap();
    let lines: Vec<_> = block.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).collect();
    let program = lines.join("\n");
    // Without a network: nothing may be asked of anybody.
    let mut command = Command::new(python);
    command.args(["-I", "-c", &program]).current_dir(pack).env_clear();
    let ran = command.output().unwrap();
    ran.status.success() && ran.stdout == b"ok\n"
}

fn sums_fit(pack: &Path) -> bool {
    let mut command = Command::new("sha256sum");
    command.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(pack);
    command.output().unwrap().status.success()
}

/// If this fails, what an auditor takes home proves nothing, or proves it only to whoever has rota.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_checked_by_programs_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (process, _, auditor) = history(at).await;
    let make = ["report", "rotations", "--pack", "pack", "--kept", "kept.checkpoint"];
    let said = process.verb_as(at, OPERATOR, &make).exits(0).out;
    assert!(said.contains("1 answers as of position"), "{said}");
    let pack = at.join("pack");
    assert!(sums_fit(&pack));
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(pack.join("manifest.json")).unwrap()).unwrap();
    let read = |name: &str| std::fs::read_to_string(pack.join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("reports/rotations.json")).unwrap();
    assert_eq!(report["checkpoint"], read("checkpoint"));
    assert_eq!(
        (&manifest["treeSize"], &manifest["receipts"].as_array().unwrap().len()),
        (&report["treeSize"], &4)
    );
    assert_eq!(read("reports/rotations.csv").lines().count(), 5);
    let rows = report["rows"].as_array().unwrap();
    for row in rows {
        let position = row["position"].as_u64().unwrap();
        let entry: Value = serde_json::from_str(&read(&format!("entries/{position}.json"))).unwrap();
        assert_eq!(entry["id"], row["eventId"]);
        let (proof, entry) =
            (format!("pack/receipts/{position}.tlog-proof"), format!("pack/entries/{position}.json"));
        crate::support::run(at, &["verify", "receipt", &proof, "--entry", &entry, "--vkey", "pack/vkey"])
            .exits(0);
    }
    let consistency: Vec<_> = std::fs::read_dir(pack.join("consistency"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(consistency.len(), 3, "{consistency:?}");
    // Never into something that is there.
    process.verb_as(at, OPERATOR, &make).exits(1);
    // In one file, byte for byte the same as of the same position.
    let position = manifest["position"].to_string();
    let zip =
        ["report", "rotations", "--as-of", &position, "--pack", "pack.zip", "--kept", "kept.checkpoint"];
    process.verb_as(at, OPERATOR, &zip).exits(0);
    let bytes = std::fs::read(at.join("pack.zip")).unwrap();
    let entry = std::fs::read(pack.join("reports/rotations.csv")).unwrap();
    assert!(bytes.windows(entry.len()).any(|window| window == entry));
    // A workspace's auditor gets one of the own workspace.
    process.verb_as(at, &auditor, &["report", "--all", "--pack", "own"]).exits(0);
    let own = at.join("own");
    assert!(sums_fit(&own) && own.join("reports/credentials.json").exists());
    assert!(!own.join("reports/versions.json").exists(), "it asks about one credential");
    process.verb_as(at, &auditor, &["report", "nothing", "--pack", "none"]).exits(1);
    process.verb_as(at, &auditor, &["report", "--pack", "none"]).exits(2);
    std::fs::write(at.join("forged.checkpoint"), read("checkpoint").replace('\n', "\n9")).unwrap();
    process
        .verb_as(at, OPERATOR, &["report", "rotations", "--pack", "none", "--kept", "forged.checkpoint"])
        .exits(1);
    assert!(!at.join("none").exists(), "nothing was written");
    process.stop();
    let Some(python) = python("a_pack_is_checked_by_programs_of_others") else { return };
    assert!(checks(&python, &pack) && checks(&python, &own));
    let listed =
        Command::new(&python).args(["-m", "zipfile", "-t", "pack.zip"]).current_dir(at).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let extract = ["-m", "zipfile", "-e", "pack.zip", "unzipped"];
    assert!(Command::new(&python).args(extract).current_dir(at).status().unwrap().success());
    assert!(sums_fit(&at.join("unzipped")) && checks(&python, &at.join("unzipped")));
    // Each file's corrupted twin is found, by the sums, and what is proved also by the proofs.
    for file in files(&pack) {
        let name = file.strip_prefix(&pack).unwrap().to_str().unwrap().to_owned();
        let whole = std::fs::read(&file).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        std::fs::write(&file, changed).unwrap();
        assert!(!sums_fit(&pack), "{name}");
        if ["entries/", "receipts/", "consistency/", "checkpoint"]
            .iter()
            .any(|proved| name.starts_with(proved))
        {
            assert!(!checks(&python, &pack), "{name}");
        }
        std::fs::write(&file, whole).unwrap();
    }
    assert!(sums_fit(&pack) && checks(&python, &pack));
}
