//! `rota rotate`.

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::client::ServerArgs;
use super::credential::{print_made, segment};
use super::error::Stop;
use super::output::FormatArgs;

const EXAMPLES: &str = "\
Safe to run over a bad network: the request carries an Idempotency-Key, and is repeated under
the same key when its answer gets lost. However often it is sent, the secret is replaced once.
The new secret is printed to stdout.

Examples:
  rota rotate 0199c0de-… --grace 1h                 the old secret works for another hour
  rota rotate 0199c0de-… --grace 0                  the old secret is dead at once
  rota rotate 0199c0de-… --reason compromised       it is known to others: no second chances
  rota rotate 0199c0de-… --idempotency-key \"$JOB\"   the same rotation again, after a crash";

/// Replace a credential's secret
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Rotate {
    /// The credential
    id: String,
    /// How long the old secret stays valid: seconds, or such as 90s, 15m, 1h, 7d [default: the workspace's policy]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    grace: Option<u64>,
    /// Why; kept sealed beside the event
    #[arg(long)]
    reason: Option<String>,
    /// Names this rotation, so that repeating the command does not make a second one [default: a random key]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: FormatArgs,
}

impl Rotate {
    pub async fn run(self) -> Result<(), Stop> {
        let remote = self.server.remote()?;
        let path = format!("/v1/credentials/{}/rotate", segment(&self.id)?);
        let mut body = json!({});
        if let Some(grace) = self.grace {
            body["gracePeriodSeconds"] = grace.into();
        }
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        let key = match self.idempotency_key {
            Some(key) => key,
            None => random_key()?,
        };
        let made = remote.post_once(&path, &body, &key).await?;
        print_made(self.output.format, &made);
        Ok(())
    }
}

/// A key that nobody guesses: 128 random bits.
pub fn random_key() -> Result<String, Stop> {
    let mut bytes = [0u8; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|error| Stop::failed("the system gave no random bytes", error))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// A time such as `300`, `90s`, `15m`, `1h` or `7d`, in seconds.
pub fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => return Err(format!("{other} is no unit: s, m, h or d")),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(|| "must be a number of seconds, or such as 90s, 15m, 1h, 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn a_time_is_read_with_and_without_a_unit() {
        for (text, expected) in
            [("0", 0), ("300", 300), ("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800)]
        {
            assert_eq!(seconds(text), Ok(expected));
        }
        for wrong in ["", "h", "-1", "1.5h", "1w", "99999999999999999999", "9999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
