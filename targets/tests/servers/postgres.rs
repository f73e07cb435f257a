use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rota_targets::{Certainty, Connection, Credential, Kind, Login, Slot, Target};
use serde_json::{Value, json};
use testbed::postgres::Postgres;
use testbed::{Proxy, process};

use super::suite::*;

const KIND: Kind = Kind::PostgresCredentials;
const METHOD: &str = "username-and-password";

fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start)
}

fn credentials(bed: &Postgres, port: u16) -> Value {
    json!({"host": "localhost", "port": port, "database": "appdb", "username": "rota_admin",
        "password": bed.admin_password, "sslEnabled": true, "sslRejectUnauthorized": true,
        "sslCertificate": bed.server.authority()})
}

/// Two roles that no other test has.
fn roles(bed: &Postgres, name: &str) -> Value {
    let names = [1, 2].map(|at| format!("{name}_{at}"));
    let [first, second] = names.each_ref().map(|name| name.replace('"', "\"\""));
    bed.admin(&format!(
        "SET log_statement = 'none'; CREATE ROLE \"{first}\" LOGIN PASSWORD 'x'; CREATE ROLE \"{second}\" LOGIN PASSWORD 'x';
         GRANT \"{first}\", \"{second}\" TO rota_admin WITH ADMIN OPTION"
    ));
    json!({"username1": names[0], "username2": names[1]})
}

fn user(credential: &Credential) -> &str {
    &credential.public["username"]
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_are_published_and_the_one_before_stays_valid() {
    let bed = shared();
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &roles(bed, "Twen\"ty"));
    target.check().await.unwrap();
    let client = |credential: &Credential| bed.psql(user(credential), credential.secret.expose());
    let (last, mut secrets) = rotate_twenty_times(&*target, true, None, client).await;
    target.revoke(&last, random()).await.unwrap();
    target.revoke(&last, random()).await.unwrap();
    assert_eq!(target.log_in(&last).await.unwrap(), Login::Refused);
    assert!(!client(&last).status.success());
    // The server logs every statement; none has a password in it.
    let log = bed.server.log();
    assert!(log.contains("ALTER ROLE \"Twen\"\"ty_1\" PASSWORD 'SCRAM-SHA-256$"));
    secrets.push(bed.admin_password.clone());
    assert_hidden(secrets.iter().map(String::as_str), &[("the server's log", log)]);
    // Nobody else was touched.
    assert!(bed.psql("app_a", &bed.app_password).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_anywhere_leaves_nothing_in_doubt() {
    let bed = shared();
    let proxy = Proxy::start(bed.server.port);
    let target = open(KIND, METHOD, &credentials(bed, proxy.port), &roles(bed, "cut"));
    survive_cuts(&*target, &proxy, 40, true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_not_waited_for() {
    let bed = shared();
    let proxy = Proxy::start(bed.server.port);
    let target = open(KIND, METHOD, &credentials(bed, proxy.port), &roles(bed, "silent"));
    let passed = proxy.passed();
    let intent = target.intend(Slot(0), None, random()).await.unwrap();
    target.set(&intent, None).await.unwrap();
    let whole = proxy.passed() - passed;
    // The statement gets there, its answer does not come back.
    proxy.fall_silent_after(whole - 40);
    let began = Instant::now();
    let failure = target.set(&intent, None).await.unwrap_err();
    assert_eq!(failure.certainty, Certainty::Unclear, "{failure}");
    assert!(began.elapsed() < Duration::from_secs(40));
    proxy.fall_silent_after(0);
    assert!(unreachable(target.check().await).contains("does not answer"));
    proxy.open();
    assert_eq!(target.log_in(credential_of(&intent)).await.unwrap(), Login::Accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_own_statements_run_with_values_quoted() {
    let bed = shared();
    let mut parameters = roles(bed, "own;it's");
    parameters["rotationStatement"] = json!(
        "-- a comment; with a semicolon\nSET application_name = 'a;b';\n\
         ALTER USER \"{{username}}\" WITH PASSWORD '{{password}}'; SELECT ';{{database}}'"
    );
    parameters["passwordRequirements"] = json!({"length": 60, "allowedSymbols": "'\"\\;$%{}-",
        "required": {"digits": 0, "lowercase": 1, "uppercase": 0, "symbols": 40}});
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &parameters);
    for slot in [Slot(0), Slot(1), Slot(0)] {
        let new = rotate(&*target, slot, None).await;
        assert!(bed.psql(user(&new), new.secret.expose()).status.success());
        assert_hidden([new.secret.expose()], &[("the server's log", bed.server.log())]);
    }
    // A password where no verifier can be: the statement has it, quoted.
    bed.admin(
        "CREATE TABLE taken (username text, password text); GRANT INSERT, SELECT ON taken TO rota_admin",
    );
    let mut parameters = parameters.clone();
    parameters["rotationStatement"] = json!("INSERT INTO taken VALUES ('{{username}}', E'{{password}}')");
    bed.admin("CREATE SCHEMA IF NOT EXISTS x");
    let mut credentials = credentials(bed, bed.server.port);
    credentials["database"] = json!("postgres");
    let target = open(KIND, METHOD, &credentials, &parameters);
    let intent = target.intend(Slot(0), None, random()).await.unwrap();
    target.set(&intent, None).await.unwrap();
    let taken = bed.admin("SELECT password FROM taken");
    assert_eq!(taken.trim_end(), credential_of(&intent).secret.expose());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_where_that_is_asked_for() {
    let bed = shared();
    bed.admin("GRANT pg_signal_backend TO rota_admin");
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &roles(bed, "session"));
    let old = rotate(&*target, Slot(0), None).await;
    let new = rotate(&*target, Slot(1), Some(&old)).await;
    let place = format!("host=localhost port={} dbname=appdb user={}", bed.server.port, user(&old));
    let mut open_session = std::process::Command::new("psql");
    open_session.env("PGPASSWORD", old.secret.expose()).args([&place, "-qXAtc", "SELECT pg_sleep(600)"]);
    let mut open_session = open_session.stderr(std::process::Stdio::null()).spawn().unwrap();
    let sessions = || {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", user(&old));
        bed.admin(&sql).trim().parse::<u32>().unwrap()
    };
    process::eventually("a session", || sessions() == 1);
    target.retire(&old, &new, false).await.unwrap();
    assert_eq!(sessions(), 1, "a session outlives its password's turn unless somebody says otherwise");
    target.retire(&old, &new, true).await.unwrap();
    process::eventually("its end", || sessions() == 0);
    assert!(!open_session.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let bed = shared();
    let parameters = roles(bed, "wrong");
    let good = credentials(bed, bed.server.port);
    let with = |field: &str, value: Value| {
        let mut credentials = good.clone();
        credentials[field] = value;
        open(KIND, METHOD, &credentials, &parameters)
    };
    let mut said = Vec::new();
    let wrong = with("password", json!("wrong-password"));
    said.push(refusal(wrong.check().await));
    assert!(said[0].contains("rota_admin"), "{}", said[0]);
    said.push(refusal(with("sslCertificate", json!(bed.server.other_authority())).check().await));
    assert!(said[1].contains("CA certificate"), "{}", said[1]);
    said.push(refusal(with("host", json!("db.internal")).check().await));
    assert!(said[2].contains("may not be reached"));
    said.push(refusal(with("database", json!("nothing")).check().await));
    assert!(said[3].contains("no such database"));
    said.push(unreachable(with("port", json!(process::free_port())).check().await));
    assert!(said[4].contains("nothing listens"));
    // Only where the user says so is anybody believed.
    let mut trusting = good.clone();
    trusting["sslRejectUnauthorized"] = json!(false);
    trusting["sslCertificate"] = json!(bed.server.other_authority());
    open(KIND, METHOD, &trusting, &parameters).check().await.unwrap();
    with("sslEnabled", json!(false)).check().await.unwrap();

    // Someone who may do nothing.
    let mut outsider = good.clone();
    outsider["username"] = json!("outsider");
    let outsider = open(KIND, METHOD, &outsider, &parameters);
    let intent = outsider.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(outsider.set(&intent, None).await));
    assert!(said[5].contains("ADMIN OPTION"), "{}", said[5]);
    assert_eq!(outsider.log_in(credential_of(&intent)).await.unwrap(), Login::Refused);
    let plan = outsider.plan(Slot(0)).await.unwrap();
    assert_eq!(
        plan.rights.iter().map(|right| right.held).collect::<Vec<_>>(),
        [Some(false), Some(true), Some(false)]
    );
    let target = with("host", json!("localhost"));
    let plan = target.plan(Slot(1)).await.unwrap();
    assert!(plan.steps[0].contains("wrong_2") && plan.rights[0].held == Some(true), "{plan:?}");

    // Someone who is not there.
    let nobody = json!({"username1": "nobody_1", "username2": "nobody_2"});
    let nobody = open(KIND, METHOD, &good, &nobody);
    assert!(refusal(nobody.plan(Slot(0)).await).contains("nobody_1"));
    let missing = nobody.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(nobody.set(&missing, None).await));
    assert!(said[6].contains("no such role"), "{}", said[6]);
    nobody.revoke(credential_of(&missing), random()).await.unwrap();

    let shown = format!("{:?}{said:?}{plan:?}", connection(KIND, METHOD, &good));
    let secrets = [bed.admin_password.as_str(), "wrong-password", credential_of(&intent).secret.expose()];
    assert_hidden(secrets, &[("what is said", shown), ("the log", bed.server.log())]);
    // What came through a check opens again from what is sealed.
    let sealed = connection(KIND, METHOD, &good).to_sealed();
    rota_targets::check(Connection::from_sealed(&sealed).unwrap(), &around()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_is_not_reached() {
    let bed = Postgres::start();
    let target: Box<dyn Target> = open(
        KIND,
        METHOD,
        &credentials(&bed, bed.server.port),
        &json!({"username1": "app_a", "username2": "app_b"}),
    );
    let old = rotate(&*target, Slot(0), None).await;
    let intent = target.intend(Slot(1), Some(&old), random()).await.unwrap();
    let folder = bed.server.path("");
    bed.server.stop();
    unreachable(target.set(&intent, Some(&old)).await);
    unreachable(target.log_in(&old).await);
    unreachable(target.check().await);
    assert!(!folder.exists(), "nothing is left of it");
}
