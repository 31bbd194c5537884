//! `farwire up`: a whole mesh on this machine, its nodes as processes of their own, with a WAN between its regions.
//!
//! This page is the life of the command: make the files, start the nodes and the WAN, say where everything is, stop everything.
//! Invariant: whatever ends this function (a signal, a failure, a panic, SIGKILL) ends every process it started.
//!
//! | part | does |
//! |---|---|
//! | `plan`, `ports`, `delays`, `namespaces`, `node_config` | what the mesh will be, without touching anything |
//! | `directory` | the files |
//! | `processes`, `parent`, `ready` | the nodes |
//! | `wan`, `relay` | the WAN: its rules, its sockets |
//! | `control`, `view`, `demo` | what changes the running mesh, shows it, and gives it something to do |

mod control;
mod delays;
mod demo;
mod directory;
mod namespaces;
mod node_config;
pub(crate) mod parent;
mod plan;
mod ports;
mod processes;
mod ready;
mod relay;
mod view;
mod wan;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Subcommand;
use farwire_wire::names::RegionName;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::Failure;
use control::Mesh;
use delays::WanChoice;
use demo::Demo;
use directory::Directory;
use namespaces::Namespace;
use plan::{Names, Plan};
use ports::Ports;
use processes::Nodes;
use relay::Relay;
use view::View;
use wan::Wan;

/// The flags of `farwire up`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The regions, for example fra,iad,sin
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "fra,iad,sin")]
    regions: Vec<RegionName>,
    /// Nodes in each region
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes_per_region: u16,
    /// Delays between the regions: real, none, or a file (below)
    #[arg(long, value_name = "real|none|FILE.toml", default_value = "real")]
    wan: WanChoice,
    /// Where certificates, token, configs, logs, data and mesh.json go
    #[arg(long, value_name = "DIR", default_value = ".farwire")]
    dir: PathBuf,
    /// What to publish under demo. for something to see [default: fleet on a terminal, else none]
    #[arg(long, value_enum)]
    demo: Option<Demo>,
    /// Settings of all channels with a prefix, for example chat:retention_age=1h,retention_count=100; may be repeated
    #[arg(long, value_name = "PREFIX:KEY=VALUE,…")]
    namespace: Vec<Namespace>,
    /// Go on with the data, certificates and token of the last time
    #[arg(long)]
    keep: bool,
    /// Take the ports after this one [default: wherever there are free ones]
    #[arg(long, value_name = "N")]
    port_base: Option<u16>,
    /// Print mesh.json as the first line, for programs, and no view
    #[arg(long)]
    json: bool,
    /// Change a mesh that runs
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cut links, kill nodes, heal
    #[command(after_help = control::EXAMPLES)]
    Ctl(control::Args),
}

/// Runs a mesh until Ctrl-C, SIGTERM or SIGHUP, or changes one that runs.
///
/// Not cancel safe: dropped, it kills its nodes without letting them finish.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Some(Command::Ctl(ctl)) => control::ctl(ctl).await,
        None => up(args).await,
    }
}

async fn up(args: Args) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let names = Names::of(&args.regions, args.nodes_per_region)?;
    let directory = Directory::lock(&args.dir)?;
    directory.clear(args.keep)?;
    let ports = Ports::reserve(names.nodes.len().try_into().unwrap_or(u16::MAX), args.port_base)?;
    let plan = Plan::new(&directory.path, &names, &ports, &args.wan)?;
    directory::make_credentials(&plan)?;
    directory::write_configs(&plan, &namespaces::with_defaults(&args.namespace))?;

    let wan = Arc::new(Mutex::new(Wan::new(plan.nodes.len(), rand::random(), |direction| {
        delays::of(&plan.delays, &plan.nodes[direction.from].region, &plan.nodes[direction.to].region)
    })));
    let binds = plan.nodes.iter().map(|node| node.ports.peer_bind).collect();
    let _relay = Relay::start(Arc::clone(&wan), ports.fronts, binds).map_err(|err| cannot("start the WAN", &err))?;
    let program = std::env::current_exe().map_err(|err| cannot("find this program", &err))?;
    let (notices, mut heard) = mpsc::channel(NOTICES_MAX);
    let nodes = Nodes::new(&plan, program, notices.clone()).map_err(|err| cannot("start nodes", &err))?;
    let mesh = Arc::new(Mesh { plan, nodes, wan, notices, processes: tokio::sync::Mutex::default() });

    let ended = tokio::select! {
        biased;
        () = signals.received() => Ok(()),
        ended = live(&mesh, ports.control, &args, &mut heard) => ended,
    };
    // A restart on behalf of `ctl` is over, or finds that nothing starts any more, before the last processes are counted.
    let _no_more_changes = mesh.processes.lock().await;
    mesh.nodes.stop_all(signals.received()).await;
    let _ = std::fs::remove_file(mesh.plan.mesh_json_file());
    ended
}

/// From the first process until something fails.
async fn live(
    mesh: &Arc<Mesh>,
    control: std::net::TcpListener,
    args: &Args,
    notices: &mut mpsc::Receiver<String>,
) -> Result<(), Failure> {
    let begin = Instant::now();
    for index in 0..mesh.plan.nodes.len() {
        mesh.nodes.start(index).await?;
    }
    ready::all(&mesh.plan, &mesh.nodes).await?;
    directory::write_mesh_json(&mesh.plan, &mesh.nodes.pids())?;
    announce(mesh, args.json, begin.elapsed());
    let view = (!args.json && io::stdout().is_terminal()).then(|| View::new(mesh));
    let demo = args.demo.unwrap_or(if view.is_some() { Demo::Fleet } else { Demo::None });
    tokio::select! {
        served = control::serve(Arc::clone(mesh), control) => match served {
            Ok(()) => Ok(()),
            Err(err) => Err(cannot("listen for `farwire up ctl`", &err)),
        },
        () = demo::run(demo, mesh) => Ok(()),
        () = show(mesh, view, notices) => Ok(()),
    }
}

/// Shows the view, if there is one, and what happens to the nodes. Never returns.
async fn show(mesh: &Mesh, mut view: Option<View>, notices: &mut mpsc::Receiver<String>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(notice) = notices.recv() => {
                if let Some(view) = &mut view {
                    view.erase();
                }
                // A stderr that is gone does not end the mesh.
                let _ = writeln!(io::stderr(), "farwire: {notice}");
            }
            _ = seconds.tick() => {
                if let Some(view) = &mut view {
                    view.refresh(mesh).await;
                }
            }
        }
    }
}

/// Says where everything is. A stdout that is gone does not end the mesh.
fn announce(mesh: &Mesh, json: bool, took: Duration) {
    let text = if json { mesh.plan.mesh_json(&mesh.nodes.pids()) } else { greeting(&mesh.plan, took) };
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

fn greeting(plan: &Plan, took: Duration) -> String {
    let nodes = plan.nodes.iter().map(|node| {
        format!("  {:<16} clients {:<16} admin {}", node.name.as_str(), node.ports.client.to_string(), node.admin("/"))
    });
    let delays: Vec<String> = plan.delays.iter().map(|(pair, millis)| format!("{pair} {millis} ms")).collect();
    let usual = plan.dir.ends_with(".farwire") && plan.dir.parent() == std::env::current_dir().ok().as_deref();
    let context = if usual { String::new() } else { format!(" --context {}", plan.mesh_json_file().display()) };
    let region = plan.regions.last().map(RegionName::as_str).unwrap_or_default();
    let mut lines = vec![format!("{} nodes are up:", plan.nodes.len())];
    lines.extend(nodes);
    if !delays.is_empty() {
        lines.push(format!("one way between the regions: {}", delays.join(", ")));
    }
    lines.push(format!("logs: {}/nodes/*/log", plan.dir.display()));
    lines.push("in other terminals:".to_owned());
    lines.push(format!("  farwire sub 'live.>' --region {region}{context}"));
    lines.push(format!("  farwire pub live.hello 'Hello'{context}"));
    lines.push(format!("ready after {:.1} s; Ctrl-C stops", took.as_secs_f64()));
    lines.join("\n")
}

fn cannot(what: &str, err: &io::Error) -> Failure {
    Failure::failed(format!("cannot {what}: {err}"))
}

/// What asks the command to end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|err| cannot("wait for signals", &err));
        Ok(Self([on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?]))
    }

    /// Cancel safe.
    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

const NOTICES_MAX: usize = 64;

const EXAMPLES: &str = "\
Examples:
  farwire up                                         three regions with the delays of a real WAN
  farwire up --nodes-per-region 3 --wan none         nine nodes without delays
  farwire up --namespace 'chat:retention_age=1h' --namespace 'sensors:log=false'
  farwire up --json --dir /tmp/mesh                  for programs
  farwire up ctl cut fra sin                         see `farwire up ctl --help`

The file of --wan, milliseconds one way; each pair once, in any order, any other key is a fault:
  unknown_ms = 40                                    pairs that are not listed; 40 unless given
  [one_way_ms]
  fra-iad = 44
  fra-sin = 80";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        Cli::try_parse_from(std::iter::once("up").chain(words)).map(|cli| cli.args)
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let args = parse("").expect("all have defaults");
        let regions: Vec<&str> = args.regions.iter().map(AsRef::as_ref).collect();
        assert_eq!((regions, args.nodes_per_region, args.wan), (vec!["fra", "iad", "sin"], 1, WanChoice::Real));
        assert_eq!((args.dir.to_str(), args.keep, args.json, args.port_base), (Some(".farwire"), false, false, None));
    }

    #[test]
    fn ctl_has_its_own_flags() {
        let args = parse("ctl --context m.json cut fra sin --one-way").expect("sound");
        assert!(matches!(args.command, Some(Command::Ctl(_))));
        assert!(parse("ctl cut fra sin --context m.json").is_ok(), "the context may stand last");
        assert!(parse("--json ctl heal").is_err());
        assert!(parse("--regions Fra").is_err());
        assert!(parse("--namespace live").is_err());
        assert!(parse("--nodes-per-region 0").is_err());
    }

    #[test]
    fn the_greeting_shows_the_context_unless_it_is_found_anyway() {
        let (plan, _ports) = plan::tests::plan("fra,iad", 1);
        let text = greeting(&plan, Duration::from_millis(1_234));
        assert!(text.contains("--region iad --context /mesh/mesh.json"), "{text}");
        assert!(text.contains("fra-iad 44 ms") && text.ends_with("ready after 1.2 s; Ctrl-C stops"), "{text}");
    }
}
