//! Grants: a channel pattern and what may be done on the channels that it matches. The same text,
//! `chat.>:publish,subscribe`, stands on the command line and in tokens.
//!
//! Does not decide anything: [`Access`](crate::Access) does. Invariant: a grant has at least one action, so its
//! text always parses back to itself.

use std::fmt;
use std::str::FromStr;

use farwire_wire::names::NameError;
use farwire_wire::pattern::Pattern;

/// One kind of request that a grant may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Hand in messages.
    Publish,
    /// Receive messages, live and from a cursor.
    Subscribe,
    /// Be present and see who is.
    Presence,
    /// Read what is kept.
    History,
    /// Operate the mesh through the admin interface.
    Manage,
}

impl Action {
    /// Every action, in the order in which texts list them.
    pub const ALL: [Self; 5] = [Self::Publish, Self::Subscribe, Self::Presence, Self::History, Self::Manage];

    /// The name in tokens and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Presence => "presence",
            Self::History => "history",
            Self::Manage => "manage",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = GrantError;
    fn from_str(text: &str) -> Result<Self, GrantError> {
        Self::ALL.into_iter().find(|action| action.name() == text).ok_or(GrantError::UnknownAction)
    }
}

/// One or more actions. Never empty; none implies another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ActionSet(u8);

impl ActionSet {
    /// The set with `action` added.
    #[must_use]
    pub fn with(self, action: Action) -> Self {
        Self(self.0 | action.bit())
    }

    /// Whether `action` is in the set.
    #[must_use]
    pub fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// The actions in the order of [`Action::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.contains(*action))
    }
}

impl From<Action> for ActionSet {
    fn from(action: Action) -> Self {
        Self(action.bit())
    }
}

impl fmt::Display for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, action) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{action}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ActionSet {
    type Err = GrantError;
    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (first, rest) = text.split_once(',').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let first = Self::from(first.parse::<Action>()?);
        rest.into_iter().flat_map(|rest| rest.split(',')).try_fold(first, |set, name| Ok(set.with(name.parse()?)))
    }
}

/// What may be done on which channels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The channels.
    pub pattern: Pattern,
    /// The actions allowed on each of them.
    pub actions: ActionSet,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pattern, self.actions)
    }
}

impl FromStr for Grant {
    type Err = GrantError;
    fn from_str(text: &str) -> Result<Self, GrantError> {
        // The last colon divides: a channel may contain colons, an action cannot.
        let (pattern, actions) = text.rsplit_once(':').ok_or(GrantError::NoActions)?;
        Ok(Self { pattern: Pattern::parse(pattern)?, actions: actions.parse()? })
    }
}

/// Why a text is not a grant. The text itself is never echoed: it may come from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No colon between pattern and actions.
    #[error("a grant is a pattern, a colon and actions, as in `chat.>:publish,subscribe`")]
    NoActions,
    /// A word that is no action.
    #[error("the actions are publish, subscribe, presence, history and manage, separated by commas without spaces")]
    UnknownAction,
    /// The part before the colon is no pattern.
    #[error("the part before the last colon must be a channel pattern: {0}")]
    Pattern(#[from] NameError),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn grant(text: &str) -> Grant {
        text.parse().expect(text)
    }

    pub(crate) fn action() -> impl Strategy<Value = Action> {
        prop::sample::select(Action::ALL.to_vec())
    }

    /// Patterns over two names, so that they meet often.
    pub(crate) fn pattern_text() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec!["a", "b:c", "*"]);
        (prop::collection::vec(segment, 1..4), any::<bool>()).prop_map(|(mut segments, rest)| {
            if rest {
                segments.push(">");
            }
            segments.join(".")
        })
    }

    pub(crate) fn any_grant() -> impl Strategy<Value = Grant> {
        (pattern_text(), action(), prop::collection::vec(action(), 0..4)).prop_map(|(pattern, first, more)| Grant {
            pattern: Pattern::parse(&pattern).expect("made of valid segments"),
            actions: more.into_iter().fold(first.into(), ActionSet::with),
        })
    }

    #[test]
    fn the_last_colon_divides_pattern_and_actions() {
        let grant = grant("room:7.*:history,publish");
        assert_eq!(grant.pattern.as_str(), "room:7.*");
        assert!(grant.actions.contains(Action::Publish) && grant.actions.contains(Action::History));
        assert!(!grant.actions.contains(Action::Subscribe));
        assert_eq!(grant.to_string(), "room:7.*:publish,history");
    }

    #[test]
    fn texts_that_are_no_grant_are_refused() {
        let parse = |text: &str| text.parse::<Grant>();
        assert_eq!(parse("chat"), Err(GrantError::NoActions));
        for bad in ["chat:", "chat:publish,", "chat:Publish", "chat:publish subscribe", "chat:,publish", "a:b"] {
            assert_eq!(parse(bad), Err(GrantError::UnknownAction), "{bad}");
        }
        assert_eq!(parse("a.>.b:publish"), Err(GrantError::Pattern(NameError::Wildcard)));
        assert_eq!(parse(":publish"), Err(GrantError::Pattern(NameError::Empty)));
    }

    proptest! {
        #[test]
        fn a_grant_parses_back_from_its_text(want in any_grant()) {
            prop_assert_eq!(grant(&want.to_string()), want);
        }
    }
}
