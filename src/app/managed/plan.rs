//! What a rotation would do: a dry run.

use rota_aggregates::{RotationId, Timestamp};
use rota_targets::{Plan, Slot};

use super::ROTATORS;
use super::steps::{Stop, timed};
use crate::app::{App, Caller, Failure};

/// What the next rotation would do.
#[derive(Clone, Debug)]
pub struct RotationPlan {
    /// The place that it would fill.
    pub slot: u8,
    /// When it may begin, if the policy's overlap forbids it until then.
    pub not_before: Option<Timestamp>,
    /// Why none can begin now.
    pub refused: Option<String>,
    /// What it would do at the target, and whether the connection may.
    pub target: Plan,
}

impl App {
    /// What the next rotation would do. Nothing is changed by asking.
    pub async fn plan_rotation(&self, caller: &Caller, id: RotationId) -> Result<RotationPlan, Failure> {
        let live = self.managed_rotation(caller, id, ROTATORS)?;
        let (target, host) = self.open_target(&live).await.map_err(Stop::from)?;
        let slot = live.state.next_slot();
        let vacated = self.vacated_credential(&live).await?;
        let plan = {
            let _place = self.managed.place(&host).await;
            timed(target.has_room(vacated.as_ref())).await?;
            timed(target.plan(Slot(slot))).await?
        };
        let overlap = {
            let tip = self.tip.tip.read();
            tip.live.workspace(live.state.workspace).map_or(0, |(state, _)| state.policy.min_overlap_seconds)
        };
        let now = self.now();
        let not_before = live.state.overlap_until(overlap).filter(|until| *until > now);
        let refused = match &live.state.attempt {
            Some(a) if a.stuck.is_some() => {
                Some("an earlier attempt was given up; it is settled before another one begins".to_owned())
            }
            Some(_) => Some("a rotation is in progress".to_owned()),
            None if live.state.deletion.is_some() => Some("the rotation is being deleted".to_owned()),
            None => None,
        };
        Ok(RotationPlan { slot, not_before, refused, target: plan })
    }
}
