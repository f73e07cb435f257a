//! Which reports there are.

use super::{Fold, Question};
use super::{
    campaigns, compromises, credentials, custody, erasures, keys, ledger_keys, managed, old_secrets,
    policies, population, reads, rotations, secret_age, versions,
};

/// A parameter beside the point in history and the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parameter {
    /// One credential.
    Credential,
    /// One credential, without which there is no question.
    TheCredential,
    /// Credentials of one kind.
    Kind,
    /// Credentials of one owner.
    Owner,
    /// Items that were planned for one owner.
    PlannedOwner,
    /// One managed rotation.
    Rotation,
    /// One actor.
    Actor,
    /// The instant that is asked about.
    At,
    /// The beginning and the end of a stretch of time.
    Period,
    /// A position from which on events count.
    Since,
    /// One version.
    Version,
    /// A least age.
    OlderThanDays,
    /// A time within which something must have happened.
    TargetSeconds,
}

impl Parameter {
    /// The query parameters that it is given by, each with what it means.
    pub fn described(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Credential => &[("credentialId", "only this credential")],
            Self::TheCredential => &[("credentialId", "the credential; required")],
            Self::Kind => &[(
                "kind",
                "only credentials of this kind: client, exchange, signing, workspace-key, webhook",
            )],
            Self::Owner => &[(
                "ownerId",
                "only credentials of this owner, as the ledger knew it then; a credential without one is its own",
            )],
            Self::PlannedOwner => &[("ownerId", "only what was planned for this owner")],
            Self::Rotation => &[("rotationId", "only this managed rotation")],
            Self::Actor => &[("actor", "only by this actor: operator, scheduler, or a credential's id")],
            Self::At => &[(
                "at",
                "the instant that is asked about; by default that of asOf. It may lie before or after it",
            )],
            Self::Period => &[("from", "from this instant on"), ("to", "up to this instant, exclusive")],
            Self::Since => &[("since", "events from this position on")],
            Self::Version => &[("version", "only this version")],
            Self::OlderThanDays => {
                &[("olderThanDays", "only secrets that are older; by default all, with their age")]
            }
            Self::TargetSeconds => {
                &[("targetSeconds", "within how many seconds of the report the old secret must be dead")]
            }
        }
    }
}

/// A report.
pub struct Definition {
    /// Its name in paths and commands.
    pub name: &'static str,
    /// The question that it answers.
    pub question: &'static str,
    /// What it cannot say.
    pub limits: &'static str,
    /// What can be asked.
    pub parameters: &'static [Parameter],
    /// What its rows say.
    pub columns: &'static [&'static str],
    /// The types of events that it folds; `None` for all of them.
    pub types: Option<&'static [&'static str]>,
    /// The types of events that a question about one credential needs beside the events about that one; `None` if it
    /// needs those of its neighbours too.
    pub beside_credential: Option<&'static [&'static str]>,
    pub(super) fold: fn(Question) -> Box<dyn Fold>,
}

impl Definition {
    /// Whether the question is about one credential alone.
    pub fn needs_credential(&self) -> bool {
        self.parameters.contains(&Parameter::TheCredential)
    }

    /// Whether a parameter of this name can be given.
    pub fn takes(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.described().iter().any(|(known, _)| *known == name))
    }
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The report of a name.
pub fn find(name: &str) -> Option<&'static Definition> {
    ALL.iter().find(|definition| definition.name == name)
}

/// Questions that no report answers, and what does.
pub const ELSEWHERE: &[(&str, &str)] = &[
    (
        "Was an event in the ledger by a checkpoint, and was nothing deleted or changed between two?",
        "GET /v1/ledger/proof/{position} and GET /v1/ledger/consistency, checked offline",
    ),
    (
        "Who else saw a head of the ledger?",
        "the cosignatures of a checkpoint, where witnesses are asked for them",
    ),
    (
        "What was the full state at an instant, and does a replay by others give the same?",
        "rota replay --until, and rota verify with a server's --url: both fold the events themselves",
    ),
    (
        "What was a credential's name or description?",
        "GET /v1/credentials/{id}?asOf=: names can be erased, and so no report has them",
    ),
    (
        "Who was refused before being known, or tried a dead secret?",
        "metrics and logs: an unknown caller appends nothing to the ledger",
    ),
    (
        "From which address did somebody come?",
        "the sealed details of an event, until they are erased; and the access log of what stands in front",
    ),
];

/// Every report.
pub const ALL: &[Definition] = &[
    Definition {
        name: "rotations",
        question: "Who replaced which secret, when, how, under which request, with what result? Refused, prepared \
                   and cancelled rotations are rows too",
        limits: "Reasons in the caller's words and addresses are sealed beside the event. Callers whom nobody knew \
                 are not recorded; refusals are, once a minute for each actor, credential and reason",
        parameters: &[
            Parameter::Credential,
            Parameter::Kind,
            Parameter::Owner,
            Parameter::Actor,
            Parameter::Period,
        ],
        columns: rotations::COLUMNS,
        types: Some(rotations::TYPES),
        beside_credential: Some(&[]),
        fold: rotations::fold,
    },
    Definition {
        name: "credentials",
        question: "Which credentials were there, who issued them, and where did they stand?",
        limits: "Names are sealed and can be erased, and so are not among the columns",
        parameters: &[Parameter::Credential, Parameter::Kind, Parameter::Owner],
        columns: credentials::COLUMNS,
        types: Some(secret_age::TYPES),
        beside_credential: Some(&[]),
        fold: credentials::fold,
    },
    Definition {
        name: "versions",
        question: "From when to when was each version of a credential's secret valid, and would it have been \
                   accepted at an instant?",
        limits: "Instants are those of the decisions; the ledger took them in some milliseconds later. Uses are \
                 those in a grace period",
        parameters: &[Parameter::TheCredential, Parameter::Version, Parameter::At],
        columns: versions::COLUMNS,
        types: Some(old_secrets::TYPES),
        beside_credential: Some(&[]),
        fold: versions::fold,
    },
    Definition {
        name: "secret-age",
        question: "How old were active secrets at an instant, and which were older than their policy allowed?",
        limits: "Only active secrets have an age; replaced ones are in old-secrets",
        parameters: &[
            Parameter::Credential,
            Parameter::Kind,
            Parameter::Owner,
            Parameter::At,
            Parameter::OlderThanDays,
        ],
        columns: secret_age::AGE_COLUMNS,
        types: Some(secret_age::TYPES),
        beside_credential: Some(policies::TYPES),
        fold: secret_age::age,
    },
    Definition {
        name: "out-of-policy",
        question: "When was the active secret of any credential older than its policy allowed, from when to when?",
        limits: "The rule is the age that the workspace's policy named at the time. A stretch without an end lasts \
                 on at the instant that is asked about",
        parameters: &[
            Parameter::Credential,
            Parameter::Kind,
            Parameter::Owner,
            Parameter::At,
            Parameter::Period,
        ],
        columns: secret_age::OUT_OF_POLICY_COLUMNS,
        types: Some(secret_age::TYPES),
        beside_credential: Some(policies::TYPES),
        fold: secret_age::out_of_policy,
    },
    Definition {
        name: "old-secrets",
        question: "Which replaced secrets were used in their grace period, how often, when last, how did each end, \
                   was it dead at an instant, and was any accepted after its end?",
        limits: "Uses are the minutes in which there was at least one. An attempt after the end is refused and \
                 appends nothing; a use that was accepted after the end would be a row with usedAfterEnd",
        parameters: &[
            Parameter::Credential,
            Parameter::Kind,
            Parameter::Owner,
            Parameter::Version,
            Parameter::At,
        ],
        columns: old_secrets::COLUMNS,
        types: Some(old_secrets::TYPES),
        beside_credential: Some(&[]),
        fold: old_secrets::fold,
    },
    Definition {
        name: "compromises",
        question: "After a reported compromise: how long to the new secret, and to the old one's death?",
        limits: "A report is a leaked secret that forensics found to be accepted still, else the rotation with the reason \
                 compromised: what was known before is not in the ledger",
        parameters: &[
            Parameter::Credential,
            Parameter::Kind,
            Parameter::Owner,
            Parameter::At,
            Parameter::Period,
            Parameter::TargetSeconds,
        ],
        columns: compromises::COLUMNS,
        types: Some(compromises::TYPES),
        beside_credential: Some(&[]),
        fold: compromises::fold,
    },
    Definition {
        name: "policies",
        question: "Which policy applied where and when, and who set it?",
        limits: "There are no exceptions from a policy, and so none are listed",
        parameters: &[Parameter::At],
        columns: policies::COLUMNS,
        types: Some(policies::TYPES),
        beside_credential: None,
        fold: policies::fold,
    },
    Definition {
        name: "population",
        question: "How many events of which type are there, and where does each type begin and end?",
        limits: "That the list is complete is proved by rebuilding the root from the entries, not by this report",
        parameters: &[
            Parameter::Credential,
            Parameter::Kind,
            Parameter::Owner,
            Parameter::Period,
            Parameter::Since,
        ],
        columns: population::COLUMNS,
        types: None,
        beside_credential: Some(&[]),
        fold: population::fold,
    },
    Definition {
        name: "erasures",
        question: "Which sealed parts (digests, secrets, answers, personal details) were destroyed, when, and by whom?",
        limits: "Events and their hashes stay; a part's ciphertext and data key are gone. What is sealed about a \
                 webhook, a connection or a managed rotation is of no credential",
        parameters: &[
            Parameter::Credential,
            Parameter::Kind,
            Parameter::Owner,
            Parameter::Actor,
            Parameter::Period,
        ],
        columns: erasures::COLUMNS,
        types: None,
        beside_credential: None,
        fold: erasures::fold,
    },
    Definition {
        name: "reads",
        question: "Who read the audit trail: events, histories, reports, and secrets that were handed over sealed?",
        limits: "Only where rota serves with --record-reads, and from then on. The first reading of each kind in a minute is \
                 recorded. Tiles tell of no actor: see which auditors were named, and the access log of what stands in front",
        parameters: &[Parameter::Actor, Parameter::Period],
        columns: reads::COLUMNS,
        types: Some(reads::TYPES),
        beside_credential: None,
        fold: reads::fold,
    },
    Definition {
        name: "token-keys",
        question: "Which keys signed session tokens, from when until when, and which did at an instant?",
        limits: "They belong to the deployment: a workspace's own auditor sees none",
        parameters: &[Parameter::At],
        columns: keys::COLUMNS,
        types: Some(keys::TYPES),
        beside_credential: None,
        fold: keys::fold,
    },
    Definition {
        name: "ledger-keys",
        question: "Which keys signed the ledger, from when until when, and which did at an instant?",
        limits: "They belong to the deployment: a workspace's own auditor sees none here, and gets the present ones from \
                 GET /v1/ledger/key",
        parameters: &[Parameter::At],
        columns: ledger_keys::COLUMNS,
        types: Some(ledger_keys::TYPES),
        beside_credential: None,
        fold: ledger_keys::fold,
    },
    Definition {
        name: "managed-rotations",
        question: "Which rotations of credentials in other systems were tried, failed, were tried again or rolled back, \
                   and where did rota and the system disagree?",
        limits: "What a system answered is in the reason as far as it was safe to record; the settings of a rotation \
                 are in its events",
        parameters: &[Parameter::Rotation, Parameter::Actor, Parameter::Period],
        columns: managed::COLUMNS,
        types: Some(managed::TYPES),
        beside_credential: None,
        fold: managed::fold,
    },
    Definition {
        name: "campaigns",
        question: "Which secrets were replaced by a plan, planned and applied by whom, for which owner, with what outcome?",
        limits: "The period is that in which a plan was made. Whether an owner fetched a sealed secret is not recorded. \
                 A plan for the whole deployment is told to the operator alone; what it rotated is in rotations",
        parameters: &[Parameter::Credential, Parameter::Kind, Parameter::PlannedOwner, Parameter::Period],
        columns: campaigns::COLUMNS,
        types: Some(campaigns::TYPES),
        beside_credential: None,
        fold: campaigns::fold,
    },
    Definition {
        name: "custody",
        question: "Who answered for which credential, to which key were its new secrets sealed, and who said so?",
        limits: "A credential about which nothing was said is its own owner and has no row",
        parameters: &[
            Parameter::Credential,
            Parameter::Kind,
            Parameter::Owner,
            Parameter::Actor,
            Parameter::Period,
        ],
        columns: custody::COLUMNS,
        types: Some(custody::TYPES),
        beside_credential: Some(&[]),
        fold: custody::fold,
    },
];
