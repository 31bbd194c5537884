//! Virtual time: one thread, one runtime, a clock that jumps to the next timer whenever nobody has anything to do.
//!
//! Not for code that waits for other threads or real sockets: the clock would not wait for them.

use std::time::Duration;

/// Runs `life` to its end under a paused clock, and drops everything it spawned.
///
/// # Panics
/// When the runtime cannot be built, or `life` panics.
pub fn run<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread needs nothing that could be missing").block_on(life)
}

/// Lets virtual time pass.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
