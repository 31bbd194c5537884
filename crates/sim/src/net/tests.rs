//! The switch by itself: what arrives, when, and that it is the same every time.

use super::*;
use farwire_transport::packets::PacketSocket;

fn delays() -> Delays {
    let (local, far) = (Duration::from_millis(1), Duration::from_millis(50));
    Delays { local, far, between: BTreeMap::from([((1, 2), Duration::from_millis(44))]) }
}

fn address(region: u8, host: u8) -> SocketAddr {
    SocketAddr::from(([10, region, 0, host], 7_400))
}

/// The next packet and when it came, counted from the start of the run.
async fn received(socket: &SimSocket) -> (Bytes, Duration) {
    let (_, packet) = std::future::poll_fn(|context| socket.poll_receive(context)).await;
    (packet, socket.net.now())
}

/// Sends a packet a millisecond and returns which arrived, and when.
async fn hundred_packets(seed: u64, weather: Weather) -> Vec<(u8, Duration)> {
    let net = Net::start(seed, delays());
    let (a, b) = (net.socket(address(1, 1)), net.socket(address(2, 1)));
    net.set(a.local_address().ip(), b.local_address().ip(), weather);
    for packet in 0..100 {
        a.send(b.local_address(), &[packet]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut arrived = Vec::new();
    while let Ok((packet, at)) = tokio::time::timeout(Duration::from_secs(5), received(&b)).await {
        arrived.push((packet[0], at));
    }
    arrived
}

#[tokio::test(start_paused = true)]
async fn packets_take_their_links_delay_and_keep_their_order() {
    let net = Net::start(1, delays());
    let (a, b) = (net.socket(address(1, 1)), net.socket(address(2, 1)));
    (0..20).for_each(|packet| a.send(b.local_address(), &[packet]));
    for expected in 0..20 {
        let (packet, at) = received(&b).await;
        assert_eq!(packet[0], expected);
        assert!((44..=46).contains(&at.as_millis()), "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn weather_is_the_same_for_the_same_seed_and_differs_for_another() {
    let storm = Weather { loss: 0.3, doubled: 0.1, shuffled: Duration::from_millis(20), ..Weather::default() };
    let arrived = hundred_packets(7, storm).await;
    assert!((40..110).contains(&arrived.len()), "{}", arrived.len());
    assert!(!arrived.is_sorted_by_key(|(packet, _)| *packet), "some overtook others");
    assert_eq!(arrived, hundred_packets(7, storm).await);
    assert_ne!(arrived, hundred_packets(8, storm).await);
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_one_way_and_takes_what_is_under_way() {
    let net = Net::start(1, delays());
    let (a, b) = (net.socket(address(1, 1)), net.socket(address(2, 1)));
    a.send(b.local_address(), b"under way");
    tokio::time::sleep(Duration::from_millis(10)).await;
    net.set(a.local_address().ip(), b.local_address().ip(), Weather::cut());
    a.send(b.local_address(), b"cut");
    b.send(a.local_address(), b"back");
    assert_eq!(received(&a).await.0, b"back"[..]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    net.set(a.local_address().ip(), b.local_address().ip(), Weather::default());
    a.send(b.local_address(), b"healed");
    assert_eq!(received(&b).await.0, b"healed"[..]);
    assert_eq!(net.counts().cut, 2);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_was_unplugged_is_mute_and_its_address_is_free() {
    let net = Net::start(1, delays());
    let (old, other) = (net.socket(address(1, 1)), net.socket(address(1, 2)));
    net.unplug(old.local_address().ip());
    old.send(other.local_address(), b"goodbye");
    let new = net.socket(address(1, 1));
    drop(old);
    new.send(other.local_address(), b"hello");
    assert_eq!(received(&other).await.0, b"hello"[..]);
    other.send(new.local_address(), b"welcome");
    assert_eq!(received(&new).await.0, b"welcome"[..]);
}
