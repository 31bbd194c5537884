//! A publisher as the SDK is one: numbers densely, has a few on their way, and after anything but an ack goes on from its
//! lowest number that is not acked, at another node.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use farwire_log::{Group, PublishError, Published};
use farwire_sim::logged::History;
use farwire_sim::logged::event::{self, Event, Hex, Level, Name};
use farwire_wire::log::Publish;
use farwire_wire::{ChannelName, Entry, PublisherId};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use tokio::time::sleep;

type Open = Arc<Mutex<BTreeMap<&'static str, Arc<Group>>>>;

/// A publisher that goes on until it is stopped.
pub(super) struct Publishing {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

struct Publisher {
    id: PublisherId,
    open: Open,
    history: History,
    rng: Arc<Mutex<StdRng>>,
    node: Option<String>,
}

impl Publishing {
    pub(super) fn start(number: u64, open: Open, history: History, rng: Arc<Mutex<StdRng>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut publisher = Publisher { id: PublisherId(number), open, history, rng, node: None };
            let channels =
                [format!("chat.{number}"), "chat.all".to_owned()].map(|name| ChannelName::parse(&name).unwrap());
            let mut next = [1, 1];
            while !stopped.load(SeqCst) {
                for (channel, next) in channels.iter().zip(&mut next) {
                    let count = publisher.rng.lock().unwrap().random_range(1..=6);
                    publisher.publish_all(channel, *next, count, &stopped).await;
                    *next += count;
                }
                let pause = publisher.rng.lock().unwrap().random_range(20..200);
                sleep(Duration::from_millis(pause)).await;
            }
        });
        Self { stop, task }
    }

    /// Lets it finish what it has begun.
    pub(super) async fn stop(self) {
        self.stop.store(true, SeqCst);
        self.task.await.unwrap();
    }
}

impl Publisher {
    /// Publishes so many from a number on, all at once, until all are acked.
    async fn publish_all(&mut self, channel: &ChannelName, first: u64, count: u64, stopped: &AtomicBool) {
        let (mut lowest, end) = (first, first + count);
        let mut tries_after_stop = 0;
        while lowest < end {
            let Some(group) = self.group() else {
                sleep(RETRY_AFTER).await;
                continue;
            };
            let publishes: Vec<_> = (lowest..end).map(|number| self.message(channel, number)).collect();
            for (publish, hash) in &publishes {
                self.note(Event::Invoked { publish: self.named(publish), hash: *hash, asked: Level::Region });
            }
            let answers = publishes.iter().map(|(publish, _)| group.publish(publish.clone()));
            let answers = futures_util::future::join_all(answers).await;
            for ((publish, _), answer) in publishes.iter().zip(answers) {
                let number = publish.entry().number;
                if self.take(publish, answer) && number == lowest {
                    lowest += 1;
                }
            }
            if lowest < end {
                tries_after_stop += u32::from(stopped.load(SeqCst));
                assert!(tries_after_stop < 1_000, "publisher {} cannot finish", self.id);
                sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Notes what became of a publish; whether it is in the log for certain.
    fn take(&mut self, publish: &Publish, answer: Result<Published, PublishError>) -> bool {
        let named = self.named(publish);
        match answer {
            Ok(published) => {
                self.acked(named, &published);
                return true;
            }
            Err(PublishError::NotOwner { hint }) => {
                self.node = hint.map(|node| node.to_string());
                self.note(Event::Refused { publish: named, why: "not owner".to_owned() });
            }
            Err(error @ (PublishError::NoQuorum | PublishError::Failed)) => {
                self.node = None;
                self.note(Event::Unknown { publish: named, why: error.to_string() });
            }
            Err(error) => self.note(Event::Refused { publish: named, why: error.to_string() }),
        }
        false
    }

    fn acked(&self, publish: event::Publish, published: &Published) {
        let place = event::Place { origin: Hex(published.place.origin.0), position: published.place.position.get() };
        // Of a duplicate only the place of the lane's newest message is known.
        let Some(offset) = published.offset else { return };
        self.note(Event::Acked(event::Ack {
            publish,
            place,
            offset: offset.get(),
            level: Level::Region,
            copies: u32::try_from(published.copies).unwrap(),
            regions: 1,
            synced: published.is_synced,
            duplicate: published.is_duplicate,
        }));
    }

    fn message(&self, channel: &ChannelName, number: u64) -> (Publish, Hex) {
        let payload = Bytes::from(format!("{}-{channel}-{number}", self.id));
        let hash = hash(&payload);
        let entry = Entry {
            channel: channel.clone(),
            payload,
            publisher: self.id,
            number,
            published_at_us: 0,
            session: 0,
            count: 0,
            datagram: false,
        };
        (Publish::new(entry.encode(), self.id.0).unwrap(), hash)
    }

    fn named(&self, publish: &Publish) -> event::Publish {
        let Entry { channel, number, .. } = publish.entry();
        event::Publish {
            publisher: Name::new(&self.id.to_string()),
            channel: Name::new(channel.as_str()),
            number: *number,
        }
    }

    /// The group at the node that the publisher is with, or at any that runs.
    fn group(&mut self) -> Option<Arc<Group>> {
        let open = self.open.lock().unwrap();
        if let Some(group) = self.node.as_deref().and_then(|node| open.get(node)) {
            return Some(group.clone());
        }
        let any = open.len().checked_sub(1).map(|last| self.rng.lock().unwrap().random_range(0..=last))?;
        let (node, group) = open.iter().nth(any)?;
        self.node = Some((*node).to_owned());
        Some(group.clone())
    }

    fn note(&self, event: Event) {
        self.history.note(event).unwrap();
    }
}

/// The same in every run.
pub(super) fn hash(payload: &[u8]) -> Hex {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    Hex(hasher.finish())
}

const RETRY_AFTER: Duration = Duration::from_millis(50);
