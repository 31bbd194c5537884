//! Presence: what clients and nodes say of it, and the channels on which it is told.

use bytes::Bytes;
use farwire_wire::client::{
    ChannelPresence, ClientBody, Enter, ListedOccupant, Place, PresenceAnswer, PresenceQuery, RegionPresence,
    ServerBody, WhereAnswer,
};
use farwire_wire::peer::{Addressed, PeerQuery, Relayed, StreamKind};
use farwire_wire::presence::{
    Exit, Occupant, PartChange, PresenceEvent, PresenceFrame, PresenceId, PresenceState, STATE_BYTES_MAX, Stamp, Writer,
};
use farwire_wire::{ChannelName, Instance, Life, Pattern};
use proptest::prelude::*;
use proptest::sample::select;

use crate::Kind;
use crate::values::{bytes, channel, client_id, damage, node, pattern, region};

const EVENTS: Kind<PresenceEvent> = Kind { encode: event_frame, decode: PresenceEvent::decode };
const FRAMES: Kind<Addressed> = Kind { encode: Addressed::encode, decode: Addressed::decode };
const HEADERS: Kind<StreamKind> = Kind { encode: |kind| kind.encode(), decode: StreamKind::decode };

/// An event is the payload of a message and has no length of its own; with one it is checked as the frames are.
fn event_frame(event: &PresenceEvent) -> Bytes {
    let payload = event.encode();
    let mut frame = Vec::new();
    prost::encode_length_delimiter(payload.len(), &mut frame).unwrap();
    frame.extend(payload);
    frame.into()
}

fn state() -> impl Strategy<Value = PresenceState> {
    let texts = prop_oneof![
        Just(String::new()),
        "[a-z]{0,9}".prop_map(|name| format!(r#"{{"name":"{name}"}}"#)),
        "\\PC{0,60}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(format!("\"{}\"", "x".repeat(STATE_BYTES_MAX - 2))),
    ];
    texts.prop_map(|text| PresenceState::parse(&text).unwrap())
}

/// Some channels, each once.
fn channels(most: usize) -> impl Strategy<Value = Vec<ChannelName>> {
    prop::collection::btree_set(channel(), 1..=most).prop_map(|channels| channels.into_iter().collect())
}

pub(crate) fn request() -> impl Strategy<Value = ClientBody> {
    let query = (channels(20), any::<bool>());
    prop_oneof![
        (channel(), state()).prop_map(|(channel, state)| ClientBody::Enter(Enter { channel, state })),
        channel().prop_map(ClientBody::Leave),
        query.prop_map(|(channels, occupants)| ClientBody::PresenceQuery(PresenceQuery { channels, occupants })),
        client_id().prop_map(ClientBody::WhereQuery),
    ]
}

fn region_presence() -> impl Strategy<Value = RegionPresence> {
    // Nothing is as of the epoch: it says that nothing was ever heard.
    let as_of_us = prop::option::of(1..=u64::MAX);
    (region(), any::<u64>(), as_of_us, any::<bool>())
        .prop_map(|(region, occupancy, as_of_us, reachable)| RegionPresence { region, occupancy, as_of_us, reachable })
}

fn channel_presence() -> impl Strategy<Value = ChannelPresence> {
    let occupant = (client_id(), state(), node(), any::<u64>());
    let occupant =
        occupant.prop_map(|(client, state, node, since_us)| ListedOccupant { client, state, node, since_us });
    let lists = (prop::collection::vec(region_presence(), 0..4), prop::collection::vec(occupant, 0..4));
    (channel(), any::<(u64, u64)>(), lists).prop_map(|(channel, (occupancy, clients), (regions, occupants))| {
        ChannelPresence { channel, occupancy, clients, regions, occupants }
    })
}

fn place() -> impl Strategy<Value = Place> {
    let parts = (channel(), node(), region(), any::<u64>());
    parts.prop_map(|(channel, node, region, since_us)| Place { channel, node, region, since_us })
}

pub(crate) fn answer() -> impl Strategy<Value = ServerBody> {
    let presence = (prop::collection::vec(channel_presence(), 0..4), any::<bool>());
    let places = (prop::collection::vec(place(), 0..4), any::<bool>(), prop::collection::vec(node(), 0..4));
    prop_oneof![
        Just(ServerBody::EnterOk),
        Just(ServerBody::LeaveOk),
        presence.prop_map(|(channels, more)| ServerBody::PresenceAnswer(PresenceAnswer { channels, more })),
        places.prop_map(|(places, more, unreachable)| {
            ServerBody::WhereAnswer(WhereAnswer { places, more, unreachable })
        }),
    ]
}

pub(crate) fn query() -> impl Strategy<Value = PeerQuery> {
    prop_oneof![
        (channels(20), any::<bool>(), prop::option::of(node()))
            .prop_map(|(channels, occupants, relay_to)| PeerQuery::Presence { channels, occupants, relay_to }),
        client_id().prop_map(PeerQuery::Where),
    ]
}

fn event() -> impl Strategy<Value = PresenceEvent> {
    let single = (select(vec![0, 1, 2, 3]), client_id(), state(), any::<u64>());
    let single = single.prop_map(|(kind, client, state, occupancy)| match kind {
        0 => PresenceEvent::Join { client, state, occupancy },
        1 => PresenceEvent::Leave { client, occupancy },
        2 => PresenceEvent::Timeout { client, occupancy },
        _ => PresenceEvent::State { client, state, occupancy },
    });
    let interval = any::<[u64; 4]>();
    let interval = interval.prop_map(|[occupancy, clients, joined, left]| PresenceEvent::Interval {
        occupancy,
        clients,
        joined,
        left,
    });
    prop_oneof![4 => single, 1 => interval]
}

fn writer() -> impl Strategy<Value = Writer> {
    (node(), any::<u64>()).prop_map(|(node, life)| Writer { node, life: Life(life) })
}

fn id() -> impl Strategy<Value = PresenceId> {
    (client_id(), any::<u64>()).prop_map(|(client, instance)| PresenceId { client, instance: Instance(instance) })
}

fn occupant() -> impl Strategy<Value = Occupant> {
    let parts = (any::<(u32, u64, u64)>(), state());
    parts.prop_map(|((moves, since_us, stamp), state)| Occupant { moves, since_us, stamp: Stamp(stamp), state })
}

fn change() -> impl Strategy<Value = PartChange> {
    let gone = (id(), select(vec![Exit::Left, Exit::Timeout, Exit::Moved]));
    let lists = (prop::collection::vec((id(), occupant()), 0..4), prop::collection::vec(gone, 0..4));
    let whole = (any::<(u64, u64)>()).prop_map(|(from, to)| (true, from, to));
    let part = (0..u64::MAX, 1..=u64::MAX).prop_map(|(a, b)| (false, a.min(b - 1), a.max(b)));
    let counts = (any::<u64>(), 0..=1_u64 << 20).prop_map(|(leaves, stays)| (leaves.saturating_add(stays), leaves));
    (writer(), channel(), prop_oneof![whole, part], counts, lists).prop_map(
        |(writer, channel, (whole, from, to), (joins, leaves), (present, gone))| PartChange {
            writer,
            channel,
            from,
            to,
            whole,
            joins,
            leaves,
            present,
            gone,
        },
    )
}

fn frame() -> impl Strategy<Value = Addressed> {
    let frame = prop_oneof![
        4 => (change(), any::<bool>()).prop_map(|(change, catch_up)| PresenceFrame::Change { change, catch_up }),
        1 => (channel(), writer()).prop_map(|(channel, writer)| PresenceFrame::Ask { channel, writer }),
        1 => Just(PresenceFrame::Collect),
        1 => Just(PresenceFrame::Collected),
        1 => any::<(u64, u64)>().prop_map(|(life, hash)| PresenceFrame::Digest { life: Life(life), hash }),
        1 => (channel(), id(), any::<u32>())
            .prop_map(|(channel, id, moves)| PresenceFrame::Superseded { channel, id, moves }),
        1 => writer().prop_map(PresenceFrame::Buried),
        1 => channels(20).prop_map(PresenceFrame::Fetch),
        1 => channels(20).prop_map(PresenceFrame::Fetched),
    ];
    let relayed = prop_oneof![Just(Relayed::No), node().prop_map(Relayed::To), node().prop_map(Relayed::From)];
    (relayed, frame).prop_map(|(relayed, frame)| Addressed { relayed, frame })
}

proptest! {
    #[test]
    fn events_survive_being_a_payload(event in event(), damage in damage()) {
        EVENTS.holds_for(&event, &damage)?;
    }

    #[test]
    fn frames_between_nodes_survive_the_wire(frame in frame(), damage in damage()) {
        FRAMES.holds_for(&frame, &damage)?;
    }

    #[test]
    fn headers_survive_the_wire(kind in select(vec![StreamKind::Messages, StreamKind::Presence]), damage in damage()) {
        HEADERS.holds_for(&kind, &damage)?;
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in bytes()) {
        EVENTS.takes_or_refuses(bytes.clone())?;
        FRAMES.takes_or_refuses(bytes.clone())?;
        HEADERS.takes_or_refuses(bytes)?;
    }

    #[test]
    fn any_text_is_a_state_that_readers_of_json_take_or_no_state(text in prop_oneof!["\\PC{0,80}", "[\\[{\"\\\\u:,}\\]0-9a-f.e+-]{0,40}"]) {
        if let Ok(state) = PresenceState::parse(&text) {
            prop_assert_eq!(state.json().unwrap_or_default(), &text);
            prop_assert!(text.is_empty() || serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }

    #[test]
    fn the_channels_of_presence_match_as_those_that_they_are_about(pattern in about(), channel in channel_about()) {
        let is_matched = pattern.matches(&channel);
        prop_assert_eq!(pattern.presence().matches(&channel.presence()), is_matched);
        prop_assert_eq!(pattern.counts().matches(&channel.counts()), is_matched);
        prop_assert!(!pattern.presence().matches(&channel) && !pattern.presence().matches(&channel.counts()));
        prop_assert!(!pattern.counts().matches(&channel) && !pattern.counts().matches(&channel.presence()));
    }

    #[test]
    fn the_channels_of_presence_lead_back_and_are_names(pattern in about(), channel in channel_about()) {
        for about in [channel.presence(), channel.counts()] {
            prop_assert_eq!(ChannelName::parse(about.as_str()), Ok(about.clone()));
            prop_assert!(about.is_reserved());
            prop_assert_eq!(about.subject(), channel.as_str());
            prop_assert_eq!((about.presence(), about.counts()), (channel.presence(), channel.counts()));
        }
        prop_assert_eq!(channel.subject(), channel.as_str());
        for about in [pattern.presence(), pattern.counts()] {
            prop_assert_eq!(Pattern::parse(about.as_str()), Ok(about.clone()));
            prop_assert_eq!(about.subject(), Some(pattern.clone()));
            prop_assert_eq!((about.presence(), about.counts()), (pattern.presence(), pattern.counts()));
            prop_assert_eq!(about.is_channel(), pattern.is_channel());
        }
        prop_assert_eq!(pattern.subject(), None);
    }

    #[test]
    fn covering_commutes_with_the_prefix(pattern in about(), other in about()) {
        prop_assert_eq!(pattern.presence().covers(&other.presence()), pattern.covers(&other));
        prop_assert!(!pattern.presence().covers(&other) && !pattern.presence().covers(&other.counts()));
    }
}

/// Patterns with few different segments, so that they often match.
fn about() -> impl Strategy<Value = Pattern> {
    let few = "([ab]|\\*)(\\.([ab]|\\*)){0,2}(\\.>)?".prop_map(|text| Pattern::parse(&text).unwrap());
    prop_oneof![3 => few, 1 => pattern(), 1 => Just(Pattern::parse(">").unwrap())]
}

/// Channels of the segments of [`about`], and any; none is one of presence.
fn channel_about() -> impl Strategy<Value = ChannelName> {
    prop_oneof![3 => "[ab](\\.[ab]){0,3}".prop_map(|text| ChannelName::parse(&text).unwrap()), 1 => channel()]
}
