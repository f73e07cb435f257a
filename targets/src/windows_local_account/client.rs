//! Samba's `rpcclient` as a process.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rota_aggregates::secret::Secret;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::target::{Login, Network};

const PROGRAM: &str = "rpcclient";
/// For one command, from the connection to its end.
const TIME: Duration = Duration::from_secs(20);

/// Where a machine is.
pub(super) struct Client {
    host: String,
    port: u16,
    network: Arc<dyn Network>,
}

/// Somebody who logs in.
pub(super) struct Account {
    pub(super) name: String,
    /// Nothing is the machine itself.
    pub(super) domain: Option<String>,
    pub(super) password: Secret,
}

/// What a command said.
pub(super) struct Said {
    text: String,
    /// The first `NT_STATUS_…` in it; nothing if all went well.
    pub(super) status: Option<String>,
    /// Whether there was a session in which the command can have been run.
    connected: bool,
    changes: bool,
}

impl Client {
    pub(super) fn new(host: String, port: u16, network: &Arc<dyn Network>) -> Result<Self, Failure> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        if host.is_empty() || !host.bytes().all(plain) || host.starts_with('-') {
            return Err(Failure::refused("the machine's host must be a name or an IPv4 address"));
        }
        Ok(Self { host, port, network: Arc::clone(network) })
    }

    /// Runs one command as somebody.
    pub(super) async fn run(&self, account: &Account, command: &str, changes: bool) -> Result<Said, Failure> {
        let addresses = self.network.resolve(&self.host, self.port).await?;
        let Some(address) = addresses.first() else {
            return Err(Failure::unreachable("the machine's name leads nowhere"));
        };
        let here = |error: std::io::Error| {
            Failure::unreachable(format!("{PROGRAM} can't be given its files here: {}", error.kind()))
        };
        // Removed with all that is in it, also where the step is dropped in the middle.
        let folder = tempfile::Builder::new().prefix("rota-smb-").tempdir().map_err(here)?;
        let (settings, who) = (folder.path().join("smb.conf"), folder.path().join("account"));
        private_file(&settings, configuration(folder.path()).as_bytes()).map_err(here)?;
        private_file(&who, account.file()?.as_bytes()).map_err(here)?;

        let mut child = Command::new(PROGRAM)
            .arg("--configfile")
            .arg(&settings)
            .arg("--authentication-file")
            .arg(&who)
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--dest-ip")
            .arg(address.ip().to_string())
            .arg(&self.host)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", folder.path())
            .env("LC_ALL", "C")
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Failure::refused(format!(
                    "Samba's {PROGRAM} is not installed where rota runs (on Debian: apt-get install smbclient)"
                )),
                _ => here(error),
            })?;
        let mut input = child.stdin.take();
        let talk = async {
            if let Some(input) = &mut input {
                // It may have given up on the connection before it reads anything.
                let _ = input.write_all(command.as_bytes()).await;
                let _ = input.write_all(b"\n").await;
            }
            drop(input);
            child.wait_with_output().await
        };
        let unclear = |why: &str| {
            let text = format!("the machine {} {why}", self.host);
            if changes { Failure::unclear(text) } else { Failure::unreachable(text) }
        };
        let output = match tokio::time::timeout(TIME, talk).await {
            Ok(Ok(output)) => output,
            Ok(Err(_)) => return Err(unclear("was spoken to by a program that ended in disorder")),
            Err(_) => return Err(unclear("gave no answer in time")),
        };
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let connected = !text.contains("Cannot connect to server");
        if output.status.code().is_none() {
            return Err(unclear("was spoken to by a program that was killed"));
        }
        Ok(Said { status: status(&text), text, connected, changes })
    }

    /// Logs in, and asks who it is that has logged in.
    pub(super) async fn log_in(&self, account: &Account) -> Result<Login, Failure> {
        let said = self.run(account, "getusername", false).await?;
        match said.status.as_deref() {
            None if said.names(&account.name) => Ok(Login::Accepted),
            // In as a guest, or as somebody else: not with this password.
            None if said.text.contains("Account Name:") => Ok(Login::Refused),
            None => Err(Failure::unreachable(format!("the machine {} did not say who logged in", self.host))),
            Some(
                "NT_STATUS_LOGON_FAILURE"
                | "NT_STATUS_WRONG_PASSWORD"
                | "NT_STATUS_NO_SUCH_USER"
                | "NT_STATUS_ACCOUNT_DISABLED"
                | "NT_STATUS_ACCOUNT_EXPIRED"
                | "NT_STATUS_ACCOUNT_LOCKED_OUT"
                | "NT_STATUS_ACCOUNT_RESTRICTION"
                | "NT_STATUS_INVALID_LOGON_HOURS"
                | "NT_STATUS_INVALID_WORKSTATION"
                | "NT_STATUS_LOGON_TYPE_NOT_GRANTED"
                | "NT_STATUS_PASSWORD_EXPIRED"
                | "NT_STATUS_PASSWORD_MUST_CHANGE",
            ) => Ok(Login::Refused),
            Some(status) => Err(said.failure(status, &account.name)),
        }
    }
}

impl Said {
    /// Whether it is this account that is logged in.
    fn names(&self, account: &str) -> bool {
        let named = self.text.split("Account Name:").nth(1).and_then(|rest| rest.split(',').next());
        named.is_some_and(|name| name.trim().eq_ignore_ascii_case(account))
    }

    /// Whether the machine is too old for what was asked.
    pub(super) fn is_unknown_procedure(&self) -> bool {
        let status = self.status.as_deref().unwrap_or_default();
        matches!(status, "NT_STATUS_RPC_PROCNUM_OUT_OF_RANGE" | "NT_STATUS_NOT_IMPLEMENTED")
    }

    /// What a status means that has no meaning of its own for the command.
    pub(super) fn failure(&self, status: &str, account: &str) -> Failure {
        match status {
            "NT_STATUS_LOGON_FAILURE" | "NT_STATUS_WRONG_PASSWORD" => {
                Failure::refused(format!("the machine does not accept the password of {account} ({status})"))
            }
            "NT_STATUS_ACCOUNT_DISABLED"
            | "NT_STATUS_ACCOUNT_EXPIRED"
            | "NT_STATUS_ACCOUNT_LOCKED_OUT"
            | "NT_STATUS_ACCOUNT_RESTRICTION"
            | "NT_STATUS_PASSWORD_EXPIRED"
            | "NT_STATUS_PASSWORD_MUST_CHANGE" => {
                Failure::refused(format!("the machine does not let {account} in ({status})"))
            }
            "NT_STATUS_ACCESS_DENIED" => {
                Failure::refused(format!("the machine denies {account} access ({status})"))
            }
            "NT_STATUS_NOT_SUPPORTED"
            | "NT_STATUS_INVALID_NETWORK_RESPONSE"
            | "NT_STATUS_REVISION_MISMATCH"
                if !self.connected =>
            {
                Failure::refused(format!(
                    "the machine does not encrypt (SMB 3 with encryption is needed): nothing was sent to it ({status})"
                ))
            }
            _ if !self.connected => Failure::unreachable(format!("the machine can't be reached ({status})")),
            _ if self.changes => {
                Failure::unclear(format!("the machine answers {status}, and may have obeyed all the same"))
            }
            _ => Failure::unreachable(format!("the machine answers {status}")),
        }
    }
}

impl Account {
    /// As Samba's programs read it, line by line.
    fn file(&self) -> Result<Zeroizing<String>, Failure> {
        let password = self.password.expose();
        for text in [&self.name, password, self.domain.as_deref().unwrap_or_default()] {
            if text.trim() != text || text.contains(['\n', '\r', '\0']) {
                return Err(Failure::refused(format!(
                    "the name, domain or password of {} begins or ends with a blank or has a line break in it, which \
                     Samba's programs can't be given",
                    self.name.escape_default()
                )));
            }
        }
        let domain = self.domain.as_deref().unwrap_or(".");
        let mut file =
            Zeroizing::new(String::with_capacity(128 + password.len() + self.name.len() + domain.len()));
        for (name, value) in [("username", &*self.name), ("password", password), ("domain", domain)] {
            file.push_str(name);
            file.push_str(" = ");
            file.push_str(value);
            file.push('\n');
        }
        Ok(file)
    }
}

/// A secret as one word of a command: every character but letters and digits by a backslash.
pub(super) fn word(secret: &Secret) -> Result<Zeroizing<String>, Failure> {
    let text = secret.expose();
    if text.is_empty() || text.contains(['\n', '\r', '\0']) {
        return Err(Failure::refused("a password without characters or with a line break can't be given on"));
    }
    let mut word = Zeroizing::new(String::with_capacity(2 * text.len()));
    for character in text.chars() {
        if character.is_ascii() && !character.is_ascii_alphanumeric() {
            word.push('\\');
        }
        word.push(character);
    }
    Ok(word)
}

/// The first name of a status that a command printed.
fn status(text: &str) -> Option<String> {
    let found = text.split("NT_STATUS_").nth(1)?;
    let name: String = found
        .chars()
        .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
        .take(64)
        .collect();
    (name != "OK").then(|| format!("NT_STATUS_{name}"))
}

/// Encryption or nothing; no names asked of anybody, and none of this machine's own settings.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[global]\n\
         client min protocol = SMB3_00\n\
         client ipc min protocol = SMB3_00\n\
         client signing = required\n\
         client ipc signing = required\n\
         client smb encrypt = required\n\
         client use kerberos = off\n\
         name resolve order = host\n\
         disable netbios = yes\n\
         load printers = no\n\
         lock directory = {folder}\n\
         state directory = {folder}\n\
         cache directory = {folder}\n\
         private dir = {folder}\n\
         pid directory = {folder}\n\
         log file = {folder}/log\n"
    )
}

fn private_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_word_whatever_is_in_it() {
        let word = |text: &str| word(&Secret::new(text.to_owned())).map(|word| word.to_string());
        assert_eq!(word("aB3").unwrap(), "aB3");
        assert_eq!(word(r#"a ;"'\$"#).unwrap(), r#"a\ \;\"\'\\\$"#);
        assert_eq!(word("ü").unwrap(), "ü");
        for bad in ["", "a\nb", "a\rb", "a\0b"] {
            assert!(word(bad).is_err());
        }
    }

    #[test]
    fn the_status_is_what_was_printed() {
        assert_eq!(
            status("result was NT_STATUS_ACCESS_DENIED\n").as_deref(),
            Some("NT_STATUS_ACCESS_DENIED")
        );
        assert_eq!(status("Account Name: a, Authority Name: B"), None);
        assert_eq!(status("NT_STATUS_OK"), None);
    }

    #[test]
    fn an_account_that_cannot_be_written_down_is_refused() {
        let account = |name: &str, password: &str| {
            Account { name: name.to_owned(), domain: None, password: Secret::new(password.to_owned()) }.file()
        };
        assert_eq!(*account("a", "b c").unwrap(), "username = a\npassword = b c\ndomain = .\n");
        for (name, password) in [("a", " b"), ("a", "b\nusername = c"), ("a\n", "b")] {
            let refused = account(name, password).unwrap_err();
            assert!(!refused.text().contains("username = c"));
        }
    }

    #[test]
    fn only_the_account_itself_counts_as_logged_in() {
        let said = |text: &str| Said { text: text.to_owned(), status: None, connected: true, changes: false };
        assert!(said("Account Name: App_A, Authority Name: X").names("app_a"));
        assert!(!said("Account Name: Guest, Authority Name: X").names("app_a"));
        assert!(!said("").names("app_a"));
    }
}
