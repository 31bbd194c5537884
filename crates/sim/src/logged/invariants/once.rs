//! I4: no subscriber gets a message twice. Within a run no place comes twice, and none that the cursor covers from which the
//! run began; over all runs of a subscriber no message (publisher, channel, number) comes from two places. What a subscriber
//! got and had not yet kept a cursor for when it died comes again, and must: that is no duplicate.

use std::collections::{HashMap, HashSet};

use crate::logged::event::{Entry, Event, Name, Place, Publish};
use crate::logged::run::Run;

pub(super) fn violations(run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    let mut of_subscriber: Option<(Name, HashMap<Publish, Place>)> = None;
    for (subscription, life) in &run.lives {
        // Lives are in the order of their subscribers, so that one map at a time is enough.
        let places = match &mut of_subscriber {
            Some((subscriber, places)) if *subscriber == subscription.subscriber => places,
            other => &mut other.insert((subscription.subscriber, HashMap::new())).1,
        };
        let mut got = HashSet::new();
        for record in run.records_of(life) {
            let Event::Delivered { entry: Entry { place, publish, .. }, node, .. } = &record.event else { continue };
            let first = *places.entry(*publish).or_insert(*place);
            let again = if !got.insert(*place) {
                "again"
            } else if life.start.covers(*place) {
                "which its cursor covers"
            } else if first != *place {
                "from another place than before"
            } else {
                continue;
            };
            found.push(format!("I4 twice: {subscription} got {publish} at {place} from {node}, {again}"));
        }
    }
    found
}
