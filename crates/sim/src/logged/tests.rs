//! The checker itself: a good history has no violation, what each fault of the product would do to one is found, and so is
//! whatever is changed in one at random.

mod faults;
mod large;
mod mutations;
mod story;
mod terms;

use super::{Terms, judge};
use crate::logged::event::Record;

/// The ids of the violations, each once, in order.
fn ids(records: &[Record]) -> Vec<String> {
    let mut ids: Vec<_> = judge(records, &Terms::default())
        .violations
        .iter()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn a_good_run_has_no_violation_and_has_all_that_is_to_be_judged() {
    let records = story::good(400);
    let verdict = judge(&records, &Terms::default());
    assert_eq!(verdict.violations, [""; 0]);
    let totals = verdict.totals;
    assert_eq!(totals.acks, totals.acks_followed);
    assert!(totals.publishes > totals.acks, "a publish was retried: {totals}");
    assert!(totals.deliveries > totals.acks && totals.resumes > 20 && totals.gaps == 1, "{totals}");
    assert_eq!((totals.faults, totals.drained), (1, 3));
}
