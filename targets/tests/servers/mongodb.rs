use std::sync::OnceLock;

use rota_targets::{Credential, Kind, Login, Slot};
use serde_json::{Value, json};
use testbed::mongodb::Mongodb;
use testbed::{Proxy, process};

use super::suite::*;

const KIND: Kind = Kind::MongodbCredentials;
const METHOD: &str = "username-and-password";

/// None where the server could not be fetched.
fn shared() -> Option<&'static Mongodb> {
    static SHARED: OnceLock<Option<Mongodb>> = OnceLock::new();
    SHARED.get_or_init(Mongodb::start).as_ref()
}

fn credentials(bed: &Mongodb, port: u16) -> Value {
    json!({"host": "localhost", "port": port, "database": "appdb", "username": "rota_admin",
        "password": bed.admin_password, "tlsEnabled": true, "tlsRejectUnauthorized": true,
        "tlsCertificate": bed.server.authority()})
}

fn users(bed: &Mongodb, name: &str) -> Value {
    let names = [1, 2].map(|at| format!("{name}_{at}"));
    bed.make_users(&names);
    json!({"username1": names[0], "username2": names[1]})
}

fn user(credential: &Credential) -> &str {
    &credential.public["username"]
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_are_published_and_the_one_before_stays_valid() {
    let Some(bed) = shared() else { return };
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &users(bed, "twenty=,"));
    target.check().await.unwrap();
    let plan = target.plan(Slot(0)).await.unwrap();
    assert!(plan.rights.iter().all(|right| right.held == Some(true)), "{plan:?}");
    let client = |credential: &Credential| bed.log_in(user(credential), credential.secret.expose(), "appdb");
    let (last, mut secrets) = rotate_twenty_times(&*target, true, None, client).await;
    target.retire(&last, &last, true).await.unwrap();
    target.revoke(&last, random()).await.unwrap();
    target.revoke(&last, random()).await.unwrap();
    assert_eq!(target.log_in(&last).await.unwrap(), Login::Refused);
    assert!(!client(&last).status.success());
    secrets.push(bed.admin_password.clone());
    assert_hidden(secrets.iter().map(String::as_str), &[("the server's log", bed.server.log())]);
    assert!(bed.log_in("app_a", &bed.app_password, "appdb").status.success(), "nobody else was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_anywhere_leaves_nothing_in_doubt() {
    let Some(bed) = shared() else { return };
    let proxy = Proxy::start(bed.server.port);
    let target = open(KIND, METHOD, &credentials(bed, proxy.port), &users(bed, "cut"));
    survive_cuts(&*target, &proxy, 40, true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_as_they_are_asked_for() {
    let Some(bed) = shared() else { return };
    let mut parameters = users(bed, "required");
    parameters["passwordRequirements"] = json!({"length": 80, "allowedSymbols": "'\"\\;$%{}-@:/,=",
        "required": {"digits": 0, "lowercase": 1, "uppercase": 0, "symbols": 60}});
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &parameters);
    let new = rotate(&*target, Slot(0), None).await;
    assert_eq!(new.secret.expose().len(), 80);
    assert!(bed.log_in(user(&new), new.secret.expose(), "appdb").status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let Some(bed) = shared() else { return };
    let parameters = users(bed, "wrong");
    let good = credentials(bed, bed.server.port);
    let with = |field: &str, value: Value| {
        let mut credentials = good.clone();
        credentials[field] = value;
        open(KIND, METHOD, &credentials, &parameters)
    };
    let mut said = vec![
        refusal(with("password", json!("wrong-password")).check().await),
        refusal(with("tlsCertificate", json!(bed.server.other_authority())).check().await),
        refusal(with("host", json!("db.internal")).check().await),
        refusal(with("host", json!("mongodb+srv://localhost")).check().await),
        unreachable(with("port", json!(process::free_port())).check().await),
    ];
    for (text, part) in said.iter().zip([
        "rota_admin",
        "CA certificate",
        "may not be reached",
        "mongodb+srv",
        "nothing listens",
    ]) {
        assert!(text.contains(part), "{text}");
    }
    let outsider = with("username", json!("outsider"));
    let intent = outsider.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(outsider.set(&intent, None).await));
    assert!(said[5].contains("changePassword"), "{said:?}");
    assert_eq!(outsider.log_in(credential_of(&intent)).await.unwrap(), Login::Refused);
    let nobody = open(KIND, METHOD, &good, &json!({"username1": "nobody_1", "username2": "nobody_2"}));
    assert!(refusal(nobody.plan(Slot(0)).await).contains("nobody_1"));
    let missing = nobody.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(nobody.set(&missing, None).await));
    assert!(said[6].contains("no such user"), "{said:?}");
    nobody.revoke(credential_of(&missing), random()).await.unwrap();
    let secrets = [bed.admin_password.as_str(), "wrong-password", credential_of(&intent).secret.expose()];
    assert_hidden(secrets, &[("what is said", format!("{said:?}")), ("the log", bed.server.log())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_is_not_reached() {
    let Some(bed) = Mongodb::start() else { return };
    let parameters = json!({"username1": "app_a", "username2": "app_b"});
    let target = open(KIND, METHOD, &credentials(&bed, bed.server.port), &parameters);
    let old = rotate(&*target, Slot(0), None).await;
    bed.server.stop();
    unreachable(target.log_in(&old).await);
    unreachable(target.check().await);
}
