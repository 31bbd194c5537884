//! Patterns over channel names and filters made of them. `*` stands for exactly one segment, `>` for one or
//! more segments at the end. The one matcher: grants, subscriptions and interest all use it.

use std::fmt;
use std::sync::Arc;

use crate::names::{
    CHANNEL_BYTES_MAX, COUNTS_PREFIX, ChannelName, NameError, PRESENCE_PREFIX, RESERVED_PREFIX, check_length,
    check_segment, split_prefix,
};

/// Most segments that a pattern with a wildcard may have.
pub const PATTERN_SEGMENTS_MAX: usize = 16;
/// Most patterns in one filter.
pub const FILTER_PATTERNS_MAX: usize = 16;

/// A checked pattern. A plain channel name is a pattern that matches itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Checks `text`: like a channel, but whole segments may be `*`, and the last one may be `>`.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let subject = split_prefix(text).1;
        check_length(subject, CHANNEL_BYTES_MAX)?;
        let mut segments = subject.split('.').peekable();
        let mut count = 0;
        let mut wild = false;
        while let Some(segment) = segments.next() {
            count += 1;
            match segment {
                "*" => wild = true,
                ">" if segments.peek().is_none() => wild = true,
                _ if segment.contains(['*', '>']) => return Err(NameError::Wildcard),
                _ => check_segment(segment)?,
            }
        }
        if wild && count > PATTERN_SEGMENTS_MAX {
            return Err(NameError::TooLong(PATTERN_SEGMENTS_MAX));
        }
        Ok(Self(text.into()))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern names a single channel.
    #[must_use]
    pub fn is_channel(&self) -> bool {
        !self.0.contains(['*', '>'])
    }

    /// The channel that the pattern names, if it has no wildcard.
    #[must_use]
    pub fn channel(&self) -> Option<ChannelName> {
        self.is_channel().then(|| ChannelName::parse(&self.0).ok()).flatten()
    }

    /// The pattern of the presence events of the channels that this one names or is about.
    #[must_use]
    pub fn presence(&self) -> Self {
        Self(format!("{PRESENCE_PREFIX}{}", split_prefix(&self.0).1).into())
    }

    /// The pattern of the occupancy of the channels that this one names or is about.
    #[must_use]
    pub fn counts(&self) -> Self {
        Self(format!("{COUNTS_PREFIX}{}", split_prefix(&self.0).1).into())
    }

    /// The pattern of the channels that this one is about, if it is one of presence.
    #[must_use]
    pub fn subject(&self) -> Option<Self> {
        match split_prefix(&self.0) {
            ("", _) => None,
            (_, subject) => Some(Self(subject.into())),
        }
    }

    /// Whether `channel` is one of those that the pattern names. A channel of the mesh's own matches only a pattern that
    /// begins with the same segment: `>` does not deliver presence.
    #[must_use]
    pub fn matches(&self, channel: &ChannelName) -> bool {
        if self.0.starts_with(['*', '>']) && channel.is_reserved() {
            return false;
        }
        let mut names = channel.as_str().split('.');
        for segment in self.0.split('.') {
            match (segment, names.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (segment, Some(name)) if segment == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether every channel that `other` matches is matched by `self` too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if self.0.starts_with(['*', '>']) && other.0.starts_with(RESERVED_PREFIX) {
            return false;
        }
        let mut theirs = other.0.split('.');
        for ours in self.0.split('.') {
            match (ours, theirs.next()) {
                (">", Some(_)) => return true,
                ("*", Some(their)) if their != ">" => {}
                (ours, Some(their)) if ours == their && their != ">" && their != "*" => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }
}

impl From<ChannelName> for Pattern {
    fn from(channel: ChannelName) -> Self {
        Self(channel.as_str().into())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Pattern {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl serde::Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

/// What one subscription asks for: one or more patterns, sorted and without repetition, so that two
/// subscriptions to the same thing have equal filters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter(Arc<[Pattern]>);

impl Filter {
    /// Makes a filter of `patterns`.
    ///
    /// # Errors
    /// [`NameError::Empty`] without any pattern, [`NameError::TooLong`] above [`FILTER_PATTERNS_MAX`].
    pub fn new(mut patterns: Vec<Pattern>) -> Result<Self, NameError> {
        patterns.sort();
        patterns.dedup();
        match patterns.len() {
            0 => Err(NameError::Empty),
            n if n > FILTER_PATTERNS_MAX => Err(NameError::TooLong(FILTER_PATTERNS_MAX)),
            _ => Ok(Self(patterns.into())),
        }
    }

    /// The patterns, sorted.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.0
    }

    /// Whether any of the patterns matches `channel`.
    #[must_use]
    pub fn matches(&self, channel: &ChannelName) -> bool {
        self.0.iter().any(|pattern| pattern.matches(channel))
    }
}

impl From<Pattern> for Filter {
    fn from(pattern: Pattern) -> Self {
        Self(Arc::new([pattern]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect(text)
    }

    fn channel(text: &str) -> ChannelName {
        ChannelName::parse(text).expect(text)
    }

    #[test]
    fn wildcards_stand_for_one_segment_or_the_rest() {
        assert!(pattern("live.*.x").matches(&channel("live.a.x")));
        assert!(!pattern("live.*").matches(&channel("live.a.x")));
        assert!(pattern("live.>").matches(&channel("live.a.x")));
        assert!(!pattern("live.>").matches(&channel("live")), "> needs at least one segment");
        assert!(pattern(">").matches(&channel("a")));
        for bad in ["a*", ">.a", "a.>.b", "a.>b", "**", ""] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_wildcard_stands_for_a_segment_of_the_meshs_own() {
        let presence = channel("chat.a").presence();
        for wild in [">", "*.>", "*.chat.a", "*.*.*"] {
            assert!(!pattern(wild).matches(&presence), "{wild}");
            assert!(!pattern(wild).covers(&pattern("chat.>").presence()), "{wild}");
        }
        assert!(pattern("chat.>").presence().matches(&presence));
        assert!(pattern(">").presence().covers(&pattern("chat.*").presence()));
    }

    /// The definition, written as naively as possible: the oracle.
    fn naive(pattern: &[&str], channel: &[&str]) -> bool {
        match (pattern, channel) {
            ([], []) => true,
            ([">"], rest) => !rest.is_empty(),
            (["*", p @ ..], [_, c @ ..]) => naive(p, c),
            ([a, p @ ..], [b, c @ ..]) => a == b && naive(p, c),
            _ => false,
        }
    }

    fn pattern_text() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["a", "b", "*"]);
        (prop::collection::vec(segment, 1..5), any::<bool>()).prop_map(|(mut segments, rest)| {
            if rest {
                segments.push(">");
            }
            segments.join(".")
        })
    }

    fn channel_text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..6).prop_map(|s| s.join("."))
    }

    proptest! {
        #[test]
        fn matcher_agrees_with_the_definition(p in pattern_text(), c in channel_text()) {
            let want = naive(&p.split('.').collect::<Vec<_>>(), &c.split('.').collect::<Vec<_>>());
            prop_assert_eq!(pattern(&p).matches(&channel(&c)), want);
        }

        #[test]
        fn what_covers_matches_at_least_as_much(a in pattern_text(), b in pattern_text(), c in channel_text()) {
            if pattern(&a).covers(&pattern(&b)) && pattern(&b).matches(&channel(&c)) {
                prop_assert!(pattern(&a).matches(&channel(&c)));
            }
        }
    }
}
