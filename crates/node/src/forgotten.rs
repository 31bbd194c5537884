//! Members that the operator has said will not come back, so that every node takes them out at once instead of in its own time.
//!
//! An order names a run of a node, by the number in its membership identity, which grows with each run and each time that a node refutes
//! its death. Every node that knows an order tells it to its links in each state that it sends, so it reaches whoever was cut off when it was
//! given, as soon as one link is up. Invariants: an order never counts for a later run, so a node that comes back is a member again and nodes
//! that know the same agree; orders end a day after they were given, whoever holds them, so they do not go round for ever.
//!
//! `membership` acts on orders, `admin` gives them, `shared` learns and tells them. This decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use farwire_wire::NodeName;
use farwire_wire::limits::MEMBERS_MAX;
use farwire_wire::peer::Forgotten as Order;
use tokio::sync::Notify;

use crate::sync::lock;

/// As long as a member that is down is listed; afterwards nobody has anything to forget.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The orders that are in force.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    orders: Mutex<BTreeMap<NodeName, Order>>,
    /// Given here, without the run, which only membership knows.
    given: Mutex<BTreeSet<NodeName>>,
    changed: Notify,
}

impl Forgotten {
    /// The operator wants this member forgotten, whatever its latest run.
    pub(crate) fn give(&self, name: NodeName) {
        lock(&self.given).insert(name);
        self.changed.notify_one();
    }

    /// What was given since the last call.
    pub(crate) fn take_given(&self) -> BTreeSet<NodeName> {
        std::mem::take(&mut lock(&self.given))
    }

    /// Takes an order unless it is over, or a later run of the node is known to be forgotten.
    pub(crate) fn learn(&self, now_us: u64, order: &Order) {
        let mut orders = lock(&self.orders);
        orders.retain(|_, known| in_force(now_us, known));
        let is_news = orders.get(&order.node).is_none_or(|known| known.run < order.run);
        let has_room = orders.contains_key(&order.node) || orders.len() < MEMBERS_MAX;
        if is_news && has_room && in_force(now_us, order) {
            orders.insert(order.node.clone(), order.clone());
            self.changed.notify_one();
        }
    }

    /// Waits for an order that is new. Cancel safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether this run of a node is forgotten.
    pub(crate) fn covers(&self, name: &NodeName, run: u64) -> bool {
        lock(&self.orders).get(name).is_some_and(|order| run <= order.run)
    }

    /// All orders in force, for others.
    pub(crate) fn all(&self, now_us: u64) -> Vec<Order> {
        lock(&self.orders).values().filter(|order| in_force(now_us, order)).cloned().collect()
    }
}

/// By wall clocks, which differ a little: an order from the near future is one, too.
fn in_force(now_us: u64, order: &Order) -> bool {
    Duration::from_micros(now_us.abs_diff(order.at_us)) < KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn order(name: &str, run: u64, at_us: u64) -> Order {
        Order { node: node(name), run, at_us }
    }

    #[test]
    fn an_order_counts_for_its_run_and_those_before() {
        let forgotten = Forgotten::default();
        forgotten.learn(5, &order("a", 7, 5));
        forgotten.learn(5, &order("a", 6, 5));
        let covered = |run| forgotten.covers(&node("a"), run);
        assert_eq!((covered(6), covered(7), covered(8), forgotten.covers(&node("b"), 1)), (true, true, false, false));
    }

    #[test]
    fn an_order_ends_a_day_after_it_was_given_whoever_tells_it_again() {
        let forgotten = Forgotten::default();
        forgotten.learn(DAY_US, &order("a", 7, DAY_US));
        assert_eq!(forgotten.all(2 * DAY_US - 1).len(), 1);
        assert_eq!(forgotten.all(2 * DAY_US), []);
        forgotten.learn(2 * DAY_US, &order("b", 1, 2 * DAY_US));
        forgotten.learn(2 * DAY_US, &order("a", 7, DAY_US));
        assert!(!forgotten.covers(&node("a"), 7));
    }

    #[test]
    fn no_more_orders_are_kept_than_there_are_members() {
        let forgotten = Forgotten::default();
        (0..=MEMBERS_MAX).for_each(|n| forgotten.learn(1, &order(&format!("n{n}"), 1, 1)));
        assert_eq!(forgotten.all(1).len(), MEMBERS_MAX);
        forgotten.learn(1, &order("n0", 2, 1));
        assert!(forgotten.covers(&node("n0"), 2), "what is known can be renewed");
    }

    #[tokio::test]
    async fn who_waits_is_told_of_news_only() {
        let forgotten = Forgotten::default();
        forgotten.learn(1, &order("a", 1, 1));
        forgotten.changed().await;
        forgotten.learn(1, &order("a", 1, 1));
        let waited = tokio::time::timeout(Duration::ZERO, forgotten.changed()).await;
        assert!(waited.is_err(), "the same again is no news");
        forgotten.give(node("b"));
        forgotten.changed().await;
        assert_eq!(forgotten.take_given(), BTreeSet::from([node("b")]));
    }
}
