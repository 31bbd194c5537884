//! Who may begin a handshake, decided before any work is spent on it. A handshake costs a node a signature and some
//! 50 KiB; a packet costs an attacker nothing, least of all one with a forged address.
//!
//! In quiet times everybody may. Once a quarter of the handshakes is under way, or half of a bucket is used up, whoever
//! knocks has to prove the address first (a QUIC Retry, which costs nothing here and honest clients one round trip): the
//! other half is for those who have. A bucket that is empty refuses. Buckets are those of the whole port and of the
//! sender's network, so that one network cannot take the port from all others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::bucket::{Bucket, Rate};

/// Most networks remembered. Beyond that, unproven addresses have to prove themselves, and proven ones count for the
/// port alone.
const NETWORKS_MAX: usize = 4_096;
/// Networks are looked through for those to forget at most this often: it takes time, and an attacker chooses when.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A port's limits.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Handshakes under way at a time.
    pub in_flight_max: usize,
    /// Handshakes of everybody.
    pub port: Rate,
    /// Handshakes of one network: an IPv4 /24 or an IPv6 /56.
    pub network: Rate,
}

/// Somebody who wants to begin a handshake.
#[derive(Debug, Clone, Copy)]
pub struct Knock {
    /// Where from.
    pub address: IpAddr,
    /// Whether the sender has shown that it receives there.
    pub proven: bool,
    /// Handshakes under way now.
    pub in_flight: usize,
}

/// The answer to a knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Begin the handshake.
    Admit,
    /// Ask for a proof of the address.
    Prove,
    /// Refuse.
    Refuse,
}

/// What was admitted lately.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    port: Bucket,
    networks: BTreeMap<IpAddr, Bucket>,
    swept_at: Option<Duration>,
}

impl Admission {
    /// Nobody has knocked yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, port: Bucket::default(), networks: BTreeMap::new(), swept_at: None }
    }

    /// Answers a knock. Only an admission takes from the buckets, so that forged addresses take nothing from whom they
    /// name once the port is busy.
    pub fn knock(&mut self, now: Duration, knock: &Knock) -> Verdict {
        let network = network_of(knock.address);
        let has_place = self.make_room(now, network, knock.proven);
        if !knock.proven && (!has_place || self.is_busy(now, network, knock.in_flight)) {
            return Verdict::Prove;
        }
        if knock.in_flight >= self.limits.in_flight_max || !self.port.has_one(&self.limits.port, now) {
            return Verdict::Refuse;
        }
        if has_place && !self.networks.entry(network).or_default().take(&self.limits.network, now) {
            return Verdict::Refuse;
        }
        self.port.take(&self.limits.port, now);
        Verdict::Admit
    }

    fn is_busy(&self, now: Duration, network: IpAddr, in_flight: usize) -> bool {
        let of_network = self.networks.get(&network).copied().unwrap_or_default();
        in_flight * 4 > self.limits.in_flight_max
            || !self.port.is_half_full(&self.limits.port, now)
            || !of_network.is_half_full(&self.limits.network, now)
    }

    /// Whether the network is or can be remembered.
    fn make_room(&mut self, now: Duration, network: IpAddr, proven: bool) -> bool {
        let has_place =
            |networks: &BTreeMap<IpAddr, Bucket>| networks.len() < NETWORKS_MAX || networks.contains_key(&network);
        let is_due = self.swept_at.is_none_or(|at| now.saturating_sub(at) >= SWEEP_EVERY);
        if !has_place(&self.networks) && proven && is_due {
            self.swept_at = Some(now);
            self.networks.retain(|_, bucket| !bucket.is_full(now));
        }
        has_place(&self.networks)
    }
}

/// The network of an address: an IPv4 /24 or an IPv6 /56.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => site_of(v6),
    }
}

/// What counts as one place that clients come from: an IPv4 address, or an IPv6 /56, which is what one customer gets.
/// IPv4 in the guise of IPv6, as a socket for both shows it, is IPv4.
#[must_use]
pub fn place_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => site_of(v6),
    }
}

fn site_of(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 72 << 72))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn admission() -> Admission {
        Admission::new(Limits { in_flight_max: 100, port: Rate::new(300, 300), network: Rate::new(20, 50) })
    }

    fn knock(address: &str, proven: bool) -> Knock {
        Knock { address: address.parse().unwrap(), proven, in_flight: 0 }
    }

    fn count(verdicts: &[Verdict], verdict: Verdict) -> usize {
        verdicts.iter().filter(|v| **v == verdict).count()
    }

    #[test]
    fn unproven_senders_get_half_a_networks_burst_and_proven_ones_the_rest() {
        let mut admission = admission();
        let unproven: Vec<_> = (0..100).map(|n| admission.knock(NOW, &knock(&format!("192.0.2.{n}"), false))).collect();
        assert_eq!((count(&unproven, Verdict::Admit), count(&unproven, Verdict::Prove)), (25, 75));
        let proven: Vec<_> = (0..100).map(|n| admission.knock(NOW, &knock(&format!("192.0.2.{n}"), true))).collect();
        assert_eq!((count(&proven, Verdict::Admit), count(&proven, Verdict::Refuse)), (25, 75));
        assert_eq!(admission.knock(NOW, &knock("192.0.3.1", false)), Verdict::Admit, "another network");
        let later = NOW + Duration::from_millis(50);
        assert_eq!(admission.knock(later, &knock("192.0.2.1", true)), Verdict::Admit, "20 a second come back");
    }

    #[test]
    fn a_flood_from_everywhere_leaves_half_of_the_port_to_proven_senders() {
        let mut admission = admission();
        let forged = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + (n << 8)).to_string();
        let flood: Vec<_> = (0..1_000).map(|n| admission.knock(NOW, &knock(&forged(n), false))).collect();
        assert_eq!((count(&flood, Verdict::Admit), count(&flood, Verdict::Prove)), (150, 850));
        let proven: Vec<_> = (1_000..1_200).map(|n| admission.knock(NOW, &knock(&forged(n), true))).collect();
        assert_eq!((count(&proven, Verdict::Admit), count(&proven, Verdict::Refuse)), (150, 50));
    }

    #[test]
    fn a_quarter_of_the_handshakes_under_way_asks_for_proof_and_all_of_them_refuse() {
        let mut admission = admission();
        let mut at = |in_flight, proven| admission.knock(NOW, &Knock { in_flight, ..knock("192.0.2.1", proven) });
        assert_eq!([at(25, false), at(26, false)], [Verdict::Admit, Verdict::Prove]);
        assert_eq!([at(99, true), at(100, true)], [Verdict::Admit, Verdict::Refuse]);
    }

    #[test]
    fn the_table_of_networks_is_bounded_and_makes_room_for_proven_ones() {
        let mut admission = Admission::new(Limits { port: Rate::new(1_000_000, 1_000_000), ..admission().limits });
        let address = |n: usize| Ipv4Addr::from_bits(u32::try_from(n).unwrap() << 8).to_string();
        for n in 0..NETWORKS_MAX {
            assert_eq!(admission.knock(NOW, &knock(&address(n), false)), Verdict::Admit);
        }
        assert_eq!(admission.knock(NOW, &knock(&address(NETWORKS_MAX), false)), Verdict::Prove);
        assert_eq!(admission.knock(NOW, &knock(&address(NETWORKS_MAX), true)), Verdict::Admit);
        assert_eq!(admission.networks.len(), NETWORKS_MAX);
        let later = NOW + Duration::from_secs(2);
        assert_eq!(admission.knock(later, &knock(&address(NETWORKS_MAX), true)), Verdict::Admit);
        assert_eq!(admission.networks.len(), 1);
    }

    #[test]
    fn places_are_addresses_of_ipv4_and_sites_of_ipv6() {
        let place = |text: &str| place_of(text.parse().unwrap()).to_string();
        assert_eq!(place("192.0.2.7"), "192.0.2.7");
        assert_eq!(place("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(place("2001:db8:1:2ff:3::4"), "2001:db8:1:200::");
        assert_eq!(network_of("::ffff:192.0.2.7".parse().unwrap()).to_string(), "192.0.2.0");
    }
}
