//! What an attempt came to, for whoever waits for it or asks again.

use rota_aggregates::managed_rotation::{ManagedRotationEvent, Stage};
use rota_aggregates::record::Record;
use rota_aggregates::{AttemptId, Event, Position, RotationId};
use rota_projections::live::LiveRotation;

use super::attempt::{ANSWER, Ended};
use super::rotations::Changed;
use crate::app::{App, Failure};
use crate::log::LogError;
use crate::log::reading::decode;

/// Events that are read at once to find what a request came to, and how often.
const HISTORY_PAGE: usize = 2_048;
const HISTORY_PAGES: usize = 64;

impl App {
    /// Waits for the attempt of a request that began at a position.
    pub(super) async fn wait_for(&self, began: Position) -> Result<(RotationId, Ended), Failure> {
        let (id, attempt) = self.attempt_at(began).await?;
        let mut head = self.head();
        let over = async {
            loop {
                match ended(&self.any_rotation(id)?, attempt) {
                    Some(Ended::GoesOn) => {}
                    Some(over) => return Ok(over),
                    // Another one came after it: what it came to is in the history alone.
                    None => return self.ended_in_history(began, id, attempt).await,
                }
                if head.changed().await.is_err() {
                    return Ok(Ended::GoesOn);
                }
            }
        };
        Ok((id, tokio::time::timeout(ANSWER, over).await.unwrap_or(Ok(Ended::GoesOn))?))
    }

    async fn ended_in_history(
        &self,
        mut next: Position,
        id: RotationId,
        attempt: Option<AttemptId>,
    ) -> Result<Ended, Failure> {
        for _ in 0..HISTORY_PAGES {
            let page = self.log.read(next, HISTORY_PAGE).await?;
            let short = page.leaves.len() < HISTORY_PAGE;
            for recorded in decode(page) {
                let recorded = recorded?;
                next = Position(recorded.position.0 + 1);
                match &recorded.record.event {
                    Event::ManagedRotation(_) if recorded.record.stream.id != id.0 => {}
                    Event::ManagedRotation(ManagedRotationEvent::CredentialPromoted(e))
                        if Some(e.attempt) == attempt =>
                    {
                        return Ok(Ended::Published);
                    }
                    Event::ManagedRotation(ManagedRotationEvent::AttemptFailed(e))
                        if Some(e.attempt) == attempt =>
                    {
                        return Ok(Ended::Failed(e.reason.clone()));
                    }
                    _ => {}
                }
            }
            if short {
                break;
            }
        }
        Err(Failure::AnswerGone)
    }

    /// The rotation and the attempt of the events that a named request began with.
    pub(super) async fn attempt_at(
        &self,
        position: Position,
    ) -> Result<(RotationId, Option<AttemptId>), Failure> {
        let stored = self.log.read_at(&[position, Position(position.0 + 1)]).await?;
        let mut rotation = None;
        for stored in stored {
            let record = Record::decode(&stored.leaf)
                .map_err(|source| LogError::BadLeaf { position: stored.position, source })?;
            match &record.event {
                Event::ManagedRotation(ManagedRotationEvent::AttemptStarted(e)) => {
                    return Ok((RotationId(record.stream.id), Some(e.attempt)));
                }
                Event::ManagedRotation(_) if rotation.is_none() => {
                    rotation = Some(RotationId(record.stream.id));
                }
                _ => {}
            }
        }
        rotation.map(|rotation| (rotation, None)).ok_or(Failure::AnswerGone)
    }

    /// What is answered once an attempt is over, or is not waited for any more.
    pub(super) async fn after_attempt(
        &self,
        rotation: RotationId,
        ended: Ended,
        replayed: bool,
    ) -> Result<Changed, Failure> {
        match ended {
            Ended::Published => {
                let live = self.live_rotation(rotation)?;
                let position = live.published;
                Ok(Changed { view: self.rotation_view(&live).await?, position, replayed })
            }
            Ended::Failed(reason) => Err(Failure::Target(rota_targets::Failure::refused(reason))),
            Ended::GoesOn => Err(Failure::GoesOn),
        }
    }
}

/// How an attempt ended, as far as the rotation's state still has it.
pub(super) fn ended(live: &LiveRotation, attempt: Option<AttemptId>) -> Option<Ended> {
    let state = &live.state;
    if let Some(a) = state.attempt.as_ref().filter(|a| attempt.is_none_or(|id| a.id == id)) {
        return Some(match a.stuck {
            _ if a.is_promoted => Ended::Published,
            Some(_) => Ended::Failed(a.reason.clone().unwrap_or_default()),
            None => Ended::GoesOn,
        });
    }
    if state.stage == Stage::Deleted || attempt.is_some() && state.last.attempt != attempt {
        return None;
    }
    Some(state.last.fault.as_ref().map_or(Ended::Published, |fault| Ended::Failed(fault.reason.clone())))
}
