use std::sync::OnceLock;

use rota_targets::{Credential, Kind, Login, Slot};
use serde_json::{Value, json};
use testbed::mariadb::Mariadb;
use testbed::{Proxy, process};

use super::suite::*;

const KIND: Kind = Kind::MysqlCredentials;
const METHOD: &str = "username-and-password";

fn shared() -> &'static Mariadb {
    static SHARED: OnceLock<Mariadb> = OnceLock::new();
    SHARED.get_or_init(Mariadb::start)
}

fn credentials(bed: &Mariadb, port: u16) -> Value {
    json!({"host": "localhost", "port": port, "database": "appdb", "username": "rota_admin",
        "password": bed.admin_password, "sslEnabled": true, "sslRejectUnauthorized": true,
        "sslCertificate": bed.server.authority()})
}

/// Two users that no other test has.
fn users(bed: &Mariadb, name: &str) -> Value {
    let names = [1, 2].map(|at| format!("{name}_{at}"));
    let [first, second] = names.each_ref().map(|name| name.replace('\'', "''"));
    bed.admin(&format!("CREATE USER '{first}'@'%' IDENTIFIED BY 'x', '{second}'@'%' IDENTIFIED BY 'x'"));
    json!({"username1": names[0], "username2": names[1]})
}

fn user(credential: &Credential) -> &str {
    &credential.public["username"]
}

async fn twenty(bed: &Mariadb, hashed: bool) {
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &users(bed, "twen'ty"));
    target.check().await.unwrap();
    let client = |credential: &Credential| bed.client(user(credential), credential.secret.expose());
    let (last, mut secrets) = rotate_twenty_times(&*target, true, None, client).await;
    target.revoke(&last, random()).await.unwrap();
    target.revoke(&last, random()).await.unwrap();
    assert_eq!(target.log_in(&last).await.unwrap(), Login::Refused);
    assert!(!client(&last).status.success());
    // The server logs every statement; none has a password in it.
    let log = bed.statements();
    assert!(
        log.contains("ALTER USER 'twen''ty_1'@'%' IDENTIFIED") == hashed && log.contains("ALTER USER"),
        "{log}"
    );
    secrets.push(bed.admin_password.clone());
    assert_hidden(secrets.iter().map(String::as_str), &[("the server's log", log)]);
    // Nobody else was touched.
    assert!(bed.client("app_a", &bed.app_password).status.success());
    // Someone who logs in from two networks: both accounts have the password.
    let target = open(
        KIND,
        METHOD,
        &credentials(bed, bed.server.port),
        &json!({"username1": "app_b", "username2": "x"}),
    );
    let plan = target.plan(Slot(0)).await.unwrap();
    assert!(plan.steps[0].contains("app_b@10.%") && plan.steps[0].contains("app_b@127.0.0.1"), "{plan:?}");
    assert!(plan.rights.iter().all(|right| right.held == Some(true)), "{plan:?}");
    let new = rotate(&*target, Slot(0), None).await;
    assert!(client(&new).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_are_published_and_the_one_before_stays_valid() {
    twenty(shared(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_is_rotated_in_its_own_grammar_where_there_is_one() {
    if let Some(bed) = Mariadb::start_mysql() {
        twenty(&bed, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_anywhere_leaves_nothing_in_doubt() {
    let bed = shared();
    let proxy = Proxy::start(bed.server.port);
    let target = open(KIND, METHOD, &credentials(bed, proxy.port), &users(bed, "cut"));
    survive_cuts(&*target, &proxy, 40, true, None).await;
}

/// A password that no login can try is not set.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_with_another_way_to_log_in_are_left_alone() {
    let bed = shared();
    bed.admin(
        "CREATE USER way_1 IDENTIFIED VIA ed25519 USING PASSWORD('x'), way_2 IDENTIFIED VIA unix_socket",
    );
    let parameters = json!({"username1": "way_1", "username2": "way_2"});
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &parameters);
    for (slot, plugin) in [(Slot(0), "ed25519"), (Slot(1), "unix_socket")] {
        assert!(refusal(target.plan(slot).await).contains(plugin));
        let intent = target.intend(slot, None, random()).await.unwrap();
        assert!(refusal(target.set(&intent, None).await).contains(plugin));
    }
    assert!(bed.client("way_1", "x").status.success());
    // Nor does the client end more than its own attempt where such an account asks it for a proof.
    let mut credentials = credentials(bed, bed.server.port);
    (credentials["username"], credentials["password"]) = (json!("way_1"), json!("x"));
    let target = open(KIND, METHOD, &credentials, &parameters);
    assert!(refusal(target.check().await).contains("plugin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_own_statements_run_with_values_quoted() {
    let bed = shared();
    let mut parameters = users(bed, "own;it's");
    parameters["rotationStatement"] = json!(
        "# a comment; with a semicolon\nSET @a = 'x\\';y'; ALTER USER '{{username}}'@'%' IDENTIFIED BY '{{password}}'; \
         SELECT \";{{database}}\""
    );
    parameters["passwordRequirements"] = json!({"length": 60, "allowedSymbols": "'\"\\;$%{}-`",
        "required": {"digits": 0, "lowercase": 1, "uppercase": 0, "symbols": 40}});
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &parameters);
    for slot in [Slot(0), Slot(1), Slot(0)] {
        let new = rotate(&*target, slot, None).await;
        assert!(bed.client(user(&new), new.secret.expose()).status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_where_that_is_asked_for() {
    let bed = shared();
    let target = open(KIND, METHOD, &credentials(bed, bed.server.port), &users(bed, "session"));
    let old = rotate(&*target, Slot(0), None).await;
    let new = rotate(&*target, Slot(1), Some(&old)).await;
    let mut waiting = std::process::Command::new("mariadb");
    waiting.env("MYSQL_PWD", old.secret.expose()).args([
        "--no-defaults",
        "--protocol=tcp",
        "--host=127.0.0.1",
    ]);
    waiting.args([
        &format!("--port={}", bed.server.port),
        &format!("--user={}", user(&old)),
        "-e",
        "SELECT SLEEP(600)",
    ]);
    let mut waiting =
        waiting.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let sessions = || {
        let sql =
            format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = '{}'", user(&old));
        bed.admin(&sql).trim().parse::<u32>().unwrap()
    };
    process::eventually("a session", || sessions() == 1);
    target.retire(&old, &new, false).await.unwrap();
    assert_eq!(sessions(), 1);
    target.retire(&old, &new, true).await.unwrap();
    process::eventually("its end", || sessions() == 0);
    let _ = waiting.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let bed = shared();
    let parameters = users(bed, "wrong");
    let good = credentials(bed, bed.server.port);
    let with = |field: &str, value: Value| {
        let mut credentials = good.clone();
        credentials[field] = value;
        open(KIND, METHOD, &credentials, &parameters)
    };
    let mut said = vec![
        refusal(with("password", json!("wrong-password")).check().await),
        refusal(with("sslCertificate", json!(bed.server.other_authority())).check().await),
        refusal(with("host", json!("db.internal")).check().await),
        refusal(with("database", json!("nothing")).check().await),
        unreachable(with("port", json!(process::free_port())).check().await),
    ];
    for (text, part) in
        said.iter().zip(["rota_admin", "CA certificate", "may not be reached", "database", "nothing listens"])
    {
        assert!(text.contains(part), "{text}");
    }
    let mut trusting = good.clone();
    trusting["sslRejectUnauthorized"] = json!(false);
    trusting["sslCertificate"] = json!(bed.server.other_authority());
    open(KIND, METHOD, &trusting, &parameters).check().await.unwrap();
    let outsider = with("username", json!("outsider"));
    let intent = outsider.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(outsider.set(&intent, None).await));
    assert!(said[5].contains("CREATE USER"), "{said:?}");
    assert_eq!(outsider.log_in(credential_of(&intent)).await.unwrap(), Login::Refused);
    let plan = outsider.plan(Slot(0)).await.unwrap();
    assert!(plan.rights.iter().all(|right| right.held == Some(false)), "{plan:?}");
    let nobody = open(KIND, METHOD, &good, &json!({"username1": "nobody_1", "username2": "nobody_2"}));
    assert!(refusal(nobody.plan(Slot(0)).await).contains("nobody_1"));
    let missing = nobody.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(nobody.set(&missing, None).await));
    nobody.revoke(credential_of(&missing), random()).await.unwrap();
    let secrets = [bed.admin_password.as_str(), "wrong-password", credential_of(&intent).secret.expose()];
    assert_hidden(secrets, &[("what is said", format!("{said:?}{plan:?}")), ("the log", bed.statements())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_is_not_reached() {
    let bed = Mariadb::start();
    let parameters = json!({"username1": "app_a", "username2": "app_b"});
    let target = open(KIND, METHOD, &credentials(&bed, bed.server.port), &parameters);
    let old = rotate(&*target, Slot(0), None).await;
    let intent = target.intend(Slot(1), Some(&old), random()).await.unwrap();
    bed.server.stop();
    unreachable(target.set(&intent, Some(&old)).await);
    unreachable(target.log_in(&old).await);
}
