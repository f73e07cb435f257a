use cqrs_es::test::TestFramework;
use rota_aggregates::connection::{
    Connection, ConnectionChecked, ConnectionCommand, ConnectionCreated, ConnectionDeleted, ConnectionEvent,
    ConnectionRefusal, ConnectionUpdated, CredentialsRef, REASON_BYTES_MAX,
};
use rota_aggregates::ids::Position;
use rota_aggregates::observation::{PartRef, SealedPart};

use crate::build::{WORKSPACE, at, hash};
use crate::managed::CONNECTION;

pub fn credentials(n: u8) -> CredentialsRef {
    CredentialsRef { sealed: hash(n), digest: hash(n + 1) }
}

pub fn created() -> ConnectionEvent {
    ConnectionCreated {
        connection: CONNECTION,
        workspace: WORKSPACE,
        app: "postgres".to_owned(),
        method: "username-and-password".to_owned(),
        name: "orders".to_owned(),
        credentials: credentials(1),
        at: at(1),
    }
    .into()
}

fn create() -> ConnectionCommand {
    ConnectionCommand::Create {
        connection: CONNECTION,
        workspace: WORKSPACE,
        app: "postgres".to_owned(),
        method: "username-and-password".to_owned(),
        name: "orders".to_owned(),
        credentials: credentials(1),
        now: at(1),
    }
}

fn update(name: Option<&str>, described: bool, other: Option<CredentialsRef>) -> ConnectionCommand {
    let (name, sealed) = (name.map(str::to_owned), Some(Position(7)));
    ConnectionCommand::Update { name, described, credentials: other, sealed, now: at(2) }
}

fn delete(used_by: usize) -> ConnectionCommand {
    ConnectionCommand::Delete { sealed: Some(Position(7)), used_by, now: at(3) }
}

fn deleted() -> ConnectionEvent {
    ConnectionDeleted { shredded: vec![part()], at: at(3) }.into()
}

fn part() -> PartRef {
    PartRef { position: Position(7), part: SealedPart::Secret }
}

fn after(
    given: Vec<ConnectionEvent>,
    command: ConnectionCommand,
) -> Result<Vec<ConnectionEvent>, ConnectionRefusal> {
    TestFramework::<Connection>::with(()).given(given).when(command).inspect_result()
}

#[test]
fn a_connection_is_made_once() {
    assert_eq!(after(vec![], create()), Ok(vec![created()]));
    for given in [vec![created()], vec![created(), deleted()]] {
        assert_eq!(after(given, create()), Err(ConnectionRefusal::AlreadyCreated));
    }
}

#[test]
fn other_credentials_destroy_those_before_and_nothing_else_does() {
    let other = ConnectionUpdated {
        name: None,
        described: false,
        credentials: Some(credentials(5)),
        shredded: vec![part()],
        at: at(2),
    };
    assert_eq!(after(vec![created()], update(None, false, Some(credentials(5)))), Ok(vec![other.into()]));
    let renamed = ConnectionUpdated {
        name: Some("ledger".to_owned()),
        described: true,
        credentials: None,
        shredded: vec![],
        at: at(2),
    };
    assert_eq!(after(vec![created()], update(Some("ledger"), true, None)), Ok(vec![renamed.into()]));
    assert_eq!(after(vec![created()], update(Some("orders"), false, None)), Ok(vec![]));
}

#[test]
fn a_connection_in_use_stays() {
    assert_eq!(after(vec![created()], delete(2)), Err(ConnectionRefusal::InUse(2)));
    assert_eq!(after(vec![created()], delete(0)), Ok(vec![deleted()]));
    for command in [delete(0), update(None, true, None)] {
        assert_eq!(after(vec![created(), deleted()], command.clone()), Err(ConnectionRefusal::Unknown));
        assert_eq!(after(vec![], command), Err(ConnectionRefusal::Unknown));
    }
}

#[test]
fn what_a_check_came_to_is_kept_and_cut() {
    let long = "ä".repeat(REASON_BYTES_MAX);
    let check = ConnectionCommand::Check { failure: Some(long), now: at(4) };
    let events = after(vec![created()], check).unwrap();
    let [ConnectionEvent::ConnectionChecked(ConnectionChecked { failure: Some(reason), .. })] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(reason.len(), REASON_BYTES_MAX);
    let mut state = Connection::default();
    state.evolve(&created());
    state.evolve(&events[0]);
    assert!(state.failure.is_some());
    state.evolve(&ConnectionChecked { failure: None, at: at(5) }.into());
    assert_eq!((state.failure, state.checked_at), (None, Some(at(5))));
}
