//! Presence against a mesh of real processes: cuts that heal and nodes that are killed, one after the other, and after each how
//! long until every node lists exactly who is there. In the end, whether a ghost is left after a time of quiet.
//!
//! What happens follows from the seed alone; times do not. Prints a line per fault and the figures; exit code 1 when a promise does
//! not hold.
//! `cargo build --release -p farwire-cli && cargo run --release -p farwire-tests --bin presence-faults -- --seed 7`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command reports on its output")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod crowd;
mod figures;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use farwire_tests::up::{ProcessMesh, farwire_beside};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crowd::{Crowd, Doomed};
use figures::Figures;

/// Presence under faults of real processes.
#[derive(Debug, Parser)]
struct Args {
    /// What the faults are drawn from [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How many cuts that heal
    #[arg(long, default_value_t = 50)]
    heals: usize,
    /// How many nodes are killed and restarted
    #[arg(long, default_value_t = 50)]
    kills: usize,
    /// Seconds of quiet before the last look for ghosts
    #[arg(long, default_value_t = 600)]
    soak: u64,
    /// Clients that stay through all of it, in each of the three regions
    #[arg(long, default_value_t = 20)]
    clients_per_region: usize,
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
            eprintln!("presence-faults: {err}");
            return ExitCode::from(2);
        }
    };
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("{} heals and {} kills, seed {seed}, two nodes in each of {}", args.heals, args.kills, REGIONS.join(", "));
    let flags = format!("--regions {} --nodes-per-region 2", REGIONS.join(","));
    let mesh = ProcessMesh::start_with(&program, &flags);
    mesh.settled().await;
    let rng = StdRng::seed_from_u64(seed);
    let mut run = Run { crowd: Crowd::gather(mesh, args.clients_per_region).await, rng, figures: Figures::default() };
    if args.heals > 0 {
        run.looks_dark_under_a_cut().await;
    }
    for number in 1..=args.heals {
        run.cut_and_heal(number).await;
    }
    for number in 1..=args.kills {
        run.kill_and_restart(number).await;
    }
    println!("quiet for {} s", args.soak);
    tokio::time::sleep(Duration::from_secs(args.soak)).await;
    run.figures.ghosts = run.crowd.ghosts().await;
    if run.figures.report() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A run, and what it has found so far.
struct Run {
    crowd: Crowd,
    rng: StdRng,
    figures: Figures,
}

impl Run {
    /// While a region is cut off for long, either side's answers say who is out of reach and since when.
    async fn looks_dark_under_a_cut(&mut self) {
        let cut_at_us = wall_us();
        self.change(&["cut iad fra", "cut iad sin"]).await;
        let dark = self.crowd.dark_after("iad", cut_at_us + 2_000_000, DARK_PATIENCE).await;
        match &dark {
            Ok(seconds) => println!("cut off: both sides say so after {seconds:.1} s"),
            Err(why) => println!("cut off: {why}"),
        }
        self.figures.dark.push(dark.map(|_| ()));
        self.change(&["heal"]).await;
        let healed = Instant::now();
        let agreed = self.crowd.agreed_since(healed, PATIENCE).await;
        self.figures.heals.push(agreed);
    }

    async fn cut_and_heal(&mut self, number: usize) {
        let [a, b, c] = {
            let mut regions = REGIONS;
            rand::seq::SliceRandom::shuffle(regions.as_mut_slice(), &mut self.rng);
            regions
        };
        let node = format!("{a}-{}", self.rng.random_range(1..=2));
        let changes = match self.rng.random_range(0..4) {
            0 => vec![format!("cut {a} {b}")],
            1 => vec![format!("cut {a} {b}"), format!("cut {a} {c}")],
            2 => vec![format!("cut {a} {b} --one-way")],
            _ => vec![format!("cut {node} {b}"), format!("cut {node} {c}")],
        };
        let held = Duration::from_millis(self.rng.random_range(2_000..15_000));
        self.change(&changes.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let (half, rng) = (held / 2, &mut self.rng);
        tokio::time::sleep(half).await;
        self.crowd.stir(rng, STIRRED).await;
        tokio::time::sleep(half).await;
        self.change(&["heal"]).await;
        let agreed = self.crowd.agreed_since(Instant::now(), PATIENCE).await;
        println!("{number:>3}  {:<34} for {:>4.1} s  {}", changes.join(", "), held.as_secs_f64(), told(agreed));
        self.figures.heals.push(agreed);
    }

    async fn kill_and_restart(&mut self, number: usize) {
        let nodes: Vec<String> = self.crowd.mesh.nodes().into_iter().map(|node| node.name).collect();
        let node = nodes.choose(&mut self.rng).expect("there are nodes").clone();
        let doomed = Doomed::enter(&self.crowd, &node, number).await;
        let listed = self.crowd.agreed_with(&doomed, PATIENCE).await;
        doomed.die();
        self.change(&[&format!("kill {node}")]).await;
        let killed = Instant::now();
        self.crowd.down = Some(node.clone());
        self.crowd.stir(&mut self.rng, STIRRED).await;
        let agreed = self.crowd.agreed_since(killed, PATIENCE).await;
        self.change(&[&format!("restart {node}")]).await;
        let restarted = Instant::now();
        self.crowd.down = None;
        let back = self.crowd.agreed_since(restarted, PATIENCE).await;
        let unseen = if listed.is_none() { "  (its own clients were never all listed)" } else { "" };
        println!("{number:>3}  kill {node:<29} {}; restart {}{unseen}", told(agreed), told(back));
        self.figures.kills.push(agreed);
        self.figures.restarts.push(back);
    }

    async fn change(&self, changes: &[&str]) {
        for change in changes {
            self.crowd.mesh.ctl(change).await;
        }
    }
}

fn told(agreed: Option<Duration>) -> String {
    agreed.map_or_else(
        || format!("NOT AGREED within {} s", PATIENCE.as_secs()),
        |after| format!("all agree after {:>6.3} s", after.as_secs_f64()),
    )
}

fn wall_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

const REGIONS: [&str; 3] = ["fra", "iad", "sin"];
/// Clients that enter or leave during a fault.
const STIRRED: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// SWIM takes up to 13 s to call a node down.
const DARK_PATIENCE: Duration = Duration::from_secs(30);
