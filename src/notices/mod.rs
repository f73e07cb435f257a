//! Notices: telling others what happens, over HTTP.
//!
//! Two tasks, in one process of a deployment at a time. The *scribe* reads the ledger's feed from a stored
//! cursor and writes down, with the cursor in one transaction, which notice goes to which webhook. The *sender*
//! takes what is due and delivers it, again and again until the receiver has it or the attempts are used up. So
//! each notice is delivered at least once, in no particular order, and its id tells repeats.
//!
//! - [`notice`]: which events are told, and in which words;
//! - [`sign`]: the signatures;
//! - [`store`]: what must survive a restart; [`sqlite`] and [`postgres`]: its embedded and its shared form;
//! - [`scribe`], [`sender`]: the two tasks.

pub mod notice;
pub mod postgres;
mod row;
mod scribe;
mod sender;
pub mod sign;
pub mod sqlite;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use tokio::sync::{Notify, watch};

use self::store::NoticeStore;
use crate::app::App;
use crate::egress::Egress;

/// A connection is made within this time,
const CONNECT: Duration = Duration::from_secs(5);
/// and everything is done within this.
const TOTAL: Duration = Duration::from_secs(15);

/// What telling others needs.
pub struct Notices {
    /// What must survive a restart.
    pub store: Arc<dyn NoticeStore>,
    /// Where may be gone to.
    pub egress: Egress,
    client: Client,
    /// There is something new to send.
    wake: Notify,
}

impl Notices {
    /// Puts it together.
    pub fn new(store: Arc<dyn NoticeStore>, egress: Egress) -> reqwest::Result<Self> {
        let client = egress.client(CONNECT, TOTAL)?;
        Ok(Self { store, egress, client, wake: Notify::new() })
    }

    /// Lets the sender look again.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Tells others for ever, while `leads` says so: one process of a deployment at a time.
pub async fn run(app: Arc<App>, mut leads: watch::Receiver<bool>) {
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        let work = async {
            tokio::join!(scribe::follow(&app), sender::send(&app));
        };
        tokio::select! {
            () = work => return,
            lost = leads.wait_for(|leads| !*leads) => if lost.is_err() {
                return;
            },
        }
    }
}
