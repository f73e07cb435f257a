//! Evidence packs: answers with everything that proves what they rest on, for whoever has neither rota nor a network.
//!
//! - here: what goes into one, each proof checked before it does;
//! - [`zip`]: all of it in one file.

mod zip;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use futures_util::{StreamExt as _, stream};
use rota::csv;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::VerifierKey;
use rota::ledger::proof::check_consistency;
use rota::ledger::receipt::Receipt;
use rota_aggregates::ids::Hash;
use serde_json::{Value, json};

use super::client::Remote;
use super::error::Stop;
use super::progress::Progress;
use rota::file::write_whole;

/// A pack has receipts of at most so many events.
const RECEIPTS_MAX: usize = 10_000;
/// Proofs that are fetched at a time.
const AT_ONCE: usize = 8;
/// How to check a pack with programs of others.
const VERIFY: &str = include_str!("VERIFY.md");

/// What is put together.
pub struct Pack {
    files: BTreeMap<String, Vec<u8>>,
    /// The signed note over the events that every answer rests on.
    note: String,
    checkpoint: Checkpoint,
    keys: Vec<VerifierKey>,
    named: BTreeSet<u64>,
    reports: Vec<Value>,
}

fn wrong(what: &str) -> Stop {
    Stop::refused(format!("{what}; nothing was written"))
        .advise("take this up with whoever runs the ledger: `rota verify` finds out more")
}

impl Pack {
    /// A pack of answers as of the point in history of this one.
    pub async fn begin(remote: &Remote, answer: &Value) -> Result<Self, Stop> {
        let note = answer["checkpoint"]
            .as_str()
            .ok_or_else(|| wrong("the server signs nothing, and so nothing can be proved"))?;
        let known = remote.get("/v1/ledger/key", &[]).await?;
        let texts: Vec<_> =
            known["keys"].as_array().into_iter().flatten().filter_map(|key| key["vkey"].as_str()).collect();
        let keys: Vec<VerifierKey> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let opened = keys.iter().find_map(|key| Checkpoint::open(note, key).ok());
        let size = answer["treeSize"].as_u64();
        let checkpoint = opened.filter(|checkpoint| Some(checkpoint.size) == size);
        let checkpoint = checkpoint.ok_or_else(|| wrong("the checkpoint of the answer does not hold"))?;
        let logs: Vec<_> = texts.iter().map(|text| format!("log {text}\n")).collect();
        let policy = logs.concat() + "quorum none\n";
        let mut pack = Self {
            files: BTreeMap::new(),
            note: note.to_owned(),
            checkpoint,
            keys,
            named: BTreeSet::new(),
            reports: Vec::new(),
        };
        pack.put("checkpoint", note.as_bytes());
        pack.put("vkey", format!("{}\n", texts.join("\n")).as_bytes());
        pack.put("policy", policy.as_bytes());
        pack.put("VERIFY.md", VERIFY.as_bytes());
        Ok(pack)
    }

    fn put(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.to_owned(), bytes.to_vec());
    }

    /// The last event that the answers know.
    pub fn position(&self) -> u64 {
        self.checkpoint.size.saturating_sub(1)
    }

    /// Adds an answer, and notes the events that its rows name.
    pub fn add(&mut self, answer: &Value) -> Result<(), Stop> {
        if answer["treeSize"].as_u64() != Some(self.checkpoint.size) {
            return Err(wrong("the answers are of different points in history"));
        }
        let name = answer["report"].as_str().unwrap_or_default();
        let columns: Vec<_> =
            answer["columns"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let rows = answer["rows"].as_array().map_or(&[][..], Vec::as_slice);
        let cells: Vec<Vec<Value>> =
            rows.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect();
        let is_position = |column: &&str| *column == "position" || column.ends_with("Position");
        for row in rows {
            for column in columns.iter().copied().filter(is_position) {
                self.named.extend(row[column].as_u64().filter(|at| *at < self.checkpoint.size));
            }
        }
        if self.named.len() > RECEIPTS_MAX {
            let what = format!("the answer names more than {RECEIPTS_MAX} events");
            return Err(Stop::refused(what).advise("narrow the question down, such as by --from and --to"));
        }
        self.reports.push(json!({
            "report": name, "rowCount": answer["rowCount"], "at": answer["at"],
            "workspaceId": answer["workspaceId"], "parameters": answer["parameters"],
        }));
        self.put(&format!("reports/{name}.json"), format!("{answer:#}\n").as_bytes());
        self.put(&format!("reports/{name}.csv"), csv::table(&columns, &cells).as_bytes());
        Ok(())
    }

    /// Fetches the bytes of each event that is named, and the proof that they are in the ledger.
    pub async fn prove(&mut self, remote: &Remote) -> Result<(), Stop> {
        let progress = Progress::of("proving", "events");
        let size = self.checkpoint.size.to_string();
        let named: Vec<_> = self.named.iter().copied().collect();
        let size = size.as_str();
        let fetch = |position: u64| async move {
            let path = format!("/v1/ledger/proof/{position}");
            let proof = remote.get_raw(&path, &[("size", size)]).await?.body;
            let entry = remote.get_raw(&format!("/v1/ledger/entries/{position}"), &[]).await?.body;
            Ok::<_, Stop>((position, proof, entry))
        };
        let mut fetched = stream::iter(named.iter().copied()).map(fetch).buffered(AT_ONCE).enumerate();
        while let Some((done, fetched)) = fetched.next().await {
            progress.at(done as u64, named.len() as u64);
            let (position, proof, entry) = fetched?;
            let receipt = std::str::from_utf8(&proof).ok().and_then(|text| Receipt::parse(text).ok());
            let holds = receipt.is_some_and(|receipt| {
                receipt.index == position
                    && self.keys.iter().any(|key| {
                        receipt.check(&entry, key).is_ok_and(|checkpoint| checkpoint == self.checkpoint)
                    })
            });
            if !holds {
                return Err(wrong(&format!("the proof of the event at position {position} does not hold")));
            }
            self.put(&format!("receipts/{position}.tlog-proof"), &proof);
            self.put(&format!("entries/{position}.json"), &entry);
        }
        Ok(())
    }

    /// Fetches the proof that a checkpoint that was kept before, or the oldest that the server keeps, and the answers'
    /// checkpoint are of one history.
    pub async fn connect(&mut self, remote: &Remote, kept: Option<String>) -> Result<(), Stop> {
        if let Some(note) = kept {
            if !self.connect_to(remote, &note).await? {
                return Err(wrong("the checkpoint that was kept is not of this ledger's keys"));
            }
            return Ok(());
        }
        let oldest = remote.get("/v1/ledger/checkpoints", &[("limit", "1")]).await?;
        self.connect_to(remote, oldest["items"][0]["note"].as_str().unwrap_or_default()).await?;
        Ok(())
    }

    /// Adds the newest checkpoint that witnesses cosigned, the policy to check that with, and the proof that it and the
    /// answers' are of one history; nothing where no witness is asked, or to an auditor of one workspace.
    pub async fn witness(&mut self, remote: &Remote) -> Result<(), Stop> {
        let Some(policy) = remote.find_raw("/v1/ledger/policy").await? else { return Ok(()) };
        let Some(cosigned) = remote.find_raw("/ledger/cosigned/checkpoint").await? else { return Ok(()) };
        let note = String::from_utf8_lossy(&cosigned.body).into_owned();
        if self.connect_to(remote, &note).await? {
            self.put("policy", &policy.body);
            self.put("cosigned", note.as_bytes());
        }
        Ok(())
    }

    /// Adds the proof that another checkpoint and the answers' are of one history. Whether that one is of this ledger.
    async fn connect_to(&mut self, remote: &Remote, note: &str) -> Result<bool, Stop> {
        let other = self.keys.iter().find_map(|key| Checkpoint::open(note, key).ok());
        let Some(other) = other.filter(|other| other.origin == self.checkpoint.origin) else {
            return Ok(false);
        };
        let differ =
            |from, to| wrong(&format!("the checkpoints of {from} and of {to} events are not of one history"));
        if other.size == self.checkpoint.size {
            let (same, size) = (other.root == self.checkpoint.root, other.size);
            return if same { Ok(true) } else { Err(differ(size, size)) };
        }
        let (old, new) = if other.size <= self.checkpoint.size {
            (&other, &self.checkpoint)
        } else {
            (&self.checkpoint, &other)
        };
        let (from, to) = (old.size.to_string(), new.size.to_string());
        let path = "/v1/ledger/consistency";
        let proof = remote.get_raw(path, &[("from", from.as_str()), ("to", to.as_str())]).await?.body;
        let hash = |line: &str| {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(line).ok()?;
            Some(Hash(bytes.try_into().ok()?))
        };
        let hashes: Option<Vec<_>> =
            std::str::from_utf8(&proof).ok().and_then(|text| text.lines().map(hash).collect());
        let holds = hashes.is_some_and(|hashes| {
            check_consistency(old.size, &old.root, new.size, &new.root, &hashes).is_ok()
        });
        if !holds {
            return Err(differ(old.size, new.size));
        }
        self.put(&format!("consistency/{from}-{to}.txt"), &proof);
        self.put(&format!("consistency/{}.checkpoint", other.size), note.as_bytes());
        let own = self.note.clone();
        self.put(&format!("consistency/{}.checkpoint", self.checkpoint.size), own.as_bytes());
        Ok(true)
    }

    /// Writes it: one file where the path ends in `.zip`, else a folder that is not there yet or empty. How many files.
    pub fn write(mut self, path: &Path) -> Result<usize, Stop> {
        let sum = |bytes: &[u8]| {
            let mut hash = Hash([0; 32]);
            hash.0.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
            hash.to_string()
        };
        let listed = |files: &BTreeMap<String, Vec<u8>>| -> Vec<Value> {
            files
                .iter()
                .map(|(path, bytes)| json!({ "path": path, "bytes": bytes.len(), "sha256": sum(bytes) }))
                .collect()
        };
        let manifest = json!({
            "format": "rota-evidence-pack-v1",
            "origin": self.checkpoint.origin,
            "treeSize": self.checkpoint.size,
            "position": self.position(),
            "reports": self.reports,
            "receipts": self.named,
            "files": listed(&self.files),
        });
        self.put("manifest.json", format!("{manifest:#}\n").as_bytes());
        let sums: Vec<_> =
            self.files.iter().map(|(path, bytes)| format!("{}  {path}\n", sum(bytes))).collect();
        self.put("SHA256SUMS", sums.concat().as_bytes());
        let failed = |error| Stop::failed(format!("can't write {}", path.display()), error);
        if path.extension().is_some_and(|extension| extension == "zip") {
            let bytes = zip::stored(&self.files)
                .ok_or_else(|| Stop::refused("there is too much for a zip file: name a folder instead"))?;
            write_whole(path, &bytes).map_err(failed)?;
            return Ok(self.files.len());
        }
        if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Stop::refused(format!("{} has something in it", path.display()))
                .advise("name a folder that is not there yet, or a file that ends in .zip"));
        }
        for (name, bytes) in &self.files {
            let file = path.join(name);
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder).map_err(failed)?;
            }
            fs::write(&file, bytes).map_err(failed)?;
        }
        Ok(self.files.len())
    }
}
