//! While nothing is wrong, every node lists exactly who is on a channel: no ghost, and nobody is missing. A node counts
//! from [`Terms::settle_presence`] after the last fault on, and a change after [`SEEN_WITHIN`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Terms;
use crate::history::{Event, Record, quiet};

/// How long a change takes to be seen everywhere at most.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn violations(records: &[Record], terms: &Terms) -> Vec<String> {
    let quiet = quiet(records, terms.settle_presence, terms.end);
    let mut channels: BTreeMap<&str, Truth> = BTreeMap::new();
    let mut found = Vec::new();
    for Record { at, event } in records {
        match event {
            Event::Present(who, channel) => channels.entry(channel).or_default().change(*at, who, true),
            Event::Absent(who, channel) => channels.entry(channel).or_default().change(*at, who, false),
            Event::Listed { node, channel, who } => {
                let truth = channels.entry(channel).or_default();
                if quiet.iter().any(|period| period.contains(at)) && truth.changed_at + SEEN_WITHIN <= *at {
                    found.extend(
                        truth
                            .differs(who)
                            .map(|how| format!("presence: {node} at {:.3} s on {channel}: {how}", at.as_secs_f64())),
                    );
                }
            }
            _ => {}
        }
    }
    found
}

/// Who is on a channel.
#[derive(Default)]
struct Truth {
    present: BTreeSet<Arc<str>>,
    changed_at: Duration,
}

impl Truth {
    fn change(&mut self, at: Duration, who: &Arc<str>, is_present: bool) {
        self.changed_at = at;
        if is_present {
            self.present.insert(who.clone());
        } else {
            self.present.remove(who);
        }
    }

    fn differs(&self, listed: &Result<Vec<Arc<str>>, String>) -> Option<String> {
        let listed: BTreeSet<Arc<str>> = match listed {
            Ok(listed) => listed.iter().cloned().collect(),
            Err(why) => return Some(format!("no answer: {why}")),
        };
        let ghosts: Vec<_> = listed.difference(&self.present).collect();
        let missing: Vec<_> = self.present.difference(&listed).collect();
        (listed != self.present).then(|| format!("ghosts {ghosts:?}, missing {missing:?}"))
    }
}
