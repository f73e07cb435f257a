use std::sync::OnceLock;

use rota_targets::{Connection, Credential, Kind, Login, Slot};
use serde_json::{Value, json};
use testbed::active_directory::{ActiveDirectory, DOMAIN};
use testbed::{Proxy, process};

use super::suite::*;

const KIND: Kind = Kind::LdapPassword;
const METHOD: &str = "simple-bind";

/// None where nobody may make namespaces with files of their own.
fn shared() -> Option<&'static ActiveDirectory> {
    static SHARED: OnceLock<Option<ActiveDirectory>> = OnceLock::new();
    let start = || {
        if process::is_root() {
            return Some(ActiveDirectory::start());
        }
        eprintln!("SKIPPED: only root can make a domain controller");
        None
    };
    SHARED.get_or_init(start).as_ref()
}

fn credentials(bed: &ActiveDirectory, url: &str) -> Value {
    json!({"provider": "active-directory", "url": url, "dn": format!("rota_admin@{DOMAIN}"),
        "password": bed.admin_password, "sslRejectUnauthorized": true, "sslCertificate": bed.server.authority()})
}

/// Its ports can't be chosen, nor its address be in a certificate: the way there is over a port of this machine's name.
fn secure(bed: &ActiveDirectory) -> (Proxy, String) {
    let proxy = Proxy::to(bed.secure());
    let url = format!("ldaps://localhost:{}", proxy.port);
    (proxy, url)
}

fn upgraded(bed: &ActiveDirectory) -> String {
    format!("ldap://localhost:{}", Proxy::to(bed.plain()).port)
}

fn with_password(name: &str, password: &str) -> Credential {
    Credential {
        public: [("dn".to_owned(), name.to_owned())].into(),
        secret: rota_aggregates::secret::Secret::new(password.to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_are_published_and_each_ends_the_one_before() {
    let Some(bed) = shared() else { return };
    let client = |credential: &Credential| bed.client(&credential.public["dn"], credential.secret.expose());
    // By the connection's authority over LDAPS, by the account's own over StartTLS; by its name and its principal name.
    for (url, name, method) in [
        (secure(bed).1, bed.dn("twenty_a"), "connection-principal"),
        (upgraded(bed), format!("twenty_b@{DOMAIN}"), "target-principal"),
    ] {
        let parameters = json!({"dn": name, "rotationMethod": method});
        let target = open(KIND, METHOD, &credentials(bed, &url), &parameters);
        target.check().await.unwrap();
        assert!(target.plan(Slot(0)).await.unwrap().steps[0].to_lowercase().contains("cn=twenty_"));
        let before = with_password(&name, &bed.app_password);
        let first = Some(with_password(&name, &bed.app_password));
        let (last, mut secrets) = rotate_twenty_times(&*target, false, first, client).await;
        assert!(!client(&before).status.success(), "the first one is dead");
        target.revoke(&last, random()).await.unwrap();
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
    assert!(bed.client("outsider", &bed.app_password).status.success(), "nobody else was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_anywhere_leaves_nothing_in_doubt() {
    let Some(bed) = shared() else { return };
    for (user, method) in [("cut_a", "connection-principal"), ("cut_b", "target-principal")] {
        let (proxy, url) = secure(bed);
        let parameters = json!({"dn": bed.dn(user), "rotationMethod": method});
        let target = open(KIND, METHOD, &credentials(bed, &url), &parameters);
        let first = with_password(&bed.dn(user), &bed.app_password);
        survive_cuts(&*target, &proxy, 20, false, Some(first)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_changes_nothing() {
    let Some(bed) = shared() else { return };
    let (_, url) = secure(bed);
    let (name, good) = (bed.dn("wrong"), credentials(bed, &url));
    let parameters = json!({"dn": name});
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
    let current = with_password(&name, &bed.app_password);

    // Someone who may reset nobody's.
    let mut outsider = good.clone();
    (outsider["dn"], outsider["password"]) = (json!(bed.dn("outsider")), json!(bed.app_password));
    let outsider = open(KIND, METHOD, &outsider, &parameters);
    let intent = outsider.intend(Slot(0), None, random()).await.unwrap();
    said.push(refusal(outsider.set(&intent, None).await));
    assert!(said[4].contains("Reset Password"), "{said:?}");
    assert_eq!(outsider.log_in(&current).await.unwrap(), Login::Accepted);

    // A policy, for whoever sets it.
    for method in ["connection-principal", "target-principal"] {
        let weak =
            json!({"length": 5, "required": {"digits": 5, "lowercase": 0, "uppercase": 0, "symbols": 0}});
        let weak = json!({"dn": name, "rotationMethod": method, "passwordRequirements": weak});
        let weak = open(KIND, METHOD, &good, &weak);
        let short = weak.intend(Slot(0), Some(&current), random()).await.unwrap();
        said.push(refusal(weak.set(&short, Some(&current)).await));
        assert!(said.last().unwrap().contains("policy"), "{said:?}");
        assert_eq!(weak.log_in(&current).await.unwrap(), Login::Accepted);
    }

    // A password that rota does not have.
    let own = open(KIND, METHOD, &good, &json!({"dn": name, "rotationMethod": "target-principal"}));
    let unknown = with_password(&name, "another-one");
    said.push(refusal(own.set(&intent, Some(&unknown)).await));
    assert!(said.last().unwrap().contains("reconcile"), "{said:?}");

    // Nobody, by either name; and the connection itself, by the name that it does not use.
    for (name, part) in [
        (bed.dn("nobody"), "no such entry"),
        (format!("nobody@{DOMAIN}"), "no entry with the user principal name"),
        (bed.dn("ROTA_ADMIN"), "the connection's own"),
    ] {
        let nobody = open(KIND, METHOD, &good, &json!({"dn": name}));
        let missing = nobody.intend(Slot(0), None, random()).await.unwrap();
        said.push(refusal(nobody.set(&missing, None).await));
        assert!(said.last().unwrap().contains(part), "{said:?}");
    }

    // A directory of another make knows no unicodePwd, and this one no operation for passwords.
    let mut other = good.clone();
    (other["provider"], other["dn"]) = (json!("openldap"), json!(bed.dn("rota_admin")));
    let other = open(KIND, METHOD, &other, &parameters);
    said.push(refusal(other.set(&intent, None).await));
    assert!(said.last().unwrap().contains("provider"), "{said:?}");
    assert_eq!(other.log_in(&current).await.unwrap(), Login::Accepted);

    let shown = format!("{said:?}{:?}", connection(KIND, METHOD, &good));
    let secrets = [
        bed.admin_password.as_str(),
        "wrong-password",
        "another-one",
        credential_of(&intent).secret.expose(),
    ];
    assert_hidden(secrets, &[("what is said", shown), ("the log", bed.server.log())]);
    // What came through a check opens again from what is sealed.
    let sealed = connection(KIND, METHOD, &good).to_sealed();
    rota_targets::check(Connection::from_sealed(&sealed).unwrap(), &around()).await.unwrap();
}
