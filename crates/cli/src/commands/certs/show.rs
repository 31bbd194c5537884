//! `farwire certs show`: the mesh, its authorities and certificates, and how long each of them lasts.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use farwire_transport::certs::{self, CertificateSummary, Layout};
use farwire_transport::mesh_file::MeshFile;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::Output;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    at: super::Dir,
    /// One JSON object a line: the mesh, then each certificate
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Show) -> Result<(), Failure> {
    let failed = |err: &dyn std::fmt::Display| Failure::failed(err.to_string());
    let mesh = MeshFile::load(&Layout::new(&args.at.dir).mesh_file()).map_err(|err| failed(&err))?;
    let certificates = certs::show(&args.at.dir).map_err(|err| failed(&err))?;
    let mut output = Output::new();
    if args.json {
        output.json(&mesh_json(&mesh))?;
        certificates.iter().try_for_each(|certificate| output.json(&certificate_json(certificate)))?;
    } else {
        output.bytes(mesh_text(&mesh).as_bytes())?;
        certificates.iter().try_for_each(|certificate| output.line(&certificate_text(certificate)))?;
    }
    output.flush()
}

fn mesh_json(mesh: &MeshFile) -> Value {
    let regions: BTreeMap<_, _> = mesh.regions.iter().map(|region| (region.name.as_str(), &region.nodes)).collect();
    json!({"mesh": mesh.name, "id": mesh.id, "shards": mesh.shards, "regions": regions})
}

fn certificate_json(certificate: &CertificateSummary) -> Value {
    json!({
        "path": certificate.path,
        "role": certificate.role.to_string(),
        "subject": certificate.subject,
        "names": certificate.names,
        "not_after": unix_micros(certificate.not_after),
        "days_left": certificate.days_left,
        "fingerprint": certificate.fingerprint,
    })
}

fn mesh_text(mesh: &MeshFile) -> String {
    let mut text = format!("mesh {}  id {}  {} shards\n", mesh.name, mesh.id, mesh.shards);
    for region in &mesh.regions {
        let nodes: Vec<_> = region.nodes.iter().map(AsRef::as_ref).collect();
        text += &format!("region {}  first nodes {}\n", region.name, nodes.join(", "));
    }
    text + "\n"
}

fn certificate_text(certificate: &CertificateSummary) -> String {
    let CertificateSummary { path, role, subject, names, days_left, .. } = certificate;
    let left = match days_left {
        ..0 => "EXPIRED: issue it again".to_owned(),
        0..=30 => format!("{days_left} days left: issue it again soon"),
        _ => format!("{days_left} days left"),
    };
    let names = if names.is_empty() { String::new() } else { format!("  {}", names.join(" ")) };
    format!("{:<16}  {left:<14}  {subject}{names}  {}", role.to_string(), path.display())
}

/// Microseconds since the epoch; 0 for what lies before it.
fn unix_micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
