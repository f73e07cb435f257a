//! Checking a ledger from outside: by its tiles, and by what its server answers.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use rota::app::audit_check::{Looked, Trail, added_key, on_all_cores};
use rota::app::replay::State;
use rota::http::{credential_document, policy_document};
use rota::ledger::check::{Hashed, Misfit, TreeCheck};
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::{SignedNote, VerifierKey};
use rota::ledger::policy::Policy;
use rota::ledger::proof::check_consistency;
use rota::ledger::tile::{FullTile, Kind, TilePath, WIDTH, entries};
use rota_aggregates::Position;
use rota_aggregates::ids::Hash;
use serde_json::Value;

use super::report::Report;
use super::tiles::Tiles;
use super::trust::{Kept, cosigned_by, signed_by};
use crate::cli::client::Remote;
use crate::cli::error::{Stop, chain};
use crate::cli::progress::Progress;

/// Bundles looked at together.
const WINDOW: u64 = 32;
/// Requests under way at once.
const REQUESTS: usize = 8;
/// Who signs, in reports.
const NEWEST: &str = "the newest checkpoint";
const KEPT: &str = "the checkpoint that was kept";

/// A ledger that is looked at from outside.
pub struct Outside {
    pub tiles: Tiles,
    /// The server whose answers are compared with the events.
    pub answers: Option<Remote>,
    /// The keys that count.
    pub keys: Vec<VerifierKey>,
    /// Whether they came from elsewhere than the ledger.
    pub pinned: bool,
    pub kept: Option<Kept>,
    /// Whose cosignatures are needed.
    pub policy: Option<Policy>,
}

/// A bundle and the tile over it, as they are served.
struct Fetched {
    bundle: Bytes,
    tile: Bytes,
}

/// What is gathered on the way.
struct Walk {
    tree: TreeCheck,
    trail: Trail,
    state: State,
    /// The keys that the ledger names.
    named: Vec<VerifierKey>,
    report: Report,
}

impl Outside {
    /// Looks at everything that the newest checkpoint signs for.
    pub async fn check(self) -> Result<Report, Stop> {
        let note = self.tiles.checkpoint().await?;
        let parsed = SignedNote::parse(&note).map_err(|error| Stop::failed("the checkpoint", error))?;
        let newest =
            Checkpoint::parse(parsed.text()).map_err(|error| Stop::failed("the checkpoint", error))?;
        let mut report = Report::new(newest.size);
        report.of(&newest, &note, self.pinned);
        let mut walk = Walk {
            tree: TreeCheck::default(),
            trail: Trail::default(),
            state: State::default(),
            named: Vec::new(),
            report,
        };
        walk.tree.claim(newest.size, newest.root, NEWEST);
        if let Some(kept) = &self.kept {
            walk.report.from = Some(kept.checkpoint.size);
            self.compare_kept(&mut walk.report, &newest, kept).await;
            walk.tree.claim(kept.checkpoint.size, kept.checkpoint.root, KEPT);
        }
        self.walk(&mut walk, newest.size).await?;
        let Walk { tree, trail, state, named, mut report } = walk;
        if tree.size() > 0 {
            report.root = Some(tree.root());
        }
        report.last_time = trail.last_time();
        let known = |range: Range<u64>| {
            let found = report.findings.iter().map(|(position, _)| *position);
            found.filter(|position| range.contains(position)).min()
        };
        for (position, misfit) in tree.finish(known) {
            report.find(position, misfit.to_string());
        }
        let keys = if self.pinned { self.keys.clone() } else { named };
        report.keys = keys.iter().map(ToString::to_string).collect();
        for (who, note, size) in [(NEWEST, Some(&note), newest.size)].into_iter().chain([(
            KEPT,
            self.kept.as_ref().map(|k| &k.note),
            report.from.unwrap_or_default(),
        )]) {
            if let Some(note) = note
                && !signed_by(note, &keys)
            {
                let by = if self.pinned { "a key that was given" } else { "a key that the ledger names" };
                report.find(size.saturating_sub(1), format!("{who} is not signed by {by}"));
            }
        }
        if let Some(policy) = &self.policy
            && !cosigned_by(&note, policy)
        {
            let quorum = policy.quorum_name();
            report.find(
                newest.size.saturating_sub(1),
                format!("{NEWEST} is not cosigned by the quorum {quorum}"),
            );
        }
        if let Some(remote) = &self.answers
            && report.found == 0
        {
            compare_answers(remote, &state, &mut report).await?;
        }
        Ok(report)
    }

    /// Holds the newest checkpoint against one that was kept.
    async fn compare_kept(&self, report: &mut Report, newest: &Checkpoint, kept: &Kept) {
        let old = &kept.checkpoint;
        if old.origin != newest.origin {
            report.find(
                0,
                format!(
                    "the checkpoint that was kept is of {}, and this ledger calls itself {}",
                    old.origin, newest.origin
                ),
            );
        }
        // What is wrong with the roots themselves is found on the way.
        let Some(remote) = &self.answers else { return };
        if old.size == 0 || old.size > newest.size {
            return;
        }
        let (from, to) = (old.size.to_string(), newest.size.to_string());
        let lines = remote.get_raw("/v1/ledger/consistency", &[("from", &from), ("to", &to)]).await;
        let hashes = lines.ok().and_then(|raw| hashes_of_lines(&raw.body));
        let holds = hashes.is_some_and(|hashes| {
            check_consistency(old.size, &old.root, newest.size, &newest.root, &hashes).is_ok()
        });
        report.consistent = Some(holds);
    }

    async fn walk(&self, walk: &mut Walk, size: u64) -> Result<(), Stop> {
        let progress = Progress::new("Checking");
        let bundles = size.div_ceil(WIDTH);
        let mut waiting = self.fetch(0, bundles.min(WINDOW), size).await?;
        for first in (0..bundles).step_by(WINDOW as usize) {
            let next = (first + WINDOW).min(bundles);
            let ahead = self.fetch(next, (next + WINDOW).min(bundles), size);
            let present = waiting;
            let looking = tokio::task::spawn_blocking(move || {
                let looked = on_all_cores(&present, |fetched| Looked::at_bundle(&fetched.bundle));
                (present, looked)
            });
            let (looked, ahead) = tokio::join!(looking, ahead);
            let (present, looked) = looked.map_err(|error| Stop::failed("the check broke off", error))?;
            waiting = ahead?;
            let mut full = Vec::new();
            for ((fetched, looked), index) in present.iter().zip(looked).zip(first..) {
                walk.take(fetched, looked, index, size, &mut full);
            }
            for tile in &full {
                self.against(&mut walk.tree, tile).await;
            }
            progress.at((next * WIDTH).min(size), size);
        }
        let unfinished: Vec<FullTile> =
            walk.tree.unfinished().map(|(id, hashes)| FullTile { id, hashes: hashes.to_vec() }).collect();
        for tile in &unfinished {
            self.against(&mut walk.tree, tile).await;
        }
        Ok(())
    }

    /// Holds a computed tile of a higher level against the one that is served.
    async fn against(&self, tree: &mut TreeCheck, computed: &FullTile) {
        let path = TilePath {
            kind: Kind::Hashes(computed.id.level),
            index: computed.id.index,
            width: computed.hashes.len() as u16,
        };
        let served = self.tiles.tile(path).await.ok().and_then(|bytes| from_bytes(&bytes));
        tree.against(computed, &served.unwrap_or_default());
    }

    async fn fetch(&self, first: u64, end: u64, size: u64) -> Result<Vec<Fetched>, Stop> {
        let fetch = |index: u64| async move {
            let width = WIDTH.min(size - index * WIDTH) as u16;
            let entries = TilePath { kind: Kind::Entries, index, width };
            let hashes = TilePath { kind: Kind::Hashes(0), index, width };
            // What is not served is found by its position; a server that does not answer at all ends the check.
            let (bundle, tile) = tokio::join!(self.tiles.tile(entries), self.tiles.tile(hashes));
            match (bundle, tile) {
                (Err(stop), Err(_)) => Err(stop),
                (bundle, tile) => {
                    Ok(Fetched { bundle: bundle.unwrap_or_default(), tile: tile.unwrap_or_default() })
                }
            }
        };
        stream::iter(first..end).map(fetch).buffered(REQUESTS).try_collect().await
    }
}

impl Walk {
    fn take(&mut self, fetched: &Fetched, looked: Looked, index: u64, size: u64, full: &mut Vec<FullTile>) {
        let first = index * WIDTH;
        let expected = WIDTH.min(size - first) as usize;
        for (position, record) in (first..).zip(looked.records) {
            match record {
                Ok(record) => {
                    self.trail.take(&record, |finding| self.report.find(position, chain(&finding)));
                    self.state.take(Position(position), record);
                }
                Err(error) => self.report.find(position, chain(&error)),
            }
        }
        self.named.extend(entries(&fetched.bundle).into_iter().flatten().filter_map(added_key));
        let hashed = looked.hashed.filter(|hashed| hashed.leaves.len() == expected);
        if let Some(hashed) = hashed {
            let tile = from_bytes(&fetched.tile).unwrap_or_default();
            self.tree.take(&hashed, Some(&tile), full);
            return;
        }
        // The tree goes on with what the tile says, so that what comes after is still looked at.
        self.tree.add(first, Misfit::Bundle { index, expected });
        if let Some(hashes) = from_bytes(&fetched.tile).filter(|hashes| hashes.len() == expected)
            && let Some(hashed) = Hashed::from_hashes(hashes)
        {
            self.tree.take(&hashed, None, full);
        }
    }
}

fn hashes_of_lines(body: &[u8]) -> Option<Vec<Hash>> {
    use base64::Engine as _;
    let text = std::str::from_utf8(body).ok()?;
    let hash =
        |line: &str| base64::engine::general_purpose::STANDARD.decode(line).ok()?.try_into().ok().map(Hash);
    text.lines().map(hash).collect()
}

/// Holds what the server answers against what the events say: every credential, and every policy.
async fn compare_answers(remote: &Remote, state: &State, report: &mut Report) -> Result<(), Stop> {
    let Some(last) = state.last else { return Ok(()) };
    let mut expected: BTreeMap<String, (Position, Value)> = BTreeMap::new();
    for (id, view) in &state.credentials {
        expected
            .insert(id.to_string(), (view.issued_position, document(credential_document(view, state.time))));
    }
    let progress = Progress::new("Comparing answers");
    let (as_of, total) = (last.to_string(), expected.len() as u64);
    for (workspace, decided) in &state.workspaces {
        let id = workspace.to_string();
        for kind in ["client", "exchange", "signing", "workspace-key", "webhook"] {
            let mut after: Option<String> = None;
            loop {
                let mut query = vec![("workspaceId", id.as_str()), ("kind", kind), ("limit", "1000")];
                query.push(("asOf", &as_of));
                query.extend(after.as_deref().map(|after| ("after", after)));
                let mut page = remote.get("/v1/credentials", &query).await?;
                for item in page["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
                    let name = item["id"].as_str().unwrap_or_default().to_owned();
                    match expected.remove(&name) {
                        Some((_, right)) if right == document(item.clone()) => {}
                        Some((position, _)) => report.find(
                            position.0,
                            format!("the service answers something else about credential {name} than the events say"),
                        ),
                        None => report.find(
                            last.0,
                            format!("the service knows a credential {name} of which the events say nothing"),
                        ),
                    }
                    report.compared += 1;
                }
                progress.at(report.compared, total);
                match page["next"].as_str() {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
        }
        let policy = remote.get(&format!("/v1/workspaces/{id}/policy"), &[]).await?;
        if policy != policy_document(&decided.policy) && !policy_moved(remote, &id, &as_of).await? {
            report.find(
                last.0,
                format!("the service follows another policy for workspace {id} than the events say"),
            );
        }
    }
    for (name, (position, _)) in expected {
        report.find(
            position.0,
            format!("the service does not know credential {name}, of which the events tell"),
        );
    }
    Ok(())
}

/// Whether a policy was set since.
async fn policy_moved(remote: &Remote, workspace: &str, after: &str) -> Result<bool, Stop> {
    let query = [
        ("workspaceId", workspace),
        ("type", "rota.workspace.policy-set.v1"),
        ("after", after),
        ("limit", "1"),
    ];
    let page = remote.get("/v1/events", &query).await?;
    Ok(page["items"].as_array().is_some_and(|items| !items.is_empty()))
}

/// A credential without what is in no event.
fn document(mut credential: Value) -> Value {
    if let Some(members) = credential.as_object_mut() {
        members.remove("name");
    }
    credential
}

/// The hashes of a tile; `None` if it is cut short.
fn from_bytes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}
