//! Waiting for a condition, never for a time.

use std::time::Duration;

/// No condition of these tests takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `look` yields something.
///
/// # Panics
/// When it has not within a minute; says what was waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("a minute has passed and still not: {what}"))
}

/// Waits for a future, but not for ever.
///
/// # Panics
/// When it has not ended within a minute; says what was waited for.
pub async fn within_patience<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("a minute has passed and still not: {what}"))
}
