//! Checked names: channels, nodes, regions, clients, meshes. A value of one of these types is a proof that
//! the text obeys the rules, so nothing behind the border checks again.
//!
//! Names are shared (`Arc<str>`): a clone costs a reference count.

use std::fmt;
use std::sync::Arc;

/// Channels that begin so are the mesh's own: clients may not use them.
pub const RESERVED_PREFIX: &str = "farwire:";
/// Before the name of a channel: the channel on which its presence events are told.
pub const PRESENCE_PREFIX: &str = "farwire:presence.";
/// Before the name of a channel: the channel on which its occupancy is told, as sums of intervals.
pub const COUNTS_PREFIX: &str = "farwire:counts.";
/// Longest channel or pattern, in bytes; a prefix of the mesh's own comes on top.
pub const CHANNEL_BYTES_MAX: usize = 255;
/// Longest node, region or mesh name, in bytes.
pub const LABEL_BYTES_MAX: usize = 32;
/// Longest client id, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 64;

/// Why a text is not a name. The text itself is never echoed: it may come from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between two dots, at an end, or in the whole name.
    #[error("a name and each of its segments needs at least one character")]
    Empty,
    /// Longer than the limit, which is carried along.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// A character outside the alphabet of a channel.
    #[error("a channel is made of segments of letters, digits, `_`, `:` and `-`, separated by `.`")]
    ChannelAlphabet,
    /// A character outside the alphabet of a node, region or mesh name.
    #[error("use lower-case letters, digits and `-`")]
    LabelAlphabet,
    /// A character outside the alphabet of a client id.
    #[error("a client id is made of letters, digits, `_`, `:`, `.`, `@` and `-`")]
    ClientIdAlphabet,
    /// A wildcard where it has no meaning.
    #[error("`*` stands for one whole segment, `>` for the rest and only at the end")]
    Wildcard,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` against the rules of this kind of name.
            ///
            /// # Errors
            /// Says which rule is broken.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A named stream of messages: 1–255 bytes, segments of `[A-Za-z0-9_:-]` separated by `.`, none empty.
    ChannelName,
    check_channel
);
name!(
    /// The name of one node, unique in its mesh: `[a-z0-9-]{1,32}`.
    NodeName,
    check_label
);
name!(
    /// The place label of a node: `[a-z0-9-]{1,32}`.
    RegionName,
    check_label
);
name!(
    /// The name of a mesh: `[a-z0-9-]{1,32}`.
    MeshName,
    check_label
);
name!(
    /// Who a client is, as its token says: 1–64 bytes of `[A-Za-z0-9_:.@-]`.
    ClientId,
    check_client_id
);

impl ChannelName {
    /// Whether the channel is one of the mesh's own.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_str().starts_with(RESERVED_PREFIX)
    }

    /// The channel on which the presence events of this one, or of the one that it is about, are told.
    #[must_use]
    pub fn presence(&self) -> Self {
        Self(format!("{PRESENCE_PREFIX}{}", self.subject()).into())
    }

    /// The channel on which the occupancy of this one, or of the one that it is about, is told.
    #[must_use]
    pub fn counts(&self) -> Self {
        Self(format!("{COUNTS_PREFIX}{}", self.subject()).into())
    }

    /// The name of the channel that this one is about, if it is one of presence; otherwise its own.
    #[must_use]
    pub fn subject(&self) -> &str {
        split_prefix(self.as_str()).1
    }
}

/// A name without the prefix that makes it one of presence, and that prefix.
pub(crate) fn split_prefix(text: &str) -> (&str, &str) {
    let prefix = [PRESENCE_PREFIX, COUNTS_PREFIX].into_iter().find(|prefix| text.starts_with(prefix));
    text.split_at(prefix.map_or(0, str::len))
}

fn check_label(text: &str) -> Result<(), NameError> {
    check_length(text, LABEL_BYTES_MAX)?;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.bytes().all(allowed) { Ok(()) } else { Err(NameError::LabelAlphabet) }
}

fn check_client_id(text: &str) -> Result<(), NameError> {
    check_length(text, CLIENT_ID_BYTES_MAX)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_:.@-".contains(&b);
    if text.bytes().all(allowed) { Ok(()) } else { Err(NameError::ClientIdAlphabet) }
}

fn check_channel(text: &str) -> Result<(), NameError> {
    let text = split_prefix(text).1;
    check_length(text, CHANNEL_BYTES_MAX)?;
    text.split('.').try_for_each(check_segment)
}

pub(crate) fn check_segment(segment: &str) -> Result<(), NameError> {
    if segment.is_empty() {
        return Err(NameError::Empty);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_:-".contains(&b);
    if segment.bytes().all(allowed) { Ok(()) } else { Err(NameError::ChannelAlphabet) }
}

pub(crate) fn check_length(text: &str, bytes_max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        n if n > bytes_max => Err(NameError::TooLong(bytes_max)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_keep_to_their_alphabet_and_length() {
        for good in ["a", "live.fleet.205125000", "A-b_c:d.0", &"x".repeat(255)] {
            assert!(ChannelName::parse(good).is_ok(), "{good}");
        }
        assert_eq!(ChannelName::parse(""), Err(NameError::Empty));
        for empty_segment in [".", "a.", ".a", "a..b"] {
            assert_eq!(ChannelName::parse(empty_segment), Err(NameError::Empty));
        }
        for bad in ["a b", "a\n", "ü", "a.*", "a/b", "a\0", ">"] {
            assert_eq!(ChannelName::parse(bad), Err(NameError::ChannelAlphabet));
        }
        assert_eq!(ChannelName::parse(&"x".repeat(256)), Err(NameError::TooLong(255)));
    }

    #[test]
    fn a_channel_of_presence_is_about_another_one_of_any_length() {
        let longest = ChannelName::parse(&"x".repeat(255)).unwrap();
        for about in [longest.presence(), longest.counts()] {
            assert_eq!(ChannelName::parse(about.as_str()), Ok(about.clone()));
            assert_eq!((about.subject(), about.is_reserved()), (longest.as_str(), true));
            assert_eq!((about.presence(), about.counts()), (longest.presence(), longest.counts()), "no second prefix");
        }
        assert_eq!(longest.subject(), longest.as_str());
        assert_eq!(ChannelName::parse(PRESENCE_PREFIX), Err(NameError::Empty));
    }

    #[test]
    fn labels_are_short_and_lower_case() {
        assert!(NodeName::parse("fra-1").is_ok());
        assert_eq!(NodeName::parse("Fra"), Err(NameError::LabelAlphabet));
        assert_eq!(RegionName::parse(&"a".repeat(33)), Err(NameError::TooLong(32)));
    }
}
