//! Credentials that live in other systems: how those are reached, when they are rotated, and what is published.
//!
//! - [`connections`]: how other systems are reached;
//! - [`rotations`]: making, changing, ending and finding managed rotations;
//! - [`moving`]: putting one into another folder;
//! - [`secrets`]: what is published of them, and what was generated;
//! - [`attempt`]: one attempt, begun by an intent; [`steps`]: from there to the end of the credential before;
//!   [`settle`]: what is done where nobody knows what the target has; [`note`]: how what was done is recorded;
//!   [`awaited`]: what it came to, for whoever asked;
//! - [`deletion`]: ending at the target what rota made there;
//! - [`upkeep`]: what is due by the schedule, and what a crash left unfinished;
//! - [`sealed`]: the forms in which credentials and intents are sealed beside events;
//! - [`targets`]: where the systems themselves come in.

pub mod attempt;
mod awaited;
pub mod connections;
mod deletion;
mod ground;
mod moving;
mod note;
pub mod plan;
pub mod rotations;
mod sealed;
pub mod secrets;
mod settle;
mod steps;
pub mod targets;
pub mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rota_aggregates::authority::Role;
use rota_aggregates::managed_rotation::RotationRefusal;
use rota_aggregates::{RotationId, Timestamp};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

pub use self::attempt::RotateManaged;
pub use self::connections::{ConnectionEdit, ConnectionView, NewConnection};
pub use self::deletion::DeleteRotation;
pub use self::plan::RotationPlan;
pub use self::rotations::{NewRotation, RotationEdit, RotationView};
pub use self::secrets::{Generated, MappedSecret};
use self::targets::Targets;
use super::{App, Failure};

/// Steps at so many targets at the same time.
const STEPS_MAX: usize = 32;
/// Steps at one host at the same time.
const STEPS_PER_HOST_MAX: usize = 4;
/// A workspace has at most so many connections.
pub const CONNECTIONS_MAX: usize = 1_000;
/// A workspace has at most so many rotations.
pub const ROTATIONS_MAX: usize = 10_000;
/// A description has at most so many characters.
pub const DESCRIPTION_CHARS_MAX: usize = 256;

/// Whoever may see that there are connections and rotations.
const READERS: &[Role] = &[Role::Auditor, Role::Rotator, Role::Verifier, Role::Analyst];
/// Whoever may read what is published.
const CONSUMERS: &[Role] = &[Role::Verifier, Role::Rotator];
/// Whoever may rotate.
const ROTATORS: &[Role] = &[Role::Rotator];
/// Whoever may make, change and end.
const ADMINS: &[Role] = &[Role::Admin];

/// What the engine of managed rotations keeps in memory. All that counts is in the ledger.
pub(crate) struct Engine {
    pub(super) targets: Arc<dyn Targets>,
    /// The process, as attempts name it: another start is another process.
    pub(super) process: Uuid,
    /// What this process works on right now.
    running: Arc<Mutex<HashMap<RotationId, Mark>>>,
    marks: AtomicU64,
    tasks: Mutex<JoinSet<()>>,
    steps: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Rotations whose schedule is not looked at before then: they were refused for a reason that passes.
    put_off: Mutex<HashMap<RotationId, Timestamp>>,
    pub(super) wake: tokio::sync::Notify,
}

impl Engine {
    pub(super) fn new(targets: Arc<dyn Targets>, process: Uuid) -> Self {
        Self {
            targets,
            process,
            running: Arc::default(),
            marks: AtomicU64::new(0),
            tasks: Mutex::default(),
            steps: Arc::new(Semaphore::new(STEPS_MAX)),
            hosts: Mutex::default(),
            put_off: Mutex::default(),
            wake: tokio::sync::Notify::new(),
        }
    }

    /// A place at a host, and among all of them.
    async fn place(
        &self,
        host: &str,
    ) -> (Option<tokio::sync::OwnedSemaphorePermit>, Option<tokio::sync::OwnedSemaphorePermit>) {
        let of_host = {
            let mut hosts = self.hosts.lock();
            hosts.retain(|_, places| Arc::strong_count(places) > 1);
            let places = hosts.entry(host.to_owned());
            Arc::clone(places.or_insert_with(|| Arc::new(Semaphore::new(STEPS_PER_HOST_MAX))))
        };
        // Neither is ever closed.
        let of_host = of_host.acquire_owned().await.ok();
        (of_host, Arc::clone(&self.steps).acquire_owned().await.ok())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Marks a rotation as worked on by this process; nothing if it is already. Work that is over in the ledger
    /// (`is_over`) is in nobody's way: what is left of it is to tell whoever waits.
    fn begin(&self, rotation: RotationId, is_over: impl FnOnce() -> bool) -> Option<Running> {
        let mut running = self.running.lock();
        if running.get(&rotation).is_some_and(|mark| !(mark.recorded && is_over())) {
            return None;
        }
        let number = self.marks.fetch_add(1, Ordering::Relaxed);
        running.insert(rotation, Mark { number, recorded: false });
        Some(Running { marks: Arc::clone(&self.running), rotation, number })
    }

    fn is_running(&self, rotation: RotationId) -> bool {
        self.running.lock().contains_key(&rotation)
    }

    /// Stops what goes on: the next start goes on with it.
    pub(super) fn stop(&self) {
        self.tasks.lock().abort_all();
    }
}

/// That this process works on a rotation.
struct Mark {
    /// Whose it is.
    number: u64,
    /// Whether the ledger knows of the work.
    recorded: bool,
}

/// Ends with the work.
struct Running {
    marks: Arc<Mutex<HashMap<RotationId, Mark>>>,
    rotation: RotationId,
    number: u64,
}

impl Running {
    /// From now on the ledger says whether the work goes on.
    fn is_recorded(&self) {
        if let Some(mark) = self.marks.lock().get_mut(&self.rotation).filter(|m| m.number == self.number) {
            mark.recorded = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut marks = self.marks.lock();
        if marks.get(&self.rotation).is_some_and(|mark| mark.number == self.number) {
            marks.remove(&self.rotation);
        }
    }
}

impl App {
    /// Marks a rotation as worked on by this process.
    fn begin_work(&self, id: RotationId) -> Result<Running, Failure> {
        let is_over = || {
            self.any_rotation(id).is_ok_and(|live| {
                live.state.deletion.is_none() && live.state.attempt.is_none_or(|a| a.stuck.is_some())
            })
        };
        Ok(self.managed.begin(id, is_over).ok_or(RotationRefusal::InProgress)?)
    }
}
