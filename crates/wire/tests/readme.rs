//! The examples of proto/README.md are true: each is the frame that this crate encodes, and decodes back to it. Knows of
//! the page only that an example is a code block of kind `hex`, with the bytes of a line before a `|`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use bytes::Bytes;
use farwire_wire::client::{
    AckLevel, ChannelPresence, ClientBody, ClientFrame, Delivery, Enter, EntryPoint, GoAway, Hello, ListedOccupant,
    Place, PresenceAnswer, PresenceQuery, Publish, RegionPresence, ServerBody, ServerFrame, SessionLimits, Welcome,
    WhereAnswer, decode_delivery_header, delivery_header,
};
use farwire_wire::entry::{delivery_datagram, delivery_frame};
use farwire_wire::frame::FrameDecoder;
use farwire_wire::limits::CLIENT_FRAME_BYTES_MAX;
use farwire_wire::peer::{
    Addressed, Interest, Messages, PeerFrame, Relayed, Step, StreamKind, open_swim_envelope, swim_envelope,
};
use farwire_wire::presence::{
    Exit, Occupant, PartChange, PresenceEvent, PresenceFrame, PresenceId, PresenceState, Stamp, Writer,
};
use farwire_wire::{
    ChannelName, Entry, ErrorCode, Filter, Instance, Life, MeshId, Pattern, PublisherId, SessionId, ViewDigest,
    WireError,
};

const README: &str = include_str!("../../../proto/README.md");

const INSTANCE: Instance = Instance(0x0102_0304_0506_0708);
/// When the answers of presence were right, and a second before.
const AS_OF_US: u64 = 1_800_000_000_000_000;
const SINCE_US: u64 = AS_OF_US - 1_000_000;

/// The examples of the page, and those that the tests have accounted for.
struct Examples {
    published: BTreeSet<Vec<u8>>,
    proven: BTreeSet<Vec<u8>>,
}

impl Examples {
    fn read() -> Self {
        let blocks = README.split("```hex\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let published = blocks.map(bytes_of).collect();
        Self { published, proven: BTreeSet::new() }
    }

    /// Shows that the page has `example`, which is not a frame of a stream.
    fn prove(&mut self, name: &str, example: &[u8]) {
        assert!(self.published.contains(example), "proto/README.md lacks the example of {name}:\n{}", hex(example));
        self.proven.insert(example.to_vec());
    }

    /// Shows that the page has `example`, and that it is one frame of a stream, whose body is returned.
    fn prove_frame(&mut self, name: &str, example: &[u8]) -> Bytes {
        self.prove(name, example);
        let mut decoder = FrameDecoder::new(CLIENT_FRAME_BYTES_MAX);
        decoder.push(Bytes::copy_from_slice(example));
        let frame = decoder.next_frame().unwrap().expect(name);
        assert!(decoder.is_between_frames(), "more than one frame of {name}");
        frame
    }

    fn prove_request(&mut self, name: &str, request: u64, body: ClientBody) {
        let frame = ClientFrame { request, body };
        let body = self.prove_frame(name, &frame.encode());
        assert_eq!(ClientFrame::decode(body), Ok(frame));
    }

    fn prove_answer(&mut self, name: &str, request: u64, body: ServerBody) {
        let frame = ServerFrame { request, body };
        let body = self.prove_frame(name, &frame.encode());
        assert_eq!(ServerFrame::decode(body), Ok(frame));
    }

    fn prove_peer(&mut self, name: &str, frame: &PeerFrame) {
        let body = self.prove_frame(name, &frame.encode());
        assert_eq!(PeerFrame::decode(body).as_ref(), Ok(frame));
    }
}

/// The bytes of a block, whose lines read `hex | what it means`.
fn bytes_of(block: &str) -> Vec<u8> {
    let digits: String = block.lines().map(|line| line.split('|').next().unwrap()).collect();
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two digits");
    digits.chunks(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

fn channel() -> ChannelName {
    ChannelName::parse("live.a").unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn entry() -> Entry {
    Entry {
        channel: channel(),
        payload: Bytes::from_static(b"hi"),
        publisher: PublisherId(0x2122_2324_2526_2728),
        number: 1,
        published_at_us: 1_800_000_000_000_000,
        session: 0x6162_6364_6566_6768,
        count: 1,
        datagram: false,
    }
}

fn publish() -> Publish {
    let Entry { channel, payload, publisher, number, count, .. } = entry();
    Publish { channel, payload, publisher, number, count, level: None }
}

fn entry_point() -> EntryPoint {
    EntryPoint { node: "sin-1".parse().unwrap(), region: "sin".parse().unwrap(), address: "192.0.2.1:7400".to_owned() }
}

fn prove_requests(examples: &mut Examples) {
    let hello = Hello {
        versions: 1..=1,
        token: "token".to_owned(),
        client_id: None,
        instance: INSTANCE,
        agent: "demo/1".to_owned(),
        connects: 1,
    };
    examples.prove_request("Hello", 1, ClientBody::Hello(hello));
    let filter = Filter::new(vec![pattern("live.a"), pattern("live.b.>")]).unwrap();
    examples.prove_request("Subscribe", 2, ClientBody::Subscribe(filter));
    examples.prove_request("Publish", 3, ClientBody::Publish(publish()));
    examples.prove_request("Unsubscribe", 6, ClientBody::Unsubscribe(2));

    let publish = Publish { number: 4, level: Some(AckLevel::Volatile), ..publish() };
    let datagram = ClientFrame { request: 0, body: ClientBody::Publish(publish) };
    examples.prove("a publish datagram", &datagram.encode_datagram());
    assert_eq!(ClientFrame::decode(datagram.encode_datagram()), Ok(datagram));
}

fn prove_answers(examples: &mut Examples) {
    let welcome = Welcome {
        version: 1,
        session: SessionId(0x1112_1314_1516_1718),
        mesh: "demo".to_owned(),
        node: "fra-1".parse().unwrap(),
        region: "fra".parse().unwrap(),
        client_id: "alice".parse().unwrap(),
        limits: SessionLimits { payload_bytes_max: 65_536, subscriptions_max: 1_000, publishes_in_flight_max: 4_096 },
        entry_points: vec![entry_point()],
    };
    examples.prove_answer("Welcome", 1, ServerBody::Welcome(welcome));
    examples.prove_answer("PublishAck", 5, ServerBody::PublishAck { first: 3, level: AckLevel::Volatile });
    examples.prove_answer("SubscribeOk", 2, ServerBody::SubscribeOk { pending_regions: vec![] });
    let pending_regions = vec!["sin".parse().unwrap()];
    examples.prove_answer("SubscribeOk, pending", 2, ServerBody::SubscribeOk { pending_regions });
    examples.prove_answer("UnsubscribeOk", 6, ServerBody::UnsubscribeOk);
    let error = WireError { retry_after_ms: 250, ..WireError::new(ErrorCode::Overloaded, "full") };
    examples.prove_answer("Error", 7, ServerBody::Error(error));
    let go_away = GoAway {
        retry_after_ms: 0,
        jitter_ms: 1_000,
        alternatives: vec![entry_point()],
        reason: "stopping".to_owned(),
    };
    examples.prove_answer("GoAway", 0, ServerBody::GoAway(go_away));
    examples.prove_answer("EntryList", 0, ServerBody::EntryList(vec![entry_point()]));
}

fn prove_deliveries(examples: &mut Examples) {
    let body = examples.prove_frame("DeliveryHeader", &delivery_header(2));
    assert_eq!(decode_delivery_header(body), Ok(2));
    let body = examples.prove_frame("Delivery, entry", &delivery_frame(&entry().encode()));
    assert_eq!(Delivery::decode(body), Ok(Delivery::Entry(entry())));
    let body = examples.prove_frame("Delivery, dropped", &Delivery::dropped_frame(300));
    assert_eq!(Delivery::decode(body), Ok(Delivery::Dropped(300)));

    let entry = Entry { number: 4, session: 0x7172_7374_7576_7778, datagram: true, ..entry() };
    let datagram = delivery_datagram(2, &entry.encode());
    examples.prove("a delivery datagram", &datagram);
    assert_eq!(Delivery::decode_datagram(datagram), Ok((2, entry)));
}

fn prove_peer_frames(examples: &mut Examples) {
    let view = ViewDigest(0x4142_4344_4546_4748);
    let add = vec![pattern("live.>")];
    let remove = vec![pattern("live.a")];
    examples.prove_peer("Interest", &PeerFrame::Interest(Interest { version: 2, view, whole: false, add, remove }));
    examples.prove_peer("InterestAck", &PeerFrame::InterestAck(2));
    examples.prove_peer("ViewAnswer", &PeerFrame::ViewAnswer(view));

    let entries = vec![entry().encode()];
    let messages = Messages { step: Step::ToOwner, view, hops: 0, entries, relay_to: None };
    let body = examples.prove_frame("Messages", &messages.encode());
    assert_eq!(Messages::decode(body), Ok(messages));

    let mesh = MeshId(0x5152_5354_5556_5758);
    let envelope = swim_envelope(mesh, b"swim");
    examples.prove("a SWIM envelope", &envelope);
    assert_eq!(open_swim_envelope(mesh, envelope).as_deref(), Ok(&b"swim"[..]));
}

fn state() -> PresenceState {
    PresenceState::parse(r#"{"at":"desk"}"#).unwrap()
}

fn prove_presence(examples: &mut Examples) {
    let enter = Enter { channel: channel(), state: state() };
    examples.prove_request("Enter", 8, ClientBody::Enter(enter));
    examples.prove_answer("EnterOk", 8, ServerBody::EnterOk);
    examples.prove_request("Leave", 9, ClientBody::Leave(channel()));
    examples.prove_answer("LeaveOk", 9, ServerBody::LeaveOk);

    let client = "alice".parse().unwrap();
    for (name, event) in [
        ("a join", PresenceEvent::Join { client, state: state(), occupancy: 3 }),
        ("an interval", PresenceEvent::Interval { occupancy: 120, clients: 117, joined: 4, left: 1 }),
    ] {
        examples.prove(name, &event.encode());
        assert_eq!(PresenceEvent::decode(event.encode()), Ok(event));
    }

    let channels = vec![channel(), "live.b".parse().unwrap()];
    let query = PresenceQuery { channels, occupants: true };
    examples.prove_request("PresenceQuery", 10, ClientBody::PresenceQuery(query));
    let answer = PresenceAnswer { channels: vec![channel_presence()], more: true };
    examples.prove_answer("PresenceAnswer", 10, ServerBody::PresenceAnswer(answer));
    examples.prove_request("WhereQuery", 11, ClientBody::WhereQuery("alice".parse().unwrap()));
    let (node, region) = ("fra-1".parse().unwrap(), "fra".parse().unwrap());
    let places = vec![Place { channel: channel(), node, region, since_us: SINCE_US }];
    let answer = WhereAnswer { places, more: false, unreachable: vec!["sin-1".parse().unwrap()] };
    examples.prove_answer("WhereAnswer", 11, ServerBody::WhereAnswer(answer));
}

fn channel_presence() -> ChannelPresence {
    let region = |region: &str, occupancy, as_of_us, reachable| RegionPresence {
        region: region.parse().unwrap(),
        occupancy,
        as_of_us: Some(as_of_us),
        reachable,
    };
    let occupant = ListedOccupant {
        client: "alice".parse().unwrap(),
        state: state(),
        node: "fra-1".parse().unwrap(),
        since_us: SINCE_US,
    };
    ChannelPresence {
        channel: channel(),
        occupancy: 1,
        clients: 1,
        regions: vec![region("fra", 1, AS_OF_US, true), region("sin", 2, AS_OF_US - 60_000_000, false)],
        occupants: vec![occupant],
    }
}

fn prove_presence_of_peers(examples: &mut Examples) {
    let body = examples.prove_frame("StreamHeader", &StreamKind::Presence.encode());
    assert_eq!(StreamKind::decode(body), Ok(StreamKind::Presence));

    let life = Life(0x8182_8384_8586_8788);
    let id = |client: &str, instance| PresenceId { client: client.parse().unwrap(), instance };
    let occupant = Occupant { moves: 1, since_us: SINCE_US, stamp: Stamp(SINCE_US), state: state() };
    let change = PartChange {
        writer: Writer { node: "fra-1".parse().unwrap(), life },
        channel: channel(),
        from: 6,
        to: 8,
        whole: false,
        joins: 3,
        leaves: 1,
        present: vec![(id("alice", INSTANCE), occupant)],
        gone: vec![(id("bob", Instance(0x9192_9394_9596_9798)), Exit::Timeout)],
    };
    let relayed = Relayed::To("sin-1".parse().unwrap());
    for (name, relayed, frame) in [
        ("PartChange", Relayed::No, PresenceFrame::Change { change, catch_up: false }),
        ("PartsDigest", relayed, PresenceFrame::Digest { life, hash: 0xa1a2_a3a4_a5a6_a7a8 }),
    ] {
        let addressed = Addressed { relayed, frame };
        let body = examples.prove_frame(name, &addressed.encode());
        assert_eq!(Addressed::decode(body), Ok(addressed));
    }
}

#[test]
fn every_example_is_what_this_crate_encodes_and_decodes() {
    let mut examples = Examples::read();
    prove_requests(&mut examples);
    prove_answers(&mut examples);
    prove_deliveries(&mut examples);
    prove_peer_frames(&mut examples);
    prove_presence(&mut examples);
    prove_presence_of_peers(&mut examples);
    let unproven: Vec<_> = examples.published.difference(&examples.proven).map(|bytes| hex(bytes)).collect();
    assert!(unproven.is_empty(), "examples that no test knows: {unproven:#?}");
}
