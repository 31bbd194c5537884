//! Presence between nodes: the frames of [`PresenceFrame`] as bytes, and to whom they go.

use bytes::Bytes;
use prost::Message as _;

use super::{bad_name, malformed};
use crate::error::DecodeError;
use crate::frame::delimited;
use crate::ids::{Instance, Life};
use crate::limits::PRESENCE_STAYS_MAX;
use crate::names::{ChannelName, ClientId, NameError, NodeName};
use crate::presence::{Exit, Occupant, PartChange, PresenceFrame, PresenceId, PresenceState, Stamp, Writer};
use crate::proto::peer as proto;

/// The bodies of a presence frame are the fields from 1 to this one.
const BODIES: usize = 9;

/// A presence frame on a link, with the way that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// Whether another node passes it on.
    pub relayed: Relayed,
    /// What is told.
    pub frame: PresenceFrame,
}

/// Whether a frame goes through a third node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relayed {
    /// It is for the receiver, from the sender.
    No,
    /// The receiver is to pass it on to this node.
    To(NodeName),
    /// The sender passes it on for this node.
    From(NodeName),
}

impl Addressed {
    /// The frame with its length in front.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (relay_to, relayed_from) = match &self.relayed {
            Relayed::No => (String::new(), String::new()),
            Relayed::To(node) => (node.to_string(), String::new()),
            Relayed::From(node) => (String::new(), node.to_string()),
        };
        delimited(&proto::PresenceFrame { body: Some(body_to_proto(&self.frame)), relay_to, relayed_from })
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// The peer broke the protocol: close the link with the error's code.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        check_inner_fields(&frame)?;
        let frame = proto::PresenceFrame::decode(frame).map_err(|_| malformed("a presence frame does not decode"))?;
        let node = |name: &str| NodeName::parse(name).map_err(bad_name);
        let relayed = match (frame.relay_to.as_str(), frame.relayed_from.as_str()) {
            ("", "") => Relayed::No,
            (to, "") => Relayed::To(node(to)?),
            ("", from) => Relayed::From(node(from)?),
            _ => return Err(malformed("a presence frame both to and from a relay")),
        };
        let body = frame.body.ok_or_else(|| malformed("a presence frame without a body that this version knows"))?;
        Ok(Self { relayed, frame: frame_of(body)? })
    }
}

fn body_to_proto(frame: &PresenceFrame) -> proto::presence_frame::Body {
    use proto::presence_frame::Body;
    match frame {
        PresenceFrame::Change { change, catch_up } => Body::Change(change_to_proto(change, *catch_up)),
        PresenceFrame::Ask { channel, writer } => {
            Body::Ask(proto::PartName { channel: channel.to_string(), writer: Some(writer_to_proto(writer)) })
        }
        PresenceFrame::Collect => Body::Collect(proto::Collect {}),
        PresenceFrame::Collected => Body::Collected(proto::Collected {}),
        PresenceFrame::Digest { life, hash } => Body::Digest(proto::PartsDigest { life: life.0, hash: *hash }),
        PresenceFrame::Superseded { channel, id, moves } => Body::Superseded(proto::Superseded {
            channel: channel.to_string(),
            id: Some(id_to_proto(id)),
            moves: *moves,
        }),
        PresenceFrame::Buried(writer) => Body::Buried(writer_to_proto(writer)),
        PresenceFrame::Fetch(channels) => Body::Fetch(channels_to_proto(channels)),
        PresenceFrame::Fetched(channels) => Body::Fetched(channels_to_proto(channels)),
    }
}

fn frame_of(body: proto::presence_frame::Body) -> Result<PresenceFrame, DecodeError> {
    use proto::presence_frame::Body;
    Ok(match body {
        Body::Change(change) => PresenceFrame::Change { catch_up: change.catch_up, change: change_of(change)? },
        Body::Ask(part) => PresenceFrame::Ask { channel: channel_of(&part.channel)?, writer: writer_of(part.writer)? },
        Body::Collect(_) => PresenceFrame::Collect,
        Body::Collected(_) => PresenceFrame::Collected,
        Body::Digest(digest) => PresenceFrame::Digest { life: Life(digest.life), hash: digest.hash },
        Body::Superseded(stay) => {
            PresenceFrame::Superseded { channel: channel_of(&stay.channel)?, id: id_of(stay.id)?, moves: stay.moves }
        }
        Body::Buried(writer) => PresenceFrame::Buried(writer_of(Some(writer))?),
        Body::Fetch(fetch) => PresenceFrame::Fetch(crate::presence::channels_of(&fetch.channels)?),
        Body::Fetched(fetched) => PresenceFrame::Fetched(crate::presence::channels_of(&fetched.channels)?),
    })
}

fn change_to_proto(change: &PartChange, catch_up: bool) -> proto::PartChange {
    let stay = |(id, occupant): &(PresenceId, Occupant)| proto::Stay {
        id: Some(id_to_proto(id)),
        moves: occupant.moves,
        since_us: occupant.since_us,
        stamp: occupant.stamp.0,
        state: occupant.state.json().unwrap_or_default().to_owned(),
    };
    let departure = |(id, exit): &(PresenceId, Exit)| {
        let exit = match exit {
            Exit::Left => proto::departure::Exit::Left,
            Exit::Timeout => proto::departure::Exit::Timeout,
            Exit::Moved => proto::departure::Exit::Moved,
        };
        proto::Departure { id: Some(id_to_proto(id)), exit: exit.into() }
    };
    proto::PartChange {
        writer: Some(writer_to_proto(&change.writer)),
        channel: change.channel.to_string(),
        from: change.from,
        to: change.to,
        whole: change.whole,
        joins: change.joins,
        leaves: change.leaves,
        present: change.present.iter().map(stay).collect(),
        gone: change.gone.iter().map(departure).collect(),
        catch_up,
    }
}

fn change_of(change: proto::PartChange) -> Result<PartChange, DecodeError> {
    let stay = |stay: proto::Stay| {
        let state = PresenceState::parse(&stay.state).map_err(|error| malformed(&error.to_string()))?;
        let occupant = Occupant { moves: stay.moves, since_us: stay.since_us, stamp: Stamp(stay.stamp), state };
        Ok::<_, DecodeError>((id_of(stay.id)?, occupant))
    };
    let departure = |gone: proto::Departure| {
        let exit = match proto::departure::Exit::try_from(gone.exit) {
            Ok(proto::departure::Exit::Left) => Exit::Left,
            Ok(proto::departure::Exit::Timeout) => Exit::Timeout,
            Ok(proto::departure::Exit::Moved) => Exit::Moved,
            Err(_) => return Err(malformed("a stay that ended in a way that this version does not know")),
        };
        Ok((id_of(gone.id)?, exit))
    };
    if !change.whole && change.from >= change.to {
        return Err(malformed("a change of a part that does not go forward"));
    }
    // Whoever sums over parts relies on it.
    if change.joins.checked_sub(change.leaves).is_none_or(|stays| stays > PRESENCE_STAYS_MAX as u64) {
        return Err(malformed("a part whose joins and leaves cannot be"));
    }
    Ok(PartChange {
        writer: writer_of(change.writer)?,
        channel: channel_of(&change.channel)?,
        from: change.from,
        to: change.to,
        whole: change.whole,
        joins: change.joins,
        leaves: change.leaves,
        present: change.present.into_iter().map(stay).collect::<Result<_, _>>()?,
        gone: change.gone.into_iter().map(departure).collect::<Result<_, _>>()?,
    })
}

/// Refuses a frame with more in its body than a part has stays. The limit of its bytes does not suffice: an empty stay has
/// two on the wire, and many times as many in memory once it is decoded.
fn check_inner_fields(mut frame: &[u8]) -> Result<(), DecodeError> {
    let mut count = 0;
    while !frame.is_empty() {
        let (number, mut body) = next_field(&mut frame)?;
        while number <= BODIES && !body.is_empty() {
            next_field(&mut body)?;
            count += 1;
            if count > PRESENCE_STAYS_MAX {
                return Err(malformed("a presence frame with more stays than a node can have"));
            }
        }
    }
    Ok(())
}

/// Takes a field off the front: its number, and its bytes without their length.
fn next_field<'a>(rest: &mut &'a [u8]) -> Result<(usize, &'a [u8]), DecodeError> {
    let unsound = || malformed("a presence frame does not decode");
    let key = prost::decode_length_delimiter(&mut *rest).map_err(|_| unsound())?;
    let length = match key & 7 {
        0 => 1 + rest.iter().position(|byte| byte & 0x80 == 0).ok_or_else(unsound)?,
        1 => 8,
        2 => prost::decode_length_delimiter(&mut *rest).map_err(|_| unsound())?,
        5 => 4,
        // Groups, which proto3 does not have: prost skips them, so what follows would not be counted.
        _ => return Err(unsound()),
    };
    let (field, after) = rest.split_at_checked(length).ok_or_else(unsound)?;
    *rest = after;
    Ok((key >> 3, field))
}

fn writer_to_proto(writer: &Writer) -> proto::Writer {
    proto::Writer { node: writer.node.to_string(), life: writer.life.0 }
}

fn writer_of(writer: Option<proto::Writer>) -> Result<Writer, DecodeError> {
    let writer = writer.ok_or_else(|| malformed("a part without its writer"))?;
    Ok(Writer { node: NodeName::parse(&writer.node).map_err(bad_name)?, life: Life(writer.life) })
}

fn id_to_proto(id: &PresenceId) -> proto::PresenceId {
    proto::PresenceId { client_id: id.client.to_string(), instance: id.instance.0 }
}

fn id_of(id: Option<proto::PresenceId>) -> Result<PresenceId, DecodeError> {
    let id = id.ok_or_else(|| malformed("a stay without its id"))?;
    Ok(PresenceId { client: ClientId::parse(&id.client_id).map_err(bad_name)?, instance: Instance(id.instance) })
}

fn channels_to_proto(channels: &[ChannelName]) -> proto::Channels {
    proto::Channels { channels: channels.iter().map(ToString::to_string).collect() }
}

fn channel_of(text: &str) -> Result<ChannelName, DecodeError> {
    ChannelName::parse(text).map_err(|error: NameError| bad_name(error))
}
