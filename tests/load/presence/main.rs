//! Presence under load: one channel with a crowd over three regions, joins and leaves for a while, then quiet. Real processes
//! behind the WAN of `farwire up`, and a session of the real SDK for each occupant.
//!
//! Prints what it cost and how soon all agreed; exit code 1 when a promise does not hold.
//! `cargo build --release -p farwire-cli && cargo run --release -p farwire-tests --bin presence-load -- --occupants 10000`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command reports on its output")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod alone;
mod crowd;
mod listener;
mod mesh;
mod meters;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use crowd::{Crowd, Truth};
use farwire_tests::up::farwire_beside;
use listener::Listener;
use mesh::Hall;
use meters::Meters;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

/// A crowd on one channel: what its presence costs, and how soon all nodes agree.
#[derive(Debug, Parser)]
struct Args {
    /// How many are on the channel; more than the 100 above which a channel is summed up
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..=15_000))]
    occupants: u32,
    /// Joins a second, and as many leaves
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// For how long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// What decides who leaves
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// The program to test [default: the `farwire` beside this one]
    #[arg(long, value_name = "FILE")]
    farwire: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let program = match args.farwire.clone().map_or_else(farwire_beside, Ok) {
        Ok(program) => program,
        Err(err) => {
            eprintln!("presence-load: {err}");
            return ExitCode::from(2);
        }
    };
    let alone_kib = alone::memory_kib(args.occupants as usize);
    allow_files();
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
    let broken = runtime.block_on(async {
        let mut run = Run::start(args, program).await;
        run.verdicts.memory("core::presence alone", alone_kib);
        run.crowd_enters().await;
        run.crowd_moves().await;
        run.verdicts.broken
    });
    for what in &broken {
        println!("DOES NOT HOLD: {what}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each session has a socket of its own.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
    if let Err(err) = raised {
        eprintln!("presence-load: the limit of open files stays as it is: {err}");
    }
}

/// A run, and what it has found so far.
struct Run {
    args: Args,
    hall: Arc<Hall>,
    crowd: Crowd,
    listeners: Vec<Listener>,
    verdicts: Verdicts,
}

impl Run {
    /// Connects everybody; nobody is present.
    async fn start(args: Args, program: PathBuf) -> Self {
        // Who leaves is replaced by somebody else.
        let sessions = (args.occupants + args.rate) as usize;
        println!(
            "{} sessions; {} on the channel, {} joins and as many leaves a second",
            sessions, args.occupants, args.rate
        );
        let begun = Instant::now();
        let hall = Arc::new(Hall::start(&program, sessions + REGIONS_LISTENING).await);
        let mut listeners = Vec::new();
        for node in 0..hall.nodes.len() {
            listeners.push(Listener::start(&hall, node).await);
        }
        let crowd = Crowd::connect(&hall, sessions, args.seed).await;
        println!("all connected after {:.1} s", begun.elapsed().as_secs_f64());
        Self { args, hall, crowd, listeners, verdicts: Verdicts::default() }
    }

    /// Everybody enters: what that adds to the memory of each node.
    async fn crowd_enters(&mut self) {
        let absent = self.settled_memory().await;
        let begun = Instant::now();
        self.crowd.fill(self.args.occupants as usize).await;
        let entered = Instant::now();
        println!("all entered after {:.1} s", (entered - begun).as_secs_f64());
        self.agreement(entered).await;
        let present = self.settled_memory().await;
        println!("memory of each node, nobody present and everybody present:");
        for (index, node) in self.hall.nodes.iter().enumerate() {
            let (absent, present) = (absent[index], present[index]);
            println!("  {node}  {:.1} MiB  {:.1} MiB", mib(absent), mib(present));
            self.verdicts.memory(&format!("presence on {node}"), present.saturating_sub(absent));
        }
    }

    /// The memory of each node once it has not grown for a while: a session takes some more half a minute after it began,
    /// whatever it does.
    async fn settled_memory(&self) -> Vec<u64> {
        let (begun, mut looks) = (Instant::now(), tokio::time::interval(LOOK_EVERY));
        let (mut settled, mut since) = (meters::memory_kib(&self.hall), Instant::now());
        while since.elapsed() < STEADY_FOR && begun.elapsed() < STEADY_WITHIN {
            looks.tick().await;
            let now = meters::memory_kib(&self.hall);
            if now.iter().zip(&settled).any(|(now, settled)| *now > settled + GROWTH_KIB) {
                (settled, since) = (now, Instant::now());
            }
        }
        meters::memory_kib(&self.hall)
    }

    /// First nobody moves, then many do, each for as long.
    async fn crowd_moves(&mut self) {
        let span = Duration::from_secs(self.args.seconds.into());
        let idle_from = Meters::read(&self.hall).await;
        tokio::time::sleep(span).await;
        let (from, begun) = (Meters::read(&self.hall).await, Instant::now());
        let stopped = self.crowd.churn(self.args.rate, self.args.seconds).await;
        let to = Meters::read(&self.hall).await;
        println!(
            "{} joins and as many leaves in {:.1} s",
            self.args.rate * self.args.seconds,
            (stopped - begun).as_secs_f64()
        );
        let slowest = self.agreement(stopped).await;
        self.verdicts.at_most("seconds until all nodes agreed", slowest.as_secs_f64(), AGREED_WITHIN.as_secs_f64());
        self.listings().await;
        let idle = from.link_rates(&idle_from);
        for (link, rate) in to.link_rates(&from) {
            let idle = idle.get(&link).copied().unwrap_or(0.0) / 1024.0;
            println!("  {link}: {:.1} KiB/s with moves, {idle:.1} without, both directions", rate / 1024.0);
            self.verdicts.at_most(
                &format!("KiB/s of presence on {link}"),
                rate / 1024.0 - idle,
                LINK_KIB_PER_SECOND_MAX,
            );
        }
        let cores = from.cores(&idle_from).into_iter().zip(to.cores(&from));
        for (node, (idle, busy)) in self.hall.nodes.iter().zip(cores) {
            println!("  {node}: {:.1} % of a core with moves, {:.1} % without", busy * 100.0, idle * 100.0);
        }
        for (node, listener) in self.hall.nodes.iter().zip(&self.listeners) {
            let heard = listener.heard(begun, stopped);
            println!("  a subscriber on {node} heard {} messages", heard.times);
            let most = heard.most_in_a_second as f64;
            self.verdicts.at_most(
                &format!("messages in a second to a subscriber on {node}"),
                most,
                HEARD_PER_SECOND_MAX,
            );
            self.verdicts.at_least_one(&format!("messages to a subscriber on {node}"), heard.times);
        }
        let strayed = self.crowd.strayed(&self.hall) as f64;
        self.verdicts.at_most("sessions at another node than theirs", strayed, 0.0);
    }

    /// Until every node says how things are, since a time; prints it, and returns the slowest.
    async fn agreement(&mut self, since: Instant) -> Duration {
        let truth = self.crowd.truth(&self.hall);
        let mut asking = JoinSet::new();
        for (index, listener) in std::mem::take(&mut self.listeners).into_iter().enumerate() {
            let truth = truth.clone();
            asking.spawn(async move {
                let after = agreed_after(&listener, &truth, since).await;
                (index, after, listener)
            });
        }
        let mut asked = asking.join_all().await;
        asked.sort_unstable_by_key(|(index, ..)| *index);
        let mut slowest = Duration::ZERO;
        for (index, after, listener) in asked {
            println!("  {} is right after {:.2} s", self.hall.nodes[index], after.as_secs_f64());
            slowest = slowest.max(after);
            self.listeners.push(listener);
        }
        slowest
    }

    /// Whether every node lists exactly those who are there.
    async fn listings(&mut self) {
        let names = self.crowd.names();
        for (node, listener) in self.hall.nodes.iter().zip(&self.listeners) {
            let listed = listener.everybody().await.occupants;
            let right = listed.iter().filter(|occupant| names.contains(occupant.client.as_str())).count();
            let wrong = listed.len() - right + (names.len() - right);
            self.verdicts.at_most(&format!("occupants missing or wrong in the list of {node}"), wrong as f64, 0.0);
        }
    }
}

/// How long after a time a node says for the first time how things are; [`PATIENCE`] if it does not.
async fn agreed_after(listener: &Listener, truth: &Truth, since: Instant) -> Duration {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    while since.elapsed() < PATIENCE {
        looks.tick().await;
        if listener.occupancy().await.is_some_and(|answer| truth.is_told_by(&answer)) {
            return since.elapsed();
        }
    }
    PATIENCE
}

/// What was promised and does not hold.
#[derive(Debug, Default)]
struct Verdicts {
    broken: Vec<String>,
}

impl Verdicts {
    fn memory(&mut self, what: &str, kib: u64) {
        self.at_most(&format!("MiB of {what}"), mib(kib), MEMORY_MIB_MAX);
    }

    fn at_most(&mut self, what: &str, value: f64, max: f64) {
        println!("  {value:.2} {what}; at most {max} are promised");
        if value > max {
            self.broken.push(format!("{value:.2} {what} are more than {max}"));
        }
    }

    /// A figure that is low because nothing was measured is none.
    fn at_least_one(&mut self, what: &str, count: usize) {
        if count == 0 {
            self.broken.push(format!("no {what}"));
        }
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

const STEADY_FOR: Duration = Duration::from_secs(40);
const STEADY_WITHIN: Duration = Duration::from_secs(180);
/// A twentieth of what is promised, and no more than the allocator takes at a time.
const GROWTH_KIB: u64 = 1_024;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);
/// Sessions beside the crowd: one in each region, and room for a few that end late.
const REGIONS_LISTENING: usize = 16;
const AGREED_WITHIN: Duration = Duration::from_secs(2);
const LINK_KIB_PER_SECOND_MAX: f64 = 100.0;
const MEMORY_MIB_MAX: f64 = 20.0;
const HEARD_PER_SECOND_MAX: f64 = 4.0;
