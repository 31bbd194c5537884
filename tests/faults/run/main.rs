//! Faults in a row against a mesh of real processes: after each heal, how long until every region hears every other one again, and in
//! the end, whether memory and file handles are where they were.
//!
//! The faults follow from the seed alone; times do not. Prints a line per fault and the figures; exit code 1 when one does not hold.
//! `cargo build --release -p farwire-cli && cargo run --release -p farwire-tests --bin faults -- --seed 7 --faults 50`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command reports on its output")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod fault;
mod footprint;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use farwire_tests::exchange::{Exchange, Heard};
use farwire_tests::up::{ProcessMesh, farwire_beside};
use fault::{Fault, Places};
use footprint::Footprint;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Faults in a row against a mesh of real processes, and what they cost.
#[derive(Debug, Parser)]
struct Args {
    /// What the faults are drawn from [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How many
    #[arg(long, default_value_t = 50)]
    faults: usize,
    /// Nodes in each of the three regions
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    nodes_per_region: u16,
    /// The program to test [default: the `farwire` beside this one]
    #[arg(long, value_name = "FILE")]
    farwire: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let program = match args.farwire.clone().map_or_else(farwire_beside, Ok) {
        Ok(program) => program,
        Err(err) => {
            eprintln!("faults: {err}");
            return ExitCode::from(2);
        }
    };
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("{} faults, seed {seed}, {} nodes in each of {}", args.faults, args.nodes_per_region, REGIONS.join(", "));
    let flags = format!("--regions {} --nodes-per-region {}", REGIONS.join(","), args.nodes_per_region);
    let mut run = Run::start(ProcessMesh::start_with(&program, &flags), seed).await;
    for number in 1..=args.faults {
        run.one_fault(number).await;
    }
    let broken = run.figures().await;
    for what in &broken {
        println!("DOES NOT HOLD: {what}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A run, and what it has found so far.
struct Run {
    mesh: ProcessMesh,
    exchange: Exchange,
    places: Places,
    rng: StdRng,
    begun: Instant,
    before: Vec<(String, Footprint)>,
    /// By pair of regions and fault; what was not heard counts as [`PATIENCE`].
    heard_after: Vec<Duration>,
    unheard: usize,
}

impl Run {
    async fn start(mesh: ProcessMesh, seed: u64) -> Self {
        mesh.settled().await;
        let exchange = Exchange::start(&REGIONS, |region| mesh.options(region)).await;
        let nodes = mesh.nodes();
        let nodes_of =
            |region: &str| nodes.iter().filter(|node| node.region == region).map(|node| node.name.clone()).collect();
        let places = Places {
            regions: REGIONS.map(str::to_owned).into(),
            nodes: REGIONS.iter().map(|region| nodes_of(region)).collect(),
        };
        let before = full_footprint(&mesh, &exchange).await;
        let (rng, begun) = (StdRng::seed_from_u64(seed), Instant::now());
        Self { mesh, exchange, places, rng, begun, before, heard_after: Vec::new(), unheard: 0 }
    }

    async fn one_fault(&mut self, number: usize) {
        let fault = Fault::draw(&mut self.rng, &self.places);
        let held = Duration::from_millis(self.rng.random_range(HELD_MS));
        let pause = Duration::from_millis(self.rng.random_range(PAUSE_MS));
        for change in fault.changes() {
            self.mesh.ctl(&change).await;
        }
        tokio::time::sleep(held).await;
        let strayed = self.exchange.go_home(|region| self.mesh.options(region)).await;
        self.mesh.ctl(&fault.heal()).await;
        let heard = self.exchange.heard_after(PATIENCE).await;
        self.report(number, &fault, held, &heard);
        if strayed > 0 {
            println!("    {strayed} of the clients had gone to another region");
        }
        tokio::time::sleep(pause).await;
    }

    fn report(&mut self, number: usize, fault: &Fault, held: Duration, heard: &[Heard]) {
        let after = |pair: &Heard| pair.after.unwrap_or(PATIENCE);
        let slowest = heard.iter().max_by_key(|pair| after(pair)).expect("there are pairs");
        let (from, to) = (&slowest.from, &slowest.to);
        let seconds = after(slowest).as_secs_f64();
        let note = if slowest.after.is_none() { " NOT HEARD" } else { "" };
        let (fault, held) = (fault.to_string(), held.as_secs_f64());
        println!(
            "{number:>3}  {fault:<32} for {held:>4.1} s  all heard after {seconds:>6.3} s  (last {to} heard {from}){note}"
        );
        self.heard_after.extend(heard.iter().map(after));
        self.unheard += heard.iter().filter(|pair| pair.after.is_none()).count();
    }

    /// Prints the figures and returns what does not hold.
    async fn figures(mut self) -> Vec<String> {
        let took = self.begun.elapsed();
        self.mesh.settled().await;
        let after = full_footprint(&self.mesh, &self.exchange).await;
        let mut broken = Vec::new();
        self.heard_after.sort_unstable();
        let at = |share: f64| percentile(&self.heard_after, share).as_secs_f64();
        let (samples, p99) = (self.heard_after.len(), at(0.99));
        println!("in {:.0} s; pairs of regions heard each other again, n = {samples}:", took.as_secs_f64());
        println!("  p50 {:.3} s  p99 {p99:.3} s  max {:.3} s", at(0.5), at(1.0));
        if p99 > HEARD_WITHIN.as_secs_f64() {
            broken.push(format!("p99 of {p99:.3} s is more than {} s", HEARD_WITHIN.as_secs()));
        }
        if self.unheard > 0 {
            broken.push(format!("{} pairs did not hear each other within {} s", self.unheard, PATIENCE.as_secs()));
        }
        for ((name, before), (_, after)) in self.before.iter().zip(after) {
            println!("  {name:<8} before {before}   after {after}");
            broken.extend(after.growth_since(before).map(|why| format!("{name}: {why}")));
        }
        broken
    }
}

/// What the processes take when every node keeps as many recent messages as it may: a node that was restarted, or to which a client
/// has moved, would keep fewer or more, and hide or feign what the faults leave.
async fn full_footprint(mesh: &ProcessMesh, exchange: &Exchange) -> Vec<(String, Footprint)> {
    let mut listeners = Vec::new();
    for node in mesh.nodes() {
        listeners.push(exchange.listen_at(mesh.client(&node.name).await).await);
    }
    exchange.fill(TAIL_MESSAGES).await;
    drop(listeners);
    // What has ended is closed by then: a connection without a word lives for five seconds.
    tokio::time::sleep(SETTLING).await;
    footprint::of_mesh(mesh)
}

/// The smallest that so large a share does not exceed; of at least one, sorted.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the length")]
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or_default()
}

const REGIONS: [&str; 3] = ["fra", "iad", "sin"];
/// More than the 4 MiB that a node keeps of each shard, at 80 bytes a message.
const TAIL_MESSAGES: usize = 60_000;
const SETTLING: Duration = Duration::from_secs(10);
const HELD_MS: std::ops::Range<u64> = 2_000..14_000;
const PAUSE_MS: std::ops::Range<u64> = 500..5_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// What is promised, for 99 of a hundred.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let sorted: Vec<Duration> = (1..=300).map(Duration::from_millis).collect();
        let at = |share| percentile(&sorted, share).as_millis();
        assert_eq!((at(0.5), at(0.99), at(1.0)), (150, 297, 300));
        assert_eq!(percentile(&sorted[..1], 0.5), sorted[0]);
    }
}
