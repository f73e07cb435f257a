//! What histories are folded to, and whether two of them are the same.

use std::collections::{BTreeMap, BTreeSet};

use rota_aggregates::credential::Kind;
use rota_aggregates::observation::ObservationEvent;
use rota_aggregates::{CredentialId, Event, Timestamp};
use rota_projections::Recorded;
use rota_projections::credential::CredentialView;
use rota_projections::live::Live;
use rota_projections::replay_index::ReplayIndex;
use uuid::Uuid;

#[derive(Default)]
pub struct Tip {
    pub live: Live,
    pub replays: ReplayIndex,
}

impl Tip {
    pub fn of(history: &[Recorded]) -> Self {
        let mut tip = Self::default();
        tip.take(history);
        tip
    }

    pub fn take(&mut self, history: &[Recorded]) {
        for recorded in history {
            self.live.apply(&recorded.fact());
            self.replays.apply(&recorded.fact());
        }
    }

    pub fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let mut replays = Vec::new();
        self.replays.encode(&mut replays);
        (live_bytes(&self.live), replays)
    }
}

/// A snapshot's bytes, in portions of three.
fn slots(live: &Live, out: &mut Vec<u8>) {
    let mut written = 0;
    loop {
        let mut portion = Vec::new();
        let count = live.encode_slots(written, 3, &mut portion);
        out.extend_from_slice(&(count as u64).to_le_bytes());
        out.extend_from_slice(&portion);
        if count == 0 {
            return;
        }
        written += count;
    }
}

pub fn live_bytes(live: &Live) -> Vec<u8> {
    let mut out = Vec::new();
    slots(live, &mut out);
    live.encode_rest(&mut out);
    out
}

/// What the bytes don't show: the tables that are built beside them.
pub fn assert_same(found: &Live, expected: &Live, history: &[Recorded]) {
    assert_eq!(found.next_due(), expected.next_due());
    let end = Timestamp::from_micros(i64::MAX);
    assert_eq!(found.due(end, usize::MAX), expected.due(end, usize::MAX));
    let last = expected.last_time();
    for (workspace, _) in expected.workspaces() {
        assert!(found.webhooks_of(workspace).eq(expected.webhooks_of(workspace)), "webhooks of {workspace}");
        assert_eq!(found.places(workspace), expected.places(workspace), "places of {workspace}");
    }
    let campaigns = |live: &Live| live.campaigns_after(None).cloned().collect::<Vec<_>>();
    assert_eq!(campaigns(found), campaigns(expected));
    assert!(found.running_campaigns().eq(expected.running_campaigns()), "campaigns that go on");
    for session in history.iter().filter_map(|r| ended(&r.record.event)) {
        assert_eq!(found.has_ended(session), expected.has_ended(session), "the end of {session}");
    }
    for stream in history.iter().map(|r| r.record.stream).collect::<BTreeSet<_>>() {
        assert_eq!(found.sequence(&stream), expected.sequence(&stream), "the sequence of {stream}");
        let id = CredentialId(stream.id);
        assert_eq!(found.custody(id), expected.custody(id), "who keeps {stream}");
        let (Some(a), Some(b)) = (found.credential(id), expected.credential(id)) else { continue };
        assert_eq!((a.state, a.public_id, a.roles), (b.state, b.public_id, b.roles));
        assert_eq!((a.mode, a.epoch), (b.mode, b.epoch));
        let by_public = found.by_public_id(&b.public_id).map(|c| c.state.id);
        assert_eq!(by_public, Some(b.state.id));
        for now in [last, last.plus_seconds(30), last.plus_seconds(90_000)] {
            let digests = |live: &Live| live.candidates(&b.public_id, now).map(|c| c.digests);
            assert_eq!(digests(found), digests(expected), "what opens {stream} at {now}");
        }
        assert_eq!(found.sealed_secrets(id).secrets, expected.sealed_secrets(id).secrets);
        for kind in Kind::ALL {
            assert_eq!(found.count(b.state.workspace, kind), expected.count(b.state.workspace, kind));
        }
    }
}

fn ended(event: &Event) -> Option<Uuid> {
    match event {
        Event::Observation(ObservationEvent::SessionEnded(e)) => Some(e.session),
        _ => None,
    }
}

pub fn views(history: &[Recorded]) -> BTreeMap<Uuid, Option<CredentialView>> {
    let mut views = BTreeMap::new();
    take_views(&mut views, history);
    views
}

pub fn take_views(views: &mut BTreeMap<Uuid, Option<CredentialView>>, history: &[Recorded]) {
    for recorded in history {
        let view = views.entry(recorded.record.stream.id).or_default();
        CredentialView::step(view, &recorded.fact(), recorded.details.as_ref());
    }
}
