//! What a frame of presence holds at most, and must hold: with one more, or without it, it is refused, and the refusal
//! names the request where there is one.

use bytes::Bytes;
use farwire_wire::client::{ClientBody, ClientFrame, PresenceQuery};
use farwire_wire::limits::PRESENCE_STAYS_MAX;
use farwire_wire::peer::{Addressed, PeerQuery, Relayed, StreamKind};
use farwire_wire::presence::{PresenceEvent, PresenceFrame, QUERY_CHANNELS_MAX, STATE_BYTES_MAX};
use farwire_wire::{ChannelName, ErrorCode};

use crate::whole;

const REQUEST: u8 = 9;

/// A field of protobuf that holds bytes.
fn field(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut field = vec![number << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut field).unwrap();
    field.extend(content);
    field
}

/// A field of protobuf that holds a number.
fn number(number: u8, value: usize) -> Vec<u8> {
    let mut field = vec![number << 3];
    prost::encode_length_delimiter(value, &mut field).unwrap();
    field
}

/// The code with which a client's request is refused that has this body; `None` if it is taken.
fn refusal(body: u8, content: impl AsRef<[u8]>) -> Option<ErrorCode> {
    let refused = ClientFrame::decode([number(1, REQUEST.into()), field(body, content)].concat().into()).err()?;
    assert_eq!(refused.request, u64::from(REQUEST));
    Some(refused.error.code)
}

const ENTER: u8 = 6;
const LEAVE: u8 = 7;
const PRESENCE_QUERY: u8 = 8;
const WHERE_QUERY: u8 = 9;

#[test]
fn a_state_has_1024_bytes_of_json() {
    let enter = |state: &str| refusal(ENTER, [field(1, "a"), field(2, state)].concat());
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert_eq!(enter(""), None);
    assert_eq!(enter(&text(STATE_BYTES_MAX)), None);
    assert_eq!(enter(&text(STATE_BYTES_MAX + 1)), Some(ErrorCode::Malformed));
    assert_eq!(enter("{"), Some(ErrorCode::Malformed));
}

#[test]
fn names_keep_their_lengths_in_requests_of_presence() {
    let (longest, longer) = ("x".repeat(255), "x".repeat(256));
    for body in [ENTER, LEAVE, PRESENCE_QUERY] {
        assert_eq!(refusal(body, field(1, &longest)), None);
        for bad in [&longer, "", "a..b", "a.*"] {
            assert_eq!(refusal(body, field(1, bad)), Some(ErrorCode::BadChannel), "{body} {bad}");
        }
    }
    assert_eq!(refusal(WHERE_QUERY, field(1, "x".repeat(64))), None);
    for bad in ["x".repeat(65), String::new(), "a b".to_owned()] {
        assert_eq!(refusal(WHERE_QUERY, field(1, bad)), Some(ErrorCode::BadChannel));
    }
}

#[test]
fn a_query_names_1000_channels_and_each_counts_once() {
    let channels =
        |count: usize| -> Vec<_> { (0..count).map(|n| ChannelName::parse(&format!("c{n}")).unwrap()).collect() };
    let (most, too_many) = (channels(QUERY_CHANNELS_MAX), channels(QUERY_CHANNELS_MAX + 1));

    let ask = |channels: &[ChannelName]| {
        let query = PresenceQuery { channels: channels.to_vec(), occupants: true };
        ClientFrame::decode(whole(
            &ClientFrame { request: REQUEST.into(), body: ClientBody::PresenceQuery(query) }.encode(),
        ))
    };
    assert!(ask(&most).is_ok());
    for bad in [&too_many[..], &[]] {
        let refused = ask(bad).unwrap_err();
        assert_eq!((refused.request, refused.error.code), (u64::from(REQUEST), ErrorCode::Malformed));
    }
    let twice = [&most[1], &most[0], &most[1]].map(ChannelName::clone);
    let Ok(ClientFrame { body: ClientBody::PresenceQuery(query), .. }) = ask(&twice) else { unreachable!() };
    assert_eq!(query.channels, twice[..2], "in the order of the query");

    let peer_ask = |channels: &[ChannelName]| {
        PeerQuery::decode(whole(
            &PeerQuery::Presence { channels: channels.to_vec(), occupants: false, relay_to: None }.encode(),
        ))
    };
    assert!(peer_ask(&most).is_ok() && peer_ask(&too_many).is_err());
    for frame in [PresenceFrame::Fetch, PresenceFrame::Fetched] {
        let tell = |channels: &[ChannelName]| {
            Addressed::decode(whole(&Addressed { relayed: Relayed::No, frame: frame(channels.to_vec()) }.encode()))
        };
        assert!(tell(&most).is_ok() && tell(&too_many).is_err());
    }
}

/// The fields of a change of the channel `a` by the node `n`, after which anything may come.
fn change(more: &[Vec<u8>]) -> Bytes {
    let writer = field(1, field(1, "n"));
    field(1, [writer, field(2, "a"), more.concat()].concat()).into()
}

fn is_taken(frame: impl Into<Bytes>) -> bool {
    Addressed::decode(frame.into()).is_ok()
}

#[test]
fn a_change_names_whose_it_is_and_goes_forward() {
    let (from, to, whole) = (|op| number(3, op), |op| number(4, op), number(5, 1));
    assert!(is_taken(change(&[from(1), to(2)])));
    assert!(!is_taken(change(&[from(2), to(2)])));
    assert!(!is_taken(change(&[])));
    assert!(is_taken(change(std::slice::from_ref(&whole))), "nobody was ever there");
    assert!(is_taken(change(&[from(2), to(1), whole])), "from is without meaning");
    let nobody = field(1, [field(2, "a"), number(4, 1)].concat());
    assert!(!is_taken(nobody), "no writer");
}

#[test]
fn a_change_counts_what_can_be() {
    let counts = |joins, leaves| change(&[number(4, 1), number(6, joins), number(7, leaves)]);
    assert!(is_taken(counts(7, 7)));
    assert!(!is_taken(counts(7, 8)));
    assert!(is_taken(counts(PRESENCE_STAYS_MAX, 0)));
    assert!(!is_taken(counts(PRESENCE_STAYS_MAX + 1, 0)));
}

#[test]
fn a_stay_names_its_client_and_ends_in_a_known_way() {
    let id = field(1, field(1, "alice"));
    let present = |stay: &[u8]| change(&[number(4, 1), field(8, stay)]);
    let gone = |stay: &[u8]| change(&[number(4, 1), field(9, stay)]);
    for list in [present, gone] {
        assert!(is_taken(list(&id)));
        assert!(!is_taken(list(b"")), "no id");
        assert!(!is_taken(list(&field(1, b""))), "no client");
    }
    let state = |bytes: usize| [id.clone(), field(5, format!("\"{}\"", "x".repeat(bytes - 2)))].concat();
    assert!(is_taken(present(&state(STATE_BYTES_MAX))) && !is_taken(present(&state(STATE_BYTES_MAX + 1))));
    let exit = |exit| [id.clone(), number(2, exit)].concat();
    assert!(is_taken(gone(&exit(2))) && !is_taken(gone(&exit(3))));
    for superseded in [field(1, "a"), [field(1, "a"), field(2, b"")].concat()] {
        assert!(!is_taken(field(6, superseded)), "a stay without its client");
    }
}

#[test]
fn stays_without_number_are_refused_before_they_take_memory() {
    let stays = |count: usize| field(8, b"").repeat(count);
    let refusal = |frame: Bytes| Addressed::decode(frame).unwrap_err().error.message;
    let too_many = "a presence frame with more stays than a node can have";
    assert_eq!(refusal(change(&[stays(PRESENCE_STAYS_MAX)])), too_many);
    assert_ne!(refusal(change(&[stays(1_000)])), too_many);
    let halves = [change(&[stays(PRESENCE_STAYS_MAX / 2)]), change(&[stays(PRESENCE_STAYS_MAX / 2)])].concat();
    assert_eq!(refusal(halves.into()), too_many, "the parts of a body that comes twice are one");
    let group = [12 << 3 | 3, 12 << 3 | 4];
    assert!(!is_taken([&group[..], &change(&[number(4, 1)])].concat()), "nothing hides behind a group");
    assert!(!is_taken(change(&[group.to_vec(), number(4, 1)])));
}

#[test]
fn kinds_that_nobody_knows_are_refused() {
    for kind in [0, 3] {
        assert!(StreamKind::decode(number(1, kind).into()).is_err());
    }
    for kind in [0, 6] {
        let event = [number(1, kind), field(2, "alice")].concat();
        assert!(PresenceEvent::decode(event.into()).is_err());
    }
    assert!(PresenceEvent::decode([number(1, 1), field(2, "alice")].concat().into()).is_ok());
    assert!(PresenceEvent::decode(number(1, 1).into()).is_err(), "a join of nobody");
    assert!(PeerQuery::decode(number(1, 7).into()).is_err());
    let both = [field(3, b""), field(10, "n"), field(11, "n")].concat();
    assert!(!is_taken(both), "to and from a relay");
}
