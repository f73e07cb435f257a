//! What a target needs that is no setting of its user's: the way out, the time, and the vendors' addresses.

use std::sync::Arc;

use rota_aggregates::Timestamp;
use rota_aggregates::secret::Secret;

use crate::target::Network;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;
}

/// Where the vendors' clouds are. The default is their public ones; an operator in a sovereign cloud names that one's.
/// Each is an `https` address, or an `http` address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// AWS IAM; nothing takes the one of the region's partition.
    pub aws_iam: Option<String>,
    /// AWS STS; nothing takes the region's own.
    pub aws_sts: Option<String>,
    /// Where Microsoft issues tokens.
    pub microsoft_login: String,
    /// Microsoft Graph, which is also what the tokens are for.
    pub microsoft_graph: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            aws_iam: None,
            aws_sts: None,
            microsoft_login: "https://login.microsoftonline.com".to_owned(),
            microsoft_graph: "https://graph.microsoft.com".to_owned(),
        }
    }
}

/// An access key of AWS.
#[derive(Debug)]
pub struct AwsKey {
    /// `AKIA…`, or `ASIA…` with a session.
    pub id: String,
    /// What requests are signed with.
    pub secret: Secret,
    /// What a temporary key needs besides.
    pub session: Option<Secret>,
}

/// What rota itself is in AWS, where it is anything: connections that name a role are entered from there.
#[derive(Debug)]
pub struct AwsIdentity {
    /// The key of that identity.
    pub key: AwsKey,
    /// What the role's trust policy may ask for (`sts:ExternalId`), so that nobody else's connection enters the role:
    /// different for each workspace.
    pub external_id: String,
}

/// All of it.
#[derive(Clone)]
pub struct Surroundings {
    /// The way out.
    pub network: Arc<dyn Network>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the vendors' clouds are.
    pub endpoints: Arc<Endpoints>,
    /// What rota is in AWS.
    pub aws: Option<Arc<AwsIdentity>>,
}
