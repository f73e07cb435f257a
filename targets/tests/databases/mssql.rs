//! `mssql-credentials` on a double of the wire protocol (TDS) without TLS. There is no SQL Server to be had: this
//! proves what is sent and what answers mean, and no login.

use rota_targets::target::Intent;
use rota_targets::{App, Certainty, Connection, Credential, Failure, Kind, Login, Parameters, Slot, Target};
use serde_json::{Value, json};

use super::around;
use super::tds::{ADMIN, Double};

const KIND: Kind = Kind::MssqlCredentials;

fn connection(port: u16, login: (&str, &str), tls: bool) -> Connection {
    let credentials = json!({"host": "127.0.0.1", "port": port, "database": "appdb", "username": login.0,
        "password": login.1, "sslEnabled": tls, "sslRejectUnauthorized": true});
    Connection::check(App::Mssql, "username-and-password", &credentials).unwrap()
}

fn target(port: u16, login: (&str, &str), parameters: &Value) -> Box<dyn Target> {
    let parameters = Parameters::check(KIND, parameters, None).unwrap();
    rota_targets::open(KIND, &connection(port, login, false), &parameters, &around()).unwrap()
}

fn users() -> Value {
    json!({"username1": "app a]", "username2": "app_b", "passwordRequirements": {"length": 40,
        "allowedSymbols": "'\"[];-", "required": {"digits": 1, "lowercase": 1, "uppercase": 1, "symbols": 20}}})
}

fn random(seed: u8) -> [u8; 32] {
    [seed; 32]
}

/// Twenty turns: whatever is in the password and the name, what is set is what was meant, and it logs in.
#[tokio::test]
async fn logins_take_turns() {
    let double = Double::start(&["app a]", "app_b"]).await;
    let mssql = target(double.port, ADMIN, &users());
    mssql.check().await.unwrap();
    rota_targets::check(connection(double.port, ADMIN, false), &around()).await.unwrap();
    let mut current: Option<Credential> = None;
    for turn in 0..20 {
        let intent = mssql.intend(Slot(turn % 2), current.as_ref(), random(turn)).await.unwrap();
        let new = mssql.set(&intent, current.as_ref()).await.unwrap();
        assert_eq!(mssql.log_in(&new).await, Ok(Login::Accepted));
        assert_eq!(double.password(&new.public["username"]).as_deref(), Some(new.secret.expose()));
        if let Some(old) = &current {
            assert_eq!(mssql.log_in(old).await, Ok(Login::Accepted), "until its own next turn");
            mssql.retire(old, &new, true).await.unwrap();
        }
        current = Some(new);
    }
    assert!(double.statements().iter().any(|sql| sql == "KILL 77"), "sessions were to be ended");
    let last = current.unwrap();
    mssql.revoke(&last, random(99)).await.unwrap();
    assert_eq!(mssql.log_in(&last).await, Ok(Login::Refused));
    // A login that is gone is revoked.
    double.drop_login(&last.public["username"]);
    mssql.revoke(&last, random(100)).await.unwrap();
}

/// A user's own statement is quoted as well.
#[tokio::test]
async fn a_statement_of_the_users_own_is_run() {
    let double = Double::start(&["app a]", "app_b"]).await;
    let mut parameters = users();
    parameters["rotationStatement"] =
        json!("ALTER LOGIN [{{username}}] WITH PASSWORD = N'{{password}}'; SELECT 1");
    let mssql = target(double.port, ADMIN, &parameters);
    let intent = mssql.intend(Slot(0), None, random(1)).await.unwrap();
    let new = mssql.set(&intent, None).await.unwrap();
    assert_eq!(double.password("app a]").as_deref(), Some(new.secret.expose()));
    assert_eq!(mssql.log_in(&new).await, Ok(Login::Accepted));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let double = Double::start(&["app a]", "app_b"]).await;
    let refused = |failure: Failure, word: &str| {
        assert!(failure.text().contains(word), "{failure}");
        assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, false), "{failure}");
        assert!(!failure.text().contains("hunter2"), "{failure}");
    };
    refused(target(double.port, ("rota", "wrong"), &users()).check().await.unwrap_err(), "may not log in");
    let weak = target(double.port, ("weak", "weak-password"), &users());
    let intent = weak.intend(Slot(0), None, random(1)).await.unwrap();
    refused(weak.set(&intent, None).await.unwrap_err(), "ALTER ANY LOGIN");
    let held = |plan: rota_targets::Plan| plan.rights.iter().map(|right| right.held).collect::<Vec<_>>();
    assert_eq!(held(weak.plan(Slot(0)).await.unwrap()), [Some(false); 3]);
    let mssql = target(double.port, ADMIN, &users());
    assert_eq!(held(mssql.plan(Slot(0)).await.unwrap()), [Some(true); 3]);

    let short = json!({"username1": "app_b", "username2": "nobody", "passwordRequirements":
        {"length": 5, "required": {"digits": 1, "lowercase": 1, "uppercase": 1, "symbols": 0}}});
    let short = target(double.port, ADMIN, &short);
    let intent = short.intend(Slot(0), None, random(1)).await.unwrap();
    refused(short.set(&intent, None).await.unwrap_err(), "password policy");
    let intent = short.intend(Slot(1), None, random(1)).await.unwrap();
    refused(short.set(&intent, None).await.unwrap_err(), "no such login");
    refused(short.plan(Slot(1)).await.unwrap_err(), "no login nobody");

    // TLS is demanded, and this server has none: nothing is sent.
    let before = double.logins();
    let strict = connection(double.port, ADMIN, true);
    refused(rota_targets::check(strict, &around()).await.err().unwrap(), "encryption");
    assert_eq!(double.logins(), before);
}

/// An answer that is lost leaves doubt, and a login settles it.
#[tokio::test]
async fn a_lost_answer_is_settled_by_a_login() {
    let double = Double::start(&["app a]", "app_b"]).await;
    let mssql = target(double.port, ADMIN, &users());
    for (seed, obeyed) in [(1, true), (2, false)] {
        let intent = mssql.intend(Slot(0), None, random(seed)).await.unwrap();
        let Intent::Set { credential, .. } = &intent else { panic!("rota chooses") };
        double.break_at_the_next_change(obeyed);
        let failure = mssql.set(&intent, None).await.unwrap_err();
        assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unclear, true), "{failure}");
        let expected = if obeyed { Login::Accepted } else { Login::Refused };
        assert_eq!(mssql.log_in(credential).await, Ok(expected));
        mssql.set(&intent, None).await.unwrap();
        assert_eq!(mssql.log_in(credential).await, Ok(Login::Accepted));
    }
    let gone = target(1, ADMIN, &users());
    let failure = gone.check().await.unwrap_err();
    assert_eq!((failure.certainty, failure.may_pass), (Certainty::Unchanged, true), "{failure}");
}
