//! A region's group under faults: what is acked is there in the end, once, in order, on every replica, whatever dies, is cut
//! off or loses what it had not synced.

use std::time::Duration;

use farwire_sim::logged::event::Event;
use farwire_sim::logged::{Totals, Verdict};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::region::{NODES, Region};
use crate::runs::{Outcome, Scenario, in_virtual_time, over_seeds};

const MIXED: Scenario = Scenario { test: "groups::mixed", play: |seed| outcome(mixed(seed)) };

const FORGETFUL: Scenario = Scenario { test: "groups::a_leader", play: |seed| outcome(forgetful_leader(seed)) };

#[test]
fn mixed_faults_over_thirty_seeds_lose_nothing_that_was_acked() {
    over_seeds(MIXED, 30);
}

#[test]
fn without_faults_all_is_acked_at_once_and_followed_to_the_disks() {
    let verdict = in_virtual_time(async {
        let mut region = Region::start(1).await;
        region.publish(4);
        region.note(Event::Begun);
        region.pass_until(Duration::from_secs(10)).await;
        region.end().await
    });
    let Verdict { violations, totals } = verdict;
    assert_eq!(violations, [] as [&str; 0]);
    let Totals { publishes, acks, acks_followed, drained, .. } = totals;
    assert!(acks > 1_000 && publishes < acks + 50, "{totals:?}");
    assert_eq!((acks_followed, drained), (acks, 3), "{totals:?}");
}

#[test]
fn a_leader_that_comes_back_without_its_last_entries_gives_their_places_to_no_others() {
    over_seeds(FORGETFUL, 6);
}

/// The leader's disk fails while its followers have entries that it has not; it is back before they elect another one.
async fn forgetful_leader(seed: u64) -> Verdict {
    let mut region = Region::start(seed).await;
    region.publish(4);
    region.note(Event::Begun);
    region.pass_until(Duration::from_secs(5)).await;
    let leader = region.leader().unwrap();
    region.note(Event::Fault { what: "disk".to_owned(), way_around: true });
    region.fail_next_sync(leader);
    region.pass_until(Duration::from_millis(5_900 + 50 * (seed % 6))).await;
    region.crash(leader, true);
    region.boot(leader).await;
    region.note(Event::Mended { what: "disk".to_owned() });
    region.pass_until(Duration::from_secs(20)).await;
    region.end().await
}

fn outcome(run: impl Future<Output = Verdict>) -> Outcome {
    let verdict = in_virtual_time(run);
    Outcome { violations: verdict.violations, records: Vec::new(), packets: Vec::new() }
}

/// Half a minute in which one thing after the other goes wrong, sometimes two at once. Then all is mended and must go on.
async fn mixed(seed: u64) -> Verdict {
    let mut region = Region::start(seed).await;
    let mut rng = StdRng::seed_from_u64(seed);
    region.publish(3);
    region.note(Event::Begun);
    let mut at = Duration::from_secs(3);
    while at < FAULTS_UNTIL {
        region.pass_until(at).await;
        at = Trouble::draw(&mut rng).play(&mut region, at, &mut rng).await;
    }
    region.note(Event::NoExcuse);
    region.pass_until(at + QUIET).await;
    region.end().await
}

/// Something that goes wrong for a while.
enum Trouble {
    /// Nodes die at once, with or without what they had not synced.
    Crash { nodes: Vec<&'static str>, lost_unsynced: bool },
    /// Two nodes cannot talk to each other, or only one way.
    Cut { a: &'static str, b: &'static str, one_way: bool },
    /// A node is cut off from both others.
    Isolate(&'static str),
    /// A node's disk fails a sync: it stops until it is started again.
    FailSync(&'static str),
}

impl Trouble {
    fn draw(rng: &mut StdRng) -> Self {
        let mut nodes = NODES.to_vec();
        nodes.shuffle(rng);
        match rng.random_range(0..10) {
            0..=2 => Self::Crash { nodes: nodes[..1].to_vec(), lost_unsynced: rng.random() },
            3 => Self::Crash { nodes: nodes[..2].to_vec(), lost_unsynced: true },
            4 => Self::Crash { nodes, lost_unsynced: true },
            5 => Self::Isolate(nodes[0]),
            6 => Self::FailSync(nodes[0]),
            _ => Self::Cut { a: nodes[0], b: nodes[1], one_way: rng.random() },
        }
    }

    /// Lets it happen from `at` on for some time; when it was over.
    async fn play(self, region: &mut Region, at: Duration, rng: &mut StdRng) -> Duration {
        let until = at + Duration::from_millis(rng.random_range(300..6_000));
        let pause = Duration::from_millis(rng.random_range(100..4_000));
        match self {
            Self::Crash { nodes, lost_unsynced } => {
                let way_around = nodes.len() == 1;
                region.note(Event::Fault { what: "crash".to_owned(), way_around });
                nodes.iter().for_each(|node| region.crash(node, lost_unsynced));
                region.pass_until(until).await;
                for node in nodes {
                    region.boot(node).await;
                }
                region.note(Event::Mended { what: "crash".to_owned() });
            }
            Self::Cut { a, b, one_way } => {
                cut(region, &[(a, b)], one_way, until).await;
            }
            Self::Isolate(node) => {
                let others = NODES.into_iter().filter(|other| *other != node);
                cut(region, &others.map(|other| (node, other)).collect::<Vec<_>>(), false, until).await;
            }
            Self::FailSync(node) => {
                region.note(Event::Fault { what: "disk".to_owned(), way_around: true });
                region.fail_next_sync(node);
                region.pass_until(until).await;
                region.crash(node, true);
                region.boot(node).await;
                region.note(Event::Mended { what: "disk".to_owned() });
            }
        }
        until + pause
    }
}

async fn cut(region: &mut Region, pairs: &[(&'static str, &'static str)], one_way: bool, until: Duration) {
    region.note(Event::Fault { what: "cut".to_owned(), way_around: false });
    let set = |region: &Region, is_cut| {
        for (a, b) in pairs {
            region.set_cut(a, b, is_cut);
            region.set_cut(b, a, is_cut && !one_way);
        }
    };
    set(region, true);
    region.pass_until(until).await;
    set(region, false);
    region.note(Event::Mended { what: "cut".to_owned() });
}

const FAULTS_UNTIL: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(15);
