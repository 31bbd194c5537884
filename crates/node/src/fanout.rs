//! Local delivery: which subscriptions want a message, and waking their sessions. Subscriptions with equal filters
//! share one feed, so a message is matched once a node and not once a session; a feed holds references into the
//! shards' tails, and a subscription is a cursor over its feed. There is no queue per subscriber.
//!
//! Locks, always taken in this order and never across an await: shard, index, feed, session.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use farwire_core::patterns::PatternMap;
use farwire_core::recent::Recent;
use farwire_wire::{ChannelName, Filter, Pattern, Shard};
use tokio::sync::Notify;

use crate::rates::Rates;
use crate::sync::lock;
use crate::sync::watch;
use crate::tail::{Stored, Tail};

/// Most messages that a feed refers to: who is further behind has dropped some.
const FEED_MESSAGES_MAX: usize = 16_384;

/// What is kept of one shard, under one lock, so that its messages have one order on this node.
#[derive(Debug)]
pub(crate) struct ShardState {
    /// The recent messages.
    pub(crate) tail: Tail,
    /// Which messages were seen.
    pub(crate) recent: Recent,
    /// How busy the channels are that this node owns.
    pub(crate) rates: Rates,
}

/// All shards and all local subscriptions.
#[derive(Debug)]
pub(crate) struct Fanout {
    shards: Box<[Mutex<ShardState>]>,
    index: RwLock<Index>,
    /// Counts changes of the set of wanted patterns.
    wishes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Index {
    map: PatternMap<u32>,
    feeds: Vec<Option<Arc<Feed>>>,
    free: Vec<u32>,
    by_filter: HashMap<Filter, u32>,
}

/// The messages that one filter wants.
#[derive(Debug)]
struct Feed {
    state: Mutex<FeedState>,
}

#[derive(Debug, Default)]
struct FeedState {
    messages: VecDeque<Place>,
    /// Feed position of the oldest of them.
    first: u64,
    readers: Vec<Arc<Reader>>,
}

/// Where a message is: its shard and its index in the shard's tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    shard: u16,
    index: u64,
}

/// One subscription's end of a feed.
#[derive(Debug)]
struct Reader {
    subscription: u64,
    /// Whether the session waits to be woken for this subscription.
    armed: AtomicBool,
    wake: Arc<Wake>,
}

/// How a session is woken: the subscriptions that have something to read.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    ready: Mutex<Vec<u64>>,
    notify: Notify,
}

impl Wake {
    /// Waits until some subscriptions have something to read, and takes them. Cancel safe.
    pub(crate) async fn ready(&self) -> Vec<u64> {
        loop {
            let ready = std::mem::take(&mut *lock(&self.ready));
            if !ready.is_empty() {
                return ready;
            }
            self.notify.notified().await;
        }
    }

    fn add(&self, subscription: u64) {
        lock(&self.ready).push(subscription);
        self.notify.notify_one();
    }
}

impl Fanout {
    pub(crate) fn new(shards: u16, tail_bytes_max: usize) -> Self {
        let shard = |_| {
            let tail = Tail::new(tail_bytes_max);
            Mutex::new(ShardState { tail, recent: Recent::default(), rates: Rates::default() })
        };
        Self { shards: (0..shards).map(shard).collect(), index: RwLock::default(), wishes: watch::Sender::new(0) }
    }

    /// The shard's state. Whoever holds it decides the order of the shard's messages.
    pub(crate) fn shard(&self, shard: Shard) -> MutexGuard<'_, ShardState> {
        lock(&self.shards[shard.index()])
    }

    /// Adds a message to the tail and wakes every session that wants it.
    pub(crate) fn append(&self, shard: Shard, tail: &mut Tail, channel: &ChannelName, stored: Stored) {
        let place = Place { shard: shard.0, index: tail.push(stored) };
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.map.for_each_match(channel, |feed| {
            if let Some(Some(feed)) = index.feeds.get(feed as usize) {
                feed.append(place);
            }
        });
    }

    /// Subscribes: every message appended from now on that matches `filter` can be read.
    pub(crate) fn subscribe(&self, filter: &Filter, subscription: u64, wake: &Arc<Wake>) -> Cursor {
        let reader = Arc::new(Reader { subscription, armed: AtomicBool::new(true), wake: wake.clone() });
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let (feed, is_new) = index.feed(filter);
        let mut state = lock(&feed.state);
        state.readers.push(reader.clone());
        let position = state.first + state.messages.len() as u64;
        drop(state);
        drop(index);
        if is_new {
            self.wishes.send_modify(|count| *count += 1);
        }
        Cursor { feed, filter: filter.clone(), reader, position }
    }

    /// Ends a subscription. Nothing of a feed without subscriptions stays.
    pub(crate) fn unsubscribe(&self, cursor: &Cursor) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = lock(&cursor.feed.state);
        state.readers.retain(|reader| !Arc::ptr_eq(reader, &cursor.reader));
        let unused = state.readers.is_empty();
        drop(state);
        if unused {
            index.remove(&cursor.filter);
        }
        drop(index);
        if unused {
            self.wishes.send_modify(|count| *count += 1);
        }
    }

    /// Every pattern that some local subscription wants.
    pub(crate) fn wanted(&self) -> BTreeSet<Pattern> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.by_filter.keys().flat_map(|filter| filter.patterns().iter().cloned()).collect()
    }

    /// Tells when the wanted patterns change; the value counts the changes.
    pub(crate) fn wishes(&self) -> watch::Receiver<u64> {
        self.wishes.subscribe()
    }

    /// How many local subscriptions want messages of `channel`.
    pub(crate) fn subscribers(&self, channel: &ChannelName) -> usize {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut feeds = BTreeSet::new();
        index.map.for_each_match(channel, |feed| _ = feeds.insert(feed));
        let readers =
            |feed: &u32| index.feeds.get(*feed as usize)?.as_ref().map(|feed| lock(&feed.state).readers.len());
        feeds.iter().filter_map(readers).sum()
    }

    /// Reads on from a cursor: at most `messages_max` messages and about `bytes_max` bytes.
    pub(crate) fn read(&self, cursor: &mut Cursor, bytes_max: usize, out: &mut Vec<Stored>) -> Read {
        const MESSAGES_MAX: usize = 256;
        let (places, mut dropped) = cursor.take_places(MESSAGES_MAX);
        let mut bytes = 0;
        let mut taken = 0;
        let mut shard: Option<(u16, MutexGuard<'_, ShardState>)> = None;
        for place in &places {
            if bytes >= bytes_max {
                break;
            }
            let state = match &mut shard {
                Some((number, state)) if *number == place.shard => state,
                other => {
                    // Let go of one shard before taking the next.
                    *other = None;
                    &mut other.insert((place.shard, self.shard(Shard(place.shard)))).1
                }
            };
            match state.tail.get(place.index) {
                Some(stored) => {
                    bytes += stored.frame.len();
                    out.push(stored.clone());
                }
                None => dropped += 1,
            }
            taken += 1;
        }
        drop(shard);
        cursor.position += taken;
        Read { dropped, drained: cursor.arm_if_drained() }
    }
}

/// What a read found besides messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    /// Messages that went by before they were read; all of them before those that were read.
    pub(crate) dropped: u64,
    /// Nothing more to read: the session will be woken.
    pub(crate) drained: bool,
}

/// A subscription's place in its feed.
#[derive(Debug)]
pub(crate) struct Cursor {
    feed: Arc<Feed>,
    filter: Filter,
    reader: Arc<Reader>,
    position: u64,
}

impl Cursor {
    /// The next places, after skipping what the feed has let go.
    fn take_places(&mut self, messages_max: usize) -> (Vec<Place>, u64) {
        let state = lock(&self.feed.state);
        let dropped = state.first.saturating_sub(self.position);
        self.position += dropped;
        let skip = usize::try_from(self.position - state.first).unwrap_or(usize::MAX);
        (state.messages.iter().skip(skip).take(messages_max).copied().collect(), dropped)
    }

    /// Arms the wake-up under the feed's lock, so that no message can slip in between.
    fn arm_if_drained(&self) -> bool {
        let state = lock(&self.feed.state);
        let drained = self.position >= state.first + state.messages.len() as u64;
        if drained {
            self.reader.armed.store(true, Ordering::Release);
        }
        drained
    }
}

impl Feed {
    fn append(&self, place: Place) {
        let mut state = lock(&self.state);
        // Two patterns of the filter match the same message.
        if state.messages.back() == Some(&place) {
            return;
        }
        if state.messages.len() == FEED_MESSAGES_MAX {
            state.messages.pop_front();
            state.first += 1;
        }
        state.messages.push_back(place);
        for reader in &state.readers {
            if reader.armed.swap(false, Ordering::AcqRel) {
                reader.wake.add(reader.subscription);
            }
        }
    }
}

impl Index {
    /// The feed of the filter, and whether it is new.
    fn feed(&mut self, filter: &Filter) -> (Arc<Feed>, bool) {
        if let Some(Some(feed)) = self.by_filter.get(filter).and_then(|id| self.feeds.get(*id as usize)) {
            return (feed.clone(), false);
        }
        let feed = Arc::new(Feed { state: Mutex::default() });
        let id = self.free.pop().unwrap_or_else(|| {
            self.feeds.push(None);
            u32::try_from(self.feeds.len() - 1).expect("memory ends before four billion feeds")
        });
        self.feeds[id as usize] = Some(feed.clone());
        self.by_filter.insert(filter.clone(), id);
        filter.patterns().iter().for_each(|pattern| self.map.insert(pattern, id));
        (feed, true)
    }

    fn remove(&mut self, filter: &Filter) {
        if let Some(id) = self.by_filter.remove(filter) {
            filter.patterns().iter().for_each(|pattern| self.map.remove(pattern, id));
            self.feeds[id as usize] = None;
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> Filter {
        Filter::new(patterns.iter().map(|p| Pattern::parse(p).unwrap()).collect()).unwrap()
    }

    fn publish(fanout: &Fanout, shard: u16, channel: &str, payload: u8) {
        let mut state = fanout.shard(Shard(shard));
        let channel = ChannelName::parse(channel).unwrap();
        fanout.append(Shard(shard), &mut state.tail, &channel, Stored::new(&[payload], false));
    }

    fn read(fanout: &Fanout, cursor: &mut Cursor) -> (Vec<u8>, u64) {
        let (mut seen, mut dropped) = (Vec::new(), 0);
        loop {
            let mut out = Vec::new();
            let read = fanout.read(cursor, 1 << 20, &mut out);
            seen.extend(out.iter().map(|stored| stored.entry[0]));
            dropped += read.dropped;
            if read.drained {
                return (seen, dropped);
            }
        }
    }

    #[test]
    fn a_message_that_two_patterns_match_is_read_once() {
        let fanout = Fanout::new(4, 1 << 20);
        let wake = Arc::new(Wake::default());
        let mut cursor = fanout.subscribe(&filter(&["a.>", "a.b"]), 1, &wake);
        publish(&fanout, 0, "a.b", 1);
        publish(&fanout, 1, "a.c", 2);
        publish(&fanout, 1, "b", 3);
        assert_eq!(read(&fanout, &mut cursor), (vec![1, 2], 0));
    }

    #[test]
    fn who_falls_behind_reads_the_newest_and_learns_how_much_went_by() {
        let fanout = Fanout::new(1, 1 << 20);
        let wake = Arc::new(Wake::default());
        let mut cursor = fanout.subscribe(&filter(&["a"]), 1, &wake);
        for _ in 0..FEED_MESSAGES_MAX + 5 {
            publish(&fanout, 0, "a", 7);
        }
        let (seen, dropped) = read(&fanout, &mut cursor);
        assert_eq!((seen.len(), dropped), (FEED_MESSAGES_MAX, 5));
    }

    #[test]
    fn what_left_the_tail_counts_as_dropped() {
        let fanout = Fanout::new(1, 30);
        let wake = Arc::new(Wake::default());
        let mut cursor = fanout.subscribe(&filter(&["a"]), 1, &wake);
        (0..20).for_each(|n| publish(&fanout, 0, "a", n));
        let (seen, dropped) = read(&fanout, &mut cursor);
        assert_eq!(seen.len() as u64 + dropped, 20);
        assert_eq!(seen.last(), Some(&19));
    }

    #[tokio::test]
    async fn a_session_is_woken_once_until_it_has_read_everything() {
        let fanout = Fanout::new(1, 1 << 20);
        let wake = Arc::new(Wake::default());
        let mut cursor = fanout.subscribe(&filter(&["a"]), 9, &wake);
        publish(&fanout, 0, "a", 1);
        publish(&fanout, 0, "a", 2);
        assert_eq!(wake.ready().await, [9]);
        read(&fanout, &mut cursor);
        publish(&fanout, 0, "a", 3);
        assert_eq!(wake.ready().await, [9]);
    }

    #[test]
    fn nothing_stays_of_a_subscription_that_ended() {
        let fanout = Fanout::new(1, 1 << 20);
        let wake = Arc::new(Wake::default());
        let cursors = [fanout.subscribe(&filter(&["a.*"]), 1, &wake), fanout.subscribe(&filter(&["a.*"]), 2, &wake)];
        assert_eq!(fanout.subscribers(&ChannelName::parse("a.b").unwrap()), 2);
        cursors.iter().for_each(|cursor| fanout.unsubscribe(cursor));
        assert!(fanout.wanted().is_empty());
        assert!(fanout.index.read().unwrap().map.is_empty());
        assert_eq!(*fanout.wishes().borrow(), 2, "one change when the feed came, one when it went");
    }
}
