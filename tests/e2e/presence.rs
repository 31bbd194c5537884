//! Who is there: clients of three regions enter, speak, move and leave, and everybody sees the same.

use std::collections::BTreeMap;

use farwire_client::{
    ChannelPresence, Client, ErrorCode, Presence, PresenceError, PresenceEvent, PresenceState, PresenceUpdate,
    PresenceWatch, SubscribeError,
};
use farwire_tests::mesh::TestMesh;
use farwire_tests::wait;
use farwire_tests::wait::within_patience;

use crate::mortal::{Mortal, until_all_in_the_ring};

const CHANNEL: &str = "chat.lobby";

async fn client(mesh: &TestMesh, node: &str, who: &str) -> Client {
    let token = mesh.token(who, &["chat.>:presence,publish,subscribe"]);
    Client::connect(mesh.options(node, token)).await.unwrap()
}

async fn enter(client: &Client, state: &str) -> Presence {
    client.enter(CHANNEL, state.parse().unwrap()).await.unwrap()
}

/// The next single event, as its kind and client; sums are passed over. The occupancy that it tells may lack what a new owner
/// has yet to hear: what is asked for has all.
async fn next(watch: &mut PresenceWatch) -> (&'static str, String) {
    let (channel, event) = next_on(watch).await;
    assert_eq!(channel, CHANNEL);
    event
}

/// As [`next`], with the channel.
async fn next_on(watch: &mut PresenceWatch) -> (String, (&'static str, String)) {
    within_patience("an event of presence", async {
        loop {
            let update = watch.next().await.expect("the watch goes on");
            let PresenceUpdate::Event { channel, event, .. } = update else { panic!("dropped: {update:?}") };
            let told = match event {
                PresenceEvent::Join { client, .. } => ("join", client.to_string()),
                PresenceEvent::Leave { client, .. } => ("leave", client.to_string()),
                PresenceEvent::Timeout { client, .. } => ("timeout", client.to_string()),
                PresenceEvent::State { client, .. } => ("state", client.to_string()),
                PresenceEvent::Interval { .. } => continue,
            };
            return (channel.to_string(), told);
        }
    })
    .await
}

fn event(kind: &'static str, who: &str) -> (&'static str, String) {
    (kind, who.to_owned())
}

/// Who is there, with the node and the state of each.
fn listed(presence: &ChannelPresence) -> BTreeMap<String, (String, String)> {
    let row = |occupant: &farwire_client::ListedOccupant| {
        let state = occupant.state.json().unwrap_or_default().to_owned();
        (occupant.client.to_string(), (occupant.node.to_string(), state))
    };
    presence.occupants.iter().map(row).collect()
}

/// Waits until a client sees what `is` holds for.
async fn until_seen(what: &str, client: &Client, is: impl Fn(&ChannelPresence) -> bool) -> ChannelPresence {
    wait::until(what, async || Some(client.presence(CHANNEL).await.unwrap()).filter(|presence| is(presence))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_who_comes_speaks_and_goes_in_any_region() {
    let mesh = TestMesh::start(&[("fra", 2), ("iad", 1), ("sin", 1)]).await;
    let (ann, bob, eve) =
        (client(&mesh, "fra-1", "ann").await, client(&mesh, "iad-1", "bob").await, client(&mesh, "sin-1", "eve").await);
    let mut watches = Vec::new();
    for who in [&ann, &bob, &eve] {
        watches.push(who.watch_presence("chat.*").await.unwrap());
    }
    let ann_here = enter(&ann, r#"{"mood":"fine"}"#).await;
    for watch in &mut watches {
        assert_eq!(next(watch).await, event("join", "ann"));
    }
    let bob_here = enter(&bob, "").await;
    for watch in &mut watches {
        assert_eq!(next(watch).await, event("join", "bob"));
    }
    ann_here.update("7".parse().unwrap()).await.unwrap();
    for watch in &mut watches {
        assert_eq!(next(watch).await, event("state", "ann"));
    }
    for who in [&ann, &bob, &eve] {
        let presence = until_seen("both are there", who, |presence| presence.occupancy == 2).await;
        assert_eq!(presence.clients, 2);
        let regions: BTreeMap<_, _> =
            presence.regions.iter().map(|r| (r.region.to_string(), (r.occupancy, r.reachable))).collect();
        let want = [("fra", 1), ("iad", 1), ("sin", 0)].map(|(region, n)| (region.to_owned(), (n, true)));
        assert_eq!(regions, BTreeMap::from(want));
        let want = [("ann", "fra-1", "7"), ("bob", "iad-1", "")];
        let want = want.map(|(who, node, state)| (who.to_owned(), (node.to_owned(), state.to_owned())));
        assert_eq!(listed(&presence), BTreeMap::from(want));
    }
    drop(bob_here);
    for watch in &mut watches {
        assert_eq!(next(watch).await, event("leave", "bob"));
    }
    // Who closes the client goes at once.
    ann.close().await;
    drop(ann_here);
    for watch in &mut watches[1..] {
        assert_eq!(next(watch).await, event("leave", "ann"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_watches_has_an_answer_everywhere_for_a_thousand_channels_at_once() {
    let mesh = TestMesh::start(&[("fra", 2), ("iad", 2)]).await;
    let (ann, bob) = (client(&mesh, "fra-1", "ann").await, client(&mesh, "iad-2", "bob").await);
    let mut here = Vec::new();
    for room in 0..20 {
        here.push(ann.enter(format!("chat.{room}"), PresenceState::default()).await.unwrap());
    }
    let channels: Vec<String> = (0..1_000).map(|room| format!("chat.{room}")).collect();
    wait::until("twenty channels have one occupant each", async || {
        let answer = bob.occupancy(&channels).await.unwrap();
        assert_eq!(answer.len(), 1_000);
        assert!(answer.iter().map(|a| a.channel.as_str()).eq(channels.iter().map(String::as_str)));
        let occupied = answer.iter().take_while(|presence| presence.occupancy == 1).count();
        (occupied == 20 && answer[20..].iter().all(|presence| presence.occupancy == 0)).then_some(())
    })
    .await;
    let found = bob.locate("ann").await.unwrap();
    assert_eq!((found.places.len(), found.unreachable.len()), (20, 0));
    assert!(found.places.iter().all(|place| place.node.as_str() == "fra-1"));
    assert!(bob.locate("nobody").await.unwrap().places.is_empty());
    let too_many = (0..1_001).map(|room| format!("chat.{room}"));
    assert!(matches!(bob.occupancy(too_many).await, Err(PresenceError::Channels)));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_occupants_with_long_states_arrive_in_several_frames() {
    let mesh = TestMesh::start(&[("fra", 2)]).await;
    let mut clients = Vec::new();
    let state: PresenceState = format!("\"{}\"", "x".repeat(1_000)).parse().unwrap();
    for n in 0..120 {
        let who = client(&mesh, if n % 2 == 0 { "fra-1" } else { "fra-2" }, &format!("c{n:03}")).await;
        let here = who.enter(CHANNEL, state.clone()).await.unwrap();
        clients.push((who, here));
    }
    let (first, _) = &clients[0];
    let presence = until_seen("all are listed", first, |presence| presence.occupants.len() == 120).await;
    assert!(presence.occupants.is_sorted_by_key(|occupant| occupant.client.to_string()));
    assert!(presence.occupants.iter().all(|occupant| occupant.state == state));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_at_another_node_was_never_away() {
    let mut mesh = TestMesh::start(&[("fra", 3), ("iad", 1)]).await;
    let eve = client(&mesh, "iad-1", "eve").await;
    let mut watch = eve.watch_presence(CHANNEL).await.unwrap();
    let ann = client(&mesh, "fra-2", "ann").await;
    let here = enter(&ann, "1").await;
    assert_eq!(next(&mut watch).await, event("join", "ann"));
    let since = until_seen("ann is listed", &eve, |presence| presence.occupants.len() == 1).await.occupants[0].since_us;

    mesh.take("fra-2").shutdown().await;
    let presence = until_seen("ann is at another node", &eve, |presence| {
        presence.occupancy == 1 && presence.occupants.iter().all(|occupant| occupant.node.as_str() != "fra-2")
    })
    .await;
    assert_eq!(presence.occupants.len(), 1);
    assert_eq!(presence.occupants[0].since_us, since, "the stay goes on");
    // Nothing was told of it: the next word is the next thing that she says.
    here.update("2".parse().unwrap()).await.unwrap();
    assert_eq!(next(&mut watch).await, event("state", "ann"));
    here.leave().await.unwrap();
    assert_eq!(next(&mut watch).await, event("leave", "ann"));
}

/// In several rooms, so that the node that dies owns some of them.
#[tokio::test(flavor = "multi_thread")]
async fn who_loses_its_node_without_a_word_goes_on_at_another_and_was_never_away() {
    let mut mesh = TestMesh::prepare(&[("fra", 2), ("iad", 1)]);
    for name in ["fra-1", "iad-1"] {
        mesh.start_node(&name.parse().unwrap()).await;
    }
    let mortal = Mortal::start(&mesh, "fra-2", mesh.node("fra-1")).await;
    until_all_in_the_ring(&[mesh.node("fra-1"), mesh.node("iad-1"), &mortal.node]).await;
    let eve = client(&mesh, "iad-1", "eve").await;
    let mut watch = eve.watch_presence("chat.*").await.unwrap();
    let ann = Client::connect(mortal.options(&mesh, mesh.token("ann", &["chat.>:presence"]))).await.unwrap();
    let rooms: Vec<String> = (0..8).map(|room| format!("chat.{room}")).collect();
    let mut here = Vec::new();
    for room in &rooms {
        here.push(ann.enter(room, PresenceState::default()).await.unwrap());
    }
    let mut heard = async |told: &'static str| {
        let mut on = BTreeMap::new();
        while on.len() < rooms.len() {
            let (channel, event) = next_on(&mut watch).await;
            assert!(on.insert(channel.clone(), event).is_none(), "{channel} was told of twice");
        }
        assert!(on.values().all(|said| *said == event(told, "ann")), "{on:?}");
    };
    heard("join").await;

    mortal.die();
    wait::until("ann is at the other node in every room", async || {
        let found = eve.locate("ann").await.unwrap().places;
        (found.len() == rooms.len() && found.iter().all(|place| place.node.as_str() == "fra-1")).then_some(())
    })
    .await;
    // Nothing was told of it: the next word in each room is what she says next.
    for here in &here {
        here.update("2".parse().unwrap()).await.unwrap();
    }
    heard("state").await;
    drop(here);
    heard("leave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_granted_by_channel_and_bounded() {
    let mesh = TestMesh::start(&[("fra", 1)]).await;
    let token = mesh.token("ann", &["chat.>:publish,subscribe", "room.>:presence"]);
    let ann = Client::connect(mesh.options("fra-1", token)).await.unwrap();
    let code = |error: &PresenceError| error.code();
    for refused in [
        ann.enter(CHANNEL, PresenceState::default()).await.map(|_| ()),
        ann.presence(CHANNEL).await.map(|_| ()),
        ann.enter("farwire:presence.room.a", PresenceState::default()).await.map(|_| ()),
    ] {
        assert_eq!(refused.as_ref().err().and_then(code), Some(ErrorCode::Forbidden), "{refused:?}");
    }
    let watched = ann.watch_presence("chat.>").await;
    assert!(
        matches!(&watched, Err(SubscribeError::Refused(error)) if error.code == ErrorCode::Forbidden),
        "{watched:?}"
    );
    let mut here = Vec::new();
    for room in 0..100 {
        here.push(ann.enter(format!("room.{room}"), PresenceState::default()).await.unwrap());
    }
    let one_more = ann.enter("room.100", PresenceState::default()).await;
    assert!(
        matches!(&one_more, Err(PresenceError::Refused(error)) if error.message.contains("100 channels")),
        "{one_more:?}"
    );
    let again = ann.enter("room.1", PresenceState::default()).await;
    assert!(matches!(again, Err(PresenceError::AlreadyPresent)), "{again:?}");
    assert!(ann.locate("ann").await.unwrap().places.len() == 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_counts_hears_sums_and_no_names() {
    let mesh = TestMesh::start(&[("fra", 2), ("iad", 1)]).await;
    let (ann, eve) = (client(&mesh, "fra-2", "ann").await, client(&mesh, "iad-1", "eve").await);
    let mut counts = eve.watch_occupancy("chat.>").await.unwrap();
    let here = enter(&ann, "").await;
    let mut sums = async |occupancy: u64| {
        within_patience("a sum", async {
            loop {
                let update = counts.next().await.expect("the watch goes on");
                let PresenceUpdate::Event {
                    event: PresenceEvent::Interval { occupancy: now, clients, joined, left },
                    ..
                } = update
                else {
                    panic!("not a sum: {update:?}")
                };
                if now == occupancy {
                    return (clients, joined, left);
                }
            }
        })
        .await
    };
    assert_eq!(sums(1).await, (1, 1, 0));
    here.leave().await.unwrap();
    assert_eq!(sums(0).await, (0, 0, 1));
}
