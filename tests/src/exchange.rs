//! Whether the regions of a mesh exchange messages, and how soon after a moment they do again.
//!
//! In each region a client publishes on a few volatile channels every 50 ms, and hears what the clients of all regions publish.
//! A pair counts as exchanging only when every one of the sender's channels, which lie in different slots, has got through.
//! What was published before the moment does not count, however late it comes. Knows no faults: who makes them asks here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use farwire_client::{Client, ConnectOptions, Event, RegionName, Subscription};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Clients that publish and listen until they are dropped.
#[derive(Debug)]
pub struct Exchange {
    regions: Vec<RegionName>,
    voices: Vec<Voice>,
    ear: Arc<Ear>,
}

/// How long one region took to hear another, in this direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who published.
    pub from: RegionName,
    /// Who listened.
    pub to: RegionName,
    /// From the moment until a later message of each channel was there; `None`: not in time.
    pub after: Option<Duration>,
}

impl Exchange {
    /// Connects a client in each region and returns when all of them hear each other. `options` says how to connect to a region.
    ///
    /// # Panics
    /// When they do not hear each other within a minute.
    pub async fn start(regions: &[&str], options: impl Fn(&str) -> ConnectOptions) -> Self {
        let regions: Vec<_> = regions.iter().map(|name| RegionName::parse(name).expect("a region")).collect();
        let ear = Arc::new(Ear::new(regions.len()));
        let mut voices = Vec::new();
        for (index, region) in regions.iter().enumerate() {
            let client = Client::connect(options(region.as_str())).await.expect("connected");
            voices.push(Voice::new(client, index, &ear).await);
        }
        let exchange = Self { regions, voices, ear };
        let heard = exchange.heard_after(Duration::from_secs(60)).await;
        assert!(heard.iter().all(|pair| pair.after.is_some()), "not everybody hears everybody: {heard:?}");
        exchange
    }

    /// Makes the client's node want all messages, until what is returned is dropped.
    ///
    /// # Panics
    /// When the node refuses.
    pub async fn listen_at(&self, client: Client) -> Subscription {
        client.subscribe(PATTERN).await.expect("subscribed")
    }

    /// Publishes so many messages on every channel, as fast as they are taken: nodes keep the recent ones of each, up to a bound.
    ///
    /// # Panics
    /// When a message is refused for good.
    pub async fn fill(&self, messages: usize) {
        let mut filling = JoinSet::new();
        for (index, voice) in self.voices.iter().enumerate() {
            let client = voice.client.clone();
            filling.spawn(async move {
                for lane in (0..messages).flat_map(|_| 0..LANES) {
                    let ack = client.publish_pipelined(channel(index, lane), LONG_AGO).await;
                    drop(ack.expect("a client never ends by itself"));
                }
            });
        }
        while let Some(filled) = filling.join_next().await {
            filled.expect("no panic");
        }
    }

    /// Waits until every region has heard, from every other one, messages published from now on, but not longer than `patience`.
    pub async fn heard_after(&self, patience: Duration) -> Vec<Heard> {
        let mut missing = self.ear.listen_from_now();
        // Too late is an answer too: it is in what was heard.
        let _ = tokio::time::timeout(patience, missing.wait_for(|missing| *missing == 0)).await;
        let firsts = self.ear.firsts();
        let count = self.regions.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to))).filter(|(from, to)| from != to);
        let heard = |(from, to): (usize, usize)| {
            let lanes: Option<Vec<Duration>> = firsts.lanes(from, to).iter().copied().collect();
            let after = lanes.and_then(|lanes| lanes.into_iter().max());
            Heard { from: self.regions[from].clone(), to: self.regions[to].clone(), after }
        };
        pairs.map(heard).collect()
    }

    /// Puts a new client in the place of each that has gone to another region, and returns how many those were: who measures
    /// regions needs a client in each.
    ///
    /// # Panics
    /// When the new client cannot connect.
    pub async fn go_home(&mut self, options: impl Fn(&str) -> ConnectOptions) -> usize {
        let mut strayed = 0;
        for (index, region) in self.regions.iter().enumerate() {
            if self.voices[index].client.region() != *region {
                let client = Client::connect(options(region.as_str())).await.expect("connected");
                self.voices[index] = Voice::new(client, index, &self.ear).await;
                strayed += 1;
            }
        }
        strayed
    }
}

/// The client of one region.
#[derive(Debug)]
struct Voice {
    client: Client,
    _tasks: JoinSet<()>,
}

impl Voice {
    async fn new(client: Client, index: usize, ear: &Arc<Ear>) -> Self {
        let subscription = client.subscribe(PATTERN).await.expect("subscribed");
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(subscription, index, Arc::clone(ear)));
        tasks.spawn(speak(client.clone(), index, Arc::clone(ear)));
        Self { client, _tasks: tasks }
    }
}

async fn speak(client: Client, index: usize, ear: Arc<Ear>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for lane in 0..LANES {
            let now_us = ear.now().as_micros();
            let publish = client.publish_pipelined(channel(index, lane), now_us.to_string());
            // Without a session a message would wait, and its stamp be old; the next one is at hand.
            if let Ok(Err(err)) = tokio::time::timeout(EVERY, publish).await {
                panic!("the client in region {index} has ended: {err}");
            }
        }
    }
}

fn channel(region: usize, lane: usize) -> String {
    format!("{PREFIX}.{region}.{lane}")
}

async fn listen(mut subscription: Subscription, index: usize, ear: Arc<Ear>) {
    while let Some(event) = subscription.next().await {
        let Event::Message(message) = event else { continue };
        let mut segments = message.channel.as_str().rsplit('.').map(|segment| segment.parse().expect("a number"));
        let (lane, from) = (segments.next().expect("a lane"), segments.next().expect("a region"));
        let stamp = std::str::from_utf8(&message.payload).ok().and_then(|stamp| stamp.parse().ok());
        ear.hear(from, index, lane, Duration::from_micros(stamp.expect("a time")));
    }
    panic!("the subscription in region {index} has ended: {:?}", subscription.error());
}

/// Where all clients tell what they heard.
#[derive(Debug)]
struct Ear {
    begun: Instant,
    firsts: Mutex<Firsts>,
    missing: watch::Sender<usize>,
}

/// The first message of each lane after a moment.
#[derive(Debug, Clone)]
struct Firsts {
    regions: usize,
    moment: Duration,
    /// By sender, listener and lane: how long after the moment it was heard.
    after: Vec<Option<Duration>>,
}

impl Ear {
    fn new(regions: usize) -> Self {
        let firsts = Firsts { regions, moment: Duration::ZERO, after: vec![None; regions * regions * LANES] };
        Self { begun: Instant::now(), firsts: Mutex::new(firsts), missing: watch::Sender::new(usize::MAX) }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Firsts> {
        self.firsts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn firsts(&self) -> Firsts {
        self.lock().clone()
    }

    /// Forgets what was heard. The receiver says how many lanes have not been heard since.
    fn listen_from_now(&self) -> watch::Receiver<usize> {
        let mut firsts = self.lock();
        firsts.moment = self.now();
        firsts.after.fill(None);
        self.missing.send_replace(firsts.missing());
        self.missing.subscribe()
    }

    fn hear(&self, from: usize, to: usize, lane: usize, published: Duration) {
        let mut firsts = self.lock();
        if firsts.hear(from, to, lane, published, self.now()) {
            self.missing.send_replace(firsts.missing());
        }
    }
}

impl Firsts {
    /// Whether this is the first of its lane.
    fn hear(&mut self, from: usize, to: usize, lane: usize, published: Duration, now: Duration) -> bool {
        let at = self.lanes_at(from, to) + lane;
        let is_first = published >= self.moment && self.after[at].is_none();
        if is_first {
            self.after[at] = Some(now.saturating_sub(self.moment));
        }
        is_first
    }

    /// The lanes between regions that have not been heard.
    fn missing(&self) -> usize {
        let pairs = (0..self.regions).flat_map(|from| (0..self.regions).map(move |to| (from, to)));
        let missing = |(from, to)| self.lanes(from, to).iter().filter(|after| after.is_none()).count();
        pairs.filter(|(from, to)| from != to).map(missing).sum()
    }

    fn lanes(&self, from: usize, to: usize) -> &[Option<Duration>] {
        let at = self.lanes_at(from, to);
        &self.after[at..at + LANES]
    }

    fn lanes_at(&self, from: usize, to: usize) -> usize {
        (from * self.regions + to) * LANES
    }
}

const PREFIX: &str = "live.exchange";
const PATTERN: &str = "live.exchange.>";
/// A stamp that is before every moment, and as long as the others.
const LONG_AGO: &str = "00000000";
const EVERY: Duration = Duration::from_millis(50);
/// Channels of each region: enough that in a region of two nodes both own some of them.
const LANES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn only_messages_after_the_moment_count_and_the_first_of_them() {
        let mut firsts = Firsts { regions: 2, moment: ms(100), after: vec![None; 4 * LANES] };
        assert_eq!(firsts.missing(), 2 * LANES);
        assert!(!firsts.hear(0, 1, 0, ms(99), ms(500)), "published before");
        assert!(firsts.hear(0, 1, 0, ms(100), ms(130)) && !firsts.hear(0, 1, 0, ms(150), ms(180)));
        assert_eq!(firsts.lanes(0, 1)[0], Some(ms(30)));
        assert_eq!((firsts.missing(), firsts.lanes(1, 0)[0]), (2 * LANES - 1, None));
    }

    #[test]
    fn what_a_region_hears_of_itself_is_not_missed() {
        let mut firsts = Firsts { regions: 2, moment: ms(0), after: vec![None; 4 * LANES] };
        for lane in 0..LANES {
            firsts.hear(0, 1, lane, ms(1), ms(2));
            firsts.hear(1, 0, lane, ms(1), ms(2));
        }
        assert_eq!(firsts.missing(), 0);
    }
}
