//! What holds for every fold, whatever has happened.

mod campaigns;
mod histories;
mod tip;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rota_aggregates::{Event, Position, Timestamp};
use rota_projections::Recorded;
use rota_projections::codec::Reader;
use rota_projections::live::Live;
use rota_projections::replay_index::{CLAIM_SECONDS, ReplayIndex};

use crate::histories::{history, steps};
use crate::tip::{Tip, assert_same, live_bytes, take_views, views};

fn at(history: &[Recorded], share: f64) -> usize {
    ((history.len() as f64 * share) as usize).min(history.len())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Invariant 7: where a fold stopped does not show in what it folds to.
    #[test]
    fn a_prefix_and_the_rest_are_the_whole(steps in steps(160), share in 0.0..1.0f64) {
        let history = history(&steps);
        let (prefix, rest) = history.split_at(at(&history, share));
        let whole = Tip::of(&history);
        let mut resumed = Tip::of(prefix);
        resumed.take(rest);
        prop_assert_eq!(resumed.bytes(), whole.bytes());
        prop_assert_eq!(&resumed.replays, &whole.replays);
        assert_same(&resumed.live, &whole.live, &history);
        let mut resumed = views(prefix);
        take_views(&mut resumed, rest);
        prop_assert_eq!(resumed, views(&history));
    }

    /// An event that comes twice changes nothing, whenever it comes again.
    #[test]
    fn twice_is_once_in_the_live_view(steps in steps(80), share in 0.0..1.0f64) {
        let history = history(&steps);
        let mut live = Live::default();
        for (position, recorded) in history.iter().enumerate() {
            live.apply(&recorded.fact());
            let before = live_bytes(&live);
            live.apply(&recorded.fact());
            let earlier = &history[(position as f64 * share) as usize];
            live.apply(&earlier.fact());
            prop_assert_eq!(live_bytes(&live), before, "after {} again", position);
        }
        assert_same(&live, &Tip::of(&history).live, &history);
    }

    /// A snapshot loses nothing: what is read from it is what was written, also after more events.
    #[test]
    fn what_is_decoded_encodes_to_the_same_bytes(steps in steps(160), share in 0.0..1.0f64) {
        let history = history(&steps);
        let (prefix, rest) = history.split_at(at(&history, share));
        let written = Tip::of(prefix);
        let (live, replays) = written.bytes();
        let (mut live_reader, mut replay_reader) = (Reader(&live), Reader(&replays));
        let mut read = Tip {
            live: Live::decode(&mut live_reader).unwrap(),
            replays: ReplayIndex::decode(&mut replay_reader).unwrap(),
        };
        prop_assert!(live_reader.0.is_empty() && replay_reader.0.is_empty(), "every byte was read");
        prop_assert_eq!(read.bytes(), (live, replays));
        prop_assert_eq!(&read.replays, &written.replays);
        assert_same(&read.live, &written.live, prefix);
        read.take(rest);
        let whole = Tip::of(&history);
        prop_assert_eq!(read.bytes(), whole.bytes());
        prop_assert_eq!(&read.replays, &whole.replays);
        assert_same(&read.live, &whole.live, &history);
    }

    /// Bytes that end early are refused, not read as less.
    #[test]
    fn a_shortened_snapshot_is_refused(steps in steps(60), share in 0.0..1.0f64) {
        let history = history(&steps);
        let (live, replays) = Tip::of(&history).bytes();
        let cut = |bytes: &[u8]| bytes[..(bytes.len() as f64 * share) as usize].to_vec();
        prop_assert!(Live::decode(&mut Reader(&cut(&live))).is_none());
        prop_assert!(ReplayIndex::decode(&mut Reader(&cut(&replays))).is_none());
    }

    /// A snapshot that is written while events come in, its records at different instants, is the whole once what
    /// came since it was begun is taken in again.
    #[test]
    fn a_snapshot_written_in_between_is_whole(
        steps in steps(160),
        shares in prop::collection::vec(0.0..1.0f64, 8),
    ) {
        let history = history(&steps);
        let mut points: Vec<_> = shares.iter().map(|share| at(&history, *share)).collect();
        points.sort_unstable();
        let begun = points[0];
        let mut bytes = Vec::new();
        let mut tip = Tip::of(&history[..begun]);
        let (mut folded, mut written) = (begun, 0);
        for point in &points[1..points.len() - 1] {
            tip.take(&history[folded..*point]);
            folded = *point;
            let mut portion = Vec::new();
            let count = tip.live.encode_slots(written, 2, &mut portion);
            if count > 0 {
                bytes.extend_from_slice(&(count as u64).to_le_bytes());
                bytes.extend_from_slice(&portion);
                written += count;
            }
        }
        loop {
            let mut portion = Vec::new();
            let count = tip.live.encode_slots(written, 2, &mut portion);
            bytes.extend_from_slice(&(count as u64).to_le_bytes());
            bytes.extend_from_slice(&portion);
            written += count;
            if count == 0 {
                break;
            }
        }
        tip.take(&history[folded..points[points.len() - 1]]);
        tip.live.encode_rest(&mut bytes);
        tip.replays.encode(&mut bytes);

        let mut reader = Reader(&bytes);
        let mut read = Tip {
            live: Live::decode(&mut reader).unwrap(),
            replays: ReplayIndex::decode(&mut reader).unwrap(),
        };
        read.live.resume_at(Position(begun as u64));
        read.take(&history[begun..]);
        let whole = Tip::of(&history);
        prop_assert_eq!(read.bytes(), whole.bytes());
        prop_assert_eq!(&read.replays, &whole.replays);
        assert_same(&read.live, &whole.live, &history);
    }
}

/// The histories above reach what they are meant to: every event of a credential, and a key that is used afresh.
#[test]
fn the_histories_are_eventful() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut types = BTreeSet::new();
    let mut afresh = false;
    for _ in 0..64 {
        let steps = steps(160).new_tree(&mut runner).unwrap().current();
        let mut keys: BTreeMap<[u8; 32], Timestamp> = BTreeMap::new();
        for recorded in history(&steps) {
            types.insert(recorded.record.event.type_name());
            if let Some(claim) = recorded.record.claim
                && let Some(before) = keys.insert(claim.key.0, recorded.record.time)
            {
                assert!(recorded.record.time >= before.plus_seconds(CLAIM_SECONDS));
                afresh = true;
            }
        }
    }
    assert!(afresh, "no key was used afresh");
    // What belongs to managed rotations and to the ledger as a whole has histories of its own, in the domain's tests.
    let elsewhere = ["rota.connection.", "rota.managed-rotation.", "rota.name-space.", "rota.ledger."];
    let missing: Vec<_> = Event::types()
        .filter(|name| !types.contains(name) && !elsewhere.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    let expected = [
        "rota.credential.rotation-refused.v1",
        "rota.credential.leak-reported.v1",
        "rota.workspace.ledger-read.v1",
    ];
    assert_eq!(missing, expected, "events that never come up");
}
