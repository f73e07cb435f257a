//! Whether witnesses and copies have what the ledger has.

use rota::anchors::copies::Place;
use rota::app::at_rest::AtRest;
use rota::ledger::checkpoint::Checkpoint;
use rota::ledger::note::SignedNote;

use super::{Doctor, Finding, bad, good, note};
use crate::cli::error::chain;
use crate::cli::serve::witnesses;

fn size_of(text: &str) -> Option<u64> {
    let parsed = SignedNote::parse(text).ok()?;
    Checkpoint::parse(parsed.text()).ok().map(|checkpoint| checkpoint.size)
}

impl Doctor {
    /// Looks at the settings.
    pub(super) fn anchors(&self, findings: &mut Vec<Finding>) {
        let Some(path) = &self.witnesses else {
            if self.checkpoint_copies.is_empty() {
                findings.push(note(
                    "anchors",
                    "neither witnesses nor copies of checkpoints are set: whoever has this machine can rewrite history",
                    "name some in ROTA_WITNESSES or ROTA_CHECKPOINT_COPIES",
                ));
            }
            return;
        };
        findings.push(match witnesses(path) {
            Ok(policy) => {
                let (count, quorum) = (policy.witnesses.len(), policy.quorum_name());
                good("witnesses", format!("{count} in {}, of which the quorum is {quorum}", path.display()))
            }
            Err(stop) => bad("witnesses", stop.says(), "`rota serve` refuses to start with it"),
        });
    }

    /// Compares what is cosigned and copied with a ledger that nobody serves.
    pub(super) async fn anchored(&self, ledger: &AtRest, events: u64, findings: &mut Vec<Finding>) {
        if self.witnesses.is_some() {
            findings.push(match rota::app::ledger::anchor::cosigned_of(&*ledger.log).await {
                Ok(None) => note(
                    "cosigned",
                    "nothing yet",
                    "`rota ledger` of the serving process says what troubles each witness",
                ),
                Ok(Some(cosigned)) => {
                    good("cosigned", format!("{} of {events} events, by the quorum", cosigned.size))
                }
                Err(error) => bad("cosigned", chain(&error), "run `rota verify`"),
            });
        }
        for place in &self.checkpoint_copies {
            // An address is asked by the serving process, which has the token.
            let Place::Folder(folder) = place else { continue };
            let file = folder.join("checkpoint");
            findings.push(match std::fs::read_to_string(&file).map(|text| size_of(&text)) {
                Ok(Some(size)) if size > events => bad(
                    "copy",
                    format!("{} is of {size} events, and the ledger has {events}", file.display()),
                    "the ledger is an older copy, or another one: put the right store back, or see `rota ledger restored`",
                ),
                Ok(Some(size)) => good("copy", format!("{} is of {size} of {events} events", file.display())),
                Ok(None) => bad("copy", format!("{} is no checkpoint", file.display()), "see who writes there"),
                Err(error) => note(
                    "copy",
                    format!("{} can't be read: {error}", file.display()),
                    "nothing, if nothing was copied there yet",
                ),
            });
        }
    }
}
