//! Tokens as text: minting, taking apart, and showing without a check (`farwire token inspect`).
//!
//! Gives no rights: only [`Verifier`](crate::Verifier) does. Invariant: what [`IssuerKey::mint`] returns, a
//! verifier with that issuer and mesh accepts within its times.

use std::fmt;

use pasetors::Public;
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};

use crate::claims::{Claims, GRANTS_MAX, rfc3339};
use crate::key::{IssuerKey, KeyId};
use crate::verify::TokenError;

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// A signed token. Whoever has its text has its rights, so it has no `Display`, and debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text to give to a client.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").finish_non_exhaustive()
    }
}

impl IssuerKey {
    /// Signs `claims`. The same claims give the same token: draw a new token id for each.
    ///
    /// # Errors
    /// Says which rule the claims break; nothing was signed that anybody would accept.
    pub fn mint(&self, claims: &Claims) -> Result<Token, MintError> {
        match claims.grants.len() {
            0 => return Err(MintError::NoGrants),
            count if count > GRANTS_MAX => return Err(MintError::TooManyGrants),
            _ => {}
        }
        let valid_from_seconds = claims.not_before_seconds.unwrap_or(0).max(claims.issued_at_seconds);
        if claims.expires_at_seconds <= valid_from_seconds {
            return Err(MintError::Times);
        }
        let payload = serde_json::to_vec(claims).map_err(|_| MintError::Times)?;
        let footer = serde_json::json!({ "kid": self.public().id() }).to_string();
        let text = PublicToken::sign(&self.secret, &payload, Some(footer.as_bytes()), None)
            .expect("a checked key signs any payload that is not empty");
        if text.len() > TOKEN_BYTES_MAX { Err(MintError::TooLong) } else { Ok(Token(text)) }
    }
}

/// Why no token was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// It would allow nothing.
    #[error("a token without a grant allows nothing: add at least one, as in --grant 'chat.>:publish,subscribe'")]
    NoGrants,
    /// Above the limit.
    #[error("more than {GRANTS_MAX} grants: use wider patterns or several tokens")]
    TooManyGrants,
    /// It would never hold, or its times cannot be written.
    #[error(
        "a token must expire after it was issued and begins to hold, and before the year 10000: check its life time"
    )]
    Times,
    /// Above the limit.
    #[error("longer than {TOKEN_BYTES_MAX} bytes: use fewer grants or wider patterns")]
    TooLong,
}

/// A token taken apart, before anything in it may be believed.
pub(crate) struct Parts {
    pub(crate) token: UntrustedToken<Public, V4>,
    pub(crate) key_id: KeyId,
}

impl Parts {
    pub(crate) fn of(text: &str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let token = UntrustedToken::<Public, V4>::try_from(text)
            .map_err(|_| TokenError::Malformed("it must be the whole text that begins with `v4.public.`"))?;
        let footer: Option<Footer> = serde_json::from_slice(token.untrusted_footer()).ok();
        let key_id = footer.and_then(|footer| KeyId::parse(&footer.kid));
        let key_id = key_id.ok_or(TokenError::Malformed("its footer must name the issuer's key as `kid`"))?;
        Ok(Self { token, key_id })
    }
}

#[derive(serde::Deserialize)]
struct Footer {
    kid: String,
}

/// What a token claims, for people to read. Nobody has checked the signature: it may all be a lie.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Unverified {
    /// Always false, so that the JSON says it too.
    verified: bool,
    /// The key that is said to have signed it.
    pub key_id: KeyId,
    /// What it says.
    pub claims: Claims,
}

/// Reads a token without checking its signature, mesh or times.
///
/// # Errors
/// When the text is not a token at all.
pub fn inspect(text: &str) -> Result<Unverified, TokenError> {
    let parts = Parts::of(text)?;
    let claims = Claims::from_json(parts.token.untrusted_payload())?;
    Ok(Unverified { verified: false, key_id: parts.key_id, claims })
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |seconds| rfc3339(seconds).unwrap_or_else(|| "never".to_owned());
        let claims = &self.claims;
        writeln!(f, "unverified   the signature was not checked")?;
        writeln!(f, "issuer key   {}", self.key_id)?;
        writeln!(f, "mesh         {}", claims.audience)?;
        writeln!(f, "client id    {}", claims.client_id)?;
        writeln!(f, "token id     {}", claims.token_id)?;
        writeln!(f, "issued at    {}", time(claims.issued_at_seconds))?;
        if let Some(seconds) = claims.not_before_seconds {
            writeln!(f, "not before   {}", time(seconds))?;
        }
        write!(f, "expires at   {}", time(claims.expires_at_seconds))?;
        claims.grants.iter().try_for_each(|grant| write!(f, "\ngrant        {grant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::tests::{ISSUED, claims_with};
    use crate::grant::Grant;
    use crate::grant::tests::grant;

    fn mint(change: impl FnOnce(&mut Claims)) -> Result<Token, MintError> {
        let mut claims = claims_with(vec![grant("chat.>:publish")]);
        change(&mut claims);
        IssuerKey::generate().expect("randomness").mint(&claims)
    }

    #[test]
    fn a_token_is_paseto_v4_public_and_hidden_from_debug_output() {
        let token = mint(|_| {}).expect("valid claims");
        assert!(token.as_str().starts_with("v4.public."));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn claims_that_nobody_would_accept_are_not_signed() {
        assert_eq!(mint(|claims| claims.grants.clear()), Err(MintError::NoGrants));
        assert_eq!(mint(|claims| claims.grants = vec![grant("a:publish"); 65]), Err(MintError::TooManyGrants));
        assert_eq!(mint(|claims| claims.expires_at_seconds = ISSUED), Err(MintError::Times));
        assert_eq!(mint(|claims| claims.not_before_seconds = Some(ISSUED + 900)), Err(MintError::Times));
        assert_eq!(mint(|claims| claims.expires_at_seconds = u64::MAX), Err(MintError::Times));
        let long = grant(&format!("{}:publish", "x".repeat(255)));
        assert_eq!(mint(|claims| claims.grants = vec![long; 20]), Err(MintError::TooLong));
    }

    #[test]
    fn sixty_four_usual_grants_fit_into_a_token() {
        let usual = |n: usize| -> Grant { grant(&format!("tenant-{n:04}.>:publish,subscribe")) };
        assert!(mint(|claims| claims.grants = (0..GRANTS_MAX).map(usual).collect()).is_ok());
    }

    #[test]
    fn inspecting_shows_the_claims_as_unverified() {
        let key = IssuerKey::generate().expect("randomness");
        let claims = claims_with(vec![grant("chat.>:publish,subscribe")]);
        let seen = inspect(key.mint(&claims).expect("valid claims").as_str()).expect("a token");
        assert_eq!((&seen.claims, &seen.key_id), (&claims, key.public().id()));
        let text = seen.to_string();
        assert!(text.starts_with("unverified"), "{text}");
        assert!(text.ends_with("expires at   2027-01-15T08:15:00Z\ngrant        chat.>:publish,subscribe"), "{text}");
        let json = serde_json::to_value(&seen).expect("JSON");
        assert_eq!((&json["verified"], &json["claims"]["sub"]), (&false.into(), &"alice@example".into()));
    }
}
