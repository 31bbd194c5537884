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
use rand::seq::{IndexedRandom, SliceRandom};
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
    /// Clients that stay through all of it, at each of the six nodes
    #[arg(long, default_value_t = 10)]
    clients_per_node: usize,
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
    let mut run = Run { crowd: Crowd::gather(mesh, args.clients_per_node).await, rng, figures: Figures::default() };
    for number in 1..=args.heals {
        if number % DARK_EVERY == 1 {
            run.looks_dark_under_a_cut(number).await;
        } else {
            run.cut_and_heal(number).await;
        }
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
    async fn looks_dark_under_a_cut(&mut self, number: usize) {
        let [dark, b, c] = self.shuffled_regions();
        self.crowd.go_home().await;
        // Who was never asked of a region has nothing of it to date.
        self.crowd.agreed_since(Instant::now(), PATIENCE).await;
        let cut_at_us = wall_us();
        let changes = [format!("cut {dark} {b}"), format!("cut {dark} {c}")];
        self.change(&changes).await;
        let told = self.crowd.dark_after(dark, cut_at_us + 2_000_000, DARK_PATIENCE).await;
        let said = match &told {
            Ok(seconds) => format!("both sides say so after {seconds:.1} s; "),
            Err(why) => format!("NOT SAID: {why}; "),
        };
        self.figures.dark.push(told.map(|_| ()));
        self.heal(number, &format!("{}  {said}", changes.join(", "))).await;
    }

    async fn cut_and_heal(&mut self, number: usize) {
        let [a, b, c] = self.shuffled_regions();
        let own = self.rng.random_range(1..=2);
        let node = format!("{a}-{own}");
        let changes = match self.rng.random_range(0..4) {
            0 => vec![format!("cut {a} {b}")],
            1 => vec![format!("cut {a} {b}"), format!("cut {a} {c}")],
            2 => vec![format!("cut {a} {b} --one-way")],
            _ => [format!("{a}-{}", 3 - own), b.into(), c.into()].map(|other| format!("cut {node} {other}")).into(),
        };
        let held = Duration::from_millis(self.rng.random_range(2_000..15_000));
        self.crowd.go_home().await;
        self.change(&changes).await;
        tokio::time::sleep(held / 2).await;
        self.crowd.stir(&mut self.rng, STIRRED).await;
        tokio::time::sleep(held / 2).await;
        self.heal(number, &format!("{:<46} for {:>4.1} s  ", changes.join(", "), held.as_secs_f64())).await;
    }

    async fn heal(&mut self, number: usize, what: &str) {
        let heal = Instant::now();
        self.change(&["heal".to_owned()]).await;
        let agreed = self.crowd.agreed_since(heal, PATIENCE).await;
        println!("{number:>3}  {what}{}", told(agreed));
        self.figures.heals.push(agreed);
    }

    fn shuffled_regions(&mut self) -> [&'static str; 3] {
        let mut regions = REGIONS;
        regions.shuffle(&mut self.rng);
        regions
    }

    async fn kill_and_restart(&mut self, number: usize) {
        let nodes: Vec<String> = self.crowd.mesh.nodes().into_iter().map(|node| node.name).collect();
        let node = nodes.choose(&mut self.rng).expect("there are nodes").clone();
        self.crowd.go_home().await;
        let doomed = Doomed::enter(&self.crowd, &node, number).await;
        let listed = self.crowd.agreed_with(&doomed, PATIENCE).await;
        let kill = Instant::now();
        doomed.die();
        self.change(&[format!("kill {node}")]).await;
        self.crowd.down = Some(node.clone());
        self.crowd.stir(&mut self.rng, STIRRED).await;
        let agreed = self.crowd.agreed_since(kill, PATIENCE).await;
        let restart = Instant::now();
        self.change(&[format!("restart {node}")]).await;
        self.crowd.down = None;
        let back = self.crowd.agreed_since(restart, PATIENCE).await;
        println!("{number:>3}  kill {node}  {}; restart {}", told(agreed), told(back));
        if listed.is_none() {
            self.figures.unlisted.push(node);
        }
        self.figures.kills.push(agreed);
        self.figures.restarts.push(back);
    }

    async fn change(&self, changes: &[String]) {
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
/// Of so many heals one is that of a region that is cut off until everybody says so.
const DARK_EVERY: usize = 10;
/// Clients that enter or leave during a fault.
const STIRRED: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// SWIM takes up to 13 s to call a node down.
const DARK_PATIENCE: Duration = Duration::from_secs(30);
