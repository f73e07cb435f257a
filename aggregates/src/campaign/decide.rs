//! What a campaign does with a command.

use super::{
    Campaign, CampaignApplied, CampaignCommand, CampaignEnded, CampaignEvent, CampaignPaused,
    CampaignPlanned, CampaignRefusal, CampaignResumed, EndOfCampaign, HandOversDestroyed, ITEMS_MAX,
    ITEMS_PER_EVENT, ItemFailed, ItemSkipped, ItemsPlanned, KEEP_DAYS, NAMED_MAX, NO_RECIPIENT, Outcome,
    PauseCause, PlanCampaign, SecretHandedOver, Settings, Stage, Standing, WAVE_PAUSE_SECONDS_MAX, WAVE_SIZE,
    WaveFinished, WithoutRecipient,
};
use crate::ids::{CredentialId, Hash, Position};
use crate::observation::{PartRef, SealedPart};
use crate::time::Timestamp;

type Decision = Result<Vec<CampaignEvent>, CampaignRefusal>;

impl Settings {
    fn check(&self) -> Result<(), CampaignRefusal> {
        let invalid = |field, reason| Err(CampaignRefusal::Invalid { field, reason });
        if !WAVE_SIZE.contains(&self.wave_size) {
            return invalid("waveSize", format!("must be between 1 and {}", WAVE_SIZE.end()));
        }
        if self.wave_pause_seconds > WAVE_PAUSE_SECONDS_MAX {
            return invalid("wavePauseSeconds", format!("must be at most {WAVE_PAUSE_SECONDS_MAX}"));
        }
        if !KEEP_DAYS.contains(&self.keep_days) {
            return invalid("keepDays", format!("must be between 1 and {}", KEEP_DAYS.end()));
        }
        Ok(())
    }
}

impl Campaign {
    /// The decision: what happens, or why not. No events means that it is so already.
    pub fn decide(&self, command: CampaignCommand) -> Decision {
        if let CampaignCommand::Plan(c) = command {
            return self.plan(c);
        }
        if !self.exists() {
            return Err(CampaignRefusal::Unknown);
        }
        match command {
            CampaignCommand::Apply { plan, moved, now } => self.apply_plan(plan, moved, now),
            CampaignCommand::Settle { credential, outcome, now } => self.note(credential, outcome, now),
            CampaignCommand::Pause { now } => self.pause(now),
            CampaignCommand::Resume { retry_failed, now } => self.resume(retry_failed, now),
            CampaignCommand::End { now } => Ok(self.end(now)),
            CampaignCommand::DestroyHandOvers { of, now } => Ok(destroy(&of, now)),
            CampaignCommand::Plan(_) => Err(CampaignRefusal::AlreadyPlanned),
        }
    }

    fn plan(&self, c: PlanCampaign) -> Decision {
        if self.exists() {
            return Err(CampaignRefusal::AlreadyPlanned);
        }
        c.settings.check()?;
        if c.selector.credentials.len() > NAMED_MAX {
            let reason = format!("may name at most {NAMED_MAX} credentials");
            return Err(CampaignRefusal::Invalid { field: "credentialIds", reason });
        }
        if c.items.is_empty() {
            return Err(CampaignRefusal::NothingSelected);
        }
        if c.items.len() > ITEMS_MAX {
            let reason = format!("selects more than {ITEMS_MAX} credentials: narrow it down");
            return Err(CampaignRefusal::Invalid { field: "selector", reason });
        }
        let at = c.now;
        let planned = CampaignPlanned {
            campaign: c.campaign,
            workspace: c.workspace,
            selector: c.selector,
            settings: c.settings,
            items: c.items.len() as u32,
            plan: c.plan,
            at,
        };
        let chunks = c.items.chunks(ITEMS_PER_EVENT);
        let items = chunks.map(|items| ItemsPlanned { items: items.to_vec(), at }.into());
        Ok(std::iter::once(planned.into()).chain(items).collect())
    }

    fn apply_plan(&self, plan: Hash, moved: usize, now: Timestamp) -> Decision {
        if self.plan != Some(plan) {
            return Err(CampaignRefusal::OtherPlan);
        }
        match self.stage {
            Stage::Planned => {}
            // Whoever asks again has been heard.
            Stage::Running => return Ok(vec![]),
            stage => return Err(not_now(stage, "applied")),
        }
        if moved > 0 {
            return Err(CampaignRefusal::Moved { count: moved });
        }
        let obstacles = || self.items.iter().filter_map(|item| item.planned.obstacle.as_deref());
        let without = obstacles().filter(|obstacle| *obstacle == NO_RECIPIENT).count();
        if without > 0 && self.settings.without_recipient == WithoutRecipient::Refuse {
            return Err(CampaignRefusal::WithoutRecipient { count: without });
        }
        if obstacles().count() == self.items.len() {
            return Err(CampaignRefusal::NothingToRotate);
        }
        Ok(vec![CampaignApplied { plan, at: now }.into()])
    }

    /// What came of an item, and of its wave with it.
    fn note(&self, credential: CredentialId, outcome: Outcome, now: Timestamp) -> Decision {
        if self.stage != Stage::Running {
            return Err(not_now(self.stage, "gone on with"));
        }
        // Invariant 2: an item has its turn once.
        if self.item(credential).is_none_or(|item| item.standing != Standing::Waiting) {
            return Err(CampaignRefusal::NotNow { stage: "past this item", asked: "gone on with" });
        }
        let at = now;
        let noted: CampaignEvent = match outcome {
            Outcome::Done { version, recipient, sealed } => {
                SecretHandedOver { credential, version, recipient, sealed, at }.into()
            }
            Outcome::Failed { reason } => ItemFailed { credential, reason, at }.into(),
            Outcome::Skipped { reason } => ItemSkipped { credential, reason, at }.into(),
        };
        let (mut tally, mut wave) = (self.tally, self.wave);
        tally.waiting = tally.waiting.saturating_sub(1);
        wave.tried += 1;
        match &noted {
            CampaignEvent::SecretHandedOver(_) => tally.done += 1,
            CampaignEvent::ItemFailed(_) => (tally.failed, wave.failed) = (tally.failed + 1, wave.failed + 1),
            _ => tally.skipped += 1,
        }
        let over = tally.waiting == 0;
        let mut events = vec![noted];
        // At once, not at the end of the wave: the next item would fail as well.
        if wave.failed > self.settings.failures_max {
            events.push(CampaignPaused { cause: PauseCause::Failures, at }.into());
            return Ok(events);
        }
        if over || wave.tried >= self.settings.wave_size {
            let pause = if over { 0 } else { self.settings.wave_pause_seconds };
            events
                .push(WaveFinished { wave: wave.number, tally, next_at: now.plus_seconds(pause), at }.into());
        }
        if over {
            events.push(CampaignEnded { cause: EndOfCampaign::Finished, tally, at }.into());
        }
        Ok(events)
    }

    fn pause(&self, now: Timestamp) -> Decision {
        match self.stage {
            Stage::Running => Ok(vec![CampaignPaused { cause: PauseCause::Call, at: now }.into()]),
            Stage::Paused(_) => Ok(vec![]),
            stage => Err(not_now(stage, "paused")),
        }
    }

    fn resume(&self, retry_failed: bool, now: Timestamp) -> Decision {
        match self.stage {
            Stage::Paused(_) => {}
            Stage::Running => return Ok(vec![]),
            stage => return Err(not_now(stage, "resumed")),
        }
        let mut events = vec![CampaignResumed { retry_failed, at: now }.into()];
        if self.tally.waiting == 0 && !(retry_failed && self.tally.failed > 0) {
            let (cause, tally) = (EndOfCampaign::Finished, self.tally);
            events.push(CampaignEnded { cause, tally, at: now }.into());
        }
        Ok(events)
    }

    fn end(&self, now: Timestamp) -> Vec<CampaignEvent> {
        if self.is_open() {
            let (cause, tally) = (EndOfCampaign::Call, self.tally);
            vec![CampaignEnded { cause, tally, at: now }.into()]
        } else {
            vec![]
        }
    }
}

fn not_now(stage: Stage, asked: &'static str) -> CampaignRefusal {
    CampaignRefusal::NotNow { stage: stage.name(), asked }
}

fn destroy(of: &[(CredentialId, Position)], now: Timestamp) -> Vec<CampaignEvent> {
    if of.is_empty() {
        return vec![];
    }
    let part = |position| PartRef { position, part: SealedPart::Secret };
    let credentials = of.iter().map(|(credential, _)| *credential).collect();
    let shredded = of.iter().map(|(_, position)| part(*position)).collect();
    vec![HandOversDestroyed { credentials, shredded, at: now }.into()]
}
