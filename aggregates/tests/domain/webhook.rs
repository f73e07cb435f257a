use cqrs_es::test::TestFramework;
use rota_aggregates::webhook::{
    DisableCause, EXPIRY_LEAD_SECONDS_MAX, Scheme, Settings, Status, TYPE_BYTES_MAX, TYPES_MAX, Webhook,
    WebhookChanged, WebhookCommand, WebhookDeleted, WebhookDisabled, WebhookEnabled, WebhookEvent,
    WebhookRefusal, WebhookRegistered,
};

use crate::build::{OTHER, WEBHOOK, WORKSPACE, at};

fn register(settings: Settings) -> WebhookCommand {
    WebhookCommand::Register {
        webhook: WEBHOOK,
        workspace: WORKSPACE,
        owner: Some(OTHER),
        scheme: Scheme::Standard,
        settings,
        now: at(1),
    }
}

fn registered() -> WebhookEvent {
    WebhookRegistered {
        webhook: WEBHOOK,
        workspace: WORKSPACE,
        owner: Some(OTHER),
        scheme: Scheme::Standard,
        settings: Settings::default(),
        at: at(1),
    }
    .into()
}

fn disabled(cause: DisableCause) -> WebhookEvent {
    WebhookDisabled { cause, at: at(3) }.into()
}

fn deleted() -> WebhookEvent {
    WebhookDeleted { at: at(5) }.into()
}

fn after(given: Vec<WebhookEvent>, command: WebhookCommand) -> Result<Vec<WebhookEvent>, WebhookRefusal> {
    TestFramework::<Webhook>::with(()).given(given).when(command).inspect_result()
}

fn types(names: &[&str]) -> Settings {
    Settings { types: names.iter().map(|n| (*n).to_owned()).collect(), ..Settings::default() }
}

#[test]
fn a_webhook_is_made_once_and_sends_at_once() {
    assert_eq!(after(vec![], register(Settings::default())), Ok(vec![registered()]));
    let again = after(vec![registered()], register(Settings::default()));
    assert_eq!(again, Err(WebhookRefusal::AlreadyRegistered));
    let gone = after(vec![registered(), deleted()], register(Settings::default()));
    assert_eq!(gone, Err(WebhookRefusal::AlreadyRegistered));
    let mut state = Webhook::default();
    state.evolve(&registered());
    assert_eq!((state.status, state.owner), (Status::Enabled, Some(OTHER)));
}

#[test]
fn every_limit_of_the_settings_is_allowed_and_one_beyond_it_is_refused_by_name() {
    let many = |count: usize| Settings { types: vec!["a".to_owned(); count], ..Settings::default() };
    let long = |bytes: usize| types(&[&"a".repeat(bytes)]);
    let lead = |seconds| Settings { expiry_lead_seconds: seconds, ..Settings::default() };
    for allowed in [many(TYPES_MAX), long(TYPE_BYTES_MAX), lead(0), lead(EXPIRY_LEAD_SECONDS_MAX)] {
        assert!(after(vec![], register(allowed.clone())).is_ok(), "{allowed:?}");
    }
    for (field, refused) in [
        ("types", many(0)),
        ("types", many(TYPES_MAX + 1)),
        ("types", long(0)),
        ("types", long(TYPE_BYTES_MAX + 1)),
        ("types", types(&["a b"])),
        ("types", types(&["a\u{e4}"])),
        ("expiryLeadSeconds", lead(EXPIRY_LEAD_SECONDS_MAX + 1)),
    ] {
        for command in [
            (vec![], register(refused.clone())),
            (
                vec![registered()],
                WebhookCommand::Change { settings: refused.clone(), described: vec![], now: at(2) },
            ),
        ] {
            match after(command.0, command.1) {
                Err(WebhookRefusal::Invalid { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{refused:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_change_replaces_the_settings_and_one_that_changes_nothing_is_not_recorded() {
    let settings = types(&["secret.rotated"]);
    let change = |settings: &Settings, described: &[&str]| WebhookCommand::Change {
        settings: settings.clone(),
        described: described.iter().map(|n| (*n).to_owned()).collect(),
        now: at(2),
    };
    let changed = |described: Vec<String>| {
        WebhookEvent::from(WebhookChanged { settings: settings.clone(), described, at: at(2) })
    };
    assert_eq!(after(vec![registered()], change(&settings, &[])), Ok(vec![changed(vec![])]));
    let described = after(vec![registered()], change(&settings, &["url"]));
    assert_eq!(described, Ok(vec![changed(vec!["url".to_owned()])]));
    assert_eq!(after(vec![registered()], change(&Settings::default(), &[])), Ok(vec![]));
    assert_eq!(after(vec![registered(), changed(vec![])], change(&settings, &[])), Ok(vec![]));
}

#[test]
fn disabling_and_enabling_are_recorded_once_each() {
    let disable = || WebhookCommand::Disable { cause: DisableCause::Failing, now: at(3) };
    let enable = || WebhookCommand::Enable { now: at(4) };
    let enabled = WebhookEvent::from(WebhookEnabled { at: at(4) });
    assert_eq!(after(vec![registered()], disable()), Ok(vec![disabled(DisableCause::Failing)]));
    assert_eq!(after(vec![registered(), disabled(DisableCause::Call)], disable()), Ok(vec![]));
    assert_eq!(after(vec![registered()], enable()), Ok(vec![]));
    let again = after(vec![registered(), disabled(DisableCause::Gone)], enable());
    assert_eq!(again, Ok(vec![enabled.clone()]));
    let mut state = Webhook::default();
    for event in [registered(), disabled(DisableCause::Gone)] {
        state.evolve(&event);
    }
    assert_eq!(state.status, Status::Disabled(DisableCause::Gone, at(3)));
    state.evolve(&enabled);
    assert_eq!(state.status, Status::Enabled);
}

#[test]
fn what_was_never_made_or_was_deleted_can_only_be_unknown() {
    for given in [vec![], vec![registered(), deleted()]] {
        for command in [
            WebhookCommand::Change { settings: Settings::default(), described: vec![], now: at(6) },
            WebhookCommand::Disable { cause: DisableCause::Call, now: at(6) },
            WebhookCommand::Enable { now: at(6) },
            WebhookCommand::Delete { now: at(6) },
        ] {
            assert_eq!(after(given.clone(), command), Err(WebhookRefusal::Unknown));
        }
    }
    assert_eq!(after(vec![registered()], WebhookCommand::Delete { now: at(5) }), Ok(vec![deleted()]));
}

#[test]
fn a_filter_names_types_whole_or_all_of_them() {
    assert!(Settings::default().wants("secret.rotated"));
    let some = types(&["secret.rotated", "secret.expired"]);
    assert!(some.wants("secret.expired"));
    assert!(!some.wants("secret.expiring"));
    assert!(!some.wants("secret"));
}
