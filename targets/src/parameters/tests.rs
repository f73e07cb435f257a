use serde_json::json;

use super::*;

fn requirements() -> Value {
    json!({"length": 20, "required": {"digits": 1, "lowercase": 1, "uppercase": 1, "symbols": 1},
        "allowedSymbols": "-_"})
}

/// Good parameters of every kind.
fn all() -> Vec<(Kind, Value)> {
    let users = json!({"username1": " a ", "username2": "b", "passwordRequirements": requirements()});
    let mut postgres = users.clone();
    postgres["rotationStatement"] = json!("ALTER USER \"{{username}}\" PASSWORD '{{password}}'");
    vec![
        (Kind::PostgresCredentials, postgres),
        (Kind::MysqlCredentials, users.clone()),
        (Kind::MssqlCredentials, users.clone()),
        (Kind::OracledbCredentials, users.clone()),
        (Kind::MongodbCredentials, users),
        (
            Kind::RedisCredentials,
            json!({"permissionScope": "~* +@all", "passwordRequirements": requirements()}),
        ),
        (Kind::Auth0ClientSecret, json!({"clientId": "c"})),
        (Kind::AzureClientSecret, json!({"objectId": "o", "clientId": "c", "appName": "n"})),
        (Kind::OktaClientSecret, json!({"clientId": "c"})),
        (
            Kind::DatabricksServicePrincipalSecret,
            json!({"servicePrincipalId": "1", "clientId": "c", "servicePrincipalName": "n"}),
        ),
        (Kind::AwsIamUserSecret, json!({"userName": "u", "region": "eu-central-1"})),
        (Kind::LdapPassword, json!({"dn": "cn=a,dc=b", "passwordRequirements": requirements()})),
        (
            Kind::UnixLinuxLocalAccount,
            json!({"username": "u-1", "rotationMethod": "login-as-root", "useSudo": true,
                "passwordRequirements": requirements()}),
        ),
        (Kind::WindowsLocalAccount, json!({"username": "u_1", "passwordRequirements": requirements()})),
    ]
}

fn found(issues: &[Issue]) -> Vec<(String, Code)> {
    issues.iter().map(|issue| (issue.path.join("."), issue.code)).collect()
}

#[test]
fn what_is_known_is_kept_and_given_back_and_the_rest_passed_over() {
    assert_eq!(all().len(), Kind::ALL.len());
    for (kind, value) in all() {
        let mut given = value.clone();
        given["Provider"] = json!({"anything": 1});
        let parameters =
            Parameters::check(kind, &given, None).unwrap_or_else(|issues| panic!("{kind}: {issues:?}"));
        let mut kept = value;
        if kept.get("username1").is_some() {
            kept["username1"] = json!("a");
        }
        assert_eq!(parameters.value(), kept, "{kind}");
        let again = Parameters::from_value(kind, &kept).unwrap();
        assert_eq!((again.value(), again.kind()), (kept, kind));
        if again.value().get("passwordRequirements").is_some() {
            assert_eq!(
                again.requirements().generate(&[1; 32]).expose().len(),
                20,
                "{kind} honours the length"
            );
        }
    }
}

#[test]
fn every_bad_parameter_is_named() {
    for (kind, field, value, code) in [
        (Kind::PostgresCredentials, "username1", json!(" "), Code::TooSmall),
        (Kind::PostgresCredentials, "username1", json!(1), Code::InvalidType),
        (Kind::PostgresCredentials, "rotationStatement", json!("ALTER USER {{username}}"), Code::Custom),
        (
            Kind::PostgresCredentials,
            "rotationStatement",
            json!("{{username}}{{password}}{{host}}"),
            Code::Custom,
        ),
        (Kind::MysqlCredentials, "rotationStatement", json!(7), Code::InvalidType),
        (Kind::RedisCredentials, "permissionScope", json!("~* nopass"), Code::Custom),
        (Kind::Auth0ClientSecret, "clientId", json!(""), Code::TooSmall),
        (Kind::AwsIamUserSecret, "region", json!("mars"), Code::InvalidEnumValue),
        (Kind::LdapPassword, "dn", json!("root"), Code::InvalidString),
        (Kind::LdapPassword, "rotationMethod", json!("login-as-root"), Code::InvalidEnumValue),
        (Kind::UnixLinuxLocalAccount, "username", json!("a:b"), Code::InvalidString),
        (Kind::UnixLinuxLocalAccount, "username", json!("-d"), Code::InvalidString),
        (Kind::UnixLinuxLocalAccount, "useSudo", json!("yes"), Code::InvalidType),
        (Kind::WindowsLocalAccount, "username", json!("a".repeat(21)), Code::TooBig),
        (Kind::WindowsLocalAccount, "passwordRequirements", json!([]), Code::InvalidType),
    ] {
        let mut given = all().into_iter().find(|(known, _)| *known == kind).unwrap().1;
        given[field] = value;
        let issues = Parameters::check(kind, &given, None).unwrap_err();
        assert_eq!(found(&issues), [(format!("parameters.{field}"), code)], "{kind}");
    }
    let issues = Parameters::check(Kind::PostgresCredentials, &json!({}), None).unwrap_err();
    assert_eq!(
        found(&issues),
        ["username1", "username2"].map(|name| (format!("parameters.{name}"), Code::InvalidType))
    );
}

#[test]
fn the_same_user_twice_is_against_the_rules() {
    for (kind, first, second, equal) in [
        (Kind::PostgresCredentials, "app", "app", true),
        (Kind::PostgresCredentials, "app", "App", false),
        (Kind::MssqlCredentials, "app", "App", true),
        (Kind::MongodbCredentials, " app", "app ", true),
    ] {
        let given = json!({"username1": first, "username2": second});
        let issues = Parameters::check(kind, &given, None).err().unwrap_or_default();
        assert_eq!(issues.iter().any(|issue| issue.code == Code::Rule), equal, "{kind} {first} {second}");
    }
}

#[test]
fn an_account_that_changes_its_own_password_needs_the_one_it_has() {
    for (kind, field, account, method) in [
        (Kind::LdapPassword, "dn", "u@d.tld", "target-principal"),
        (Kind::UnixLinuxLocalAccount, "username", "u", "login-as-target"),
        (Kind::WindowsLocalAccount, "username", "u", "login-as-target"),
    ] {
        let given = json!({field: account, "rotationMethod": method});
        let missing = Parameters::check(kind, &given, None).unwrap_err();
        assert_eq!(found(&missing), [("temporaryParameters".to_owned(), Code::InvalidType)]);
        let empty = Parameters::check(kind, &given, Some(&json!({"password": ""}))).unwrap_err();
        assert_eq!(found(&empty), [("temporaryParameters.password".to_owned(), Code::TooSmall)]);
        let mut parameters = Parameters::check(kind, &given, Some(&json!({"password": " now "}))).unwrap();
        assert!(!format!("{parameters:?}{}", parameters.value()).contains(" now "));
        assert_eq!(parameters.by(), By::Account);
        let current = parameters.take_current().unwrap();
        assert_eq!((current.public[field].as_str(), current.secret.expose()), (account, " now "));
        assert!(parameters.take_current().is_none());
        // Both are told at once.
        let both = Parameters::check(kind, &json!({field: 7, "rotationMethod": method}), None).unwrap_err();
        assert_eq!(both.len(), 2);
        // It is not read where it is not needed, and not asked for again.
        assert!(Parameters::check(kind, &json!({field: account}), Some(&json!(7))).is_ok());
        assert!(Parameters::from_value(kind, &given).is_ok());
    }
}

#[test]
fn an_update_replaces_all_but_whose_password_it_is_and_who_changes_it() {
    let given = json!({"username": "u", "rotationMethod": "login-as-root", "useSudo": true});
    let before = Parameters::check(Kind::UnixLinuxLocalAccount, &given, None).unwrap();
    let after = before.check_update(&json!({"username": "u", "rotationMethod": "login-as-root"})).unwrap();
    assert_eq!(after.value(), json!({"username": "u", "rotationMethod": "login-as-root"}));
    for (value, changed) in [
        (json!({"username": "v", "rotationMethod": "login-as-root"}), "parameters.username"),
        (json!({"username": "u"}), "parameters.rotationMethod"),
    ] {
        assert_eq!(found(&before.check_update(&value).unwrap_err()), [(changed.to_owned(), Code::Rule)]);
    }
    let redis = Parameters::check(Kind::RedisCredentials, &json!({"permissionScope": "~a"}), None).unwrap();
    assert!(redis.check_update(&json!({"permissionScope": "~b"})).is_ok());
}

#[test]
fn databricks_has_a_longest_interval() {
    assert_eq!(check_interval(Kind::DatabricksServicePrincipalSecret, 363.0), Ok(()));
    assert!(check_interval(Kind::DatabricksServicePrincipalSecret, 363.5).is_err());
    assert_eq!(check_interval(Kind::OktaClientSecret, 10_000.0), Ok(()));
}
