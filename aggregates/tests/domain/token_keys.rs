use cqrs_es::test::TestFramework;
use rota_aggregates::TokenKeyId;
use rota_aggregates::ids::{Position, PublicKey};
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::time::Timestamp;
use rota_aggregates::token_keys::{
    MakeTokenKey, PUBLISH_SECONDS, Succeeded, TokenKeyCause, TokenKeyMade, TokenKeyRetired, TokenKeys,
    TokenKeysCommand, TokenKeysEvent, TokenKeysRefusal,
};
use uuid::Uuid;

use crate::build::{at, hash, just_before};

const TOKEN_SECONDS: u64 = 3_600;
/// When a key that is made at second 100 begins to sign, and when the one before counts no more.
const SIGNS: u32 = 100 + PUBLISH_SECONDS as u32;
const ENDS: u32 = SIGNS + TOKEN_SECONDS as u32;

pub fn key(n: u8) -> TokenKeyId {
    TokenKeyId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_0c00 + u128::from(n)))
}

fn part(n: u8) -> (TokenKeyId, Position) {
    (key(n), Position(u64::from(n)))
}

fn made(n: u8, signs_from: Timestamp, succeeds: Vec<Succeeded>, cause: TokenKeyCause) -> TokenKeysEvent {
    let at = if cause == TokenKeyCause::First { signs_from } else { at(100) };
    TokenKeyMade {
        key: key(n),
        public_key: PublicKey([n; 32]),
        sealed: hash(n),
        signs_from,
        succeeds,
        cause,
        at,
    }
    .into()
}

fn first() -> TokenKeysEvent {
    made(1, at(0), vec![], TokenKeyCause::First)
}

fn second(cause: TokenKeyCause) -> TokenKeysEvent {
    made(2, at(SIGNS), vec![Succeeded { key: key(1), verifies_until: at(ENDS) }], cause)
}

fn retired(n: u8, now: Timestamp) -> TokenKeysEvent {
    let shredded = vec![PartRef { position: part(n).1, part: SealedPart::Secret }];
    TokenKeyRetired { key: key(n), shredded, at: now }.into()
}

fn make(n: u8, cause: TokenKeyCause, private: &[u8], now: Timestamp) -> TokenKeysCommand {
    TokenKeysCommand::Make(MakeTokenKey {
        key: key(n),
        public: PublicKey([n; 32]),
        sealed: hash(n),
        cause,
        token_seconds: TOKEN_SECONDS,
        private: private.iter().map(|n| part(*n)).collect(),
        now,
    })
}

fn after(
    events: Vec<TokenKeysEvent>,
    command: TokenKeysCommand,
) -> Result<Vec<TokenKeysEvent>, TokenKeysRefusal> {
    TestFramework::<TokenKeys>::with(()).given(events).when(command).inspect_result()
}

fn folded(events: &[TokenKeysEvent]) -> TokenKeys {
    let mut keys = TokenKeys::default();
    for event in events {
        keys.evolve(event);
    }
    keys
}

#[test]
fn the_first_key_signs_at_once_and_is_made_once() {
    assert_eq!(after(vec![], make(1, TokenKeyCause::First, &[], at(0))), Ok(vec![first()]));
    assert_eq!(after(vec![first()], make(2, TokenKeyCause::First, &[1], at(100))), Ok(vec![]));
}

#[test]
fn a_new_key_is_published_before_it_signs_and_the_old_one_verifies_until_its_last_token_has_expired() {
    for cause in [TokenKeyCause::Call, TokenKeyCause::Schedule] {
        assert_eq!(after(vec![first()], make(2, cause, &[1], at(100))), Ok(vec![second(cause)]));
    }
    let keys = folded(&[first(), second(TokenKeyCause::Call)]);
    let signs = |now| keys.signing_at(now).unwrap().id;
    assert_eq!((signs(just_before(at(SIGNS))), signs(at(SIGNS))), (key(1), key(2)));
    let verify = |now| keys.verifying_at(now).map(|k| k.id).collect::<Vec<_>>();
    assert_eq!(verify(at(100)), [key(1), key(2)]);
    assert_eq!(verify(just_before(at(ENDS))), [key(1), key(2)]);
    assert_eq!(verify(at(ENDS)), [key(2)]);
    assert!(keys.find_at(key(1), at(ENDS)).is_none() && keys.find_at(key(3), at(100)).is_none());
}

#[test]
fn a_key_that_waits_is_not_overtaken() {
    let waits = vec![first(), second(TokenKeyCause::Call)];
    let refused = TokenKeysRefusal::KeyWaits { signs_from: at(SIGNS) };
    let ask = |now| make(3, TokenKeyCause::Call, &[1, 2], now);
    assert_eq!(after(waits.clone(), ask(just_before(at(SIGNS)))), Err(refused));
    assert!(after(waits, ask(at(SIGNS))).is_ok());
}

#[test]
fn a_key_that_others_may_have_counts_no_more_from_that_instant() {
    let before = vec![first(), second(TokenKeyCause::Call)];
    let ended = |n| Succeeded { key: key(n), verifies_until: at(100) };
    let third = made(3, at(100), vec![ended(1), ended(2)], TokenKeyCause::Compromised);
    let events = vec![third.clone(), retired(1, at(100)), retired(2, at(100))];
    assert_eq!(after(before.clone(), make(3, TokenKeyCause::Compromised, &[1, 2], at(100))), Ok(events));
    let keys = folded(&[before, vec![third]].concat());
    assert_eq!(keys.verifying_at(at(100)).map(|k| k.id).collect::<Vec<_>>(), [key(3)]);
    assert_eq!(keys.signing_at(at(100)).unwrap().id, key(3));
}

#[test]
fn a_private_key_is_destroyed_when_it_signs_no_more_and_not_before() {
    let retire = |n: u8, now| TokenKeysCommand::Retire { key: key(n), sealed: Some(part(n).1), now };
    let events = vec![first(), second(TokenKeyCause::Call)];
    let still = Err(TokenKeysRefusal::StillSigns);
    assert_eq!(after(events.clone(), retire(1, just_before(at(SIGNS)))), still);
    assert_eq!(after(events.clone(), retire(2, at(ENDS))), still);
    assert_eq!(after(events.clone(), retire(1, at(SIGNS))), Ok(vec![retired(1, at(SIGNS))]));
    let gone = TokenKeysCommand::Retire { key: key(1), sealed: None, now: at(SIGNS) };
    assert_eq!(after(events, gone), Ok(vec![]));
}

#[test]
fn keys_that_are_of_no_use_any_more_are_forgotten() {
    let mut third = made(3, at(ENDS + 600), vec![], TokenKeyCause::Schedule);
    if let TokenKeysEvent::TokenKeyMade(e) = &mut third {
        e.at = at(ENDS);
    }
    let keys = folded(&[first(), second(TokenKeyCause::Call), third]);
    assert_eq!(keys.keys.iter().map(|k| k.id).collect::<Vec<_>>(), [key(2), key(3)]);
}
