//! The one table of error codes. A code is stable for ever, is also the application close code of a connection or
//! stream, and belongs to one of three classes that decide what a client does next.

use std::fmt;

use crate::proto::types;

/// What the other side may conclude from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorClass {
    /// It was not done and will not be if asked again in the same way.
    Definite,
    /// It may or may not have been done: ask again under the same number.
    Unknown,
    /// It was not done; the same request may succeed later or elsewhere.
    Retryable,
}

impl ErrorClass {
    /// The class in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Definite => "definite",
            Self::Unknown => "unknown",
            Self::Retryable => "retryable",
        }
    }
}

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $name:literal, $class:ident, $meaning:literal;)*) => {
        /// One row of the error table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable number.
            #[must_use]
            pub fn number(self) -> u32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The class, which decides what a client does next.
            #[must_use]
            pub fn class(self) -> ErrorClass {
                match self { $(Self::$variant => ErrorClass::$class,)* }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// The code of a number, if this release knows it.
            #[must_use]
            pub fn of_number(number: u32) -> Option<Self> {
                match number { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

error_codes! {
    Closed = 0x0, "CLOSED", Retryable, "The other side ended the connection in good order.";
    Malformed = 0x100, "MALFORMED", Definite, "A frame or a field is not what the protocol says.";
    UnsupportedVersion = 0x101, "UNSUPPORTED_VERSION", Definite, "No protocol version that both sides speak.";
    FrameTooLarge = 0x102, "FRAME_TOO_LARGE", Definite, "A frame or a payload is above its limit.";
    FrameTimeout = 0x103, "FRAME_TIMEOUT", Unknown, "A frame was begun and not completed in time.";
    ProtocolState = 0x104, "PROTOCOL_STATE", Definite, "A frame that is not allowed at this point.";
    BadChannel = 0x105, "BAD_CHANNEL", Definite, "A channel, pattern or other name breaks its rules.";
    Unsupported = 0x106, "UNSUPPORTED", Definite, "The node does not offer this, or not yet.";
    AuthTimeout = 0x110, "AUTH_TIMEOUT", Retryable, "No complete hello within 5 s of the handshake.";
    AuthInvalid = 0x111, "AUTH_INVALID", Definite, "The token is not one that this mesh accepts.";
    AuthExpired = 0x112, "AUTH_EXPIRED", Definite, "The token has expired: get a new one.";
    AuthReplay = 0x113, "AUTH_REPLAY", Definite, "The token is in use on too many connections.";
    Forbidden = 0x114, "FORBIDDEN", Definite, "The token grants no such action on the channel.";
    RateLimited = 0x120, "RATE_LIMITED", Retryable, "Too many requests: slow down.";
    TooManyConnections = 0x121, "TOO_MANY_CONNECTIONS", Retryable, "The node is full: try another one.";
    SubscriptionLimit = 0x122, "SUB_LIMIT", Definite, "The session has as many subscriptions as it may have.";
    SlowConsumer = 0x123, "SLOW_CONSUMER", Retryable, "The session read too slowly and was ended.";
    MigrationLimit = 0x124, "MIGRATION_LIMIT", Retryable, "The connection changed its address too often.";
    NoQuorum = 0x130, "NO_QUORUM", Unknown, "The asked ack level cannot be had now.";
    StorageUnavailable = 0x131, "STORAGE_UNAVAILABLE", Retryable, "The node's disk failed or is full.";
    WrongView = 0x132, "WRONG_VIEW", Retryable, "The sender's view of the mesh is another one.";
    NotOwner = 0x133, "NOT_OWNER", Retryable, "No reachable node owns the channel just now.";
    Overloaded = 0x134, "OVERLOADED", Retryable, "A bounded queue on the way is full.";
    PublishGap = 0x135, "PUB_SEQ_GAP", Definite, "A publish number above the next one of its lane.";
    Duplicate = 0x136, "DUPLICATE", Definite, "The publish was taken before: the ack is the same.";
    NumberReused = 0x137, "NUMBER_REUSED", Definite, "A publish number was used for another payload.";
    CursorExpired = 0x140, "CURSOR_EXPIRED", Definite, "The cursor is older than what is kept.";
    GoAway = 0x150, "GOAWAY", Retryable, "The node is leaving: reconnect to another one.";
    PeerRole = 0x160, "PEER_ROLE", Definite, "The certificate is not that of a node of this mesh.";
    PeerIdentity = 0x161, "PEER_IDENTITY_MISMATCH", Definite, "The sender is not the node in its certificate.";
    MeshMismatch = 0x162, "MESH_MISMATCH", Definite, "The node belongs to another mesh.";
    ClockSkew = 0x163, "CLOCK_SKEW", Retryable, "The clocks of the two sides are too far apart.";
    Internal = 0x170, "INTERNAL", Unknown, "A fault of the node: please report it.";
    Unanswered = 0x171, "UNANSWERED", Unknown, "The connection was lost before the answer: it may or may not have been done.";
}

/// An error as it travels: a code, a text for people, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    /// The row of the table; [`ErrorCode::Internal`] stands for a number that this release does not know.
    pub code: ErrorCode,
    /// What happened and what to do. Never contains bytes of the other side unescaped.
    pub message: String,
    /// Do not retry before.
    pub retry_after_ms: u32,
}

impl WireError {
    /// An error with a text of its own.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: 0 }
    }

    pub(crate) fn to_proto(&self) -> types::Error {
        types::Error { code: self.code.number(), message: self.message.clone(), retry_after_ms: self.retry_after_ms }
    }

    pub(crate) fn from_proto(error: types::Error) -> Self {
        let code = ErrorCode::of_number(error.code).unwrap_or(ErrorCode::Internal);
        Self { code, message: printable(&error.message), retry_after_ms: error.retry_after_ms }
    }
}

impl From<ErrorCode> for WireError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.meaning())
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for WireError {}

/// A frame that does not decode: which request it was, if that much could be read, and the error to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The request to answer; 0 when even that is unknown, and the stream is beyond repair.
    pub request: u64,
    /// What to answer.
    pub error: WireError,
}

impl DecodeError {
    pub(crate) fn new(request: u64, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { request, error: WireError::new(code, message) }
    }

    pub(crate) fn malformed(what: &str) -> Self {
        Self::new(0, ErrorCode::Malformed, what)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for DecodeError {}

/// Text of the other side, made safe for a terminal and bounded.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_names_are_unique_and_lead_back() {
        let numbers: BTreeSet<_> = ErrorCode::ALL.iter().map(|c| c.number()).collect();
        let names: BTreeSet<_> = ErrorCode::ALL.iter().map(|c| c.name()).collect();
        assert_eq!((numbers.len(), names.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len()));
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::of_number(code.number()), Some(*code));
        }
    }

    #[test]
    fn the_published_table_is_this_one() {
        let readme = include_str!("../../../proto/README.md");
        for code in ErrorCode::ALL {
            let class = code.class().as_str();
            let row = format!("| 0x{:x} | {} | {class} | {} |", code.number(), code.name(), code.meaning());
            assert!(readme.contains(&row), "proto/README.md lacks the row\n{row}");
        }
    }

    #[test]
    fn texts_of_the_other_side_cannot_reach_the_terminal_raw() {
        let error = types::Error { code: 0x111, message: "\x1b[2Jno\n".into(), retry_after_ms: 0 };
        assert_eq!(WireError::from_proto(error).message, "[2Jno");
    }
}
