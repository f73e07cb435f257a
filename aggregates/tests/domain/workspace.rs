use cqrs_es::test::TestFramework;
use rota_aggregates::workspace::{
    DAYS_LIMIT, MAX_GRACE_SECONDS_DEFAULT, MAX_GRACE_SECONDS_LIMIT, Policy, PolicySet, Workspace,
    WorkspaceCommand, WorkspaceEvent, WorkspaceOpened, WorkspaceRefusal,
};

use crate::build::at;

fn opened() -> WorkspaceEvent {
    WorkspaceOpened { at: at(0), policy: Policy::default() }.into()
}

fn after(
    events: Vec<WorkspaceEvent>,
    command: WorkspaceCommand,
) -> Result<Vec<WorkspaceEvent>, WorkspaceRefusal> {
    TestFramework::<Workspace>::with(()).given(events).when(command).inspect_result()
}

fn set(policy: Policy) -> WorkspaceCommand {
    WorkspaceCommand::SetPolicy { policy, now: at(5) }
}

#[test]
fn a_workspace_is_opened_with_the_default_policy_written_out() {
    let open = WorkspaceCommand::OpenWorkspace { now: at(0) };
    assert_eq!(after(vec![], open), Ok(vec![opened()]));
    assert_eq!(Policy::default().max_grace_seconds, MAX_GRACE_SECONDS_DEFAULT);
    assert_eq!(Policy::default().min_overlap_seconds, 0);
}

#[test]
fn a_workspace_is_not_opened_twice() {
    let open = WorkspaceCommand::OpenWorkspace { now: at(1) };
    assert_eq!(after(vec![opened()], open), Err(WorkspaceRefusal::AlreadyOpen));
}

#[test]
fn a_workspace_that_is_not_open_has_no_policy_to_set() {
    assert_eq!(after(vec![], set(Policy::default())), Err(WorkspaceRefusal::NotOpen));
}

#[test]
fn a_policy_replaces_the_one_before_as_a_whole() {
    let first = Policy { max_secret_age_days: Some(90), rotate_requires_secret: true, ..Policy::default() };
    let second = Policy { default_grace_seconds: 60, ..Policy::default() };
    let one: WorkspaceEvent = PolicySet { at: at(5), policy: first }.into();
    let two: WorkspaceEvent = PolicySet { at: at(5), policy: second }.into();
    assert_eq!(after(vec![opened()], set(first)), Ok(vec![one.clone()]));
    assert_eq!(after(vec![opened(), one.clone()], set(second)), Ok(vec![two.clone()]));

    let mut state = Workspace::default();
    for event in [opened(), one, two] {
        state.evolve(&event);
    }
    assert_eq!(state, Workspace { opened_at: Some(at(0)), policy: second });
}

#[test]
fn a_policy_that_is_set_already_is_not_recorded_again() {
    assert_eq!(after(vec![opened()], set(Policy::default())), Ok(vec![]));
}

#[test]
fn every_limit_of_a_policy_is_allowed_and_one_beyond_it_is_refused_by_name() {
    let longest = Policy { max_grace_seconds: MAX_GRACE_SECONDS_LIMIT, ..Policy::default() };
    let day = Policy { max_grace_seconds: 86_400, ..Policy::default() };
    let aged = |days| Policy { max_secret_age_days: Some(days), ..Policy::default() };
    let kept = |days| Policy { digest_retention_days: days, ..Policy::default() };
    let fields = [
        ("maxGraceSeconds", longest, Policy { max_grace_seconds: MAX_GRACE_SECONDS_LIMIT + 1, ..longest }),
        (
            "defaultGraceSeconds",
            Policy { default_grace_seconds: 86_400, ..day },
            Policy { default_grace_seconds: 86_401, ..day },
        ),
        (
            "minOverlapSeconds",
            Policy { min_overlap_seconds: 86_400, ..day },
            Policy { min_overlap_seconds: 86_401, ..day },
        ),
        ("maxSecretAgeDays", aged(1), aged(0)),
        ("maxSecretAgeDays", aged(DAYS_LIMIT), aged(DAYS_LIMIT + 1)),
        ("digestRetentionDays", kept(DAYS_LIMIT), kept(DAYS_LIMIT + 1)),
    ];
    for (name, allowed, refused) in fields {
        assert_eq!(
            after(vec![opened()], set(allowed)),
            Ok(vec![PolicySet { at: at(5), policy: allowed }.into()]),
            "{name} at its limit"
        );
        match after(vec![opened()], set(refused)) {
            Err(WorkspaceRefusal::PolicyInvalid { field, reason }) => {
                assert_eq!(field, name);
                assert!(!reason.is_empty());
            }
            other => panic!("{name} beyond its limit: {other:?}"),
        }
    }
}

#[test]
fn no_grace_at_all_is_a_policy() {
    let none = Policy { max_grace_seconds: 0, digest_retention_days: 0, ..Policy::default() };
    assert_eq!(after(vec![opened()], set(none)), Ok(vec![PolicySet { at: at(5), policy: none }.into()]));
}
