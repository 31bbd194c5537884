//! Why an operation of the SDK failed, one enum for each. Every one knows its class, which decides what to do next:
//! definite (do not ask again in the same way), unknown (ask again under the same number), retryable (ask again later).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use farwire_transport::connection::{CertificateFault, Closed};
use farwire_transport::endpoint::{DialError, EndpointError};
use farwire_transport::tls::TlsError;
use farwire_wire::presence::{QUERY_CHANNELS_MAX, StateError};
use farwire_wire::{ErrorClass, ErrorCode, NameError, WireError};

/// Most different faults that an error text lists, and most addresses of one.
const SHOWN_MAX: usize = 8;

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
    /// The file with the token could not be read.
    #[error(
        "cannot read the token {path}: {source}; make one with `farwire token mint`, and name it with `--token FILE`, or as `token` in the context"
    )]
    TokenRead {
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
    /// of the mesh, that the addresses are those in the nodes' certificates, and that the clocks are right.
    #[error("no node could be trusted: {}; {}", Listed(.0), trust_remedy(.0))]
    Tls(Vec<Attempt>),
    /// A node refused, and any other would too; the class of the code says whether that may change.
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

    /// Whether no retry would change it.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code.class() == ErrorClass::Definite)
    }

    pub(crate) fn of_attempts(attempts: Vec<Attempt>) -> Self {
        if !attempts.is_empty() && attempts.iter().all(|attempt| attempt.error.certificate_fault().is_some()) {
            return Self::Tls(attempts);
        }
        // Whichever node says so, it is the token, or the clock of the one who made it, that is to be looked at.
        let skew = attempts.iter().find_map(|attempt| attempt.error.refusal(ErrorCode::ClockSkew));
        skew.cloned().map_or(Self::Unreachable(attempts), Self::Refused)
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
    #[error("no answer: nothing runs there, or UDP does not reach it")]
    TimedOut,
}

impl AttemptError {
    /// Whether the same attempt would fail again in a moment.
    pub(crate) fn is_lasting(&self) -> bool {
        self.certificate_fault().is_some() || matches!(self, Self::Address | Self::Protocol(_))
    }

    fn certificate_fault(&self) -> Option<&CertificateFault> {
        match self {
            Self::Dial(DialError::Closed(Closed::Certificate(fault))) | Self::Lost(Closed::Certificate(fault)) => {
                Some(fault)
            }
            _ => None,
        }
    }

    fn refusal(&self, code: ErrorCode) -> Option<&WireError> {
        match self {
            Self::Refused(error) if error.code == code => Some(error),
            _ => None,
        }
    }
}

/// What a person can do about certificates that are not trusted.
fn trust_remedy(attempts: &[Attempt]) -> &'static str {
    match attempts.iter().find_map(|attempt| attempt.error.certificate_fault()) {
        Some(CertificateFault::Expired) => {
            "see that this machine's clock is right, and issue the certificate again with `farwire certs issue`"
        }
        Some(CertificateFault::NotYetValid) => {
            "see that this machine's clock is right, and that of the machine that issued the certificate"
        }
        Some(CertificateFault::Other(_)) => {
            "use an address that the certificate names, or issue it for this one with `farwire certs issue --address`"
        }
        Some(CertificateFault::Authority) | None => {
            "name the mesh's client-ca.pem with `--ca FILE`, or as `ca` in the context"
        }
    }
}

/// Attempts, with each fault told once.
struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut faults: Vec<(String, Vec<&str>)> = Vec::new();
        for attempt in self.0 {
            let fault = attempt.error.to_string();
            match faults.iter_mut().find(|(known, _)| *known == fault) {
                Some((_, addresses)) => addresses.push(&attempt.address),
                None => faults.push((fault, vec![&attempt.address])),
            }
        }
        for (i, (fault, addresses)) in faults.iter().take(SHOWN_MAX).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            let shown: Vec<_> = addresses.iter().take(SHOWN_MAX).map(|text| text.escape_debug().to_string()).collect();
            write!(f, "{separator}{}{}: {fault}", shown.join(", "), And(addresses.len()))?;
        }
        And(faults.len()).fmt(f)
    }
}

/// What a list leaves out.
struct And(usize);

impl fmt::Display for And {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
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
    /// The connection was lost before the ack, and there was none in which to ask again in time, or the client has ended
    /// meanwhile: the message may or may not be delivered.
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

/// Why presence could not be had, or is no more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PresenceError {
    /// A channel's or client's name breaks its rules; nothing was sent.
    #[error("not a name: {0}")]
    Name(#[from] NameError),
    /// The state breaks its rules; nothing was sent.
    #[error("{0}")]
    State(#[from] StateError),
    /// No channel was named, or more than 1,000; nothing was sent.
    #[error("one question is about 1 to {QUERY_CHANNELS_MAX} channels: ask in parts")]
    Channels,
    /// The client is present on the channel already; nothing was sent. Change its state through the handle that has it.
    #[error("the client is present on the channel already: update the presence that you have, or drop it first")]
    AlreadyPresent,
    /// The node refused; the class of its code says whether to try again.
    #[error("refused: {0}")]
    Refused(WireError),
    /// No answer came in time: there was no session, or nobody who knows could be asked.
    #[error("no answer within {} s: see the client's status, and ask again", .0.as_secs())]
    TimedOut(Duration),
    /// The client has ended.
    #[error("the client has ended{}", because(.0))]
    Closed(Option<Arc<ConnectError>>),
}

impl PresenceError {
    /// The row of the error table, if one fits.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Name(_) => Some(ErrorCode::BadChannel),
            Self::Refused(error) => Some(error.code),
            Self::Closed(error) => error.as_ref().and_then(|error| error.code()),
            Self::State(_) | Self::Channels | Self::AlreadyPresent | Self::TimedOut(_) => None,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Name(_) | Self::State(_) | Self::Channels | Self::AlreadyPresent => ErrorClass::Definite,
            Self::Refused(error) => error.code.class(),
            Self::TimedOut(_) => ErrorClass::Retryable,
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

    fn refused_for(fault: CertificateFault) -> AttemptError {
        DialError::Closed(Closed::Certificate(fault)).into()
    }

    #[test]
    fn certificates_that_are_not_trusted_say_why_and_what_to_do_once_for_all_nodes() {
        let faults = [
            (CertificateFault::Expired, "a:1, b:1: its certificate has expired; see that this machine's clock"),
            (
                CertificateFault::NotYetValid,
                "a:1, b:1: its certificate is not valid yet; see that this machine's clock",
            ),
            (CertificateFault::Authority, "not trusted here; name the mesh's client-ca.pem with `--ca FILE`"),
            (CertificateFault::Other("for c".into()), "is not the right one: for c; use an address"),
        ];
        for (fault, told) in faults {
            let attempt = |address: &str| Attempt { address: address.into(), error: refused_for(fault.clone()) };
            let error = ConnectError::of_attempts(vec![attempt("a:1"), attempt("b:1")]);
            let text = error.to_string();
            assert!(matches!(error, ConnectError::Tls(_)) && text.contains(told), "{text}");
            assert_eq!(text.matches("its certificate").count(), 1, "{text}");
        }
    }

    #[test]
    fn a_token_of_the_future_is_reported_as_such_whoever_else_is_silent() {
        let skewed = Attempt { address: "a:1".into(), error: AttemptError::Refused(ErrorCode::ClockSkew.into()) };
        let silent = Attempt { address: "b:1".into(), error: AttemptError::TimedOut };
        let error = ConnectError::of_attempts(vec![silent, skewed]);
        assert_eq!((error.code(), error.class()), (Some(ErrorCode::ClockSkew), ErrorClass::Retryable));
        assert!(!error.is_final());
    }

    #[test]
    fn a_list_of_attempts_has_an_end() {
        let silent = |n| Attempt { address: format!("node-{n}:1"), error: AttemptError::TimedOut };
        let text = ConnectError::of_attempts((0..20).map(silent).collect()).to_string();
        assert!(text.contains("node-7:1 and 12 more: no answer") && !text.contains("node-8"), "{text}");
    }

    #[test]
    fn a_lost_ack_has_a_row_of_the_table() {
        let lost = PublishError::Unknown { reason: "gone".into() };
        assert_eq!((lost.code(), lost.class()), (Some(ErrorCode::Unanswered), ErrorCode::Unanswered.class()));
    }
}
