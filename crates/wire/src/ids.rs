//! Numbers that identify things. Newtypes, so that a slot is never taken for a shard.

use std::fmt;

/// Number of slots of the channel space: fixed for all meshes.
pub const SLOTS: u16 = 4096;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u64::from_str_radix(text, 16).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

random_id!(
    /// One mesh: drawn from its name and its peer authority, so that two meshes never mix.
    MeshId
);
random_id!(
    /// One authenticated stay of a client on one node.
    SessionId
);
random_id!(
    /// Who numbers messages: random per SDK client, unless the application keeps its numbers.
    PublisherId
);
random_id!(
    /// One group's log, for ever: drawn when the group is created.
    Origin
);
random_id!(
    /// One run of a node process.
    Life
);
random_id!(
    /// One run of an SDK client; it survives reconnects. Volatile messages are counted within it.
    Instance
);
random_id!(
    /// The digest of a view: equal digests mean equal members, hence equal owners.
    ViewDigest
);

/// One of [`SLOTS`] fine shares of the channel space; volatile channels are owned by slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a hash: its low 12 bits.
    #[must_use]
    pub fn of_hash(hash: u64) -> Self {
        let [low, high, ..] = hash.to_le_bytes();
        Self(u16::from_le_bytes([low, high]) % SLOTS)
    }

    /// The slot as an index below [`SLOTS`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The slot as a number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// Every slot in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }

    /// The shard that the slot belongs to, in a mesh of `shards` shards.
    #[must_use]
    pub fn shard(self, shards: u16) -> Shard {
        Shard(self.0 % shards.max(1))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl serde::Serialize for Slot {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u16(self.0)
    }
}

/// One coarse share of the channel space, whose log a group keeps in each region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard as an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
