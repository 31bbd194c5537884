//! The keys of issuers: the secret one that mints, the public one that nodes verify with, and the id by which a
//! token names its key. Texts are PASERK, one line: `k4.secret.…`, `k4.public.…`, `k4.pid.…`.
//!
//! Reads and writes no files. A secret's text goes into a file that only its owner may read (mode 0600), and
//! into nothing else: [`IssuerKey`] shows only its id in debug output.

use std::fmt;

use pasetors::keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate};
use pasetors::paserk::{FormatAsPaserk, Id};
use pasetors::version4::V4;

/// The secret key of an issuer.
#[derive(Clone)]
pub struct IssuerKey {
    pub(crate) secret: AsymmetricSecretKey<V4>,
    public: IssuerPublic,
}

impl IssuerKey {
    /// Draws a new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Generation`]; no key exists then.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = AsymmetricKeyPair::<V4>::generate().map_err(|_| KeyError::Generation)?;
        Ok(Self { secret: pair.secret, public: IssuerPublic::new(pair.public) })
    }

    /// Reads the key from its text; white space around it is ignored.
    ///
    /// # Errors
    /// [`KeyError::Secret`].
    pub fn from_paserk(text: &str) -> Result<Self, KeyError> {
        let secret = AsymmetricSecretKey::<V4>::try_from(text.trim()).map_err(|_| KeyError::Secret)?;
        let public = AsymmetricPublicKey::<V4>::try_from(&secret).map_err(|_| KeyError::Secret)?;
        Ok(Self { secret, public: IssuerPublic::new(public) })
    }

    /// The key as text. Whoever reads it can mint tokens.
    #[must_use]
    pub fn to_paserk(&self) -> String {
        paserk(&self.secret)
    }

    /// The public half, for nodes.
    #[must_use]
    pub fn public(&self) -> &IssuerPublic {
        &self.public
    }
}

impl fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerKey").field("id", &self.public.id).finish_non_exhaustive()
    }
}

/// The public key of an issuer whom a node trusts.
#[derive(Clone, PartialEq)]
pub struct IssuerPublic {
    pub(crate) key: AsymmetricPublicKey<V4>,
    id: KeyId,
}

impl IssuerPublic {
    /// Reads the key from its text; white space around it is ignored.
    ///
    /// # Errors
    /// [`KeyError::Public`], or [`KeyError::SecretGiven`] when the text is a secret key.
    pub fn from_paserk(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with("k4.secret.") {
            return Err(KeyError::SecretGiven);
        }
        AsymmetricPublicKey::<V4>::try_from(text).map(Self::new).map_err(|_| KeyError::Public)
    }

    /// The key as text.
    #[must_use]
    pub fn to_paserk(&self) -> String {
        paserk(&self.key)
    }

    /// The id by which tokens name this key.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    fn new(key: AsymmetricPublicKey<V4>) -> Self {
        let id = KeyId(paserk(&Id::from(&key)));
        Self { key, id }
    }
}

impl fmt::Debug for IssuerPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerPublic").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A hash of a public key: `k4.pid.` and 44 characters of URL-safe base64.
#[derive(Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct KeyId(String);

impl KeyId {
    /// Checks `text`, which may come from outside.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hash = text.strip_prefix("k4.pid.")?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        (hash.len() == 44 && hash.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no key. The text that was read is never echoed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system gave no randomness.
    #[error("the system gave no randomness for a new key: try again")]
    Generation,
    /// Not a secret key.
    #[error("not an issuer's secret key: expected one line that begins with `k4.secret.`")]
    Secret,
    /// Not a public key.
    #[error("not an issuer's public key: expected one line that begins with `k4.public.`")]
    Public,
    /// A secret key where the public one belongs.
    #[error(
        "this is an issuer's secret key: a node needs only the public one (`k4.public.`); keep the secret away from it"
    )]
    SecretGiven,
}

fn paserk(key: &impl FormatAsPaserk) -> String {
    let mut text = String::new();
    key.fmt(&mut text).expect("writing to a string cannot fail, and a key has a fixed length");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_texts() {
        let key = IssuerKey::generate().expect("randomness");
        let text = key.to_paserk();
        assert!(text.starts_with("k4.secret."));
        let again = IssuerKey::from_paserk(&format!("{text}\n")).expect("its own text");
        assert_eq!(again.to_paserk(), text);

        let public = key.public().to_paserk();
        assert!(public.starts_with("k4.public."));
        let again = IssuerPublic::from_paserk(&format!(" {public}\r\n")).expect("its own text");
        assert_eq!(&again, key.public());
        assert_eq!(KeyId::parse(again.id().as_str()).as_ref(), Some(key.public().id()));
    }

    #[test]
    fn debug_output_never_shows_the_secret() {
        let key = IssuerKey::generate().expect("randomness");
        let secret = key.to_paserk();
        let body = secret.strip_prefix("k4.secret.").expect("a secret's text");
        let shown = format!("{key:?} {key:#?} {:?}", key.public());
        assert!(!shown.contains(&body[..16]), "{shown}");
        assert!(shown.contains(key.public().id().as_str()));
    }

    #[test]
    fn a_secret_is_refused_where_a_public_key_belongs() {
        let key = IssuerKey::generate().expect("randomness");
        assert_eq!(IssuerPublic::from_paserk(&key.to_paserk()), Err(KeyError::SecretGiven));
        assert_eq!(IssuerPublic::from_paserk("k4.public.AAAA"), Err(KeyError::Public));
        assert_eq!(IssuerKey::from_paserk(&key.public().to_paserk()).err(), Some(KeyError::Secret));
    }

    #[test]
    fn key_ids_from_outside_are_checked() {
        let good = format!("k4.pid.{}", "A".repeat(44));
        assert!(KeyId::parse(&good).is_some());
        for bad in [String::new(), good.replace("pid", "sid"), format!("{good}A"), good.replace("AAAA", "A\n\u{1b}A")] {
            assert!(KeyId::parse(&bad).is_none());
        }
    }
}
