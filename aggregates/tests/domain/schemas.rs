//! The committed JSON schemas of every event type are the ones that the code has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rota_aggregates::Event;
use rota_aggregates::credential::{CredentialEvent, EndCause};
use rota_aggregates::record::leaf_schema;

use crate::build::{Ask, at, cancel, commit, expire_old, in_grace, issued, pending, prepare, rotate, state};

const REGENERATE: &str = "if that is meant: ROTA_UPDATE_SCHEMAS=1 cargo test -p rota-aggregates schemas";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// Each schema file's name and text, as the code has it.
fn generated() -> BTreeMap<String, String> {
    let mut schemas = Event::schemas();
    schemas.push(("leaf.v1", leaf_schema()));
    let text = |schema| serde_json::to_string_pretty(&schema).unwrap() + "\n";
    schemas.into_iter().map(|(name, schema)| (format!("{name}.json"), text(schema))).collect()
}

fn committed() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn the_shape_of_history_changes_with_its_committed_schemas_or_not_at_all() {
    let generated = generated();
    if std::env::var_os("ROTA_UPDATE_SCHEMAS").is_some() {
        for name in committed().keys().filter(|name| !generated.contains_key(*name)) {
            std::fs::remove_file(folder().join(name)).unwrap();
        }
        for (name, text) in &generated {
            std::fs::write(folder().join(name), text).unwrap();
        }
        return;
    }
    let committed = committed();
    for (name, text) in &generated {
        match committed.get(name) {
            None => panic!("schemas/{name} is missing; {REGENERATE}"),
            Some(kept) => {
                assert!(kept == text, "schemas/{name} is not what the code has; {REGENERATE}\n{text}");
            }
        }
    }
    for name in committed.keys() {
        assert!(generated.contains_key(name), "schemas/{name} belongs to no type; {REGENERATE}");
    }
}

#[test]
fn every_event_type_is_named_by_the_rule_and_has_a_schema() {
    let types: Vec<_> = Event::types().collect();
    let schemas: Vec<_> = Event::schemas().into_iter().map(|(name, _)| name).collect();
    assert_eq!(types, schemas);
    for name in types {
        let parts: Vec<_> = name.split('.').collect();
        assert!(
            matches!(parts[..], ["rota", aggregate, past, version]
                if !aggregate.is_empty()
                    && past.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
                    && version.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok())),
            "{name} is not rota.<aggregate>.<past-tense>.v<n>"
        );
    }
}

/// Whoever counts the events with `rotated` in their type counts the rotations, in one step or in two.
#[test]
fn every_rotation_is_one_event_with_rotated_in_its_type_and_no_other_event_has_it() {
    let rotated: BTreeSet<_> = Event::types().filter(|name| name.contains("rotated")).collect();
    let named = ["rota.credential.prepared-secret-rotated.v1", "rota.credential.secret-rotated.v1"];
    assert_eq!(rotated, BTreeSet::from(named));

    let in_one_step = state(&[issued()]).decide(rotate(1, at(5)).ask()).unwrap();
    let prepared = state(&[issued()]).decide(prepare(1, at(5)).ask()).unwrap();
    let in_two_steps = [state(&pending()).decide(commit(at(20)).ask()).unwrap(), prepared].concat();
    let cancelled = state(&pending()).decide(cancel(at(20)).ask()).unwrap();
    let ended = state(&in_grace()).decide(expire_old(EndCause::Call, at(20)).ask()).unwrap();
    for (events, rotations) in [(in_one_step, 1), (in_two_steps, 1), (cancelled, 0), (ended, 0)] {
        let types: Vec<_> = events.iter().map(CredentialEvent::type_name).collect();
        assert_eq!(types.iter().filter(|name| rotated.contains(*name)).count(), rotations, "{types:?}");
    }
}
