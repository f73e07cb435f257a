use cqrs_es::test::TestFramework;
use rota_aggregates::ids::Position;
use rota_aggregates::ledger::{
    KEYS_MAX, Ledger, LedgerAuditorDismissed, LedgerAuditorNamed, LedgerCommand, LedgerEvent, LedgerKeyAdded,
    LedgerKeyCause, LedgerKeyRetired, LedgerRefusal, LedgerRestored, NewLedgerKey, SignsUntil,
};
use rota_aggregates::observation::{PartRef, SealedPart};
use uuid::Uuid;

use crate::build::{at, hash, just_before};

const ORIGIN: &str = "ledger.example/a";
const OVERLAP: u64 = 600;

fn named(n: u8) -> String {
    format!("{ORIGIN}+0000000{n}+AQ==")
}

fn new(n: u8, origin: &str) -> NewLedgerKey {
    NewLedgerKey { origin: origin.to_owned(), verifier_key: named(n), sealed: hash(n) }
}

fn added(n: u8, origin: &str, succeeds: Vec<SignsUntil>, cause: LedgerKeyCause, second: u32) -> LedgerEvent {
    LedgerKeyAdded {
        origin: origin.to_owned(),
        verifier_key: named(n),
        sealed: hash(n),
        succeeds,
        cause,
        at: at(second),
    }
    .into()
}

fn until(n: u8, second: u32) -> SignsUntil {
    SignsUntil { verifier_key: named(n), until: at(second) }
}

fn first() -> LedgerEvent {
    added(1, ORIGIN, vec![], LedgerKeyCause::First, 0)
}

fn second() -> LedgerEvent {
    added(2, ORIGIN, vec![until(1, 100 + OVERLAP as u32)], LedgerKeyCause::Call, 100)
}

fn after(events: Vec<LedgerEvent>, command: LedgerCommand) -> Result<Vec<LedgerEvent>, LedgerRefusal> {
    TestFramework::<Ledger>::with(()).given(events).when(command).inspect_result()
}

fn folded(events: &[LedgerEvent]) -> Ledger {
    let mut ledger = Ledger::default();
    for event in events {
        ledger.evolve(event);
    }
    ledger
}

fn add(n: u8, now: u32) -> LedgerCommand {
    LedgerCommand::AddKey { key: new(n, ORIGIN), overlap_seconds: OVERLAP, now: at(now) }
}

#[test]
fn a_ledger_begins_once() {
    let begin = |n| LedgerCommand::Begin { key: new(n, ORIGIN), now: at(0) };
    assert_eq!(after(vec![], begin(1)), Ok(vec![first()]));
    assert_eq!(after(vec![first()], begin(2)), Ok(vec![]));
    assert_eq!(folded(&[first()]).origin(), Some(ORIGIN));
}

#[test]
fn a_new_key_signs_beside_the_one_before_it_for_a_while() {
    assert_eq!(after(vec![first()], add(2, 100)), Ok(vec![second()]));
    let ledger = folded(&[first(), second()]);
    let signing = |now| ledger.signing_at(now).map(|key| key.verifier_key.clone()).collect::<Vec<_>>();
    let end = 100 + OVERLAP as u32;
    assert_eq!(signing(at(100)), [named(1), named(2)]);
    assert_eq!(signing(just_before(at(end))), [named(1), named(2)]);
    assert_eq!(signing(at(end)), [named(2)]);
    let every: Vec<_> = ledger.present_keys().map(|key| (key.from, key.until)).collect();
    assert_eq!(every, [(at(0), Some(at(end))), (at(100), None)]);
}

#[test]
fn an_end_that_was_set_is_never_put_off() {
    let third = added(3, ORIGIN, vec![until(1, 700), until(2, 800)], LedgerKeyCause::Call, 200);
    assert_eq!(after(vec![first(), second()], add(3, 200)), Ok(vec![third]));
}

#[test]
fn a_key_speaks_for_the_ledgers_origin_alone() {
    let key = new(2, "ledger.example/b");
    let other = LedgerCommand::AddKey { key, overlap_seconds: OVERLAP, now: at(100) };
    assert_eq!(after(vec![first()], other), Err(LedgerRefusal::OtherOrigin(ORIGIN.to_owned())));
}

#[test]
fn so_many_keys_sign_and_no_more() {
    let mut events = vec![first()];
    for n in 2..=KEYS_MAX as u8 {
        let mut more = after(events.clone(), add(n, u32::from(n))).unwrap();
        events.append(&mut more);
    }
    assert_eq!(after(events.clone(), add(9, 9)), Err(LedgerRefusal::TooManyKeys));
    assert!(after(events, add(9, 9 + OVERLAP as u32)).is_ok());
}

#[test]
fn a_private_part_is_destroyed_when_its_key_signs_no_more() {
    let part = PartRef { position: Position(4), part: SealedPart::Secret };
    let retire = |n, sealed: Option<Position>, now| {
        after(vec![first(), second()], LedgerCommand::RetireKey { verifier_key: named(n), sealed, now })
    };
    let end = 100 + OVERLAP as u32;
    assert_eq!(retire(1, Some(part.position), just_before(at(end))), Err(LedgerRefusal::StillSigns));
    assert_eq!(retire(2, Some(part.position), at(end)), Err(LedgerRefusal::StillSigns));
    let retired = LedgerKeyRetired { verifier_key: named(1), shredded: vec![part], at: at(end) };
    assert_eq!(retire(1, Some(part.position), at(end)), Ok(vec![retired.into()]));
    assert_eq!(retire(1, None, at(end)), Ok(vec![]));
}

#[test]
fn after_a_loss_the_ledger_goes_on_under_another_origin() {
    let restore = |origin: &str| LedgerCommand::Restore {
        lost_from: Position(90),
        signed: (100, hash(9)),
        former_origin: ORIGIN.to_owned(),
        key: new(2, origin),
        now: at(100),
    };
    let restored = LedgerRestored {
        lost_from: Position(90),
        former_origin: ORIGIN.to_owned(),
        signed_size: 100,
        signed_root: hash(9),
        at: at(100),
    };
    let next = added(2, "ledger.example/a.2", vec![until(1, 100)], LedgerKeyCause::Restored, 100);
    let events = vec![LedgerEvent::from(restored), next];
    assert_eq!(after(vec![first()], restore("ledger.example/a.2")), Ok(events.clone()));
    assert_eq!(after(vec![first()], restore(ORIGIN)), Err(LedgerRefusal::OriginUsed(ORIGIN.to_owned())));
    let ledger = folded(&[vec![first()], events].concat());
    assert_eq!(ledger.origin(), Some("ledger.example/a.2"));
    assert_eq!(ledger.present_keys().count(), 1);
    assert_eq!(
        ledger.signing_at(at(100)).map(|key| key.verifier_key.as_str()).collect::<Vec<_>>(),
        [named(2)]
    );
    // A store from before there was a tree knows of no key, and what was signed is lost all the same.
    assert!(after(vec![], restore("ledger.example/a.2")).is_ok());
}

#[test]
fn auditors_are_named_and_dismissed() {
    let auditor = Uuid::from_u128(7);
    let name = LedgerCommand::NameAuditor { auditor, now: at(1) };
    let dismiss = LedgerCommand::DismissAuditor { auditor, now: at(2) };
    let named = LedgerEvent::from(LedgerAuditorNamed { auditor, at: at(1) });
    let dismissed = LedgerEvent::from(LedgerAuditorDismissed { auditor, at: at(2) });
    assert_eq!(after(vec![], name.clone()), Ok(vec![named.clone()]));
    assert_eq!(after(vec![named.clone()], name), Ok(vec![]));
    assert_eq!(after(vec![named.clone()], dismiss.clone()), Ok(vec![dismissed.clone()]));
    assert_eq!(after(vec![named.clone(), dismissed.clone()], dismiss), Err(LedgerRefusal::NoSuchAuditor));
    assert_eq!(folded(std::slice::from_ref(&named)).auditors, [(auditor, at(1))]);
    assert!(folded(&[named, dismissed]).auditors.is_empty());
}
