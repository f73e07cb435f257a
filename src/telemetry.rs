//! Logs to stderr and metrics for Prometheus.

use std::io::IsTerminal;
use std::sync::OnceLock;

use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

struct Handles {
    commits: Counter,
    commands: Counter,
    events: Counter,
    batch: Histogram,
    overtaken: Counter,
}

/// Looked up once: a look-up by name on each commit would cost more than the counting.
fn handles() -> &'static Handles {
    static HANDLES: OnceLock<Handles> = OnceLock::new();
    HANDLES.get_or_init(|| Handles {
        commits: metrics::counter!("rota_commits_total"),
        commands: metrics::counter!("rota_commands_recorded_total"),
        events: metrics::counter!("rota_events_recorded_total"),
        batch: metrics::histogram!("rota_commit_events"),
        overtaken: metrics::counter!("rota_commits_overtaken_total"),
    })
}

/// Counts a commit: one flush of the store.
pub fn committed(commands: usize, events: usize) {
    let handles = handles();
    handles.commits.increment(1);
    handles.commands.increment(commands as u64);
    handles.events.increment(events as u64);
    handles.batch.record(events as f64);
}

/// Counts a batch that was judged again, since another process had written in between.
pub fn overtaken() {
    handles().overtaken.increment(1);
}

/// Says how many managed rotations are overdue.
pub fn overdue_rotations(count: usize) {
    metrics::gauge!("rota_managed_rotations_overdue").set(count as f64);
}

/// Installs the recorder, once a process. What it gives renders the metrics.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let buckets = PrometheusBuilder::new()
                .set_buckets_for_metric(
                    Matcher::Full("rota_commit_events".to_owned()),
                    &[1.0, 4.0, 16.0, 64.0, 128.0, 256.0],
                )
                .and_then(|builder| {
                    builder.set_buckets_for_metric(
                        Matcher::Suffix("_seconds".to_owned()),
                        &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0],
                    )
                });
            let recorder = buckets.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed; /metrics stays empty");
            }
            describe();
            handle
        })
        .clone()
}

fn describe() {
    metrics::describe_counter!("rota_commits_total", "Commits of the event log: one flush each");
    metrics::describe_counter!(
        "rota_commits_overtaken_total",
        "Batches judged again: another process was first"
    );
    metrics::describe_counter!("rota_commands_recorded_total", "Commands that were recorded");
    metrics::describe_counter!("rota_events_recorded_total", "Events that were recorded");
    metrics::describe_histogram!("rota_commit_events", "Events in one commit");
    metrics::describe_gauge!(
        "rota_managed_rotations_overdue",
        "Managed rotations that were due more than an hour ago"
    );
    metrics::describe_counter!("rota_refusals_total", "Requests refused, by code");
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to stderr, filtered by `RUST_LOG` (default `info`).
pub fn init(format: LogFormat) {
    init_quiet(format, "info");
}

/// As [`init`], with another default: a command that prints a result of its own logs warnings only.
pub fn init_quiet(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // A file or a journal has no use for colours.
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let installed = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if let Err(error) = installed {
        eprintln!("rota: logging was set up before: {error}");
    }
}
