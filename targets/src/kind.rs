//! The fourteen kinds of systems, as Infisical's wire format names them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::connection::App;
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
    /// The app of the connections that it takes.
    pub app: App,
    /// Who chooses the secret, and how many are valid at once.
    pub model: Model,
    /// What is published: the identifier, then the secret.
    pub fields: [Field; 2],
    /// Whether it has never been run on a real system of its kind, only on what stands in for one: `docs/targets.md`.
    pub experimental: bool,
}

const fn describe(
    id: &'static str,
    name: &'static str,
    app: App,
    model: Model,
    fields: [(&'static str, &'static str); 2],
) -> Description {
    let [(first, first_mapped), (second, second_mapped)] = fields;
    let fields = [Field { name: first, mapped: first_mapped }, Field { name: second, mapped: second_mapped }];
    Description { id, name, app, model, fields, experimental: false }
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
        let described = match self {
            Self::PostgresCredentials => describe(
                "postgres-credentials",
                "PostgreSQL Credentials",
                App::Postgres,
                TwoUsers,
                [("username", "POSTGRES_DB_USERNAME"), ("password", "POSTGRES_DB_PASSWORD")],
            ),
            Self::MysqlCredentials => describe(
                "mysql-credentials",
                "MySQL Credentials",
                App::Mysql,
                TwoUsers,
                [("username", "MYSQL_USERNAME"), ("password", "MYSQL_PASSWORD")],
            ),
            Self::MssqlCredentials => describe(
                "mssql-credentials",
                "Microsoft SQL Server Credentials",
                App::Mssql,
                TwoUsers,
                [("username", "MSSQL_DB_USERNAME"), ("password", "MSSQL_DB_PASSWORD")],
            ),
            Self::OracledbCredentials => describe(
                "oracledb-credentials",
                "OracleDB Credentials",
                App::Oracledb,
                TwoUsers,
                [("username", "ORACLEDB_USERNAME"), ("password", "ORACLEDB_PASSWORD")],
            ),
            Self::MongodbCredentials => describe(
                "mongodb-credentials",
                "MongoDB Credentials",
                App::Mongodb,
                TwoUsers,
                [("username", "MONGODB_DB_USERNAME"), ("password", "MONGODB_DB_PASSWORD")],
            ),
            Self::RedisCredentials => describe(
                "redis-credentials",
                "Redis Credentials",
                App::Redis,
                Model::TwoPasswords,
                [("username", "REDIS_USERNAME"), ("password", "REDIS_PASSWORD")],
            ),
            Self::Auth0ClientSecret => describe(
                "auth0-client-secret",
                "Auth0 Client Secret",
                App::Auth0,
                Single,
                [("clientId", "AUTH0_CLIENT_ID"), ("clientSecret", "AUTH0_CLIENT_SECRET")],
            ),
            Self::AzureClientSecret => describe(
                "azure-client-secret",
                "Azure Client Secret",
                App::AzureClientSecrets,
                Keys,
                [("clientId", "AZURE_CLIENT_ID"), ("clientSecret", "AZURE_CLIENT_SECRET")],
            ),
            Self::OktaClientSecret => describe(
                "okta-client-secret",
                "Okta Client Secret",
                App::Okta,
                Keys,
                [("clientId", "OKTA_CLIENT_ID"), ("clientSecret", "OKTA_CLIENT_SECRET")],
            ),
            Self::DatabricksServicePrincipalSecret => describe(
                "databricks-service-principal-secret",
                "Databricks Service Principal Secret",
                App::Databricks,
                Keys,
                [("clientId", "DATABRICKS_CLIENT_ID"), ("clientSecret", "DATABRICKS_CLIENT_SECRET")],
            ),
            Self::AwsIamUserSecret => describe(
                "aws-iam-user-secret",
                "AWS IAM User Secret",
                App::Aws,
                Keys,
                [("accessKeyId", "AWS_ACCESS_KEY_ID"), ("secretAccessKey", "AWS_SECRET_ACCESS_KEY")],
            ),
            Self::LdapPassword => describe(
                "ldap-password",
                "LDAP Password",
                App::Ldap,
                Single,
                [("dn", "LDAP_DN"), ("password", "LDAP_PASSWORD")],
            ),
            Self::UnixLinuxLocalAccount => describe(
                "unix-linux-local-account",
                "Unix/Linux Local Account",
                App::Ssh,
                Single,
                [("username", "UNIX_USERNAME"), ("password", "UNIX_PASSWORD")],
            ),
            Self::WindowsLocalAccount => describe(
                "windows-local-account",
                "Windows Local Account",
                App::Smb,
                Single,
                [("username", "WINDOWS_USERNAME"), ("password", "WINDOWS_PASSWORD")],
            ),
        };
        let experimental = matches!(
            self,
            Self::Auth0ClientSecret
                | Self::AwsIamUserSecret
                | Self::AzureClientSecret
                | Self::DatabricksServicePrincipalSecret
                | Self::MssqlCredentials
                | Self::OktaClientSecret
                | Self::OracledbCredentials
                | Self::WindowsLocalAccount
        );
        Description { experimental, ..described }
    }

    /// A sample of how to make the users that take turns, with a password for the time until the first rotation.
    pub const fn create_user_statement(self) -> Option<&'static str> {
        Some(match self {
            Self::PostgresCredentials => {
                "-- Run it twice, for two users.\n\
                 CREATE USER \"app_user_1\" WITH PASSWORD 'temporary_password';\n\n\
                 GRANT CONNECT ON DATABASE my_database TO \"app_user_1\";\n\
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO \"app_user_1\";\n\
                 -- PostgreSQL 16 and later: rota's own role has to administer it.\n\
                 GRANT \"app_user_1\" TO \"rota\" WITH ADMIN OPTION;"
            }
            Self::MysqlCredentials => {
                "-- Run it twice, for two users.\n\
                 CREATE USER 'app_user_1'@'%' IDENTIFIED BY 'temporary_password';\n\n\
                 GRANT SELECT, INSERT, UPDATE, DELETE ON my_database.* TO 'app_user_1'@'%';"
            }
            Self::MssqlCredentials => {
                "-- Run it twice, for two logins.\n\
                 CREATE LOGIN [app_user_1] WITH PASSWORD = 'temporary_Passw0rd';\n\n\
                 USE my_database;\n\
                 CREATE USER [app_user_1] FOR LOGIN [app_user_1];\n\
                 GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::dbo TO [app_user_1];"
            }
            Self::OracledbCredentials => {
                "-- Run it twice, for two users.\n\
                 CREATE USER \"APP_USER_1\" IDENTIFIED BY \"temporary_password\";\n\n\
                 GRANT CREATE SESSION TO \"APP_USER_1\";"
            }
            Self::MongodbCredentials => {
                "// Run it twice, for two users.\n\
                 use my_database\n\
                 db.createUser({\n  user: \"app_user_1\",\n  pwd: \"temporary_password\",\n  \
                 roles: [{ role: \"readWrite\", db: \"my_database\" }]\n})"
            }
            _ => return None,
        })
    }

    /// A sample of a user's own statement.
    pub const fn rotation_statement(self) -> Option<&'static str> {
        Some(match self {
            Self::PostgresCredentials => "ALTER USER \"{{username}}\" WITH PASSWORD '{{password}}'",
            Self::MysqlCredentials => "ALTER USER '{{username}}'@'%' IDENTIFIED BY '{{password}}'",
            Self::MssqlCredentials => "ALTER LOGIN [{{username}}] WITH PASSWORD = '{{password}}'",
            Self::OracledbCredentials => "ALTER USER \"{{username}}\" IDENTIFIED BY \"{{password}}\"",
            _ => return None,
        })
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
    #[test]
    fn the_samples_of_statements_can_be_given_back() {
        for kind in Kind::ALL {
            let Some(statement) = kind.rotation_statement() else { continue };
            let given =
                serde_json::json!({"username1": "a", "username2": "b", "rotationStatement": statement});
            assert!(crate::parameters::Parameters::check(kind, &given, None).is_ok(), "{kind}");
        }
    }
}
