//! What the replicas of a group say to each other, and its stored form. What is asked of Raft here is not judged: that is
//! openraft's business.
//!
//! A frame begins with a version and a kind. Decoding checks every length before it is used; what it does not know is a
//! fault, and ends the pipe that it came through. A request names the store that it is for: whoever runs under a store that
//! has been lost since must not answer for it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use farwire_wire::Shard;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
};

use crate::types::{
    Entry, FormFault, LogId, Types, Vote, entry_bytes, put_entry, put_log_id, put_vote, take_entry, take_log_id,
    take_vote,
};

/// No frame has more: an append is cut at 1 MiB and one command more.
pub const GROUP_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A request, and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) shard: Shard,
    /// The id of the receiver's store.
    pub(super) to: u64,
    pub(super) body: Body,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer(TransferLeaderRequest<Types>),
}

/// What one frame of a pipe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    One(Request),
    /// Appends without entries of many groups, which are answered together.
    Beats(Vec<Request>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Appended(StreamAppendResult<Types>),
    Voted(VoteResponse<Types>),
    /// Whether the receiver campaigns now.
    Transferred(bool),
    /// The receiver does not keep this group under that store, or the group has failed there.
    Refused,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |body: &Self| {
            let mut bytes = BytesMut::new();
            put_body(&mut bytes, body);
            bytes
        };
        bytes(self) == bytes(other)
    }
}

impl Eq for Body {}

impl Asked {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(64);
        bytes.put_u8(VERSION);
        match self {
            Self::One(request) => {
                bytes.put_u8(ONE);
                put_request(&mut bytes, request);
            }
            Self::Beats(requests) => {
                bytes.put_u8(BEATS);
                put_many(&mut bytes, requests, put_request);
            }
        }
        bytes.freeze()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, FormFault> {
        match take_kind(&mut bytes)? {
            ONE => Ok(Self::One(take_request(&mut bytes)?)),
            BEATS => Ok(Self::Beats(take_many(&mut bytes, take_request)?)),
            other => Err(FormFault::Unknown(other)),
        }
        .and_then(|asked| ended(&bytes, asked))
    }
}

/// The answers to one frame, in its order.
pub(super) fn encode_answers(answers: &[Answer]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.put_u8(VERSION);
    bytes.put_u8(ANSWERS);
    put_many(&mut bytes, answers, put_answer);
    bytes.freeze()
}

pub(super) fn decode_answers(mut bytes: Bytes) -> Result<Vec<Answer>, FormFault> {
    match take_kind(&mut bytes)? {
        ANSWERS => take_many(&mut bytes, take_answer),
        other => Err(FormFault::Unknown(other)),
    }
    .and_then(|answers| ended(&bytes, answers))
}

fn put_request(bytes: &mut BytesMut, request: &Request) {
    bytes.put_u16(request.shard.0);
    bytes.put_u64(request.to);
    put_body(bytes, &request.body);
}

fn take_request(bytes: &mut Bytes) -> Result<Request, FormFault> {
    Ok(Request { shard: Shard(bytes.try_get_u16()?), to: bytes.try_get_u64()?, body: take_body(bytes)? })
}

fn put_body(bytes: &mut BytesMut, body: &Body) {
    match body {
        Body::Append(append) => {
            bytes.reserve(append.entries.iter().map(|entry| entry_bytes(entry) + 4).sum::<usize>() + 96);
            bytes.put_u8(APPEND);
            put_vote(bytes, &append.vote);
            put_last(bytes, append.prev_log_id.as_ref());
            put_last(bytes, append.leader_commit.as_ref());
            put_many(bytes, &append.entries, put_sized_entry);
        }
        Body::Vote(vote) => put_vote_request(bytes, VOTE, vote),
        Body::PreVote(vote) => put_vote_request(bytes, PRE_VOTE, vote),
        Body::Transfer(transfer) => {
            bytes.put_u8(TRANSFER);
            put_vote(bytes, transfer.from_leader());
            bytes.put_u64(*transfer.to_node_id());
            put_last(bytes, transfer.last_log_id());
        }
    }
}

fn take_body(bytes: &mut Bytes) -> Result<Body, FormFault> {
    match bytes.try_get_u8()? {
        APPEND => Ok(Body::Append(AppendEntriesRequest {
            vote: take_vote(bytes)?,
            prev_log_id: take_last(bytes)?,
            leader_commit: take_last(bytes)?,
            entries: take_many(bytes, take_sized_entry)?,
        })),
        VOTE => take_vote_request(bytes).map(Body::Vote),
        PRE_VOTE => take_vote_request(bytes).map(Body::PreVote),
        TRANSFER => {
            let (from, to) = (take_vote(bytes)?, bytes.try_get_u64()?);
            Ok(Body::Transfer(TransferLeaderRequest::new(from, to, take_last(bytes)?)))
        }
        other => Err(FormFault::Unknown(other)),
    }
}

fn put_vote_request(bytes: &mut BytesMut, kind: u8, request: &VoteRequest<Types>) {
    bytes.put_u8(kind);
    put_vote(bytes, &request.vote);
    put_last(bytes, request.last_log_id.as_ref());
    bytes.put_u8(u8::from(request.leadership_transfer));
}

fn take_vote_request(bytes: &mut Bytes) -> Result<VoteRequest<Types>, FormFault> {
    let mut request = VoteRequest::new(take_vote(bytes)?, take_last(bytes)?);
    request.leadership_transfer = take_flag(bytes)?;
    Ok(request)
}

fn put_answer(bytes: &mut BytesMut, answer: &Answer) {
    match answer {
        Answer::Appended(Ok(last)) => {
            bytes.put_u8(MATCHED);
            put_last(bytes, last.as_ref());
        }
        Answer::Appended(Err(StreamAppendError::Conflict(at))) => {
            bytes.put_u8(CONFLICT);
            put_log_id(bytes, at);
        }
        Answer::Appended(Err(StreamAppendError::HigherVote(vote))) => {
            bytes.put_u8(HIGHER_VOTE);
            put_vote(bytes, vote);
        }
        Answer::Voted(voted) => {
            bytes.put_u8(VOTED);
            put_vote(bytes, &voted.vote);
            put_last(bytes, voted.last_log_id.as_ref());
            bytes.put_u8(u8::from(voted.vote_granted));
        }
        Answer::Transferred(campaigns) => {
            bytes.put_u8(TRANSFERRED);
            bytes.put_u8(u8::from(*campaigns));
        }
        Answer::Refused => bytes.put_u8(REFUSED),
    }
}

fn take_answer(bytes: &mut Bytes) -> Result<Answer, FormFault> {
    Ok(match bytes.try_get_u8()? {
        MATCHED => Answer::Appended(Ok(take_last(bytes)?)),
        CONFLICT => Answer::Appended(Err(StreamAppendError::Conflict(take_log_id(bytes)?))),
        HIGHER_VOTE => Answer::Appended(Err(StreamAppendError::HigherVote(take_vote(bytes)?))),
        VOTED => {
            let (vote, last): (Vote, _) = (take_vote(bytes)?, take_last(bytes)?);
            Answer::Voted(VoteResponse::new(vote, last, take_flag(bytes)?))
        }
        TRANSFERRED => Answer::Transferred(take_flag(bytes)?),
        REFUSED => Answer::Refused,
        other => return Err(FormFault::Unknown(other)),
    })
}

/// The id of a log's last entry, of which an empty log has none.
fn put_last(bytes: &mut BytesMut, id: Option<&LogId>) {
    bytes.put_u8(u8::from(id.is_some()));
    if let Some(id) = id {
        put_log_id(bytes, id);
    }
}

fn take_last(bytes: &mut Bytes) -> Result<Option<LogId>, FormFault> {
    take_flag(bytes)?.then(|| take_log_id(bytes)).transpose()
}

fn put_sized_entry(bytes: &mut BytesMut, entry: &Entry) {
    let length_at = bytes.len();
    bytes.put_u32(0);
    put_entry(bytes, entry);
    let length = u32::try_from(bytes.len() - length_at - 4).expect("a command has a bound");
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

fn take_sized_entry(bytes: &mut Bytes) -> Result<Entry, FormFault> {
    let length = bytes.try_get_u32()? as usize;
    if length > bytes.len() {
        return Err(FormFault::Short);
    }
    take_entry(bytes.split_to(length))
}

fn put_many<T>(bytes: &mut BytesMut, items: &[T], put: impl Fn(&mut BytesMut, &T)) {
    bytes.put_u32(u32::try_from(items.len()).expect("a frame has a bound"));
    items.iter().for_each(|item| put(bytes, item));
}

/// Grows with the bytes that are there, not with the count that they claim.
fn take_many<T>(bytes: &mut Bytes, take: impl Fn(&mut Bytes) -> Result<T, FormFault>) -> Result<Vec<T>, FormFault> {
    (0..bytes.try_get_u32()?).map(|_| take(bytes)).collect()
}

fn take_kind(bytes: &mut Bytes) -> Result<u8, FormFault> {
    match bytes.try_get_u8()? {
        VERSION => Ok(bytes.try_get_u8()?),
        other => Err(FormFault::Unknown(other)),
    }
}

fn take_flag(bytes: &mut Bytes) -> Result<bool, FormFault> {
    match bytes.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(FormFault::Unknown(other)),
    }
}

fn ended<T>(bytes: &Bytes, value: T) -> Result<T, FormFault> {
    if bytes.is_empty() { Ok(value) } else { Err(FormFault::Long(bytes.len())) }
}

const VERSION: u8 = 1;
const ONE: u8 = 0;
const BEATS: u8 = 1;
const ANSWERS: u8 = 2;

const APPEND: u8 = 0;
const VOTE: u8 = 1;
const PRE_VOTE: u8 = 2;
const TRANSFER: u8 = 3;

const MATCHED: u8 = 0;
const CONFLICT: u8 = 1;
const HIGHER_VOTE: u8 = 2;
const VOTED: u8 = 3;
const TRANSFERRED: u8 = 4;
const REFUSED: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Encoded;
    use openraft::EntryPayload;
    use openraft::impls::leader_id_adv::LeaderId;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 3, node_id: 9 }, index)
    }

    fn vote() -> Vote {
        Vote { leader_id: LeaderId { term: 4, node_id: u64::MAX }, committed: true }
    }

    fn requests() -> Vec<Request> {
        let entry = |index, text: &'static str| Entry {
            log_id: id(index),
            payload: EntryPayload::Normal(Encoded(Bytes::from_static(text.as_bytes()))),
        };
        let append =
            |entries| AppendEntriesRequest { vote: vote(), prev_log_id: Some(id(6)), entries, leader_commit: None };
        let mut by_transfer = VoteRequest::new(vote(), None);
        by_transfer.leadership_transfer = true;
        let bodies = [
            Body::Append(append(vec![entry(7, "one"), entry(8, "")])),
            Body::Append(append(Vec::new())),
            Body::Vote(by_transfer),
            Body::PreVote(VoteRequest::new(vote(), Some(id(8)))),
            Body::Transfer(TransferLeaderRequest::new(vote(), 5, Some(id(8)))),
        ];
        bodies.into_iter().map(|body| Request { shard: Shard(3), to: 17, body }).collect()
    }

    fn answers() -> Vec<Answer> {
        vec![
            Answer::Appended(Ok(None)),
            Answer::Appended(Ok(Some(id(4)))),
            Answer::Appended(Err(StreamAppendError::Conflict(id(5)))),
            Answer::Appended(Err(StreamAppendError::HigherVote(vote()))),
            Answer::Voted(VoteResponse::new(vote(), Some(id(5)), true)),
            Answer::Transferred(true),
            Answer::Refused,
        ]
    }

    #[test]
    fn frames_come_back_as_they_were() {
        for request in requests() {
            let asked = Asked::One(request);
            assert_eq!(Asked::decode(asked.encode()), Ok(asked));
        }
        let beats = Asked::Beats(requests());
        assert_eq!(Asked::decode(beats.encode()), Ok(beats));
        assert_eq!(decode_answers(encode_answers(&answers())), Ok(answers()));
    }

    #[test]
    fn no_cut_frame_decodes_and_no_changed_one_panics() {
        let frames = [Asked::Beats(requests()).encode(), encode_answers(&answers())];
        for frame in frames {
            for end in 0..frame.len() {
                assert!(Asked::decode(frame.slice(..end)).is_err());
                assert!(decode_answers(frame.slice(..end)).is_err());
            }
            for bit in 0..frame.len() * 8 {
                let mut changed = BytesMut::from(frame.as_ref());
                changed[bit / 8] ^= 1 << (bit % 8);
                drop((Asked::decode(changed.clone().freeze()), decode_answers(changed.freeze())));
            }
        }
    }

    #[test]
    fn a_count_that_lies_allocates_nothing() {
        let mut frame = BytesMut::from(&[VERSION, ANSWERS][..]);
        frame.put_u32(u32::MAX);
        assert_eq!(decode_answers(frame.freeze()), Err(FormFault::Short));
    }
}
