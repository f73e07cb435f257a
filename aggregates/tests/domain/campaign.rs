//! Campaigns and custody: the rules, and one leaf of each type.

use cqrs_es::test::TestFramework;
use rota_aggregates::StreamId;
use rota_aggregates::campaign::{
    Campaign, CampaignApplied, CampaignCommand, CampaignEnded, CampaignEvent, CampaignPaused,
    CampaignPlanned, CampaignRefusal, CampaignResumed, EndOfCampaign, HandOversDestroyed, ITEMS_MAX,
    ITEMS_PER_EVENT, ItemFailed, ItemSkipped, ItemsPlanned, NAMED_MAX, NO_RECIPIENT, Outcome, PauseCause,
    PlanCampaign, PlannedItem, SecretHandedOver, Selector, Settings, Stage, Standing, Tally, WaveFinished,
    WithoutRecipient,
};
use rota_aggregates::credential::Kind;
use rota_aggregates::custody::{Custody, CustodyCommand, CustodyEvent, OwnerSet, Recipient, RecipientSet};
use rota_aggregates::ids::{CampaignId, CredentialId, Position, WorkspaceId};
use rota_aggregates::observation::{PartRef, SealedPart};
use rota_aggregates::record::{Context, Record};
use uuid::Uuid;

use crate::build::{CREDENTIAL, OTHER, WORKSPACE, at, hash};
use crate::fixtures::plain;

const CAMPAIGN: CampaignId = CampaignId(Uuid::from_u128(0x0199_7c4e_0000_7000_8000_0000_0000_00cc));
const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const OTHER_KEY: &str = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";

fn key() -> Recipient {
    KEY.parse().unwrap()
}

fn numbered(n: u128) -> CredentialId {
    CredentialId(Uuid::from_u128(0x0199_7c4e_2222_7000_8000_0000_0000_0000 + n))
}

fn planned(n: u128) -> PlannedItem {
    PlannedItem {
        credential: numbered(n),
        version: Some(3),
        owner: OTHER,
        recipient: Some(key()),
        obstacle: None,
    }
}

fn blocked(n: u128, obstacle: &str) -> PlannedItem {
    PlannedItem { recipient: None, obstacle: Some(obstacle.to_owned()), ..planned(n) }
}

fn settings() -> Settings {
    Settings { wave_size: 2, wave_pause_seconds: 60, failures_max: 1, ..Settings::default() }
}

fn plan_of(items: Vec<PlannedItem>, settings: Settings) -> CampaignCommand {
    CampaignCommand::Plan(PlanCampaign {
        campaign: CAMPAIGN,
        workspace: Some(WORKSPACE),
        selector: Selector::default(),
        settings,
        items,
        plan: hash(0x91),
        now: at(1),
    })
}

fn decide(given: &[CampaignEvent], command: CampaignCommand) -> Result<Vec<CampaignEvent>, CampaignRefusal> {
    TestFramework::<Campaign>::with(()).given(given.to_vec()).when(command).inspect_result()
}

/// A campaign that was planned with these settings and items.
fn given(items: Vec<PlannedItem>, settings: Settings) -> Vec<CampaignEvent> {
    decide(&[], plan_of(items, settings)).unwrap()
}

/// One that is being carried out.
fn running(items: Vec<PlannedItem>, settings: Settings) -> Vec<CampaignEvent> {
    let mut events = given(items, settings);
    events.extend(decide(&events, apply()).unwrap());
    events
}

fn apply() -> CampaignCommand {
    CampaignCommand::Apply { plan: hash(0x91), moved: 0, now: at(2) }
}

fn settle(n: u128, outcome: Outcome, seconds: u32) -> CampaignCommand {
    CampaignCommand::Settle { credential: numbered(n), outcome, now: at(seconds) }
}

fn done() -> Outcome {
    Outcome::Done { version: 4, recipient: key(), sealed: hash(0x5e) }
}

fn failed() -> Outcome {
    Outcome::Failed { reason: "rotation-pending".to_owned() }
}

fn handed(n: u128, seconds: u32) -> CampaignEvent {
    let sealed = hash(0x5e);
    SecretHandedOver { credential: numbered(n), version: 4, recipient: key(), sealed, at: at(seconds) }.into()
}

fn state(events: &[CampaignEvent]) -> Campaign {
    let mut state = Campaign::default();
    for event in events {
        state.evolve(event);
    }
    state
}

fn tally(waiting: u32, done: u32, failed: u32, skipped: u32) -> Tally {
    Tally { waiting, done, failed, skipped }
}

/// If this fails, a plan rotates something, or an event grows beyond what a leaf may have.
#[test]
fn a_plan_is_written_down_in_as_many_events_as_it_takes_and_rotates_nothing() {
    let items: Vec<_> = (0..=ITEMS_PER_EVENT as u128).map(planned).collect();
    let events = given(items.clone(), settings());
    let [CampaignEvent::CampaignPlanned(head), rest @ ..] = &events[..] else { panic!("{events:?}") };
    assert_eq!((head.items, head.plan), (items.len() as u32, hash(0x91)));
    let counts: Vec<_> = rest
        .iter()
        .map(|event| match event {
            CampaignEvent::ItemsPlanned(e) => e.items.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [ITEMS_PER_EVENT, 1]);
    for event in &events {
        let mut bytes = Vec::new();
        event.write_data(&mut bytes).unwrap();
        assert!(bytes.len() < 60_000, "{}", bytes.len());
    }
    let state = state(&events);
    assert_eq!((state.stage, state.tally), (Stage::Planned, tally(items.len() as u32, 0, 0, 0)));
    assert_eq!(decide(&events, plan_of(items, settings())), Err(CampaignRefusal::AlreadyPlanned));
}

/// If this fails, a plan without bounds is written down.
#[test]
fn a_plan_is_refused_by_the_field_that_is_out_of_bounds() {
    assert_eq!(decide(&[], plan_of(vec![], settings())), Err(CampaignRefusal::NothingSelected));
    let field = |refused| match refused {
        Err(CampaignRefusal::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    for (expected, wrong) in [
        ("waveSize", Settings { wave_size: 0, ..settings() }),
        ("waveSize", Settings { wave_size: 10_001, ..settings() }),
        ("wavePauseSeconds", Settings { wave_pause_seconds: 86_401, ..settings() }),
        ("keepDays", Settings { keep_days: 0, ..settings() }),
        ("keepDays", Settings { keep_days: 366, ..settings() }),
    ] {
        assert_eq!(field(decide(&[], plan_of(vec![planned(1)], wrong))), expected);
    }
    let many = (0..=ITEMS_MAX as u128).map(planned).collect();
    assert_eq!(field(decide(&[], plan_of(many, settings()))), "selector");
    let CampaignCommand::Plan(mut plan) = plan_of(vec![planned(1)], settings()) else { unreachable!() };
    plan.selector.credentials = (0..=NAMED_MAX as u128).map(numbered).collect();
    assert_eq!(field(decide(&[], CampaignCommand::Plan(plan))), "credentialIds");
}

/// If this fails, another plan is carried out than the one that somebody looked at.
#[test]
fn a_plan_is_applied_by_its_hash_and_only_while_nothing_moved() {
    let events = given(vec![planned(1), planned(2)], settings());
    let other = CampaignCommand::Apply { plan: hash(0x92), moved: 0, now: at(2) };
    assert_eq!(decide(&events, other), Err(CampaignRefusal::OtherPlan));
    let moved = CampaignCommand::Apply { plan: hash(0x91), moved: 3, now: at(2) };
    assert_eq!(decide(&events, moved), Err(CampaignRefusal::Moved { count: 3 }));
    let applied = decide(&events, apply()).unwrap();
    assert_eq!(applied, [CampaignApplied { plan: hash(0x91), at: at(2) }.into()]);
    let running = [events, applied].concat();
    assert_eq!(decide(&running, apply()), Ok(vec![]), "whoever asks again has been heard");
    assert_eq!(decide(&[], apply()), Err(CampaignRefusal::Unknown));
}

/// If this fails, a secret is made that nobody can be given.
#[test]
fn owners_without_a_key_keep_a_plan_from_being_applied_or_are_passed_over_as_was_chosen() {
    let items = vec![planned(1), blocked(2, NO_RECIPIENT), blocked(3, "rotation-pending")];
    let refused = decide(&given(items.clone(), settings()), apply());
    assert_eq!(refused, Err(CampaignRefusal::WithoutRecipient { count: 1 }));
    let skip = Settings { without_recipient: WithoutRecipient::Skip, ..settings() };
    let running = running(items, skip.clone());
    let state = state(&running);
    assert_eq!(state.tally, tally(1, 0, 0, 2));
    let reason = |n| match &state.item(numbered(n)).unwrap().standing {
        Standing::Skipped { reason } => reason.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((reason(2), reason(3)), (NO_RECIPIENT.to_owned(), "rotation-pending".to_owned()));
    let nothing = given(vec![blocked(1, NO_RECIPIENT)], skip);
    assert_eq!(decide(&nothing, apply()), Err(CampaignRefusal::NothingToRotate));
}

/// If this fails, an item has two turns, and so a credential is rotated twice.
#[test]
fn an_item_has_its_turn_once_and_only_while_the_campaign_goes_on() {
    let mut events = running(vec![planned(1), planned(2), planned(3)], settings());
    assert_eq!(decide(&events, settle(1, done(), 3)), Ok(vec![handed(1, 3)]));
    events.push(handed(1, 3));
    assert!(matches!(decide(&events, settle(1, done(), 4)), Err(CampaignRefusal::NotNow { .. })));
    assert!(matches!(decide(&events, settle(9, done(), 4)), Err(CampaignRefusal::NotNow { .. })));
    let paused = decide(&events, CampaignCommand::Pause { now: at(4) }).unwrap();
    assert_eq!(paused, [CampaignPaused { cause: PauseCause::Call, at: at(4) }.into()]);
    events.extend(paused);
    assert!(matches!(decide(&events, settle(2, done(), 5)), Err(CampaignRefusal::NotNow { .. })));
    assert_eq!(decide(&events, CampaignCommand::Pause { now: at(5) }), Ok(vec![]));
    let planned = given(vec![planned(1)], settings());
    assert!(matches!(decide(&planned, settle(1, done(), 5)), Err(CampaignRefusal::NotNow { .. })));
    assert!(matches!(
        decide(&planned, CampaignCommand::Pause { now: at(5) }),
        Err(CampaignRefusal::NotNow { .. })
    ));
}

/// If this fails, a whole workspace is rotated at once where waves were asked for.
#[test]
fn a_wave_ends_after_its_items_and_the_last_one_ends_the_campaign() {
    let mut events = running(vec![planned(1), planned(2), planned(3)], settings());
    events.extend(decide(&events, settle(1, done(), 3)).unwrap());
    let second = decide(&events, settle(2, Outcome::Skipped { reason: "overtaken".into() }, 4)).unwrap();
    let skipped = ItemSkipped { credential: numbered(2), reason: "overtaken".into(), at: at(4) };
    let finished = WaveFinished { wave: 1, tally: tally(1, 1, 0, 1), next_at: at(64), at: at(4) };
    assert_eq!(second, [skipped.into(), finished.into()]);
    events.extend(second);
    let between = state(&events);
    assert_eq!((between.not_before, between.wave.number, between.wave.tried), (at(64), 2, 0));
    let last = decide(&events, settle(3, done(), 64)).unwrap();
    let finished = WaveFinished { wave: 2, tally: tally(0, 2, 0, 1), next_at: at(64), at: at(64) };
    let ended = CampaignEnded { cause: EndOfCampaign::Finished, tally: tally(0, 2, 0, 1), at: at(64) };
    assert_eq!(last, [handed(3, 64), finished.into(), ended.into()]);
    events.extend(last);
    let after = state(&events);
    assert_eq!((after.stage, after.tally), (Stage::Ended(EndOfCampaign::Finished), tally(0, 2, 0, 1)));
    assert_eq!(after.next(), None);
    assert_eq!(decide(&events, CampaignCommand::End { now: at(70) }), Ok(vec![]));
    assert!(matches!(decide(&events, apply()), Err(CampaignRefusal::NotNow { .. })));
}

/// If this fails, a campaign that breaks everything it touches goes on.
#[test]
fn more_failures_than_a_wave_may_have_pause_the_campaign_and_a_retry_gives_them_another_turn() {
    let mut events =
        running(vec![planned(1), planned(2), planned(3)], Settings { wave_size: 3, ..settings() });
    events.extend(decide(&events, settle(1, failed(), 3)).unwrap());
    assert_eq!(state(&events).stage, Stage::Running, "one is allowed");
    let second = decide(&events, settle(2, failed(), 4)).unwrap();
    let item = ItemFailed { credential: numbered(2), reason: "rotation-pending".into(), at: at(4) };
    let paused = CampaignPaused { cause: PauseCause::Failures, at: at(4) };
    assert_eq!(second, [item.into(), paused.into()]);
    events.extend(second);
    let resume = |retry_failed| CampaignCommand::Resume { retry_failed, now: at(5) };
    let on = [events.clone(), decide(&events, resume(false)).unwrap()].concat();
    assert_eq!(state(&on).next().unwrap().planned.credential, numbered(3));
    let again = [events.clone(), decide(&events, resume(true)).unwrap()].concat();
    let state_again = state(&again);
    assert_eq!(state_again.next().unwrap().planned.credential, numbered(1));
    assert_eq!(state_again.tally, tally(3, 0, 0, 0));
    // With nothing left to do, going on is the end.
    let over = [on.clone(), decide(&on, settle(3, done(), 6)).unwrap()].concat();
    assert_eq!(state(&over).tally, tally(0, 1, 2, 0));
    assert_eq!(state(&over).stage, Stage::Ended(EndOfCampaign::Finished));
    let mut last = running(vec![planned(1)], Settings { failures_max: 0, ..settings() });
    last.extend(decide(&last, settle(1, failed(), 3)).unwrap());
    assert_eq!(state(&last).stage, Stage::Paused(PauseCause::Failures));
    let ended = decide(&last, resume(false)).unwrap();
    assert!(matches!(
        &ended[..],
        [CampaignEvent::CampaignResumed(_), CampaignEvent::CampaignEnded(e)]
            if e.cause == EndOfCampaign::Finished && e.tally == tally(0, 0, 1, 0)
    ));
}

/// If this fails, what was ended goes on, or sealed secrets are destroyed without a word.
#[test]
fn an_ended_campaign_stays_so_and_what_is_destroyed_is_said() {
    let mut events = running(vec![planned(1), planned(2)], settings());
    events.push(handed(1, 3));
    let end = CampaignCommand::End { now: at(4) };
    let ended = CampaignEnded { cause: EndOfCampaign::Call, tally: tally(1, 1, 0, 0), at: at(4) };
    assert_eq!(decide(&events, end), Ok(vec![ended.clone().into()]));
    events.push(ended.into());
    let resume = CampaignCommand::Resume { retry_failed: true, now: at(5) };
    assert!(matches!(decide(&events, resume), Err(CampaignRefusal::NotNow { .. })));
    let of = vec![(numbered(1), Position(12))];
    let destroyed = decide(&events, CampaignCommand::DestroyHandOvers { of, now: at(6) }).unwrap();
    let part = PartRef { position: Position(12), part: SealedPart::Secret };
    let event = HandOversDestroyed { credentials: vec![numbered(1)], shredded: vec![part], at: at(6) };
    assert_eq!(destroyed, [event.into()]);
    assert_eq!(destroyed[0].shredded(), [part]);
    let none = CampaignCommand::DestroyHandOvers { of: vec![], now: at(6) };
    assert_eq!(decide(&events, none), Ok(vec![]));
}

/// If this fails, a new secret is sealed to a key that nobody meant.
#[test]
fn custody_says_who_answers_and_to_which_key_new_secrets_go() {
    let decide = |given: Vec<CustodyEvent>, command| {
        TestFramework::<Custody>::with(()).given(given).when(command).inspect_result().unwrap()
    };
    let owner = |owner| CustodyCommand::SetOwner { credential: CREDENTIAL, owner, now: at(1) };
    let set = |owner| OwnerSet { credential: CREDENTIAL, owner, at: at(1) };
    assert_eq!(decide(vec![], owner(Some(OTHER))), [set(Some(OTHER)).into()]);
    assert_eq!(decide(vec![set(Some(OTHER)).into()], owner(Some(OTHER))), []);
    assert_eq!(decide(vec![], owner(Some(CREDENTIAL))), [], "it is its own already");
    assert_eq!(decide(vec![set(Some(OTHER)).into()], owner(Some(CREDENTIAL))), [set(None).into()]);
    let recipient =
        |recipient| CustodyCommand::SetRecipient { credential: CREDENTIAL, recipient, now: at(2) };
    let key_set = |recipient| RecipientSet { credential: CREDENTIAL, recipient, at: at(2) };
    assert_eq!(decide(vec![], recipient(Some(key()))), [key_set(Some(key())).into()]);
    assert_eq!(decide(vec![key_set(Some(key())).into()], recipient(Some(key()))), []);
    assert_eq!(decide(vec![key_set(Some(key())).into()], recipient(None)), [key_set(None).into()]);
    let mut state = Custody::default();
    state.evolve(&key_set(Some(key())).into());
    assert_eq!((state.recipient.clone(), state.recipient_since), (Some(key()), Some(at(2))));
    state.evolve(&key_set(None).into());
    assert_eq!((state.recipient, state.recipient_since), (None, None));
}

#[test]
fn only_what_looks_like_an_age_key_is_a_recipient() {
    for good in [KEY, OTHER_KEY] {
        assert_eq!(good.parse::<Recipient>().unwrap().as_str(), good);
    }
    let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    let upper = KEY.to_uppercase();
    for bad in ["", "age1", &KEY[..61], &format!("{KEY}q"), &upper, secret, &KEY.replace('q', "b")] {
        assert!(bad.parse::<Recipient>().is_err(), "{bad}");
    }
}

/// One leaf of each type, with every field.
pub fn of_campaigns() -> Vec<Record> {
    let custody = |sequence, event: CustodyEvent| plain(sequence, StreamId::custody(CREDENTIAL), event);
    let campaign = |sequence, event: CampaignEvent| plain(sequence, StreamId::campaign(CAMPAIGN), event);
    let everything = |record: Record| {
        let context = Context { workspace: WorkspaceId::default(), ..record.context };
        Record { context, ..record }
    };
    let selector = Selector {
        kind: Some(Kind::Signing),
        owner: Some(OTHER),
        rotated_before: Some(at(0)),
        credentials: vec![CREDENTIAL],
    };
    let settings = Settings {
        grace_seconds: Some(60),
        compromised: true,
        wave_size: 10,
        wave_pause_seconds: 300,
        failures_max: 2,
        without_recipient: WithoutRecipient::Skip,
        keep_days: 7,
    };
    let planned_by = |workspace, selector, settings| CampaignPlanned {
        campaign: CAMPAIGN,
        workspace,
        selector,
        settings,
        items: 2,
        plan: hash(0x91),
        at: at(3),
    };
    let items = vec![planned(1), PlannedItem { version: None, ..blocked(2, NO_RECIPIENT) }];
    let counts = tally(1, 2, 3, 4);
    let part = PartRef { position: Position(12), part: SealedPart::Secret };
    vec![
        custody(1, OwnerSet { credential: CREDENTIAL, owner: Some(OTHER), at: at(1) }.into()),
        custody(2, OwnerSet { credential: CREDENTIAL, owner: None, at: at(1) }.into()),
        custody(3, RecipientSet { credential: CREDENTIAL, recipient: Some(key()), at: at(2) }.into()),
        custody(4, RecipientSet { credential: CREDENTIAL, recipient: None, at: at(2) }.into()),
        campaign(1, planned_by(Some(WORKSPACE), selector, settings).into()),
        everything(campaign(1, planned_by(None, Selector::default(), Settings::default()).into())),
        campaign(2, ItemsPlanned { items, at: at(3) }.into()),
        campaign(3, CampaignApplied { plan: hash(0x91), at: at(4) }.into()),
        campaign(4, handed(1, 5)),
        campaign(
            5,
            ItemFailed { credential: numbered(2), reason: "grace-too-long".into(), at: at(6) }.into(),
        ),
        campaign(6, ItemSkipped { credential: numbered(2), reason: "overtaken".into(), at: at(6) }.into()),
        campaign(7, WaveFinished { wave: 1, tally: counts, next_at: at(70), at: at(7) }.into()),
        campaign(8, CampaignPaused { cause: PauseCause::Call, at: at(8) }.into()),
        campaign(8, CampaignPaused { cause: PauseCause::Failures, at: at(8) }.into()),
        campaign(9, CampaignResumed { retry_failed: true, at: at(9) }.into()),
        campaign(10, CampaignEnded { cause: EndOfCampaign::Finished, tally: counts, at: at(10) }.into()),
        campaign(10, CampaignEnded { cause: EndOfCampaign::Call, tally: counts, at: at(10) }.into()),
        campaign(
            11,
            HandOversDestroyed { credentials: vec![numbered(1)], shredded: vec![part], at: at(11) }.into(),
        ),
    ]
}
