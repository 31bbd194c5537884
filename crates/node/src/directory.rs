//! What is known of every node besides its membership: where clients reach it, its release, its load, its links. Fed by
//! links and by membership broadcasts; the newest state of the newest run wins.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use farwire_wire::client::EntryPoint;
use farwire_wire::limits::MEMBERS_MAX;
use farwire_wire::peer::NodeState;
use farwire_wire::{NodeName, RegionName};

/// The newest known state of each node.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    nodes: RwLock<BTreeMap<NodeName, Listing>>,
}

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// Its region, once a link or SWIM has told it.
    pub(crate) region: Option<RegionName>,
    /// What it told of itself.
    pub(crate) state: NodeState,
}

impl Directory {
    /// Keeps a state if it is news: another run that came by link, or a higher revision of the same run.
    pub(crate) fn learn(&self, state: &NodeState, region: Option<&RegionName>) -> bool {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = nodes.get_mut(&state.node) {
            // Only a link proves which run is the present one; a broadcast of another run may be old.
            let newer_run = known.state.life != state.life && region.is_some();
            let newer = newer_run || (known.state.life == state.life && state.revision > known.state.revision);
            if newer {
                let links =
                    if state.links.is_empty() { std::mem::take(&mut known.state.links) } else { state.links.clone() };
                known.state = NodeState { links, ..state.clone() };
            }
            known.region = region.cloned().or(known.region.take());
            return newer;
        }
        if nodes.len() >= MEMBERS_MAX {
            return false;
        }
        nodes.insert(state.node.clone(), Listing { region: region.cloned(), state: state.clone() });
        true
    }

    /// Drops what is known of a node.
    pub(crate) fn forget(&self, name: &NodeName) {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// What is known of a node.
    pub(crate) fn find(&self, name: &NodeName) -> Option<Listing> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The nodes that tell of a link to somebody for whom `is_known` does not hold.
    pub(crate) fn who_knows_more(&self, is_known: impl Fn(&NodeName) -> bool) -> Vec<NodeName> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let knows_more =
            |listing: &Listing| listing.state.links.iter().any(|link| !link.silent && !is_known(&link.peer));
        nodes.iter().filter(|(_, listing)| knows_more(listing)).map(|(name, _)| name.clone()).collect()
    }

    /// Where clients can go, of the nodes that `is_open` holds for.
    pub(crate) fn entry_points(&self, is_open: impl Fn(&NodeName) -> bool) -> Vec<EntryPoint> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let entry_point = |(name, listing): (&NodeName, &Listing)| {
            let open = !listing.state.leaving && !listing.state.client_address.is_empty() && is_open(name);
            let region = listing.region.clone().filter(|_| open)?;
            Some(EntryPoint { node: name.clone(), region, address: listing.state.client_address.clone() })
        };
        nodes.iter().filter_map(entry_point).collect()
    }
}
