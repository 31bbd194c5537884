//! The frames between nodes.

use bytes::Bytes;
use farwire_wire::peer::{
    Forgotten, Interest, LinkState, Messages, NodeState, PeerFrame, PeerHello, PeerQuery, RelayFrame, Step,
    open_swim_envelope, swim_envelope,
};
use farwire_wire::{Life, MeshId, ViewDigest};
use proptest::prelude::*;
use proptest::sample::select;

use crate::values::{bytes, channel, damage, entry, error, node, patterns, region, text};
use crate::{Kind, presence, whole};

const FRAMES: Kind<PeerFrame> = Kind { encode: PeerFrame::encode, decode: PeerFrame::decode };
const MESSAGES: Kind<Messages> = Kind { encode: Messages::encode, decode: Messages::decode };
const QUERIES: Kind<PeerQuery> = Kind { encode: PeerQuery::encode, decode: PeerQuery::decode };
const ANSWERS: Kind<Bytes> =
    Kind { encode: |json| PeerQuery::encode_answer(json.clone()), decode: PeerQuery::decode_answer };

fn link() -> impl Strategy<Value = LinkState> {
    // No view has the digest 0: it says that none was told.
    let view = prop::option::of((1..=u64::MAX).prop_map(ViewDigest));
    (node(), any::<(u32, u64, u64, u64, u64, u32, bool)>(), view).prop_map(|(peer, counts, view)| {
        let (rtt_us, lost_packets, sent_packets, sent_bytes, received_bytes, flaps, silent) = counts;
        LinkState { peer, rtt_us, lost_packets, sent_packets, sent_bytes, received_bytes, view, flaps, silent }
    })
}

fn state() -> impl Strategy<Value = NodeState> {
    let numbers = any::<(u64, u64, u16, u32, bool, bool)>();
    let gone = (node(), any::<(u64, u64)>()).prop_map(|(node, (run, at_us))| Forgotten { node, run, at_us });
    let lists = (prop::collection::vec(link(), 0..4), prop::collection::vec(gone, 0..4));
    (node(), text(), text(), lists, numbers).prop_map(
        |(node, client_address, version, (links, forgotten), (life, revision, weight, sessions, leaving, resting))| {
            NodeState {
                node,
                life: Life(life),
                revision,
                client_address,
                weight,
                version,
                sessions,
                links,
                leaving,
                resting,
                forgotten,
            }
        },
    )
}

fn hello() -> impl Strategy<Value = PeerHello> {
    let versions = any::<(u32, u32)>().prop_map(|(a, b)| a.min(b)..=a.max(b));
    let parts = (versions, any::<(u64, u64)>(), node(), region(), state());
    parts.prop_map(|(versions, (mesh, life), node, region, state)| PeerHello {
        versions,
        mesh: MeshId(mesh),
        node,
        region,
        life: Life(life),
        state,
    })
}

fn interest() -> impl Strategy<Value = Interest> {
    (any::<(u64, u64, bool)>(), patterns(), patterns()).prop_map(|((version, view, whole), add, remove)| Interest {
        version,
        view: ViewDigest(view),
        whole,
        add,
        remove,
    })
}

fn relay() -> impl Strategy<Value = RelayFrame> {
    prop_oneof![interest().prop_map(RelayFrame::Interest), any::<u64>().prop_map(RelayFrame::InterestAck)]
}

fn frame() -> impl Strategy<Value = PeerFrame> {
    prop_oneof![
        hello().prop_map(PeerFrame::Hello),
        state().prop_map(PeerFrame::State),
        interest().prop_map(PeerFrame::Interest),
        any::<u64>().prop_map(PeerFrame::InterestAck),
        Just(PeerFrame::Leaving),
        any::<u64>().prop_map(|view| PeerFrame::ViewAnswer(ViewDigest(view))),
        any::<(u64, u64)>().prop_map(|(number, seen)| PeerFrame::Ping { number, seen }),
        (node(), relay()).prop_map(|(to, frame)| PeerFrame::Relay { to, frame }),
        (node(), relay()).prop_map(|(from, frame)| PeerFrame::Relayed { from, frame }),
        error().prop_map(PeerFrame::Error),
    ]
}

fn messages() -> impl Strategy<Value = Messages> {
    let step = select(vec![Step::ToOwner, Step::ToRegion, Step::ToNode]);
    let entries = prop::collection::vec(entry().prop_map(|entry| entry.encode()), 0..4);
    let parts = (step, any::<u64>(), 0..=2_u32, entries, prop::option::of(node()));
    parts.prop_map(|(step, view, hops, entries, relay_to)| Messages {
        step,
        view: ViewDigest(view),
        hops,
        entries,
        relay_to,
    })
}

fn query() -> impl Strategy<Value = PeerQuery> {
    let whole_node = select(vec![PeerQuery::Channels, PeerQuery::Sessions, PeerQuery::Slo]);
    prop_oneof![whole_node, channel().prop_map(PeerQuery::Channel), presence::query()]
}

proptest! {
    #[test]
    fn frames_survive_the_wire(frame in frame(), damage in damage()) {
        FRAMES.holds_for(&frame, &damage)?;
    }

    #[test]
    fn node_states_survive_a_broadcast(state in state()) {
        prop_assert_eq!(NodeState::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn messages_survive_the_wire(messages in messages(), damage in damage()) {
        MESSAGES.holds_for(&messages, &damage)?;
        prop_assert_eq!(messages.encode_datagram(), whole(&messages.encode()));
    }

    #[test]
    fn queries_and_answers_survive_the_wire(query in query(), json in bytes(), damage in damage()) {
        QUERIES.holds_for(&query, &damage)?;
        ANSWERS.holds_for(&json, &damage)?;
    }

    #[test]
    fn swim_messages_survive_their_envelope_within_their_mesh(
        (mesh, other) in any::<(u64, u64)>(),
        swim in bytes(),
        cut in 0..9_usize,
    ) {
        let envelope = swim_envelope(MeshId(mesh), &swim);
        prop_assert!(open_swim_envelope(MeshId(mesh), envelope.slice(..cut)).is_err());
        prop_assert_eq!(open_swim_envelope(MeshId(other), envelope.clone()).is_ok(), mesh == other);
        prop_assert_eq!(open_swim_envelope(MeshId(mesh), envelope), Ok(swim));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in bytes()) {
        FRAMES.takes_or_refuses(bytes.clone())?;
        MESSAGES.takes_or_refuses(bytes.clone())?;
        QUERIES.takes_or_refuses(bytes.clone())?;
        ANSWERS.takes_or_refuses(bytes.clone())?;
        if let Ok(state) = NodeState::decode(&bytes) {
            prop_assert_eq!(NodeState::decode(&state.encode()), Ok(state));
        }
    }
}
