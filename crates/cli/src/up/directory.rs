//! The directory of `up` and what it puts there: certificates and mesh file, issuer and token, a config per node, `mesh.json`.
//!
//! Invariants: one `up` at a time has the directory, by a lock that ends with the process; nothing is deleted that an earlier
//! `up` did not make; whoever reads `mesh.json` or a secret sees a whole file. Blocking file access; called by `run` before
//! anything starts, and for `mesh.json` also by `control`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use farwire_auth::{Action, ActionSet, Claims, Grant, IssuerKey, TokenId};
use farwire_transport::certs::{self, InitRequest, IssueRequest, Layout, VALID_FOR_DEFAULT};
use farwire_transport::mesh_file::{MeshFile, SHARDS_DEFAULT};
use farwire_wire::names::{ClientId, RegionName};
use farwire_wire::pattern::Pattern;

use super::namespaces::Namespace;
use super::node_config;
use super::plan::Plan;
use crate::exit::Failure;
use crate::files::{Readers, write};

/// The directory of `up`, locked.
#[derive(Debug)]
pub(super) struct Directory {
    /// Absolute.
    pub(super) path: PathBuf,
    /// The lock is on the open file, so the kernel takes it off when the process ends in whatever way.
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be and locks it.
    ///
    /// # Errors
    /// Failed when another `up` runs there, when somebody else's files are there, or when the system refuses.
    pub(super) fn lock(dir: &Path) -> Result<Self, Failure> {
        make_dir(dir).map_err(|err| refused(dir, &err))?;
        let path = dir.canonicalize().map_err(|err| refused(dir, &err))?;
        if path.to_str().is_none() {
            return Err(Failure::failed(format!("--dir {}: not a text; choose a path that is UTF-8", path.display())));
        }
        let file = path.join("up.lock");
        if !file.exists()
            && let Some(foreign) = MADE.iter().map(|name| path.join(name)).find(|path| path.exists())
        {
            let foreign = foreign.display();
            return Err(Failure::failed(format!(
                "{foreign} was not made by `farwire up`; choose another --dir, or move it away"
            )));
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(|err| refused(&file, &err))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
                "a mesh is already up in {}; stop it with Ctrl-C where it runs, or choose another --dir",
                path.display()
            ))),
            Err(TryLockError::Error(err)) => Err(refused(&file, &err)),
        }
    }

    /// Deletes what an earlier run left: everything, or with `keep` only `mesh.json`, which speaks of its processes.
    ///
    /// # Errors
    /// Failed when the system refuses.
    pub(super) fn clear(&self, keep: bool) -> Result<(), Failure> {
        for name in MADE.iter().filter(|name| !keep || **name == MESH_JSON) {
            let path = self.path.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(refused(&path, &err)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes what is missing of certificates, mesh file, issuer and token.
///
/// # Errors
/// Failed when a kept mesh has other nodes than `plan`, or when the system refuses.
pub(super) fn make_credentials(plan: &Plan) -> Result<(), Failure> {
    // The directory holds private keys: it must not end up in a repository.
    write(&plan.dir.join(".gitignore"), "*", Readers::Everybody)?;
    let mesh = make_mesh(plan)?;
    let layout = Layout::new(&plan.dir);
    for node in plan.nodes.iter().filter(|node| !layout.node_client(&node.name).exists()) {
        let request = IssueRequest {
            dir: plan.dir.clone(),
            node: node.name.clone(),
            addresses: Vec::new(),
            valid_for: VALID_FOR_DEFAULT,
        };
        certs::issue(&request).map_err(|err| Failure::failed(err.to_string()))?;
    }
    make_token(plan, &mesh)
}

fn make_mesh(plan: &Plan) -> Result<MeshFile, Failure> {
    let failed = |err: &dyn std::fmt::Display| Failure::failed(err.to_string());
    let nodes_of =
        |region: &RegionName| plan.nodes_of(region).map(|index| plan.nodes[index].name.clone()).collect::<Vec<_>>();
    let file = Layout::new(&plan.dir).mesh_file();
    if !file.exists() {
        let regions = plan.regions.iter().map(|region| (region.clone(), nodes_of(region))).collect();
        let request = InitRequest { dir: plan.dir.clone(), mesh: plan.mesh.clone(), regions, shards: SHARDS_DEFAULT };
        return certs::init(request).map(|made| made.mesh).map_err(|err| failed(&err));
    }
    let mesh = MeshFile::load(&file).map_err(|err| failed(&err))?;
    let same =
        |region: &RegionName| mesh.regions.iter().any(|kept| kept.name == *region && kept.nodes == nodes_of(region));
    if mesh.regions.len() == plan.regions.len() && plan.regions.iter().all(same) {
        return Ok(mesh);
    }
    let kept: Vec<_> =
        mesh.regions.iter().map(|region| format!("{} with {} node(s)", region.name, region.nodes.len())).collect();
    Err(Failure::failed(format!(
        "the mesh kept in {} has other regions or nodes: {}; start it with these, or leave out --keep",
        plan.dir.display(),
        kept.join(", ")
    )))
}

fn make_token(plan: &Plan, mesh: &MeshFile) -> Result<(), Failure> {
    if plan.token().exists() {
        return Ok(());
    }
    let key = IssuerKey::generate().map_err(|err| Failure::failed(err.to_string()))?;
    let now_seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let actions = Action::ALL.into_iter().fold(ActionSet::from(Action::Publish), ActionSet::with);
    let claims = Claims {
        audience: mesh.id,
        client_id: ClientId::parse("up").expect("a sound name"),
        token_id: TokenId(rand::random()),
        issued_at_seconds: now_seconds,
        not_before_seconds: None,
        expires_at_seconds: now_seconds + TOKEN_VALID_FOR.as_secs(),
        grants: vec![Grant { pattern: Pattern::parse(">").expect("a sound pattern"), actions }],
    };
    let token = key.mint(&claims).map_err(|err| Failure::failed(err.to_string()))?;
    write(&plan.dir.join("issuer.key"), &key.to_paserk(), Readers::Owner)?;
    write(&plan.dir.join(ISSUER), &key.public().to_paserk(), Readers::Everybody)?;
    // Last: a directory that has the token has the issuer too.
    write(&plan.token(), token.as_str(), Readers::Owner)
}

/// Puts the nodes' configs in their places.
///
/// # Errors
/// Failed when the system refuses.
pub(super) fn write_configs(plan: &Plan, namespaces: &[Namespace]) -> Result<(), Failure> {
    for (index, node) in plan.nodes.iter().enumerate() {
        make_dir(&node.dir).map_err(|err| refused(&node.dir, &err))?;
        write(&node.config(), &node_config::text(plan, index, namespaces), Readers::Everybody)?;
    }
    Ok(())
}

/// Says where everything is, once it is there.
///
/// # Errors
/// Failed when the system refuses.
pub(super) fn write_mesh_json(plan: &Plan, pids: &[u32]) -> Result<(), Failure> {
    write(&plan.mesh_json_file(), &plan.mesh_json(pids), Readers::Everybody)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn refused(path: &Path, err: &io::Error) -> Failure {
    Failure::failed(format!("{}: {err}; check the owner and the free space, or choose another --dir", path.display()))
}

const MESH_JSON: &str = "mesh.json";
/// Beside the configs' mesh file.
pub(super) const ISSUER: &str = "issuer.pub";
/// What `up` makes and may delete.
const MADE: [&str; 10] = [
    MESH_JSON,
    "mesh.toml",
    "peer-ca.pem",
    "peer-ca.key",
    "client-ca.pem",
    "client-ca.key",
    "issuer.key",
    ISSUER,
    "token",
    "nodes",
];
/// Ten years, as long as the authorities of the mesh.
const TOKEN_VALID_FOR: Duration = Duration::from_hours(3650 * 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::plan::tests::plan;

    fn plan_in(dir: &Directory, regions: &str) -> Plan {
        let (mut plan, _) = plan(regions, 1);
        plan.dir.clone_from(&dir.path);
        for node in &mut plan.nodes {
            node.dir = dir.path.join("nodes").join(node.name.as_str());
        }
        plan
    }

    #[test]
    fn one_up_at_a_time_has_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Directory::lock(dir.path()).expect("free");
        let second = Directory::lock(dir.path()).expect_err("locked");
        assert!(second.message.contains("already up"), "{}", second.message);
        drop(first);
        Directory::lock(dir.path()).expect("free again");
    }

    #[test]
    fn what_somebody_else_made_is_not_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("nodes")).expect("made");
        let err = Directory::lock(dir.path()).expect_err("not ours");
        assert!(err.message.contains("not made by"), "{}", err.message);
        assert!(!dir.path().join("up.lock").exists());
    }

    #[test]
    fn a_kept_mesh_keeps_its_secrets_and_a_fresh_one_has_none_of_them() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = Directory::lock(temp.path()).expect("free");
        let plan = plan_in(&dir, "fra,iad");
        let read = || (fs::read(plan.token()).expect("a token"), fs::read(dir.path.join("mesh.toml")).expect("a mesh"));
        make_credentials(&plan).expect("made");
        write_mesh_json(&plan, &[1, 2]).expect("written");
        let first = read();
        dir.clear(true).expect("cleared");
        assert!(!plan.mesh_json_file().exists());
        make_credentials(&plan).expect("kept");
        assert_eq!(read(), first);

        let err = make_credentials(&plan_in(&dir, "fra,sin")).expect_err("another mesh");
        assert!(err.message.contains("iad with 1 node(s)"), "{}", err.message);

        dir.clear(false).expect("cleared");
        make_credentials(&plan).expect("made anew");
        let second = read();
        assert!(first.0 != second.0 && first.1 != second.1);
    }

    #[test]
    fn secrets_are_for_the_owner() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("a directory");
        let dir = Directory::lock(&temp.path().join("new")).expect("free");
        make_credentials(&plan_in(&dir, "fra")).expect("made");
        let mode = |name: &str| fs::metadata(dir.path.join(name)).expect("made").permissions().mode() & 0o777;
        assert_eq!([mode("token"), mode("issuer.key"), mode("issuer.pub"), mode(".")], [0o600, 0o600, 0o644, 0o700]);
    }
}
