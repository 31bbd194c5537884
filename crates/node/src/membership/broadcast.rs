//! Node states as SWIM broadcasts: the way by which a node hears of another that it has no link to. Keyed by node, so
//! that a newer state pushes an older one out of every queue.

use std::sync::Arc;

use farwire_wire::peer::NodeState;
use farwire_wire::{Life, NodeName};
use foca::{BroadcastHandler, Invalidates};

use super::identity::Identity;
use crate::directory::Directory;

/// Reads the states that come with SWIM messages.
pub(crate) struct StateBroadcasts {
    pub(crate) directory: Arc<Directory>,
}

/// Which state of which node.
pub(crate) struct StateKey {
    node: NodeName,
    life: Life,
    revision: u64,
}

impl Invalidates for StateKey {
    fn invalidates(&self, other: &Self) -> bool {
        self.node == other.node && (self.life != other.life || self.revision >= other.revision)
    }
}

impl BroadcastHandler<Identity> for StateBroadcasts {
    type Key = StateKey;
    type Error = farwire_wire::error::DecodeError;

    fn receive_item(&mut self, data: &[u8], sender: Option<&Identity>) -> Result<Option<StateKey>, Self::Error> {
        let state = NodeState::decode(data)?;
        // Without a sender it is this node's own state, which is always news.
        let is_news = self.directory.learn(&state, None) || sender.is_none();
        Ok(is_news.then_some(StateKey { node: state.node, life: state.life, revision: state.revision }))
    }
}
