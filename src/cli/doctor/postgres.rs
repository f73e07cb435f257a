//! What `rota doctor` finds of a PostgreSQL store.

use std::cmp::Ordering;

use rota::app::clock::{Clock, SystemClock};
use rota::log::postgres::PostgresUrl;
use rota::log::postgres::inspect::{self, Inspection};

use super::{Finding, bad, chain, good, note};

/// A clock that is further off is worth a word before a replica refuses to serve.
const CLOCK_NOTE_MILLIS: i64 = 500;

pub async fn look(url: &PostgresUrl, findings: &mut Vec<Finding>) {
    let before = SystemClock.now();
    match inspect::inspect(url).await {
        Ok(seen) => judge(url, &seen, before.micros(), findings),
        Err(error) => findings.push(bad(
            "database",
            format!("{url} can't be looked at: {}", chain(&error)),
            "check address, sslmode and password; `psql` with the same address tells more",
        )),
    }
}

fn judge(url: &PostgresUrl, seen: &Inspection, before: i64, findings: &mut Vec<Finding>) {
    let (schema, known) = (seen.schema, seen.schema_known);
    findings.push(match schema.cmp(&known) {
        Ordering::Greater => {
            let says = format!("schema {schema}, and this rota knows schemas up to {known}");
            bad("database", says, "start the newer rota, or restore a backup from before the upgrade")
        }
        Ordering::Less => {
            let says = format!("{url} has schema {schema} of {known}");
            note(
                "database",
                says,
                "nothing: `rota serve` brings it up to date, or `rota migrate` as its owner",
            )
        }
        Ordering::Equal => {
            let says = format!("{url}: PostgreSQL {}, schema {schema}, {} events", seen.version, seen.next);
            good("database", says)
        }
    });
    findings.push(if seen.standby {
        bad("primary", "this server is a standby: it takes no writes", "name the primary in the address")
    } else {
        good("primary", "this server takes writes")
    });
    let unsafe_settings: Vec<_> =
        ["fsync", "full_page_writes", "synchronous_commit"].into_iter().filter(|n| seen.off(n)).collect();
    findings.push(if unsafe_settings.is_empty() {
        good("durability", "an answered commit survives a crash of this server")
    } else {
        let says = format!("off: {}", unsafe_settings.join(", "));
        bad("durability", says, "an answered rotation can be lost in a crash: turn them on")
    });
    findings.push(if seen.synchronous_standbys {
        good("fail-over", "a standby has each commit before it is answered")
    } else {
        note(
            "fail-over",
            "no synchronous standby",
            "nothing, with one server. With fail-over an answered rotation can be lost, and a deposed primary that \
             still answers can accept dead secrets: set synchronous_standby_names, and fence the old primary",
        )
    });
    findings.push(if seen.encrypted {
        good("transport", "this connection is encrypted")
    } else {
        note("transport", "this connection is not encrypted", "add sslmode=verify-full unless it is a socket")
    });
    findings.push(if seen.superuser || seen.owner {
        let who = if seen.superuser { "a superuser" } else { "the tables' owner" };
        let mend = "serve as a role that can only read and append: migrations/postgres/roles.sql";
        note("role", format!("rota connects as {who}, who can drop the triggers"), mend)
    } else {
        good("role", "it can neither change the schema nor events")
    });
    let off = (seen.clock.micros() - before) / 1_000;
    findings.push(if off.abs() > CLOCK_NOTE_MILLIS {
        let says = format!("the store's is {off} ms from this machine's");
        bad("clock", says, "run NTP on both; beyond 2000 ms a replica refuses to serve")
    } else {
        good("clock", "this machine and the store agree")
    });
}
