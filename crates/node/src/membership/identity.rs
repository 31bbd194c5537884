//! Who a member is to SWIM: name, peer address, region and a number that grows when it has to come back. Nothing that
//! changes is in it.

use std::net::SocketAddr;

use farwire_wire::{NodeName, RegionName};
use serde::{Deserialize, Serialize};

/// A member's identity. Two identities of one name are the same node; the greater bump is the newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) name: NodeName,
    pub(crate) address: SocketAddr,
    pub(crate) region: RegionName,
    pub(crate) bump: u64,
}

impl foca::Identity for Identity {
    type Addr = NodeName;

    fn renew(&self) -> Option<Self> {
        Some(Self { bump: self.bump + 1, ..self.clone() })
    }

    fn addr(&self) -> NodeName {
        self.name.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.bump > adversary.bump
    }
}
