//! The fourteen kinds of systems, as Infisical's wire format names them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::target::Model;

/// A kind of target. Its name on the wire and in events is its [`Kind::id`], for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Two roles of a PostgreSQL, used in turn.
    PostgresCredentials,
    /// Two accounts of a MySQL or MariaDB, used in turn.
    MysqlCredentials,
    /// Two logins of a Microsoft SQL Server, used in turn.
    MssqlCredentials,
    /// Two users of an Oracle Database, used in turn.
    OracledbCredentials,
    /// Two users of a MongoDB, used in turn.
    MongodbCredentials,
    /// A user of a Redis.
    RedisCredentials,
    /// The secret of an Auth0 application.
    Auth0ClientSecret,
    /// Password credentials of an application in Entra ID.
    AzureClientSecret,
    /// Client secrets of an Okta application.
    OktaClientSecret,
    /// Secrets of a Databricks service principal.
    DatabricksServicePrincipalSecret,
    /// Access keys of an AWS IAM user.
    AwsIamUserSecret,
    /// The password of an entry in Active Directory or another LDAP directory.
    LdapPassword,
    /// The password of an account on a Unix machine, over SSH.
    UnixLinuxLocalAccount,
    /// The password of an account on a Windows machine, over SMB.
    WindowsLocalAccount,
}

/// A field of a published credential, and the name of the secret that it is published under unless asked otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in `secretsMapping` and in the credential, such as `clientSecret`.
    pub name: &'static str,
    /// The default name of the mapped secret, such as `AUTH0_CLIENT_SECRET`.
    pub mapped: &'static str,
}

/// What is fixed for a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// `postgres-credentials`.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// The app of the connections that it takes, `postgres`.
    pub app: &'static str,
    /// Who chooses the secret, and how many are valid at once.
    pub model: Model,
    /// What is published: the identifier, then the secret.
    pub fields: [Field; 2],
}

const fn describe(
    id: &'static str,
    name: &'static str,
    app: &'static str,
    model: Model,
    fields: [(&'static str, &'static str); 2],
) -> Description {
    let [(first, first_mapped), (second, second_mapped)] = fields;
    let fields = [Field { name: first, mapped: first_mapped }, Field { name: second, mapped: second_mapped }];
    Description { id, name, app, model, fields }
}

impl Kind {
    /// All of them, by name for people.
    pub const ALL: [Self; 14] = [
        Self::Auth0ClientSecret,
        Self::AwsIamUserSecret,
        Self::AzureClientSecret,
        Self::DatabricksServicePrincipalSecret,
        Self::LdapPassword,
        Self::MssqlCredentials,
        Self::MongodbCredentials,
        Self::MysqlCredentials,
        Self::OktaClientSecret,
        Self::OracledbCredentials,
        Self::PostgresCredentials,
        Self::RedisCredentials,
        Self::UnixLinuxLocalAccount,
        Self::WindowsLocalAccount,
    ];

    /// What is fixed for it.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub const fn description(self) -> Description {
        use Model::{Keys, Single, TwoUsers};
        match self {
            Self::PostgresCredentials => describe(
                "postgres-credentials",
                "PostgreSQL Credentials",
                "postgres",
                TwoUsers,
                [("username", "POSTGRES_DB_USERNAME"), ("password", "POSTGRES_DB_PASSWORD")],
            ),
            Self::MysqlCredentials => describe(
                "mysql-credentials",
                "MySQL Credentials",
                "mysql",
                TwoUsers,
                [("username", "MYSQL_USERNAME"), ("password", "MYSQL_PASSWORD")],
            ),
            Self::MssqlCredentials => describe(
                "mssql-credentials",
                "Microsoft SQL Server Credentials",
                "mssql",
                TwoUsers,
                [("username", "MSSQL_DB_USERNAME"), ("password", "MSSQL_DB_PASSWORD")],
            ),
            Self::OracledbCredentials => describe(
                "oracledb-credentials",
                "OracleDB Credentials",
                "oracledb",
                TwoUsers,
                [("username", "ORACLEDB_USERNAME"), ("password", "ORACLEDB_PASSWORD")],
            ),
            Self::MongodbCredentials => describe(
                "mongodb-credentials",
                "MongoDB Credentials",
                "mongodb",
                TwoUsers,
                [("username", "MONGODB_DB_USERNAME"), ("password", "MONGODB_DB_PASSWORD")],
            ),
            Self::RedisCredentials => describe(
                "redis-credentials",
                "Redis Credentials",
                "redis",
                Model::TwoPasswords,
                [("username", "REDIS_USERNAME"), ("password", "REDIS_PASSWORD")],
            ),
            Self::Auth0ClientSecret => describe(
                "auth0-client-secret",
                "Auth0 Client Secret",
                "auth0",
                Single,
                [("clientId", "AUTH0_CLIENT_ID"), ("clientSecret", "AUTH0_CLIENT_SECRET")],
            ),
            Self::AzureClientSecret => describe(
                "azure-client-secret",
                "Azure Client Secret",
                "azure-client-secrets",
                Keys,
                [("clientId", "AZURE_CLIENT_ID"), ("clientSecret", "AZURE_CLIENT_SECRET")],
            ),
            Self::OktaClientSecret => describe(
                "okta-client-secret",
                "Okta Client Secret",
                "okta",
                Keys,
                [("clientId", "OKTA_CLIENT_ID"), ("clientSecret", "OKTA_CLIENT_SECRET")],
            ),
            Self::DatabricksServicePrincipalSecret => describe(
                "databricks-service-principal-secret",
                "Databricks Service Principal Secret",
                "databricks",
                Keys,
                [("clientId", "DATABRICKS_CLIENT_ID"), ("clientSecret", "DATABRICKS_CLIENT_SECRET")],
            ),
            Self::AwsIamUserSecret => describe(
                "aws-iam-user-secret",
                "AWS IAM User Secret",
                "aws",
                Keys,
                [("accessKeyId", "AWS_ACCESS_KEY_ID"), ("secretAccessKey", "AWS_SECRET_ACCESS_KEY")],
            ),
            Self::LdapPassword => describe(
                "ldap-password",
                "LDAP Password",
                "ldap",
                Single,
                [("dn", "LDAP_DN"), ("password", "LDAP_PASSWORD")],
            ),
            Self::UnixLinuxLocalAccount => describe(
                "unix-linux-local-account",
                "Unix/Linux Local Account",
                "ssh",
                Single,
                [("username", "UNIX_USERNAME"), ("password", "UNIX_PASSWORD")],
            ),
            Self::WindowsLocalAccount => describe(
                "windows-local-account",
                "Windows Local Account",
                "smb",
                Single,
                [("username", "WINDOWS_USERNAME"), ("password", "WINDOWS_PASSWORD")],
            ),
        }
    }

    /// Its name on the wire and in events.
    pub const fn id(self) -> &'static str {
        self.description().id
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// None of the fourteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no kind of target has this name")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.id() == text).ok_or(UnknownKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_serde_writes_and_reads() {
        for kind in Kind::ALL {
            assert_eq!(kind.id().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.id());
        }
        assert_eq!("postgres".parse::<Kind>(), Err(UnknownKind));
    }
}
