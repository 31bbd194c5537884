//! The table of all settings: key path, default and parser, one line each. The file, the environment, `--set`,
//! the search for unknown keys and the test of `deploy/config/node.toml` all read this table, so a setting
//! that is not here does not exist.

use std::path::Path;
use std::time::Duration;

use farwire_wire::limits;

use super::parse::{
    Given, Parsed, Value, address, choice, duration, host_port, host_ports, loopback, name, names, number, path, paths,
    prefix, reachable, size, truth,
};
use super::{Config, Namespace};

/// One setting of a `T`.
pub(super) struct Setting<T: 'static> {
    /// The key path, `client.bind`.
    pub(super) key: &'static str,
    pub(super) otherwise: Otherwise,
    /// Parses the value and puts it in its place.
    pub(super) set: fn(&mut T, &Given<'_>) -> Parsed<()>,
}

/// What holds when nobody wrote the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// A fault; the text is an example.
    Required(&'static str),
    /// This text, as it could be written with `--set`.
    Default(&'static str),
    /// Nothing: an optional setting.
    Unset,
}

type Set<T> = fn(&mut T, &Given<'_>) -> Parsed<()>;

const fn required<T>(key: &'static str, example: &'static str, set: Set<T>) -> Setting<T> {
    Setting { key, otherwise: Otherwise::Required(example), set }
}

const fn default<T>(key: &'static str, text: &'static str, set: Set<T>) -> Setting<T> {
    Setting { key, otherwise: Otherwise::Default(text), set }
}

const fn optional<T>(key: &'static str, set: Set<T>) -> Setting<T> {
    Setting { key, otherwise: Otherwise::Unset, set }
}

/// Every setting outside the namespaces.
pub(super) static SETTINGS: &[Setting<Config>] = &[
    required("mesh", "\"mesh.toml\"", |c, g| put(&mut c.mesh, path(g))),
    required("name", "\"fra-1\"", |c, g| put(&mut c.name, name(g))),
    required("region", "\"fra\"", |c, g| put(&mut c.region, name(g))),
    required("data_dir", "\"/var/lib/farwire\"", |c, g| put(&mut c.data_dir, path(g))),
    default("weight", "1", |c, g| put(&mut c.weight, number(g, 1..=16))),
    default("client.bind", "0.0.0.0:7400", |c, g| put(&mut c.client.bind, address(g))),
    optional("client.advertise", |c, g| put(&mut c.client.advertise, host_port(g).map(Some))),
    default("peer.bind", "0.0.0.0:7440", |c, g| put(&mut c.peer.bind, address(g))),
    optional("peer.advertise", |c, g| put(&mut c.peer.advertise, reachable(g).map(Some))),
    default("peer.seeds", "", |c, g| put(&mut c.peer.seeds, host_ports(g))),
    default("admin.bind", "127.0.0.1:7480", |c, g| put(&mut c.admin.bind, loopback(g))),
    required("tls.client_cert", "\"client.pem\"", |c, g| put(&mut c.tls.client_cert, path(g))),
    required("tls.client_key", "\"client.key\"", |c, g| put(&mut c.tls.client_key, path(g))),
    required("tls.peer_cert", "\"peer.pem\"", |c, g| put(&mut c.tls.peer_cert, path(g))),
    required("tls.peer_key", "\"peer.key\"", |c, g| put(&mut c.tls.peer_key, path(g))),
    required("tls.peer_ca", "\"peer-ca.pem\"", |c, g| put(&mut c.tls.peer_ca, path(g))),
    required("auth.issuers", "[\"issuer.pub\"]", |c, g| put(&mut c.auth.issuers, paths(g))),
    default("log.sync", "true", |c, g| put(&mut c.log.sync, truth(g))),
    default("log.cache_bytes", "8MiB", |c, g| put(&mut c.log.cache_bytes, size(g, MIB..=64 * GIB))),
    default("limits.sessions_max", "5000", |c, g| put(&mut c.limits.sessions_max, number(g, 1..=1_000_000))),
    default("limits.sessions_per_address_max", "256", |c, g| {
        put(&mut c.limits.sessions_per_address_max, number(g, 1..=1_000_000))
    }),
    default("limits.handshakes_per_second_max", "300", |c, g| {
        put(&mut c.limits.handshakes_per_second_max, number(g, 1..=1_000_000))
    }),
    default("limits.handshakes_per_second_per_network_max", "20", |c, g| {
        put(&mut c.limits.handshakes_per_second_per_network_max, number(g, 1..=1_000_000))
    }),
    default("limits.subscribes_per_second_per_session_max", "100", |c, g| {
        put(&mut c.limits.subscribes_per_second_per_session_max, number(g, 1..=1_000_000))
    }),
    default("limits.subscriptions_per_session_max", "1000", |c, g| {
        put(&mut c.limits.subscriptions_per_session_max, number(g, 1..=100_000))
    }),
    default("limits.presence_updates_per_second_per_session_max", "10", |c, g| {
        put(&mut c.limits.presence_updates_per_second_per_session_max, number(g, 1..=1_000_000))
    }),
    default("limits.presence_channels_per_session_max", "100", |c, g| {
        put(&mut c.limits.presence_channels_per_session_max, number(g, 1..=100_000))
    }),
    default("limits.hello_timeout", "5s", |c, g| put(&mut c.limits.hello_timeout, duration(g, SECOND..=60 * SECOND))),
    default("limits.frame_timeout", "10s", |c, g| {
        put(&mut c.limits.frame_timeout, duration(g, FRAME_TIMEOUT_MIN..=600 * SECOND))
    }),
    default("limits.payload_bytes_max", "64KiB", |c, g| {
        put(&mut c.limits.payload_bytes_max, size(g, 1..=PAYLOAD_BYTES_MAX))
    }),
    default("limits.session_window_bytes", "512KiB", |c, g| {
        put(&mut c.limits.session_window_bytes, size(g, WINDOW_BYTES_MIN..=64 * MIB))
    }),
    default("limits.tail_bytes_max", "4MiB", |c, g| put(&mut c.limits.tail_bytes_max, size(g, MIB..=GIB))),
    default("limits.link_queue_bytes_max", "8MiB", |c, g| put(&mut c.limits.link_queue_bytes_max, size(g, MIB..=GIB))),
    default("membership.ring_leave_after", "10m", |c, g| {
        put(&mut c.membership.ring_leave_after, duration(g, SECOND..=7 * DAY))
    }),
];

/// Every setting of a namespace.
pub(super) static NAMESPACE: &[Setting<Namespace>] = &[
    required("prefix", "\"live\"", |n, g| put(&mut n.prefix, prefix(g).map(Some))),
    default("log", "true", |n, g| put(&mut n.log, truth(g))),
    default("order", "region", |n, g| put(&mut n.order, choice(g))),
    optional("home", |n, g| put(&mut n.home, name(g).map(Some))),
    default("conflate", "false", |n, g| put(&mut n.conflate, truth(g))),
    default("regions", "", |n, g| put(&mut n.regions, names(g))),
    default("retention_age", "24h", |n, g| put(&mut n.retention_age, duration(g, SECOND..=3650 * DAY))),
    default("retention_bytes", "64MiB", |n, g| put(&mut n.retention_bytes, size(g, PAYLOAD_BYTES_MAX..=1024 * GIB))),
    optional("retention_count", |n, g| put(&mut n.retention_count, number(g, 1..=1_000_000_000_000).map(Some))),
    default("presence_interval_above", "100", |n, g| put(&mut n.presence_interval_above, number(g, 0..=1_000_000))),
];

fn put<V>(place: &mut V, value: Parsed<V>) -> Parsed<()> {
    *place = value?;
    Ok(())
}

/// Puts every default of the table into `target`.
pub(super) fn apply_defaults<T>(settings: &[Setting<T>], target: &mut T) {
    for setting in settings {
        if let Otherwise::Default(text) = setting.otherwise {
            let value = Value::Text(text.to_owned());
            // No default is a path, so the directory plays no part.
            let given = Given { value: &value, dir: Path::new("") };
            (setting.set)(target, &given).expect("the table's defaults are sound: a test reads them all");
        }
    }
}

/// The setting with this key path.
pub(super) fn find<T>(settings: &'static [Setting<T>], key: &str) -> Option<&'static Setting<T>> {
    settings.iter().find(|setting| setting.key == key)
}

/// Whether `key` is a section, `client`.
pub(super) fn is_section(key: &str) -> bool {
    sections().any(|section| section == key)
}

/// The environment variable of a setting: `client.bind` is `FARWIRE_CLIENT_BIND`.
#[must_use]
pub(super) fn environment_name(key: &str) -> String {
    format!("FARWIRE_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// What to say of a key that is none of a config's settings.
pub(super) fn unknown(key: &str) -> String {
    let known = SETTINGS.iter().map(|setting| setting.key).chain(sections()).chain([NAMESPACES]);
    unknown_among(key, known)
}

/// What to say of a key that is none of a namespace's settings.
pub(super) fn unknown_in_namespace(key: &str) -> String {
    unknown_among(key, NAMESPACE.iter().map(|setting| setting.key))
}

fn unknown_among(key: &str, known: impl Iterator<Item = &'static str> + Clone) -> String {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let distance =
        |candidate: &str| if last(candidate) == last(key) { 1 } else { strsim::osa_distance(key, candidate) };
    let nearest = known.clone().min_by_key(|candidate| distance(candidate));
    match nearest.filter(|candidate| distance(candidate) <= 1 + candidate.len() / 5) {
        Some(candidate) => format!("there is no such setting; did you mean {candidate}?"),
        None => {
            let section = key.rsplit_once('.').map_or("", |(section, _)| section);
            let beside = known.filter(|known| known.rsplit_once('.').map_or("", |(section, _)| section) == section);
            let mut beside: Vec<_> = beside.collect();
            beside.dedup();
            format!("there is no such setting; remove it, or use one of {}", beside.join(", "))
        }
    }
}

fn sections() -> impl Iterator<Item = &'static str> + Clone {
    SETTINGS.iter().filter_map(|setting| setting.key.split_once('.')).map(|(section, _)| section)
}

/// The key of the list of namespaces.
pub(super) const NAMESPACES: &str = "namespace";

const PAYLOAD_BYTES_MAX: u64 = limits::PAYLOAD_BYTES_MAX as u64;
/// A session must be able to send or take at least two full frames without waiting for the window.
const WINDOW_BYTES_MIN: u64 = 2 * limits::CLIENT_FRAME_BYTES_MAX as u64;
/// Below it, a lost packet would end sessions.
const FRAME_TIMEOUT_MIN: Duration = Duration::from_millis(500);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
