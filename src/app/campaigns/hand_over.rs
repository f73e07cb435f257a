//! The files in which new secrets go to their owners: age files (age-encryption.org/v1) that open with the owner's
//! private key, which rota never has. Inside is one JSON document.

use rota_aggregates::authority::Role;
use rota_aggregates::custody::Recipient;
use rota_aggregates::{CampaignId, CredentialId, Timestamp, WorkspaceId};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::{App, Caller, Failure};
use crate::sealing::SealError;

/// Longer than any document, so that it is never moved while it grows.
const DOCUMENT_BYTES: usize = 4_096;

/// What an owner finds in the file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    pub format: &'static str,
    pub campaign_id: CampaignId,
    pub workspace_id: WorkspaceId,
    pub credential_id: CredentialId,
    pub kind: &'static str,
    pub public_id: &'a str,
    pub version: u32,
    pub secret: &'a str,
    pub made_at: Timestamp,
    pub old_secret_expires_at: Option<Timestamp>,
}

/// What the documents are.
pub(super) const FORMAT: &str = "rota-hand-over-v1";

/// Seals a document to a key.
pub(super) fn seal(document: &Document<'_>, recipient: &Recipient) -> Result<Vec<u8>, Failure> {
    let mut plain = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES));
    serde_json::to_writer(&mut *plain, document).map_err(|error| Failure::NotRecordable(error.into()))?;
    let unusable = || Failure::invalid("recipient", "is no age key that can be sealed to");
    let recipient: age::x25519::Recipient = recipient.as_str().parse().map_err(|_| unusable())?;
    age::encrypt(&recipient, &plain).map_err(|_| unusable())
}

impl App {
    /// The sealed new secret of an item: for its owner, who can open it, and for whoever passes it on.
    pub async fn hand_over(
        &self,
        caller: &Caller,
        campaign: CampaignId,
        credential: CredentialId,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let nowhere = || Failure::NotFound("hand-over");
        let (item, kept, workspace) = {
            let tip = self.tip.tip.read();
            let live = tip.live.campaign(campaign).ok_or_else(nowhere)?;
            let item = live.state.item(credential).ok_or_else(nowhere)?;
            let workspace = tip.live.credential(credential).map(|live| live.state.workspace);
            (item.planned.clone(), live.kept.get(&credential).copied(), workspace.ok_or_else(nowhere)?)
        };
        let own = caller.credential().is_some_and(|who| who.credential == item.owner);
        if !own {
            caller.allow(workspace, &[Role::Admin], "hand-over")?;
        }
        let (position, _) = kept.ok_or_else(nowhere)?;
        match self.open_beside(position).await {
            // Destroyed in this moment.
            Err(Failure::Sealed(SealError::DoesNotOpen)) => Err(nowhere()),
            Err(failure) => Err(failure),
            Ok(file) => {
                self.note_read(caller, Some(workspace), "hand-over").await;
                Ok(file)
            }
        }
    }
}
