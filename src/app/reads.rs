//! Recording who read of the ledger, where the deployment is told to: in streams apart, once a minute for each actor,
//! workspace and kind of reading.

use rota_aggregates::observation::{LedgerRead, ledger_read_id};
use rota_aggregates::{StreamId, WorkspaceId};

use super::{App, Caller, Principal};

impl App {
    /// Notes that the caller was given something of the ledger. A reading that can't be recorded is answered all the
    /// same: auditors must see a ledger that takes no events.
    pub async fn note_read(&self, caller: &Caller, workspace: Option<WorkspaceId>, what: &str) {
        if !self.records_reads || caller.principal == Principal::Scheduler {
            return;
        }
        let (now, actor, workspace) = (self.now(), caller.actor().id, workspace.unwrap_or_default());
        let id = ledger_read_id(actor, workspace, what, now);
        let event = LedgerRead { what: what.to_owned(), at: now }.into();
        if let Err(error) = self.observe(caller, workspace, id, StreamId::reads(actor), event, now).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, what, "who read of the ledger could not be recorded");
        }
    }
}
