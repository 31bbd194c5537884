//! The mesh file: what every node of a mesh must agree on before it starts. `farwire certs init` makes it once and every node gets a copy.
//!
//! It is not the node's config and not the list of members: it names the first nodes of each region, which may found the region's groups.
//! Invariants of a loaded file: node names are unique over all regions, every region has a node, a witness is a node of another region.
//! All faults of a file are reported at once. Called by the node at start and by `certs`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use farwire_wire::ids::MeshId;
use farwire_wire::names::{MeshName, NodeName, RegionName};
use serde::{Deserialize, Serialize};

use crate::certs::store;

/// Shards of a mesh whose file does not say otherwise.
pub const SHARDS_DEFAULT: u16 = 16;
/// Most shards of a mesh.
pub const SHARDS_MAX: u16 = 256;
/// Most nodes of a mesh.
pub const NODES_MAX: usize = 256;

/// One mesh: its name and id, how it shares out the channel space, and where its first nodes stand.
#[derive(Clone, PartialEq, Eq)]
pub struct MeshFile {
    /// The name of the mesh, part of every node's identity.
    pub name: MeshName,
    /// Drawn from the name and the peer authority: see [`mesh_id`].
    pub id: MeshId,
    /// Key of the hash that places channels. Secret from clients, so that none of them picks names that pile up on one node.
    pub hash_key: [u8; 16],
    /// Number of shards, 1 to [`SHARDS_MAX`].
    pub shards: u16,
    /// The regions with their first nodes.
    pub regions: Vec<RegionSpec>,
}

/// One region of the mesh file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionSpec {
    /// The name of the region.
    pub name: RegionName,
    /// Its first nodes, at least one.
    pub nodes: Vec<NodeName>,
    /// A node of another region that is the third voter of a region of two nodes.
    pub witness: Option<NodeName>,
}

/// Why a mesh file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MeshFileError {
    /// The file is missing or unreadable.
    #[error(
        "cannot read the mesh file {path}: {source}; {}",
        store::remedy(source, "copy the mesh file of the mesh there, or make a mesh with `farwire certs init`")
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    #[error("the mesh file {path} has {} fault(s); mend them and try again:\n  {}", faults.len(), faults.join("\n  "))]
    Faults {
        /// The file.
        path: PathBuf,
        /// Every fault: the place and what is right.
        faults: Vec<String>,
    },
    /// The file could not be written; what was there before is unchanged.
    #[error("cannot write the mesh file {path}: {source}; check the directory's owner and free space")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl MeshFile {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// `Read` if there is no such file, `Faults` with everything that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, MeshFileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| MeshFileError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|faults| MeshFileError::Faults { path: path.to_owned(), faults })
    }

    /// Writes the file to `path` in one step: a reader sees the old or the new file, never half of one. Only the owner may read it.
    ///
    /// # Errors
    /// `Faults` if the mesh cannot be, before anything is written; `Write` if the system refuses.
    pub fn save(&self, path: &Path) -> Result<(), MeshFileError> {
        self.check(path)?;
        let failed = |source| MeshFileError::Write { path: path.to_owned(), source };
        let body = toml::to_string(&FileForm::from(self)).map_err(|e| failed(std::io::Error::other(e)))?;
        store::replace(path, format!("{HEADER}{body}").as_bytes(), store::Access::Owner).map_err(failed)
    }

    /// Whether the mesh, made in memory, could be written to `path` and loaded again.
    ///
    /// # Errors
    /// `Faults` with everything that is wrong.
    pub fn check(&self, path: &Path) -> Result<(), MeshFileError> {
        let checked = FileForm::from(self).check();
        checked.map(drop).map_err(|faults| MeshFileError::Faults { path: path.to_owned(), faults })
    }

    /// The region that the file puts `node` in, if the file knows the node.
    #[must_use]
    pub fn region_of(&self, node: &NodeName) -> Option<&RegionName> {
        self.regions.iter().find(|region| region.nodes.contains(node)).map(|region| &region.name)
    }

    fn parse(text: &str) -> Result<Self, Vec<String>> {
        let form: FileForm = toml::from_str(text).map_err(|e| vec![syntax_fault(text, &e)])?;
        form.check()
    }
}

impl fmt::Debug for MeshFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshFile")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("shards", &self.shards)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

/// The id of the mesh `name` under the peer authority with this certificate: the first 8 bytes of SHA-256(name, 0, certificate).
///
/// Two meshes of one name but different authorities have different ids.
#[must_use]
pub fn mesh_id(name: &MeshName, peer_authority_der: &[u8]) -> MeshId {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(name.as_str().as_bytes());
    hash.update(&[0]);
    hash.update(peer_authority_der);
    let digest = hash.finish();
    MeshId(digest.as_ref().iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)))
}

/// The file as it is written: everything plain text, so that one pass finds all faults.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    name: String,
    id: String,
    hash_key: String,
    #[serde(default = "shards_default")]
    shards: i64,
    #[serde(default, rename = "region")]
    regions: Vec<RegionForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionForm {
    name: String,
    nodes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    witness: Option<String>,
}

impl From<&MeshFile> for FileForm {
    fn from(mesh: &MeshFile) -> Self {
        Self {
            name: mesh.name.to_string(),
            id: mesh.id.to_string(),
            hash_key: format!("{:032x}", u128::from_be_bytes(mesh.hash_key)),
            shards: mesh.shards.into(),
            regions: mesh.regions.iter().map(RegionForm::from).collect(),
        }
    }
}

impl From<&RegionSpec> for RegionForm {
    fn from(region: &RegionSpec) -> Self {
        Self {
            name: region.name.to_string(),
            nodes: region.nodes.iter().map(NodeName::to_string).collect(),
            witness: region.witness.as_ref().map(NodeName::to_string),
        }
    }
}

impl FileForm {
    fn check(self) -> Result<MeshFile, Vec<String>> {
        let mut faults = Faults(Vec::new());
        let name = faults.take("name", MeshName::parse(&self.name));
        let id = faults.take("id", parse_hex(&self.id, 16)).and_then(|id| u64::try_from(id).ok());
        let hash_key = faults.take("hash_key", parse_hex(&self.hash_key, 32));
        let shards = faults.take("shards", parse_shards(self.shards));
        let regions = self.regions.iter().filter_map(|region| region.check(&mut faults)).collect();
        self.check_unique(&mut faults);
        self.check_counts(&mut faults);
        self.check_witnesses(&mut faults);
        match (name, id, hash_key, shards) {
            (Some(name), Some(id), Some(key), Some(shards)) if faults.0.is_empty() => {
                Ok(MeshFile { name, id: MeshId(id), hash_key: key.to_be_bytes(), shards, regions })
            }
            _ => Err(faults.0),
        }
    }

    fn check_unique(&self, faults: &mut Faults) {
        let mut regions = BTreeSet::new();
        let mut nodes = BTreeSet::new();
        for region in &self.regions {
            if !regions.insert(&region.name) {
                faults.add(format!("region {:?} is there twice; give each region one entry", region.name));
            }
            for node in region.nodes.iter().filter(|node| !nodes.insert(*node)) {
                faults.add(format!("node {node:?} is there twice; a node name is unique in the mesh"));
            }
        }
    }

    fn check_counts(&self, faults: &mut Faults) {
        if self.regions.is_empty() {
            faults.add("no [[region]]; a mesh has at least one region".into());
        }
        for region in self.regions.iter().filter(|region| region.nodes.is_empty()) {
            faults.add(format!("region {:?} has no nodes; name its first node", region.name));
        }
        let nodes: usize = self.regions.iter().map(|region| region.nodes.len()).sum();
        if nodes > NODES_MAX {
            faults.add(format!("{nodes} nodes; a mesh has at most {NODES_MAX}"));
        }
    }

    fn check_witnesses(&self, faults: &mut Faults) {
        for region in &self.regions {
            let Some(witness) = &region.witness else { continue };
            if region.nodes.len() != 2 {
                faults.add(format!("region {:?} has a witness; only a region of two nodes takes one", region.name));
            }
            let elsewhere = self.regions.iter().filter(|other| other.name != region.name);
            if !elsewhere.flat_map(|other| &other.nodes).any(|node| node == witness) {
                faults.add(format!("the witness {witness:?} of region {:?} is no node of another region", region.name));
            }
        }
    }
}

impl RegionForm {
    fn check(&self, faults: &mut Faults) -> Option<RegionSpec> {
        let place = format!("region {:?}", self.name);
        let name = faults.take(&format!("{place}: name"), RegionName::parse(&self.name));
        let mut node = |text: &String| faults.take(&format!("{place}: node {text:?}"), NodeName::parse(text));
        let nodes = self.nodes.iter().filter_map(&mut node).collect();
        let witness = self.witness.as_ref().and_then(&mut node);
        Some(RegionSpec { name: name?, nodes, witness })
    }
}

struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    fn take<T, E: fmt::Display>(&mut self, place: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|e| self.add(format!("{place}: {e}"))).ok()
    }
}

fn parse_hex(text: &str, digits: usize) -> Result<u128, String> {
    let well_formed = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    let value = if well_formed { u128::from_str_radix(text, 16).ok() } else { None };
    value.ok_or_else(|| format!("must be {digits} hex digits, as `farwire certs init` wrote them"))
}

fn parse_shards(shards: i64) -> Result<u16, String> {
    let checked = u16::try_from(shards).ok().filter(|n| (1..=SHARDS_MAX).contains(n));
    checked.ok_or_else(|| format!("{shards} is not between 1 and {SHARDS_MAX}"))
}

/// The parser's own text quotes lines of the file; this says the line's number instead.
fn syntax_fault(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    format!("line {line}: {}", error.message().escape_debug())
}

fn shards_default() -> i64 {
    SHARDS_DEFAULT.into()
}

const HEADER: &str = "\
# The mesh file: every node of the mesh gets this file, unchanged.
# The hash key is a secret of the nodes. The number of shards is fixed for the life of the mesh.

";

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "demo"
        id = "00000000000000ff"
        hash_key = "000102030405060708090a0b0c0d0e0f"
        [[region]]
        name = "fra"
        nodes = ["fra-1", "fra-2"]
        witness = "iad-1"
        [[region]]
        name = "iad"
        nodes = ["iad-1"]
    "#;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    #[test]
    fn a_file_that_leaves_out_shards_has_sixteen() {
        let mesh = MeshFile::parse(GOOD).unwrap();
        assert_eq!((mesh.shards, mesh.id, mesh.hash_key[15]), (16, MeshId(255), 15));
        assert_eq!(mesh.region_of(&node("fra-2")).map(RegionName::as_str), Some("fra"));
        assert_eq!(mesh.region_of(&node("fra-3")), None);
    }

    #[test]
    fn what_is_saved_is_loaded_again_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.toml");
        let mesh = MeshFile::parse(GOOD).unwrap();
        mesh.save(&path).unwrap();
        mesh.save(&path).unwrap();
        assert_eq!(MeshFile::load(&path).unwrap(), mesh);
        assert_eq!(store::tests::mode_of(&path), 0o600);
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let text = r#"
            name = "Demo"
            id = "+f"
            hash_key = "00"
            shards = 257
            [[region]]
            name = "fra"
            nodes = ["fra-1", "fra-1", "fra 2"]
            witness = "fra-1"
            [[region]]
            name = "iad"
            nodes = []
        "#;
        let faults = MeshFile::parse(text).unwrap_err();
        assert_eq!(faults.len(), 9, "{faults:#?}");
    }

    #[test]
    fn unknown_keys_are_faults_with_their_line() {
        let faults = MeshFile::parse(&GOOD.replace("witness", "witnes")).unwrap_err();
        assert!(faults[0].starts_with("line 8: unknown field"), "{faults:?}");
    }

    #[test]
    fn the_error_names_the_file_and_the_remedy() {
        let missing = MeshFile::load(Path::new("no/mesh.toml")).unwrap_err().to_string();
        assert!(missing.contains("no/mesh.toml") && missing.contains("certs init"), "{missing}");
    }

    #[test]
    fn the_id_depends_on_the_name_and_on_the_authority() {
        let name = |text| MeshName::parse(text).unwrap();
        let id = mesh_id(&name("a"), b"x");
        assert_ne!(id, mesh_id(&name("b"), b"x"));
        assert_ne!(id, mesh_id(&name("a"), b"y"));
        // SHA-256 of the bytes 61 00 78, computed apart from this code.
        assert_eq!(id.to_string(), "8b86bced10290476");
    }

    #[test]
    fn the_hash_key_stays_out_of_logs() {
        let mesh = MeshFile::parse(GOOD).unwrap();
        assert!(!format!("{mesh:?}").contains("hash_key"));
    }
}
