//! The systems that connections lead to, and what each connection consists of.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::Url;

/// A kind of system that can be connected to. Its name on the wire is its [`App::id`], for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum App {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    /// Microsoft SQL Server.
    Mssql,
    /// Oracle Database.
    Oracledb,
    /// MongoDB.
    Mongodb,
    /// Redis.
    Redis,
    /// Auth0's Management API.
    Auth0,
    /// Amazon Web Services.
    Aws,
    /// Applications in Entra ID.
    AzureClientSecrets,
    /// Databricks.
    Databricks,
    /// Okta.
    Okta,
    /// Active Directory, or another LDAP directory.
    Ldap,
    /// A machine over SSH.
    Ssh,
    /// A Windows machine over SMB.
    Smb,
}

impl App {
    /// All of them, by name for people.
    pub const ALL: [Self; 14] = [
        Self::Auth0,
        Self::Aws,
        Self::AzureClientSecrets,
        Self::Databricks,
        Self::Ldap,
        Self::Mssql,
        Self::Mongodb,
        Self::Mysql,
        Self::Okta,
        Self::Oracledb,
        Self::Postgres,
        Self::Redis,
        Self::Ssh,
        Self::Smb,
    ];

    /// Its name on the wire.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mssql => "mssql",
            Self::Oracledb => "oracledb",
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
            Self::Auth0 => "auth0",
            Self::Aws => "aws",
            Self::AzureClientSecrets => "azure-client-secrets",
            Self::Databricks => "databricks",
            Self::Okta => "okta",
            Self::Ldap => "ldap",
            Self::Ssh => "ssh",
            Self::Smb => "smb",
        }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Mssql => "Microsoft SQL Server",
            Self::Oracledb => "OracleDB",
            Self::Mongodb => "MongoDB",
            Self::Redis => "Redis",
            Self::Auth0 => "Auth0",
            Self::Aws => "AWS",
            Self::AzureClientSecrets => "Azure Client Secrets",
            Self::Databricks => "Databricks",
            Self::Okta => "Okta",
            Self::Ldap => "LDAP",
            Self::Ssh => "SSH",
            Self::Smb => "Windows",
        }
    }

    /// The ways to authenticate there.
    pub const fn methods(self) -> &'static [Method] {
        match self {
            Self::Postgres | Self::Mysql | Self::Mssql | Self::Oracledb => SQL,
            Self::Mongodb => MONGODB,
            Self::Redis => REDIS,
            Self::Auth0 => AUTH0,
            Self::Aws => AWS,
            Self::AzureClientSecrets => AZURE,
            Self::Databricks => DATABRICKS,
            Self::Okta => OKTA,
            Self::Ldap => LDAP,
            Self::Ssh => SSH,
            Self::Smb => SMB,
        }
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// None of the apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no app has this name")]
pub struct UnknownApp;

impl FromStr for App {
    type Err = UnknownApp;

    fn from_str(text: &str) -> Result<Self, UnknownApp> {
        Self::ALL.into_iter().find(|app| app.id() == text).ok_or(UnknownApp)
    }
}

/// A way to authenticate.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Its name on the wire.
    pub id: &'static str,
    pub(super) fields: &'static [Field],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    /// Whether it is given back.
    pub(super) shown: bool,
}

/// Whether a text has its form, and what is said where it has not.
pub(super) type Form = (fn(&str) -> bool, &'static str);

#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Without the blanks around it.
    Text {
        max: usize,
        lower: bool,
        form: Form,
    },
    /// As it is, never shown.
    Secret {
        max: usize,
        form: Form,
    },
    /// A whole number, also as a string; 0 where the system has ways without one.
    Port {
        min: u16,
    },
    Flag,
    OneOf(&'static [&'static str]),
}

const ANY: Form = (|_| true, "");
const HOST: Form = (is_host, "must be a host name or an address");
const MONGODB_HOST: Form = (is_mongodb_host, "must be a host name or an address");
const UUID: Form = (is_uuid, "Invalid uuid");
const URL: Form = (|text| is_url(text, &["http", "https"]), "Invalid url");
const HTTPS: Form = (|text| is_url(text, &["https"]), "must be an https URL");
const LDAP_URL: Form = (|text| is_url(text, &["ldap", "ldaps"]), "must be an ldap:// or ldaps:// URL");
const DN: Form = (is_principal, "must be a distinguished name or a user principal name");
const CERTIFICATE: Form =
    (|text| text.contains("-----BEGIN CERTIFICATE-----"), "must be certificates in PEM");
const OKTA_TOKEN: Form = (is_okta_token, "must be 00 and 40 letters, digits, _ or -");
const SMB_HOST: Form =
    (is_smb_host, "must be letters, digits, dots and hyphens, and begin with neither of the last");
const SMB_USER: Form = (is_smb_user, "must be letters, digits, _, . and -");
const SMB_PASSWORD: Form = (
    |text| !text.contains([';', '|', '&', '`', '$', '(', ')', '\n', '\r']),
    "must have none of ; | & ` $ ( ) and no line break in it",
);
const HOST_KEY: Form =
    (is_host_key, "must be a public key as in known_hosts (ssh-ed25519 AAAA…) or its fingerprint (SHA256:…)");

const fn text(name: &'static str, form: Form) -> Field {
    Field { name, shape: Shape::Text { max: 1_024, lower: false, form }, required: true, shown: true }
}

const fn secret(name: &'static str) -> Field {
    Field { name, shape: Shape::Secret { max: 4_096, form: ANY }, required: true, shown: false }
}

const fn flag(name: &'static str) -> Field {
    Field { name, shape: Shape::Flag, required: true, shown: true }
}

const fn port(min: u16) -> Field {
    Field { name: "port", shape: Shape::Port { min }, required: true, shown: true }
}

const fn one_of(name: &'static str, values: &'static [&'static str]) -> Field {
    Field { name, shape: Shape::OneOf(values), required: true, shown: true }
}

const fn certificate(name: &'static str) -> Field {
    let shape = Shape::Text { max: 65_536, lower: false, form: CERTIFICATE };
    Field { name, shape, required: false, shown: true }
}

const fn optional(field: Field) -> Field {
    Field { required: false, ..field }
}

const fn hidden(field: Field) -> Field {
    Field { shown: false, ..field }
}

const fn at_most(max: usize, field: Field) -> Field {
    let shape = match field.shape {
        Shape::Text { lower, form, .. } => Shape::Text { max, lower, form },
        Shape::Secret { form, .. } => Shape::Secret { max, form },
        other => other,
    };
    Field { shape, ..field }
}

const fn of_form(form: Form, field: Field) -> Field {
    let shape = match field.shape {
        Shape::Text { lower, max, .. } => Shape::Text { max, lower, form },
        Shape::Secret { max, .. } => Shape::Secret { max, form },
        other => other,
    };
    Field { shape, ..field }
}

const fn lower_case(field: Field) -> Field {
    let shape = match field.shape {
        Shape::Text { max, form, .. } => Shape::Text { max, lower: true, form },
        other => other,
    };
    Field { shape, ..field }
}

const fn method(id: &'static str, fields: &'static [Field]) -> Method {
    Method { id, fields }
}

const SQL: &[Method] = &[method(
    "username-and-password",
    &[
        text("host", HOST),
        port(1),
        text("database", ANY),
        text("username", ANY),
        secret("password"),
        flag("sslEnabled"),
        flag("sslRejectUnauthorized"),
        certificate("sslCertificate"),
    ],
)];

const MONGODB: &[Method] = &[method(
    "username-and-password",
    &[
        lower_case(text("host", MONGODB_HOST)),
        port(0),
        text("username", ANY),
        secret("password"),
        text("database", ANY),
        flag("tlsEnabled"),
        flag("tlsRejectUnauthorized"),
        certificate("tlsCertificate"),
    ],
)];

const REDIS: &[Method] = &[method(
    "username-and-password",
    &[
        lower_case(text("host", HOST)),
        port(1),
        text("username", ANY),
        optional(secret("password")),
        flag("sslEnabled"),
        flag("sslRejectUnauthorized"),
        certificate("sslCertificate"),
    ],
)];

const AUTH0: &[Method] = &[method(
    "client-credentials",
    &[text("domain", HOST), text("clientId", ANY), secret("clientSecret"), text("audience", URL)],
)];

const AWS: &[Method] = &[
    method("assume-role", &[hidden(text("roleArn", ANY)), hidden(optional(text("stsEndpoint", HTTPS)))]),
    method("access-key", &[text("accessKeyId", ANY), secret("secretAccessKey")]),
];

const AZURE: &[Method] = &[
    method("oauth", &[secret("code"), text("tenantId", ANY)]),
    method(
        "client-secret",
        &[text("clientId", UUID), at_most(50, secret("clientSecret")), text("tenantId", UUID)],
    ),
    method(
        "certificate",
        &[
            text("tenantId", ANY),
            text("clientId", ANY),
            hidden(at_most(65_536, text("certificateBody", ANY))),
            at_most(65_536, secret("privateKey")),
        ],
    ),
];

const DATABRICKS: &[Method] = &[method(
    "service-principal",
    &[text("clientId", ANY), secret("clientSecret"), text("workspaceUrl", URL)],
)];

const OKTA: &[Method] = &[method(
    "api-token",
    &[at_most(255, text("instanceUrl", URL)), of_form(OKTA_TOKEN, secret("apiToken"))],
)];

/// `openldap` stands for every directory that changes passwords as RFC 3062 says.
pub(super) const LDAP_PROVIDERS: &[&str] = &["active-directory", "openldap"];

const LDAP: &[Method] = &[method(
    "simple-bind",
    &[
        one_of("provider", LDAP_PROVIDERS),
        text("url", LDAP_URL),
        text("dn", DN),
        secret("password"),
        optional(flag("sslRejectUnauthorized")),
        certificate("sslCertificate"),
    ],
)];

const SSH: &[Method] = &[
    method(
        "password",
        &[
            text("host", HOST),
            port(1),
            text("username", ANY),
            one_of("authMethod", &["password"]),
            secret("password"),
            optional(text("hostKey", HOST_KEY)),
        ],
    ),
    method(
        "ssh-key",
        &[
            text("host", HOST),
            port(1),
            text("username", ANY),
            one_of("authMethod", &["ssh-key"]),
            at_most(65_536, secret("privateKey")),
            optional(secret("passphrase")),
            optional(text("hostKey", HOST_KEY)),
        ],
    ),
];

const SMB: &[Method] = &[method(
    "credentials",
    &[
        at_most(253, text("host", SMB_HOST)),
        port(1),
        optional(at_most(255, text("domain", ANY))),
        at_most(104, text("username", SMB_USER)),
        of_form(SMB_PASSWORD, secret("password")),
    ],
)];

fn is_host(text: &str) -> bool {
    let name = text.trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok()
        || text.len() <= 253
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_mongodb_host(text: &str) -> bool {
    let bare =
        text.strip_prefix("mongodb+srv://").or_else(|| text.strip_prefix("mongodb://")).unwrap_or(text);
    is_host(bare)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    Url::parse(text).is_ok_and(|url| {
        schemes.contains(&url.scheme())
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
    })
}

/// A distinguished name (pairs of attribute and value), or `user@domain.tld`.
pub(crate) fn is_principal(text: &str) -> bool {
    if text.chars().any(char::is_control) {
        return false;
    }
    is_user_principal_name(text) || is_distinguished_name(text)
}

/// `user@domain.tld`
pub(crate) fn is_user_principal_name(text: &str) -> bool {
    let Some((user, domain)) = text.rsplit_once('@') else { return false };
    !user.is_empty()
        && !user.contains(|c: char| c.is_whitespace() || "=,()*\\\"@".contains(c))
        && domain.contains('.')
        && domain
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

fn is_distinguished_name(text: &str) -> bool {
    let mut parts = Vec::new();
    let (mut part, mut escaped) = (String::new(), false);
    for character in text.chars() {
        match character {
            ',' if !escaped => parts.push(std::mem::take(&mut part)),
            other => part.push(other),
        }
        escaped = character == '\\' && !escaped;
    }
    parts.push(part);
    parts.iter().all(|part| {
        part.split_once('=').is_some_and(|(attribute, value)| {
            let attribute = attribute.trim();
            !attribute.is_empty()
                && attribute.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
                && !value.trim().is_empty()
        })
    })
}

fn is_okta_token(text: &str) -> bool {
    text.len() == 42
        && text.starts_with("00")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_smb_host(text: &str) -> bool {
    !text.starts_with(['-', '.'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

fn is_smb_user(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_host_key(text: &str) -> bool {
    let base64 = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
    };
    if let Some(digest) = text.strip_prefix("SHA256:") {
        return digest.trim_end_matches('=').len() == 43 && base64(digest);
    }
    let mut words = text.split_whitespace();
    let algorithm = words.next().is_some_and(|word| word.starts_with("ssh-") || word.starts_with("ecdsa-"));
    algorithm && words.next().is_some_and(base64)
}
