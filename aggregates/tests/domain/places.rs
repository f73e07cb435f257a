use cqrs_es::test::TestFramework;
use rota_aggregates::places::{
    DEPTH_MAX, ENVIRONMENTS_MAX, EnvironmentAdded, EnvironmentChanged, EnvironmentRemoved, FOLDERS_MAX,
    FolderAdded, FolderChanged, FolderRemoved, GIVEN, Places, PlacesCommand, PlacesEvent, PlacesRefusal,
};
use rota_aggregates::{EnvironmentId, FolderId, WorkspaceId};
use uuid::Uuid;

use crate::build::{WORKSPACE, at};

const HERE: WorkspaceId = WorkspaceId(Uuid::nil());

fn id(n: usize) -> Uuid {
    Uuid::from_u128(0x0199_7c4e_3333_7000_8000_0000_0000_0000 + n as u128)
}

fn after(given: Vec<PlacesEvent>, command: PlacesCommand) -> Result<Vec<PlacesEvent>, PlacesRefusal> {
    TestFramework::<Places>::with(()).given(given).when(command).inspect_result()
}

fn dev() -> EnvironmentId {
    EnvironmentId::given(HERE, "dev")
}

fn add_environment(n: usize, slug: &str) -> PlacesCommand {
    PlacesCommand::AddEnvironment { environment: EnvironmentId(id(n)), slug: slug.into(), now: at(5) }
}

fn environment(n: usize, slug: &str) -> PlacesEvent {
    EnvironmentAdded { environment: EnvironmentId(id(n)), slug: slug.into(), at: at(5) }.into()
}

fn add_folder(n: usize, parent: FolderId, name: &str) -> PlacesCommand {
    PlacesCommand::AddFolder { folder: FolderId(id(n)), parent, name: name.into(), now: at(5) }
}

fn folder(n: usize, parent: FolderId, name: &str) -> PlacesEvent {
    FolderAdded { folder: FolderId(id(n)), environment: dev(), parent, name: name.into(), at: at(5) }.into()
}

#[test]
fn every_workspace_has_three_environments_of_its_own_from_the_start() {
    let (here, there) = (Places::of(HERE), Places::of(WORKSPACE));
    let slugs = |places: &Places| places.environments.iter().map(|e| e.slug.clone()).collect::<Vec<_>>();
    assert_eq!(slugs(&here), ["dev", "staging", "prod"]);
    assert_eq!(slugs(&here), slugs(&there));
    for (slug, _) in GIVEN {
        let (one, other) = (here.by_slug(slug).unwrap(), there.by_slug(slug).unwrap());
        assert_ne!(one.id, other.id);
        assert_eq!(here.at_path(one.id, "/"), Some(one.id.root()));
        assert_eq!(here.path_of(one.id.root()).as_deref(), Some("/"));
        assert_eq!(here.environment_of(one.id.root()), Some(one));
        assert_eq!(here.environment_of(other.id.root()), None);
    }
    assert_eq!(Places::of(HERE), here);
}

#[test]
fn an_environment_is_added_changed_and_removed() {
    assert_eq!(after(vec![], add_environment(1, "qa-2")), Ok(vec![environment(1, "qa-2")]));
    let change = |slug: &str, renamed| PlacesCommand::ChangeEnvironment {
        environment: EnvironmentId(id(1)),
        slug: slug.into(),
        renamed,
        now: at(6),
    };
    let changed = |slug: &str, renamed| -> PlacesEvent {
        EnvironmentChanged { environment: EnvironmentId(id(1)), slug: slug.into(), renamed, at: at(6) }.into()
    };
    let given = vec![environment(1, "qa")];
    assert_eq!(after(given.clone(), change("qa", false)), Ok(vec![]));
    assert_eq!(after(given.clone(), change("qa", true)), Ok(vec![changed("qa", true)]));
    assert_eq!(after(given.clone(), change("test", false)), Ok(vec![changed("test", false)]));
    assert_eq!(after(given.clone(), change("dev", false)), Err(PlacesRefusal::SlugTaken));
    let remove = PlacesCommand::RemoveEnvironment { environment: EnvironmentId(id(1)), now: at(7) };
    let removed: PlacesEvent = EnvironmentRemoved { environment: EnvironmentId(id(1)), at: at(7) }.into();
    assert_eq!(after(given.clone(), remove.clone()), Ok(vec![removed.clone()]));
    let gone = [given, vec![removed]].concat();
    assert_eq!(after(gone.clone(), remove), Err(PlacesRefusal::UnknownEnvironment));
    assert_eq!(after(gone.clone(), change("qa", false)), Err(PlacesRefusal::UnknownEnvironment));
    assert_eq!(after(gone, add_environment(2, "qa")), Ok(vec![environment(2, "qa")]));
}

#[test]
fn a_slug_is_one_environments_and_within_bounds() {
    assert_eq!(after(vec![], add_environment(1, "dev")), Err(PlacesRefusal::SlugTaken));
    for bad in ["", "Qa", "a b", "-a", "a-", "a--b", "a_b", "ä", &"a".repeat(65)] {
        match after(vec![], add_environment(1, bad)) {
            Err(PlacesRefusal::Invalid { field, .. }) => assert_eq!(field, "slug"),
            other => panic!("{bad}: {other:?}"),
        }
    }
    let longest = "a".repeat(64);
    assert_eq!(after(vec![], add_environment(1, &longest)), Ok(vec![environment(1, &longest)]));
    let most: Vec<_> = (GIVEN.len()..ENVIRONMENTS_MAX).map(|n| environment(n, &format!("e{n}"))).collect();
    assert_eq!(after(most, add_environment(0, "one-more")), Err(PlacesRefusal::TooMany));
}

#[test]
fn folders_are_found_by_their_paths() {
    let mut places = Places::of(HERE);
    let root = dev().root();
    for event in [folder(1, root, "apps"), folder(2, FolderId(id(1)), "billing"), folder(3, root, "billing")]
    {
        places.evolve(&event);
    }
    for (path, n) in [("/apps", 1), ("/apps/", 1), ("/apps/billing", 2), ("/billing", 3)] {
        assert_eq!(places.at_path(dev(), path), Some(FolderId(id(n))), "{path}");
    }
    for nowhere in ["", "apps", "/app", "/apps//billing", "//apps", "/billing/apps", "/apps/billing/x"] {
        assert_eq!(places.at_path(dev(), nowhere), None, "{nowhere}");
    }
    assert_eq!(places.at_path(EnvironmentId::given(HERE, "prod"), "/apps"), None);
    assert_eq!(places.path_of(FolderId(id(2))).as_deref(), Some("/apps/billing"));
    assert_eq!(places.path_of(FolderId(id(9))), None);
    assert_eq!(places.environment_of(FolderId(id(2))).unwrap().slug, "dev");
}

#[test]
fn a_folder_is_added_changed_and_removed_when_nothing_is_in_it() {
    let root = dev().root();
    let given = vec![folder(1, root, "apps"), folder(2, FolderId(id(1)), "billing")];
    assert_eq!(after(vec![], add_folder(1, root, "apps")), Ok(vec![folder(1, root, "apps")]));
    assert_eq!(after(given.clone(), add_folder(3, root, "apps")), Err(PlacesRefusal::NameTaken));
    let elsewhere = add_folder(3, FolderId(id(9)), "x");
    assert_eq!(after(given.clone(), elsewhere), Err(PlacesRefusal::UnknownFolder));
    let change = |n, name: &str| PlacesCommand::ChangeFolder {
        folder: FolderId(id(n)),
        name: name.into(),
        described: false,
        now: at(6),
    };
    let changed = FolderChanged { folder: FolderId(id(2)), name: "pay".into(), described: false, at: at(6) };
    assert_eq!(after(given.clone(), change(2, "pay")), Ok(vec![changed.into()]));
    assert_eq!(after(given.clone(), change(2, "billing")), Ok(vec![]));
    let remove = |folder| PlacesCommand::RemoveFolder { folder, now: at(7) };
    assert_eq!(after(given.clone(), remove(FolderId(id(1)))), Err(PlacesRefusal::NotEmpty));
    assert_eq!(after(given.clone(), remove(root)), Err(PlacesRefusal::RootFolder));
    let whole = PlacesCommand::RemoveEnvironment { environment: dev(), now: at(7) };
    assert_eq!(after(given.clone(), whole), Err(PlacesRefusal::NotEmpty));
    let removed: PlacesEvent = FolderRemoved { folder: FolderId(id(2)), at: at(7) }.into();
    assert_eq!(after(given, remove(FolderId(id(2)))), Ok(vec![removed]));
}

#[test]
fn names_numbers_and_depth_of_folders_are_bounded() {
    let root = dev().root();
    for bad in ["", "a/b", "a b", ".", "ä", &"a".repeat(65)] {
        match after(vec![], add_folder(1, root, bad)) {
            Err(PlacesRefusal::Invalid { field, .. }) => assert_eq!(field, "name"),
            other => panic!("{bad}: {other:?}"),
        }
    }
    let most: Vec<_> = (0..FOLDERS_MAX).map(|n| folder(n, root, &format!("f{n}"))).collect();
    assert_eq!(after(most, add_folder(FOLDERS_MAX, root, "more")), Err(PlacesRefusal::TooMany));
    let mut deepest = vec![folder(1, root, "f")];
    deepest.extend((2..=DEPTH_MAX).map(|n| folder(n, FolderId(id(n - 1)), "f")));
    let deeper = add_folder(DEPTH_MAX + 1, FolderId(id(DEPTH_MAX)), "f");
    assert_eq!(after(deepest.clone(), deeper), Err(PlacesRefusal::TooMany));
    deepest.pop();
    let deep = add_folder(DEPTH_MAX, FolderId(id(DEPTH_MAX - 1)), "f");
    assert_eq!(after(deepest, deep), Ok(vec![folder(DEPTH_MAX, FolderId(id(DEPTH_MAX - 1)), "f")]));
}
