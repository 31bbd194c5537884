//! The types that openraft is used with, and how they are stored.
//!
//! Integers are big endian. The stored form of an entry begins with a version; decoding checks every length before it is
//! used, and what it does not know is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use farwire_core::log::{Answer, Outcome};
use openraft::impls::BasicNode;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::{EntryPayload, Membership};
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;

openraft::declare_raft_types!(
    /// Openraft's types. A Raft node's id is the id of its store; the address is the mesh node's name.
    pub Types:
        D = Encoded,
        R = Answers,
        NodeId = u64,
        Node = BasicNode,
        Term = u64,
        LeaderId = LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

/// Tokio, with randomness that is drawn from a seed: see [`seeded`].
pub(crate) type Runtime = DeterministicRng<TokioRuntime>;

/// Whatever openraft draws within, and within what it spawns, follows from the seed. All calls of openraft need it.
pub(crate) fn seeded<F: Future>(seed: u64, future: F) -> impl Future<Output = F::Output> {
    Runtime::scope(seed, future)
}

/// An entry of the Raft log.
pub type Entry = openraft::type_config::alias::EntryOf<Types>;

/// What names an entry of the Raft log.
pub type LogId = openraft::LogId<LeaderId<u64, u64>>;

/// A vote, or the claim of a leader.
pub type Vote = openraft::type_config::alias::VoteOf<Types>;

/// What became of a command, for those who wait for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Of the whole command; `None` for an entry of Raft's own.
    pub outcome: Option<Outcome>,
    /// One for each publish of a batch, in its order.
    pub publishes: Vec<Answer>,
}

/// An encoded command: opaque here, so that a leader, its followers and the disk hand on the same bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded(pub Bytes);

/// The length alone: messages do not belong into logs.
impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({self})")
    }
}

/// Bytes that are not the stored form of what was asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FormFault {
    #[error("it ends too early")]
    Short,
    #[error("{0} bytes follow its end")]
    Long(usize),
    #[error("version or kind {0} is not known; a newer release may have written it")]
    Unknown(u8),
    #[error("a node's address is not UTF-8")]
    NotText,
    #[error("its members are not all nodes, or a set of voters is empty")]
    NotMembers,
}

impl From<TryGetError> for FormFault {
    fn from(_: TryGetError) -> Self {
        Self::Short
    }
}

pub(crate) fn put_log_id(bytes: &mut BytesMut, id: &LogId) {
    bytes.put_u64(id.leader_id.term);
    bytes.put_u64(id.leader_id.node_id);
    bytes.put_u64(id.index);
}

pub(crate) fn take_log_id(bytes: &mut Bytes) -> Result<LogId, FormFault> {
    let leader_id = LeaderId { term: bytes.try_get_u64()?, node_id: bytes.try_get_u64()? };
    Ok(LogId::new(leader_id, bytes.try_get_u64()?))
}

pub(crate) fn put_vote(bytes: &mut BytesMut, vote: &Vote) {
    bytes.put_u64(vote.leader_id.term);
    bytes.put_u64(vote.leader_id.node_id);
    bytes.put_u8(u8::from(vote.committed));
}

pub(crate) fn take_vote(bytes: &mut Bytes) -> Result<Vote, FormFault> {
    let leader_id = LeaderId { term: bytes.try_get_u64()?, node_id: bytes.try_get_u64()? };
    let committed = match bytes.try_get_u8()? {
        0 => false,
        1 => true,
        other => return Err(FormFault::Unknown(other)),
    };
    Ok(Vote { leader_id, committed })
}

pub(crate) fn put_entry(bytes: &mut BytesMut, entry: &Entry) {
    bytes.put_u8(VERSION);
    put_log_id(bytes, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => bytes.put_u8(BLANK),
        EntryPayload::Normal(command) => {
            bytes.put_u8(NORMAL);
            bytes.put_slice(&command.0);
        }
        EntryPayload::Membership(membership) => {
            bytes.put_u8(MEMBERSHIP);
            put_membership(bytes, membership);
        }
    }
}

/// The bytes that [`put_entry`] adds, within a few.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(command) => command.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    26 + payload
}

/// The command of the entry is a slice of `bytes`.
pub(crate) fn take_entry(mut bytes: Bytes) -> Result<Entry, FormFault> {
    let version = bytes.try_get_u8()?;
    if version != VERSION {
        return Err(FormFault::Unknown(version));
    }
    let log_id = take_log_id(&mut bytes)?;
    let payload = match bytes.try_get_u8()? {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Encoded(std::mem::take(&mut bytes))),
        MEMBERSHIP => EntryPayload::Membership(take_membership(&mut bytes)?),
        other => return Err(FormFault::Unknown(other)),
    };
    if bytes.has_remaining() { Err(FormFault::Long(bytes.remaining())) } else { Ok(Entry { log_id, payload }) }
}

pub(crate) fn put_membership(bytes: &mut BytesMut, membership: &Membership<u64, BasicNode>) {
    put_count(bytes, membership.get_joint_config().len());
    for voters in membership.get_joint_config() {
        put_count(bytes, voters.len());
        voters.iter().for_each(|id| bytes.put_u64(*id));
    }
    put_count(bytes, membership.nodes().count());
    for (id, node) in membership.nodes() {
        bytes.put_u64(*id);
        put_count(bytes, node.addr.len());
        bytes.put_slice(node.addr.as_bytes());
    }
}

/// Grows with the bytes that are there, not with the counts that they claim.
pub(crate) fn take_membership(bytes: &mut Bytes) -> Result<Membership<u64, BasicNode>, FormFault> {
    let mut configs = Vec::new();
    for _ in 0..bytes.try_get_u32()? {
        let mut voters = BTreeSet::new();
        for _ in 0..bytes.try_get_u32()? {
            voters.insert(bytes.try_get_u64()?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..bytes.try_get_u32()? {
        let id = bytes.try_get_u64()?;
        let length = bytes.try_get_u32()? as usize;
        if length > bytes.len() {
            return Err(FormFault::Short);
        }
        let address = String::from_utf8(bytes.split_to(length).to_vec()).map_err(|_| FormFault::NotText)?;
        nodes.insert(id, BasicNode::new(address));
    }
    Membership::new(configs, nodes).map_err(|_| FormFault::NotMembers)
}

fn put_count(bytes: &mut BytesMut, count: usize) {
    bytes.put_u32(u32::try_from(count).expect("memberships and names are small"));
}

/// Runs a decoder over all of the bytes.
pub(crate) fn take_all<T>(mut bytes: Bytes, take: fn(&mut Bytes) -> Result<T, FormFault>) -> Result<T, FormFault> {
    let value = take(&mut bytes)?;
    if bytes.has_remaining() { Err(FormFault::Long(bytes.remaining())) } else { Ok(value) }
}

const VERSION: u8 = 1;
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let log_id = LogId::new(LeaderId { term: 3, node_id: u64::MAX }, 7);
        let nodes = BTreeMap::from([(1, BasicNode::new("fra-1")), (2, BasicNode::new("")), (9, BasicNode::new("ä"))]);
        let voters = vec![BTreeSet::from([1, 2]), BTreeSet::from([2])];
        let joint = Membership::new(voters, nodes).expect("all voters are nodes");
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Encoded(Bytes::new())),
            EntryPayload::Normal(Encoded(Bytes::from_static(b"hello"))),
            EntryPayload::Membership(Membership::default()),
            EntryPayload::Membership(joint),
        ];
        payloads.into_iter().map(|payload| Entry { log_id, payload }).collect()
    }

    fn stored(entry: &Entry) -> Bytes {
        let mut bytes = BytesMut::new();
        put_entry(&mut bytes, entry);
        bytes.freeze()
    }

    #[test]
    fn entries_come_back_as_they_were() {
        for entry in entries() {
            assert_eq!(take_entry(stored(&entry)), Ok(entry));
        }
    }

    #[test]
    fn no_cut_or_changed_entry_panics_or_is_taken_whole() {
        for entry in entries() {
            let bytes = stored(&entry);
            for end in 0..bytes.len() {
                assert_ne!(take_entry(bytes.slice(..end)), Ok(entry.clone()));
            }
            for at in 0..bytes.len() * 8 {
                let mut changed = BytesMut::from(bytes.as_ref());
                changed[at / 8] ^= 1 << (at % 8);
                assert_ne!(take_entry(changed.freeze()), Ok(entry.clone()));
            }
        }
    }

    #[test]
    fn newer_versions_and_trailing_bytes_are_refused() {
        let mut bytes = BytesMut::from(stored(&entries()[0]).as_ref());
        bytes[0] = 2;
        assert_eq!(take_entry(bytes.clone().freeze()), Err(FormFault::Unknown(2)));
        bytes[0] = 1;
        bytes.put_u8(0);
        assert_eq!(take_entry(bytes.freeze()), Err(FormFault::Long(1)));
    }

    #[test]
    fn votes_come_back_as_they_were() {
        for committed in [false, true] {
            let vote = Vote { leader_id: LeaderId { term: 5, node_id: 6 }, committed };
            let mut bytes = BytesMut::new();
            put_vote(&mut bytes, &vote);
            assert_eq!(take_all(bytes.freeze(), take_vote), Ok(vote));
        }
    }
}
