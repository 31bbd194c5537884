//! A mesh of two nodes, and a stream of messages between them that goes on beside whatever a story does.

use std::net::SocketAddr;
use std::time::Duration;

use farwire_client::{Client, Event, Subscription};
use farwire_tests::up::ProcessMesh;
use farwire_tests::wait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The mesh of a story.
pub(crate) struct Beside {
    pub(crate) mesh: ProcessMesh,
    stop: oneshot::Sender<()>,
    publishing: JoinHandle<()>,
    reading: JoinHandle<()>,
}

impl Beside {
    /// Starts the mesh, and the stream from fra-1 to a subscriber on iad-1.
    pub(crate) async fn start() -> Self {
        let mesh = ProcessMesh::start("--wan none --regions fra,iad");
        mesh.settled().await;
        let (publisher, subscriber) = (mesh.client("fra-1").await, mesh.client("iad-1").await);
        let subscription = subscriber.subscribe("live.beside").await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let publishing = tokio::spawn(publish(publisher, stopped));
        let reading = tokio::spawn(read(subscriber, subscription));
        Self { mesh, stop, publishing, reading }
    }

    /// Where the node of a region listens: on its port `client`, `peer` or `admin`. Not what other nodes dial: between
    /// them stands the WAN, which takes no strangers.
    pub(crate) fn address(&self, region: &str, port: &str) -> SocketAddr {
        let config = self.mesh.dir.path().join(format!("nodes/{region}-1/node.toml"));
        let config = std::fs::read_to_string(config).expect("up has written it");
        let (_, section) = config.split_once(&format!("[{port}]\nbind = \"")).expect("a port has an address");
        section.split('"').next().expect("a text ends").parse().expect("an address")
    }

    /// Shows that nobody else has noticed: every message of the stream has arrived, in order, in the sessions that it
    /// began with, and no node has died, panicked or logged an error.
    pub(crate) async fn assert_undisturbed(self) {
        self.stop.send(()).expect("the stream still runs");
        self.publishing.await.expect("every message was acked in one session");
        let read = wait::within_patience("the rest of the stream", self.reading).await;
        read.expect("every message arrived in one session");
        for node in self.mesh.nodes() {
            let log = self.mesh.dir.path().join("nodes").join(&node.name).join("log");
            let log = std::fs::read_to_string(log).expect("up keeps it");
            let bad = log.lines().find(|line| line.contains("panicked") || line.contains(" ERROR "));
            assert_eq!(bad, None, "the log of {node}");
        }
        self.mesh.settled().await;
        self.mesh.stop();
    }
}

async fn publish(client: Client, mut stopped: oneshot::Receiver<()>) {
    let session = client.session();
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = ticks.tick() => {}
        }
        client.publish("live.beside", "more").await.expect("acked");
    }
    client.publish("live.beside", END).await.expect("acked");
    assert_eq!(client.session(), session);
}

async fn read(client: Client, mut subscription: Subscription) {
    let session = client.session();
    for number in 1_u64.. {
        let event = subscription.next().await;
        let Some(Event::Message(message)) = event else { panic!("instead of message {number}: {event:?}") };
        assert_eq!(message.number, number, "a gap");
        if message.payload == END {
            break;
        }
    }
    assert_eq!(client.session(), session);
}

/// The last message of the stream.
const END: &str = "end";
const EVERY: Duration = Duration::from_millis(10);
