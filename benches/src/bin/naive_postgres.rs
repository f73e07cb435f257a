//! The naive program on PostgreSQL: cqrs-es over postgres-es as they come, in a closed loop, a new credential a
//! command, no query. `naive_postgres URL TASKS SECONDS` prints what `wrk` does for the load script.
#![expect(clippy::print_stdout, reason = "the load script reads the figures")]

use std::sync::Arc;
use std::time::Duration;

use cqrs_es::CqrsFramework;
use cqrs_es::persist::PersistedEventStore;
use postgres_es::PostgresEventRepository;
use rota_aggregates::credential::Credential;
use rota_benches::load::run;
use rota_benches::{Outcome, naive};
use sqlx::Executor;
use sqlx::postgres::PgPoolOptions;

/// The table of postgres-es, as it says it must be.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, \
    sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL, \
    payload json NOT NULL, metadata json NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, tasks, seconds] = &arguments[..] else { return Err("naive_postgres URL TASKS SECONDS".into()) };
    let (tasks, seconds) = (tasks.parse()?, Duration::from_secs(seconds.parse()?));
    let pool = PgPoolOptions::new().max_connections(tasks as u32).connect(url).await?;
    pool.execute(SCHEMA).await?;
    let store = PersistedEventStore::new_event_store(PostgresEventRepository::new(pool));
    let cqrs = Arc::new(CqrsFramework::<Credential, _>::new(store, Vec::new(), ()));
    let salt = u64::from(std::process::id()) << 32;
    let call = move |number: u64| {
        let cqrs = Arc::clone(&cqrs);
        async move {
            let (id, command) = naive::issue(salt | number);
            cqrs.execute(&id, command).await.is_ok()
        }
    };
    let run = run(tasks, seconds, call, || async {}, || 0).await;
    println!(
        "figures {{\"rate\":{:.1},\"p50\":{:.3},\"p99\":{:.3},\"max\":{:.3},\"failed\":{}}}",
        run.rate, run.p50, run.p99, run.max, run.failed
    );
    Ok(())
}
