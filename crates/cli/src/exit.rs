//! How the process ends: one of six exit codes, and one last line on stderr that says what happened and what to do.
//!
//! Every command returns a [`Failure`] or nothing; `main` alone prints it. A reader of stdout that has gone away, as
//! `head` does, is a clean end and no failure.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use farwire_client::{ConnectError, ErrorClass, ErrorCode, PresenceError, PublishError, SubscribeError};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::logging::LogFormat;

/// The exit codes. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// A bad config, a port that is taken, the server's fault.
    Failed = 1,
    /// An unknown flag, region or node.
    Usage = 2,
    /// The time was up before `--count` was met.
    TimedOut = 3,
    /// Refused: authentication, certificate, name, size, limits.
    Refused = 4,
    /// Nobody reachable, no quorum: the same may work later.
    Retryable = 5,
}

impl Exit {
    /// What an error of the table means for the process.
    pub(crate) fn of(code: ErrorCode) -> Self {
        match (code, code.class()) {
            // One of the two programs is at fault, and asking otherwise would not help.
            (ErrorCode::Internal | ErrorCode::Malformed | ErrorCode::ProtocolState, _) => Self::Failed,
            (_, class) => Self::of_class(class),
        }
    }

    fn of_class(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Definite => Self::Refused,
            ErrorClass::Retryable | ErrorClass::Unknown => Self::Retryable,
        }
    }

    fn of_error(code: Option<ErrorCode>, class: ErrorClass) -> Self {
        code.map_or_else(|| Self::of_class(class), Self::of)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not do what it was asked to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What happened and what to do, in its last line; empty when there is nobody to tell.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with its exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Something of this machine is wrong, or the server's fault.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command was used wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// It is refused in this form.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// An option of the contract that this version does not have yet.
    pub(crate) fn not_built_yet(option: &str) -> Self {
        Self::refused(format!("{option} is not built yet in this version; leave it out"))
    }

    /// Presence cannot be watched, or not any more.
    pub(crate) fn of_watch(error: SubscribeError) -> Self {
        Self::of_presence(error.code(), error.class(), &error)
    }

    fn of_presence(code: Option<ErrorCode>, class: ErrorClass, error: &dyn fmt::Display) -> Self {
        let remedy = match code {
            Some(ErrorCode::Forbidden) => "; farwire token mint --grant 'PATTERN:presence' --client-id ID makes one",
            _ => "",
        };
        Self::new(Exit::of_error(code, class), format!("{error}{remedy}"))
    }

    /// Writing to stdout failed.
    pub(crate) fn stdout(err: &io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            _ => Self::failed(format!("cannot write to stdout: {err}; check where it leads")),
        }
    }

    /// Prints what happened as its last line, whatever the log lets through, and gives the code to end with.
    pub(crate) fn report(&self, format: LogFormat) -> ExitCode {
        if !self.message.is_empty() {
            let text = match format {
                LogFormat::Text => self.text(),
                LogFormat::Json => self.json().to_string(),
            };
            // When stderr is gone as well, the exit code is all there is to tell.
            let _ = writeln!(io::stderr(), "{text}");
        }
        self.exit.into()
    }

    /// With the program's name before the last line.
    fn text(&self) -> String {
        match self.message.rsplit_once('\n') {
            Some((before, last)) => format!("{before}\nfarwire: {last}"),
            None => format!("farwire: {}", self.message),
        }
    }

    /// In the form of a line of the log.
    fn json(&self) -> serde_json::Value {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        json!({"timestamp": now, "level": "ERROR", "message": self.message, "exit": self.exit as u8, "target": "farwire"})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match &error {
            // A file of this machine, not the mesh, is what is wrong.
            ConnectError::Options(_) => Exit::Failed,
            other => Exit::of_error(other.code(), other.class()),
        };
        let remedy = match &error {
            ConnectError::Unreachable(_) => "; see that the node runs and that UDP reaches it, then try again",
            _ => "",
        };
        Self::new(exit, format!("{error}{remedy}"))
    }
}

impl From<&PublishError> for Failure {
    fn from(error: &PublishError) -> Self {
        Self::new(Exit::of_error(error.code(), error.class()), error.to_string())
    }
}

impl From<SubscribeError> for Failure {
    fn from(error: SubscribeError) -> Self {
        Self::new(Exit::of_error(error.code(), error.class()), error.to_string())
    }
}

impl From<PresenceError> for Failure {
    fn from(error: PresenceError) -> Self {
        Self::of_presence(error.code(), error.class(), &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_table_has_the_exit_code_of_its_kind() {
        for code in ErrorCode::ALL {
            assert!(matches!(Exit::of(*code), Exit::Failed | Exit::Refused | Exit::Retryable), "{code:?}");
        }
        for refused in [
            ErrorCode::AuthInvalid,
            ErrorCode::AuthExpired,
            ErrorCode::Forbidden,
            ErrorCode::BadChannel,
            ErrorCode::FrameTooLarge,
            ErrorCode::SubscriptionLimit,
            ErrorCode::Unsupported,
        ] {
            assert_eq!(Exit::of(refused), Exit::Refused, "{refused:?}");
        }
        for later in [ErrorCode::NoQuorum, ErrorCode::NotOwner, ErrorCode::RateLimited, ErrorCode::GoAway] {
            assert_eq!(Exit::of(later), Exit::Retryable, "{later:?}");
        }
        assert_eq!(Exit::of(ErrorCode::Internal), Exit::Failed);
    }

    #[test]
    fn errors_without_a_code_go_by_their_class() {
        let exit = |error: ConnectError| Failure::from(error).exit;
        assert_eq!(exit(ConnectError::Unreachable(Vec::new())), Exit::Retryable);
        assert_eq!(exit(ConnectError::Tls(Vec::new())), Exit::Refused);
        assert_eq!(exit(ConnectError::Refused(ErrorCode::AuthInvalid.into())), Exit::Refused);
        assert_eq!(exit(ConnectError::Options(farwire_client::OptionsError::NoToken)), Exit::Failed);
        assert_eq!(Failure::from(&PublishError::Unknown { reason: "lost".into() }).exit, Exit::Retryable);
        assert_eq!(Failure::from(SubscribeError::Refused(ErrorCode::Forbidden.into())).exit, Exit::Refused);
    }

    #[test]
    fn who_may_not_see_presence_is_told_how_to_get_the_grant() {
        let forbidden = || ErrorCode::Forbidden.into();
        for failure in [
            Failure::from(PresenceError::Refused(forbidden())),
            Failure::of_watch(SubscribeError::Refused(forbidden())),
        ] {
            assert_eq!(failure.exit, Exit::Refused);
            assert!(failure.message.contains("farwire token mint --grant 'PATTERN:presence'"), "{failure}");
        }
        assert_eq!(Failure::from(PresenceError::TimedOut(std::time::Duration::ZERO)).exit, Exit::Retryable);
        assert_eq!(Failure::from(PresenceError::Channels).exit, Exit::Refused);
    }

    #[test]
    fn the_last_words_are_a_line_of_the_log_where_that_is_json() {
        let failure = Failure::failed("a:1: bad\nmend it");
        assert_eq!(failure.text(), "a:1: bad\nfarwire: mend it");
        let line = failure.json();
        assert_eq!(
            (&line["message"], &line["exit"], &line["level"]),
            (&json!("a:1: bad\nmend it"), &json!(1), &json!("ERROR"))
        );
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }

    #[test]
    fn a_reader_that_went_away_is_a_clean_and_silent_end() {
        let gone = Failure::stdout(&io::ErrorKind::BrokenPipe.into());
        assert_eq!(gone, Failure::new(Exit::Done, ""));
        assert_eq!(Failure::stdout(&io::ErrorKind::StorageFull.into()).exit, Exit::Failed);
    }
}
