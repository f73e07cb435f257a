//! Bytes that are no leaf, and events that are too large for one.

use rota_aggregates::Event;
use rota_aggregates::authority::{Dialect, Proof};
use rota_aggregates::credential::{CredentialDescribed, CredentialEvent, SecretRotated};
use rota_aggregates::event::Unreadable;
use rota_aggregates::ids::{Position, Sequence, StreamId};
use rota_aggregates::observation::{ObservationEvent, PartRef, SealedPart, SealedPartsShredded};
use rota_aggregates::record::{
    BadLeaf, LEAF_BYTES_MAX, NotRecordable, Record, SealedHashes, encode_body, leaf_schema, stamp,
};
use rota_aggregates::time::Timestamp;
use rota_aggregates::workspace::{Policy, PolicySet, WorkspaceEvent};
use serde_json::{Map, Value, json};

use crate::build::{CREDENTIAL, at, rotated};
use crate::fixtures::{encode, plain};

/// What may be left out of a leaf.
const OPTIONAL: [&str; 2] = ["claim", "sealed"];

fn record() -> Record {
    plain(3, StreamId::credential(CREDENTIAL), CredentialEvent::from(rotated(2, 50, at(3))))
}

/// A sound leaf with one change.
fn changed(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Record, BadLeaf> {
    let mut leaf: Value = serde_json::from_slice(&encode(&record())).unwrap();
    change(leaf.as_object_mut().unwrap());
    Record::decode(&serde_json::to_vec(&leaf).unwrap())
}

#[track_caller]
fn malformed(decoded: &Result<Record, BadLeaf>) {
    assert!(matches!(decoded, Err(BadLeaf::Malformed(_))), "{decoded:?}");
}

#[test]
fn a_truncated_leaf_is_malformed_wherever_it_ends() {
    let leaf = encode(&record());
    for end in 0..leaf.len() {
        malformed(&Record::decode(&leaf[..end]));
    }
    assert_eq!(Record::decode(&leaf).unwrap(), record());
}

#[test]
fn a_leaf_with_something_after_it_is_malformed() {
    malformed(&Record::decode(&[encode(&record()), b"{}".to_vec()].concat()));
}

#[test]
fn bytes_that_are_no_object_are_malformed() {
    for bytes in [&b""[..], b"\0", b"null", b"[]", b"\"leaf\"", b"1", b"\xff\xfe", b"{}"] {
        malformed(&Record::decode(bytes));
    }
    malformed(&Record::decode(&vec![b'['; LEAF_BYTES_MAX]));
}

#[test]
fn a_flipped_byte_never_panics() {
    let leaf = encode(&record());
    for at in 0..leaf.len() {
        for bit in 0..8 {
            let mut flipped = leaf.clone();
            flipped[at] ^= 1 << bit;
            let _ = Record::decode(&flipped);
        }
    }
}

#[test]
fn a_missing_field_is_malformed_unless_it_may_be_left_out() {
    let whole: Map<String, Value> = serde_json::from_slice(&encode(&record())).unwrap();
    assert!(whole.len() >= 13);
    for name in whole.keys() {
        assert!(!OPTIONAL.contains(&name.as_str()), "{name} is written though it is empty");
        malformed(&changed(|leaf| {
            leaf.remove(name);
        }));
    }
}

#[test]
fn a_doubled_field_is_malformed() {
    let text = String::from_utf8(encode(&record())).unwrap();
    malformed(&Record::decode(
        text.replacen("\"sequence\":3", "\"sequence\":3,\"sequence\":4", 1).as_bytes(),
    ));
}

#[test]
fn a_field_of_another_form_is_malformed() {
    for (name, value) in [
        ("v", json!("1")),
        ("v", json!(1.5)),
        ("v", json!(-1)),
        ("time", json!(0)),
        ("time", json!("yesterday")),
        ("time", json!("1969-12-31T23:59:59.999999Z")),
        ("sequence", json!(-1)),
        ("sequence", json!(4_294_967_296_u64)),
        ("id", json!("7")),
        ("stream", json!("credential")),
        ("stream", json!("secret/01997c4e-0000-7000-8000-000000000001")),
        ("stream", json!("credential/7")),
        ("actor", json!({ "kind": "nobody", "id": "01997c4e-0000-7000-8000-000000000001" })),
        ("dialect", json!("klingon")),
        ("proof", json!({ "kind": "trust-me" })),
        ("claim", json!({ "key": "00" })),
        ("sealed", json!({ "answer": "A".repeat(64) })),
    ] {
        malformed(&changed(|leaf| {
            leaf.insert(name.to_owned(), value.clone());
        }));
    }
}

#[test]
fn a_leaf_of_a_newer_schema_is_told_from_a_broken_one() {
    let newer = changed(|leaf| {
        leaf.insert("v".into(), json!(2));
    });
    assert!(matches!(newer, Err(BadLeaf::UnknownSchema(2))), "{newer:?}");
    let shaped_otherwise = Record::decode(br#"{"v":2,"when":1795219200,"what":[]}"#);
    assert!(matches!(shaped_otherwise, Err(BadLeaf::UnknownSchema(2))), "{shaped_otherwise:?}");
    let older = Record::decode(br#"{"v":0}"#);
    assert!(matches!(older, Err(BadLeaf::UnknownSchema(0))), "{older:?}");
    malformed(&Record::decode(br#"{"v":1}"#));
}

#[test]
fn an_unknown_type_is_named() {
    for name in ["rota.credential.secret-rotated.v2", "rota.credential.secret-rotated", "", "SecretRotated"] {
        let decoded = changed(|leaf| {
            leaf.insert("type".into(), json!(name));
        });
        assert!(
            matches!(&decoded, Err(BadLeaf::Unreadable(Unreadable::UnknownType(n))) if n == name),
            "{decoded:?}"
        );
    }
}

#[test]
fn data_that_does_not_fit_its_type_is_told_with_the_type() {
    let required = ["secret", "graceSeconds", "at"];
    for missing in required {
        let decoded = changed(|leaf| {
            leaf["data"].as_object_mut().unwrap().remove(missing);
        });
        assert!(
            matches!(&decoded, Err(BadLeaf::Unreadable(Unreadable::Misfit { name, source }))
                if name == "rota.credential.secret-rotated.v1" && source.to_string().contains(missing)),
            "{decoded:?}"
        );
    }
    for data in [json!(null), json!([]), json!("x"), json!({ "secret": { "version": -1 } })] {
        let decoded = changed(|leaf| {
            leaf.insert("data".into(), data);
        });
        assert!(matches!(&decoded, Err(BadLeaf::Unreadable(Unreadable::Misfit { .. }))), "{decoded:?}");
    }
}

#[test]
fn a_type_written_with_escapes_is_the_same_type() {
    let text = String::from_utf8(encode(&record())).unwrap();
    let escaped = text.replacen("\"type\":\"rota", "\"type\":\"\\u0072ota", 1);
    assert_eq!(Record::decode(escaped.as_bytes()).unwrap(), record());
}

#[test]
fn a_leaf_over_the_limit_is_too_large_and_not_read() {
    let mut leaf = encode(&record());
    leaf.resize(LEAF_BYTES_MAX, b' ');
    assert_eq!(Record::decode(&leaf).unwrap(), record());
    leaf.push(b' ');
    let decoded = Record::decode(&leaf);
    assert!(matches!(decoded, Err(BadLeaf::TooLarge(n)) if n == LEAF_BYTES_MAX + 1), "{decoded:?}");
}

/// The body of a description whose only word has so many letters.
fn body(letters: usize) -> Result<Vec<u8>, NotRecordable> {
    let event = CredentialDescribed { changed: vec!["x".repeat(letters)], at: at(3) };
    let Record { id, stream, context, claim, sealed, event, .. } =
        plain(3, StreamId::credential(CREDENTIAL), CredentialEvent::from(event));
    encode_body(id, stream, &context, claim, sealed, &event)
}

#[test]
fn a_body_is_recordable_up_to_a_length_at_which_its_leaf_still_fits() {
    let head = body(0).unwrap().len();
    let longest = (0..LEAF_BYTES_MAX - head).rev().find(|letters| body(*letters).is_ok()).unwrap();
    assert!(matches!(body(longest + 1), Err(NotRecordable::TooLarge)));
    assert!(matches!(body(10 * LEAF_BYTES_MAX), Err(NotRecordable::TooLarge)));

    let last = Timestamp::from_micros(i64::MAX);
    let leaf = stamp(&body(longest).unwrap(), last, Sequence(u32::MAX));
    assert!(leaf.len() <= LEAF_BYTES_MAX);
    assert!(leaf.len() > LEAF_BYTES_MAX - 100, "the limit wastes {}", LEAF_BYTES_MAX - leaf.len());
    Record::decode(&leaf).unwrap();
}

#[test]
fn a_leaf_begins_with_what_the_committer_adds() {
    let text = String::from_utf8(encode(&record())).unwrap();
    let head = r#"{"v":1,"time":"2026-11-21T00:00:03.000000Z","sequence":3,"id":"#;
    assert!(text.starts_with(head), "{text}");
}

#[test]
fn the_leafs_schema_names_every_field_that_is_written_and_demands_all_but_the_optional() {
    let full = Record {
        claim: Some(rota_aggregates::record::Claim {
            key: crate::build::hash(1),
            fingerprint: crate::build::hash(2),
        }),
        sealed: rota_aggregates::record::SealedHashes { answer: Some(crate::build::hash(3)), details: None },
        ..record()
    };
    let written: Map<String, Value> = serde_json::from_slice(&encode(&full)).unwrap();
    let schema = leaf_schema().to_value();
    let mut names: Vec<_> = written.keys().collect();
    let mut properties: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    names.sort();
    properties.sort();
    assert_eq!(names, properties);
    let required: Vec<_> = schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for name in names {
        assert_eq!(required.contains(&name.as_str()), !OPTIONAL.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn who_acted_is_read_as_it_was_written() {
    let context = record().context;
    assert_eq!((context.dialect, context.proof), (Dialect::Native, Proof::OPERATOR));
    assert_eq!(Record::decode(&encode(&record())).unwrap().context, context);
}

/// The largest integer that every reader of JSON holds exactly.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// The body of an event with this number at each of the places where one can grow.
fn bodies_with(number: u64) -> Vec<Result<Vec<u8>, NotRecordable>> {
    let policy = Policy { min_overlap_seconds: number, ..Policy::default() };
    let part = PartRef { position: Position(number), part: SealedPart::Answer };
    let events = [
        Event::from(CredentialEvent::from(SecretRotated { grace_seconds: number, ..rotated(2, 50, at(3)) })),
        WorkspaceEvent::from(PolicySet { at: at(3), policy }).into(),
        ObservationEvent::from(SealedPartsShredded { parts: vec![part], at: at(3) }).into(),
    ];
    let body = |event| {
        let Record { id, stream, context, .. } = record();
        encode_body(id, stream, &context, None, SealedHashes::default(), &event)
    };
    events.into_iter().map(body).collect()
}

#[test]
fn a_number_that_not_every_reader_holds_exactly_is_not_recorded() {
    for body in bodies_with(EXACT_MAX) {
        body.unwrap();
    }
    for number in [EXACT_MAX + 1, u64::MAX] {
        for body in bodies_with(number) {
            assert!(matches!(body, Err(NotRecordable::Inexact)), "{body:?}");
        }
    }
}
