//! Which admin endpoint is asked, and asking it: one that was named, else those of the context's nodes, else the usual one of this machine.
//!
//! Any node knows the whole mesh, so the next one is asked when one does not answer. An answer that says no is final: the others would say the same.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farwire_client::{Context, ContextNode, NodeName, RegionName};
use hyper::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use crate::exit::{Exit, Failure};
use crate::http::{self, Answer, HttpError};
use crate::names;

/// The flags of every command that asks an admin endpoint.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Endpoint")]
pub(crate) struct Where {
    /// The admin endpoint of a node, instead of a context [env: FARWIRE_ADMIN] [default: those of the context; without
    /// one http://127.0.0.1:7480]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// The mesh to ask, as written by `farwire up` [env: FARWIRE_CONTEXT] [default: ./.farwire/mesh.json, then
    /// ~/.config/farwire/context.json]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
    /// Ask the nodes of this region first
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) region: Option<RegionName>,
    /// Ask this node first
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
}

impl Where {
    /// Finds out whom to ask. Blocking file access.
    ///
    /// # Errors
    /// Wrong use when flags contradict each other or name what the mesh does not have; failed when the context cannot be read.
    pub(crate) fn endpoints(&self) -> Result<Endpoints, Failure> {
        if let Some(admin) = self.admin.clone().or_else(|| environment("FARWIRE_ADMIN")) {
            return self.by_hand(&admin);
        }
        match self.context_path() {
            Some(path) => self.of_context(&load(&path)?, &path),
            None => self.of_this_machine(),
        }
    }

    /// The context, if there is one. Blocking file access.
    ///
    /// # Errors
    /// Failed when it cannot be read.
    pub(crate) fn context(&self) -> Result<Option<Context>, Failure> {
        self.context_path().map(|path| load(&path)).transpose()
    }

    /// Whether a flag or the environment says whom to ask.
    pub(crate) fn is_given(&self) -> bool {
        let by_flag = self.admin.is_some() || self.context.is_some() || self.region.is_some() || self.node.is_some();
        by_flag || environment("FARWIRE_ADMIN").is_some()
    }

    fn context_path(&self) -> Option<PathBuf> {
        let named = self.context.clone().or_else(|| environment("FARWIRE_CONTEXT").map(PathBuf::from));
        let home = environment("HOME").map(|home| PathBuf::from(home).join(".config/farwire/context.json"));
        let usual = [Some(PathBuf::from(".farwire/mesh.json")), home];
        named.or_else(|| usual.into_iter().flatten().find(|path| path.exists()))
    }

    fn by_hand(&self, admin: &str) -> Result<Endpoints, Failure> {
        let others = [
            (self.context.is_some(), "--context"),
            (self.region.is_some(), "--region"),
            (self.node.is_some(), "--node"),
        ];
        match others.iter().find(|(is_given, _)| *is_given) {
            None => Ok(Endpoints::one(admin)),
            Some((_, flag)) => Err(Failure::usage(format!(
                "--admin (or FARWIRE_ADMIN) names the one endpoint to ask: leave out {flag}, or unset it"
            ))),
        }
    }

    fn of_this_machine(&self) -> Result<Endpoints, Failure> {
        if self.region.is_some() || self.node.is_some() {
            return Err(Failure::usage(
                "--region and --node need a context that knows them: give --context FILE, or start a mesh with `farwire up`",
            ));
        }
        Ok(Endpoints::one(USUAL))
    }

    /// The preferred node, then its region or the preferred one, then the others as the file lists them.
    fn of_context(&self, context: &Context, path: &Path) -> Result<Endpoints, Failure> {
        self.check_known(context)?;
        let all = context.regions.iter().flat_map(|region| region.nodes.iter().map(move |node| (&region.name, node)));
        let mut all: Vec<(&RegionName, &ContextNode)> = all.collect();
        let home = all.iter().find(|(_, node)| self.node.as_ref() == Some(&node.name)).map(|(region, _)| *region);
        let region = home.or(self.region.as_ref());
        all.sort_by_key(|(of, node)| (self.node.as_ref() != Some(&node.name), region != Some(*of)));
        let endpoint =
            |(_, node): (_, &ContextNode)| Some(Endpoint::new(Some(node.name.clone()), node.admin.as_deref()?));
        let endpoints: Vec<_> = all.into_iter().filter_map(endpoint).collect();
        if endpoints.is_empty() {
            return Err(Failure::usage(format!(
                "{} names no admin endpoint: on a node's own host give --admin {USUAL}, elsewhere add \"admin\" to its nodes",
                path.display()
            )));
        }
        Ok(Endpoints(endpoints))
    }

    fn check_known(&self, context: &Context) -> Result<(), Failure> {
        let regions: Vec<_> = context.regions.iter().map(|region| &region.name).collect();
        let nodes: Vec<_> = context.regions.iter().flat_map(|region| &region.nodes).map(|node| &node.name).collect();
        names::check_known("region", self.region.as_ref(), &regions)?;
        names::check_known("node", self.node.as_ref(), &nodes)
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn load(path: &Path) -> Result<Context, Failure> {
    Context::load(path).map_err(|err| Failure::failed(format!("{err}; give another with --context")))
}

/// The endpoints to ask, the preferred first. Never empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoints(Vec<Endpoint>);

/// One node's admin endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Whose it is, where that is known.
    pub(crate) node: Option<NodeName>,
    /// Its URL, without a slash at the end.
    url: String,
}

impl Endpoints {
    /// The one at `url`.
    pub(crate) fn one(url: &str) -> Self {
        Self(vec![Endpoint::new(None, url)])
    }

    /// The first answer to `path`. Waits at most ten seconds in all. Cancel safe.
    ///
    /// # Errors
    /// Retryable with what was tried when nobody answers; what the answer says when it is no success.
    pub(crate) async fn ask(&self, path: &str) -> Result<Answer, Failure> {
        let deadline = Instant::now() + ALL_WITHIN;
        let mut tried = Vec::new();
        for endpoint in &self.0 {
            let patience = ONE_WITHIN.min(deadline.saturating_duration_since(Instant::now()));
            if patience.is_zero() {
                break;
            }
            match http::get(&endpoint.page(path), patience).await {
                Ok(answer) => return endpoint.check(answer),
                Err(err) => tried.push(endpoint.fault(&err)?),
            }
        }
        Err(nobody(&tried))
    }

    /// Deletes `path` through the first endpoint that can be reached; `exit_of` says what a refusal means. Not cancel safe: it may have been
    /// deleted.
    ///
    /// # Errors
    /// Retryable with what was tried when nobody answers; what the answer says when it is no success.
    pub(crate) async fn delete(&self, path: &str, exit_of: impl Fn(StatusCode) -> Exit) -> Result<Answer, Failure> {
        let mut tried = Vec::new();
        for endpoint in &self.0 {
            match http::delete(&endpoint.page(path), ONE_WITHIN).await {
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) => {
                    let said = said(&answer.body).unwrap_or_else(|| answer.status.to_string());
                    return Err(Failure::new(exit_of(answer.status), format!("{endpoint}: {said}")));
                }
                // Nothing was sent, or the same order again does no harm.
                Err(err) => tried.push(endpoint.fault(&err)?),
            }
        }
        Err(nobody(&tried))
    }

    /// Opens the stream at `path` of the first endpoint that answers, beginning with number `first` of them; with that one's number. Cancel safe.
    ///
    /// # Errors
    /// As [`Endpoints::ask`].
    pub(super) async fn open(&self, path: &str, first: usize) -> Result<(usize, http::Stream), Failure> {
        let mut tried = Vec::new();
        for index in (0..self.0.len()).map(|step| (first + step) % self.0.len()) {
            let endpoint = &self.0[index];
            match http::stream(&endpoint.page(path), ONE_WITHIN).await {
                Ok(stream) if stream.status.is_success() => return Ok((index, stream)),
                Ok(stream) => return Err(endpoint.refusal(stream.status, &[])),
                Err(err) => tried.push(endpoint.fault(&err)?),
            }
        }
        Err(nobody(&tried))
    }

    /// Number `index` of them.
    pub(super) fn at(&self, index: usize) -> &Endpoint {
        &self.0[index]
    }
}

impl Endpoint {
    fn new(node: Option<NodeName>, url: &str) -> Self {
        Self { node, url: url.trim_end_matches('/').to_owned() }
    }

    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn check(&self, answer: Answer) -> Result<Answer, Failure> {
        if answer.status.is_success() { Ok(answer) } else { Err(self.refusal(answer.status, &answer.body)) }
    }

    /// A line about what went wrong here; an address that was written wrongly by hand is wrong use, and not tried again.
    fn fault(&self, err: &HttpError) -> Result<String, Failure> {
        match err {
            HttpError::Address(_) if self.node.is_none() => {
                let url = self.url.escape_debug();
                Err(Failure::usage(format!("--admin or FARWIRE_ADMIN: \"{url}\" is not an address like {USUAL}")))
            }
            err => Ok(format!("{self}: {err}")),
        }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let said = said(body).map(|text| format!(": {text}")).unwrap_or_default();
        let exit = if status == StatusCode::BAD_REQUEST { Exit::Refused } else { Exit::Failed };
        let remedy = "see that it is the admin endpoint of a node of this program's version";
        Failure::new(exit, format!("{self} answers {}{said}; {remedy}", status.as_u16()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{node} at {}", self.url.escape_debug()),
            None => write!(f, "{}", self.url.escape_debug()),
        }
    }
}

/// What a refusal says, without its control characters.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        error: Said,
    }
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    let problem = serde_json::from_slice::<Problem>(body).ok()?;
    Some(problem.error.message.escape_debug().to_string())
}

fn nobody(tried: &[String]) -> Failure {
    let tried: String = tried.iter().map(|line| format!("{line}\n")).collect();
    let remedy =
        "see that a node runs there, name others with --admin URL or --context FILE, or start a mesh with `farwire up`";
    Failure::new(Exit::Retryable, format!("{tried}no admin endpoint answers, as listed above: {remedy}"))
}

/// Where a node has its admin endpoint unless its config says otherwise.
const USUAL: &str = "http://127.0.0.1:7480";
/// More than the two seconds in which a node gathers what the others say.
const ONE_WITHIN: Duration = Duration::from_secs(4);
const ALL_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;

    const CONTEXT: &str = r#"{"mesh":"m","ca":"/m/ca.pem","token":"/m/token","regions":{
        "iad":[{"name":"iad-1","client":"h:1","admin":"http://h:11"}],
        "fra":[{"name":"fra-1","client":"h:2","admin":"http://h:12/"},{"name":"fra-2","client":"h:3","admin":"http://h:13"}],
        "sin":[{"name":"sin-1","client":"h:4"}]}}"#;

    fn at(region: Option<&str>, node: Option<&str>) -> Where {
        Where {
            region: region.map(|name| RegionName::parse(name).expect(name)),
            node: node.map(|name| NodeName::parse(name).expect(name)),
            ..Where::default()
        }
    }

    fn of_context(at: &Where) -> Result<Vec<String>, Failure> {
        let context = serde_json::from_str(CONTEXT).expect("a context");
        let endpoints = at.of_context(&context, Path::new("c.json"))?;
        Ok(endpoints.0.into_iter().map(|endpoint| endpoint.url).collect())
    }

    fn endpoints(urls: &[&str]) -> Endpoints {
        Endpoints(urls.iter().map(|url| Endpoint::new(NodeName::parse("fra-1").ok(), url)).collect())
    }

    async fn serve() -> String {
        let problem = || async { (StatusCode::BAD_REQUEST, r#"{"error":{"message":"no \u001bgood"}}"#) };
        let router = Router::new().route("/good", get(|| async { "{}" })).route("/bad", get(problem));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    async fn unused() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        format!("http://{}", listener.local_addr().expect("bound"))
    }

    #[test]
    fn what_is_preferred_comes_first_and_the_others_as_they_are_listed() {
        let urls = |numbers: &[u8]| Ok(numbers.iter().map(|number| format!("http://h:{number}")).collect());
        assert_eq!(of_context(&at(None, None)), urls(&[11, 12, 13]));
        assert_eq!(of_context(&at(Some("fra"), None)), urls(&[12, 13, 11]));
        assert_eq!(of_context(&at(None, Some("fra-2"))), urls(&[13, 12, 11]), "then the node's own region");
        assert_eq!(of_context(&at(Some("sin"), None)), urls(&[11, 12, 13]), "its node has no endpoint");
    }

    #[test]
    fn unknown_regions_and_nodes_are_wrong_use_with_the_known_ones_listed() {
        let region = of_context(&at(Some("mars"), None)).expect_err("unknown");
        assert!(region.exit == Exit::Usage && region.message.ends_with("it has iad, fra, sin"), "{region}");
        let node = of_context(&at(None, Some("fra-9"))).expect_err("unknown");
        assert!(node.exit == Exit::Usage && node.message.ends_with("it has iad-1, fra-1, fra-2, sin-1"), "{node}");
        assert_eq!(at(Some("fra"), None).of_this_machine().expect_err("no context").exit, Exit::Usage);
    }

    #[test]
    fn a_context_without_endpoints_asks_nobody() {
        let bare = CONTEXT.replace("admin", "unknown");
        let context = serde_json::from_str(&bare).expect("a context");
        let refusal = at(None, None).of_context(&context, Path::new("c.json")).expect_err("nobody to ask");
        assert!(refusal.exit == Exit::Usage && refusal.message.starts_with("c.json names no admin"), "{refusal}");
    }

    #[test]
    fn an_endpoint_that_was_named_is_the_only_one() {
        let endpoints = at(None, None).by_hand("http://h:1/").expect("an endpoint");
        assert_eq!(endpoints, Endpoints(vec![Endpoint { node: None, url: "http://h:1".into() }]));
        let refusal = at(Some("fra"), None).by_hand("http://h:1").expect_err("a contradiction");
        assert!(refusal.exit == Exit::Usage && refusal.message.contains("--region"), "{refusal}");
    }

    #[tokio::test]
    async fn the_next_one_is_asked_when_one_does_not_answer() {
        let (dead, live) = (unused().await, serve().await);
        let answer = endpoints(&[&dead, &live]).ask("/good").await.expect("an answer");
        assert_eq!(&answer.body[..], b"{}");
        let failure = endpoints(&[&dead]).ask("/good").await.expect_err("nobody");
        assert!(failure.exit == Exit::Retryable && failure.message.contains(&format!("fra-1 at {dead}")), "{failure}");
        assert!(endpoints(&[&live, &dead]).open("/good", 1).await.is_ok_and(|(index, _)| index == 0));
    }

    #[tokio::test]
    async fn a_no_is_an_answer_and_told_without_its_control_characters() {
        let live = serve().await;
        let refusal = endpoints(&[&live]).ask("/bad").await.expect_err("a refusal");
        assert!(refusal.exit == Exit::Refused && refusal.message.contains(r"no \u{1b}good"), "{refusal}");
        assert_eq!(endpoints(&[&live]).ask("/none").await.expect_err("no such page").exit, Exit::Failed);
        let bad = at(None, None).by_hand("localhost").expect("checked when it is used");
        assert_eq!(bad.ask("/good").await.expect_err("no address").exit, Exit::Usage);
    }
}
