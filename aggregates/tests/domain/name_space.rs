use std::collections::BTreeSet;

use rota_aggregates::name_space::{
    HoldNames, NAME_BYTES_MAX, NAMES_MAX, NameRefusal, NameSpace, NameSpaceEvent, NamesHeld,
};
use uuid::Uuid;

use crate::build::{WORKSPACE, at};

const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn hold(owner: Uuid, of: &[&str]) -> HoldNames {
    HoldNames { workspace: WORKSPACE, owner, names: names(of), now: at(2) }
}

pub fn held(owner: Uuid, of: &[&str]) -> NameSpaceEvent {
    NamesHeld { workspace: WORKSPACE, owner, names: names(of), at: at(2) }.into()
}

fn after(given: &[NameSpaceEvent]) -> NameSpace {
    let mut space = NameSpace::default();
    for event in given {
        space.evolve(event);
    }
    space
}

#[test]
fn a_name_is_held_once_until_its_owner_lets_it_go() {
    let space = after(&[held(ONE, &["secret/A", "secret/B"])]);
    assert_eq!(
        space.decide(hold(TWO, &["secret/B", "secret/C"])),
        Err(NameRefusal::Taken { name: "secret/B".to_owned() })
    );
    assert_eq!(space.decide(hold(TWO, &["secret/C"])), Ok(Some(held(TWO, &["secret/C"]))));
    let moved = after(&[held(ONE, &["secret/A", "secret/B"]), held(ONE, &["secret/A"])]);
    assert_eq!(moved.decide(hold(TWO, &["secret/B"])), Ok(Some(held(TWO, &["secret/B"]))));
    assert_eq!(moved.held_by(ONE).collect::<Vec<_>>(), ["secret/A"]);
    let gone = after(&[held(ONE, &["secret/A"]), held(ONE, &[])]);
    assert_eq!(gone.names.len(), 0);
}

#[test]
fn holding_what_is_held_already_is_no_event() {
    let space = after(&[held(ONE, &["a", "b"])]);
    assert_eq!(space.decide(hold(ONE, &["b", "a"])), Ok(None));
    assert_eq!(NameSpace::default().decide(hold(ONE, &[])), Ok(None));
}

#[test]
fn names_have_bounds() {
    let longest = "n".repeat(NAME_BYTES_MAX);
    let space = NameSpace::default();
    assert!(space.decide(hold(ONE, &[&longest])).is_ok());
    for bad in ["", &format!("{longest}n")] {
        assert_eq!(space.decide(hold(ONE, &[bad])), Err(NameRefusal::Length));
    }
    let many: BTreeSet<_> = (0..NAMES_MAX).map(|n| n.to_string()).collect();
    let full = |names| HoldNames { workspace: WORKSPACE, owner: ONE, names, now: at(2) };
    let Ok(Some(event)) = space.decide(full(many.clone())) else { panic!("as many as there may be") };
    assert_eq!(after(&[event]).decide(hold(TWO, &["one more"])), Err(NameRefusal::TooMany));
}
