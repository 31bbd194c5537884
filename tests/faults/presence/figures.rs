//! What a run has measured, and which promises do not hold.

use std::time::Duration;

/// After a heal every node lists exactly who is there within this time.
const AFTER_A_HEAL: Duration = Duration::from_secs(10);
/// After a kill.
const AFTER_A_KILL: Duration = Duration::from_secs(20);

/// Times until all agreed; `None` where they did not in time.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) heals: Vec<Option<Duration>>,
    pub(crate) kills: Vec<Option<Duration>>,
    pub(crate) restarts: Vec<Option<Duration>>,
    /// Looks at the answers while a region was cut off.
    pub(crate) dark: Vec<Result<(), String>>,
    /// Nodes whose clients were not all listed when they were killed: such a kill shows nothing.
    pub(crate) unlisted: Vec<String>,
    /// Wrong in the end: mostly who is listed, and not there.
    pub(crate) ghosts: Vec<String>,
}

impl Figures {
    /// Prints the figures; whether every promise holds.
    pub(crate) fn report(&self) -> bool {
        let heals = line("after a heal", &self.heals, AFTER_A_HEAL);
        let kills = line("after a kill", &self.kills, AFTER_A_KILL);
        let restarts = line("after a restart", &self.restarts, AFTER_A_KILL);
        let dark = self.dark.iter().filter_map(|look| look.as_ref().err());
        dark.clone().for_each(|why| println!("DOES NOT HOLD: under a cut: {why}"));
        println!("under a cut: {} looks", self.dark.len());
        self.unlisted.iter().for_each(|node| println!("DOES NOT HOLD: clients of {node} were never all listed"));
        println!("wrong answers in the end: {}", self.ghosts.len());
        self.ghosts.iter().for_each(|ghost| println!("DOES NOT HOLD: {ghost}"));
        heals && kills && restarts && dark.count() == 0 && self.unlisted.is_empty() && self.ghosts.is_empty()
    }
}

fn line(what: &str, times: &[Option<Duration>], within: Duration) -> bool {
    let mut sorted: Vec<f64> = times.iter().map(|time| time.map_or(f64::INFINITY, |t| t.as_secs_f64())).collect();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the length")]
    let at =
        |share: f64| sorted.get(((share * sorted.len() as f64).ceil() as usize).max(1) - 1).copied().unwrap_or(0.0);
    println!("{what}: n = {}, p50 {:.3} s, p95 {:.3} s, max {:.3} s", sorted.len(), at(0.5), at(0.95), at(1.0));
    let late = sorted.iter().filter(|seconds| **seconds > within.as_secs_f64()).count();
    if late > 0 {
        println!("DOES NOT HOLD: {late} of {} {what} took more than {} s", sorted.len(), within.as_secs());
    }
    late == 0
}
