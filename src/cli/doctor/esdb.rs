//! What can be told of a ledger in EventStoreDB, from one look at the cluster.

use rota::app::OpenError;
use rota::app::at_rest::AtRest;
use rota::log::esdb::EsdbUrl;

use super::machine::{disk_space, folder_mode};
use super::{Doctor, Finding, bad, good, note};
use crate::cli::error::{Stop, chain};

impl Doctor {
    pub(super) async fn cluster(&self, url: &EsdbUrl, findings: &mut Vec<Finding>) -> Result<(), Stop> {
        let options = self.store.options()?;
        let folder = &options.data;
        if folder.is_dir() {
            findings.extend([folder_mode(folder), disk_space(folder)]);
        } else {
            let says = format!("{}, for this replica's views and snapshots, is not there", folder.display());
            findings.push(note("folder", says, "nothing: the first `rota serve` makes it"));
        }
        let (cluster, ledger) = (url.nodes(), url.ledger());
        let opened = match AtRest::open(options).await {
            Ok(opened) => opened,
            Err(error @ OpenError::NoLedger { .. }) => {
                findings.push(note(
                    "cluster",
                    format!("{cluster} answers; {error}"),
                    "nothing, if it is to be begun",
                ));
                return Ok(());
            }
            Err(error) => {
                let mend = "see whether the cluster runs, its URL is right, and its user may read and write";
                findings.push(bad("cluster", chain(&error), mend));
                return Ok(());
            }
        };
        findings.push(match opened.log.next().await {
            Ok(next) => good("cluster", format!("{cluster} answers; {next} events in the ledger {ledger}")),
            Err(error) => bad("cluster", chain(&error), "see whether the cluster has a leader"),
        });
        findings.push(match &opened.keys {
            Ok(_) => good("ledger", "the master key opens it"),
            Err(error) => bad("ledger", chain(error), "give the master key under which the ledger was begun"),
        });
        findings.push(note(
            "fail-over",
            "what is refused once must be refused by every leader",
            "run three nodes or more; a deposed leader must not answer reads",
        ));
        Ok(())
    }
}
