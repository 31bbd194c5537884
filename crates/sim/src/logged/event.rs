//! What a history of logged channels can say: one value per thing that happened, as plain names and numbers, so that it
//! can be written by one process and read by another. Judges nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::name::{Hex, Name};
use crate::quiet::Turn;

/// What a publisher handed in, by its number: the same for every retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Publish {
    /// Who published it.
    pub publisher: Name,
    /// To which channel.
    pub channel: Name,
    /// Its number among that publisher's messages of that channel, from 1.
    pub number: u64,
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{} on {}", self.publisher, self.number, self.channel)
    }
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Which log.
    pub origin: Hex,
    /// Its number there, from 1.
    pub position: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.position)
    }
}

/// A message as somebody saw it in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// Its number within origin and channel, from 1.
    pub offset: u64,
    /// Which message it is.
    pub publish: Publish,
    /// The hash of its payload, as it was seen.
    pub hash: Hex,
}

/// How much of the mesh has a message when it is acked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The majority of its shard's replicas in the region.
    Region,
    /// That, and another region.
    Geo,
}

/// What an ack says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which publish it answers.
    pub publish: Publish,
    /// Where the message stands; for a duplicate, where the newest message of its lane stands.
    pub place: Place,
    /// The offset of the message at `place`.
    pub offset: u64,
    /// The level reached.
    pub level: Level,
    /// How many replicas have it.
    pub copies: u32,
    /// How many regions have it.
    pub regions: u32,
    /// Whether those copies are synced to disk.
    pub synced: bool,
    /// Whether it had been taken before.
    pub duplicate: bool,
}

/// How a message came to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// From the tail.
    Live,
    /// From the store, while catching up.
    Replay,
    /// As an answer to a question for history.
    History,
}

/// One life of a subscription in the application's hands: the SDK's own reconnects belong to it, a new one begins when the
/// application subscribes anew, from a cursor that it kept or from now. Runs of a subscriber are numbered upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subscription {
    /// Who subscribes, over all its runs.
    pub subscriber: Name,
    /// Which of its runs.
    pub run: u32,
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} run {}", self.subscriber, self.run)
    }
}

/// A cursor: for each origin the last position consumed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub Vec<(Hex, u64)>);

impl Cursor {
    /// The position of an origin, if it is named.
    #[must_use]
    pub fn position(&self, origin: Hex) -> Option<u64> {
        self.0.iter().find(|(named, _)| *named == origin).map(|(_, position)| *position)
    }

    /// Whether it says that the message there is consumed.
    #[must_use]
    pub fn covers(&self, place: Place) -> bool {
        self.position(place.origin).is_some_and(|position| place.position <= position)
    }
}

/// What one node has of one shard's Raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// Which node.
    pub node: Name,
    /// Which shard.
    pub shard: u32,
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shard {}", self.node, self.shard)
    }
}

/// What a process uses, in bytes and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Resident memory.
    pub memory_bytes: u64,
    /// What its queues hold.
    pub queue_bytes: u64,
    /// Tasks alive.
    pub tasks: u64,
    /// Open files and sockets.
    pub files: u64,
    /// What it has written to its own text log.
    pub log_bytes: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A publish is handed in, or again under its number. Before anything of it is sent.
    Invoked {
        /// Which.
        publish: Publish,
        /// The hash of its payload.
        hash: Hex,
        /// The level asked for.
        asked: Level,
    },
    /// It was acked.
    Acked(Ack),
    /// It was refused for certain: nobody may ever get it, unless it is handed in again.
    Refused {
        /// Which.
        publish: Publish,
        /// Why.
        why: String,
    },
    /// Nobody knows whether it was taken: it may be delivered, once, or never.
    Unknown {
        /// Which.
        publish: Publish,
        /// Why.
        why: String,
    },
    /// The subscription came into force with no cursor of its own: it gets what comes after the cursor that it was told.
    Subscribed {
        /// Which.
        subscription: Subscription,
        /// The channel or pattern.
        pattern: Name,
        /// The cursor that it was told.
        cursor: Cursor,
    },
    /// The subscription asks for all after a cursor that the subscriber kept in an earlier run.
    ResumeAsked {
        /// Which.
        subscription: Subscription,
        /// The channel or pattern.
        pattern: Name,
        /// The cursor.
        cursor: Cursor,
    },
    /// A node took the resume.
    Resumed {
        /// Which.
        subscription: Subscription,
        /// At which node.
        node: Name,
    },
    /// The application got a message.
    Delivered {
        /// Through which subscription.
        subscription: Subscription,
        /// What.
        entry: Entry,
        /// On which way.
        path: Path,
        /// From which node.
        node: Name,
    },
    /// The application was told that this range is out of reach, both ends included.
    Gap {
        /// Through which subscription.
        subscription: Subscription,
        /// Of which log.
        origin: Hex,
        /// The first position.
        from: u64,
        /// The last position.
        to: u64,
        /// Why.
        cause: String,
    },
    /// The application has put out everything up to there, and kept the cursor. Noted after the output is noted.
    CursorKept {
        /// Through which subscription.
        subscription: Subscription,
        /// What it kept.
        cursor: Cursor,
    },
    /// The application reads its subscription from now on, or does not for a while; it reads when nothing is said.
    Reads {
        /// Which.
        subscription: Subscription,
        /// Whether it reads.
        reads: bool,
    },
    /// The application let go of its subscription.
    Ended {
        /// Which.
        subscription: Subscription,
    },
    /// A client has a session.
    SessionUp {
        /// Who.
        client: Name,
        /// With which node.
        node: Name,
    },
    /// A client lost its session.
    SessionDown {
        /// Who.
        client: Name,
        /// Why.
        why: String,
    },
    /// A node's process began.
    NodeStarted {
        /// Which.
        node: Name,
        /// Its region.
        region: Name,
    },
    /// A node's process is gone without a word, and with it what it had not synced, if the power went too.
    NodeCrashed {
        /// Which.
        node: Name,
        /// Whether what was written and not synced is lost.
        lost_unsynced: bool,
    },
    /// A node acts on another view of its region.
    View {
        /// Which node.
        node: Name,
        /// The hash of the view.
        hash: Hex,
    },
    /// A node leads a shard's group of its region.
    Leads {
        /// Which.
        replica: Replica,
        /// In which term.
        term: u64,
    },
    /// A shard's group has these voters from now on, as its leader says.
    Voters {
        /// The leader.
        replica: Replica,
        /// The nodes.
        nodes: Vec<Name>,
    },
    /// A replica wrote entries of the Raft log, not synced yet.
    Appended {
        /// Which.
        replica: Replica,
        /// The last log index.
        to: u64,
    },
    /// A replica's Raft log is synced so far. Noted before anybody is told.
    Synced {
        /// Which.
        replica: Replica,
        /// The last log index.
        to: u64,
    },
    /// A replica applied an entry that gave messages their positions.
    Applied {
        /// Which.
        replica: Replica,
        /// The entry.
        log_index: u64,
        /// The term that it was proposed in.
        term: u64,
        /// The log.
        origin: Hex,
        /// The first position that it gave.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A sync or write of a node's store failed.
    SyncFailed {
        /// Which node.
        node: Name,
    },
    /// A replica took back the end of its Raft log.
    Truncated {
        /// Which.
        replica: Replica,
        /// The first log index that is gone.
        from: u64,
        /// The term of the entry that was there: a replica may give up what the leader of another term never had.
        term: u64,
    },
    /// A replica found these entries of its Raft log damaged, and counts them as missing until it has them again.
    Quarantined {
        /// Which.
        replica: Replica,
        /// The first log index.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A replica has those entries again, synced.
    Refetched {
        /// Which.
        replica: Replica,
        /// The first log index.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Retention has passed: a node keeps nothing of this log up to there.
    LowWater {
        /// Which node.
        node: Name,
        /// The log.
        origin: Hex,
        /// The last position that is gone.
        position: u64,
    },
    /// At the end: a node's answer to "this channel from its start".
    Served {
        /// Which node.
        node: Name,
        /// What.
        entry: Entry,
    },
    /// At the end: what lies in a replica's log of applied messages, read without the node.
    Stored {
        /// Which node.
        node: Name,
        /// What.
        entry: Entry,
    },
    /// At the end: the node was asked for every channel, and everything that it served is noted.
    Drained {
        /// Which node.
        node: Name,
    },
    /// What a node uses.
    Measured {
        /// Which node.
        node: Name,
        /// How much.
        usage: Usage,
    },
    /// Everybody is there: from now on the mesh must work, unless something is wrong.
    Begun,
    /// Something goes wrong from now on.
    Fault {
        /// What.
        what: String,
        /// Whether acks at the level that publishers ask for stay possible.
        way_around: bool,
    },
    /// This is over.
    Mended {
        /// What.
        what: String,
    },
    /// Whatever is wrong, the mesh must work from now on.
    NoExcuse,
}

impl Event {
    /// What it says about whether everything must work.
    #[must_use]
    pub fn turn(&self) -> Option<Turn<'_>> {
        match self {
            Self::Begun => Some(Turn::Begun),
            Self::Fault { what, way_around } => Some(Turn::Fault { what, way_around: *way_around }),
            Self::Mended { what } => Some(Turn::Mended(what)),
            Self::NoExcuse => Some(Turn::NoExcuse),
            _ => None,
        }
    }

    /// The subscription that it is about.
    #[must_use]
    pub fn subscription(&self) -> Option<Subscription> {
        match self {
            Self::Subscribed { subscription, .. }
            | Self::ResumeAsked { subscription, .. }
            | Self::Resumed { subscription, .. }
            | Self::Delivered { subscription, .. }
            | Self::Gap { subscription, .. }
            | Self::CursorKept { subscription, .. }
            | Self::Reads { subscription, .. }
            | Self::Ended { subscription } => Some(*subscription),
            _ => None,
        }
    }

    /// The message of the log that it shows, and on which node.
    #[must_use]
    pub fn seen(&self) -> Option<(Name, &Entry)> {
        match self {
            Self::Delivered { node, entry, .. } | Self::Served { node, entry } | Self::Stored { node, entry } => {
                Some((*node, entry))
            }
            _ => None,
        }
    }
}

/// An event, and when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Monotonic: since the machine started, or since the simulation began. All processes of a machine share it.
    pub at_ns: u64,
    /// By the wall clock: since the Unix epoch. For people; it may jump.
    pub wall_us: u64,
    /// What.
    pub event: Event,
}

impl Record {
    /// When, on the monotonic clock.
    #[must_use]
    pub fn at(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.at_ns)
    }
}
