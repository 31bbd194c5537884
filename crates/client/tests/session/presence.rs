//! Presence as the SDK keeps it over sessions, and what it makes of a node's answers.

use std::time::Duration;

use bytes::Bytes;
use farwire_client::{
    ChannelName, ChannelPresence, Client, ClientId, ErrorClass, ErrorCode, ListedOccupant, NodeName, Place, Presence,
    PresenceError, PresenceEvent, PresenceState, PresenceUpdate, RegionName, RegionPresence, Status,
};
use farwire_wire::client::{ClientBody, Delivery, Enter, PresenceAnswer, PresenceQuery, ServerBody, WhereAnswer};
use farwire_wire::entry::delivery_frame;
use farwire_wire::{Entry, PublisherId};
use tokio::join;

use crate::node::{Mesh, Session, connected, go_away, lose};

const ROOM: &str = "live.room";

fn channel(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

fn state(text: &str) -> PresenceState {
    text.parse().unwrap()
}

/// Takes the next request, which must be to enter the room, and answers it. Gives back what the client says of itself.
async fn entered(session: &mut Session) -> String {
    let frame = session.request().await;
    let ClientBody::Enter(Enter { channel, state }) = frame.body else { panic!("not an enter: {frame:?}") };
    assert_eq!(channel.as_str(), ROOM);
    session.answer(frame.request, ServerBody::EnterOk).await;
    state.json().unwrap_or_default().to_owned()
}

async fn present(client: &Client, session: &mut Session, text: &str) -> Presence {
    let (presence, said) = join!(client.enter(ROOM, state(text)), entered(session));
    assert_eq!(said, text);
    presence.unwrap()
}

/// Takes the next request, which must be to leave the room.
async fn leave_at(session: &mut Session) -> u64 {
    let frame = session.request().await;
    assert_eq!(frame.body, ClientBody::Leave(channel(ROOM)));
    frame.request
}

/// Takes the next request, which must be a question about the room.
async fn question_at(session: &mut Session) -> u64 {
    let frame = session.request().await;
    let query = PresenceQuery { channels: vec![channel(ROOM)], occupants: true };
    assert_eq!(frame.body, ClientBody::PresenceQuery(query));
    frame.request
}

fn with(occupants: &[&str]) -> ChannelPresence {
    let occupant = |who: &&str| ListedOccupant {
        client: ClientId::parse(who).unwrap(),
        state: PresenceState::default(),
        node: NodeName::parse("fra-1").unwrap(),
        since_us: 1,
    };
    let region = RegionName::parse("fra").unwrap();
    ChannelPresence {
        channel: channel(ROOM),
        occupancy: 3,
        clients: 3,
        regions: vec![RegionPresence { region, occupancy: 3, as_of_us: Some(1), reachable: true }],
        occupants: occupants.iter().map(occupant).collect(),
    }
}

fn answer(occupants: &[&str], more: bool) -> ServerBody {
    ServerBody::PresenceAnswer(PresenceAnswer { channels: vec![with(occupants)], more })
}

/// A message on the room's channel of presence.
fn told(number: u64, payload: Bytes) -> Bytes {
    let entry = Entry {
        channel: channel(ROOM).presence(),
        payload,
        publisher: PublisherId(1),
        number,
        published_at_us: 7,
        session: 1,
        count: number,
        datagram: false,
    };
    delivery_frame(&entry.encode())
}

#[tokio::test]
async fn who_comes_back_is_present_again_with_its_newest_state_before_it_is_resumed() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let here = present(&client, &mut session, "1").await;
    let (updated, said) = join!(here.update(state("2")), entered(&mut session));
    assert_eq!((updated.is_ok(), said.as_str()), (true, "2"));
    assert_eq!(session.connects, 1);
    let mut status = client.status();
    // What is said while the session is lost is said in the next one.
    let unanswered = here.update(state("3"));
    let next = async {
        session.request().await;
        lose(session).await;
        let mut session = node.welcome().await;
        assert_eq!(session.connects, 2, "of two sessions the later one counts");
        assert_eq!(entered(&mut session).await, "3");
        session
    };
    let (updated, _session) = join!(unanswered, next);
    updated.unwrap();
    assert!(matches!(status.next().await, Some(Status::Connected { .. })));
    assert!(matches!(status.next().await, Some(Status::Reconnecting { .. })));
    assert!(matches!(status.next().await, Some(Status::Resumed { .. })));
    assert!(here.error().is_none());
}

#[tokio::test]
async fn a_dropped_handle_leaves_in_the_session_that_stands() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    drop(present(&client, &mut session, "").await);
    leave_at(&mut session).await;
    // There is room for another one at once.
    let here = present(&client, &mut session, "1").await;
    lose(session).await;
    let mut session = node.welcome().await;
    assert_eq!(entered(&mut session).await, "1");
    drop(here);
    leave_at(&mut session).await;
}

#[tokio::test]
async fn leaving_waits_for_the_node_and_a_lost_session_is_as_good() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let here = present(&client, &mut session, "").await;
    let answered = async {
        let request = leave_at(&mut session).await;
        session.answer(request, ServerBody::LeaveOk).await;
    };
    let (left, ()) = join!(here.leave(), answered);
    left.unwrap();
    let here = present(&client, &mut session, "").await;
    let lost = async {
        leave_at(&mut session).await;
        lose(session).await;
    };
    let (left, ()) = join!(here.leave(), lost);
    left.unwrap();
    let mut session = node.welcome().await;
    let (answered, request) = join!(client.presence(ROOM), async {
        let request = question_at(&mut session).await;
        session.answer(request, answer(&[], false)).await;
        request
    });
    assert!(answered.is_ok());
    assert_eq!(request, 2, "nothing was entered before");
}

#[tokio::test]
async fn by_the_code_of_the_close_a_node_knows_who_goes_on_elsewhere() {
    let mesh = Mesh::new();
    let (node, other) = (mesh.node("fra-1", "fra"), mesh.node("fra-2", "fra"));
    let (client, mut session) = connected(&mesh, &node).await;
    session.answer(0, go_away(0, &[&other])).await;
    assert_eq!(session.connection.closed().await.code(), Some(ErrorCode::GoAway));
    let session = other.welcome().await;
    client.close().await;
    assert_eq!(session.connection.closed().await.code(), Some(ErrorCode::Closed));
}

#[tokio::test]
async fn a_node_that_refuses_who_comes_back_is_heard_through_the_handle() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let here = present(&client, &mut session, "1").await;
    lose(session).await;
    let mut session = node.welcome().await;
    let request = session.request().await.request;
    session.answer(request, ServerBody::Error(ErrorCode::Forbidden.into())).await;
    let mut status = client.status();
    while !matches!(status.next().await, Some(Status::Resumed { .. })) {}
    let is_forbidden = |error: &PresenceError| error.code() == Some(ErrorCode::Forbidden);
    assert!(here.error().is_some_and(is_forbidden));
    assert!(here.update(state("2")).await.as_ref().is_err_and(is_forbidden));
}

#[tokio::test]
async fn an_answer_in_several_frames_is_one_answer() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let answers = async {
        let request = question_at(&mut session).await;
        session.answer(request, answer(&["ann", "bob"], true)).await;
        session.answer(request, answer(&["eve"], false)).await;
    };
    let (presence, ()) = join!(client.presence(ROOM), answers);
    assert_eq!(presence.unwrap(), with(&["ann", "bob", "eve"]));

    let place = |name: &str| {
        let (node, region) = (NodeName::parse("fra-1").unwrap(), RegionName::parse("fra").unwrap());
        Place { channel: channel(name), node, region, since_us: 1 }
    };
    let dark = vec![NodeName::parse("sin-1").unwrap()];
    let answers = async {
        let frame = session.request().await;
        assert_eq!(frame.body, ClientBody::WhereQuery(ClientId::parse("ann").unwrap()));
        let first = WhereAnswer { places: vec![place("a")], more: true, unreachable: Vec::new() };
        session.answer(frame.request, ServerBody::WhereAnswer(first)).await;
        let second = WhereAnswer { places: vec![place("b")], more: false, unreachable: dark.clone() };
        session.answer(frame.request, ServerBody::WhereAnswer(second)).await;
    };
    let (found, ()) = join!(client.locate("ann"), answers);
    let found = found.unwrap();
    assert_eq!((found.places, found.unreachable), (vec![place("a"), place("b")], dark));
}

#[tokio::test]
async fn a_question_is_asked_again_where_the_answer_was_lost_or_put_off() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let answers = async {
        let request = question_at(&mut session).await;
        session.answer(request, ServerBody::Error(ErrorCode::NotOwner.into())).await;
        let request = question_at(&mut session).await;
        session.answer(request, answer(&["ann"], true)).await;
        session.finish_and_close(ErrorCode::Closed).await;
        let mut session = node.welcome().await;
        let request = question_at(&mut session).await;
        session.answer(request, answer(&["bob"], false)).await;
        session
    };
    let (presence, mut session) = join!(client.presence(ROOM), answers);
    assert_eq!(presence.unwrap(), with(&["bob"]), "what came before the loss is no part of it");

    let refuse = async {
        let request = question_at(&mut session).await;
        session.answer(request, ServerBody::Error(ErrorCode::Forbidden.into())).await;
    };
    let (refused, ()) = join!(client.presence(ROOM), refuse);
    assert!(matches!(refused, Err(PresenceError::Refused(error)) if error.code == ErrorCode::Forbidden));
}

#[tokio::test]
async fn a_question_without_an_answer_ends_after_ten_seconds() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, session) = connected(&mesh, &node).await;
    lose(session).await;
    drop(node);
    let mut status = client.status();
    while !matches!(status.next().await, Some(Status::Reconnecting { .. })) {}
    tokio::time::pause();
    let error = client.presence(ROOM).await.unwrap_err();
    assert!(matches!(error, PresenceError::TimedOut(after) if after == Duration::from_secs(10)), "{error}");
    assert_eq!(error.class(), ErrorClass::Retryable);
}

#[tokio::test]
async fn the_end_of_a_client_is_the_answer_to_its_questions_and_the_end_of_its_presences() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let here = present(&client, &mut session, "1").await;
    let refused = async {
        question_at(&mut session).await;
        lose(session).await;
        node.refuse(ErrorCode::AuthExpired).await;
    };
    let (asked, ()) = join!(client.presence(ROOM), refused);
    let after = [asked.map(drop), client.presence(ROOM).await.map(drop), here.update(state("2")).await];
    for error in after.iter().map(|told| told.as_ref().unwrap_err()).chain(here.error()) {
        assert_eq!(error.code(), Some(ErrorCode::AuthExpired), "{error:?}");
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_not_sent() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    assert!(matches!(client.enter("a..b", state("1")).await, Err(PresenceError::Name(_))));
    assert!(matches!(client.locate("a b").await, Err(PresenceError::Name(_))));
    assert!(matches!(client.occupancy(vec!["a"; 1_001]).await, Err(PresenceError::Channels)));
    assert!(matches!(client.occupancy([""; 0]).await, Err(PresenceError::Channels)));
    let here = present(&client, &mut session, "1").await;
    assert!(matches!(client.enter(ROOM, state("2")).await, Err(PresenceError::AlreadyPresent)));
    drop(here);
    leave_at(&mut session).await;
}

#[tokio::test]
async fn a_watch_yields_what_it_knows_and_goes_on_in_the_next_session() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    let (watch, (_, mut stream)) = join!(client.watch_presence("live.>"), session.subscribed());
    let mut watch = watch.unwrap();
    let client_id = ClientId::parse("ann").unwrap();
    let join = PresenceEvent::Join { client: client_id.clone(), state: state("1"), occupancy: 1 };
    let leave = PresenceEvent::Leave { client: client_id, occupancy: 0 };
    // Kind 9, which this release does not know.
    let unknown = Bytes::from_static(&[8, 9]);
    let frames = [told(1, join.encode()), told(2, unknown), Delivery::dropped_frame(4), told(7, leave.encode())];
    stream.write_batch(&mut frames.to_vec()).await.unwrap();
    let event = |event| PresenceUpdate::Event { channel: channel(ROOM), event, told_at_us: 7 };
    assert_eq!(watch.next().await, Some(event(join.clone())));
    assert_eq!(watch.next().await, Some(PresenceUpdate::Dropped { count: 4 }));
    assert_eq!(watch.next().await, Some(event(leave)));
    lose(session).await;
    let mut session = node.welcome().await;
    let (_, mut stream) = session.subscribed().await;
    stream.write(told(8, join.encode())).await.unwrap();
    assert_eq!(watch.next().await, Some(event(join)));
}

#[tokio::test]
async fn events_and_counts_are_told_on_channels_of_their_own() {
    let mesh = Mesh::new();
    let node = mesh.node("fra-1", "fra");
    let (client, mut session) = connected(&mesh, &node).await;
    for (kind, want) in [("events", "farwire:presence.live.*"), ("counts", "farwire:counts.live.*")] {
        let watched = async {
            match kind {
                "events" => client.watch_presence("live.*").await,
                _ => client.watch_occupancy("live.*").await,
            }
        };
        let asked = async {
            let frame = session.request().await;
            session.answer(frame.request, ServerBody::Error(ErrorCode::Forbidden.into())).await;
            frame.body
        };
        let (watch, asked) = join!(watched, asked);
        let ClientBody::Subscribe(filter) = asked else { panic!("{asked:?}") };
        assert_eq!((filter.patterns()[0].as_str(), watch.is_err()), (want, true));
    }
}
