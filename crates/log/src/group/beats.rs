//! Heartbeats of all groups towards one node, in one frame: what is sent within [`WINDOW`] goes together.
//!
//! No task: the first one waits and carries the others. Whoever gives up while it carries loses the beats of all, which is
//! as if the network had lost them: the next ones come a heartbeat later.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::errors::RPCError;
use tokio::sync::oneshot;

use super::frames::{Answer, Asked, Request};
use super::network::{ask_once, network, unreachable};
use super::peers::Peers;
use crate::types::Types;

/// Beats that wait to be sent, by node. Shared by all groups of a node.
#[derive(Default)]
pub(super) struct Beats {
    /// A node is here while somebody carries beats to it.
    waiting: Mutex<BTreeMap<String, Vec<Beat>>>,
}

struct Beat {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

impl Beats {
    /// Sends a beat, alone or with others. Cancel safe: at worst some beats are lost.
    pub(super) async fn send(
        &self,
        peers: &dyn Peers,
        node: &str,
        request: Request,
    ) -> Result<Answer, RPCError<Types>> {
        let (answer, answered) = oneshot::channel();
        match self.join_or_begin(node, Beat { request, answer }) {
            None => answered.await.map_err(|_| unreachable()),
            Some(carried) => {
                carried.carry(peers).await?;
                answered.await.map_err(|_| network("fewer answers than beats"))
            }
        }
    }

    /// Puts a beat to those that wait; if none does, the caller has to carry them.
    fn join_or_begin<'a>(&'a self, node: &'a str, beat: Beat) -> Option<Carried<'a>> {
        let mut waiting = self.lock();
        if let Some(beats) = waiting.get_mut(node) {
            beats.push(beat);
            return None;
        }
        waiting.insert(node.to_owned(), vec![beat]);
        Some(Carried { beats: self, node, is_taken: false })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Beat>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beats towards a node until they are sent; dropped with it.
struct Carried<'a> {
    beats: &'a Beats,
    node: &'a str,
    is_taken: bool,
}

impl Carried<'_> {
    async fn carry(mut self, peers: &dyn Peers) -> Result<(), RPCError<Types>> {
        tokio::time::sleep(WINDOW).await;
        let beats = self.take().into_iter().map(|beat| (beat.request, beat.answer));
        let (requests, answers): (Vec<_>, Vec<_>) = beats.unzip();
        let answered = ask_once(peers, self.node, Asked::Beats(requests).encode()).await?;
        for (to, answer) in answers.into_iter().zip(answered) {
            // Whoever has given up does not miss it.
            let _ = to.send(answer);
        }
        Ok(())
    }

    fn take(&mut self) -> Vec<Beat> {
        self.is_taken = true;
        self.beats.lock().remove(self.node).unwrap_or_default()
    }
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            self.beats.lock().remove(self.node);
        }
    }
}

/// A fifth of a heartbeat: sixteen groups then send five frames in it, not sixteen.
const WINDOW: Duration = Duration::from_millis(40);
