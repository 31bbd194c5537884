//! How many publishes of a session wait for their answer, as the node sees it: those that have arrived and whose answer
//! QUIC has not taken yet. A client that keeps to its limit is never above it here, however slow the network is, since
//! it counts an answer later than the node does.

use std::sync::atomic::{AtomicU32, Ordering};

use farwire_wire::limits::PUBLISHES_IN_FLIGHT_MAX;
use farwire_wire::{ErrorCode, WireError};

/// When a client that does not read its answers may publish again.
const RETRY_MS: u32 = 100;

/// The publishes under way.
#[derive(Debug, Default)]
pub(super) struct InFlight(AtomicU32);

impl InFlight {
    /// A publish has arrived. It counts until it is answered, refused or not.
    ///
    /// # Errors
    /// More of them wait for their answers than a client may have under way: refuse this one.
    pub(super) fn arrived(&self) -> Result<(), WireError> {
        if self.0.fetch_add(1, Ordering::Relaxed) < PUBLISHES_IN_FLIGHT_MAX {
            return Ok(());
        }
        let message = format!("more than {PUBLISHES_IN_FLIGHT_MAX} publishes wait for their acks: read those first");
        Err(WireError { retry_after_ms: RETRY_MS, ..WireError::new(ErrorCode::RateLimited, message) })
    }

    /// The answers of so many publishes are written.
    pub(super) fn answered(&self, publishes: u32) {
        self.0.fetch_sub(publishes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_above_the_limit_is_refused_until_answers_are_written() {
        let in_flight = InFlight::default();
        (0..PUBLISHES_IN_FLIGHT_MAX).for_each(|_| in_flight.arrived().expect("below the limit"));
        let refused = in_flight.arrived().expect_err("above the limit");
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited, RETRY_MS));
        in_flight.answered(2);
        assert!(in_flight.arrived().is_ok() && in_flight.arrived().is_err());
    }
}
