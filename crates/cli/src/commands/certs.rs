//! `farwire certs`: makes a mesh, issues the certificates of its nodes, shows what is there. The work is the transport crate's; here
//! it becomes a command, and the key that signs tokens is laid beside the authorities.

mod show;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use farwire_auth::IssuerKey;
use farwire_transport::certs::{self, InitRequest, InitSummary, IssueRequest, IssueSummary};
use farwire_transport::mesh_file::SHARDS_DEFAULT;
use farwire_wire::{MeshName, NodeName, RegionName};

use crate::exit::Failure;
use crate::files::{self, Readers};
use crate::output::Output;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a mesh: the mesh file, its two authorities, and the key that signs tokens
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Issue, or renew, the certificates of one node
    #[command(after_help = ISSUE_EXAMPLES)]
    Issue(Issue),
    /// Show the mesh and every certificate, with the days it has left
    Show(show::Show),
}

#[derive(Debug, clap::Args)]
struct Init {
    /// The name of the mesh
    #[arg(long, value_name = "NAME")]
    mesh: MeshName,
    /// A region and its first nodes; once for each region
    #[arg(long, value_name = "REGION=NODE[,NODE…]", required = true, value_parser = parse_region)]
    region: Vec<(RegionName, Vec<NodeName>)>,
    #[command(flatten)]
    at: Dir,
    /// Shares of the channel space, fixed for the life of the mesh
    #[arg(long, value_name = "N", default_value_t = SHARDS_DEFAULT)]
    shards: u16,
}

#[derive(Debug, clap::Args)]
struct Issue {
    /// The node, one of the mesh file or a new one
    node: NodeName,
    /// A host name or IP address that clients dial for the node, besides localhost; repeat it for each. Without it, a renewal keeps those
    /// of the old certificate
    #[arg(long, value_name = "HOST")]
    address: Vec<String>,
    #[command(flatten)]
    at: Dir,
}

/// The folder of a mesh, for every command that reads or makes its files.
#[derive(Debug, clap::Args)]
pub(super) struct Dir {
    /// The folder of the mesh file, the authorities and the certificates
    #[arg(long, value_name = "DIR", default_value = DIR)]
    pub(super) dir: PathBuf,
}

impl Dir {
    /// What to add to another command that is to use the same folder.
    fn flag(&self) -> String {
        if self.dir == Path::new(DIR) { String::new() } else { format!(" --dir {}", self.dir.display()) }
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Init(init) => run_init(init),
        Command::Issue(issue) => run_issue(issue),
        Command::Show(args) => show::run(&args),
    }
}

fn run_init(args: Init) -> Result<(), Failure> {
    let request = InitRequest { dir: args.at.dir.clone(), mesh: args.mesh, regions: args.region, shards: args.shards };
    let made = certs::init(request).map_err(|err| Failure::failed(err.to_string()))?;
    let issuer = make_issuer(&args.at.dir)?;
    print(&init_text(&args.at, &made, &issuer))
}

fn run_issue(args: Issue) -> Result<(), Failure> {
    let valid_for = certs::VALID_FOR_DEFAULT;
    let request = IssueRequest { dir: args.at.dir, node: args.node, addresses: args.address, valid_for };
    let issued = certs::issue(&request).map_err(|err| Failure::failed(err.to_string()))?;
    print(&issue_text(&request, &issued))
}

fn issue_text(request: &IssueRequest, issued: &IssueSummary) -> String {
    let node = &request.node;
    let place = match &issued.region {
        Some(region) => format!("region {region}"),
        None => "not one of the mesh file's first nodes: it joins them later".to_owned(),
    };
    let addresses = match (issued.addresses.join(", "), issued.carried_over) {
        (none, _) if none.is_empty() => "this machine only: give --address HOST for clients elsewhere".to_owned(),
        (given, false) => given,
        (old, true) => format!("{old}, taken over from the old certificate: give --address to change that"),
    };
    format!(
        "issued the certificates of {node} ({place}), valid for {} days\n  \
         {}\n  {}\n  {}\n  {}\n\
         clients reach it at: {addresses}\n\
         next: copy these, mesh.toml, peer-ca.pem and issuer.pub to the node and name them in its config; a node that runs takes new ones by itself\n",
        request.valid_for.as_secs() / (24 * 3600),
        issued.peer_certificate.display(),
        issued.peer_key.display(),
        issued.client_certificate.display(),
        issued.client_key.display(),
    )
}

/// A key that is there already is kept: tokens that it signed stay valid.
fn make_issuer(dir: &Path) -> Result<PathBuf, Failure> {
    let path = dir.join("issuer.key");
    let key = if path.exists() {
        files::issuer_key(&path)?
    } else {
        let key = IssuerKey::generate().map_err(|err| Failure::failed(err.to_string()))?;
        files::write(&path, &key.to_paserk(), Readers::Owner)?;
        key
    };
    files::write(&dir.join("issuer.pub"), &key.public().to_paserk(), Readers::Everybody)?;
    Ok(path)
}

fn init_text(at: &Dir, made: &InitSummary, issuer: &Path) -> String {
    let mesh = &made.mesh;
    let (shown, of_dir) = (at.dir.display(), at.flag());
    let (mesh_file, issuer) = (made.mesh_file.display(), issuer.display());
    let mut text = format!(
        "made the mesh {} in {shown}: id {}, {} shards\n  \
         {mesh_file}  what all nodes agree on, a secret of theirs: for every node\n  \
         {}  vouches for nodes towards nodes: for every node\n  \
         {}  vouches for nodes towards clients: for every client\n  \
         {shown}/issuer.pub  knows this mesh's tokens: for every node\n\
         keep off the nodes, and keep a copy where nobody else reads it: the .key files; {issuer} signs tokens\n\
         next:\n",
        mesh.name,
        mesh.id,
        mesh.shards,
        made.peer_authority.display(),
        made.client_authority.display(),
    );
    for node in mesh.regions.iter().flat_map(|region| &region.nodes) {
        text += &format!("  farwire certs issue {node} --address HOST{of_dir}\n");
    }
    text + &format!(
        "  farwire token mint --grant 'live.>:publish,subscribe' --client-id me --ttl 12h --out me.token{of_dir}\n"
    )
}

fn print(text: &str) -> Result<(), Failure> {
    let mut output = Output::new();
    output.bytes(text.as_bytes())?;
    output.flush()
}

fn parse_region(text: &str) -> Result<(RegionName, Vec<NodeName>), String> {
    let (region, nodes) = text.split_once('=').ok_or("write the region and its nodes as in fra=fra-1,fra-2")?;
    let region = RegionName::parse(region).map_err(|err| format!("the region: {err}"))?;
    let nodes: Result<_, _> = nodes.split(',').map(NodeName::parse).collect();
    Ok((region, nodes.map_err(|err| format!("a node: {err}"))?))
}

const DIR: &str = "certs";

/// Shown below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  farwire certs init --mesh prod --region fra=fra-1,fra-2,fra-3 --region iad=iad-1,iad-2,iad-3
  farwire certs issue fra-1 --address fra-1.example.com
  farwire certs show";

const INIT_EXAMPLES: &str = "\
Examples:
  farwire certs init --mesh prod --region fra=fra-1,fra-2,fra-3 --region iad=iad-1,iad-2,iad-3
  farwire certs init --mesh lab --region home=home-1 --dir lab-certs";

const ISSUE_EXAMPLES: &str = "\
Examples:
  farwire certs issue fra-1 --address fra-1.example.com --address 203.0.113.7
  farwire certs issue home-1 --dir lab-certs";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_region_is_a_name_and_its_nodes() {
        let (region, nodes) = parse_region("fra=fra-1,fra-2").expect("sound");
        assert_eq!((region.as_str(), nodes.len()), ("fra", 2));
        for bad in ["fra", "fra=", "=fra-1", "fra=fra-1,", "Fra=fra-1", "fra=a b"] {
            assert!(parse_region(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_mesh_has_an_issuer_whose_secret_only_its_owner_reads() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = make_issuer(dir.path()).expect("made");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let public = std::fs::read_to_string(dir.path().join("issuer.pub")).expect("there");
        make_issuer(dir.path()).expect("kept");
        assert_eq!(std::fs::read_to_string(dir.path().join("issuer.pub")).expect("there"), public);
        assert!(public.starts_with("k4.public."));
    }
}
