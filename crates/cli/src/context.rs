//! Where a client command connects: a context file, or servers given by hand, and which node to prefer.
//!
//! A context file is what `farwire up` writes as `mesh.json`, and what an operator hands out for a mesh in production. It is looked through before
//! anything is dialled: that makes a misspelt region a wrong use instead of a silent detour, and a mesh that has ended no riddle.

use std::path::{Path, PathBuf};

use farwire_client::{Client, ConnectOptions, Context, EntryPoint, NodeName, RegionName};
use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::names;

/// The flags of every command that is a client.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// The mesh to connect to, as written by `farwire up` [env: FARWIRE_CONTEXT] [default: ./.farwire/mesh.json, then
    /// ~/.config/farwire/context.json]
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    pub(crate) context: Option<PathBuf>,
    /// Nodes to connect to without a context [env: FARWIRE_SERVER]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) server: Vec<String>,
    /// The authority that vouches for the nodes, in PEM form [env: FARWIRE_CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The token that says who you are and what you may do [env: FARWIRE_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
    /// Prefer the nodes of this region
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<RegionName>,
    /// Prefer this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
}

impl Connect {
    /// Connects. `adjust` has the last word on the options.
    ///
    /// # Errors
    /// Wrong use without any mesh, or with a region or node that the mesh does not have; retryable when the `farwire up`
    /// that wrote the context has ended; and what the SDK's connect says.
    pub(crate) async fn client(
        &self,
        adjust: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Result<Client, Failure> {
        let source = self.source(|name| std::env::var_os(name).map(PathBuf::from), Path::exists)?;
        let is_mesh_told = matches!(source, Source::Context(_));
        let client = Client::connect(adjust(self.options(source)?)).await?;
        if !is_mesh_told && let Err(refusal) = self.check_told(&client.entry_points()) {
            client.close().await;
            return Err(refusal);
        }
        Ok(client)
    }

    /// # Errors
    /// Wrong use with a region or node that the context does not know; retryable when the `farwire up` that wrote the
    /// context has ended.
    fn options(&self, source: Source) -> Result<ConnectOptions, Failure> {
        let mut options = match source {
            Source::Context(path) => self.options_in(&path)?,
            Source::Servers { servers, ca, token } => ConnectOptions::new(servers).ca_file(ca).token_file(token),
        };
        if let Some(region) = &self.region {
            options = options.region(region.clone());
        }
        if let Some(node) = &self.node {
            options = options.node(node.clone());
        }
        Ok(options.agent(concat!("farwire/", env!("CARGO_PKG_VERSION"))))
    }

    fn options_in(&self, path: &Path) -> Result<ConnectOptions, Failure> {
        let context =
            Context::load(path).map_err(|err| Failure::failed(format!("{err}; give another with --context")))?;
        check_alive(path, up_of(path))?;
        self.check_known(&context)?;
        let mut options = ConnectOptions::from(&context);
        if let Some(ca) = &self.ca {
            options = options.ca_file(ca);
        }
        if let Some(token) = &self.token {
            options = options.token_file(token);
        }
        Ok(options)
    }

    /// What was said on purpose comes before what lies around: flags, then the environment, then the usual files.
    fn source(
        &self,
        environment: impl Fn(&str) -> Option<PathBuf>,
        exists: impl Fn(&Path) -> bool,
    ) -> Result<Source, Failure> {
        let environment = |name| environment(name).filter(|value| !value.as_os_str().is_empty());
        if let Some(path) = &self.context {
            return Ok(Source::Context(path.clone()));
        }
        let by_hand = |servers: Vec<String>| -> Result<Source, Failure> {
            let ca = self.ca.clone().or_else(|| environment("FARWIRE_CA"));
            let token = self.token.clone().or_else(|| environment("FARWIRE_TOKEN"));
            match (ca, token) {
                (Some(ca), Some(token)) => Ok(Source::Servers { servers, ca, token }),
                (None, _) => Err(Failure::usage("--server needs --ca FILE too: the mesh's client-ca.pem")),
                (_, None) => Err(Failure::usage("--server needs --token FILE too: make one with `farwire token mint`")),
            }
        };
        if !self.server.is_empty() {
            return by_hand(self.server.clone());
        }
        if let Some(path) = environment("FARWIRE_CONTEXT") {
            return Ok(Source::Context(path));
        }
        if let Some(servers) = environment("FARWIRE_SERVER") {
            return by_hand(servers.to_string_lossy().split(',').map(str::to_owned).collect());
        }
        let home = environment("HOME").map(|home| home.join(".config/farwire/context.json"));
        let usual = [Some(PathBuf::from(".farwire/mesh.json")), home];
        usual.into_iter().flatten().find(|path| exists(path)).map(Source::Context).ok_or_else(|| {
            Failure::usage(
                "no mesh to connect to: start one with `farwire up`, or give --context FILE, or --server HOST:PORT",
            )
        })
    }

    fn check_known(&self, context: &Context) -> Result<(), Failure> {
        self.check_told(&context.entry_points().collect::<Vec<_>>())
    }

    /// Checks what is preferred against what the mesh, or its description, tells.
    fn check_told(&self, told: &[EntryPoint]) -> Result<(), Failure> {
        let mut regions: Vec<&RegionName> = told.iter().filter_map(|entry| entry.region.as_ref()).collect();
        regions.dedup();
        let nodes: Vec<&NodeName> = told.iter().filter_map(|entry| entry.node.as_ref()).collect();
        names::check_known("region", self.region.as_ref(), &regions)?;
        names::check_known("node", self.node.as_ref(), &nodes)
    }
}

/// Where the mesh is described.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Context(PathBuf),
    Servers { servers: Vec<String>, ca: PathBuf, token: PathBuf },
}

/// The `farwire up` that keeps the mesh of a context alive, if one does.
fn up_of(path: &Path) -> Option<i32> {
    #[derive(Deserialize)]
    struct Up {
        pid: Option<i32>,
    }
    let text = std::fs::read(path).ok()?;
    serde_json::from_slice::<Up>(&text).ok()?.pid
}

fn check_alive(path: &Path, up: Option<i32>) -> Result<(), Failure> {
    match up {
        Some(pid) if !is_alive(pid) => Err(Failure::new(
            Exit::Retryable,
            format!(
                "{} is left from a `farwire up` that has ended (process {pid}): start the mesh again with `farwire up`",
                path.display()
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether a process with this id is there, whoever owns it.
fn is_alive(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESH: &str = r#"{"mesh":"m","ca":"/m/ca.pem","token":"client.token","unknown":1,
        "regions":{"iad":[{"name":"iad-1","client":"127.0.0.1:2"}],"fra":[{"name":"fra-1","client":"127.0.0.1:1"}]}}"#;

    fn source(connect: &Connect, environment: &[(&str, &str)], files: &[&str]) -> Result<Source, Failure> {
        let find = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value));
        connect.source(find, |path| files.iter().any(|file| Path::new(file) == path))
    }

    fn context(path: &str) -> Result<Source, Failure> {
        Ok(Source::Context(path.into()))
    }

    fn refusal(connect: &Connect) -> Failure {
        connect.check_known(&serde_json::from_str(MESH).expect("a context")).expect_err("unknown")
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_usual_files() {
        let files = [".farwire/mesh.json", "/home/a/.config/farwire/context.json"];
        let environment = [("FARWIRE_CONTEXT", "env.json"), ("HOME", "/home/a"), ("FARWIRE_SERVER", "h:1,h:2")];
        let flag = Connect { context: Some("flag.json".into()), ..Connect::default() };
        let nothing = Connect::default();
        assert_eq!(source(&flag, &environment, &files), context("flag.json"));
        assert_eq!(source(&nothing, &environment, &files), context("env.json"));
        assert_eq!(source(&nothing, &environment[1..2], &files), context(files[0]));
        assert_eq!(source(&nothing, &environment[1..2], &files[1..]), context(files[1]));
        assert_eq!(source(&nothing, &[("FARWIRE_CONTEXT", "")], &files), context(files[0]), "empty is unset");
        assert_eq!(source(&nothing, &[], &[]).expect_err("there is no mesh").exit, Exit::Usage);
    }

    #[test]
    fn servers_by_hand_need_an_authority_and_a_token() {
        let server = Connect { server: vec!["a:1".into(), "b:2".into()], ..Connect::default() };
        let environment = [("FARWIRE_CONTEXT", "env.json"), ("FARWIRE_CA", "ca.pem"), ("FARWIRE_TOKEN", "t")];
        let servers = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let want = Source::Servers { servers: servers(&["a:1", "b:2"]), ca: "ca.pem".into(), token: "t".into() };
        assert_eq!(source(&server, &environment, &[]), Ok(want));
        let refusal = source(&server, &environment[..2], &[]).expect_err("no token");
        assert!(refusal.exit == Exit::Usage && refusal.message.contains("--token"), "{refusal}");
        let from_environment =
            source(&Connect::default(), &[("FARWIRE_SERVER", "a:1"), environment[1], environment[2]], &[]);
        let want = Source::Servers { servers: servers(&["a:1"]), ca: "ca.pem".into(), token: "t".into() };
        assert_eq!(from_environment, Ok(want));
    }

    #[test]
    fn unknown_regions_and_nodes_are_wrong_use_with_the_known_ones_listed() {
        let region = refusal(&Connect { region: RegionName::parse("mars").ok(), ..Connect::default() });
        assert!(region.exit == Exit::Usage && region.message.ends_with("it has iad, fra"), "{region}");
        let node = refusal(&Connect { node: NodeName::parse("fra-9").ok(), ..Connect::default() });
        assert!(node.exit == Exit::Usage && node.message.ends_with("it has iad-1, fra-1"), "{node}");
        let known = Connect { region: RegionName::parse("fra").ok(), ..Connect::default() };
        assert_eq!(known.check_known(&serde_json::from_str(MESH).expect("a context")), Ok(()));
    }

    #[test]
    fn a_context_of_a_process_that_is_gone_names_the_remedy() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("mesh.json");
        std::fs::write(&path, MESH).expect("written");
        assert_eq!(up_of(&path), None, "production contexts have no process");
        assert_eq!(check_alive(&path, None), Ok(()));
        std::fs::write(&path, MESH.replacen('{', &format!("{{\"pid\":{},", std::process::id()), 1)).expect("written");
        assert_eq!(check_alive(&path, up_of(&path)), Ok(()));
        let refusal = check_alive(&path, Some(i32::MAX)).expect_err("no process has the largest id");
        assert!(refusal.exit == Exit::Retryable && refusal.message.contains("farwire up"), "{refusal}");
    }
}
