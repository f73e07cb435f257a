//! How a command ends when it does not do what was asked.

use std::error::Error;
use std::process::ExitCode;

use rota::app::{Failure, OpenError};
use rota::log::LogError;

/// Refused or failed.
const REFUSED: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;

/// Why a command stops, for people: what happened, what led to it, what to do.
#[derive(Debug)]
pub struct Stop {
    code: u8,
    what: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    advice: Option<String>,
}

impl Stop {
    /// It was refused, or there is something wrong.
    pub fn refused(what: impl Into<String>) -> Self {
        Self { code: REFUSED, what: Some(what.into()), cause: None, advice: None }
    }

    /// It failed for a reason that is at hand.
    pub fn failed(what: impl Into<String>, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Box::new(cause)), ..Self::refused(what) }
    }

    /// It can't be meant so.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::refused(what) }
    }

    /// Everything was printed already, and something in it is bad.
    pub fn bad() -> Self {
        Self { code: REFUSED, what: None, cause: None, advice: None }
    }

    /// What to do about it.
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// What happened, and what led to it.
    pub fn says(&self) -> String {
        let cause = self.cause.as_deref().map(|cause| chain(cause));
        let text: Vec<_> = self.what.iter().cloned().chain(cause).collect();
        text.join(": ")
    }

    /// Prints it on stderr. The exit code.
    pub fn report(self) -> ExitCode {
        let says = self.says();
        if !says.is_empty() {
            eprintln!("rota: {says}");
        }
        if let Some(advice) = self.advice {
            eprintln!("  {advice}");
        }
        ExitCode::from(self.code)
    }
}

/// An error with all that led to it, each once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        let usage = matches!(error, OpenError::OperatorKeyTooShort);
        Self {
            code: if usage { USAGE } else { REFUSED },
            what: None,
            cause: Some(Box::new(error)),
            advice: None,
        }
    }
}

impl From<Failure> for Stop {
    fn from(error: Failure) -> Self {
        Self { code: REFUSED, what: None, cause: Some(Box::new(error)), advice: None }
    }
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self { code: REFUSED, what: None, cause: Some(Box::new(error)), advice: None }
    }
}
