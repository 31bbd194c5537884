//! Waiting for a condition, never for a time.

use std::net::SocketAddr;
use std::time::Duration;

use crate::http;

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

/// Waits until every node, by its admin endpoint, reaches every other one and has it in its ring.
///
/// # Panics
/// When that does not happen within a minute.
pub async fn until_all_see_all(admins: &[SocketAddr]) {
    until("all nodes see each other", async || {
        for admin in admins {
            let mesh = http::get_json(*admin, "/v1/mesh").await;
            let members = mesh["members"].as_array()?;
            let well = |member: &&serde_json::Value| {
                member["state"] == "alive" && member["in_ring"] == true && member["reachable"] == true
            };
            if members.iter().filter(well).count() != admins.len() {
                return None;
            }
        }
        Some(())
    })
    .await;
}
