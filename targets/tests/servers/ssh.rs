use std::sync::OnceLock;

use rota_targets::{Connection, Credential, Kind, Login, Slot};
use serde_json::{Value, json};
use testbed::ssh::Ssh;
use testbed::{Proxy, process};

use super::suite::*;

const KIND: Kind = Kind::UnixLinuxLocalAccount;

/// None where nobody may make namespaces with accounts of their own.
fn start() -> Option<Ssh> {
    if !process::is_root() {
        eprintln!("SKIPPED: only root can make a machine with accounts of its own");
        return None;
    }
    Some(Ssh::start())
}

fn shared() -> Option<&'static Ssh> {
    static SHARED: OnceLock<Option<Ssh>> = OnceLock::new();
    SHARED.get_or_init(start).as_ref()
}

fn credentials(bed: &Ssh, port: u16) -> Value {
    json!({"host": "127.0.0.1", "port": port, "username": "rota_admin", "authMethod": "ssh-key",
        "privateKey": bed.admin_key, "hostKey": bed.host_key})
}

fn first(bed: &Ssh, user: &str) -> Credential {
    Credential {
        public: [("username".to_owned(), user.to_owned())].into(),
        secret: rota_aggregates::secret::Secret::new(bed.app_password.clone()),
    }
}

fn client(bed: &Ssh) -> impl Fn(&Credential) -> std::process::Output + '_ {
    |credential| bed.client(&credential.public["username"], credential.secret.expose())
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_by_the_connection_are_published() {
    let Some(bed) = shared() else { return };
    let machine = std::fs::read("/etc/shadow").unwrap();
    let parameters = json!({"username": "app_a", "rotationMethod": "login-as-root", "useSudo": true});
    let target = open(KIND, "ssh-key", &credentials(bed, bed.server.port), &parameters);
    target.check().await.unwrap();
    let plan = target.plan(Slot(0)).await.unwrap();
    assert_eq!(plan.rights[0].held, Some(true), "{plan:?}");
    let (last, mut secrets) =
        rotate_twenty_times(&*target, false, Some(first(bed, "app_a")), client(bed)).await;
    assert!(!client(bed)(&first(bed, "app_a")).status.success());
    target.revoke(&last, random()).await.unwrap();
    assert_eq!(target.log_in(&last).await.unwrap(), Login::Refused);
    secrets.push(bed.admin_password.clone());
    assert_hidden(secrets.iter().map(String::as_str), &[("the server's log", bed.server.log())]);
    assert_eq!(std::fs::read("/etc/shadow").unwrap(), machine, "the machine's own accounts are not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_by_the_account_itself_are_published() {
    let Some(bed) = shared() else { return };
    let parameters = json!({"username": "app_b", "rotationMethod": "login-as-target"});
    let target = open(KIND, "ssh-key", &credentials(bed, bed.server.port), &parameters);
    let (last, secrets) = rotate_twenty_times(&*target, false, Some(first(bed, "app_b")), client(bed)).await;
    let lost = target.intend(Slot(0), Some(&last), random()).await.unwrap();
    target.revoke(&last, random()).await.unwrap();
    assert_eq!(target.log_in(&last).await.unwrap(), Login::Refused);
    assert!(refusal(target.set(&lost, Some(&last)).await).contains("reconcile"));
    // Nobody knows what it is now, and the connection can still set another.
    let again = target.reset(&lost).await.unwrap();
    assert!(client(bed)(&again).status.success());
    assert_hidden(secrets.iter().map(String::as_str), &[("the server's log", bed.server.log())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_anywhere_leaves_nothing_in_doubt() {
    let Some(bed) = start() else { return };
    for (user, method) in [("app_a", "login-as-root"), ("app_b", "login-as-target")] {
        let proxy = Proxy::start(bed.server.port);
        let parameters = json!({"username": user, "rotationMethod": method});
        let target = open(KIND, "ssh-key", &credentials(&bed, proxy.port), &parameters);
        survive_cuts(&*target, &proxy, 8, false, Some(first(&bed, user))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_is_learned_once_and_then_believed_alone() {
    let Some(bed) = shared() else { return };
    let mut given = credentials(bed, bed.server.port);
    given.as_object_mut().unwrap().remove("hostKey");
    let target = open(KIND, "ssh-key", &given, &json!({"username": "app_a"}));
    assert!(refusal(target.log_in(&first(bed, "app_a")).await).contains("hostKey"));
    let learned = rota_targets::check(connection(KIND, "ssh-key", &given), &around()).await.unwrap();
    assert_eq!(learned.public()["hostKey"], bed.host_key);
    let learned = Connection::from_sealed(&learned.to_sealed()).unwrap();
    open_with(&learned, KIND, &json!({"username": "app_a"})).plan(Slot(0)).await.unwrap();
    // By its fingerprint too.
    let key = bed.server.path("host.pub");
    let listed = process::run(std::process::Command::new("ssh-keygen").arg("-lf").arg(key));
    given["hostKey"] = json!(listed.split_whitespace().nth(1).unwrap());
    open(KIND, "ssh-key", &given, &json!({"username": "app_a"})).check().await.unwrap();
    for other in [bed.other_host_key.as_str(), "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        given["hostKey"] = json!(other);
        let answer = open(KIND, "ssh-key", &given, &json!({"username": "app_a"})).check().await;
        assert!(refusal(answer).contains("is not trusted"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let Some(bed) = start() else { return };
    let good = credentials(&bed, bed.server.port);
    let parameters = json!({"username": "app_a"});
    let mut by_password = json!({"host": "127.0.0.1", "port": bed.server.port, "username": "rota_admin",
        "authMethod": "password", "password": bed.admin_password, "hostKey": bed.host_key});
    open(KIND, "password", &by_password, &parameters).check().await.unwrap();
    by_password["username"] = json!("outsider");
    let outsider = open(KIND, "password", &by_password, &parameters);
    let intent = outsider.intend(Slot(0), None, random()).await.unwrap();
    let mut said = vec![refusal(outsider.set(&intent, None).await)];
    assert!(said[0].contains("by sudo without a password"), "{said:?}");
    assert_eq!(outsider.plan(Slot(0)).await.unwrap().rights[0].held, Some(false));
    assert_eq!(outsider.log_in(&first(&bed, "app_a")).await.unwrap(), Login::Accepted);
    by_password["password"] = json!("wrong-password");
    said.push(refusal(open(KIND, "password", &by_password, &parameters).check().await));
    assert!(said[1].contains("outsider"), "{said:?}");
    let mut broken = good.clone();
    broken["privateKey"] = json!("no key at all");
    said.push(refusal(open(KIND, "ssh-key", &broken, &parameters).check().await));
    let nobody = open(KIND, "ssh-key", &good, &json!({"username": "nobody_1"}));
    assert!(refusal(nobody.plan(Slot(0)).await).contains("nobody_1"));
    let missing = nobody.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(nobody.set(&missing, None).await));
    // PAM's rules bind the account itself.
    let weak = json!({"length": 3, "required": {"digits": 3, "lowercase": 0, "uppercase": 0, "symbols": 0}});
    let weak =
        json!({"username": "app_a", "rotationMethod": "login-as-target", "passwordRequirements": weak});
    let weak = open(KIND, "ssh-key", &good, &weak);
    let current = first(&bed, "app_a");
    let short = weak.intend(Slot(0), Some(&current), random()).await.unwrap();
    said.push(refusal(weak.set(&short, Some(&current)).await));
    assert!(said.last().unwrap().contains("not content"), "{said:?}");
    assert_eq!(weak.log_in(&current).await.unwrap(), Login::Accepted);
    let own = rota_targets::Parameters::from_value(KIND, &json!({"username": "rota_admin"})).unwrap();
    let own = rota_targets::open(KIND, &connection(KIND, "ssh-key", &good), &own, &around());
    assert!(own.err().unwrap().text().contains("the connection's own"));
    let secrets = [bed.admin_password.as_str(), "wrong-password", credential_of(&intent).secret.expose()];
    assert_hidden(secrets, &[("what is said", format!("{said:?}")), ("the log", bed.server.log())]);
    bed.server.stop();
    unreachable(weak.log_in(&current).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_with_every_symbol_arrive_as_they_are() {
    let Some(bed) = start() else { return };
    let symbols = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let required = json!({"length": 60, "allowedSymbols": symbols,
        "required": {"digits": 1, "lowercase": 5, "uppercase": 5, "symbols": 40}});
    let mut current = first(&bed, "app_a");
    for method in ["login-as-root", "login-as-target"] {
        let parameters =
            json!({"username": "app_a", "rotationMethod": method, "passwordRequirements": required});
        let target = open(KIND, "ssh-key", &credentials(&bed, bed.server.port), &parameters);
        for slot in [Slot(0), Slot(1), Slot(0)] {
            current = rotate(&*target, slot, Some(&current)).await;
            assert!(client(&bed)(&current).status.success(), "{method}");
        }
    }
}
