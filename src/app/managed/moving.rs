//! Moving a rotation into another folder of its workspace, with the secrets that it publishes.

use std::collections::BTreeSet;

use rota_aggregates::managed_rotation::{ManagedRotationCommand, Stage};
use rota_aggregates::name_space::HoldNames;
use rota_aggregates::{FolderId, RotationId, SpaceId, StreamId, Timestamp};
use rota_projections::live::LiveRotation;
use uuid::Uuid;

use super::ADMINS;
use super::ground::{Change, Outcome, Planned, secret_name};
use super::rotations::{Changed, names};
use crate::app::change::{ATTEMPTS_MAX, Expected};
use crate::app::{App, Caller, Failure};

impl App {
    /// Moves a rotation. Its secrets keep their ids and values; nothing is rotated. Secrets of the same names that
    /// rotations have left behind there are deleted if `overwrite` says so, and those of other rotations never.
    pub async fn move_rotation(
        &self,
        caller: &Caller,
        id: RotationId,
        to: FolderId,
        overwrite: bool,
    ) -> Result<Changed, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let _ring = self.keys();
            let live = self.managed_rotation(caller, id, ADMINS)?;
            let workspace = live.state.workspace;
            let (caller, mut expected, now) = self.ground(caller, workspace)?;
            expected.push(self.folder_there(workspace, to)?);
            let decided = live.state.decide(ManagedRotationCommand::Move { to, now })?;
            if decided.is_empty() {
                let view = self.rotation_view(&live).await?;
                return Ok(Changed { view, position: None, replayed: false });
            }
            let stream = StreamId::managed_rotation(id);
            expected.push((stream, Some(live.sequence)));
            let mut events: Vec<_> = decided.into_iter().map(|event| Planned::new(stream, event)).collect();
            let from = SpaceId::folder(live.state.folder);
            let (freed, of_names) = self.hold(from, workspace, id.0, BTreeSet::new(), now)?;
            events.extend(freed);
            expected.push(of_names);
            self.take_names(&live, to, overwrite, now, &mut events, &mut expected)?;
            let change = Change { workspace, expected, events, claim: None, now };
            if let Outcome::Recorded(recording) = self.record(&caller, change, None).await? {
                let view = self.rotation_view(&self.live_rotation(id)?).await?;
                return Ok(Changed { view, position: Some(recording.last), replayed: false });
            }
        }
        Err(Failure::Overloaded)
    }

    /// Takes a rotation's names in a folder, and makes away with what is left there under them if it may.
    fn take_names(
        &self,
        live: &LiveRotation,
        folder: FolderId,
        overwrite: bool,
        now: Timestamp,
        events: &mut Vec<Planned>,
        expected: &mut Expected,
    ) -> Result<(), Failure> {
        let (workspace, names) = (live.state.workspace, names(&live.state.settings));
        let stream = StreamId::name_space(SpaceId::folder(folder));
        let tip = self.tip.tip.read();
        let there = tip.live.names(SpaceId::folder(folder));
        expected.push((stream, there.map(|there| there.sequence)));
        let mut space = there.map(|there| there.state.clone()).unwrap_or_default();
        let owners: BTreeSet<Uuid> = names.iter().filter_map(|name| space.names.get(name).copied()).collect();
        for owner in owners.into_iter().filter(|_| overwrite) {
            // Those of a rotation that is not over are not to be had: taking them is refused below.
            let left = tip.live.managed_rotation(RotationId(owner));
            let Some(left) = left.filter(|left| left.state.stage == Stage::Deleted) else { continue };
            let mapping = left.state.settings.mapping.iter();
            let fields = mapping.filter(|(_, mapped)| names.contains(&secret_name(&mapped.key)));
            let fields = fields.map(|(field, _)| field.clone()).collect();
            let delete = ManagedRotationCommand::DeleteSecrets { fields, sealed: left.sealed, now };
            let of_left = StreamId::managed_rotation(left.id);
            events.extend(left.state.decide(delete)?.into_iter().map(|event| Planned::new(of_left, event)));
            expected.push((of_left, Some(left.sequence)));
            let kept =
                space.held_by(owner).filter(|name| !names.contains(*name)).map(str::to_owned).collect();
            if let Some(event) = space.decide(HoldNames { workspace, owner, names: kept, now })? {
                space.evolve(&event);
                events.push(Planned::new(stream, event));
            }
        }
        let taken = space.decide(HoldNames { workspace, owner: live.id.0, names, now })?;
        events.extend(taken.map(|event| Planned::new(stream, event)));
        Ok(())
    }
}
