//! Credentials that live in other systems: how those are reached, when they are rotated, and what is published.
//!
//! - [`connections`]: how other systems are reached;
//! - [`rotations`]: making, changing, ending and finding managed rotations;
//! - [`secrets`]: what is published of them, and what was generated;
//! - [`attempt`]: one attempt from its intent to the end of the credential before, step by step; [`settle`]: what is
//!   done where nobody knows what the target has;
//! - [`deletion`]: ending at the target what rota made there;
//! - [`upkeep`]: what is due by the schedule, and what a crash left unfinished;
//! - [`sealed`]: the forms in which credentials and intents are sealed beside events;
//! - [`targets`]: where the systems themselves come in.

pub mod attempt;
pub mod connections;
mod deletion;
mod ground;
pub mod plan;
pub mod rotations;
mod sealed;
pub mod secrets;
mod settle;
pub mod targets;
pub mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rota_aggregates::authority::Role;
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
    running: Arc<Mutex<HashMap<RotationId, Uuid>>>,
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

    /// Marks a rotation as worked on by this process; nothing if it is already.
    fn begin(&self, rotation: RotationId, run: Uuid) -> Option<Running> {
        let mut running = self.running.lock();
        if running.contains_key(&rotation) {
            return None;
        }
        running.insert(rotation, run);
        Some(Running { running: Arc::clone(&self.running), rotation })
    }

    fn is_running(&self, rotation: RotationId) -> bool {
        self.running.lock().contains_key(&rotation)
    }

    /// Stops what goes on: the next start goes on with it.
    pub(super) fn stop(&self) {
        self.tasks.lock().abort_all();
    }
}

/// Ends with the work.
struct Running {
    running: Arc<Mutex<HashMap<RotationId, Uuid>>>,
    rotation: RotationId,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.lock().remove(&self.rotation);
    }
}
