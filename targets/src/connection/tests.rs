use serde_json::json;

use super::*;

/// A good connection for every app and method, with the fields that must never come back.
fn all() -> Vec<(App, &'static str, Value, &'static [&'static str])> {
    let sql = json!({"host": " db.example ", "port": "5432", "database": "d", "username": "u", "password": " pass ",
        "sslEnabled": true, "sslRejectUnauthorized": false, "sslCertificate": "", "unknown": 1});
    let uuid = "0b3cd3b9-0c9c-4b2e-9c1e-0f3a1d1f2a3b";
    let token = format!("00{}", "a".repeat(40));
    vec![
        (App::Postgres, "username-and-password", sql.clone(), &["password"]),
        (App::Mysql, "username-and-password", sql.clone(), &["password"]),
        (App::Mssql, "username-and-password", sql.clone(), &["password"]),
        (App::Oracledb, "username-and-password", sql, &["password"]),
        (
            App::Mongodb,
            "username-and-password",
            json!({"host": "mongodb+srv://DB.example", "username": "u", "password": "pass", "database": "d",
                "tlsEnabled": true, "tlsRejectUnauthorized": true}),
            &["password"],
        ),
        (
            App::Redis,
            "username-and-password",
            json!({"host": "R.example", "port": 6379, "username": "default", "sslEnabled": false,
                "sslRejectUnauthorized": true}),
            &[],
        ),
        (
            App::Auth0,
            "client-credentials",
            json!({"domain": "t.example", "clientId": "c", "clientSecret": "pass", "audience": "https://t.example/api/v2/"}),
            &["clientSecret"],
        ),
        (App::Aws, "assume-role", json!({"roleArn": "arn:aws:iam::1:role/r"}), &["roleArn"]),
        (
            App::Aws,
            "access-key",
            json!({"accessKeyId": "AKIA", "secretAccessKey": "pass"}),
            &["secretAccessKey"],
        ),
        (App::AzureClientSecrets, "oauth", json!({"code": "pass", "tenantId": "t"}), &["code"]),
        (
            App::AzureClientSecrets,
            "client-secret",
            json!({"clientId": uuid, "clientSecret": "pass", "tenantId": uuid}),
            &["clientSecret"],
        ),
        (
            App::AzureClientSecrets,
            "certificate",
            json!({"clientId": "c", "tenantId": "t", "certificateBody": "body", "privateKey": "pass"}),
            &["privateKey", "certificateBody"],
        ),
        (
            App::Databricks,
            "service-principal",
            json!({"clientId": "c", "clientSecret": "pass", "workspaceUrl": "https://w.example"}),
            &["clientSecret"],
        ),
        (
            App::Okta,
            "api-token",
            json!({"instanceUrl": "https://o.example", "apiToken": token}),
            &["apiToken"],
        ),
        (
            App::Ldap,
            "simple-bind",
            json!({"provider": "active-directory", "url": "ldaps://dc.example:636", "dn": "cn=a\\,b, dc=example,dc=com",
                "password": "pass"}),
            &["password"],
        ),
        (
            App::Ssh,
            "password",
            json!({"host": "10.0.0.1", "port": 22, "username": "root", "authMethod": "password", "password": "pass"}),
            &["password"],
        ),
        (
            App::Ssh,
            "ssh-key",
            json!({"host": "::1", "port": 22, "username": "root", "authMethod": "ssh-key", "privateKey": "pass",
                "passphrase": "pass2", "hostKey": "ssh-ed25519 AAAAC3Nz comment"}),
            &["privateKey", "passphrase"],
        ),
        (
            App::Smb,
            "credentials",
            json!({"host": "win.example", "port": 445, "domain": "D", "username": "u", "password": "pass"}),
            &["password"],
        ),
    ]
}

#[test]
fn every_method_is_read_shown_without_secrets_and_sealed_with_them() {
    let mut seen = Vec::new();
    for (app, method, given, secrets) in all() {
        seen.push((app, method));
        let connection =
            Connection::check(app, method, &given).unwrap_or_else(|issues| panic!("{app}: {issues:?}"));
        let shown = connection.public();
        for secret in secrets {
            assert!(shown.get(secret).is_none(), "{app} shows {secret}");
        }
        let texts = [shown.to_string(), format!("{connection:?}")];
        assert!(texts.iter().all(|text| !text.contains("pass\"") && !text.contains("00aaa")), "{texts:?}");
        let sealed = connection.to_sealed();
        for secret in secrets {
            let text = serde_json::to_string(&given[secret]).unwrap();
            let found = sealed.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(found, "{app} does not keep {secret}");
        }
        let again = Connection::from_sealed(&sealed).unwrap();
        assert_eq!((again.app(), again.method()), (app, method));
        assert_eq!(*again.to_sealed(), *sealed);
    }
    let known = App::ALL.iter().flat_map(|app| app.methods().iter().map(|method| (*app, method.id)));
    for method in known {
        assert!(seen.contains(&method), "{method:?} is not tried");
    }
    assert_eq!(Connection::from_sealed(b"{}").err(), Some(Unreadable));
}

#[test]
fn fields_are_trimmed_coerced_and_folded_as_they_say() {
    let [(_, _, sql, _), .., (_, _, mongodb, _), (_, _, redis, _)] = &all()[..6] else { panic!() };
    let sql = Connection::check(App::Postgres, "username-and-password", sql).unwrap();
    assert_eq!(
        sql.public(),
        json!({"host": "db.example", "port": 5432, "database": "d", "username": "u",
        "sslEnabled": true, "sslRejectUnauthorized": false})
    );
    assert_eq!(sql.secret("password").unwrap().expose(), " pass ");
    let mongodb = Connection::check(App::Mongodb, "username-and-password", mongodb).unwrap();
    assert_eq!((mongodb.text("host"), mongodb.port()), (Some("mongodb+srv://db.example"), 0));
    let redis = Connection::check(App::Redis, "username-and-password", redis).unwrap();
    assert_eq!((redis.text("host"), redis.secret("password").is_some()), (Some("r.example"), false));
}

#[test]
fn every_bad_field_is_named_and_its_value_is_not() {
    let good: BTreeMap<_, _> =
        all().into_iter().map(|(app, method, given, _)| ((app, method), given)).collect();
    for (app, method, field, value, code) in [
        (App::Postgres, "username-and-password", "host", json!(""), Code::TooSmall),
        (App::Postgres, "username-and-password", "host", json!("a b"), Code::InvalidString),
        (App::Postgres, "username-and-password", "port", json!(0), Code::TooSmall),
        (App::Postgres, "username-and-password", "port", json!(70_000), Code::TooBig),
        (App::Postgres, "username-and-password", "port", json!(1.5), Code::InvalidType),
        (App::Postgres, "username-and-password", "port", json!("x"), Code::InvalidType),
        (App::Postgres, "username-and-password", "sslEnabled", json!("true"), Code::InvalidType),
        (App::Postgres, "username-and-password", "sslCertificate", json!("SECRET"), Code::InvalidString),
        (App::Postgres, "username-and-password", "password", json!(4711), Code::InvalidType),
        (App::Postgres, "username-and-password", "password", json!("x".repeat(5_000)), Code::TooBig),
        (App::Okta, "api-token", "apiToken", json!("SECRET"), Code::InvalidString),
        (App::Okta, "api-token", "instanceUrl", json!("o.example"), Code::InvalidString),
        (App::AzureClientSecrets, "client-secret", "clientSecret", json!("S".repeat(51)), Code::TooBig),
        (App::AzureClientSecrets, "client-secret", "tenantId", json!("t"), Code::InvalidString),
        (App::Aws, "assume-role", "stsEndpoint", json!("http://sts.example"), Code::InvalidString),
        (App::Ldap, "simple-bind", "provider", json!("novell"), Code::InvalidEnumValue),
        (App::Ldap, "simple-bind", "url", json!("http://dc.example"), Code::InvalidString),
        (App::Ldap, "simple-bind", "dn", json!("root"), Code::InvalidString),
        (App::Ssh, "password", "authMethod", json!("ssh-key"), Code::InvalidEnumValue),
        (App::Ssh, "password", "hostKey", json!("AAAA"), Code::InvalidString),
        (App::Smb, "credentials", "host", json!("-win"), Code::InvalidString),
        (App::Smb, "credentials", "password", json!("SEC$RET"), Code::InvalidString),
    ] {
        let mut given = good[&(app, method)].clone();
        given[field] = value;
        let issues = Connection::check(app, method, &given).unwrap_err();
        assert_eq!(issues.len(), 1, "{issues:?}");
        assert_eq!(issues[0].path, ["credentials", field]);
        assert_eq!(issues[0].code, code, "{app} {field}");
        assert!(
            !format!("{issues:?}").contains("SEC") && !format!("{issues:?}").contains("4711"),
            "{issues:?}"
        );
    }
    let missing = Connection::check(App::Postgres, "username-and-password", &json!({})).unwrap_err();
    let missing: Vec<_> =
        missing.iter().map(|issue| (issue.path[1].as_str(), issue.message.as_str())).collect();
    let names = ["host", "port", "database", "username", "password", "sslEnabled", "sslRejectUnauthorized"];
    assert_eq!(missing, names.map(|name| (name, "Required")));
    let issues = Connection::check(App::Postgres, "iam", &json!({})).unwrap_err();
    assert_eq!((issues[0].path[0].as_str(), issues[0].code), ("method", Code::InvalidEnumValue));
    let issues = Connection::check(App::Postgres, "username-and-password", &json!(7)).unwrap_err();
    assert_eq!((issues[0].path.len(), issues.len()), (1, 1));
}

#[test]
fn principals_are_told_from_other_texts() {
    for good in ["cn=a", "CN=A B, OU=x\\,y ,DC=d", "1.2.3=x", "u@d.tld", "svc-x.y@corp.example.com"] {
        assert!(is_principal(good), "{good}");
    }
    for bad in ["a", "=a", "cn=", "cn=a,", "a@b", "@d.tld", "u@.tld", "cn=a,b", "cn=a\nb=c", "(u)@d.tld"] {
        assert!(!is_principal(bad), "{bad}");
    }
}
