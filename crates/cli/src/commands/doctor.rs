//! `farwire doctor`: looks at this host, at the files of a node or client, at the UDP ports of the nodes and at the mesh, and says what is wrong, a
//! finding a line with a remedy. Changes nothing.
//!
//! What can be looked at depends on where it runs: on a node's host with its config, on a client's machine with a context. What is not there is left
//! out. Each part is in a file of its own; here is the order, the output and the exit code.

mod files;
mod finding;
mod host;
mod mesh;
mod reach;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use farwire_client::Context;
use farwire_node::config::{Config, Faults};
use farwire_transport::MeshFile;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::mesh::answers::{Links, Mesh, Slo};
use super::mesh::endpoints::{Endpoints, Where};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use finding::{Finding, Level};
use reach::Target;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config of the node of this host [default: /etc/farwire/node.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object a finding
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let usual = Some(PathBuf::from(CONFIG)).filter(|path| path.exists());
    let node = args.config.or(usual).map(|path| (load(&path), path));
    let config = node.as_ref().and_then(|(config, _)| config.as_ref().ok());
    let context = args.at.context()?;
    let mut report = Report { output: Output::new(), json: args.json, counts: [0; 3] };
    report.add(host::findings(config.map(|config| config.data_dir.as_path())))?;
    if let Some((config, path)) = &node {
        report.add(files::of_node(path, config))?;
    }
    if let Some(context) = &context {
        report.add(files::of_client(context))?;
    }
    let endpoints = endpoints(&args.at, config, context.is_some())?;
    let seen = match endpoints {
        Ok(endpoints) => report.keep(look(&endpoints).await)?,
        Err(finding) => report.keep(Err(vec![finding]))?,
    };
    if let Some(config) = config {
        report.add(peer_ports(config, seen.as_ref().map(|(mesh, ..)| mesh)).await)?;
    }
    report.add(client_ports(config, context.as_ref(), seen.as_ref().map(|(mesh, ..)| mesh)).await)?;
    if let Some((mesh, links, slo)) = &seen {
        let file = config.and_then(|config| MeshFile::load(&config.mesh).ok());
        report.add(mesh::findings(mesh, links, slo, file.as_ref()))?;
    }
    report.end()
}

fn load(path: &Path) -> Result<Config, Faults> {
    Config::load(path, |name| std::env::var(name).ok(), &[])
}

/// Whom to ask for the mesh: who is named, else this host's node by its config, else whom the context names, if it names anybody.
fn endpoints(at: &Where, config: Option<&Config>, has_context: bool) -> Result<Result<Endpoints, Finding>, Failure> {
    if let Some(config) = config.filter(|_| !at.is_given()) {
        return Ok(Ok(Endpoints::one(&format!("http://{}", config.admin.bind))));
    }
    match at.endpoints() {
        Ok(endpoints) => Ok(Ok(endpoints)),
        Err(failure) if has_context && !at.is_given() => {
            Ok(Err(Finding::warn("mesh", "not looked at: the context names no admin endpoint", failure.message)))
        }
        Err(failure) => Err(failure),
    }
}

type Seen = (Mesh, Links, Slo);

/// The mesh as a node sees it.
async fn look(endpoints: &Endpoints) -> Result<Seen, Vec<Finding>> {
    let seen = async {
        Ok::<Seen, Failure>((
            page(endpoints, "mesh").await?,
            page(endpoints, "links").await?,
            page(endpoints, "slo").await?,
        ))
    };
    seen.await.map_err(|failure| {
        let tried = failure.message.lines().next().unwrap_or_default().to_owned();
        vec![Finding::fail("mesh", tried, "start the node, or name a node's endpoint with --admin URL")]
    })
}

async fn page<T: DeserializeOwned>(endpoints: &Endpoints, name: &str) -> Result<T, Failure> {
    let answer = endpoints.ask(&format!("/v1/{name}")).await?;
    answer.json().map_err(|err| Failure::failed(err.to_string()))
}

/// Whether the peer ports of others can be reached. A node that has links with all has shown it better than a knock from another socket can.
async fn peer_ports(config: &Config, mesh: Option<&Mesh>) -> Vec<Finding> {
    match mesh.and_then(mesh::linked_with_all) {
        Some(others) => vec![Finding::ok("peer ports", format!("this node has links with all {others} others"))],
        None => reach::peer_ports(config).await,
    }
}

/// The client ports that the context or the mesh names. Only a client has the authority that vouches for them; a node's own serves to knock.
async fn client_ports(config: Option<&Config>, context: Option<&Context>, mesh: Option<&Mesh>) -> Vec<Finding> {
    let of_context = context.into_iter().flat_map(|context| &context.regions).flat_map(|region| &region.nodes);
    let of_context = of_context.map(|node| Target { node: node.name.to_string(), address: node.client.clone() });
    let alive = mesh
        .into_iter()
        .flat_map(|mesh| &mesh.members)
        .filter(|member| member.state == "alive" && !member.client.is_empty());
    let of_mesh = alive.map(|member| Target { node: member.name.clone(), address: member.client.clone() });
    let targets: Vec<Target> = of_context.chain(of_mesh).collect::<BTreeSet<_>>().into_iter().collect();
    match (context, config) {
        (Some(context), _) => reach::client_ports(&targets, &context.ca, true).await,
        (None, Some(config)) => reach::client_ports(&targets, &config.tls.peer_ca, false).await,
        (None, None) => Vec::new(),
    }
}

/// Findings on their way out, and how many there were of each level.
struct Report {
    output: Output,
    json: bool,
    counts: [usize; 3],
}

impl Report {
    fn add(&mut self, findings: Vec<Finding>) -> Result<(), Failure> {
        for finding in findings {
            self.counts[finding.level as usize] += 1;
            if self.json {
                self.output.json(&finding)?;
            } else {
                self.output.line(&finding.to_string())?;
            }
        }
        self.output.flush()
    }

    /// What was seen; findings in its place are added.
    fn keep<T>(&mut self, seen: Result<T, Vec<Finding>>) -> Result<Option<T>, Failure> {
        match seen {
            Ok(seen) => Ok(Some(seen)),
            Err(findings) => self.add(findings).map(|()| None),
        }
    }

    fn end(mut self) -> Result<(), Failure> {
        let [ok, warn, fail] = [Level::Ok, Level::Warn, Level::Fail].map(|level| self.counts[level as usize]);
        if self.json {
            self.output.json(&json!({"summary": {"ok": ok, "warn": warn, "fail": fail}}))?;
        } else {
            self.output.line(&format!("{ok} ok, {warn} to look at, {fail} wrong"))?;
        }
        self.output.flush()?;
        match fail {
            0 => Ok(()),
            _ => Err(Failure::new(
                Exit::Failed,
                format!("{fail} finding(s) of what is wrong, listed above with their remedies"),
            )),
        }
    }
}

const CONFIG: &str = "/etc/farwire/node.toml";

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Exit code 0 when nothing is wrong (there may be something to look at), 1 when something is.

Examples:
  farwire doctor                                     on a node's host, or where a context is
  farwire doctor --config node.toml --json | jq 'select(.level != \"ok\")'
  farwire doctor --context context.json              as a client sees it";
