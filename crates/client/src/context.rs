//! The context: one JSON file that says where a mesh is, whom to trust and which token to show. `farwire up` writes it
//! as `mesh.json`; a production context has the same form. Fields that are not needed here are passed over.

use std::fmt;
use std::path::{Path, PathBuf};

use farwire_wire::{NodeName, RegionName};
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::entry_points::EntryPoint;
use crate::error::OptionsError;

/// Names the context file when no flag does.
const CONTEXT_VARIABLE: &str = "FARWIRE_CONTEXT";

/// A mesh as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Context {
    /// The mesh's name.
    #[serde(default)]
    pub mesh: String,
    /// The file with the authority that vouches for nodes towards clients.
    pub ca: PathBuf,
    /// The file with the token.
    pub token: PathBuf,
    /// The regions, in the order of the file.
    #[serde(deserialize_with = "in_order_of_the_file")]
    pub regions: Vec<ContextRegion>,
}

/// A region of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRegion {
    /// Its name.
    pub name: RegionName,
    /// Its nodes.
    pub nodes: Vec<ContextNode>,
}

/// A node of a context.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct ContextNode {
    /// Its name.
    pub name: NodeName,
    /// `host:port` of its client port.
    pub client: String,
    /// URL of its admin port, where it is known.
    #[serde(default)]
    pub admin: Option<String>,
}

impl Context {
    /// Reads a context file. Relative paths in it are taken from its own directory. Blocking file access.
    ///
    /// # Errors
    /// The file cannot be read or is not a context.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, OptionsError> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|source| OptionsError::Read { path: path.to_owned(), source })?;
        let mut context: Self =
            serde_json::from_slice(&text).map_err(|source| OptionsError::Context { path: path.to_owned(), source })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        context.ca = directory.join(&context.ca);
        context.token = directory.join(&context.token);
        Ok(context)
    }

    /// Where the context is when nothing names it: the file in `FARWIRE_CONTEXT`, else `./.farwire/mesh.json`, else
    /// `~/.config/farwire/context.json`; `None` when there is no such file.
    #[must_use]
    pub fn default_path() -> Option<PathBuf> {
        if let Some(path) = std::env::var_os(CONTEXT_VARIABLE) {
            return Some(path.into());
        }
        let local = PathBuf::from(".farwire/mesh.json");
        let home = std::env::home_dir().map(|home| home.join(".config/farwire/context.json"));
        [Some(local), home].into_iter().flatten().find(|path| path.is_file())
    }

    /// Every node's client port, in the order of the file.
    pub fn entry_points(&self) -> impl Iterator<Item = EntryPoint> {
        let of_region = |region: &ContextRegion| {
            let name = region.name.clone();
            region.nodes.clone().into_iter().map(move |node| EntryPoint {
                address: node.client,
                node: Some(node.name),
                region: Some(name.clone()),
            })
        };
        self.regions.iter().flat_map(of_region)
    }
}

/// Reads a JSON object as a list: "the first listed" would be lost in a map.
fn in_order_of_the_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ContextRegion>, D::Error> {
    struct Regions;

    impl<'de> Visitor<'de> for Regions {
        type Value = Vec<ContextRegion>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of nodes per region")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut regions = Vec::new();
            while let Some((name, nodes)) = map.next_entry()? {
                regions.push(ContextRegion { name, nodes });
            }
            Ok(regions)
        }
    }

    deserializer.deserialize_map(Regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESH_JSON: &str = r#"{"mesh":"demo","ca":"client-ca.pem","token":"/abs/token","pid":1,
        "regions":{"sin":[{"name":"sin-1","client":"127.0.0.1:7403","peer":"127.0.0.1:7443","admin":"http://127.0.0.1:7483","pid":2,"dir":"/abs"}],
                   "fra":[{"name":"fra-1","client":"127.0.0.1:7401"}]},
        "wan_one_way_ms":{"fra-sin":80},"control":"http://127.0.0.1:7499"}"#;

    fn loaded(text: &str) -> (tempfile::TempDir, Result<Context, OptionsError>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mesh.json");
        std::fs::write(&path, text).unwrap();
        let context = Context::load(path);
        (directory, context)
    }

    #[test]
    fn what_farwire_up_writes_is_read_in_its_order() {
        let (directory, context) = loaded(MESH_JSON);
        let context = context.unwrap();
        assert_eq!(context.ca, directory.path().join("client-ca.pem"));
        assert_eq!(context.token, Path::new("/abs/token"));
        let entries: Vec<_> = context.entry_points().map(|entry| (entry.address, entry.region.unwrap())).collect();
        let region = |name| RegionName::parse(name).unwrap();
        assert_eq!(entries, [("127.0.0.1:7403".into(), region("sin")), ("127.0.0.1:7401".into(), region("fra"))]);
    }

    #[test]
    fn a_file_that_is_not_a_context_is_named() {
        let (_directory, context) = loaded(r#"{"ca":"a"}"#);
        let text = context.unwrap_err().to_string();
        assert!(text.contains("mesh.json") && text.contains("missing field"), "{text}");
    }
}
