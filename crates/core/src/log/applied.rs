//! What a command did. The shell stores, delivers and answers it; the state keeps none of it.

use bytes::Bytes;
use farwire_wire::{ChannelName, Offset, Origin, Place, Position};

use super::record::Key;

/// What [`Log::apply`](super::Log::apply) did. A buffer to use again: each call empties it first and keeps its memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Which command.
    pub log_index: u64,
    /// The log's time after it, in microseconds since the Unix epoch; 0 before the log is open.
    pub log_time_us: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Messages that are now in the log, by position.
    pub deliveries: Vec<Delivery>,
    /// One answer for each publish of the command, in its order.
    pub answers: Vec<Answer>,
    /// Which records are no longer what they were, each once, in ascending order: ask
    /// [`Log::record`](super::Log::record) for what they are now.
    pub changed: Vec<Key>,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The log has no origin yet: nothing changed, and each publish is answered so.
    #[default]
    NotOpen,
    /// The log has its origin.
    Opened,
    /// The log has this origin already, and keeps it: nothing changed.
    AlreadyOpen(Origin),
    /// A batch: see the answers.
    Batch,
    /// So many low-water marks moved; the others would have moved back, past the end, or are of no channel of the log.
    Marked(usize),
}

/// A message that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number in the log.
    pub position: Position,
    /// Its number in its channel.
    pub offset: Offset,
    /// Bytes of all entries of its channel before it: with position and offset, what a mark that keeps it has to say.
    pub bytes_before: u64,
    /// Its channel.
    pub channel: ChannelName,
    /// Its stored form, as its publisher's node made it; shares the command's memory.
    pub entry: Bytes,
    /// Which publish of the command it was, from 0: to find it in the command again, where others were refused.
    pub nth: usize,
}

/// What to tell a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is in the log.
    Taken {
        /// Where.
        place: Place,
        /// Its number in its channel.
        offset: Offset,
    },
    /// It was in the log before.
    Duplicate {
        /// Where the newest message of its lane is.
        newest: Place,
        /// Where it is itself, if that is still known.
        own: Option<Place>,
    },
    /// Its number is above the next one of its lane; nothing changed.
    Gap {
        /// The lane's highest number; 0 if there is no such lane, or no more.
        last: u64,
    },
    /// Its number was taken with another payload; nothing changed.
    NumberReused,
    /// The publisher id is that of another client; nothing changed.
    OtherClient,
    /// The log has no origin yet; nothing changed.
    NotOpen,
}

impl Applied {
    pub(super) fn begin(&mut self, log_index: u64) {
        self.log_index = log_index;
        self.log_time_us = 0;
        self.outcome = Outcome::NotOpen;
        self.deliveries.clear();
        self.answers.clear();
        self.changed.clear();
    }
}
