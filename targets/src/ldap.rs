//! Directories: the password of an entry, in Active Directory by `unicodePwd`, elsewhere by the password modify operation
//! of RFC 3062. Always over TLS: an `ldap://` address is upgraded by `StartTLS` before anything is said.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ldap3::exop::PasswordModify;
use ldap3::{
    Ldap as Client, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Mod, Scope, SearchEntry,
    StdStream,
};
use rota_aggregates::secret::Secret;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;
use zeroize::Zeroizing;

use crate::chosen::{account, copy, credential, intended};
use crate::connection::{Connection, is_user_principal_name};
use crate::failure::{Certainty, Failure};
use crate::parameters::{By, Parameters};
use crate::password::Requirements;
use crate::reach::{Effect, Place, STEP, Tls, reason, tls_failure};
use crate::target::{Credential, Intent, Login, Network, Plan, Right, Slot, Target};

/// Where the directory is, and whom rota is there.
pub(crate) struct Server {
    network: Arc<dyn Network>,
    place: Place,
    secure: bool,
    tls: Tls,
    active_directory: bool,
    dn: String,
    password: Secret,
}

/// An entry of a directory.
pub(crate) struct Ldap {
    server: Server,
    dn: String,
    by: By,
    requirements: Requirements,
}

/// A session; it ends when this is dropped.
struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

const SUCCESS: u32 = 0;
const REFERRAL: u32 = 10;
const CONSTRAINT: u32 = 19;
const NO_SUCH_OBJECT: u32 = 32;
const BAD_LOGIN: u32 = 49;

impl Server {
    pub(crate) fn new(connection: &Connection, network: &Arc<dyn Network>) -> Self {
        // It came through a check.
        let url = Url::parse(&connection.required("url")).ok();
        let secure = url.as_ref().is_some_and(|url| url.scheme() == "ldaps");
        let port = url.as_ref().and_then(Url::port).unwrap_or(if secure { 636 } else { 389 });
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        Self {
            network: Arc::clone(network),
            place: Place::new(host, port),
            secure,
            tls: Tls { enabled: true, ..Tls::of(connection, "ssl") },
            active_directory: connection.text("provider") == Some("active-directory"),
            dn: connection.required("dn"),
            password: connection.required_secret("password"),
        }
    }

    /// Binds as rota and asks for nothing.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.own_session().await.map(drop)
    }

    async fn own_session(&self) -> Result<Session, Failure> {
        self.bound(&self.dn, &self.password).await?.ok_or_else(|| {
            Failure::refused(format!("{} refuses the connection's {} or its password", self.place, self.dn))
        })
    }

    /// None where the directory refuses the name or the password.
    async fn bound(&self, dn: &str, password: &Secret) -> Result<Option<Session>, Failure> {
        let mut session = self.session().await?;
        // A bind with a name and no password would be taken for an anonymous one, and succeed.
        if password.expose().is_empty() {
            return Ok(None);
        }
        let answer = timeout(STEP, session.client.simple_bind(dn, password.expose())).await;
        let answer = self.answer(answer, Effect::Reads)?;
        match answer.rc {
            SUCCESS => Ok(Some(session)),
            BAD_LOGIN | NO_SUCH_OBJECT => Ok(None),
            _ => Err(self.failure(&answer)),
        }
    }

    async fn session(&self) -> Result<Session, Failure> {
        let stream = self.place.dial(&*self.network).await?;
        let stream = stream.into_std().map_err(|error| self.place.unreachable(reason(error.kind())))?;
        let settings = LdapConnSettings::new()
            .set_std_stream(StdStream::Tcp(stream))
            .set_config(self.tls.config()?)
            .set_starttls(!self.secure);
        let scheme = if self.secure { "ldaps" } else { "ldap" };
        let url = format!("{scheme}://{}", self.place);
        match timeout(STEP, LdapConnAsync::with_settings(settings, &url)).await {
            Ok(Ok((connection, client))) => {
                let driver = tokio::spawn(async move {
                    // What breaks it, the next operation says.
                    let _ = connection.drive().await;
                });
                Ok(Session { client, driver })
            }
            Ok(Err(LdapError::Io { source })) => Err(tls_failure(&self.place, &source)),
            Ok(Err(LdapError::LdapResult { .. })) => {
                Err(Failure::refused(format!("{} has no StartTLS; give an ldaps:// address", self.place)))
            }
            Ok(Err(_)) => Err(self.place.unreachable("the connection broke")),
            Err(_) => Err(self.place.unreachable("it does not answer")),
        }
    }

    fn answer<E>(
        &self,
        answer: Result<Result<LdapResult, LdapError>, E>,
        effect: Effect,
    ) -> Result<LdapResult, Failure> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.place.broken(effect)),
            Err(_) => Err(self.place.silent(effect)),
        }
    }

    /// Of its text only what Active Directory's codes in it say.
    fn failure(&self, answer: &LdapResult) -> Failure {
        let place = &self.place;
        let refused = |why: &str| Failure::refused(format!("{place} refuses: {why} (result {})", answer.rc));
        match answer.rc {
            CONSTRAINT if answer.text.contains("00000056") => {
                refused("the password that the account has is another one")
            }
            CONSTRAINT => refused(
                "its password policy: length, classes, history or minimum age; ask for a stronger one in \
                 passwordRequirements, or look at the minimum age",
            ),
            8 | 13 => refused("it wants a stronger protection of the connection"),
            REFERRAL => refused("it knows another server for this; connect to one that takes changes"),
            NO_SUCH_OBJECT => refused("there is no such entry"),
            34 => refused("the name is not one that it can read"),
            50 => refused(
                "the connection's entry lacks a right; resetting a password takes \"Reset Password\" on the account in Active \
                 Directory, and write access to userPassword elsewhere",
            ),
            BAD_LOGIN => refused("the name or its password"),
            53 => refused(
                "it is unwilling: the password that the account has may be another one, or the entry may not be changed",
            ),
            2 => refused("it does not know the operation; is the provider of the connection right?"),
            51 | 52 => Failure::unreachable(format!("{place} is busy (result {})", answer.rc)),
            _ => refused("the operation failed"),
        }
    }

    async fn modify(&self, session: &mut Session, dn: &str, mods: Vec<Mod<Vec<u8>>>) -> Result<(), Failure> {
        let answer = timeout(STEP, session.client.modify(dn, mods)).await;
        let answer = self.answer(answer, Effect::Writes)?;
        if answer.rc == SUCCESS { Ok(()) } else { Err(self.failure(&answer)) }
    }

    async fn modify_password(
        &self,
        session: &mut Session,
        dn: &str,
        old: Option<&Secret>,
        new: &Secret,
    ) -> Result<(), Failure> {
        let request = PasswordModify {
            user_id: Some(dn),
            old_pass: old.map(Secret::expose),
            new_pass: Some(new.expose()),
        };
        let answer = timeout(STEP, session.client.extended(request)).await;
        let answer = self.answer(answer.map(|answer| answer.map(|exop| exop.1)), Effect::Writes)?;
        if answer.rc == SUCCESS { Ok(()) } else { Err(self.failure(&answer)) }
    }

    /// The distinguished name of whoever logs in by a user principal name; without one of their own, Active Directory
    /// takes the account's name in its domain for it.
    async fn resolve(&self, session: &mut Session, name: &str) -> Result<String, Failure> {
        let Some((user, domain)) = name.rsplit_once('@').filter(|_| is_user_principal_name(name)) else {
            return Ok(name.to_owned());
        };
        let base = domain.split('.').map(|label| format!("dc={label}")).collect::<Vec<_>>().join(",");
        let [name_escaped, user] = [name, user].map(ldap3::ldap_escape);
        let filters = [format!("(userPrincipalName={name_escaped})"), format!("(sAMAccountName={user})")];
        for filter in &filters[..if self.active_directory { 2 } else { 1 }] {
            let found =
                timeout(STEP, session.client.search(&base, Scope::Subtree, filter, vec!["1.1"])).await;
            let found = found.map_err(|_| self.place.unreachable("it does not answer"))?;
            let found = found.map_err(|_| self.place.unreachable("the connection broke"))?;
            let ldap3::SearchResult(entries, answer) = found;
            if !matches!(answer.rc, SUCCESS | REFERRAL) {
                return Err(self.failure(&answer));
            }
            let mut entries = entries.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
            match (entries.next(), entries.next()) {
                (Some(entry), None) => return Ok(SearchEntry::construct(entry).dn),
                (Some(_), Some(_)) => {
                    return Err(Failure::refused(format!(
                        "{} has several entries with the user principal name {name}",
                        self.place
                    )));
                }
                (None, _) => {}
            }
        }
        Err(Failure::refused(format!("{} has no entry with the user principal name {name}", self.place)))
    }
}

/// The form in which Active Directory takes a password.
fn unicode(password: &Secret) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 + 4 * password.expose().len()));
    for unit in ['"'].into_iter().chain(password.expose().chars()).chain(['"']) {
        let mut buffer = [0; 2];
        for half in unit.encode_utf16(&mut buffer) {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
    }
    bytes
}

fn only(value: &Zeroizing<Vec<u8>>) -> HashSet<Vec<u8>> {
    HashSet::from([value.to_vec()])
}

fn own_account() -> Failure {
    Failure::refused(
        "the account is the connection's own: with its password changed the connection would be shut out; use another \
         account for the connection",
    )
}

/// Whether two names are written alike, but for case and for blanks around commas and equals signs.
fn same_name(one: &str, other: &str) -> bool {
    let plain = |name: &str| {
        let parts =
            name.split(',').map(|part| part.splitn(2, '=').map(str::trim).collect::<Vec<_>>().join("="));
        parts.collect::<Vec<_>>().join(",").to_lowercase()
    };
    plain(one) == plain(other)
}

impl Ldap {
    pub(crate) fn open(
        connection: &Connection,
        parameters: &Parameters,
        network: &Arc<dyn Network>,
    ) -> Result<Self, Failure> {
        let server = Server::new(connection, network);
        let dn = parameters.required("dn");
        if same_name(&dn, &server.dn) {
            return Err(own_account());
        }
        Ok(Self { server, dn, by: parameters.by(), requirements: parameters.requirements() })
    }

    /// The entry's own name, which is not that of the connection.
    async fn entry(&self, session: &mut Session, name: &str) -> Result<String, Failure> {
        let dn = self.server.resolve(session, name).await?;
        let own = self.server.resolve(session, &self.server.dn).await;
        if own.is_ok_and(|own| same_name(&own, &dn)) { Err(own_account()) } else { Ok(dn) }
    }

    /// By the authority of the connection.
    async fn reset_to(&self, name: &str, new: &Secret) -> Result<(), Failure> {
        let mut session = self.server.own_session().await?;
        let dn = self.entry(&mut session, name).await?;
        let done = if self.server.active_directory {
            let change = Mod::Replace(b"unicodePwd".to_vec(), only(&unicode(new)));
            self.server.modify(&mut session, &dn, vec![change]).await
        } else {
            self.server.modify_password(&mut session, &dn, None, new).await
        };
        self.settled(done, name, new).await
    }

    /// What is refused because it is so already is done: a policy that keeps a history takes the password that is set for
    /// one of it, and a directory that lets the one before in for a while does not take it for the present one.
    async fn settled(&self, done: Result<(), Failure>, name: &str, new: &Secret) -> Result<(), Failure> {
        let Err(failure) = done else { return Ok(()) };
        let refused = failure.certainty == Certainty::Unchanged && !failure.may_pass;
        if refused && matches!(self.server.bound(name, new).await, Ok(Some(_))) {
            return Ok(());
        }
        Err(failure)
    }

    /// By the account itself.
    async fn change_own(&self, name: &str, old: &Secret, new: &Secret) -> Result<(), Failure> {
        let Some(mut session) = self.server.bound(name, old).await? else {
            // An attempt that was interrupted may have been here before.
            if self.server.bound(name, new).await?.is_some() {
                return Ok(());
            }
            return Err(Failure::refused(format!(
                "{} refuses {name} with the password that rota has of it; reconcile by the connection's authority",
                self.server.place
            )));
        };
        if old.expose() == new.expose() {
            return Ok(());
        }
        let dn = self.server.resolve(&mut session, name).await?;
        let done = if self.server.active_directory {
            let password = || b"unicodePwd".to_vec();
            let changes =
                vec![Mod::Delete(password(), only(&unicode(old))), Mod::Add(password(), only(&unicode(new)))];
            self.server.modify(&mut session, &dn, changes).await
        } else {
            self.server.modify_password(&mut session, &dn, Some(old), new).await
        };
        self.settled(done, name, new).await
    }
}

#[async_trait]
impl Target for Ldap {
    async fn check(&self) -> Result<(), Failure> {
        self.server.check().await
    }

    async fn plan(&self, _: Slot) -> Result<Plan, Failure> {
        let mut session = self.server.own_session().await?;
        let dn = self.entry(&mut session, &self.dn).await?;
        let how = if self.server.active_directory {
            "unicodePwd"
        } else {
            "the password modify operation (RFC 3062)"
        };
        let (step, right) = match self.by {
            By::Connection => (format!("reset the password of {dn} by {how}"), "reset its password"),
            By::Account => {
                (format!("change the password of {dn} by {how}, bound as it"), "change its own password")
            }
        };
        let steps = vec![step, format!("bind as {}", self.dn)];
        Ok(Plan { steps, rights: vec![Right { name: format!("{right}: {dn}"), held: None }] })
    }

    async fn intend(&self, slot: Slot, _: Option<&Credential>, random: [u8; 32]) -> Result<Intent, Failure> {
        Ok(Intent::Set { slot, credential: credential("dn", &self.dn, self.requirements.generate(&random)) })
    }

    async fn set(&self, intent: &Intent, current: Option<&Credential>) -> Result<Credential, Failure> {
        let new = intended(intent)?;
        let dn = account(new, "dn")?;
        match (self.by, current) {
            (By::Connection, _) => self.reset_to(dn, &new.secret).await?,
            (By::Account, Some(current)) => self.change_own(dn, &current.secret, &new.secret).await?,
            (By::Account, None) => {
                return Err(Failure::refused(format!("the password that {dn} has is needed to change it")));
            }
        }
        Ok(copy(new))
    }

    async fn reset(&self, intent: &Intent) -> Result<Credential, Failure> {
        let new = intended(intent)?;
        self.reset_to(account(new, "dn")?, &new.secret).await?;
        Ok(copy(new))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        let bound = self.server.bound(account(credential, "dn")?, &credential.secret).await?;
        Ok(if bound.is_some() { Login::Accepted } else { Login::Refused })
    }

    /// An entry has one password: the one before ended when the next was set.
    async fn retire(&self, _: &Credential, _: &Credential, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let (dn, unknown) = (account(credential, "dn")?, self.requirements.generate(&random));
        if self.by == By::Account {
            if self.log_in(credential).await? == Login::Refused {
                // Its password is not the one that it had: it was revoked before.
                return Ok(());
            }
            match self.change_own(dn, &credential.secret, &unknown).await {
                // A minimum age, say, binds the account and not whoever administers it.
                Err(failure) if failure.certainty == Certainty::Unchanged && !failure.may_pass => {}
                done => return done,
            }
        }
        self.reset_to(dn, &unknown).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_for_active_directory_is_quoted_and_wide() {
        let bytes = unicode(&Secret::new("a\u{e9}\u{1f511}".to_owned()));
        assert_eq!(*bytes, b"\"\0a\0\xe9\0\x3d\xd8\x11\xdd\"\0");
    }

    #[test]
    fn names_are_the_same_however_they_are_written() {
        assert!(same_name("CN=App A, ou = people,DC=rota", "cn=app a,OU=People,dc=rota"));
        assert!(!same_name("cn=app_a,dc=rota", "cn=app_b,dc=rota"));
        assert!(same_name("A@rota.test", "a@rota.test"));
    }
}
