//! Namespaces: the settings of all channels with one prefix, and which one a channel belongs to. Every publish
//! and every delivery asks [`Namespaces::of`], so it allocates nothing and hashes nothing.

use std::time::Duration;

use farwire_wire::names::{ChannelName, RegionName};
use farwire_wire::pattern::Pattern;

use super::schema;

/// Who puts the messages of a channel in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Each region its own; the default.
    Region,
    /// The namespace's home region, for all.
    Global,
}

impl std::str::FromStr for Order {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "region" => Ok(Self::Region),
            "global" => Ok(Self::Global),
            _ => Err("write \"region\" or \"global\""),
        }
    }
}

/// The settings of all channels with one prefix. They must be the same on every node of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Whole segments: `live` holds `live` and `live.x`, not `lively`. `None` only for [`Namespaces::fallback`].
    pub prefix: Option<ChannelName>,
    /// Whether messages are kept in the log; else they are volatile.
    pub log: bool,
    /// Who orders the messages.
    pub order: Order,
    /// The region that orders them; set if and only if `order` is [`Order::Global`].
    pub home: Option<RegionName>,
    /// Whether only the last value per key counts.
    pub conflate: bool,
    /// The regions that take the channels over; empty: all.
    pub regions: Vec<RegionName>,
    /// How long a message is kept.
    pub retention_age: Duration,
    /// How many bytes are kept per channel.
    pub retention_bytes: u64,
    /// How many messages are kept per channel; `None`: as many as age and bytes allow.
    pub retention_count: Option<u64>,
    /// Above this occupancy, presence events come as summaries of an interval.
    pub presence_interval_above: u32,
}

impl Namespace {
    /// What the table is applied to; each of these values is then overwritten by a default of the table.
    pub(super) fn blank() -> Self {
        Self {
            prefix: None,
            log: false,
            order: Order::Region,
            home: None,
            conflate: false,
            regions: Vec::new(),
            retention_age: Duration::ZERO,
            retention_bytes: 0,
            retention_count: None,
            presence_interval_above: 0,
        }
    }
}

impl Default for Namespace {
    /// Logged, 24 h, 64 MiB a channel, no prefix.
    fn default() -> Self {
        let mut namespace = Self::blank();
        schema::apply_defaults(schema::NAMESPACE, &mut namespace);
        namespace
    }
}

/// All namespaces of the config. Not a registry of channels: those exist by being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces {
    /// Sorted by prefix, no prefix twice.
    sorted: Box<[Namespace]>,
    fallback: Namespace,
    prefix_bytes_max: usize,
}

impl Namespaces {
    /// Of two with one prefix, or of those without, the first is kept; the config reports them before.
    pub fn new(namespaces: impl IntoIterator<Item = Namespace>) -> Self {
        let mut sorted: Vec<_> = namespaces.into_iter().filter(|namespace| namespace.prefix.is_some()).collect();
        sorted.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        sorted.dedup_by(|b, a| a.prefix == b.prefix);
        let prefix_bytes_max = sorted.iter().map(|namespace| prefix(namespace).len()).max().unwrap_or(0);
        Self { sorted: sorted.into(), fallback: Namespace::default(), prefix_bytes_max }
    }

    /// The namespace of `channel`: the one with the longest prefix made of whole segments, else the fallback.
    /// Costs one binary search per segment boundary within the longest prefix.
    #[must_use]
    pub fn of(&self, channel: &ChannelName) -> &Namespace {
        self.longest(channel.as_str()).unwrap_or(&self.fallback)
    }

    /// The namespaces that channels matched by `pattern` can belong to: none is missing, one may be too many.
    pub fn reached_by<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = &'a Namespace> {
        let literal = literal_start(pattern.as_str());
        let base = self.longest(literal);
        let base_prefix = base.map_or("", prefix);
        let deeper = self.sorted.iter().filter(move |namespace| {
            prefix(namespace).len() > base_prefix.len() && may_lie_under(pattern.as_str(), prefix(namespace))
        });
        std::iter::once(base.unwrap_or(&self.fallback)).chain(deeper)
    }

    /// The namespace of channels that match no prefix.
    #[must_use]
    pub fn fallback(&self) -> &Namespace {
        &self.fallback
    }

    /// The namespaces of the config by prefix, without the fallback.
    pub fn iter(&self) -> std::slice::Iter<'_, Namespace> {
        self.sorted.iter()
    }

    fn longest(&self, channel: &str) -> Option<&Namespace> {
        let mut end = boundary_within(channel, self.prefix_bytes_max)?;
        loop {
            if let Ok(index) = self.sorted.binary_search_by(|namespace| prefix(namespace).cmp(&channel[..end])) {
                return Some(&self.sorted[index]);
            }
            end = channel[..end].rfind('.')?;
        }
    }
}

impl<'a> IntoIterator for &'a Namespaces {
    type Item = &'a Namespace;
    type IntoIter = std::slice::Iter<'a, Namespace>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn prefix(namespace: &Namespace) -> &str {
    namespace.prefix.as_ref().map_or("", ChannelName::as_str)
}

/// The last place at or before `bytes_max` where a segment of `channel` ends.
fn boundary_within(channel: &str, bytes_max: usize) -> Option<usize> {
    if channel.len() <= bytes_max {
        return Some(channel.len());
    }
    channel.as_bytes()[..=bytes_max].iter().rposition(|byte| *byte == b'.')
}

/// The segments before the first wildcard.
fn literal_start(pattern: &str) -> &str {
    match pattern.find(['*', '>']) {
        Some(wildcard) => pattern[..wildcard].trim_end_matches('.'),
        None => pattern,
    }
}

/// Whether a channel that `pattern` matches can be `prefix` or lie under it.
fn may_lie_under(pattern: &str, prefix: &str) -> bool {
    let mut wanted = pattern.split('.');
    for segment in prefix.split('.') {
        match wanted.next() {
            Some(">") => return true,
            Some("*") => {}
            Some(literal) if literal == segment => {}
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn namespaces(prefixes: &[&str]) -> Namespaces {
        Namespaces::new(prefixes.iter().map(|prefix| Namespace {
            prefix: Some(ChannelName::parse(prefix).expect("a channel")),
            ..Namespace::default()
        }))
    }

    fn of(namespaces: &Namespaces, channel: &str) -> String {
        prefix(namespaces.of(&ChannelName::parse(channel).expect("a channel"))).to_owned()
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let n = namespaces(&["live", "live.fleet", "chat.rooms"]);
        assert_eq!(of(&n, "live"), "live");
        assert_eq!(of(&n, "live.fleet.7"), "live.fleet");
        assert_eq!(of(&n, "live.fleets"), "live");
        assert_eq!(of(&n, "lively"), "");
        assert_eq!(of(&n, "chat"), "");
        assert_eq!(of(&n, "chat.rooms-x.y"), "");
        assert_eq!(of(&namespaces(&[]), "a.b"), "");
    }

    #[test]
    fn without_a_namespace_channels_are_logged_for_a_day() {
        let n = namespaces(&[]);
        assert_eq!((n.fallback().log, n.fallback().retention_age), (true, Duration::from_secs(86_400)));
        assert_eq!((n.fallback().retention_bytes, n.fallback().retention_count), (64 << 20, None));
    }

    #[test]
    fn a_pattern_reaches_the_namespaces_under_it() {
        let n = namespaces(&["live", "live.fleet", "chat"]);
        let reached = |pattern: &str| {
            n.reached_by(&Pattern::parse(pattern).expect("a pattern")).map(prefix).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(reached("live.>"), "live live.fleet");
        assert_eq!(reached("live.fleet.*"), "live.fleet");
        assert_eq!(reached("live.x"), "live");
        assert_eq!(reached("other.>"), "");
        assert_eq!(reached("*"), " chat live");
    }

    fn channel() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 1..5).prop_map(|segments| segments.join("."))
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_trying_every_prefix(prefixes in prop::collection::vec(channel(), 0..6), c in channel()) {
            let texts: Vec<&str> = prefixes.iter().map(String::as_str).collect();
            let inside = |p: &&&str| c == **p || c.starts_with(&format!("{p}."));
            let want = texts.iter().filter(inside).max_by_key(|p| p.len()).copied().unwrap_or_default();
            prop_assert_eq!(of(&namespaces(&texts), &c), want);
        }

        #[test]
        fn no_namespace_is_missed_by_a_pattern(
            prefixes in prop::collection::vec(channel(), 0..6), c in channel(), wild in any::<u8>(), rest in any::<bool>()
        ) {
            let texts: Vec<&str> = prefixes.iter().map(String::as_str).collect();
            let n = namespaces(&texts);
            let mut segments: Vec<&str> = c.split('.').collect();
            for (index, segment) in segments.iter_mut().enumerate() {
                if wild >> index & 1 == 1 { *segment = "*"; }
            }
            if rest && let Some(last) = segments.last_mut() { *last = ">"; }
            let pattern = Pattern::parse(&segments.join(".")).expect("a pattern");
            let channel = ChannelName::parse(&c).expect("a channel");
            prop_assert!(pattern.matches(&channel));
            prop_assert!(n.reached_by(&pattern).any(|namespace| namespace == n.of(&channel)));
        }
    }
}
