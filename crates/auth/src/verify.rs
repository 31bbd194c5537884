//! From a token's text to a right. Called once per session and refresh, on bytes that anybody may have sent.
//!
//! Does not read a clock or know revocations: the caller gives the time. Invariant: an [`Access`] is returned
//! only for a token that a listed issuer signed, for this mesh, within its times. Nothing of the payload is
//! parsed before the signature holds, and no error repeats a byte of the token.

use farwire_wire::ids::MeshId;
use pasetors::version4::PublicToken;

use crate::access::Access;
use crate::claims::{Claims, GRANTS_MAX};
use crate::key::IssuerPublic;
use crate::token::{Parts, TOKEN_BYTES_MAX};

/// How far an issuer's clock may be ahead of the node's. Expiry has no such grace.
pub const LEEWAY_SECONDS: u64 = 30;

/// Accepts the tokens of some issuers for one mesh.
#[derive(Debug, Clone)]
pub struct Verifier {
    issuers: Vec<IssuerPublic>,
    mesh: MeshId,
}

impl Verifier {
    /// A verifier that trusts `issuers`. Without any it refuses every token, with the remedy.
    #[must_use]
    pub fn new(issuers: Vec<IssuerPublic>, mesh: MeshId) -> Self {
        Self { issuers, mesh }
    }

    /// Checks `token` at `now_seconds` of Unix time. Costs one signature check.
    ///
    /// # Errors
    /// Says why the token gives no right here and now.
    pub fn verify(&self, token: &str, now_seconds: u64) -> Result<Access, TokenError> {
        if self.issuers.is_empty() {
            return Err(TokenError::NoIssuer);
        }
        let parts = Parts::of(token)?;
        let issuer = self.issuers.iter().find(|issuer| *issuer.id() == parts.key_id);
        let issuer = issuer.ok_or(TokenError::WrongIssuer)?;
        let signed =
            PublicToken::verify(&issuer.key, &parts.token, None, None).map_err(|_| TokenError::BadSignature)?;
        let claims = Claims::from_json(signed.payload().as_bytes())?;
        if claims.audience != self.mesh {
            return Err(TokenError::WrongMesh);
        }
        check_times(&claims, now_seconds)?;
        Ok(Access::of_verified(claims))
    }
}

fn check_times(claims: &Claims, now_seconds: u64) -> Result<(), TokenError> {
    let valid_from_seconds = claims.not_before_seconds.unwrap_or(0).max(claims.issued_at_seconds);
    let early_seconds = valid_from_seconds.saturating_sub(now_seconds);
    if early_seconds > LEEWAY_SECONDS {
        return Err(TokenError::NotYetValid { early_seconds });
    }
    match now_seconds.checked_sub(claims.expires_at_seconds) {
        Some(since_seconds) => Err(TokenError::Expired { since_seconds }),
        None => Ok(()),
    }
}

/// Why a token gives no right. No session was made; the same token will be refused again, but for
/// `NotYetValid`, until something named in the text changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The node trusts nobody.
    #[error(
        "this node accepts no tokens, as it knows no issuer: \
         put the path of an issuer's public key file (`k4.public.`) into `[auth] issuers` of its config and restart it"
    )]
    NoIssuer,
    /// Above the limit; not read.
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes: mint one with fewer grants")]
    TooLong,
    /// Not a token of ours; the rule that it breaks is carried along.
    #[error("this is not a Farwire token: {0}; mint one with `farwire token mint`")]
    Malformed(&'static str),
    /// The key that it names is not trusted here.
    #[error(
        "the token was signed by an issuer that this node does not know: \
         use a token of this mesh's issuer, or add the issuer's public key to `[auth] issuers`"
    )]
    WrongIssuer,
    /// Altered or forged.
    #[error("the token's signature is wrong: it was altered on its way or forged; copy it again, whole")]
    BadSignature,
    /// For another mesh.
    #[error("the token is for another mesh: mint one for this mesh, or connect to the other")]
    WrongMesh,
    /// Over.
    #[error("the token expired {since_seconds} s ago: mint a new one, or set the node's clock if it is wrong")]
    Expired {
        /// For how long, by the node's clock; 0 in the first second.
        since_seconds: u64,
    },
    /// Not begun, or the clocks disagree.
    #[error("the token is valid only in {early_seconds} s: wait, or set the clock of the issuer or node that is wrong")]
    NotYetValid {
        /// For how long not, by the node's clock.
        early_seconds: u64,
    },
    /// Above the limit.
    #[error("the token has more than {GRANTS_MAX} grants: mint one with fewer, wider patterns")]
    TooManyGrants,
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use farwire_wire::names::{ChannelName, ClientId};
    use proptest::prelude::*;

    use super::*;
    use crate::claims::TokenId;
    use crate::claims::tests::{ISSUED, claims_with};
    use crate::grant::tests::{any_grant, grant};
    use crate::grant::{Action, Grant};
    use crate::key::IssuerKey;

    static KEY: LazyLock<IssuerKey> = LazyLock::new(key);

    fn key() -> IssuerKey {
        IssuerKey::generate().expect("randomness")
    }

    fn usual() -> Claims {
        claims_with(vec![grant("chat.>:publish,subscribe")])
    }

    fn verifier() -> Verifier {
        Verifier::new(vec![KEY.public().clone()], usual().audience)
    }

    fn minted(claims: &Claims) -> String {
        KEY.mint(claims).expect("valid claims").as_str().to_owned()
    }

    /// Signs any payload and footer, as an issuer without our checks would.
    fn signed(payload: &str, footer: Option<&str>) -> String {
        PublicToken::sign(&KEY.secret, payload.as_bytes(), footer.map(str::as_bytes), None).expect("a payload")
    }

    #[test]
    fn a_node_without_an_issuer_accepts_nobody_and_names_the_remedy() {
        let nobody = Verifier::new(vec![], usual().audience);
        for token in [minted(&usual()).as_str(), "", "junk"] {
            let refusal = nobody.verify(token, ISSUED).expect_err("nobody is trusted");
            assert_eq!(refusal, TokenError::NoIssuer);
            assert!(refusal.to_string().contains("`[auth] issuers`"));
        }
    }

    #[test]
    fn the_key_id_picks_among_several_issuers() {
        let (other, stranger) = (key(), key());
        let issuers = vec![other.public().clone(), KEY.public().clone()];
        let verifier = Verifier::new(issuers, usual().audience);
        for issuer in [&other, &*KEY] {
            let token = issuer.mint(&usual()).expect("valid claims");
            assert!(verifier.verify(token.as_str(), ISSUED).is_ok());
        }
        let token = stranger.mint(&usual()).expect("valid claims");
        assert_eq!(verifier.verify(token.as_str(), ISSUED), Err(TokenError::WrongIssuer));
    }

    #[test]
    fn a_stranger_cannot_borrow_a_trusted_key_id() {
        let payload = serde_json::to_string(&usual()).expect("JSON");
        let footer = format!(r#"{{"kid":"{}"}}"#, KEY.public().id());
        let forged = PublicToken::sign(&key().secret, payload.as_bytes(), Some(footer.as_bytes()), None);
        assert_eq!(verifier().verify(&forged.expect("a payload"), ISSUED), Err(TokenError::BadSignature));
        assert!(verifier().verify(&signed(&payload, Some(&footer)), ISSUED).is_ok(), "the same from the issuer");
    }

    #[test]
    fn a_token_holds_from_issue_less_leeway_until_expiry() {
        let token = minted(&usual());
        let at = |now| verifier().verify(&token, now).map(drop);
        assert_eq!(at(ISSUED - 31), Err(TokenError::NotYetValid { early_seconds: 31 }));
        assert_eq!(at(ISSUED - 30), Ok(()));
        assert_eq!(at(ISSUED + 899), Ok(()));
        assert_eq!(at(ISSUED + 900), Err(TokenError::Expired { since_seconds: 0 }));
        assert_eq!(at(u64::MAX).map_err(|e| matches!(e, TokenError::Expired { .. })), Err(true));
        assert_eq!(at(0).map_err(|e| matches!(e, TokenError::NotYetValid { .. })), Err(true));
    }

    #[test]
    fn not_before_delays_a_token() {
        let token = minted(&Claims { not_before_seconds: Some(ISSUED + 100), ..usual() });
        let at = |now| verifier().verify(&token, now).map(drop);
        assert_eq!(at(ISSUED), Err(TokenError::NotYetValid { early_seconds: 100 }));
        assert_eq!(at(ISSUED + 70), Ok(()));
    }

    #[test]
    fn a_token_for_another_mesh_is_refused() {
        let token = minted(&Claims { audience: MeshId(1), ..usual() });
        assert_eq!(verifier().verify(&token, ISSUED), Err(TokenError::WrongMesh));
    }

    #[test]
    fn limits_come_before_parsing() {
        let long = format!("v4.public.{}", "A".repeat(TOKEN_BYTES_MAX));
        assert_eq!(verifier().verify(&long, ISSUED), Err(TokenError::TooLong));
        let mut payload = serde_json::to_value(usual()).expect("JSON");
        payload["grants"] = vec!["a:publish"; GRANTS_MAX + 1].into();
        let footer = format!(r#"{{"kid":"{}"}}"#, KEY.public().id());
        let token = signed(&payload.to_string(), Some(&footer));
        assert_eq!(verifier().verify(&token, ISSUED), Err(TokenError::TooManyGrants));
    }

    #[test]
    fn what_is_no_token_of_ours_is_malformed() {
        let payload = serde_json::to_string(&usual()).expect("JSON");
        let good = minted(&usual());
        let secret = KEY.to_paserk();
        let local = good.replacen("public", "local", 1);
        let without_footer = signed(&payload, None);
        let other_footer = signed(&payload, Some("kid"));
        for text in ["", "v4.public.", "v4.public..", &secret, &local, &without_footer, &other_footer, "v4.public.é"] {
            let refused = verifier().verify(text, ISSUED);
            assert!(matches!(refused, Err(TokenError::Malformed(_))), "{refused:?}");
        }
        for broken in [format!("{good}."), format!("{good}="), format!(" {good}"), format!("{good}\n")] {
            assert!(verifier().verify(&broken, ISSUED).is_err());
        }
    }

    /// A token of the first release, whose secret key is gone: every later release must accept it.
    #[test]
    fn the_first_releases_tokens_stay_valid() {
        let issuer = IssuerPublic::from_paserk(GOLDEN_ISSUER).expect("a public key");
        let access = Verifier::new(vec![issuer], usual().audience).verify(GOLDEN_TOKEN, ISSUED).expect("still valid");
        assert_eq!(access.client_id().as_str(), "alice@example");
        assert_eq!(access.token_id(), TokenId(7));
        assert!(access.allows(Action::Publish, &ChannelName::parse("chat.a").expect("a channel")));
        assert!(GOLDEN_TOKEN.starts_with("v4.public."));
    }

    const GOLDEN_ISSUER: &str = "k4.public.ulBhbrlo1UvFrinQ3wg0AJNMibWYdhs7ouYjrb7oRvY";
    const GOLDEN_TOKEN: &str = concat!(
        "v4.public.eyJhdWQiOiIwMDAwMDAwMDAwZmEwMDAxIiwic3ViIjoiYWxpY2VAZXhhbXBsZSIsImp0aSI6IjAwMDAwMDAwMD",
        "AwMDAwMDAwMDAwMDAwMDAwMDAwMDA3IiwiaWF0IjoiMjAyNy0wMS0xNVQwODowMDowMFoiLCJleHAiOiIyMDI3LTAxLTE1VD",
        "A4OjE1OjAwWiIsImdyYW50cyI6WyJjaGF0Lj46cHVibGlzaCxzdWJzY3JpYmUiXX1xQnn83A5Om_27Hso2mRJOFwH5JLJqkU",
        "uJ_aFBCUcvvlLDVSidppHSsqHNT6tiFhM_4r_I_4nLYsmmKKPxtYAH.eyJraWQiOiJrNC5waWQuRVk4QmRLTU9LRzNkSHBZS",
        "mppZ0paVng0b0hKbFB0V1VMeWtHM0JfNUhHN1UifQ",
    );

    fn any_claims() -> impl Strategy<Value = Claims> {
        let grants = prop::collection::vec(any_grant(), 1..=GRANTS_MAX);
        let times = (0..200_000_000_000_u64, prop::option::of(0..100_u64), 100..100_000_u64);
        ("[A-Za-z0-9_:.@-]{1,64}", any::<(u64, u128)>(), times, grants).prop_map(
            |(client_id, (mesh, token), (issued, delay, life), grants): (String, _, _, Vec<Grant>)| Claims {
                audience: MeshId(mesh),
                client_id: ClientId::parse(&client_id).expect("made of allowed characters"),
                token_id: TokenId(token),
                issued_at_seconds: issued,
                not_before_seconds: delay.map(|delay| issued + delay),
                expires_at_seconds: issued + life,
                grants,
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_minted_is_verified(claims in any_claims()) {
            let verifier = Verifier::new(vec![KEY.public().clone()], claims.audience);
            let now = claims.not_before_seconds.unwrap_or(claims.issued_at_seconds);
            prop_assert_eq!(verifier.verify(&minted(&claims), now), Ok(Access::of_verified(claims)));
        }

        #[test]
        fn a_token_with_any_byte_changed_is_refused(at in any::<prop::sample::Index>(), flip in 1..128_u8) {
            static TOKEN: LazyLock<String> = LazyLock::new(|| minted(&usual()));
            let mut bytes = TOKEN.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let changed = String::from_utf8(bytes).expect("ASCII stays ASCII below 128");
            prop_assert!(verifier().verify(&changed, ISSUED).is_err());
        }

        #[test]
        fn any_text_is_refused_without_panic(text in "(v4\\.public\\.)?[A-Za-z0-9_.-]{0,300}|.{0,80}") {
            prop_assert!(verifier().verify(&text, ISSUED).is_err());
            prop_assert!(crate::inspect(&text).is_err());
        }
    }
}
