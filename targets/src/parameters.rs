//! What a managed rotation is about, kind by kind: whose password it is, what it must look like, how it is changed.
//!
//! What is given is read into what is kept and given back: known fields alone, as they were given but for the blanks
//! around texts. The password that an account has before its first rotation is kept apart, as a secret.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rota_aggregates::secret::Secret;
use serde_json::{Map, Value};

use crate::connection::is_principal;
use crate::issue::{Code, Issue, Reader, under, wrong_type};
use crate::kind::Kind;
use crate::password::Requirements;
use crate::statement::{Dialect, Script};
use crate::target::Credential;

/// The parameters of a managed rotation. They came through a check.
#[derive(Debug)]
pub struct Parameters {
    kind: Kind,
    value: Map<String, Value>,
    requirements: Option<Requirements>,
    script: Option<Script>,
    temporary: Option<Secret>,
}

/// Who changes the password of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The connection, by its own authority.
    Connection,
    /// The account itself, with the password that it has.
    Account,
}

/// Databricks' secrets live for two intervals and three days, and for two years at most.
const DATABRICKS_DAYS_MAX: f64 = 363.0;

/// Whether a kind can be rotated at this interval, in days.
pub fn check_interval(kind: Kind, days: f64) -> Result<(), Issue> {
    if kind == Kind::DatabricksServicePrincipalSecret && days > DATABRICKS_DAYS_MAX {
        let message =
            format!("secrets of Databricks must be rotated at least every {DATABRICKS_DAYS_MAX} days");
        return Err(Issue::new(&["rotationInterval"], Code::Rule, message));
    }
    Ok(())
}

impl Parameters {
    /// Reads what a new rotation is given. The paths of issues are those of the request that makes one:
    /// `parameters.username1`, `temporaryParameters.password`.
    pub fn check(kind: Kind, value: &Value, temporary: Option<&Value>) -> Result<Self, Vec<Issue>> {
        let read = Self::read(kind, value);
        let by = match &read {
            Ok(parameters) => parameters.by(),
            Err(_) => rotation_method(kind, value),
        };
        let temporary = if by == By::Account { temporary_password(temporary).map(Some) } else { Ok(None) };
        match (read, temporary) {
            (Ok(parameters), Ok(temporary)) => Ok(Self { temporary, ..parameters }),
            (Ok(_), Err(issues)) | (Err(issues), Ok(_)) => Err(issues),
            (Err(mut issues), Err(more)) => {
                issues.extend(more);
                Err(issues)
            }
        }
    }

    /// Reads what is to stand in the place of these, whole. What may not change ([`Code::Rule`]) must be as it was,
    /// also where it was left out.
    pub fn check_update(&self, value: &Value) -> Result<Self, Vec<Issue>> {
        let new = Self::read(self.kind, value)?;
        let changed = |name: &&&str| self.value.get(**name) != new.value.get(**name);
        let issues: Vec<_> = Self::immutable(self.kind)
            .iter()
            .filter(changed)
            .map(|name| {
                Issue::new(
                    &["parameters", name],
                    Code::Rule,
                    format!("{name} can't be changed; make another rotation"),
                )
            })
            .collect();
        if issues.is_empty() { Ok(new) } else { Err(issues) }
    }

    /// Reads [`Parameters::value`] again.
    pub fn from_value(kind: Kind, value: &Value) -> Result<Self, Vec<Issue>> {
        Self::read(kind, value)
    }

    /// What is kept and given back.
    pub fn value(&self) -> Value {
        Value::Object(self.value.clone())
    }

    /// Of which kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What may not change once a rotation is made.
    pub const fn immutable(kind: Kind) -> &'static [&'static str] {
        match kind {
            Kind::LdapPassword => &["rotationMethod", "dn"],
            Kind::UnixLinuxLocalAccount | Kind::WindowsLocalAccount => &["rotationMethod", "username"],
            _ => &[],
        }
    }

    /// The credential that the account has before its first rotation, where it changes its password itself: `current`
    /// of the first [`crate::Target::intend`] and [`crate::Target::set`]. It is given once.
    pub fn take_current(&mut self) -> Option<Credential> {
        let secret = self.temporary.take()?;
        let name = self.kind.description().fields[0].name;
        let account = if self.kind == Kind::LdapPassword { "dn" } else { "username" };
        let public = BTreeMap::from([(name.to_owned(), self.text(account).unwrap_or_default().to_owned())]);
        Some(Credential { public, secret })
    }

    /// Who changes the password.
    pub fn by(&self) -> By {
        match self.text("rotationMethod") {
            Some("target-principal" | "login-as-target") => By::Account,
            _ => By::Connection,
        }
    }

    /// How the password must look.
    pub fn requirements(&self) -> Requirements {
        self.requirements.clone().unwrap_or_else(|| Requirements::of(self.kind))
    }

    /// A text among them.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value.get(name).and_then(Value::as_str)
    }

    /// A text among them that the kind requires.
    pub(crate) fn required(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// Whether something is asked for.
    pub fn flag(&self, name: &str) -> bool {
        self.value.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The two that take turns.
    pub fn users(&self) -> [&str; 2] {
        ["username1", "username2"].map(|name| self.text(name).unwrap_or_default())
    }

    /// The user's own statements.
    pub const fn script(&self) -> Option<&Script> {
        self.script.as_ref()
    }

    fn read(kind: Kind, value: &Value) -> Result<Self, Vec<Issue>> {
        let reader = Reader::new(value).map_err(|issues| under("parameters", issues))?;
        let mut form = Form { kind, reader, value: Map::new(), requirements: None, script: None };
        form.fields();
        let Form { reader, value, requirements, script, .. } = form;
        if reader.issues.is_empty() {
            Ok(Self { kind, value, requirements, script, temporary: None })
        } else {
            Err(under("parameters", reader.issues))
        }
    }
}

/// What a body says that can't be read otherwise.
fn rotation_method(kind: Kind, value: &Value) -> By {
    let account = match kind {
        Kind::LdapPassword => "target-principal",
        Kind::UnixLinuxLocalAccount | Kind::WindowsLocalAccount => "login-as-target",
        _ => return By::Connection,
    };
    if value.get("rotationMethod").and_then(Value::as_str) == Some(account) {
        By::Account
    } else {
        By::Connection
    }
}

fn temporary_password(temporary: Option<&Value>) -> Result<Secret, Vec<Issue>> {
    let Some(temporary) = temporary else {
        return Err(vec![wrong_type(&["temporaryParameters"], "object", None)]);
    };
    let mut reader = Reader::new(temporary).map_err(|issues| under("temporaryParameters", issues))?;
    match reader.text("password", false, 1, 4_096) {
        Some(password) => Ok(Secret::new(password.to_owned())),
        None => Err(under("temporaryParameters", reader.issues)),
    }
}

struct Form<'a> {
    kind: Kind,
    reader: Reader<'a>,
    value: Map<String, Value>,
    requirements: Option<Requirements>,
    script: Option<Script>,
}

impl Form<'_> {
    fn fields(&mut self) {
        match self.kind {
            Kind::PostgresCredentials => self.sql(Dialect::Postgres),
            Kind::MysqlCredentials => self.sql(Dialect::Mysql),
            Kind::MssqlCredentials => self.sql(Dialect::Mssql),
            Kind::OracledbCredentials => self.sql(Dialect::Oracle),
            Kind::MongodbCredentials => {
                self.users(false);
                self.password_requirements();
            }
            Kind::RedisCredentials => {
                if let Some(scope) = self.text("permissionScope", 4_096)
                    && let Err(word) = crate::acl::check(&scope)
                {
                    let message = format!("{word} is not a rule about commands, keys or channels");
                    self.reader.issue("permissionScope", Code::Custom, message);
                }
                self.password_requirements();
            }
            Kind::Auth0ClientSecret | Kind::OktaClientSecret => {
                self.text("clientId", 256);
            }
            Kind::AzureClientSecret => {
                self.text("objectId", 256);
                self.text("clientId", 256);
                self.optional_text("appName", 256);
            }
            Kind::DatabricksServicePrincipalSecret => {
                self.text("servicePrincipalId", 256);
                self.text("clientId", 256);
                self.optional_text("servicePrincipalName", 256);
            }
            Kind::AwsIamUserSecret => {
                self.text("userName", 128);
                if self.optional_text("region", 64).is_some_and(|region| !is_region(&region)) {
                    self.reader.issue("region", Code::InvalidEnumValue, "must be a region of AWS");
                }
            }
            Kind::LdapPassword => {
                if self.text("dn", 1_024).is_some_and(|dn| !is_principal(&dn)) {
                    let message = "must be a distinguished name or a user principal name";
                    self.reader.issue("dn", Code::InvalidString, message);
                }
                self.password_requirements();
                self.one_of("rotationMethod", &["connection-principal", "target-principal"]);
            }
            Kind::UnixLinuxLocalAccount | Kind::WindowsLocalAccount => self.account(),
        }
    }

    fn sql(&mut self, dialect: Dialect) {
        self.users(dialect == Dialect::Mssql);
        if let Some(text) = self.optional_text("rotationStatement", 8_192) {
            match Script::parse(dialect, &text) {
                Ok(script) => self.script = Some(script),
                Err(error) => self.reader.issue("rotationStatement", Code::Custom, error.to_string()),
            }
        }
        self.password_requirements();
    }

    /// Two users; the same one twice would lose its password at every turn.
    fn users(&mut self, ignore_case: bool) {
        let [first, second] = ["username1", "username2"].map(|name| self.text(name, 256));
        if let (Some(first), Some(second)) = (first, second)
            && (first == second || ignore_case && first.eq_ignore_ascii_case(&second))
        {
            self.reader.issue(
                "username2",
                Code::Rule,
                "must be another user than username1: they take turns",
            );
        }
    }

    fn account(&mut self) {
        let windows = self.kind == Kind::WindowsLocalAccount;
        let max = if windows { 20 } else { 64 };
        if let Some(name) = self.text("username", max) {
            let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            // Else a command would take it for an option.
            if !fits || name.starts_with('-') {
                let message = "must be letters, digits, - and _, and not begin with -";
                self.reader.issue("username", Code::InvalidString, message);
            }
        }
        self.password_requirements();
        self.one_of("rotationMethod", &["login-as-root", "login-as-target"]);
        if !windows {
            match self.reader.get("useSudo") {
                None => {}
                Some(flag @ Value::Bool(_)) => {
                    self.value.insert("useSudo".to_owned(), flag.clone());
                }
                other => self.reader.issues.push(wrong_type(&["useSudo"], "boolean", other)),
            }
        }
    }

    fn password_requirements(&mut self) {
        let Some(given) = self.reader.get("passwordRequirements") else { return };
        match Requirements::check(self.kind, given) {
            Ok(requirements) => {
                self.value.insert("passwordRequirements".to_owned(), requirements.to_value());
                self.requirements = Some(requirements);
            }
            Err(issues) => {
                self.reader
                    .issues
                    .extend(issues.into_iter().map(|issue| issue.under("passwordRequirements")));
            }
        }
    }

    fn text(&mut self, name: &str, max: usize) -> Option<String> {
        let text = self.reader.text(name, true, 1, max);
        self.keep(name, text)
    }

    fn optional_text(&mut self, name: &str, max: usize) -> Option<String> {
        let text = self.reader.optional_text(name, true, 0, max);
        self.keep(name, text)
    }

    fn keep(&mut self, name: &str, text: Option<&str>) -> Option<String> {
        let text = text?;
        self.value.insert(name.to_owned(), text.into());
        Some(text.to_owned())
    }

    fn one_of(&mut self, name: &str, values: &[&str]) {
        if self.optional_text(name, 64).is_some_and(|given| !values.contains(&given.as_str())) {
            self.reader.issue(name, Code::InvalidEnumValue, format!("must be {}", values.join(" or ")));
        }
    }
}

/// `eu-central-1`, `us-gov-west-1`
fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let [area, middle @ .., number] = parts.as_slice() else { return false };
    area.len() == 2
        && !middle.is_empty()
        && middle.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()))
        && area.bytes().all(|b| b.is_ascii_lowercase())
        && matches!(number.as_bytes(), [b'1'..=b'9'])
}
