//! Unix machines over SSH: the password of an account, set by whoever may run `chpasswd`, or changed by the account itself
//! with `passwd`. No password is ever in a command line, and no machine is spoken to whose host key is not the one that
//! is known.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rota_aggregates::secret::Secret;
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{
    Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, decode_secret_key,
};
use russh::{ChannelMsg, MethodKind, Preferred};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::chosen::{account, copy, copy_secret, credential, intended};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::parameters::{By, Parameters};
use crate::password::Requirements;
use crate::reach::{Effect, Place, STEP};
use crate::target::{Credential, Intent, Login, Network, Plan, Right, Slot, Target};

/// Where the machine is, and whom rota is there.
pub(crate) struct Server {
    network: Arc<dyn Network>,
    place: Place,
    username: String,
    proof: Proof,
    /// The host key that it must have.
    pinned: Option<String>,
}

enum Proof {
    Password(Secret),
    Key { key: Secret, passphrase: Option<Secret> },
}

/// An account of a machine.
pub(crate) struct Ssh {
    server: Server,
    username: String,
    by: By,
    sudo: bool,
    requirements: Requirements,
}

/// Believes in one host key, or notes the one that it sees.
struct Door {
    pinned: Option<String>,
    seen: Arc<Mutex<Option<PublicKey>>>,
}

impl client::Handler for Door {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let key = shown.public_key();
        let known = self.pinned.as_ref().is_none_or(|pinned| is_key(pinned, &key));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(known)
    }
}

/// Whether a key is the one that was written down, in whole or as its fingerprint.
fn is_key(pinned: &str, key: &PublicKey) -> bool {
    if pinned.starts_with("SHA256:") {
        return key.fingerprint(HashAlg::Sha256).to_string().trim_end_matches('=')
            == pinned.trim_end_matches('=');
    }
    PublicKey::from_openssh(pinned).is_ok_and(|pinned| pinned.key_data() == key.key_data())
}

/// What became of a login.
enum Entered {
    In(Handle<Door>),
    Refused,
    /// The machine takes no passwords over SSH.
    NoPasswords,
}

impl Server {
    pub(crate) fn new(connection: &Connection, network: &Arc<dyn Network>) -> Self {
        let proof = if connection.method() == "ssh-key" {
            let passphrase = connection.secret("passphrase").map(copy_secret);
            Proof::Key { key: connection.required_secret("privateKey"), passphrase }
        } else {
            Proof::Password(connection.required_secret("password"))
        };
        Self {
            network: Arc::clone(network),
            place: Place::of(connection),
            username: connection.required("username"),
            proof,
            pinned: connection.text("hostKey").map(ToOwned::to_owned),
        }
    }

    /// Logs in as rota and asks for nothing. The host key that the machine has.
    pub(crate) async fn check(&self) -> Result<String, Failure> {
        let (mut door, seen) = self.knock().await?;
        self.prove(&mut door).await?;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let seen = seen.and_then(|key| key.to_openssh().ok());
        seen.ok_or_else(|| self.place.unreachable("it showed no host key"))
    }

    /// As far as the host key.
    async fn knock(&self) -> Result<(Handle<Door>, Arc<Mutex<Option<PublicKey>>>), Failure> {
        let stream = self.place.dial(&*self.network).await?;
        let seen = Arc::new(Mutex::new(None));
        let mut config = client::Config::default();
        // A machine has several keys; what it is to show is the one that is known.
        if let Some(Ok(key)) = self.pinned.as_deref().map(PublicKey::from_openssh) {
            config.preferred = Preferred { key: Cow::Owned(algorithms(&key)), ..Preferred::default() };
        }
        let door = Door { pinned: self.pinned.clone(), seen: Arc::clone(&seen) };
        match timeout(STEP, client::connect_stream(Arc::new(config), stream, door)).await {
            Ok(Ok(handle)) => Ok((handle, seen)),
            Ok(Err(russh::Error::UnknownKey | russh::Error::NoCommonAlgo { .. })) => {
                Err(Failure::refused(format!(
                    "{} is not trusted: its host key is not the one in the connection (hostKey)",
                    self.place
                )))
            }
            Ok(Err(_)) => Err(self.place.unreachable("it closed the connection")),
            Err(_) => Err(self.place.unreachable("it does not answer")),
        }
    }

    async fn own_session(&self) -> Result<Handle<Door>, Failure> {
        self.must_be_pinned()?;
        let (mut door, _) = self.knock().await?;
        self.prove(&mut door).await?;
        Ok(door)
    }

    fn must_be_pinned(&self) -> Result<(), Failure> {
        if self.pinned.is_some() {
            return Ok(());
        }
        Err(Failure::refused("the connection knows no host key; save it anew, or give one as hostKey"))
    }

    /// Logs in as rota.
    async fn prove(&self, door: &mut Handle<Door>) -> Result<(), Failure> {
        let Self { username, place, .. } = self;
        let entered = match &self.proof {
            Proof::Password(password) => self.by_password(door, username, password).await?,
            Proof::Key { key, passphrase } => {
                let key = decode_secret_key(key.expose(), passphrase.as_ref().map(Secret::expose));
                let key = key.map_err(|_| {
                    Failure::refused(
                        "the private key of the connection can't be read, or its passphrase is another one",
                    )
                })?;
                let hash = match key.algorithm() {
                    Algorithm::Rsa { .. } => Some(HashAlg::Sha512),
                    _ => None,
                };
                let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
                let answer = timeout(STEP, door.authenticate_publickey(username, key)).await;
                let answer = answer.map_err(|_| place.unreachable("it does not answer"))?;
                answer.map_err(|_| place.unreachable("the connection broke"))?
            }
        };
        if entered.success() {
            return Ok(());
        }
        if door.is_closed() {
            return Err(place.unreachable("it closed the connection"));
        }
        Err(Failure::refused(format!(
            "{place} refuses the connection's user {username}: its password or key is not good"
        )))
    }

    async fn by_password(
        &self,
        door: &mut Handle<Door>,
        username: &str,
        password: &Secret,
    ) -> Result<AuthResult, Failure> {
        let place = &self.place;
        let broken = |_| place.unreachable("the connection broke");
        let silent = |_| place.unreachable("it does not answer");
        let answer = timeout(STEP, door.authenticate_password(username, password.expose())).await;
        let answer = answer.map_err(silent)?.map_err(broken)?;
        let AuthResult::Failure { remaining_methods, .. } = &answer else { return Ok(answer) };
        if remaining_methods.contains(&MethodKind::Password)
            || !remaining_methods.contains(&MethodKind::KeyboardInteractive)
        {
            return Ok(answer);
        }
        // The other way in which machines ask for passwords.
        let asked = timeout(STEP, door.authenticate_keyboard_interactive_start(username, None)).await;
        let mut asked = asked.map_err(silent)?.map_err(broken)?;
        for _ in 0..4 {
            match asked {
                KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(answer),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    let words = prompts.iter().map(|_| password.expose().to_owned()).collect();
                    let next = timeout(STEP, door.authenticate_keyboard_interactive_respond(words)).await;
                    asked = next.map_err(silent)?.map_err(broken)?;
                }
            }
        }
        Ok(answer)
    }

    /// Logs in as somebody else.
    async fn enter(&self, username: &str, password: &Secret) -> Result<Entered, Failure> {
        self.must_be_pinned()?;
        let (mut door, _) = self.knock().await?;
        match self.by_password(&mut door, username, password).await? {
            AuthResult::Success => Ok(Entered::In(door)),
            AuthResult::Failure { .. } if door.is_closed() => {
                Err(self.place.unreachable("it closed the connection"))
            }
            AuthResult::Failure { remaining_methods, .. }
                if remaining_methods.contains(&MethodKind::Password)
                    || remaining_methods.contains(&MethodKind::KeyboardInteractive) =>
            {
                Ok(Entered::Refused)
            }
            AuthResult::Failure { .. } => Ok(Entered::NoPasswords),
        }
    }

    /// Runs a command with something to read. Its exit status and the first part of what it says to that.
    async fn run(
        &self,
        door: &Handle<Door>,
        command: &str,
        input: &str,
        effect: Effect,
    ) -> Result<(u32, String), Failure> {
        let run = async {
            let mut channel = door.channel_open_session().await?;
            channel.exec(true, command).await?;
            channel.data(input.as_bytes()).await?;
            channel.eof().await?;
            let (mut said, mut status) = (Vec::new(), None);
            while let Some(message) = channel.wait().await {
                match message {
                    ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }
                        if said.len() < 4_096 =>
                    {
                        said.extend_from_slice(&data);
                    }
                    ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                    _ => {}
                }
            }
            Ok::<_, russh::Error>(status.map(|status| (status, String::from_utf8_lossy(&said).into_owned())))
        };
        match timeout(STEP, run).await {
            Ok(Ok(Some(done))) => Ok(done),
            Ok(_) => Err(self.place.broken(effect)),
            Err(_) => Err(self.place.silent(effect)),
        }
    }

    /// Talks to `passwd` on a terminal of the account. Whether it was content.
    async fn talk(&self, door: &Handle<Door>, old: &Secret, new: &Secret) -> Result<bool, Failure> {
        let talk = async {
            let mut channel = door.channel_open_session().await?;
            channel.request_pty(true, "dumb", 200, 50, 0, 0, &[]).await?;
            channel.exec(true, "LC_ALL=C exec passwd").await?;
            let (mut printed, mut given, mut status) = (String::new(), false, None);
            while let Some(message) = channel.wait().await {
                match message {
                    ChannelMsg::Data { data } => {
                        printed.push_str(&String::from_utf8_lossy(&data).to_lowercase());
                        let word = match prompt(&printed) {
                            None if printed.len() <= 4_096 => continue,
                            Some(Prompt::Old) if !given => old,
                            Some(Prompt::New) if !given => {
                                given = true;
                                new
                            }
                            Some(Prompt::Again) if given => new,
                            // It wants another one, or what nobody has: it is left alone, and changes nothing.
                            asked => {
                                channel.close().await?;
                                let unchanged = !given || asked == Some(Prompt::New);
                                return Ok(unchanged.then_some(1));
                            }
                        };
                        let line = Zeroizing::new(format!("{}\n", word.expose()));
                        channel.data(line.as_bytes()).await?;
                        printed.clear();
                    }
                    ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                    _ => {}
                }
            }
            Ok::<_, russh::Error>(status)
        };
        match timeout(STEP, talk).await {
            Ok(Ok(Some(status))) => Ok(status == 0),
            Ok(_) => Err(self.place.broken(Effect::Writes)),
            Err(_) => Err(self.place.silent(Effect::Writes)),
        }
    }
}

/// What `passwd` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prompt {
    Old,
    New,
    Again,
}

/// The question at the end of what was printed, in lower case.
fn prompt(printed: &str) -> Option<Prompt> {
    let line = printed.trim_end().rsplit(['\n', '\r']).next()?;
    if !line.ends_with(':') {
        return None;
    }
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if has(&["current", "old password", "(login)"]) {
        Some(Prompt::Old)
    } else if has(&["retype", "re-enter", "reenter", "again", "repeat"]) {
        Some(Prompt::Again)
    } else if has(&["new password", "new unix password", "enter new"]) {
        Some(Prompt::New)
    } else {
        None
    }
}

/// What may be agreed on so that this key is shown.
fn algorithms(key: &PublicKey) -> Vec<Algorithm> {
    match key.algorithm() {
        Algorithm::Rsa { .. } => {
            [Some(HashAlg::Sha512), Some(HashAlg::Sha256)].map(|hash| Algorithm::Rsa { hash }).to_vec()
        }
        other => vec![other],
    }
}

impl Ssh {
    pub(crate) fn open(
        connection: &Connection,
        parameters: &Parameters,
        network: &Arc<dyn Network>,
    ) -> Result<Self, Failure> {
        let server = Server::new(connection, network);
        let username = parameters.required("username");
        if username == server.username {
            return Err(Failure::refused(
                "the account is the connection's own: with its password changed the connection would be shut out; use another \
                 account for the connection",
            ));
        }
        // Only root needs no sudo; asking for it there is harmless.
        let sudo = parameters.flag("useSudo") || server.username != "root";
        Ok(Self { username, by: parameters.by(), sudo, requirements: parameters.requirements(), server })
    }

    fn chpasswd(&self) -> &'static str {
        if self.sudo { "LC_ALL=C sudo -n /usr/sbin/chpasswd" } else { "LC_ALL=C /usr/sbin/chpasswd" }
    }

    /// By the authority of the connection.
    async fn reset_to(&self, username: &str, new: &Secret) -> Result<(), Failure> {
        let door = self.server.own_session().await?;
        let line = Zeroizing::new(format!("{username}:{}\n", new.expose()));
        let (status, said) = self.server.run(&door, self.chpasswd(), &line, Effect::Writes).await?;
        if status == 0 {
            return Ok(());
        }
        let place = &self.server.place;
        let said = said.to_lowercase();
        Err(Failure::refused(
            if said.contains("sudo")
                && (said.contains("password is required") || said.contains("not allowed"))
            {
                format!(
                    "{place} refuses: the connection's user needs the right to run /usr/sbin/chpasswd by sudo without a password"
                )
            } else if said.contains("does not exist") {
                format!("{place} has no account {username}")
            } else if said.contains("not found") || said.contains("no such file") || status == 127 {
                format!("{place} has no sudo or no /usr/sbin/chpasswd")
            } else {
                format!("{place} refuses: chpasswd ended with status {status}")
            },
        ))
    }

    /// By the account itself.
    async fn change_own(&self, username: &str, old: &Secret, new: &Secret) -> Result<(), Failure> {
        let place = &self.server.place;
        let door = match self.server.enter(username, old).await? {
            Entered::In(door) => door,
            Entered::NoPasswords => return Err(self.no_passwords()),
            Entered::Refused => {
                // An attempt that was interrupted may have been here before.
                if let Entered::In(_) = self.server.enter(username, new).await? {
                    return Ok(());
                }
                return Err(Failure::refused(format!(
                    "{place} refuses {username} with the password that rota has of it; reconcile by the connection's authority"
                )));
            }
        };
        if old.expose() == new.expose() {
            return Ok(());
        }
        if self.server.talk(&door, old, new).await? {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "{place} refuses: passwd was not content with the new password; ask for a stronger one in passwordRequirements"
        )))
    }

    fn no_passwords(&self) -> Failure {
        let place = &self.server.place;
        Failure::refused(format!(
            "{place} takes no passwords over SSH, so that no login can show whether one is good"
        ))
    }
}

#[async_trait]
impl Target for Ssh {
    async fn check(&self) -> Result<(), Failure> {
        self.server.check().await.map(drop)
    }

    async fn plan(&self, _: Slot) -> Result<Plan, Failure> {
        let (name, server) = (&self.username, &self.server);
        let door = server.own_session().await?;
        let (status, _) = server.run(&door, &format!("id -u {name}"), "", Effect::Reads).await?;
        if status != 0 {
            return Err(Failure::refused(format!("{} has no account {name}", server.place)));
        }
        let last = format!("log in as {name}");
        if self.by == By::Account {
            let steps = vec![format!("log in as {name} and change the password by passwd"), last];
            return Ok(Plan { steps, rights: Vec::new() });
        }
        let held = if self.sudo {
            let (status, _) =
                server.run(&door, "LC_ALL=C sudo -n -l /usr/sbin/chpasswd", "", Effect::Reads).await?;
            status == 0
        } else {
            true
        };
        let right =
            Right { name: "run /usr/sbin/chpasswd as root without a password".to_owned(), held: Some(held) };
        Ok(Plan { steps: vec![format!("set the password of {name} by chpasswd"), last], rights: vec![right] })
    }

    async fn intend(&self, slot: Slot, _: Option<&Credential>, random: [u8; 32]) -> Result<Intent, Failure> {
        Ok(Intent::Set {
            slot,
            credential: credential("username", &self.username, self.requirements.generate(&random)),
        })
    }

    async fn set(&self, intent: &Intent, current: Option<&Credential>) -> Result<Credential, Failure> {
        let new = intended(intent)?;
        let username = account(new, "username")?;
        match (self.by, current) {
            (By::Connection, _) => self.reset_to(username, &new.secret).await?,
            (By::Account, Some(current)) => self.change_own(username, &current.secret, &new.secret).await?,
            (By::Account, None) => {
                return Err(Failure::refused(format!(
                    "the password that {username} has is needed to change it"
                )));
            }
        }
        Ok(copy(new))
    }

    async fn reset(&self, intent: &Intent) -> Result<Credential, Failure> {
        let new = intended(intent)?;
        self.reset_to(account(new, "username")?, &new.secret).await?;
        Ok(copy(new))
    }

    async fn log_in(&self, credential: &Credential) -> Result<Login, Failure> {
        match self.server.enter(account(credential, "username")?, &credential.secret).await? {
            Entered::In(_) => Ok(Login::Accepted),
            Entered::Refused => Ok(Login::Refused),
            Entered::NoPasswords => Err(self.no_passwords()),
        }
    }

    /// An account has one password: the one before ended when the next was set. Who is logged in stays so.
    async fn retire(&self, _: &Credential, _: &Credential, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn revoke(&self, credential: &Credential, random: [u8; 32]) -> Result<(), Failure> {
        let (username, unknown) = (account(credential, "username")?, self.requirements.generate(&random));
        match self.by {
            By::Connection => self.reset_to(username, &unknown).await,
            // Its password is not the one that it had: it was revoked before.
            By::Account if self.log_in(credential).await? == Login::Refused => Ok(()),
            By::Account => self.change_own(username, &credential.secret, &unknown).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_passwd_are_told_apart() {
        let asked = |printed: &str| prompt(&printed.to_lowercase());
        assert_eq!(asked("Changing password for app_a.\r\nCurrent password: "), Some(Prompt::Old));
        assert_eq!(asked("(current) UNIX password:"), Some(Prompt::Old));
        assert_eq!(asked("\r\nNew password: "), Some(Prompt::New));
        assert_eq!(asked("Enter new UNIX password: "), Some(Prompt::New));
        assert_eq!(asked("Retype new password: "), Some(Prompt::Again));
        assert_eq!(asked("Re-enter new password:"), Some(Prompt::Again));
        assert_eq!(asked("You must choose a longer password.\r\nNew password: "), Some(Prompt::New));
        for other in
            ["", "New password: \r\n.", "Verification code: ", "passwd: password updated successfully"]
        {
            assert_eq!(asked(other), None, "{other}");
        }
    }
}
