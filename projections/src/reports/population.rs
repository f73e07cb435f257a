//! How many events of which type there are, up to a position and from one: the population that samples come from.

use std::collections::BTreeMap;

use rota_aggregates::{Position, Timestamp};
use serde_json::json;

use super::{Fold, Question, Rows, maybe};
use crate::Fact;
use crate::audit::credential_of_event;

pub(super) const COLUMNS: &[&str] =
    &["type", "events", "firstPosition", "firstTime", "lastPosition", "lastTime"];

type Seen = (u64, (Position, Timestamp), (Position, Timestamp));

struct Population {
    question: Question,
    types: BTreeMap<&'static str, Seen>,
}

pub(super) fn fold(question: Question) -> Box<dyn Fold> {
    Box::new(Population { question, types: BTreeMap::new() })
}

impl Fold for Population {
    fn take(&mut self, fact: &Fact<'_>, _: &mut Rows) {
        let of_none = || credential_of_event(fact.event, &fact.stream).is_none();
        if self.question.is_of_credentials() && of_none() {
            return;
        }
        if self.question.since.is_some_and(|since| fact.position < since) || !self.question.covers(fact.time)
        {
            return;
        }
        let here = (fact.position, fact.time);
        let (count, _, last) = self.types.entry(fact.event.type_name()).or_insert((0, here, here));
        *count += 1;
        *last = here;
    }

    fn finish(self: Box<Self>, rows: &mut Rows) {
        for (name, (count, first, last)) in self.types {
            rows.add(|| {
                vec![
                    json!(name),
                    json!(count),
                    json!(first.0),
                    maybe(Some(first.1)),
                    json!(last.0),
                    maybe(Some(last.1)),
                ]
            });
        }
    }
}
