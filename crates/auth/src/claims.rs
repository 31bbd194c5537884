//! What a token says, and its JSON. Reading makes checked values out of a stranger's text; nothing here knows
//! whether the text was signed. Called by minting, verifying and inspecting.

use std::fmt;
use std::str::FromStr;

use farwire_wire::ids::MeshId;
use farwire_wire::names::ClientId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::grant::Grant;
use crate::verify::TokenError;

/// Most grants in one token.
pub const GRANTS_MAX: usize = 64;

/// What a token says. Times are in seconds of Unix time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The mesh that the token is for.
    pub audience: MeshId,
    /// Who the client is.
    pub client_id: ClientId,
    /// The token's own id.
    pub token_id: TokenId,
    /// When it was minted.
    pub issued_at_seconds: u64,
    /// From when on it holds, if not from when it was minted.
    pub not_before_seconds: Option<u64>,
    /// The first second in which it does not hold any more.
    pub expires_at_seconds: u64,
    /// What its holder may do.
    pub grants: Vec<Grant>,
}

impl Claims {
    /// Reads the payload of a token.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, TokenError> {
        let raw: RawClaims = serde_json::from_slice(json).map_err(|_| {
            TokenError::Malformed("its claims must be aud, sub, jti, iat, exp as text and grants as a list of texts")
        })?;
        if raw.grants.len() > GRANTS_MAX {
            return Err(TokenError::TooManyGrants);
        }
        let grants: Result<_, _> = raw.grants.iter().map(|text| text.parse()).collect();
        Ok(Self {
            audience: raw.aud.parse().map_err(|_| TokenError::Malformed("`aud` must be a mesh id in hexadecimal"))?,
            client_id: raw.sub.parse().map_err(|_| TokenError::Malformed("`sub` must be a client id"))?,
            token_id: raw.jti.parse().map_err(|_| TokenError::Malformed(JTI_RULE))?,
            issued_at_seconds: seconds(&raw.iat)?,
            not_before_seconds: raw.nbf.as_deref().map(seconds).transpose()?,
            expires_at_seconds: seconds(&raw.exp)?,
            grants: grants.map_err(|_| TokenError::Malformed("each grant must read `pattern:action,action`"))?,
        })
    }
}

/// As in a token; fails for times after the year 9999.
impl serde::Serialize for Claims {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let text = |seconds| {
            rfc3339(seconds).ok_or_else(|| serde::ser::Error::custom("a token's times end with the year 9999"))
        };
        let raw = RawClaims {
            aud: self.audience.to_string(),
            sub: self.client_id.to_string(),
            jti: self.token_id.to_string(),
            iat: text(self.issued_at_seconds)?,
            nbf: self.not_before_seconds.map(text).transpose()?,
            exp: text(self.expires_at_seconds)?,
            grants: self.grants.iter().map(ToString::to_string).collect(),
        };
        raw.serialize(s)
    }
}

/// A token's own id, by which it is revoked. Drawn at random by whoever mints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u128);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenId {
    type Err = TokenIdError;
    /// Takes only the text that `Display` writes: two texts for one id would let a revoked token live on.
    fn from_str(text: &str) -> Result<Self, TokenIdError> {
        let id = u128::from_str_radix(text, 16).map(Self).map_err(|_| TokenIdError)?;
        if id.to_string() == text { Ok(id) } else { Err(TokenIdError) }
    }
}

/// A text is not a token id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token id is 32 lower-case hexadecimal digits, as `farwire token inspect` shows it")]
pub struct TokenIdError;

/// `seconds` of Unix time for people, while the year has four digits.
pub(crate) fn rfc3339(seconds: u64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?.format(&Rfc3339).ok()
}

fn seconds(text: &str) -> Result<u64, TokenError> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let seconds = time.and_then(|time| u64::try_from(time.unix_timestamp()).ok());
    seconds.ok_or(TokenError::Malformed("`iat`, `nbf` and `exp` must be RFC 3339 times after 1970"))
}

#[derive(serde::Serialize, serde::Deserialize)]
struct RawClaims {
    aud: String,
    sub: String,
    jti: String,
    iat: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<String>,
    exp: String,
    grants: Vec<String>,
}

const JTI_RULE: &str = "`jti` must be 32 lower-case hexadecimal digits";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ISSUED: u64 = 1_800_000_000;

    pub(crate) fn claims_with(grants: Vec<Grant>) -> Claims {
        Claims {
            audience: MeshId(0x00fa_0001),
            client_id: ClientId::parse("alice@example").expect("a client id"),
            token_id: TokenId(7),
            issued_at_seconds: ISSUED,
            not_before_seconds: None,
            expires_at_seconds: ISSUED + 900,
            grants,
        }
    }

    /// The JSON of valid claims, with `change` made to it.
    fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut json = serde_json::to_value(claims_with(vec![])).expect("claims are JSON");
        change(&mut json);
        json.to_string().into_bytes()
    }

    #[test]
    fn the_json_has_the_registered_claims() {
        let mut claims = claims_with(vec!["chat.>:publish".parse().expect("a grant")]);
        claims.not_before_seconds = Some(ISSUED + 1);
        let want = concat!(
            r#"{"aud":"0000000000fa0001","sub":"alice@example","jti":"00000000000000000000000000000007","#,
            r#""iat":"2027-01-15T08:00:00Z","nbf":"2027-01-15T08:00:01Z","exp":"2027-01-15T08:15:00Z","#,
            r#""grants":["chat.>:publish"]}"#,
        );
        assert_eq!(serde_json::to_string(&claims).expect("claims are JSON"), want);
        assert_eq!(Claims::from_json(want.as_bytes()), Ok(claims));
    }

    #[test]
    fn unknown_claims_are_ignored_and_other_offsets_read() {
        let json = changed(|json| {
            json["iss"] = "somebody".into();
            json["iat"] = "2027-01-15T09:00:00+01:00".into();
        });
        assert_eq!(Claims::from_json(&json), Ok(claims_with(vec![])));
    }

    #[test]
    fn each_broken_claim_is_refused() {
        for (claim, value) in [
            ("aud", "mesh"),
            ("sub", ""),
            ("jti", "7"),
            ("jti", "0000000000000000000000000000000A"),
            ("jti", "+0000000000000000000000000000007"),
            ("iat", "1800000000"),
            ("nbf", "soon"),
            ("exp", "1969-12-31T23:59:59Z"),
        ] {
            let json = changed(|json| json[claim] = value.into());
            assert!(matches!(Claims::from_json(&json), Err(TokenError::Malformed(_))), "{claim} {value}");
        }
        for claim in ["aud", "sub", "jti", "iat", "exp", "grants"] {
            let json = changed(|json| drop(json.as_object_mut().expect("an object").remove(claim)));
            assert!(matches!(Claims::from_json(&json), Err(TokenError::Malformed(_))), "without {claim}");
        }
        let json = changed(|json| json["grants"] = serde_json::json!(["chat.>"]));
        assert!(matches!(Claims::from_json(&json), Err(TokenError::Malformed(_))));
    }

    #[test]
    fn a_claim_given_twice_is_refused() {
        let text = String::from_utf8(changed(|_| {})).expect("JSON is UTF-8");
        let twice = text.replacen('{', r#"{"sub":"mallory","#, 1);
        assert!(Claims::from_json(twice.as_bytes()).is_err());
    }

    #[test]
    fn grants_are_counted_before_they_are_parsed() {
        let with = |count: usize| changed(|json| json["grants"] = vec!["no grant"; count].into());
        assert!(matches!(Claims::from_json(&with(GRANTS_MAX)), Err(TokenError::Malformed(_))));
        assert_eq!(Claims::from_json(&with(GRANTS_MAX + 1)), Err(TokenError::TooManyGrants));
    }
}
