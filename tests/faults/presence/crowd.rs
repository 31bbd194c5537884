//! The clients of a run: those who stay, those who die with a node, and one at each node that asks it who is there. Where the
//! clients hold a presence is the truth that the answers are held to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use farwire_client::{ChannelPresence, Client, ConnectOptions, NodeName, Presence, PresenceState};
use farwire_tests::up::ProcessMesh;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const CHANNELS: [&str; 4] = ["live.room.0", "live.room.1", "live.room.2", "live.room.3"];
const POLL_EVERY: Duration = Duration::from_millis(100);
/// Nodes agree when they go on to say the same for so long.
const STEADY: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Who is on each channel.
type Listed = BTreeMap<&'static str, BTreeSet<String>>;

/// Everybody, and the mesh that they are clients of.
pub(crate) struct Crowd {
    pub(crate) mesh: ProcessMesh,
    /// The node that is down on purpose.
    pub(crate) down: Option<String>,
    members: Vec<Member>,
    observers: BTreeMap<String, Client>,
}

struct Member {
    id: String,
    /// The node that it belongs to, and is at before each fault.
    home: String,
    client: Client,
    held: BTreeMap<&'static str, Presence>,
}

impl Crowd {
    /// Clients at every node, each on some of the channels.
    pub(crate) async fn gather(mesh: ProcessMesh, per_node: usize) -> Self {
        let mut members = Vec::new();
        for node in mesh.nodes() {
            for n in 0..per_node {
                let (id, home) = (format!("{}-c{n}", node.name), node.name.clone());
                let client = Client::connect(at_node(&mesh, &home, &id)).await.expect("connected");
                let mut member = Member { id, home, client, held: BTreeMap::new() };
                for channel in CHANNELS.into_iter().take(1 + n % CHANNELS.len()) {
                    member.enter(channel).await;
                }
                members.push(member);
            }
        }
        Self { mesh, down: None, members, observers: BTreeMap::new() }
    }

    /// Those who are not at their own node leave, and enter anew from there: else the nodes that are killed later would be empty.
    pub(crate) async fn go_home(&mut self) {
        for member in &mut self.members {
            if member.client.node().as_str() != member.home {
                member.go_home(&self.mesh).await;
            }
        }
    }

    /// Some clients enter a channel or leave it.
    pub(crate) async fn stir(&mut self, rng: &mut StdRng, count: usize) {
        for _ in 0..count {
            let member = rng.random_range(0..self.members.len());
            let channel = CHANNELS[rng.random_range(0..CHANNELS.len())];
            let member = &mut self.members[member];
            match member.held.remove(channel) {
                Some(presence) => presence.leave().await.expect("left"),
                None => member.enter(channel).await,
            }
        }
    }

    /// How long after `since` every node that is up has told exactly who is there, and goes on to tell it; `None` when that takes more
    /// than `patience`.
    pub(crate) async fn agreed_since(&mut self, since: Instant, patience: Duration) -> Option<Duration> {
        let truth = self.truth();
        self.agreed_on(&truth, since, patience).await
    }

    /// The same, with those who are about to die.
    pub(crate) async fn agreed_with(&mut self, doomed: &Doomed, patience: Duration) -> Option<Duration> {
        let mut truth = self.truth();
        truth.entry(CHANNELS[0]).or_default().extend(doomed.ids.iter().cloned());
        self.agreed_on(&truth, Instant::now(), patience).await
    }

    async fn agreed_on(&mut self, truth: &Listed, since: Instant, patience: Duration) -> Option<Duration> {
        let mut first = None;
        while first.is_some() || since.elapsed() < patience {
            let is_right = self.disagreements(truth).await.is_empty();
            let told_at = since.elapsed();
            first = if is_right { first.or(Some(told_at)) } else { None };
            if first.is_some_and(|first| told_at - first >= STEADY) {
                return first;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        for what in self.disagreements(truth).await {
            println!("    {what}");
        }
        None
    }

    /// What any node lists, and is not there.
    pub(crate) async fn ghosts(&mut self) -> Vec<String> {
        let truth = self.truth();
        self.disagreements(&truth).await
    }

    /// Waits until the nodes of `region` and all others say that they are out of each other's sight, as of `before_us` at the
    /// latest; how many seconds that took.
    pub(crate) async fn dark_after(&mut self, region: &str, before_us: u64, patience: Duration) -> Result<f64, String> {
        let begun = Instant::now();
        let mut why = String::new();
        while begun.elapsed() < patience {
            let answers = self.ask_all().await;
            let wrong = answers.iter().find_map(|(node, answers)| {
                let Some(answers) = answers else { return Some(format!("{node} does not answer")) };
                let is_inside = node.starts_with(region);
                let says = |part: &farwire_client::RegionPresence| {
                    let should_reach = (part.region.as_str() == region) == is_inside;
                    let is_dated = part.reachable || part.as_of_us.is_some_and(|as_of| as_of <= before_us);
                    part.reachable == should_reach && is_dated
                };
                let part = answers.iter().flat_map(|answer| &answer.regions).find(|part| !says(part))?;
                Some(format!("{node} says of {}: reachable {}, as of {:?}", part.region, part.reachable, part.as_of_us))
            });
            match wrong {
                None => return Ok(begun.elapsed().as_secs_f64()),
                Some(wrong) => why = wrong,
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        Err(why)
    }

    /// In what the answers differ from the truth.
    async fn disagreements(&mut self, truth: &Listed) -> Vec<String> {
        let answers = self.ask_all().await;
        let of_node = |(node, answers): &(String, Option<Vec<ChannelPresence>>)| match answers {
            None => vec![format!("{node} does not answer")],
            Some(answers) => answers.iter().filter_map(|answer| differs(node, answer, truth)).collect(),
        };
        answers.iter().flat_map(of_node).collect()
    }

    /// What each node that is up says of every channel.
    async fn ask_all(&mut self) -> Vec<(String, Option<Vec<ChannelPresence>>)> {
        let nodes = self.mesh.nodes().into_iter().filter(|node| self.down.as_ref() != Some(&node.name));
        let mut asking = JoinSet::new();
        for node in nodes {
            let name = node.name.clone();
            let observer = self.observers.remove(&name).filter(|client| client.node().as_str() == name);
            let options = at_node(&self.mesh, &name, "observer");
            asking.spawn(async move {
                let asked = async {
                    let client = match observer {
                        Some(client) => client,
                        None => Client::connect(options).await.ok()?,
                    };
                    let mut answers = Vec::new();
                    for channel in CHANNELS {
                        answers.push(client.presence(channel).await.ok()?);
                    }
                    (client.node().as_str() == name).then_some((client, answers))
                };
                (name.clone(), tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok().flatten())
            });
        }
        let mut all = Vec::new();
        for (name, asked) in asking.join_all().await {
            let answers = asked.map(|(client, answers)| {
                self.observers.insert(name.clone(), client);
                answers
            });
            all.push((name, answers));
        }
        all
    }

    fn truth(&self) -> Listed {
        let mut truth: Listed = CHANNELS.into_iter().map(|channel| (channel, BTreeSet::new())).collect();
        for member in &self.members {
            for channel in member.held.keys() {
                truth.entry(channel).or_default().insert(member.id.clone());
            }
        }
        truth
    }
}

impl Member {
    async fn enter(&mut self, channel: &'static str) {
        let presence = self.client.enter(channel, PresenceState::default()).await.expect("entered");
        self.held.insert(channel, presence);
    }

    async fn go_home(&mut self, mesh: &ProcessMesh) {
        let channels: Vec<_> = self.held.keys().copied().collect();
        for (_, presence) in std::mem::take(&mut self.held) {
            presence.leave().await.expect("left");
        }
        self.client = Client::connect(at_node(mesh, &self.home, &self.id)).await.expect("connected");
        for channel in channels {
            self.enter(channel).await;
        }
    }
}

/// What a client of one node needs.
fn at_node(mesh: &ProcessMesh, node: &str, id: &str) -> ConnectOptions {
    mesh.options_as(&mesh.node(node).region, id).node(NodeName::parse(node).expect("a node"))
}

fn differs(node: &str, answer: &ChannelPresence, truth: &Listed) -> Option<String> {
    let there = truth.get(answer.channel.as_str()).cloned().unwrap_or_default();
    let listed: BTreeSet<String> = answer.occupants.iter().map(|occupant| occupant.client.to_string()).collect();
    let counts = (answer.occupancy, answer.clients);
    let is_right = listed == there && counts == (there.len() as u64, there.len() as u64);
    (!is_right).then(|| {
        let ghosts: Vec<_> = listed.difference(&there).collect();
        let missing: Vec<_> = there.difference(&listed).collect();
        format!("{node} on {}: ghosts {ghosts:?}, missing {missing:?}, counts {counts:?}", answer.channel)
    })
}

/// Clients that die with their node: on threads of their own, so that nothing of them is ever heard again.
pub(crate) struct Doomed {
    runtime: Runtime,
    ids: Vec<String>,
}

impl Doomed {
    /// Two clients of a node that enter the first channel.
    pub(crate) async fn enter(crowd: &Crowd, node: &str, number: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads");
        let ids: Vec<String> = (0..2).map(|n| format!("doomed-{number}-{n}")).collect();
        for id in &ids {
            let options = at_node(&crowd.mesh, node, id);
            let held = runtime.spawn(async move {
                let client = Client::connect(options).await.expect("connected");
                let presence = client.enter(CHANNELS[0], PresenceState::default()).await.expect("entered");
                (client, presence)
            });
            let (client, presence) = held.await.expect("entered");
            runtime.spawn(async move {
                let _held = (client, presence);
                std::future::pending::<()>().await;
            });
        }
        Self { runtime, ids }
    }

    /// Nothing is said any more.
    pub(crate) fn die(self) {
        self.runtime.shutdown_background();
    }
}
