//! Who answers for a credential, and to which key its owner wants new secrets sealed.

use rota_aggregates::authority::Role;
use rota_aggregates::credential::{CredentialRefusal, Kind, Status};
use rota_aggregates::custody::{Custody, CustodyCommand, Recipient};
use rota_aggregates::{CredentialId, Position, StreamId};

use super::change::{ATTEMPTS_MAX, Along, Committed, Subject};
use super::{App, Caller, Failure};
use crate::log::Append;

/// Reads an age public key, checksum and all.
pub fn recipient(field: &str, text: &str) -> Result<Recipient, Failure> {
    let wrong = |reason: &str| Failure::invalid(field, reason);
    let recipient: Recipient = text.parse().map_err(wrong)?;
    match text.parse::<age::x25519::Recipient>() {
        Ok(_) => Ok(recipient),
        Err(_) => Err(wrong("is mistyped: its checksum does not fit")),
    }
}

impl App {
    /// Says who answers for a credential; `None`: it is its own owner. The position; `None` if it was so already.
    pub async fn set_owner(
        &self,
        caller: &Caller,
        id: CredentialId,
        owner: Option<CredentialId>,
    ) -> Result<Option<Position>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let mut subject = self.custodian(caller, id, "set-owner", false).await?;
            if let Some(owner) = owner {
                let tip = self.tip.tip.read();
                let live = tip.live.credential(owner).filter(|live| {
                    live.state.workspace == subject.live.state.workspace
                        && live.state.status == Status::Active
                });
                let reason = "must be a credential of the same workspace that is not revoked";
                let live = live.ok_or_else(|| Failure::invalid("ownerId", reason))?;
                if owner != id {
                    subject.expected.push((StreamId::credential(owner), Some(live.sequence)));
                }
            }
            let command = CustodyCommand::SetOwner { credential: id, owner, now: subject.now };
            if let Some(position) = self.record_custody(subject, id, command).await? {
                return Ok(position);
            }
        }
        Err(Failure::Overloaded)
    }

    /// Says to which key new secrets for an owner are sealed; `None`: to none. A workspace key may say it of itself.
    pub async fn set_recipient(
        &self,
        caller: &Caller,
        id: CredentialId,
        recipient: Option<&Recipient>,
    ) -> Result<Option<Position>, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let subject = self.custodian(caller, id, "set-recipient", true).await?;
            let recipient = recipient.cloned();
            let command = CustodyCommand::SetRecipient { credential: id, recipient, now: subject.now };
            if let Some(position) = self.record_custody(subject, id, command).await? {
                return Ok(position);
            }
        }
        Err(Failure::Overloaded)
    }

    /// Looks at a credential for a change of its custody. A secret on its way out says nothing about where new ones go.
    async fn custodian(
        &self,
        caller: &Caller,
        id: CredentialId,
        operation: &'static str,
        itself: bool,
    ) -> Result<Subject, Failure> {
        let subject = self.subject(caller, id)?;
        let state = &subject.live.state;
        // Whoever stole an application's secret must not be handed the next one.
        let itself = itself && state.kind == Kind::WorkspaceKey;
        self.allow(&subject.caller, id, state.workspace, &[Role::Admin], itself, operation).await?;
        self.check_current(&subject.caller, id, operation).await?;
        let refused = if subject.caller.credential().is_some_and(|who| who.retiring) {
            CredentialRefusal::RetiringSecret
        } else if state.status == Status::Active {
            return Ok(subject);
        } else {
            CredentialRefusal::Revoked
        };
        Err(self.refuse(&subject.caller, id, operation, refused.into()).await)
    }

    /// Decides and appends once. `None`: it is stale, decide again.
    async fn record_custody(
        &self,
        subject: Subject,
        id: CredentialId,
        command: CustodyCommand,
    ) -> Result<Option<Option<Position>>, Failure> {
        let place = self.place()?;
        let stream = StreamId::custody(id);
        let (event, sequence) = {
            let tip = self.tip.tip.read();
            let live = tip.live.custody(id);
            let none = Custody::default();
            (live.map_or(&none, |live| &live.state).decide(command), live.map(|live| live.sequence))
        };
        let Some(event) = event else { return Ok(Some(None)) };
        let mut expected = subject.expected;
        expected.push((stream, sequence));
        let along = Along { details: subject.caller.details(), ..Along::default() };
        let workspace = subject.live.state.workspace;
        let events = vec![(stream, event.into())];
        let mut entropy = self.entropy()?;
        let events = self.encode(&subject.caller, workspace, events, &along, subject.now, &mut entropy)?;
        let append = Append { expected, claim: None, events, shred: Vec::new(), decided_at: subject.now };
        match self.commit(place, append, None).await {
            Ok(recording) => Ok(recording.map(|recording| Some(recording.last))),
            Err(Committed::Failed(failure)) => Err(failure),
            Err(Committed::Before(position)) => Ok(Some(Some(position))),
        }
    }
}
