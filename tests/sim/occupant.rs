//! A client of the simulated mesh that is present on channels: the real SDK, told by the story or coming and going at
//! random, and writing down where it means to be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farwire_client::{Client, Presence, PresenceEvent, PresenceUpdate};
use farwire_sim::history::{Event, History};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::client::{Start, options, record_status};
use crate::files::files;

/// A client in use; dropping it ends it without a word.
pub(crate) struct Occupant {
    name: Arc<str>,
    history: History,
    client: Client,
    held: BTreeMap<String, Presence>,
    tasks: JoinSet<()>,
    seed: u64,
}

impl Occupant {
    /// Connects, and is nowhere yet.
    pub(crate) async fn start(start: Start, history: History) -> Self {
        let name: Arc<str> = start.host.name.as_str().into();
        let client = Client::connect(options(&start).token(files().token_of(&name))).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(record_status(client.clone(), name.clone(), history.clone()));
        Self { name, history, client, held: BTreeMap::new(), tasks, seed: start.seed }
    }

    /// Enters a channel and waits until its node has it.
    pub(crate) async fn enter(&mut self, channel: &str) {
        let held = enter(&self.client, &self.name, channel, &self.history).await;
        self.held.extend(held.map(|held| (channel.to_owned(), held)));
    }

    /// Leaves a channel and waits until its node has it.
    pub(crate) async fn leave(&mut self, channel: &str) {
        if let Some(presence) = self.held.remove(channel) {
            leave(presence, &self.name, &self.history).await;
        }
    }

    /// The node of its session, or of its last one.
    pub(crate) fn node(&self) -> String {
        self.client.node().to_string()
    }

    /// Writes down what it is told of a channel's presence from now on.
    pub(crate) async fn watch(&mut self, channel: &str) {
        let mut watch = self.client.watch_presence(channel).await.unwrap();
        let (name, history) = (self.name.clone(), self.history.clone());
        self.tasks.spawn(async move {
            while let Some(update) = watch.next().await {
                let event = match update {
                    PresenceUpdate::Event { event: PresenceEvent::Interval { .. }, .. } => continue,
                    PresenceUpdate::Event { event, .. } => format!("{event:?}"),
                    PresenceUpdate::Dropped { count } => format!("{count} dropped"),
                };
                history.note(Event::Told(name.clone(), event));
            }
        });
    }

    /// Comes and goes at random from now on, in the first seconds of each period of the run.
    pub(crate) fn come_and_go(&mut self, channels: &[String], period: Duration, active: Duration) {
        let (client, name, history) = (self.client.clone(), self.name.clone(), self.history.clone());
        let (mut rng, channels) = (StdRng::seed_from_u64(self.seed), channels.to_vec());
        self.tasks.spawn(async move {
            let mut held: BTreeMap<String, Presence> = BTreeMap::new();
            loop {
                tokio::time::sleep(Duration::from_millis(rng.random_range(300..3_000))).await;
                let in_period = Duration::from_nanos_u128(history.now().as_nanos() % period.as_nanos());
                if in_period > active {
                    tokio::time::sleep(period.saturating_sub(in_period)).await;
                    continue;
                }
                let channel = &channels[rng.random_range(0..channels.len())];
                match held.remove(channel) {
                    None => held.extend(enter(&client, &name, channel, &history).await.map(|p| (channel.clone(), p))),
                    Some(presence) if rng.random_bool(0.5) => {
                        let state = format!("{}", rng.random_range(0..1_000));
                        if let Err(error) = presence.update(state.parse().unwrap()).await {
                            history.note(Event::Ended(name.clone(), error.to_string()));
                        }
                        held.insert(channel.clone(), presence);
                    }
                    Some(presence) => leave(presence, &name, &history).await,
                }
            }
        });
    }

    /// Whether a task of the test's own has ended, which only a panic does.
    pub(crate) fn has_failed(&mut self) -> bool {
        matches!(self.tasks.try_join_next(), Some(Err(_)))
    }
}

async fn enter(client: &Client, name: &Arc<str>, channel: &str, history: &History) -> Option<Presence> {
    let present = || Event::Present(name.clone(), channel.into());
    history.note(present());
    match client.enter(channel, farwire_client::PresenceState::default()).await {
        Ok(presence) => {
            history.note(present());
            Some(presence)
        }
        Err(error) => {
            history.note(Event::Ended(name.clone(), error.to_string()));
            history.note(Event::Absent(name.clone(), channel.into()));
            None
        }
    }
}

async fn leave(presence: Presence, name: &Arc<str>, history: &History) {
    let absent = Event::Absent(name.clone(), presence.channel().as_str().into());
    history.note(absent.clone());
    if let Err(error) = presence.leave().await {
        history.note(Event::Ended(name.clone(), error.to_string()));
    }
    history.note(absent);
}
