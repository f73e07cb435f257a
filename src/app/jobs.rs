//! Long work that the operator starts and looks after: one of each kind at a time.

use std::path::PathBuf;
use std::sync::Arc;

use super::{App, Failure};
use crate::sealing::MasterKey;

/// Work that takes a while.
#[derive(Debug)]
pub enum Job {
    /// Drop the views and fold them again.
    Rebuild,
    /// Wrap every data key anew: under the master key in `file`, or, without one, the rest of an interrupted run.
    Rewrap {
        /// The new master key.
        file: Option<PathBuf>,
    },
}

/// How far a job is.
#[derive(Clone, Debug)]
pub enum State {
    /// It is at work.
    Running,
    /// It is done.
    Done,
    /// It failed, for this reason.
    Failed(String),
}

/// A job as the operator sees it.
#[derive(Clone, Debug)]
pub struct JobStatus {
    /// How far it is.
    pub state: State,
    /// Events done.
    pub done: u64,
    /// Events to do.
    pub total: u64,
}

impl Job {
    fn name(&self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Rewrap { .. } => "rewrap",
        }
    }
}

impl App {
    /// The job of this name that runs or ran last.
    pub fn job(&self, name: &str) -> Option<JobStatus> {
        self.jobs.lock().get(name).cloned()
    }

    /// Starts a job, unless one of its kind runs.
    pub fn start_job(self: &Arc<Self>, job: Job) -> Result<(), Failure> {
        let name = job.name();
        {
            let mut jobs = self.jobs.lock();
            if jobs.get(name).is_some_and(|status| matches!(status.state, State::Running)) {
                return Err(Failure::InProgress);
            }
            jobs.insert(name, JobStatus { state: State::Running, done: 0, total: 0 });
        }
        let app = Arc::clone(self);
        tokio::spawn(async move {
            let result = app.run_job(job).await;
            if let Some(status) = app.jobs.lock().get_mut(name) {
                status.state = match result {
                    Ok(()) => State::Done,
                    Err(error) => State::Failed(error),
                };
            }
        });
        Ok(())
    }

    async fn run_job(&self, job: Job) -> Result<(), String> {
        let name = job.name();
        let progress = |done: u64, total: u64| {
            if let Some(status) = self.jobs.lock().get_mut(name) {
                (status.done, status.total) = (done, total);
            }
        };
        match job {
            Job::Rebuild => self.rebuild(progress).await.map_err(|e| chain(&e)),
            Job::Rewrap { file } => {
                let wrapped = match file {
                    Some(file) => {
                        let new = MasterKey::from_file(&file).map_err(|e| chain(&e))?;
                        self.change_master_key(new, progress).await
                    }
                    None => self.resume_master_key(progress).await,
                };
                wrapped.map(|_| ()).map_err(|e| chain(&e))
            }
        }
    }

    /// Drops the views and folds them again.
    pub async fn rebuild(&self, progress: impl Fn(u64, u64)) -> Result<(), Failure> {
        self.views.clear().await?;
        let total = self.log.next().await?.0;
        self.views.catch_up(|next| progress(next.0, total)).await?;
        self.snapshot().await;
        Ok(())
    }
}

/// An error with all that led to it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
