//! Tokens and grants: who may do what on which channels.
//!
//! An [`IssuerKey`] signs [`Claims`] into a [`Token`]; a node's [`Verifier`] turns a token's text back into an
//! [`Access`], and every request is checked by that one value. The crate fences the cryptography (PASETO
//! v4.public); nobody else names it.
//!
//! Pure: no clock, no files, no network. Times are arguments, in seconds of Unix time; the only randomness is
//! in [`IssuerKey::generate`]. It does not know sessions, revocations or rate limits.
//!
//! # The token, for someone who mints it elsewhere
//!
//! Any PASETO library will do: purpose `v4.public`, footer `{"kid":"k4.pid.…"}` (the PASERK id of the public
//! key), no implicit assertion, and these claims, all strings but the last:
//!
//! | claim | content |
//! |---|---|
//! | `aud` | the mesh id, 16 hexadecimal digits |
//! | `sub` | the client id |
//! | `jti` | the token's own id, 32 lower-case hexadecimal digits, drawn at random |
//! | `iat`, `exp` | RFC 3339; `nbf` too, if there is one |
//! | `grants` | list of `pattern:action,action`, 64 at most |
//!
//! Other claims are ignored. The whole text has at most 4 KiB.

mod access;
mod claims;
mod grant;
mod key;
mod token;
mod verify;

pub use access::{Access, Forbidden};
pub use claims::{Claims, GRANTS_MAX, TokenId, TokenIdError};
pub use grant::{Action, ActionSet, Grant, GrantError};
pub use key::{IssuerKey, IssuerPublic, KeyError, KeyId};
pub use token::{MintError, TOKEN_BYTES_MAX, Token, Unverified, inspect};
pub use verify::{LEEWAY_SECONDS, TokenError, Verifier};
