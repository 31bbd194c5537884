//! Who wants which channels: a map from patterns to values that answers, for a channel, every value whose pattern
//! matches it. Cost of a look-up: one hash for the exact channels and a walk along the channel's segments for the
//! wildcards, whatever the number of patterns.
//!
//! Pure. A value is yielded once per pattern it stands under; callers that mind repetition check for it.

use std::collections::BTreeMap;

use farwire_wire::{ChannelName, Pattern};

/// A multimap from patterns to values.
#[derive(Debug, Clone)]
pub struct PatternMap<V> {
    #[allow(clippy::disallowed_types, reason = "looked up by key and never iterated, so its order decides nothing")]
    exact: std::collections::HashMap<ChannelName, Vec<V>>,
    wild: Segments<V>,
}

/// The wildcard patterns below one prefix.
#[derive(Debug, Clone)]
struct Segments<V> {
    named: BTreeMap<Box<str>, Segments<V>>,
    any: Option<Box<Segments<V>>>,
    rest: Vec<V>,
    here: Vec<V>,
}

impl<V> Default for Segments<V> {
    fn default() -> Self {
        Self { named: BTreeMap::new(), any: None, rest: Vec::new(), here: Vec::new() }
    }
}

impl<V> Default for PatternMap<V> {
    fn default() -> Self {
        #[allow(clippy::disallowed_types, reason = "as above")]
        let exact = std::collections::HashMap::new();
        Self { exact, wild: Segments::default() }
    }
}

impl<V: PartialEq + Copy> PatternMap<V> {
    /// Adds `value` under `pattern`; a second time changes nothing.
    pub fn insert(&mut self, pattern: &Pattern, value: V) {
        let values = match pattern.channel() {
            Some(channel) => self.exact.entry(channel).or_default(),
            None => self.wild.place(pattern.as_str()),
        };
        if !values.contains(&value) {
            values.push(value);
        }
    }

    /// Takes `value` from `pattern` again; nothing of an unused pattern stays.
    pub fn remove(&mut self, pattern: &Pattern, value: V) {
        let Some(channel) = pattern.channel() else {
            self.wild.remove(pattern.as_str(), value);
            return;
        };
        if let Some(values) = self.exact.get_mut(&channel) {
            values.retain(|v| *v != value);
            if values.is_empty() {
                self.exact.remove(&channel);
            }
        }
    }

    /// Calls `found` with every value whose pattern matches `channel`.
    pub fn for_each_match(&self, channel: &ChannelName, mut found: impl FnMut(V)) {
        if let Some(values) = self.exact.get(channel) {
            values.iter().copied().for_each(&mut found);
        }
        if self.wild.is_empty() {
            return;
        }
        if !channel.is_reserved() {
            self.wild.walk(channel.as_str(), &mut found);
        } else if let (first, Some(rest)) = split(channel.as_str())
            && let Some(below) = self.wild.named.get(first)
        {
            // No wildcard stands for a first segment of the mesh's own.
            below.walk(rest, &mut found);
        }
    }

    /// Whether no pattern has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty()
    }
}

impl<V: PartialEq + Copy> Segments<V> {
    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none() && self.rest.is_empty() && self.here.is_empty()
    }

    /// The values of the pattern whose remaining segments are `pattern`.
    fn place(&mut self, pattern: &str) -> &mut Vec<V> {
        let (first, rest) = split(pattern);
        let below = match first {
            ">" => return &mut self.rest,
            "*" => self.any.get_or_insert_default(),
            name => self.named.entry(name.into()).or_default(),
        };
        match rest {
            Some(rest) => below.place(rest),
            None => &mut below.here,
        }
    }

    fn remove(&mut self, pattern: &str, value: V) {
        let (first, rest) = split(pattern);
        if first == ">" {
            self.rest.retain(|v| *v != value);
            return;
        }
        let Some(below) = (if first == "*" { self.any.as_deref_mut() } else { self.named.get_mut(first) }) else {
            return;
        };
        match rest {
            Some(rest) => below.remove(rest, value),
            None => below.here.retain(|v| *v != value),
        }
        if below.is_empty() {
            if first == "*" {
                self.any = None;
            } else {
                self.named.remove(first);
            }
        }
    }

    fn walk(&self, channel: &str, found: &mut impl FnMut(V)) {
        self.rest.iter().copied().for_each(&mut *found);
        let (first, rest) = split(channel);
        let branches = [self.named.get(first), self.any.as_deref()];
        for below in branches.into_iter().flatten() {
            match rest {
                Some(rest) => below.walk(rest, found),
                None => below.here.iter().copied().for_each(&mut *found),
            }
        }
    }
}

fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern_text() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["a", "b", "*"]);
        (prop::collection::vec(segment, 1..4), any::<bool>()).prop_map(|(mut segments, rest)| {
            if rest {
                segments.push(">");
            }
            segments.join(".")
        })
    }

    proptest! {
        #[test]
        fn a_look_up_finds_what_matching_one_by_one_finds(
            changes in prop::collection::vec((pattern_text(), 0..4_u8, prop::bool::weighted(0.7)), 0..40),
            channels in prop::collection::vec(prop::collection::vec(prop::sample::select(vec!["a", "b", "farwire:c"]), 1..5), 1..8),
        ) {
            let mut map = PatternMap::default();
            let mut model: Vec<(Pattern, u8)> = Vec::new();
            for (text, value, insert) in changes {
                let pattern = Pattern::parse(&text).unwrap();
                model.retain(|entry| *entry != (pattern.clone(), value));
                if insert {
                    map.insert(&pattern, value);
                    model.push((pattern, value));
                } else {
                    map.remove(&pattern, value);
                }
            }
            for segments in channels {
                let channel = ChannelName::parse(&segments.join(".")).unwrap();
                let mut found = Vec::new();
                map.for_each_match(&channel, |value| found.push(value));
                let mut want: Vec<u8> = model.iter().filter(|(p, _)| p.matches(&channel)).map(|(_, v)| *v).collect();
                found.sort_unstable();
                want.sort_unstable();
                prop_assert_eq!(found, want);
            }
            for (pattern, value) in model {
                map.remove(&pattern, value);
            }
            prop_assert!(map.is_empty());
        }
    }
}
