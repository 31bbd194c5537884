//! The region's log: the Raft groups of a node, over crash-safe storage.
//!
//! [`Store::open`] reads an [`Engine`] ([`Disk`] for real, [`Memory`] for simulations) and gives a store, its committer and
//! whether it is still who it was; [`Store::log`] gives a group's [`GroupLog`], which openraft appends to and reads from.
//!
//! [`Groups`] runs a group for each shard on it: [`Group::publish`] takes messages in, a [`Receiver`] gets what the log says,
//! [`Peers`] is the way to the other replicas.
//!
//! What holds, and where: a vote or an entry counts only after the sync that covers it (`committer`); the first failed write
//! or sync is the last one (`committer`); a bad entry is an error with its range and never the end of the log (`storage`);
//! what the log is made of in memory is on disk in the same write (`storage::state`); a store that may have forgotten what
//! it promised is somebody else (`store`).
//!
//! Not here: what commands do (`farwire-core` decides that), sockets, clocks, randomness. Leader, term and log index are
//! words of this crate alone. Only this crate names openraft and fjall.

mod buckets;
mod committer;
mod counters;
mod engine;
mod group;
mod machine;
mod ranges;
mod records;
mod room;
mod storage;
mod store;
mod types;

pub use committer::{Committer, Stopped};
pub use counters::{Counters, Histogram};
pub use engine::{Disk, DiskOptions, Engine, EngineError, Item, Memory, Scan, Space, Write};
pub use group::{
    GROUP_FRAME_BYTES_MAX, Group, GroupError, GroupOptions, Groups, PIPE_FRAMES_MAX, Peers, Pipe, PublishError,
    Published,
};
pub use machine::{Delivered, MachineError, Receiver};
pub use room::{DiskSpace, Probe};
pub use storage::{GroupLog, LogError};
pub use store::{BUCKET_WIDTH, Identity, OpenError, Opened, Store, StoreOptions, bucket_at};
pub use types::{Answers, Encoded, Entry, LogId, Types, Vote};
