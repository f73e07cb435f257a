//! `aws-iam-user-secret`: access keys of an IAM user, of which there can be two.
//!
//! A new key takes some seconds until STS knows it: a login that is refused as unknown is tried again for a while, if
//! IAM lists the key as active and young. Retiring makes the key inactive, which ends it, and then deletes it, which
//! makes room for the next one. Nothing is ever deleted to make room: with two keys there, a rotation stops and says
//! which.

mod query;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rota_aggregates::secret::Secret;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::query::{Action, Refusal, Reply, Service};
use crate::chosen::copy_secret;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::keys::{self, Listed, Vendor};
use crate::parameters::Parameters;
use crate::rest::Effect;
use crate::surroundings::{AwsIdentity, AwsKey, Clock, Surroundings};
use crate::target::{Credential, Login, Plan, Right};

/// A key that somebody went on to use after it was replaced is not deleted before it has been idle for so long.
const IDLE_SECONDS: i64 = 900;
/// A session of a role is left when it has less than this.
const SESSION_MARGIN: Duration = Duration::from_mins(1);
const SESSION_SECONDS: &str = "900";
/// No key has this id: asking to change it tells whether one may, and changes nothing.
const NOBODYS_KEY: &str = "AKIAROTANOBODYSKEY00";

/// Who am I? Whoever may log in may ask.
const WHO: Action<'_> =
    Action { name: "GetCallerIdentity", parameters: &[], effect: Effect::Reads, purpose: "to log in" };

/// As whom the connection acts.
#[derive(Debug)]
pub enum Authority {
    /// With an access key.
    Key(AwsKey),
    /// In a role that is entered from what rota itself is in AWS.
    Role {
        /// `arn:aws:iam::123456789012:role/name`.
        arn: String,
    },
}

/// What the user of a rotation sets.
#[derive(Debug)]
pub struct Settings {
    /// As whom.
    pub authority: Authority,
    /// The user whose keys are rotated.
    pub user: String,
    /// Decides which partition and which STS; `us-east-1` if nothing.
    pub region: Option<String>,
    /// An STS of one's own.
    pub sts: Option<String>,
}

/// The access keys of one IAM user.
pub struct AwsIamUserSecret {
    authority: Authority,
    user: String,
    iam: Service,
    sts: Service,
    clock: Arc<dyn Clock>,
    identity: Option<Arc<AwsIdentity>>,
    session: Mutex<Option<(Arc<AwsKey>, Instant)>>,
}

impl AwsIamUserSecret {
    /// Makes it; nothing is reached yet.
    pub fn new(settings: Settings, around: &Surroundings) -> Result<Self, Failure> {
        let Settings { authority, user, region, sts } = settings;
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let well_formed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if region.is_empty() || region.len() > 32 || !region.bytes().all(well_formed) {
            return Err(Failure::refused("the region must be one of AWS', such as eu-central-1"));
        }
        let (iam_region, iam_host, domain) = match region.split('-').next() {
            Some("cn") => ("cn-north-1", "iam.cn-north-1.amazonaws.com.cn", "amazonaws.com.cn"),
            _ if region.starts_with("us-gov-") => {
                ("us-gov-west-1", "iam.us-gov.amazonaws.com", "amazonaws.com")
            }
            _ => ("us-east-1", "iam.amazonaws.com", "amazonaws.com"),
        };
        let Surroundings { network, clock, endpoints, aws } = around;
        let iam = endpoints.aws_iam.clone().unwrap_or_else(|| format!("https://{iam_host}"));
        let regional = || format!("https://sts.{region}.{domain}");
        let sts = sts.or_else(|| endpoints.aws_sts.clone()).unwrap_or_else(regional);
        Ok(Self {
            authority,
            user,
            iam: Service::iam(&iam, iam_region, network, clock)?,
            sts: Service::sts(&sts, &region, network, clock)?,
            clock: Arc::clone(clock),
            identity: aws.clone(),
            session: Mutex::new(None),
        })
    }

    /// Of a connection and parameters.
    pub(crate) fn open(
        connection: &Connection,
        parameters: &Parameters,
        around: &Surroundings,
    ) -> Result<Self, Failure> {
        let region = parameters.text("region").map(str::to_owned);
        Self::new(settings(connection, parameters.required("userName"), region), around)
    }

    /// Asks who the connection is.
    pub(crate) async fn check_connection(
        connection: &Connection,
        around: &Surroundings,
    ) -> Result<(), Failure> {
        let aws = Self::new(settings(connection, String::new(), None), around)?;
        match &aws.authority {
            Authority::Key(key) => aws.sts.ask(key, WHO).await.map(|_| ()).map_err(Failure::from),
            Authority::Role { arn } => aws.enter(arn).await.map(|_| ()),
        }
    }

    /// Asks IAM with the connection's authority.
    async fn ask(&self, action: Action<'_>) -> Result<Reply, Refusal> {
        match &self.authority {
            Authority::Key(key) => self.iam.ask(key, action).await,
            Authority::Role { arn } => {
                let key = self.enter(arn).await?;
                self.iam.ask(&key, action).await
            }
        }
    }

    /// A session in the role, the one at hand or a new one.
    async fn enter(&self, arn: &str) -> Result<Arc<AwsKey>, Failure> {
        let Some(identity) = &self.identity else {
            return Err(Failure::refused(
                "assume-role needs an identity of rota's own in AWS, and the operator has given none; \
                 use a connection of the method access-key",
            ));
        };
        let mut kept = self.session.lock().await;
        if let Some((key, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(Arc::clone(key));
        }
        let action = Action {
            name: "AssumeRole",
            parameters: &[
                ("RoleArn", arn),
                ("RoleSessionName", "rota"),
                ("DurationSeconds", SESSION_SECONDS),
                ("ExternalId", &identity.external_id),
            ],
            effect: Effect::Reads,
            purpose: "to enter the role",
        };
        let reply = self.sts.ask(&identity.key, action).await.map_err(|refusal| match &*refusal.code {
            "AccessDenied" => Failure::refused(format!(
                "AWS STS does not let rota enter the role (AccessDenied): its trust policy must name rota's identity, \
                 with sts:ExternalId {}",
                identity.external_id
            )),
            _ => refusal.failure,
        })?;
        let (id, secret) = (reply.value("AccessKeyId"), reply.value("SecretAccessKey"));
        let (Some(id), Some(secret), Some(session)) = (id, secret, reply.value("SessionToken")) else {
            return Err(self.sts.not_understood(action));
        };
        let key = AwsKey { id, secret: Secret::new(secret), session: Some(Secret::new(session)) };
        let key = Arc::new(key);
        let lasts = Duration::from_secs(SESSION_SECONDS.parse().unwrap_or(900));
        *kept = Some((Arc::clone(&key), Instant::now() + lasts.saturating_sub(SESSION_MARGIN)));
        Ok(key)
    }

    async fn last_used_of(&self, id: &str) -> Result<Option<i64>, Failure> {
        let action = Action {
            name: "GetAccessKeyLastUsed",
            parameters: &[("AccessKeyId", id)],
            effect: Effect::Reads,
            purpose: "to ask when a key was last used",
        };
        match self.ask(action).await {
            Ok(reply) => Ok(reply.value("LastUsedDate").as_deref().and_then(keys::seconds)),
            Err(refusal) if refusal.code == "NoSuchEntity" => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn deactivate(&self, id: &str) -> Result<(), Refusal> {
        let parameters = &[("UserName", &*self.user), ("AccessKeyId", id), ("Status", "Inactive")];
        let action = Action {
            name: "UpdateAccessKey",
            parameters,
            effect: Effect::Changes,
            purpose: "to make a key inactive",
        };
        gone_is_done(self.ask(action).await)
    }

    async fn delete(&self, id: &str) -> Result<(), Refusal> {
        let action = Action {
            name: "DeleteAccessKey",
            parameters: &[("UserName", &self.user), ("AccessKeyId", id)],
            effect: Effect::Changes,
            purpose: "to delete a key",
        };
        gone_is_done(self.ask(action).await)
    }

    /// Says that a key is held back because somebody needs it, if that is so.
    async fn is_idle(&self, id: &str, replaced_by: &str) -> Result<(), Failure> {
        let Some(used) = self.last_used_of(id).await? else { return Ok(()) };
        let listed = self.list().await?;
        let replaced = listed.iter().find(|key| key.id == replaced_by).and_then(|key| key.made_at);
        let idle = self.now() - used;
        if used <= replaced.unwrap_or(used) || idle >= IDLE_SECONDS {
            return Ok(());
        }
        let wait = u64::try_from(IDLE_SECONDS - idle).unwrap_or_default();
        let failure = Failure::unreachable(format!(
            "key {id} of user {} is inactive, and not deleted yet: it was used {idle} s ago, after it was replaced; whoever \
             uses it needs the new one, or make it active again",
            self.user
        ));
        Err(failure.after(Duration::from_secs(wait)))
    }

    /// Whether something may be done, found out with a key that nobody has.
    fn allowed(asked: Result<Reply, Refusal>) -> Result<Option<bool>, Failure> {
        match asked {
            Ok(_) => Ok(Some(true)),
            Err(refusal) => match &*refusal.code {
                "NoSuchEntity" | "ValidationError" => Ok(Some(true)),
                "AccessDenied" => Ok(Some(false)),
                _ if refusal.failure.may_pass => Err(refusal.failure),
                _ => Ok(None),
            },
        }
    }

    async fn rights(&self) -> Result<Vec<Right>, Failure> {
        let user = ("UserName", &*self.user);
        let nobodys = ("AccessKeyId", NOBODYS_KEY);
        let questions: [(&'static str, &[(&str, &str)]); 3] = [
            ("GetAccessKeyLastUsed", &[nobodys]),
            ("UpdateAccessKey", &[user, nobodys, ("Status", "Inactive")]),
            ("DeleteAccessKey", &[user, nobodys]),
        ];
        // Making one can't be tried without making one.
        let right = |name: &str, held| Right { name: format!("iam:{name} on user {}", self.user), held };
        let mut rights = vec![right("ListAccessKeys", Some(true)), right("CreateAccessKey", None)];
        for (name, parameters) in questions {
            let action =
                Action { name, parameters, effect: Effect::Reads, purpose: "to find out what is allowed" };
            rights.push(right(name, Self::allowed(self.ask(action).await)?));
        }
        Ok(rights)
    }
}

fn gone_is_done(asked: Result<Reply, Refusal>) -> Result<(), Refusal> {
    match asked {
        Ok(_) => Ok(()),
        Err(refusal) if refusal.code == "NoSuchEntity" => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

fn settings(connection: &Connection, user: String, region: Option<String>) -> Settings {
    let authority = match connection.method() {
        "assume-role" => Authority::Role { arn: connection.required("roleArn") },
        _ => Authority::Key(AwsKey {
            id: connection.required("accessKeyId"),
            secret: connection.required_secret("secretAccessKey"),
            session: None,
        }),
    };
    Settings { authority, user, region, sts: connection.text("stsEndpoint").map(str::to_owned) }
}

#[async_trait]
impl Vendor for AwsIamUserSecret {
    const VENDOR: &'static str = "AWS";
    const ID: &'static str = "accessKeyId";
    const NOUN: &'static str = "access key";
    const MAX: usize = 2;
    const YOUNG_SECONDS: i64 = 120;
    const PATIENCE: Duration = Duration::from_secs(12);
    const PAUSE: Duration = Duration::from_secs(1);

    fn owner(&self) -> String {
        format!("user {}", self.user)
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        let action = Action {
            name: "ListAccessKeys",
            parameters: &[("UserName", &self.user)],
            effect: Effect::Reads,
            purpose: "to list the user's keys",
        };
        let reply = self.ask(action).await?;
        let listed = reply.each("member", ["AccessKeyId", "Status", "CreateDate"]);
        let read = |[id, status, created]: [Option<String>; 3]| {
            let active = status.as_deref() == Some("Active");
            Some(Listed { id: id?, active, label: None, made_at: created.as_deref().and_then(keys::seconds) })
        };
        let listed: Option<Vec<_>> = listed.into_iter().map(read).collect();
        listed.ok_or_else(|| self.iam.not_understood(action))
    }

    async fn make(&self, _label: &str) -> Result<Credential, Failure> {
        let action = Action {
            name: "CreateAccessKey",
            parameters: &[("UserName", &self.user)],
            effect: Effect::Changes,
            purpose: "to make a key",
        };
        let reply = self.ask(action).await?;
        match (reply.value("AccessKeyId"), reply.value("SecretAccessKey")) {
            (Some(id), Some(secret)) => Ok(keys::credential(&[(Self::ID, &id)], Secret::new(secret))),
            _ => Err(self.iam.not_understood(action)),
        }
    }

    async fn try_log_in(&self, credential: &Credential) -> Result<Option<Login>, Failure> {
        let id = keys::id_of(credential, Self::ID)?.to_owned();
        let key = AwsKey { id, secret: copy_secret(&credential.secret), session: None };
        match self.sts.ask(&key, WHO).await {
            Ok(_) => Ok(Some(Login::Accepted)),
            Err(refusal) => match &*refusal.code {
                "InvalidClientTokenId" => Ok(None),
                "SignatureDoesNotMatch" => Ok(Some(Login::Refused)),
                // Known and right, and forbidden even this: a key that logs in.
                "AccessDenied" => Ok(Some(Login::Accepted)),
                _ => Err(refusal.failure),
            },
        }
    }

    /// In two steps, so that a key that can't be deleted is dead all the same.
    async fn end(&self, id: &str) -> Result<(), Failure> {
        self.deactivate(id).await?;
        Ok(self.delete(id).await?)
    }

    async fn end_replaced(&self, id: &str, by: &str) -> Result<(), Failure> {
        self.deactivate(id).await?;
        self.is_idle(id, by).await?;
        Ok(self.delete(id).await?)
    }

    async fn may_end(&self, key: &Listed) -> Result<(), Failure> {
        if self.last_used_of(&key.id).await?.is_none() {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "key {} of user {} was made while an attempt was interrupted, and has been used since: somebody has its \
             secret, so it is not deleted; delete it by hand if nobody needs it",
            key.id, self.user
        )))
    }

    async fn foresee(&self, count: usize) -> Result<Plan, Failure> {
        let steps = vec![
            format!("make a new access key for user {}, which has {count}", self.user),
            "log in with it: sts:GetCallerIdentity".to_owned(),
            "publish it".to_owned(),
            "when the key before has ended its overlap: make it inactive, and delete it once nobody uses it"
                .to_owned(),
        ];
        Ok(Plan { steps, rights: self.rights().await? })
    }

    async fn used_at(&self, id: &str) -> Result<Option<i64>, Failure> {
        self.last_used_of(id).await
    }
}
