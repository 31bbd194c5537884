//! The frames between clients and nodes.

use bytes::Bytes;
use farwire_wire::client::{
    ClientBody, ClientFrame, Delivery, GoAway, Hello, Publish, ServerBody, ServerFrame, SessionLimits, Welcome,
    decode_delivery_header, delivery_header,
};
use farwire_wire::entry::{delivery_datagram, delivery_frame};
use farwire_wire::{Entry, Filter, Instance, PublisherId, SessionId};
use proptest::prelude::*;

use crate::values::{
    bytes, channel, client_id, damage, entry, entry_points, error, level, node, pattern, region, text,
};
use crate::{Kind, presence, whole};

const REQUESTS: Kind<ClientFrame> = Kind { encode: ClientFrame::encode, decode: ClientFrame::decode };
const ANSWERS: Kind<ServerFrame> = Kind { encode: ServerFrame::encode, decode: ServerFrame::decode };
const HEADERS: Kind<u64> = Kind { encode: |number| delivery_header(*number), decode: decode_delivery_header };
const DELIVERIES: Kind<Delivery> = Kind { encode: encode_delivery, decode: Delivery::decode };

fn encode_delivery(delivery: &Delivery) -> Bytes {
    match delivery {
        Delivery::Entry(entry) => delivery_frame(&entry.encode()),
        Delivery::Dropped(count) => Delivery::dropped_frame(*count),
    }
}

fn hello() -> impl Strategy<Value = Hello> {
    let versions = any::<(u32, u32)>().prop_map(|(a, b)| a.min(b)..=a.max(b));
    let parts = (versions, any::<String>(), prop::option::of(client_id()), any::<u64>(), "\\PC{0,64}", any::<u32>());
    parts.prop_map(|(versions, token, client_id, instance, agent, connects)| Hello {
        versions,
        token,
        client_id,
        instance: Instance(instance),
        agent,
        connects,
    })
}

fn publish() -> impl Strategy<Value = Publish> {
    let parts = (channel(), bytes(), any::<(u64, u64, u64)>(), prop::option::of(level()));
    parts.prop_map(|(channel, payload, (publisher, number, count), level)| Publish {
        channel,
        payload,
        publisher: PublisherId(publisher),
        number,
        count,
        level,
    })
}

fn request() -> impl Strategy<Value = ClientFrame> {
    let body = prop_oneof![
        hello().prop_map(ClientBody::Hello),
        publish().prop_map(ClientBody::Publish),
        prop::collection::vec(pattern(), 1..=16).prop_map(|p| ClientBody::Subscribe(Filter::new(p).unwrap())),
        any::<u64>().prop_map(ClientBody::Unsubscribe),
        presence::request(),
    ];
    (any::<u64>(), body).prop_map(|(request, body)| ClientFrame { request, body })
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let names = (text(), node(), region(), client_id());
    let limits = any::<(u32, u32, u32)>().prop_map(|(payload, subscriptions, publishes)| SessionLimits {
        payload_bytes_max: payload,
        subscriptions_max: subscriptions,
        publishes_in_flight_max: publishes,
    });
    (any::<(u32, u64)>(), names, limits, entry_points()).prop_map(
        |((version, session), (mesh, node, region, client_id), limits, entry_points)| {
            let session = SessionId(session);
            Welcome { version, session, mesh, node, region, client_id, limits, entry_points }
        },
    )
}

fn go_away() -> impl Strategy<Value = GoAway> {
    let parts = (any::<(u32, u32)>(), entry_points(), text());
    parts.prop_map(|((retry_after_ms, jitter_ms), alternatives, reason)| GoAway {
        retry_after_ms,
        jitter_ms,
        alternatives,
        reason,
    })
}

fn answer() -> impl Strategy<Value = ServerFrame> {
    let body = prop_oneof![
        welcome().prop_map(ServerBody::Welcome),
        (any::<u64>(), level()).prop_map(|(first, level)| ServerBody::PublishAck { first, level }),
        prop::collection::vec(region(), 0..5).prop_map(|pending_regions| ServerBody::SubscribeOk { pending_regions }),
        Just(ServerBody::UnsubscribeOk),
        error().prop_map(ServerBody::Error),
        go_away().prop_map(ServerBody::GoAway),
        entry_points().prop_map(ServerBody::EntryList),
        presence::answer(),
    ];
    (any::<u64>(), body).prop_map(|(request, body)| ServerFrame { request, body })
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![entry().prop_map(Delivery::Entry), any::<u64>().prop_map(Delivery::Dropped)]
}

proptest! {
    #[test]
    fn requests_survive_the_wire(request in request(), damage in damage()) {
        REQUESTS.holds_for(&request, &damage)?;
        prop_assert_eq!(request.encode_datagram(), whole(&request.encode()));
    }

    #[test]
    fn answers_survive_the_wire(answer in answer(), damage in damage()) {
        ANSWERS.holds_for(&answer, &damage)?;
    }

    #[test]
    fn deliveries_survive_the_wire(subscription in any::<u64>(), delivery in delivery(), damage in damage()) {
        HEADERS.holds_for(&subscription, &damage)?;
        DELIVERIES.holds_for(&delivery, &damage)?;
    }

    #[test]
    fn entries_keep_their_bytes_in_every_wrapping(subscription in any::<u64>(), entry in entry()) {
        let stored = entry.encode();
        prop_assert_eq!(Entry::decode(stored.clone()), Ok(entry.clone()));
        let datagram = delivery_datagram(subscription, &stored);
        prop_assert!(datagram.ends_with(&stored));
        prop_assert_eq!(Delivery::decode_datagram(datagram), Ok((subscription, entry)));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in bytes()) {
        REQUESTS.takes_or_refuses(bytes.clone())?;
        ANSWERS.takes_or_refuses(bytes.clone())?;
        HEADERS.takes_or_refuses(bytes.clone())?;
        DELIVERIES.takes_or_refuses(bytes.clone())?;
        if let Ok((subscription, entry)) = Delivery::decode_datagram(bytes) {
            let again = Delivery::decode_datagram(delivery_datagram(subscription, &entry.encode()));
            prop_assert_eq!(again, Ok((subscription, entry)));
        }
    }
}
