//! Where a message is in a log. Only the log's apply step gives these numbers; all else carries them.

use std::fmt;
use std::num::NonZeroU64;

use crate::ids::Origin;

macro_rules! dense_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The first one.
            pub const FIRST: Self = Self(NonZeroU64::MIN);

            /// The number, unless it is 0, which stands for none.
            #[must_use]
            pub fn new(number: u64) -> Option<Self> {
                NonZeroU64::new(number).map(Self)
            }

            /// The number, from 1.
            #[must_use]
            pub fn get(self) -> u64 {
                self.0.get()
            }

            /// The one after it. The last of 64 bits is its own next one: no log gets there, at a million messages a
            /// second it takes 500,000 years.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

dense_number!(
    /// A message's number within its origin: 1, 2, 3 and so on, without a hole and never given twice.
    Position
);
dense_number!(
    /// A message's number within its origin and channel: for people, and to see that nothing is missing.
    Offset
);

/// Where a message is: in which log, and at which position of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Place {
    /// The log.
    pub origin: Origin,
    /// The message's number in it.
    pub position: Position,
}
