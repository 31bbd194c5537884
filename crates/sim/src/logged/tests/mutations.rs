//! Whatever is changed in a good history at random is found.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{ids, story};
use crate::logged::event::{Ack, Event, Hex, Record};

static GOOD: LazyLock<Vec<Record>> = LazyLock::new(|| story::good(120));

/// The records for which this holds.
fn places(which: impl Fn(usize, &Event) -> bool) -> Vec<usize> {
    (0..GOOD.len()).filter(|index| which(*index, &GOOD[*index].event)).collect()
}

/// The next message that the same subscription got.
fn next_delivery(index: usize, is_it: impl Fn(&Event) -> bool) -> Option<usize> {
    let Event::Delivered { subscription, .. } = &GOOD[index].event else { return None };
    let mut later = (index + 1..GOOD.len())
        .filter(|later| matches!(&GOOD[*later].event, Event::Delivered { subscription: of, .. } if of == subscription));
    later.find(|later| is_it(&GOOD[*later].event))
}

/// The good history with this done to one of those records; and the ids found.
fn found(those: &[usize], chosen: prop::sample::Index, change: impl Fn(&mut Vec<Record>, usize)) -> Vec<String> {
    let mut records = GOOD.clone();
    change(&mut records, *chosen.get(those));
    ids(&records)
}

fn has(found: &[String], id: &str) -> bool {
    found.iter().any(|found| found == id)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The last message before a subscriber dies may be missing: it comes in the next run.
    #[test]
    fn a_delivery_that_is_left_out(chosen: prop::sample::Index) {
        let those = places(|index, _| next_delivery(index, |_| true).is_some());
        let found = found(&those, chosen, |records, index| _ = records.remove(index));
        prop_assert!(has(&found, "I5"), "{found:?}");
    }

    #[test]
    fn a_delivery_that_comes_twice(chosen: prop::sample::Index) {
        let those = places(|_, event| matches!(event, Event::Delivered { .. }));
        let found = found(&those, chosen, |records, index| records.insert(index + 1, records[index].clone()));
        prop_assert!(has(&found, "I4"), "{found:?}");
    }

    #[test]
    fn two_deliveries_of_a_publisher_that_change_places(chosen: prop::sample::Index) {
        let publisher = |event: &Event| event.seen().map(|(_, entry)| entry.publish.publisher);
        let next = |index: usize| next_delivery(index, |event| publisher(event) == publisher(&GOOD[index].event));
        let those = places(|index, _| next(index).is_some());
        let found = found(&those, chosen, |records, index| {
            let next = next(index).unwrap();
            let (before, after) = records.split_at_mut(next);
            std::mem::swap(&mut before[index].event, &mut after[0].event);
        });
        prop_assert!(has(&found, "I6"), "{found:?}");
    }

    #[test]
    fn a_payload_that_changed(chosen: prop::sample::Index, bit in 0..64) {
        let those = places(|_, event| event.seen().is_some());
        let found = found(&those, chosen, |records, index| {
            if let Event::Delivered { entry, .. } | Event::Served { entry, .. } | Event::Stored { entry, .. } =
                &mut records[index].event
            {
                entry.hash = Hex(entry.hash.0 ^ (1_u64 << bit));
            }
        });
        prop_assert!(has(&found, "I2") && has(&found, "I3"), "{found:?}");
    }

    #[test]
    fn an_ack_that_moves_to_just_after_its_publish(chosen: prop::sample::Index) {
        let those = places(|_, event| matches!(event, Event::Acked(Ack { duplicate: false, .. })));
        let found = found(&those, chosen, |records, index| {
            let ack = records.remove(index);
            let Event::Acked(Ack { publish, .. }) = &ack.event else { return };
            let is_its = |record: &Record| matches!(&record.event, Event::Invoked { publish: of, .. } if of == publish);
            let invoked = records.iter().position(is_its).unwrap();
            let at_ns = records[invoked].at_ns;
            records.insert(invoked + 1, Record { at_ns, ..ack });
        });
        prop_assert!(has(&found, "I8"), "{found:?}");
    }

    #[test]
    fn an_ack_for_what_no_node_has(chosen: prop::sample::Index) {
        let those = places(|_, event| matches!(event, Event::Acked(Ack { duplicate: false, .. })));
        let found = found(&those, chosen, |records, index| {
            let Event::Acked(Ack { publish, place, .. }) = records[index].event.clone() else { return };
            let kept = |record: &Record| record.event.seen().is_none_or(|(_, entry)| entry.publish != publish);
            if place.position > 60 {
                records.retain(kept);
            } else {
                records.remove(index);
                records.retain(|record| !matches!(record.event, Event::Drained { .. }));
            }
        });
        prop_assert!(has(&found, "I1"), "{found:?}");
    }

    #[test]
    fn an_answer_at_the_end_that_lacks_a_message(chosen: prop::sample::Index) {
        let those = places(|_, event| matches!(event, Event::Served { .. } | Event::Stored { .. }));
        let found = found(&those, chosen, |records, index| _ = records.remove(index));
        prop_assert!(has(&found, "I1"), "{found:?}");
    }
}
