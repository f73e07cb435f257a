//! Whose secret is this? Asked when a string was found where it should not be.
//!
//! What is kept of a secret is a digest under a key of the deployment's, with the credential's id in it. So a string
//! is held against every version of every credential whose digest is kept, in one sweep of the ledger that does the
//! same work whatever it finds. A *fingerprint*, the SHA-256 of that digest, is in the event that brought the secret:
//! it finds the version for ever, also after the digest was destroyed, and opens nothing.

use std::sync::Arc;

use rota_aggregates::authority::Role;
use rota_aggregates::ids::Hash;
use rota_aggregates::observation::{LeakReported, leak_reported_id};
use rota_aggregates::record::Record;
use rota_aggregates::secret::Secret;
use rota_aggregates::{CredentialId, Event, Position, StreamId, Timestamp, WorkspaceId};
use rota_projections::credential::CredentialView;
use zeroize::Zeroizing;

use super::sweep::Sweeper;
use super::{App, Caller, Failure};
use crate::sealing::{KeyRing, same};

/// What is shown has at most so many bytes.
pub const LEAKED_BYTES_MAX: usize = 4_096;
/// The events that bring a secret.
const TYPES: &[&str] = &[
    "rota.credential.issued.v1",
    "rota.credential.secret-rotated.v1",
    "rota.credential.rotation-prepared.v1",
];

/// What was found somewhere.
pub enum Leaked {
    /// The string itself.
    Text(Secret),
    /// The SHA-256 of the keyed digest, as events have it.
    Fingerprint(Hash),
}

/// A version that it is.
#[derive(Debug)]
pub struct Match {
    /// Its credential.
    pub view: CredentialView,
    /// The version.
    pub version: u32,
    /// The event that brought it.
    pub position: Position,
    /// Its fingerprint.
    pub fingerprint: Hash,
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// The versions that it is; none if it is nobody's.
    pub matches: Vec<Match>,
    /// Versions that it was held against.
    pub searched: u64,
    /// Versions whose digest was destroyed: it may be one of those.
    pub destroyed: u64,
    /// The first position that was not looked at.
    pub end: Position,
    /// When.
    pub at: Timestamp,
}

/// A version, as the sweep finds it.
struct Hit {
    credential: CredentialId,
    version: u32,
    position: Position,
    fingerprint: Hash,
}

struct Hunt {
    keys: Arc<KeyRing>,
    leaked: Leaked,
    scope: Option<WorkspaceId>,
    hits: Vec<Hit>,
    searched: u64,
    destroyed: u64,
}

/// The forms in which the secret may be inside what was found: as it is, as one of the three longest words, and as a
/// word that may be base64. Always as many, so that the work says nothing.
fn forms(text: &str) -> [&str; 5] {
    let text = text.trim();
    let of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut words: Vec<_> = text.split(|c| !of_a_word(c)).collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let word = |n: usize| words.get(n).copied().unwrap_or(text);
    let padded = text.find("whsec_").map_or(text, |at| {
        let rest = &text[at..];
        let end = rest.find(|c| !of_a_word(c) && !matches!(c, '+' | '/' | '='));
        &rest[..end.unwrap_or(rest.len())]
    });
    [text, word(0), word(1), word(2), padded]
}

impl Sweeper for Hunt {
    fn take(&mut self, position: Position, record: Record, digest: Option<[u8; 32]>) {
        let Event::Credential(event) = &record.event else { return };
        let Some(secret) = event.secret() else { return };
        let credential = CredentialId(record.stream.id);
        let matched = match &self.leaked {
            Leaked::Fingerprint(asked) => secret.digest == *asked,
            Leaked::Text(text) => {
                let kept = digest.unwrap_or_default();
                let mut matched = false;
                for form in forms(text.expose()) {
                    matched |= same(&self.keys.digest(credential.0, form), &kept);
                }
                matched && digest.is_some()
            }
        };
        if self.scope.is_some_and(|own| own != record.context.workspace) {
            return;
        }
        self.searched += 1;
        self.destroyed += u64::from(digest.is_none());
        if matched {
            let (version, fingerprint) = (secret.version, secret.digest);
            self.hits.push(Hit { credential, version, position, fingerprint });
        }
    }
}

impl App {
    /// Finds the credential and version that a leaked secret is, and records that it was reported. An auditor finds
    /// those of the own workspace, the operator all, or those of a workspace.
    pub async fn find_leaked(
        &self,
        caller: &Caller,
        workspace: Option<WorkspaceId>,
        leaked: Leaked,
    ) -> Result<Found, Failure> {
        let scope = match caller.workspace() {
            None => workspace,
            Some(_) => Some(caller.resolve_workspace(workspace)?),
        };
        match scope {
            None => caller.operator_only()?,
            Some(workspace) => {
                caller.allow(workspace, &[Role::Auditor], "workspace")?;
                if self.tip.tip.read().live.workspace(workspace).is_none() {
                    return Err(Failure::NotFound("workspace"));
                }
            }
        }
        let end = self.tip.tip.read().live.next_position();
        let hunt = Hunt { keys: self.keys(), leaked, scope, hits: Vec::new(), searched: 0, destroyed: 0 };
        let Hunt { hits, searched, destroyed, .. } = self.sweep(hunt, Some(TYPES), end).await?;
        let at = self.now();
        let mut matches = Vec::with_capacity(hits.len());
        for Hit { credential, version, position, fingerprint } in hits {
            let live = self.tip.tip.read().live.credential(credential);
            let Some(live) = live else { continue };
            let accepted = live.state.live_versions(at).any(|live| live == version);
            let event = LeakReported { credential, version, live: accepted, at };
            let id = leak_reported_id(credential, version, at);
            let stream = StreamId::secret_use(credential);
            self.observe(caller, live.state.workspace, id, stream, event.into(), at).await?;
            if let Some(view) = self.view(credential, None).await? {
                matches.push(Match { view, version, position, fingerprint });
            }
        }
        Ok(Found { matches, searched, destroyed, end, at })
    }
}

/// Reads a string that was found: what surrounds it is no part of it.
pub fn leaked_text(text: &str) -> Result<Leaked, Failure> {
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() || text.len() > LEAKED_BYTES_MAX {
        return Err(Failure::invalid("leaked", "must have 1 to 4096 bytes"));
    }
    Ok(Leaked::Text(Secret::new(text.to_string())))
}

#[cfg(test)]
mod tests {
    use super::forms;

    #[test]
    fn a_secret_is_found_inside_what_people_paste() {
        assert!(forms("  s3cret\n").contains(&"s3cret"));
        assert!(forms("id:s3cret").contains(&"s3cret"));
        assert!(forms("Authorization: Bearer s3cret").contains(&"s3cret"));
        assert!(forms("CLIENT_SECRET: s3cret").contains(&"s3cret"));
        assert!(forms("export TOKEN='s3cret'").contains(&"s3cret"));
        assert!(forms(r#"{"clientId":"VoNve2wd","clientSecret":"sk_live_5e9b"}"#).contains(&"sk_live_5e9b"));
        assert!(forms("https://host/hook/fl_sec_5e9b?x=1").contains(&"fl_sec_5e9b"));
        assert!(forms("SECRET=whsec_a+b/c==;").contains(&"whsec_a+b/c=="));
        assert_eq!(forms(""), [""; 5]);
    }
}
