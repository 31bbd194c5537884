//! The clients of a run: those who stay, those who die with a node, and one at each node that asks it who is there. Where the
//! clients hold a presence is the truth that the answers are held to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use farwire_client::{ChannelPresence, Client, NodeName, Presence, PresenceState};
use farwire_tests::up::ProcessMesh;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::REGIONS;

const CHANNELS: [&str; 4] = ["live.room.0", "live.room.1", "live.room.2", "live.room.3"];
const POLL_EVERY: Duration = Duration::from_millis(100);
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
    client: Client,
    held: BTreeMap<&'static str, Presence>,
}

impl Crowd {
    /// Clients in every region, each on some of the channels.
    pub(crate) async fn gather(mesh: ProcessMesh, per_region: usize) -> Self {
        let mut members = Vec::new();
        for region in REGIONS {
            for n in 0..per_region {
                let id = format!("{region}-c{n}");
                let client = Client::connect(mesh.options_as(region, &id)).await.expect("connected");
                let mut member = Member { id, client, held: BTreeMap::new() };
                for channel in CHANNELS.into_iter().take(1 + n % CHANNELS.len()) {
                    member.enter(channel).await;
                }
                members.push(member);
            }
        }
        Self { mesh, down: None, members, observers: BTreeMap::new() }
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

    /// How long after `since` every node that is up lists exactly who is there; `None` when that takes more than `patience`.
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
        while since.elapsed() < patience {
            let asked_at = since.elapsed();
            if self.disagreements(truth).await.is_empty() {
                return Some(asked_at);
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
            let (name, region) = (node.name.clone(), node.region.clone());
            let observer = self.observers.remove(&name).filter(|client| client.node().as_str() == name);
            let options = self.mesh.options_as(&region, "observer").node(NodeName::parse(&name).expect("a node"));
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
        let region = crowd.mesh.node(node).region;
        let ids: Vec<String> = (0..2).map(|n| format!("doomed-{number}-{n}")).collect();
        for id in &ids {
            let options = crowd.mesh.options_as(&region, id).node(NodeName::parse(node).expect("a node"));
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
