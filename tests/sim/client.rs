//! A client of the simulated mesh: the real SDK, publishing to a channel of its own, subscribed to everybody's, and
//! writing down all that it sees.

use std::sync::Arc;
use std::time::Duration;

use farwire_client::{Client, ConnectOptions, EntryPoint, Event as Yielded, PublishError, Status, Subscription};
use farwire_sim::faults::Host;
use farwire_sim::history::{Event, History, MessageId};
use farwire_transport::Socket;
use farwire_wire::{NodeName, PublisherId, RegionName};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::files::{CLIENT_PORT, files, node_hosts};

/// What a client wants to hear.
#[derive(Debug, Clone)]
pub(crate) enum Wants {
    /// Whatever is live.
    Everything,
    /// These clients' channels, one by one.
    Those(Vec<String>),
}

/// A client in use; dropping it ends it without a word.
pub(crate) struct SimClient {
    tasks: JoinSet<()>,
    client: Client,
    reads: watch::Sender<bool>,
}

/// What a client publishes to its channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publishes {
    /// Pause between two messages.
    pub(crate) every: Duration,
    /// Size of their payloads, at least.
    pub(crate) bytes: usize,
}

/// What makes a client.
pub(crate) struct Start {
    pub(crate) host: Host,
    pub(crate) wants: Wants,
    /// What it publishes, if it does not only listen.
    pub(crate) publishes: Option<Publishes>,
    pub(crate) socket: Socket,
    pub(crate) seed: u64,
}

impl SimClient {
    /// Connects and subscribes; publishes and records from then on.
    pub(crate) async fn start(start: Start, history: History) -> Self {
        let name: Arc<str> = start.host.name.as_str().into();
        let client = Client::connect(options(&start)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(record_status(client.clone(), name.clone(), history.clone()));
        let subscription = client.subscribe_all(patterns(&start.wants)).await.unwrap();
        history.note(Event::Subscribed(name.clone()));
        let reads = watch::Sender::new(true);
        tasks.spawn(record_deliveries(subscription, name.clone(), history.clone(), reads.subscribe()));
        if let Some(publishes) = start.publishes {
            tasks.spawn(publish(client.clone(), name, history, publishes));
        }
        Self { tasks, client, reads }
    }

    /// Has the application read its subscription, or leave it lie.
    pub(crate) fn set_reads(&self, reads: bool) {
        self.reads.send_replace(reads);
    }

    /// The node of its session, or of its last one.
    pub(crate) fn node(&self) -> String {
        self.client.node().to_string()
    }

    /// Whether a task of the test's own has ended, which only a panic does.
    pub(crate) fn has_failed(&mut self) -> bool {
        matches!(self.tasks.try_join_next(), Some(Err(_)))
    }
}

/// The channel of a client.
pub(crate) fn channel(client: &str) -> String {
    format!("live.{client}")
}

fn patterns(wants: &Wants) -> Vec<String> {
    match wants {
        Wants::Everything => vec!["live.>".to_owned()],
        Wants::Those(clients) => clients.iter().map(|client| channel(client)).collect(),
    }
}

pub(crate) fn options(start: &Start) -> ConnectOptions {
    let entry = |host: Host| EntryPoint {
        address: format!("{}:{CLIENT_PORT}", host.address),
        node: NodeName::parse(&host.name).ok(),
        region: RegionName::parse(&host.region).ok(),
    };
    ConnectOptions::new(node_hosts().into_iter().map(entry))
        .ca_file(files().client_ca())
        .token(files().token())
        .region(RegionName::parse(&start.host.region).unwrap())
        .publisher(PublisherId(start.seed))
        .socket(start.socket.clone())
        .seed(start.seed)
}

pub(crate) async fn record_status(client: Client, name: Arc<str>, history: History) {
    let mut changes = client.status();
    while let Some(status) = changes.next().await {
        history.note(match status {
            Status::Connected { node, .. } | Status::Resumed { node, .. } => Event::Up(name.clone(), node.to_string()),
            Status::Reconnecting { reason, .. } => Event::Down(name.clone(), reason.to_string()),
            Status::Closed { error } => Event::Ended(name.clone(), format!("{error:?}")),
        });
    }
}

async fn record_deliveries(
    mut subscription: Subscription,
    name: Arc<str>,
    history: History,
    mut reads: watch::Receiver<bool>,
) {
    loop {
        drop(reads.wait_for(|reads| *reads).await);
        let Some(event) = subscription.next().await else { break };
        history.note(match event {
            Yielded::Message(message) => match MessageId::of_payload(&message.payload) {
                Some(id) if message.channel.as_str() == channel(&id.publisher) => Event::Received(name.clone(), id),
                _ => Event::Foreign(name.clone(), format!("{message:?}")),
            },
            Yielded::Dropped { count } => Event::Dropped(name.clone(), count),
        });
    }
    history.note(Event::Ended(name, format!("{:?}", subscription.error())));
}

async fn publish(client: Client, name: Arc<str>, history: History, Publishes { every, bytes }: Publishes) {
    let mut acks = JoinSet::new();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for count in 1.. {
        ticks.tick().await;
        let id = MessageId { publisher: name.clone(), count };
        history.note(Event::Sent(id.clone()));
        match client.publish_pipelined(channel(&name), id.payload(bytes)).await {
            Ok(pending) => {
                let history = history.clone();
                acks.spawn(async move { record_outcome(&history, id, pending.await.err()) });
            }
            Err(error) => record_outcome(&history, id, Some(error)),
        }
        while acks.try_join_next().is_some() {}
    }
}

fn record_outcome(history: &History, id: MessageId, error: Option<PublishError>) {
    history.note(match error {
        None => Event::Acked(id),
        Some(error) => Event::Failed(id, error.to_string()),
    });
}
