//! The conformance suite on a real EventStoreDB or KurrentDB server, which `ROTA_TEST_ESDB_URL` names. Without one it
//! is reported as skipped, and never as passed. It makes ledgers with names of their own and leaves them there.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use rota::log::EventLog;
use rota::log::conformance::{self, Workshop};
use rota::log::esdb::{EsdbLog, EsdbUrl};

const VARIABLE: &str = "ROTA_TEST_ESDB_URL";

struct OnServer {
    url: String,
    /// The ledger that was made last.
    last: Mutex<String>,
}

impl OnServer {
    async fn open(&self) -> Arc<dyn EventLog> {
        let mark = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{mark}ledger={}", self.url, self.last.lock());
        let url: EsdbUrl = url.parse().expect("a connection string");
        Arc::new(EsdbLog::open(&url).await.expect("the server takes the connection"))
    }
}

#[async_trait]
impl Workshop for OnServer {
    async fn fresh(&self) -> Arc<dyn EventLog> {
        let mut random = [0; 8];
        SystemRandom::new().fill(&mut random).expect("random bytes");
        *self.last.lock() = format!("rota_test_{:016x}", u64::from_le_bytes(random));
        self.open().await
    }

    async fn reopen(&self, log: Arc<dyn EventLog>) -> Option<Arc<dyn EventLog>> {
        drop(log);
        Some(self.open().await)
    }
}

fn main() -> ExitCode {
    let tell = |line: &str| eprintln!("{line}");
    let Ok(url) = std::env::var(VARIABLE) else {
        tell(&format!("\nEventStoreDB conformance on a real server: SKIPPED, {VARIABLE} names none\n"));
        return ExitCode::SUCCESS;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    tell("\nEventStoreDB conformance on a real server");
    let workshop = OnServer { url, last: Mutex::default() };
    runtime.block_on(conformance::every(&workshop, |name| tell(&format!("test {name} ... ok"))));
    ExitCode::SUCCESS
}
