//! Why a step at a target did not do what was asked.

use std::fmt;
use std::time::Duration;

/// What is known of the target after a step has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// Nothing changed there: it said no, was never reached, or was never asked.
    Unchanged,
    /// It may have changed: the answer was lost. Only a login tells.
    Unclear,
}

/// A step that failed. Its text is shown to operators, recorded in events and given on the wire: it names what to
/// do where that is known, and holds no secret, no statement and no raw answer of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether the target may have changed.
    pub certainty: Certainty,
    /// Whether the same request may succeed later: a network that was down may come back, a missing right stays missing.
    pub may_pass: bool,
    /// How long the target asked to be left alone.
    pub retry_after: Option<Duration>,
    /// At most 1 024 bytes.
    text: String,
}

impl Failure {
    /// What is cut off is at the end, where it is least missed.
    const LIMIT: usize = 1_024;

    fn new(certainty: Certainty, may_pass: bool, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > Self::LIMIT {
            text.truncate(text.floor_char_boundary(Self::LIMIT));
        }
        Self { certainty, may_pass, retry_after: None, text }
    }

    /// The target said no, and will say so again until somebody changes something.
    pub fn refused(text: impl Into<String>) -> Self {
        Self::new(Certainty::Unchanged, false, text)
    }

    /// The target was not reached, or is busy; nothing was asked of it that could have had an effect.
    pub fn unreachable(text: impl Into<String>) -> Self {
        Self::new(Certainty::Unchanged, true, text)
    }

    /// It was asked, and the answer was lost.
    pub fn unclear(text: impl Into<String>) -> Self {
        Self::new(Certainty::Unclear, true, text)
    }

    /// It wants to be left alone for this long.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// For people.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
