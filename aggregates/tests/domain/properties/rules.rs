//! No sequence of commands, whenever they come, breaks a rule.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rota_aggregates::authority::Proof;
use rota_aggregates::credential::{
    Credential, CredentialCommand, CredentialEvent, IssueCredential, Kind, PreparedSecretRotated,
    SecretRotated, Status,
};
use rota_aggregates::ids::StreamId;
use rota_aggregates::record::Record;
use rota_aggregates::{Event, Timestamp};

use super::any::{proof_kind, roles};
use super::sequence::{fold, handle, history, play, steps};
use crate::build::{Ask, CREDENTIAL, at, issue_of, issued, revoke};
use crate::fixtures::{encode, plain};

/// Whether the same command, put again, has to be refused: it aims at what it has just changed.
fn is_spent_once_done(command: &CredentialCommand) -> bool {
    match command {
        CredentialCommand::Revoke(_)
        | CredentialCommand::Describe(_)
        | CredentialCommand::EndReplay(_)
        | CredentialCommand::HoldGrace(_) => false,
        CredentialCommand::Issue(_)
        | CredentialCommand::Rotate(_)
        | CredentialCommand::Prepare(_)
        | CredentialCommand::Commit(_)
        | CredentialCommand::Cancel(_)
        | CredentialCommand::ExpireOld(_)
        | CredentialCommand::EndQuietGrace(_)
        | CredentialCommand::RevokeSecret(_) => true,
    }
}

fn proof_of(command: &CredentialCommand) -> Proof {
    match command {
        CredentialCommand::Issue(c) => c.proof,
        CredentialCommand::Rotate(c) => c.proof,
        CredentialCommand::Prepare(c) => c.proof,
        CredentialCommand::Commit(c) => c.proof,
        CredentialCommand::Cancel(c) => c.proof,
        CredentialCommand::ExpireOld(c) => c.proof,
        CredentialCommand::RevokeSecret(c) => c.proof,
        CredentialCommand::Revoke(c) => c.proof,
        CredentialCommand::Describe(c) => c.proof,
        CredentialCommand::EndReplay(_)
        | CredentialCommand::EndQuietGrace(_)
        | CredentialCommand::HoldGrace(_) => Proof::SCHEDULE,
    }
}

proptest! {
    #[test]
    fn at_most_two_live_versions(steps in steps(), anywhen in vec(any::<i64>(), 4)) {
        for turn in play(&steps) {
            // Also at instants before and after, so that a clock that was set changes nothing.
            let around = [turn.now, Timestamp::from_micros(turn.now.micros() - 1), at(0)];
            for now in around.into_iter().chain(anywhen.iter().copied().map(Timestamp::from_micros)) {
                let live: Vec<_> = turn.after.live_versions(now).collect();
                prop_assert!(live.len() <= 2, "{live:?} at {now}: {:?}", turn.after);
                prop_assert!(live.windows(2).all(|pair| pair[0] > pair[1]), "{live:?}");
                prop_assert!(live.iter().all(|v| (1..=turn.after.last_version).contains(v)), "{live:?}");
            }
            prop_assert!(turn.after.retiring.is_none() || turn.after.prepared.is_none());
        }
    }

    #[test]
    fn versions_are_numbered_from_one_without_gaps_and_never_used_again(steps in steps()) {
        let turns = play(&steps);
        let events = history(&turns);
        let made: Vec<_> = events.iter().filter_map(CredentialEvent::secret).map(|s| s.version).collect();
        let expected: Vec<_> = (1..=made.len() as u32).collect();
        prop_assert_eq!(made, expected);
    }

    #[test]
    fn the_last_version_only_grows(steps in steps()) {
        for turn in play(&steps) {
            let news = turn.decision.iter().flatten().filter_map(CredentialEvent::secret).count() as u32;
            prop_assert!(news <= 1, "one command made {news} secrets");
            prop_assert_eq!(turn.after.last_version, turn.before.last_version + news);
        }
    }

    #[test]
    fn a_dead_version_never_lives_again(steps in steps()) {
        let mut seen = BTreeSet::new();
        let mut live = BTreeSet::new();
        for turn in play(&steps) {
            let now: BTreeSet<_> = turn.after.live_versions(turn.now).collect();
            for version in now.difference(&live) {
                prop_assert!(!seen.contains(version), "version {version} is back");
            }
            seen.extend(now.iter().copied());
            live = now;
        }
    }

    #[test]
    fn a_refused_command_changes_nothing(steps in steps()) {
        for turn in play(&steps) {
            if turn.decision.is_err() {
                prop_assert_eq!(turn.after, turn.before);
            }
        }
    }

    #[test]
    fn what_was_decided_is_what_has_happened(steps in steps()) {
        for turn in play(&steps) {
            let decided = turn.before.decide(turn.command.clone());
            prop_assert_eq!(&decided, &turn.decision);
            if let Ok(events) = decided {
                prop_assert_eq!(fold(turn.before, &events), turn.after);
            }
        }
    }

    #[test]
    fn a_command_that_was_done_is_not_done_again(steps in steps()) {
        for turn in play(&steps) {
            if turn.decision.is_ok() && is_spent_once_done(&turn.command) {
                let again = turn.after.decide(turn.command.clone());
                prop_assert!(again.is_err(), "{:?} again: {again:?}", turn.command);
            }
        }
    }

    #[test]
    fn every_version_ends_once(steps in steps()) {
        let mut ended = BTreeSet::new();
        for event in history(&play(&steps)) {
            let ends = match &event {
                CredentialEvent::SecretRotated(SecretRotated { replaced: Some(r), .. })
                | CredentialEvent::PreparedSecretRotated(PreparedSecretRotated { replaced: Some(r), .. })
                    if r.expires_at.is_none() => vec![r.version],
                CredentialEvent::RotationCancelled(e) => vec![e.version],
                CredentialEvent::OldSecretExpired(e) => vec![e.version],
                CredentialEvent::SecretRevoked(e) => vec![e.version],
                CredentialEvent::CredentialRevoked(e) => e.versions.clone(),
                _ => vec![],
            };
            for version in ends {
                prop_assert!(ended.insert(version), "version {version} ends again by {event:?}");
            }
        }
    }

    #[test]
    fn every_version_that_is_not_live_has_an_end_on_record_or_is_due(steps in steps()) {
        let turns = play(&steps);
        let last = turns.last().unwrap();
        let waiting: BTreeSet<_> = [last.after.active]
            .into_iter()
            .chain([last.after.retiring.map(|r| r.version), last.after.prepared.map(|p| p.version)])
            .flatten()
            .collect();
        let events = history(&turns);
        for version in (1..=last.after.last_version).filter(|v| !waiting.contains(v)) {
            let says_so = |event: &CredentialEvent| match event {
                CredentialEvent::SecretRotated(SecretRotated { replaced: Some(r), .. })
                | CredentialEvent::PreparedSecretRotated(PreparedSecretRotated { replaced: Some(r), .. }) => {
                    r.version == version && r.expires_at.is_none()
                }
                CredentialEvent::RotationCancelled(e) => e.version == version,
                CredentialEvent::OldSecretExpired(e) => e.version == version,
                CredentialEvent::SecretRevoked(e) => e.version == version,
                CredentialEvent::CredentialRevoked(e) => e.versions.contains(&version),
                _ => false,
            };
            prop_assert!(events.iter().any(says_so), "nothing says how version {version} ended");
        }
    }

    #[test]
    fn a_revoked_credential_never_lives_again(steps in steps(), more in steps()) {
        let mut state = fold(Credential::default(), &history(&play(&steps)));
        if state.status != Status::Revoked {
            handle(&mut state, revoke(at(u32::MAX)).ask()).unwrap();
        }
        let dead = state;
        let mut now = at(0);
        for step in &more {
            now = step.now(&state, now);
            let decision = handle(&mut state, step.command(&dead, now));
            prop_assert!(decision.is_err() || decision == Ok(vec![]), "{decision:?}");
            prop_assert_eq!(state, dead);
            prop_assert_eq!(state.live_versions(now).count(), 0);
        }
    }

    #[test]
    fn a_retiring_secret_never_mints_its_successor(steps in steps()) {
        for turn in play(&steps) {
            let Some(version) = proof_of(&turn.command).own_version(CREDENTIAL) else { continue };
            let newest = turn.before.active == Some(version)
                || turn.before.prepared_at(turn.now).is_some_and(|p| p.version == version);
            if turn.before.status == Status::Active && !newest {
                let mints = turn.decision.iter().flatten().any(|event| event.secret().is_some());
                prop_assert!(!mints, "{:?} led to {:?}", turn.command, turn.decision);
            }
        }
    }

    #[test]
    fn a_dead_secret_changes_nothing(steps in steps()) {
        for turn in play(&steps) {
            let Some(version) = proof_of(&turn.command).own_version(CREDENTIAL) else { continue };
            let live = turn.before.live_versions(turn.now).any(|v| v == version);
            if turn.before.status == Status::Active && !live {
                prop_assert!(turn.decision.is_err(), "{:?} led to {:?}", turn.command, turn.decision);
            }
        }
    }

    #[test]
    fn a_retiring_secret_leaves_no_other_key_behind(
        kind in select(Kind::ALL.to_vec()), roles in roles(), proof in proof_kind(), retiring: bool,
    ) {
        let proof = Proof::of(proof, crate::build::OTHER, 1, retiring);
        let decision = Credential::default().decide(IssueCredential { roles, proof, ..issue_of(kind) }.ask());
        let is_key = kind == Kind::WorkspaceKey || !roles.is_empty();
        prop_assert_eq!(decision.is_err(), retiring && is_key);
    }

    #[test]
    fn a_prefix_and_the_rest_replay_to_the_whole(steps in steps(), cut: prop::sample::Index) {
        let events = history(&play(&steps));
        let whole = fold(Credential::default(), &events);
        let (prefix, rest) = events.split_at(cut.index(events.len() + 1));
        // The state is put away and taken out again in between, and the rest comes from stored bytes.
        let kept = serde_json::to_vec(&fold(Credential::default(), prefix)).unwrap();
        let taken: Credential = serde_json::from_slice(&kept).unwrap();
        let rest: Vec<_> = rest.iter().cloned().map(|event| {
            let leaf = encode(&plain(1, StreamId::credential(CREDENTIAL), event));
            match Record::decode(&leaf).unwrap().event {
                Event::Credential(event) => event,
                other => panic!("a credential's event came back as {other:?}"),
            }
        }).collect();
        prop_assert_eq!(fold(taken, &rest), whole);
    }
}

#[test]
fn the_sequences_reach_every_event_and_every_refusal_that_they_can() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut events, mut refusals) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..400 {
        for turn in play(&steps().new_tree(&mut runner).unwrap().current()) {
            match turn.decision {
                Ok(decided) => events.extend(decided.iter().map(CredentialEvent::type_name)),
                Err(refusal) => {
                    refusals.insert(refusal.code());
                }
            }
        }
    }
    for name in CredentialEvent::TYPES {
        assert!(events.contains(name), "no sequence leads to {name}");
    }
    for code in [
        "already-issued",
        "credential-revoked",
        "retiring-secret",
        "secret-required",
        "proof-stale",
        "version-conflict",
        "grace-too-long",
        "deadline-out-of-range",
        "rotation-pending",
        "nothing-prepared",
        "nothing-retiring",
        "not-due",
        "unknown-version",
        "no-active-secret",
    ] {
        assert!(refusals.contains(code), "no sequence leads to {code}");
    }
    assert!(fold(Credential::default(), &[issued()]).status == Status::Active);
}
