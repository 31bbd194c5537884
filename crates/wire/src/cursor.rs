//! How far a subscription has consumed the logs that it reads. Not where a message is: that is a
//! [`Place`]. Opaque to applications, which keep it as text; made by nodes and the SDK, and checked when it
//! comes back, because a client may send anything.
//!
//! Stored form: a version byte (1), the number of origins as a [`varint`], then for each origin, in ascending order, its
//! eight bytes, the most significant first, and the last position consumed as a varint. Each cursor has one form: equal
//! cursors are equal bytes, and equal text.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::DecodeError;
use crate::ids::Origin;
use crate::place::Place;
use crate::varint;

/// Longest stored form.
pub const CURSOR_BYTES_MAX: usize = 16 * 1024;
/// Most origins that a cursor names: as many as fit whatever their positions are. A pattern in a mesh of 20 regions and
/// 16 shards needs 320.
pub const CURSOR_ORIGINS_MAX: usize = 900;

const VERSION: u8 = 1;
const ORIGIN_BYTES: usize = 8;
const VARINT_BYTES_MAX: usize = 10;
const TEXT_BYTES_MAX: usize = CURSOR_BYTES_MAX.div_ceil(3) * 4;

const _: () = assert!(1 + 2 + CURSOR_ORIGINS_MAX * (ORIGIN_BYTES + VARINT_BYTES_MAX) <= CURSOR_BYTES_MAX);

/// Origin → last position consumed, 0 where nothing was.
///
/// Invariants: origins ascend strictly, and there are at most [`CURSOR_ORIGINS_MAX`]. Costs 16 bytes an origin, so a
/// subscription of one channel has 16 for each region.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Cursor(Vec<(Origin, u64)>);

/// A cursor names as many origins as it may, and was to name one more. It is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor names {CURSOR_ORIGINS_MAX} origins at most: subscribe with patterns that match fewer shards")]
pub struct CursorFull;

impl Cursor {
    /// A cursor that names no origin: nothing is consumed.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The last position consumed of `origin`, 0 for none; `None` if the cursor does not name it.
    #[must_use]
    pub fn consumed(&self, origin: Origin) -> Option<u64> {
        self.find(origin).ok().map(|at| self.0[at].1)
    }

    /// Whether the message at `place` is consumed.
    #[must_use]
    pub fn covers(&self, place: Place) -> bool {
        self.consumed(place.origin).is_some_and(|consumed| place.position.get() <= consumed)
    }

    /// Everything of the place's origin up to it is consumed. Never moves back.
    ///
    /// # Errors
    /// The origin is a new one and the cursor is full.
    pub fn advance(&mut self, place: Place) -> Result<(), CursorFull> {
        self.advance_to(place.origin, place.position.get())
    }

    /// As [`advance`](Self::advance); 0 names an origin of which nothing is consumed.
    ///
    /// # Errors
    /// The origin is a new one and the cursor is full.
    pub fn advance_to(&mut self, origin: Origin, position: u64) -> Result<(), CursorFull> {
        match self.find(origin) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(position),
            Err(_) if self.0.len() >= CURSOR_ORIGINS_MAX => return Err(CursorFull),
            Err(at) => self.0.insert(at, (origin, position)),
        }
        Ok(())
    }

    /// Takes over what is further on in `other`, as if both had been consumed.
    ///
    /// # Errors
    /// Both together name too many origins; the cursor is unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), CursorFull> {
        let new = other.0.iter().filter(|(origin, _)| self.find(*origin).is_err()).count();
        if self.0.len() + new > CURSOR_ORIGINS_MAX {
            return Err(CursorFull);
        }
        other.0.iter().try_for_each(|(origin, position)| self.advance_to(*origin, *position))
    }

    /// The origins in ascending order, each with the last position consumed.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Origin, u64)> {
        self.0.iter().copied()
    }

    /// How many origins are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stored form: at most [`CURSOR_BYTES_MAX`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::put(self.0.len() as u64, &mut out);
        for (origin, position) in &self.0 {
            out.extend(origin.0.to_be_bytes());
            varint::put(*position, &mut out);
        }
        out
    }

    /// Reads a stored form.
    ///
    /// # Errors
    /// The bytes are not the one form of a cursor.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > CURSOR_BYTES_MAX {
            return Err(DecodeError::malformed("a cursor is above 16,384 bytes"));
        }
        let (version, mut rest) = bytes.split_first().ok_or_else(unsound)?;
        if *version != VERSION {
            return Err(DecodeError::malformed("a cursor of a version that this release does not know"));
        }
        let count = varint::take(&mut rest).ok_or_else(unsound)?;
        if count > CURSOR_ORIGINS_MAX as u64 {
            return Err(DecodeError::malformed("a cursor names more than 900 origins"));
        }
        let origins = (0..count).map(|_| take_origin(&mut rest)).collect::<Option<Vec<_>>>().ok_or_else(unsound)?;
        let ascends = origins.is_sorted_by(|(one, _), (next, _)| one < next);
        if rest.is_empty() && ascends { Ok(Self(origins)) } else { Err(unsound()) }
    }

    fn find(&self, origin: Origin) -> Result<usize, usize> {
        self.0.binary_search_by_key(&origin, |(origin, _)| *origin)
    }
}

fn take_origin(rest: &mut &[u8]) -> Option<(Origin, u64)> {
    let (origin, after) = rest.split_first_chunk::<ORIGIN_BYTES>()?;
    *rest = after;
    Some((Origin(u64::from_be_bytes(*origin)), varint::take(rest)?))
}

fn unsound() -> DecodeError {
    DecodeError::malformed("a cursor does not decode: use one as it was handed out, unchanged")
}

/// The stored form as base64url without padding.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.encode()))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl FromStr for Cursor {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(DecodeError::malformed("a cursor is above 16,384 bytes"));
        }
        Self::decode(&URL_SAFE_NO_PAD.decode(text).map_err(|_| unsound())?)
    }
}
