//! From a connection and parameters to a target.

use crate::auth0_client_secret::Auth0ClientSecret;
use crate::aws_iam_user_secret::AwsIamUserSecret;
use crate::azure_client_secret::AzureClientSecret;
use crate::connection::{App, Connection};
use crate::databricks_service_principal_secret::DatabricksServicePrincipalSecret;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::okta_client_secret::OktaClientSecret;
use crate::parameters::Parameters;
use crate::surroundings::Surroundings;
use crate::target::Target;
use crate::windows_local_account::WindowsLocalAccount;

/// The kinds that can be opened.
const AVAILABLE: &[Kind] = &[
    Kind::Auth0ClientSecret,
    Kind::AwsIamUserSecret,
    Kind::AzureClientSecret,
    Kind::DatabricksServicePrincipalSecret,
    Kind::OktaClientSecret,
    #[cfg(feature = "ldap")]
    Kind::LdapPassword,
    #[cfg(feature = "mongodb")]
    Kind::MongodbCredentials,
    #[cfg(feature = "mssql")]
    Kind::MssqlCredentials,
    #[cfg(feature = "mysql")]
    Kind::MysqlCredentials,
    #[cfg(feature = "oracle")]
    Kind::OracledbCredentials,
    #[cfg(feature = "postgres")]
    Kind::PostgresCredentials,
    #[cfg(feature = "redis")]
    Kind::RedisCredentials,
    #[cfg(feature = "ssh")]
    Kind::UnixLinuxLocalAccount,
    Kind::WindowsLocalAccount,
];

/// Whether rotations of this kind can be opened.
pub fn is_available(kind: Kind) -> bool {
    AVAILABLE.contains(&kind)
}

/// The target of a rotation. Nothing is connected to yet.
pub fn open(
    kind: Kind,
    connection: &Connection,
    parameters: &Parameters,
    around: &Surroundings,
) -> Result<Box<dyn Target>, Failure> {
    let app = kind.description().app;
    if connection.app() != app || parameters.kind() != kind {
        return Err(Failure::refused(format!("{kind} takes connections of the app {app}")));
    }
    Ok(match kind {
        Kind::Auth0ClientSecret => Box::new(Auth0ClientSecret::open(connection, parameters, around)?),
        Kind::AwsIamUserSecret => Box::new(AwsIamUserSecret::open(connection, parameters, around)?),
        Kind::AzureClientSecret => Box::new(AzureClientSecret::open(connection, parameters, around)?),
        Kind::DatabricksServicePrincipalSecret => {
            Box::new(DatabricksServicePrincipalSecret::open(connection, parameters, around)?)
        }
        Kind::OktaClientSecret => Box::new(OktaClientSecret::open(connection, parameters, around)?),
        #[cfg(feature = "ldap")]
        Kind::LdapPassword => Box::new(crate::ldap::Ldap::open(connection, parameters, &around.network)?),
        #[cfg(feature = "mongodb")]
        Kind::MongodbCredentials => {
            Box::new(crate::mongodb::Mongodb::open(connection, parameters, &around.network))
        }
        #[cfg(feature = "mssql")]
        Kind::MssqlCredentials => {
            Box::new(crate::mssql::Mssql::open(connection, parameters, &around.network))
        }
        #[cfg(feature = "mysql")]
        Kind::MysqlCredentials => {
            Box::new(crate::mysql::Mysql::open(connection, parameters, &around.network))
        }
        #[cfg(feature = "oracle")]
        Kind::OracledbCredentials => {
            Box::new(crate::oracle::Oracle::open(connection, parameters, &around.network))
        }
        #[cfg(feature = "postgres")]
        Kind::PostgresCredentials => {
            Box::new(crate::postgres::Postgres::open(connection, parameters, &around.network))
        }
        #[cfg(feature = "redis")]
        Kind::RedisCredentials => {
            Box::new(crate::redis::Redis::open(connection, parameters, &around.network))
        }
        #[cfg(feature = "ssh")]
        Kind::UnixLinuxLocalAccount => {
            Box::new(crate::ssh::Ssh::open(connection, parameters, &around.network)?)
        }
        Kind::WindowsLocalAccount => Box::new(WindowsLocalAccount::open(connection, parameters, around)?),
        #[cfg(not(all(
            feature = "ldap",
            feature = "mongodb",
            feature = "mssql",
            feature = "mysql",
            feature = "oracle",
            feature = "postgres",
            feature = "redis",
            feature = "ssh"
        )))]
        _ => {
            return Err(Failure::refused(format!(
                "rotations of the kind {kind} are not available in this build"
            )));
        }
    })
}

/// Reaches the system of a connection and logs in, changing nothing there. What comes back is the connection that is to
/// be kept: the same, with what was learned at first contact, such as the host key of a machine whose user named none.
pub async fn check(connection: Connection, around: &Surroundings) -> Result<Connection, Failure> {
    match connection.app() {
        App::Auth0 => Auth0ClientSecret::check_connection(&connection, around).await?,
        App::Aws => AwsIamUserSecret::check_connection(&connection, around).await?,
        App::AzureClientSecrets => AzureClientSecret::check_connection(&connection, around).await?,
        App::Databricks => DatabricksServicePrincipalSecret::check_connection(&connection, around).await?,
        App::Okta => OktaClientSecret::check_connection(&connection, around).await?,
        #[cfg(feature = "ldap")]
        App::Ldap => crate::ldap::Server::new(&connection, &around.network).check().await?,
        #[cfg(feature = "mongodb")]
        App::Mongodb => crate::mongodb::Server::new(&connection, &around.network).check().await?,
        #[cfg(feature = "mssql")]
        App::Mssql => crate::mssql::Server::new(&connection, &around.network).check().await?,
        #[cfg(feature = "mysql")]
        App::Mysql => crate::mysql::Server::new(&connection, &around.network).check().await?,
        #[cfg(feature = "oracle")]
        App::Oracledb => crate::oracle::Server::new(&connection, &around.network).check().await?,
        #[cfg(feature = "postgres")]
        App::Postgres => crate::postgres::Server::new(&connection, &around.network).check().await?,
        #[cfg(feature = "redis")]
        App::Redis => crate::redis::Server::new(&connection, &around.network).check().await?,
        App::Smb => WindowsLocalAccount::check_connection(&connection, around).await?,
        #[cfg(feature = "ssh")]
        App::Ssh => {
            let seen = crate::ssh::Server::new(&connection, &around.network).check().await?;
            return Ok(if connection.text("hostKey").is_some() {
                connection
            } else {
                connection.with_text("hostKey", seen)
            });
        }
        #[cfg(not(all(
            feature = "ldap",
            feature = "mongodb",
            feature = "mssql",
            feature = "mysql",
            feature = "oracle",
            feature = "postgres",
            feature = "redis",
            feature = "ssh"
        )))]
        app => {
            return Err(Failure::refused(format!(
                "connections of the app {app} are not available in this build"
            )));
        }
    }
    Ok(connection)
}
