//! Where clients can go, as sessions are told: in the welcome, and again whenever it has changed. Looked up for all
//! sessions together; the frame is made once for all of them.

use std::time::Duration;

use bytes::Bytes;
use farwire_wire::WireError;
use farwire_wire::client::{EntryPoint, ServerBody, ServerFrame};
use prometheus_client::metrics::counter::Counter;

use super::writer::Command;
use crate::queue;
use crate::shared::Shared;
use crate::sync::watch;

/// How often the list is looked up; also the least time between two lists for one session, so that a mesh in motion
/// costs a client a frame a second at most.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The newest list.
#[derive(Debug)]
pub(super) struct EntryLists(watch::Sender<Listed>);

/// A list and its frame.
#[derive(Debug, Default)]
pub(super) struct Listed {
    entry_points: Vec<EntryPoint>,
    frame: Bytes,
}

impl EntryLists {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Listed::default()))
    }

    /// Looks the list up, and tells the sessions if it is another one.
    pub(super) fn refresh(&self, shared: &Shared) {
        let now = shared.entry_points();
        self.0.send_if_modified(|listed| {
            let changed = listed.entry_points != now;
            if changed {
                *listed = Listed::new(now);
            }
            changed
        });
    }

    /// The list for a welcome, and what tells of every change after it.
    pub(super) fn for_welcome(&self, shared: &Shared) -> (Vec<EntryPoint>, watch::Receiver<Listed>) {
        self.refresh(shared);
        let mut changes = self.0.subscribe();
        let list = changes.borrow_and_update().entry_points.clone();
        (list, changes)
    }
}

impl Listed {
    fn new(entry_points: Vec<EntryPoint>) -> Self {
        let body = ServerBody::EntryList(entry_points.clone());
        Self { entry_points, frame: ServerFrame { request: 0, body }.encode() }
    }
}

/// Tells a client of changes, and counts them in `told`, until the session ends. Cancel safe: at worst a list is not
/// told, and the session is over.
pub(super) async fn tell(
    told: &Counter,
    mut changes: watch::Receiver<Listed>,
    answers: &queue::Sender<Command>,
) -> WireError {
    while changes.changed().await.is_ok() {
        let frame = changes.borrow_and_update().frame.clone();
        if answers.send(Command::Frame { frame, publishes: 0 }).await.is_err() {
            break;
        }
        told.inc();
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // The session ends for a reason of its own.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Meter;

    fn list(nodes: u8) -> Listed {
        let entry = |n| EntryPoint {
            node: format!("fra-{n}").parse().expect("a node's name"),
            region: "fra".parse().expect("a region's name"),
            address: "192.0.2.1:7400".to_owned(),
        };
        Listed::new((0..nodes).map(entry).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_mesh_in_motion_costs_a_client_a_list_a_second() {
        let lists = watch::Sender::new(list(0));
        let (answers, mut told) = queue::bounded(64, Meter::default());
        let changes = lists.subscribe();
        let counter = Counter::default();
        let telling = tell(&counter, changes, &answers);
        let moving = async {
            for nodes in 1..=100 {
                lists.send_replace(list(nodes));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            biased;
            () = moving => {}
            _ = telling => panic!("the session has not ended"),
        }
        drop(answers);
        let mut frames = Vec::new();
        while let Some(Command::Frame { frame, .. }) = told.recv().await {
            frames.push(frame);
        }
        assert_eq!(frames.len(), 5);
        assert!(frames.is_sorted_by_key(Bytes::len), "the newest list each time");
    }
}
