//! `windows-local-account`: the password of an account of a Windows machine, over SMB, through Samba's `rpcclient`.
//!
//! Nothing else speaks what it takes (SAMR) and can be had. What it prints is read for `NT_STATUS_…`; its exit code
//! says nothing. Commands go in by its standard input, where a `;` does not end one, and the connection's password is
//! in a file that nobody else can read: no secret is on a command line. That a password works is told by logging in
//! with it, which has to answer with the account's own name, since a server may let strangers in as guests.

mod client;

use async_trait::async_trait;

use self::client::{Account, Client, Said};
use crate::chosen::{copy, copy_secret, credential, intended};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::parameters::{By, Parameters};
use crate::password::Requirements;
use crate::surroundings::Surroundings;
use crate::target::{Credential, Intent, Login, Plan, Right, Slot, Target};

/// A password in itself, encrypted with the session's key (`UserInternal4Information`): what every Windows takes.
const LEVEL: &str = "23";

/// The password of one local account.
pub struct WindowsLocalAccount {
    client: Client,
    own: Account,
    username: String,
    by: By,
    requirements: Requirements,
}

impl WindowsLocalAccount {
    /// Of a connection and parameters.
    pub(crate) fn open(
        connection: &Connection,
        parameters: &Parameters,
        around: &Surroundings,
    ) -> Result<Self, Failure> {
        let (client, own) = of(connection, around)?;
        let username = parameters.required("username");
        if username.eq_ignore_ascii_case(&own.name) {
            return Err(Failure::refused(
                "the account is the connection's own: rotating it would lock the connection out; use another connection",
            ));
        }
        Ok(Self { client, own, username, by: parameters.by(), requirements: parameters.requirements() })
    }

    /// Logs in as the connection's account.
    pub(crate) async fn check_connection(
        connection: &Connection,
        around: &Surroundings,
    ) -> Result<(), Failure> {
        let (client, own) = of(connection, around)?;
        log_in_or_fail(&client, &own).await
    }

    /// The account, as it logs in: to this machine, not to a domain that the connection may be of.
    fn account(&self, credential: &Credential) -> Account {
        Account { name: self.username.clone(), domain: None, password: copy_secret(&credential.secret) }
    }

    /// Whether what a command said is that it was done.
    fn done(&self, said: &Said, account: &str) -> Result<(), Failure> {
        match said.status.as_deref() {
            None => Ok(()),
            Some("NT_STATUS_ACCESS_DENIED") => Err(Failure::refused(
                "the machine denies access (NT_STATUS_ACCESS_DENIED): the connection's account must be an administrator \
                 there, also over the network (LocalAccountTokenFilterPolicy)",
            )),
            Some("NT_STATUS_NONE_MAPPED" | "NT_STATUS_NO_SUCH_USER") => {
                Err(Failure::refused(format!("the machine has no account {}", self.username)))
            }
            Some(
                status @ ("NT_STATUS_PASSWORD_RESTRICTION"
                | "NT_STATUS_PWD_TOO_SHORT"
                | "NT_STATUS_PWD_TOO_RECENT"
                | "NT_STATUS_PWD_HISTORY_CONFLICT"
                | "NT_STATUS_ILL_FORMED_PASSWORD"),
            ) => Err(Failure::refused(format!(
                "the machine's password policy refuses the new password ({status}): it may be too short, too simple, or \
                 changed too soon after the one before; change passwordRequirements or the policy"
            ))),
            Some(status) => Err(said.failure(status, account)),
        }
    }

    async fn reset_to(&self, credential: &Credential) -> Result<(), Failure> {
        let password = client::word(&credential.secret)?;
        let command =
            zeroize::Zeroizing::new(format!("setuserinfo2 {} {LEVEL} {}", self.username, *password));
        let said = self.client.run(&self.own, &command, true).await?;
        self.done(&said, &self.own.name)
    }

    /// The account changes its own password, which takes no right but knowing it.
    async fn change_to(&self, credential: &Credential, current: &Credential) -> Result<(), Failure> {
        let (old, new) = (client::word(&current.secret)?, client::word(&credential.secret)?);
        let account = self.account(current);
        let line =
            |verb: &str| zeroize::Zeroizing::new(format!("{verb} {} {} {}", self.username, *old, *new));
        let mut said = self.client.run(&account, &line("chgpasswd4"), true).await?;
        // Older machines know nothing of it.
        if said.is_unknown_procedure() {
            said = self.client.run(&account, &line("chgpasswd3"), true).await?;
        }
        self.done(&said, &self.username)
    }
}

fn of(connection: &Connection, around: &Surroundings) -> Result<(Client, Account), Failure> {
    let client = Client::new(connection.required("host"), connection.port(), &around.network)?;
    let domain = connection.text("domain").filter(|domain| !domain.is_empty()).map(str::to_owned);
    let own = Account {
        name: connection.required("username"),
        domain,
        password: connection.required_secret("password"),
    };
    Ok((client, own))
}

async fn log_in_or_fail(client: &Client, account: &Account) -> Result<(), Failure> {
    match client.log_in(account).await? {
        Login::Accepted => Ok(()),
        Login::Refused => Err(Failure::refused(format!(
            "the machine does not accept the connection's account {}: its name or password is wrong, or it is locked, \
             disabled or expired",
            account.name
        ))),
    }
}

#[async_trait]
impl Target for WindowsLocalAccount {
    async fn check(&self) -> Result<(), Failure> {
        log_in_or_fail(&self.client, &self.own).await
    }

    async fn plan(&self, _slot: Slot) -> Result<Plan, Failure> {
        self.check().await?;
        let right = |name: String, held| Right { name, held };
        let (how, rights) = match self.by {
            By::Connection => (
                format!("reset the password of {} as {}", self.username, self.own.name),
                vec![right(format!("administrator: reset the password of {}", self.username), None)],
            ),
            By::Account => (
                format!("change the password of {} with the one that it has", self.username),
                vec![right(format!("the password that {} has", self.username), None)],
            ),
        };
        let steps = vec![
            format!("{how}; the one before is dead for new logins at once"),
            "log in with it".to_owned(),
            "publish it".to_owned(),
        ];
        Ok(Plan { steps, rights })
    }

    async fn intend(
        &self,
        slot: Slot,
        _current: Option<&Credential>,
        random: [u8; 32],
    ) -> Result<Intent, Failure> {
        let secret = self.requirements.generate(&random);
        Ok(Intent::Set { slot, credential: credential("username", &self.username, secret) })
    }

    async fn set(&self, intent: &Intent, current: Option<&Credential>) -> Result<Credential, Failure> {
        let credential = intended(intent)?;
        match (self.by, current) {
            (By::Connection, _) => self.reset_to(credential).await?,
            (By::Account, Some(current)) => {
                // Done before, and the answer was lost: the password that it had is not its password any more.
                if self.client.log_in(&self.account(current)).await? == Login::Refused {
                    if self.log_in(credential).await? == Login::Accepted {
                        return Ok(copy(credential));
                    }
                    return Err(Failure::refused(format!(
                        "the password of {} is not the one that rota knows: somebody else changed it; reconcile resets it \
                         as the connection",
                        self.username
                    )));
                }
                self.change_to(credential, current).await?;
            }
            (By::Account, None) => {
                return Err(Failure::refused("the account's own password is needed, and nobody knows it"));
            }
        }
        Ok(copy(credential))
    }

    async fn reset(&self, intent: &Intent) -> Result<Credential, Failure> {
        let credential = intended(intent)?;
        self.reset_to(credential).await?;
        Ok(copy(credential))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        self.client.log_in(&self.account(credential)).await
    }

    /// An interrupted attempt leaves nothing that setting the password again does not heal.
    /// It ended when the next one was set. Sessions that are open stay open: SMB has no way to end those of others
    /// without rights that a rotation does not need.
    async fn retire(&self, _old: &Credential, _active: &Credential, _end: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let nobodys =
            Credential { public: credential.public.clone(), secret: self.requirements.generate(&random) };
        match self.by {
            By::Connection => self.reset_to(&nobodys).await,
            // Its password is not the one that it had: it was revoked before.
            By::Account if self.log_in(credential).await? == Login::Refused => Ok(()),
            By::Account => self.change_to(&nobodys, credential).await,
        }
    }
}
