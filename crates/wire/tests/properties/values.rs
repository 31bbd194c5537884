//! Any name, id, text and other value that frames are made of.

use bytes::Bytes;
use farwire_wire::client::{AckLevel, EntryPoint};
use farwire_wire::{ChannelName, ClientId, Entry, ErrorCode, NodeName, Pattern, PublisherId, RegionName, WireError};
use proptest::prelude::*;
use proptest::sample::{Index, select};

pub(crate) fn channel() -> impl Strategy<Value = ChannelName> {
    "[A-Za-z0-9_:-]{1,12}(\\.[A-Za-z0-9_:-]{1,12}){0,6}".prop_map(|text| ChannelName::parse(&text).unwrap())
}

pub(crate) fn pattern() -> impl Strategy<Value = Pattern> {
    let text = "([a-z]{1,8}|\\*)(\\.([A-Za-z0-9_:-]{1,8}|\\*)){0,5}(\\.>)?";
    text.prop_map(|text| Pattern::parse(&text).unwrap())
}

pub(crate) fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
    prop::collection::vec(pattern(), 0..8)
}

pub(crate) fn node() -> impl Strategy<Value = NodeName> {
    "[a-z0-9-]{1,32}".prop_map(|text| NodeName::parse(&text).unwrap())
}

pub(crate) fn region() -> impl Strategy<Value = RegionName> {
    "[a-z0-9-]{1,32}".prop_map(|text| RegionName::parse(&text).unwrap())
}

pub(crate) fn client_id() -> impl Strategy<Value = ClientId> {
    "[A-Za-z0-9_:.@-]{1,64}".prop_map(|text| ClientId::parse(&text).unwrap())
}

/// Text without control characters, as every checked text for people is.
pub(crate) fn text() -> impl Strategy<Value = String> {
    "\\PC{0,60}"
}

pub(crate) fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

/// Where a frame is cut or changed, and to what.
pub(crate) fn damage() -> impl Strategy<Value = Vec<(Index, u8)>> {
    prop::collection::vec(any::<(Index, u8)>(), 4)
}

pub(crate) fn level() -> impl Strategy<Value = AckLevel> {
    select(vec![AckLevel::Volatile, AckLevel::Region, AckLevel::Geo])
}

pub(crate) fn error() -> impl Strategy<Value = WireError> {
    let parts = (select(ErrorCode::ALL), text(), any::<u32>());
    parts.prop_map(|(code, message, retry_after_ms)| WireError { code, message, retry_after_ms })
}

pub(crate) fn entry_points() -> impl Strategy<Value = Vec<EntryPoint>> {
    let entry_point =
        (node(), region(), text()).prop_map(|(node, region, address)| EntryPoint { node, region, address });
    prop::collection::vec(entry_point, 0..5)
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    let numbers = any::<(u64, u64, u64, u64, u64, bool)>();
    (channel(), bytes(), numbers).prop_map(|(channel, payload, numbers)| {
        let (publisher, number, published_at_us, session, count, datagram) = numbers;
        let publisher = PublisherId(publisher);
        Entry { channel, payload, publisher, number, published_at_us, session, count, datagram }
    })
}
