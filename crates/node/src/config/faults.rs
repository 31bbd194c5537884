//! What is wrong with a config: all of it at once, each fault with its place and what would be right.
//! Text that comes from outside is quoted and escaped here or in [`quoted`], never printed raw.

use std::fmt;
use std::sync::Arc;

/// Where a setting was written. Ordered as faults are reported: down the file, then outwards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the config file, counted from 1.
    Line {
        /// The file's path as it was given.
        file: Arc<str>,
        /// The line.
        line: usize,
    },
    /// The config file as a whole, for what is missing from it.
    File(Arc<str>),
    /// An environment variable.
    Environment(String),
    /// A `--set` of the command line.
    CommandLine,
}

/// One fault: its place, the setting, what is wrong and what is right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it was written.
    pub place: Place,
    /// The setting's key path, `client.bind`; none for text that is no TOML at all.
    pub key: Option<String>,
    /// What is wrong; what to write instead.
    pub message: String,
}

impl Fault {
    pub(super) fn of(place: Place, key: &str, message: impl Into<String>) -> Self {
        Self { place, key: Some(key.to_owned()), message: message.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::File(file) => f.write_str(file),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::CommandLine => f.write_str("--set"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{}: ", key.escape_debug())?;
        }
        f.write_str(&self.message)
    }
}

/// Every fault of one config, in the order of their places; never empty. Displayed a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn of(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// An error if and only if there are `faults`.
    ///
    /// # Errors
    /// All of `faults`, sorted, when there is at least one.
    pub fn check(mut faults: Vec<Fault>) -> Result<(), Self> {
        faults.sort();
        faults.dedup();
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }

    /// The faults in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// `text` in quotes, control characters escaped, cut after 60 characters.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

const QUOTED_CHARS_MAX: usize = 60;
