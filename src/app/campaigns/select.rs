//! What a selector selects, and what has moved since a plan was made.

use std::collections::{BTreeMap, BTreeSet};

use rota_aggregates::authority::Proof;
use rota_aggregates::campaign::{ITEMS_MAX, Item, NO_RECIPIENT, PlannedItem, Selector, Settings};
use rota_aggregates::credential::{CredentialCommand, Kind, RotateSecret, SealedParts, SecretRef, Status};
use rota_aggregates::ids::Hash;
use rota_aggregates::{CredentialId, Timestamp, WorkspaceId};
use rota_projections::live::{Live, LiveCredential};

use crate::app::change::sha256;
use crate::app::{App, Failure};

/// Credentials looked at under one lock.
const PORTION: usize = 4_096;
/// The obstacle of an item whose owner was revoked.
pub(super) const OWNER_REVOKED: &str = "owner-revoked";

/// Something that is not as it was planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The credential.
    pub credential: CredentialId,
    /// What of it: `selection`, `version`, `owner`, `recipient` or `obstacle`.
    pub what: &'static str,
    /// As it was planned; `None` for what was not there.
    pub planned: Option<String>,
    /// As it is now.
    pub now: Option<String>,
}

/// The hash of a plan: the same for the same selection of the same things.
pub(super) fn hash(
    workspace: Option<WorkspaceId>,
    selector: &Selector,
    settings: &Settings,
    items: &[PlannedItem],
) -> Result<Hash, Failure> {
    let bytes = serde_json::to_vec(&(workspace, selector, settings, items));
    Ok(sha256(&bytes.map_err(|error| Failure::NotRecordable(error.into()))?))
}

/// What has moved since a plan was made.
pub(super) fn moved(planned: &[Item], now: &[PlannedItem]) -> Vec<Moved> {
    let mut rest: BTreeMap<_, _> = now.iter().map(|item| (item.credential, item)).collect();
    let mut moved = Vec::new();
    for Item { planned, .. } in planned {
        let credential = planned.credential;
        let Some(now) = rest.remove(&credential) else {
            let was = Some("selected".to_owned());
            moved.push(Moved { credential, what: "selection", planned: was, now: None });
            continue;
        };
        let text = |thing: Option<&dyn std::fmt::Display>| thing.map(ToString::to_string);
        let parts = [
            ("version", planned.version.map(|v| v.to_string()), now.version.map(|v| v.to_string())),
            ("owner", text(Some(&planned.owner)), text(Some(&now.owner))),
            (
                "recipient",
                planned.recipient.as_ref().map(ToString::to_string),
                now.recipient.as_ref().map(ToString::to_string),
            ),
            ("obstacle", planned.obstacle.clone(), now.obstacle.clone()),
        ];
        for (what, planned, now) in parts {
            if planned != now {
                moved.push(Moved { credential, what, planned, now });
            }
        }
    }
    for credential in rest.into_keys() {
        let is = Some("selected".to_owned());
        moved.push(Moved { credential, what: "selection", planned: None, now: is });
    }
    moved
}

impl App {
    /// The living credentials that are selected now, in order of issue or as they were named; one more than a campaign
    /// may have where there are too many.
    pub(super) fn select(
        &self,
        workspace: Option<WorkspaceId>,
        selector: &Selector,
        settings: &Settings,
        now: Timestamp,
    ) -> Vec<PlannedItem> {
        let mut items = Vec::new();
        if !selector.credentials.is_empty() {
            let tip = self.tip.tip.read();
            let mut named = BTreeSet::new();
            for id in selector.credentials.iter().filter(|id| named.insert(**id)) {
                let live = tip.live.credential(*id).zip(tip.live.rotated_at(*id));
                items.extend(live.and_then(|live| item(&tip.live, live, workspace, selector, settings, now)));
            }
            return items;
        }
        let mut first = 0;
        loop {
            let tip = self.tip.tip.read();
            let mut seen = 0;
            for live in tip.live.credentials_from(first, PORTION) {
                seen += 1;
                items.extend(item(&tip.live, live, workspace, selector, settings, now));
                if items.len() > ITEMS_MAX {
                    return items;
                }
            }
            if seen < PORTION {
                return items;
            }
            first += seen;
        }
    }
}

/// A credential as an item of a plan, if it is selected.
fn item(
    live: &Live,
    (credential, rotated_at): (LiveCredential, Timestamp),
    workspace: Option<WorkspaceId>,
    selector: &Selector,
    settings: &Settings,
    now: Timestamp,
) -> Option<PlannedItem> {
    let state = &credential.state;
    let of_kind = match selector.kind {
        Some(kind) => state.kind == kind,
        // What is shared with a receiver is changed together with it, and so by name.
        None => state.kind != Kind::Webhook || !selector.credentials.is_empty(),
    };
    let owner = live.owner_of(state.id);
    let selected = state.status == Status::Active
        && of_kind
        && workspace.is_none_or(|own| own == state.workspace)
        && selector.owner.is_none_or(|asked| asked == owner)
        && selector.rotated_before.is_none_or(|before| rotated_at < before);
    if !selected {
        return None;
    }
    let answers = live.credential(owner).is_some_and(|owner| owner.state.status == Status::Active);
    let recipient = live.custody(owner).and_then(|custody| custody.state.recipient.clone());
    let refused = refused(live, &credential, settings, now);
    let obstacle = match (&recipient, refused) {
        (_, Some(code)) => Some(code),
        _ if !answers => Some(OWNER_REVOKED),
        (None, None) => Some(NO_RECIPIENT),
        (Some(_), None) => None,
    };
    Some(PlannedItem {
        credential: state.id,
        version: state.active,
        owner,
        recipient,
        obstacle: obstacle.map(str::to_owned),
    })
}

/// The code with which the credential would refuse.
fn refused(
    live: &Live,
    credential: &LiveCredential,
    settings: &Settings,
    now: Timestamp,
) -> Option<&'static str> {
    let state = credential.state;
    let nothing = Hash([0; 32]);
    let rotate = CredentialCommand::Rotate(RotateSecret {
        secret: SecretRef {
            version: state.last_version + 1,
            hint: "none".to_owned(),
            digest: nothing,
            sealed: state.kind.recoverable().then_some(nothing),
        },
        means: state.active,
        grace_seconds: settings.grace_seconds,
        compromised: settings.compromised,
        replayable: false,
        proof: Proof::SCHEDULE,
        policy: live.policy(state.workspace),
        sealed: SealedParts::default(),
        now,
    });
    state.decide(rotate).err().map(|refusal| refusal.code())
}
