use std::sync::OnceLock;

use rota_targets::{Credential, Kind, Login, Slot};
use serde_json::{Value, json};
use testbed::openldap::{BASE, Openldap};
use testbed::{Proxy, process};

use super::suite::*;

const KIND: Kind = Kind::LdapPassword;
const METHOD: &str = "simple-bind";

fn shared() -> &'static Openldap {
    static SHARED: OnceLock<Openldap> = OnceLock::new();
    SHARED.get_or_init(Openldap::start)
}

fn dn(user: &str) -> String {
    format!("uid={user},ou=people,{BASE}")
}

fn credentials(bed: &Openldap, url: &str) -> Value {
    json!({"provider": "openldap", "url": url, "dn": format!("cn=rota_admin,{BASE}"), "password": bed.admin_password,
        "sslRejectUnauthorized": true, "sslCertificate": bed.server.authority()})
}

fn secure(bed: &Openldap) -> String {
    format!("ldaps://localhost:{}", bed.tls_port)
}

fn first(bed: &Openldap, user: &str) -> Credential {
    Credential {
        public: [("dn".to_owned(), dn(user))].into(),
        secret: rota_aggregates::secret::Secret::new(bed.app_password.clone()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_are_published_and_each_ends_the_one_before() {
    let bed = shared();
    let client = |credential: &Credential| bed.whoami(&credential.public["dn"], credential.secret.expose());
    // By the connection's authority over LDAPS, by the account's own over StartTLS.
    let upgraded = format!("ldap://localhost:{}", bed.server.port);
    for (url, user, method) in
        [(secure(bed), "app_a", "connection-principal"), (upgraded, "app_b", "target-principal")]
    {
        let parameters = json!({"dn": dn(user), "rotationMethod": method});
        let target = open(KIND, METHOD, &credentials(bed, &url), &parameters);
        target.check().await.unwrap();
        let before = first(bed, user);
        let (last, mut secrets) = rotate_twenty_times(&*target, false, Some(first(bed, user)), client).await;
        assert!(!client(&before).status.success(), "the first one is dead");
        target.revoke(&last, random()).await.unwrap();
        assert_eq!(target.log_in(&last).await.unwrap(), Login::Refused);
        assert!(!client(&last).status.success());
        // Nobody knows what it is now, and the connection can still set another.
        let intent = target.intend(Slot(0), None, random()).await.unwrap();
        let again = target.reset(&intent).await.unwrap();
        assert!(client(&again).status.success());
        secrets.push(bed.admin_password.clone());
        assert_hidden(secrets.iter().map(String::as_str), &[("the server's log", bed.server.log())]);
    }
    assert!(bed.whoami(&dn("outsider"), &bed.app_password).status.success(), "nobody else was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_anywhere_leaves_nothing_in_doubt() {
    let bed = Openldap::start();
    for (user, method) in [("app_a", "connection-principal"), ("app_b", "target-principal")] {
        let proxy = Proxy::start(bed.tls_port);
        let url = format!("ldaps://localhost:{}", proxy.port);
        let parameters = json!({"dn": dn(user), "rotationMethod": method});
        let target = open(KIND, METHOD, &credentials(&bed, &url), &parameters);
        survive_cuts(&*target, &proxy, 30, false, Some(first(&bed, user))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let bed = Openldap::start();
    let parameters = json!({"dn": dn("app_a")});
    let good = credentials(&bed, &secure(&bed));
    let with = |field: &str, value: Value| {
        let mut credentials = good.clone();
        credentials[field] = value;
        open(KIND, METHOD, &credentials, &parameters)
    };
    let mut said = vec![
        refusal(with("password", json!("wrong-password")).check().await),
        refusal(with("sslCertificate", json!(bed.server.other_authority())).check().await),
        refusal(with("url", json!("ldaps://dc.internal")).check().await),
        unreachable(with("url", json!(format!("ldaps://localhost:{}", process::free_port()))).check().await),
    ];
    for (text, part) in
        said.iter().zip(["rota_admin", "CA certificate", "may not be reached", "nothing listens"])
    {
        assert!(text.contains(part), "{text}");
    }
    let upgraded = format!("ldap://localhost:{}", bed.server.port);
    let mut foreign = credentials(&bed, &upgraded);
    foreign["sslCertificate"] = json!(bed.server.other_authority());
    said.push(refusal(open(KIND, METHOD, &foreign, &parameters).check().await));

    // Someone who may change nobody's but their own.
    let mut outsider = good.clone();
    (outsider["dn"], outsider["password"]) = (json!(dn("outsider")), json!(bed.app_password));
    let outsider = open(KIND, METHOD, &outsider, &parameters);
    let intent = outsider.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(outsider.set(&intent, None).await));
    assert!(said[5].contains("lacks a right"), "{said:?}");
    assert_eq!(outsider.log_in(&first(&bed, "app_a")).await.unwrap(), Login::Accepted);

    // A policy.
    let weak = json!({"length": 5, "required": {"digits": 5, "lowercase": 0, "uppercase": 0, "symbols": 0}});
    let weak = json!({"dn": dn("app_a"), "rotationMethod": "target-principal", "passwordRequirements": weak});
    let weak = open(KIND, METHOD, &good, &weak);
    let current = first(&bed, "app_a");
    let short = weak.intend(Slot(0), Some(&current), random()).await.unwrap();
    said.push(refusal(weak.set(&short, Some(&current)).await));
    assert!(said[6].contains("policy"), "{said:?}");
    assert_eq!(weak.log_in(&current).await.unwrap(), Login::Accepted);
    // A password that rota does not have.
    let unknown = Credential {
        public: current.public.clone(),
        secret: rota_aggregates::secret::Secret::new("another-one".into()),
    };
    said.push(refusal(weak.set(&intent, Some(&unknown)).await));
    assert!(said[7].contains("reconcile"), "{said:?}");
    refusal(weak.set(&intent, None).await);

    let nobody = open(KIND, METHOD, &good, &json!({"dn": dn("nobody")}));
    let missing = nobody.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(nobody.set(&missing, None).await));
    let own =
        rota_targets::Parameters::from_value(KIND, &json!({"dn": format!("CN=rota_admin,{BASE}")})).unwrap();
    let own = rota_targets::open(KIND, &connection(KIND, METHOD, &good), &own, &around());
    assert!(own.err().unwrap().text().contains("the connection's own"));
    let secrets = [
        bed.admin_password.as_str(),
        "wrong-password",
        "another-one",
        credential_of(&intent).secret.expose(),
    ];
    assert_hidden(secrets, &[("what is said", format!("{said:?}")), ("the log", bed.server.log())]);
    bed.server.stop();
    unreachable(weak.log_in(&current).await);
}
