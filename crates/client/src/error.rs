//! Why an operation of the SDK failed, one enum for each. Every one knows its class, which decides what to do next:
//! definite (do not ask again in the same way), unknown (ask again under the same number), retryable (ask again later).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use farwire_transport::connection::Closed;
use farwire_transport::endpoint::{DialError, EndpointError};
use farwire_transport::tls::TlsError;
use farwire_wire::{ErrorClass, ErrorCode, NameError, WireError};

/// Most attempts that an error text lists.
const ATTEMPTS_SHOWN_MAX: usize = 8;

/// What is wrong with the options of a connect. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// There is nowhere to connect to.
    #[error("no node to connect to: give at least one HOST:PORT")]
    NoEntryPoints,
    /// Nobody could be trusted.
    #[error("no authority to trust: give the mesh's client-ca.pem")]
    NoAuthority,
    /// A node takes nobody without a token.
    #[error("no token: make one with `farwire token mint`")]
    NoToken,
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not a context.
    #[error("{path} is not a context, which `farwire up` writes as mesh.json: {source}")]
    Context {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file with the authority could not be read.
    #[error(
        "cannot read the mesh's authority {path}: {source}; name its client-ca.pem with `--ca FILE`, or as `ca` in the context"
    )]
    AuthorityRead {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no authority in the file.
    #[error(
        "{path} holds no certificate in PEM form; name the mesh's client-ca.pem with `--ca FILE`, or as `ca` in the context"
    )]
    NoCertificate {
        /// The file, or what stands for a given text.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(TlsError),
    /// No socket could be opened.
    #[error(transparent)]
    Socket(#[from] EndpointError),
}

impl From<TlsError> for OptionsError {
    /// The texts of a node's faults name its config, which a client does not have.
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Read { path, source } => Self::AuthorityRead { path, source },
            TlsError::NoCertificate { path } => Self::NoCertificate { path },
            other => Self::Tls(other),
        }
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options cannot be used; nothing was sent.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No node took the session in time. Retry, or see whether UDP passes to one of the addresses.
    #[error("no node could be reached: {}", Listed(.0))]
    Unreachable(Vec<Attempt>),
    /// The certificate of no node that answered is one to trust, so nothing was sent. See that the authority is that
    /// of the mesh, and that the addresses are those in the nodes' certificates.
    #[error("no node could be trusted: {}; is this the mesh's client-ca.pem?", Listed(.0))]
    Tls(Vec<Attempt>),
    /// A node refused, and any other would too.
    #[error("refused: {0}")]
    Refused(WireError),
}

impl ConnectError {
    /// The row of the error table, when a node answered with one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(error) => Some(error.code),
            Self::Options(_) | Self::Unreachable(_) | Self::Tls(_) => None,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Refused(error) => error.code.class(),
            Self::Options(_) | Self::Tls(_) => ErrorClass::Definite,
            Self::Unreachable(_) => ErrorClass::Retryable,
        }
    }

    pub(crate) fn of_attempts(attempts: Vec<Attempt>) -> Self {
        if !attempts.is_empty() && attempts.iter().all(|attempt| attempt.error.is_tls()) {
            return Self::Tls(attempts);
        }
        Self::Unreachable(attempts)
    }
}

/// What one address said.
#[derive(Debug)]
pub struct Attempt {
    /// `host:port`.
    pub address: String,
    /// Why it did not become a session.
    pub error: AttemptError,
}

/// Why one address did not become a session.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The text is not `HOST:PORT`.
    #[error("not of the form HOST:PORT")]
    Address,
    /// The host name leads nowhere.
    #[error("cannot resolve the host: {0}")]
    Resolve(#[from] std::io::Error),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection was lost before the session stood.
    #[error(transparent)]
    Lost(#[from] Closed),
    /// The node would not take the session just now.
    #[error("refused: {0}")]
    Refused(WireError),
    /// The node's answer is not of this protocol.
    #[error("the node broke the protocol: {0}")]
    Protocol(String),
    /// Nothing was heard, or nothing was tried, before the time was over.
    #[error("no answer in time")]
    TimedOut,
}

impl AttemptError {
    /// Whether the same attempt would fail again in a moment.
    pub(crate) fn is_lasting(&self) -> bool {
        self.is_tls() || matches!(self, Self::Address | Self::Protocol(_))
    }

    fn is_tls(&self) -> bool {
        matches!(self, Self::Dial(DialError::Closed(Closed::Refused(_))) | Self::Lost(Closed::Refused(_)))
    }
}

struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, attempt) in self.0.iter().take(ATTEMPTS_SHOWN_MAX).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", attempt.address.escape_debug(), attempt.error)?;
        }
        match self.0.len().saturating_sub(ATTEMPTS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Why a message was not acked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The channel's name breaks its rules; nothing was sent.
    #[error("not a channel: {0}")]
    Channel(#[from] NameError),
    /// The payload is above what the node takes; nothing was sent. Split it, or store it elsewhere and publish where.
    #[error(
        "the payload has {payload_bytes} bytes, and the node takes {payload_bytes_max}: split it, or store it elsewhere and publish where"
    )]
    TooLarge {
        /// What it has.
        payload_bytes: usize,
        /// What the node takes.
        payload_bytes_max: usize,
    },
    /// The node refused; the class of its code says whether to try again.
    #[error("refused: {0}")]
    Refused(WireError),
    /// The connection was lost before the ack: the message may or may not be delivered.
    #[error("the connection was lost before the ack ({reason}): the message may or may not be delivered")]
    Unknown {
        /// How the connection was lost.
        reason: Arc<str>,
    },
    /// The client has ended; nothing was sent.
    #[error("the client has ended{}", because(.0))]
    Closed(Option<Arc<ConnectError>>),
}

impl PublishError {
    /// The row of the error table, if one fits.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Channel(_) => Some(ErrorCode::BadChannel),
            Self::TooLarge { .. } => Some(ErrorCode::FrameTooLarge),
            Self::Refused(error) => Some(error.code),
            Self::Unknown { .. } => Some(ErrorCode::Unanswered),
            Self::Closed(error) => error.as_ref().and_then(|error| error.code()),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Channel(_) | Self::TooLarge { .. } => ErrorClass::Definite,
            Self::Refused(error) => error.code.class(),
            Self::Unknown { .. } => ErrorClass::Unknown,
            Self::Closed(error) => class_of_end(error.as_ref()),
        }
    }
}

/// Why there is no subscription, or no more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscribeError {
    /// A pattern breaks its rules, or there are none or too many; nothing was sent.
    #[error("not a pattern: {0}")]
    Pattern(#[from] NameError),
    /// The node refused; the class of its code says whether to try again.
    #[error("refused: {0}")]
    Refused(WireError),
    /// The client has ended.
    #[error("the client has ended{}", because(.0))]
    Closed(Option<Arc<ConnectError>>),
}

impl SubscribeError {
    /// The row of the error table, if one fits.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Pattern(_) => Some(ErrorCode::BadChannel),
            Self::Refused(error) => Some(error.code),
            Self::Closed(error) => error.as_ref().and_then(|error| error.code()),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Pattern(_) => ErrorClass::Definite,
            Self::Refused(error) => error.code.class(),
            Self::Closed(error) => class_of_end(error.as_ref()),
        }
    }
}

fn class_of_end(error: Option<&Arc<ConnectError>>) -> ErrorClass {
    error.map_or(ErrorClass::Definite, |error| error.class())
}

fn because(error: &Option<Arc<ConnectError>>) -> String {
    error.as_ref().map(|error| format!(": {error}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_cannot_be_used_names_what_a_client_can_change() {
        let (path, source) = (PathBuf::from("ca.pem"), std::io::ErrorKind::NotFound.into());
        for error in [TlsError::Read { path: path.clone(), source }, TlsError::NoCertificate { path }] {
            let text = OptionsError::from(error).to_string();
            assert!(text.contains("ca.pem") && text.contains("--ca FILE") && text.contains("context"), "{text}");
            assert!(!text.contains("config"), "{text}");
        }
    }

    #[test]
    fn a_lost_ack_has_a_row_of_the_table() {
        let lost = PublishError::Unknown { reason: "gone".into() };
        assert_eq!((lost.code(), lost.class()), (Some(ErrorCode::Unanswered), ErrorCode::Unanswered.class()));
    }
}
