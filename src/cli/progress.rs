//! A progress bar on a terminal, nothing on a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that takes a while.
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows nothing until something is done.
    pub fn new(what: &'static str) -> Self {
        Self::of(what, "events")
    }

    /// As [`Progress::new`], of other things than events.
    pub fn of(what: &'static str, things: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template = format!("{{msg}} [{{bar:32}}] {{pos}} of {{len}} {things}, {{eta}} left");
        let style = ProgressStyle::with_template(&template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        Self(bar)
    }

    /// So many are done, and nobody knows of how many.
    pub fn counted(&self, done: u64) {
        if self.0.length().is_some() {
            let style = ProgressStyle::with_template("{msg}: {pos} events");
            self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            self.0.unset_length();
        }
        self.0.set_position(done);
    }

    /// So many of so many are done.
    pub fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
