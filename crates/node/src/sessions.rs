//! The sessions of a node, as everybody else sees them; running them is the work of `session`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use farwire_auth::Access;
use farwire_transport::Connection;
use farwire_wire::{ClientId, Instance, SessionId};

use crate::sync::lock;

/// The sessions of a node.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<BTreeMap<SessionId, Arc<Session>>>,
    per_address: Mutex<BTreeMap<IpAddr, usize>>,
}

/// One session, as others see it.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its id.
    pub(crate) id: SessionId,
    /// Whose it is.
    pub(crate) client_id: ClientId,
    /// The client's run.
    pub(crate) instance: Instance,
    /// How often that run has connected, this time included.
    pub(crate) connects: u32,
    /// The SDK, for people.
    pub(crate) agent: String,
    /// Where the client is.
    pub(crate) connection: Connection,
    /// Since when, in microseconds since the Unix epoch.
    pub(crate) since_us: u64,
    /// What it may do.
    pub(crate) access: Access,
    /// Subscriptions now.
    pub(crate) subscriptions: AtomicUsize,
    /// Messages taken from it.
    pub(crate) published: AtomicU64,
    /// Messages written to it.
    pub(crate) delivered: AtomicU64,
    /// Messages that it was too slow for.
    pub(crate) dropped: AtomicU64,
}

impl Sessions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        lock(&self.open).len()
    }

    /// A session begins.
    pub(crate) fn open(&self, session: &Arc<Session>) {
        lock(&self.open).insert(session.id, session.clone());
    }

    /// A session has ended.
    pub(crate) fn close(&self, session: &Session) {
        lock(&self.open).remove(&session.id);
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        lock(&self.open).values().cloned().collect()
    }

    /// Counts a connection from an address; `false` when it has as many as it may.
    pub(crate) fn enter(&self, address: IpAddr, per_address_max: usize) -> bool {
        let mut counts = lock(&self.per_address);
        let count = counts.entry(address).or_insert(0);
        let room = *count < per_address_max;
        *count += usize::from(room);
        room
    }

    /// A connection from the address has ended.
    pub(crate) fn leave(&self, address: IpAddr) {
        let mut counts = lock(&self.per_address);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

impl Session {
    /// Adds to one of the session's counters.
    pub(crate) fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
