//! The right of a session, as its verified token gave it: the one place that says yes or no. Publish, subscribe,
//! replay, history, presence and the admin interface all ask here, on every request.
//!
//! Does not watch the time: a session asks [`Access::is_expired`] with its own clock and ends when it is.
//! Invariant: only [`Verifier`](crate::Verifier) makes one, so whoever holds one has shown a valid token.

use farwire_wire::names::{ChannelName, ClientId};
use farwire_wire::pattern::Pattern;

use crate::claims::{Claims, TokenId};
use crate::grant::{Action, Grant};

/// What the holder of a verified token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    client_id: ClientId,
    token_id: TokenId,
    expires_at_seconds: u64,
    grants: Box<[Grant]>,
}

impl Access {
    /// The right in `claims`, whose signature, audience and times the caller has checked.
    pub(crate) fn of_verified(claims: Claims) -> Self {
        Self {
            client_id: claims.client_id,
            token_id: claims.token_id,
            expires_at_seconds: claims.expires_at_seconds,
            grants: claims.grants.into(),
        }
    }

    /// Who the client is.
    #[must_use]
    pub fn client_id(&self) -> &ClientId {
        &self.client_id
    }

    /// Which token this is, for logs and revocations.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        self.token_id
    }

    /// When the right ends, in seconds of Unix time.
    #[must_use]
    pub fn expires_at_seconds(&self) -> u64 {
        self.expires_at_seconds
    }

    /// Whether the right has ended at `now_seconds` of Unix time.
    #[must_use]
    pub fn is_expired(&self, now_seconds: u64) -> bool {
        now_seconds >= self.expires_at_seconds
    }

    /// The grants, in the token's order.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether `action` is granted on `channel`.
    #[must_use]
    pub fn allows(&self, action: Action, channel: &ChannelName) -> bool {
        self.any_pattern(action, |granted| granted.matches(channel))
    }

    /// Whether one grant alone gives `action` on every channel that `pattern` can match. Grants that only
    /// together cover the pattern do not count.
    #[must_use]
    pub fn allows_pattern(&self, action: Action, pattern: &Pattern) -> bool {
        self.any_pattern(action, |granted| granted.covers(pattern))
    }

    /// [`Access::allows`], with a refusal to show.
    ///
    /// # Errors
    /// [`Forbidden`] names the action and the channel.
    pub fn check(&self, action: Action, channel: &ChannelName) -> Result<(), Forbidden> {
        let allowed = self.allows(action, channel);
        allowed.then_some(()).ok_or_else(|| Forbidden { action, target: channel.clone().into() })
    }

    /// [`Access::allows_pattern`], with a refusal to show.
    ///
    /// # Errors
    /// [`Forbidden`] names the action and the pattern.
    pub fn check_pattern(&self, action: Action, pattern: &Pattern) -> Result<(), Forbidden> {
        let allowed = self.allows_pattern(action, pattern);
        allowed.then_some(()).ok_or_else(|| Forbidden { action, target: pattern.clone() })
    }

    fn any_pattern(&self, action: Action, fits: impl Fn(&Pattern) -> bool) -> bool {
        self.grants.iter().any(|grant| grant.actions.contains(action) && fits(&grant.pattern))
    }
}

/// The token does not give this right. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the token does not allow to {action} on `{target}`: use one that was minted with the grant `{target}:{action}`"
)]
pub struct Forbidden {
    /// What was asked.
    pub action: Action,
    /// On which channel or pattern.
    pub target: Pattern,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::tests::claims_with;
    use crate::grant::tests::{action, any_grant, grant, pattern_text};
    use proptest::prelude::*;

    fn access(grants: Vec<Grant>) -> Access {
        Access::of_verified(claims_with(grants))
    }

    fn channel(text: &str) -> ChannelName {
        ChannelName::parse(text).expect(text)
    }

    fn channel_text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b:c"]), 1..5).prop_map(|segments| segments.join("."))
    }

    /// The definition of a match on texts, apart from the matcher under test.
    fn naive_match(pattern: &[&str], channel: &[&str]) -> bool {
        match (pattern, channel) {
            ([">"], [_, ..]) | ([], []) => true,
            ([p, pattern @ ..], [c, channel @ ..]) => (*p == "*" || p == c) && naive_match(pattern, channel),
            _ => false,
        }
    }

    /// The definition of a right, from the grants' texts.
    fn naive_allows(grants: &[Grant], action: Action, channel: &str) -> bool {
        grants.iter().map(ToString::to_string).any(|text| {
            let (pattern, actions) = text.rsplit_once(':').expect("a grant has a colon");
            let pattern: Vec<_> = pattern.split('.').collect();
            let channel: Vec<_> = channel.split('.').collect();
            actions.split(',').any(|name| name == action.name()) && naive_match(&pattern, &channel)
        })
    }

    #[test]
    fn a_refusal_names_the_missing_grant() {
        let access = access(vec![grant("chat.>:subscribe")]);
        assert_eq!(access.check(Action::Subscribe, &channel("chat.a")), Ok(()));
        let refusal = access.check(Action::Publish, &channel("chat.a")).expect_err("only subscribe is granted");
        assert!(refusal.to_string().contains("`chat.a:publish`"), "{refusal}");
        let wider = Pattern::parse(">").expect("a pattern");
        assert!(access.check_pattern(Action::Subscribe, &wider).is_err());
    }

    #[test]
    fn managing_implies_nothing_else() {
        let access = access(vec![grant(">:manage")]);
        let allowed: Vec<_> = Action::ALL.into_iter().filter(|a| access.allows(*a, &channel("a"))).collect();
        assert_eq!(allowed, [Action::Manage]);
    }

    #[test]
    fn the_right_ends_at_its_expiry() {
        let access = access(vec![]);
        let end = access.expires_at_seconds();
        assert!(!access.is_expired(end - 1));
        assert!(access.is_expired(end));
    }

    proptest! {
        #[test]
        fn allows_agrees_with_the_definition(
            grants in prop::collection::vec(any_grant(), 0..4), action in action(), name in channel_text()
        ) {
            let want = naive_allows(&grants, action, &name);
            let access = access(grants);
            prop_assert_eq!(access.allows(action, &channel(&name)), want);
            prop_assert_eq!(access.allows_pattern(action, &channel(&name).into()), want);
            prop_assert_eq!(access.check(action, &channel(&name)).is_ok(), want);
        }

        #[test]
        fn an_allowed_pattern_allows_each_of_its_channels(
            grants in prop::collection::vec(any_grant(), 1..4), action in action(),
            pattern in pattern_text(), name in channel_text()
        ) {
            let access = access(grants);
            let pattern = Pattern::parse(&pattern).expect("made of valid segments");
            let channel = channel(&name);
            if access.allows_pattern(action, &pattern) && pattern.matches(&channel) {
                prop_assert!(access.allows(action, &channel));
            }
        }
    }
}
