use std::sync::OnceLock;

use rota_targets::{Credential, Kind, Login, Slot};
use serde_json::{Value, json};
use testbed::Proxy;
use testbed::redis::{Kept, Redis};

use super::suite::*;

const KIND: Kind = Kind::RedisCredentials;
const METHOD: &str = "username-and-password";

fn shared() -> &'static Redis {
    static SHARED: OnceLock<Redis> = OnceLock::new();
    SHARED.get_or_init(|| Redis::start(Kept::AclFile))
}

fn credentials(bed: &Redis, port: u16) -> Value {
    json!({"host": "localhost", "port": port, "username": "rota_admin", "password": bed.admin_password,
        "sslEnabled": port != bed.server.port, "sslRejectUnauthorized": true, "sslCertificate": bed.server.authority()})
}

fn parameters() -> Value {
    json!({"permissionScope": "~app:* +@all -@dangerous"})
}

fn user(credential: &Credential) -> &str {
    &credential.public["username"]
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_are_published_and_the_one_before_stays_valid() {
    let bed = shared();
    let target = open(KIND, METHOD, &credentials(bed, bed.tls_port), &parameters());
    target.check().await.unwrap();
    let client = |credential: &Credential| {
        bed.cli(user(credential), credential.secret.expose(), &["SET", "app:key", "value"])
    };
    let (last, secrets) = rotate_twenty_times(&*target, true, None, client).await;
    assert_eq!(user(&last).len(), 32);
    // One user, with one password left, and the permissions that were asked for.
    let getuser = bed.admin(&["ACL", "GETUSER", user(&last)]);
    assert!(getuser.contains("~app:*"), "{getuser}");
    let refused = bed.cli(user(&last), last.secret.expose(), &["FLUSHALL"]);
    assert!(!refused.status.success());
    let listed = bed.admin(&["ACL", "LIST"]);
    let line = listed.lines().find(|line| line.contains(user(&last))).unwrap();
    assert_eq!(line.matches('#').count(), 1, "{line}");
    // It outlives a restart.
    let file = std::fs::read_to_string(bed.server.path("users.acl")).unwrap();
    assert!(file.contains(user(&last)) && file.contains("rota_admin"));
    assert_hidden(
        secrets.iter().map(String::as_str),
        &[("the log", bed.server.log()), ("the ACL file", file)],
    );
    target.revoke(&last, random()).await.unwrap();
    target.revoke(&last, random()).await.unwrap();
    assert_eq!(target.log_in(&last).await.unwrap(), Login::Refused);
    assert!(!bed.admin(&["ACL", "LIST"]).contains(user(&last)));
    assert!(bed.admin(&["ACL", "LIST"]).contains("outsider"), "nobody else was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_anywhere_leaves_nothing_in_doubt() {
    let bed = shared();
    for port in [bed.server.port, bed.tls_port] {
        let proxy = Proxy::start(port);
        let mut credentials = credentials(bed, proxy.port);
        credentials["sslEnabled"] = json!(port == bed.tls_port);
        let target = open(KIND, METHOD, &credentials, &parameters());
        survive_cuts(&*target, &proxy, 30, true, None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_came_to_nothing_is_undone_and_nothing_else() {
    let bed = shared();
    let target = open(KIND, METHOD, &credentials(bed, bed.tls_port), &parameters());
    // The first: the user itself was made by it.
    let first = target.intend(Slot(0), None, random()).await.unwrap();
    assert_eq!(target.undo(&first, &[]).await.unwrap(), 0);
    let set = target.set(&first, None).await.unwrap();
    assert_eq!(target.undo(&first, &[&set]).await.unwrap(), 0);
    // A later one: a password.
    let second = target.intend(Slot(1), Some(&set), random()).await.unwrap();
    let other = target.set(&second, Some(&set)).await.unwrap();
    assert_eq!(user(&other), user(&set));
    assert_eq!(target.undo(&second, &[&set]).await.unwrap(), 1);
    assert_eq!(target.undo(&second, &[&set]).await.unwrap(), 0);
    assert_eq!(target.log_in(&other).await.unwrap(), Login::Refused);
    assert_eq!(target.log_in(&set).await.unwrap(), Login::Accepted);
    assert_eq!(target.undo(&first, &[]).await.unwrap(), 1);
    assert!(!bed.admin(&["ACL", "LIST"]).contains(user(&set)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permissions_are_those_that_are_asked_for_now() {
    let bed = shared();
    let credentials = credentials(bed, bed.tls_port);
    let target =
        open(KIND, METHOD, &credentials, &json!({"permissionScope": "~old:* &* +@all (+get ~extra:*)"}));
    let old = rotate(&*target, Slot(0), None).await;
    let target = open(KIND, METHOD, &credentials, &json!({"permissionScope": "~new:* +get"}));
    let new = rotate(&*target, Slot(1), Some(&old)).await;
    for (command, works) in [(["GET", "new:1"], true), (["GET", "old:1"], false), (["GET", "extra:1"], false)]
    {
        assert_eq!(bed.cli(user(&new), new.secret.expose(), &command).status.success(), works, "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_kept_in_the_configuration_where_there_is_no_acl_file() {
    for (kept, held) in [(Kept::Configuration, true), (Kept::Nowhere, false)] {
        let bed = Redis::start(kept);
        let target = open(KIND, METHOD, &credentials(&bed, bed.tls_port), &parameters());
        let plan = target.plan(Slot(0)).await.unwrap();
        assert_eq!((plan.rights[0].held, plan.rights[1].held), (Some(true), Some(held)), "{kept:?}");
        let new = rotate(&*target, Slot(0), None).await;
        let file = std::fs::read_to_string(bed.server.path("redis.conf")).unwrap();
        assert_eq!(file.contains(user(&new)), held, "{kept:?}");
        bed.server.stop();
        unreachable(target.log_in(&new).await);
        unreachable(target.check().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_where_that_is_asked_for() {
    let bed = shared();
    let target = open(KIND, METHOD, &credentials(bed, bed.tls_port), &parameters());
    let old = rotate(&*target, Slot(0), None).await;
    let new = rotate(&*target, Slot(1), Some(&old)).await;
    let mut waiting = std::process::Command::new("redis-cli");
    waiting.env("REDISCLI_AUTH", old.secret.expose()).args([
        "-p",
        &bed.server.port.to_string(),
        "--user",
        user(&old),
    ]);
    let mut waiting =
        waiting.args(["BLPOP", "app:never", "0"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let sessions = || bed.admin(&["CLIENT", "LIST"]).matches(&format!("user={}", user(&old))).count();
    testbed::process::eventually("a session", || sessions() == 1);
    target.retire(&old, &new, false).await.unwrap();
    assert_eq!(sessions(), 1, "a session outlives its password unless somebody says otherwise");
    target.retire(&old, &new, true).await.unwrap();
    testbed::process::eventually("its end", || sessions() == 0);
    let _ = waiting.wait();
    assert_eq!(target.log_in(&new).await.unwrap(), Login::Accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let bed = shared();
    let good = credentials(bed, bed.tls_port);
    let with = |field: &str, value: Value| {
        let mut credentials = good.clone();
        credentials[field] = value;
        open(KIND, METHOD, &credentials, &parameters())
    };
    let mut said = vec![
        refusal(with("password", json!("wrong-password")).check().await),
        refusal(with("sslCertificate", json!(bed.server.other_authority())).check().await),
        unreachable(with("sslEnabled", json!(false)).check().await),
        refusal(with("password", json!("")).check().await),
    ];
    assert!(said[0].contains("rota_admin") && said[1].contains("CA certificate"), "{said:?}");
    assert!(said[3].contains("wants a password"), "{said:?}");
    let outsider = with("username", json!("outsider"));
    let intent = outsider.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(outsider.set(&intent, None).await));
    assert!(said[4].contains("may not do this"), "{said:?}");
    let bad = open(KIND, METHOD, &good, &json!({"permissionScope": "~* +nosuchcommand"}));
    let intent = bad.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(bad.set(&intent, None).await));
    assert!(said.last().unwrap().contains("permissionScope"), "{said:?}");
    assert_eq!(bad.log_in(credential_of(&intent)).await.unwrap(), Login::Refused);
    let secrets = [bed.admin_password.as_str(), "wrong-password", credential_of(&intent).secret.expose()];
    assert_hidden(secrets, &[("what is said", format!("{said:?}")), ("the log", bed.server.log())]);
}
