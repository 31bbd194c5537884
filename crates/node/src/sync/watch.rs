//! A value that changes, and those who wait for it to: as tokio's `watch`, but for the order in which they wake. Tokio
//! spreads those who wait at random, from a generator that cannot be seeded, so that two runs of one simulation would differ;
//! here they wake in the order in which they began to wait.
//!
//! Invariant: who waits misses no change. Several changes may be seen as one.

use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::lock;

/// The side that changes the value. Not to be cloned: with it the value has had its last change.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The side that waits.
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// How many changes it has seen.
    seen: u64,
}

/// The value as it is, locked: not to be held for longer than it takes to look at it.
pub(crate) struct Look<'a, T>(MutexGuard<'a, State<T>>);

/// There is no sender any more, so no change to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended;

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    value: T,
    changes: u64,
    ended: bool,
}

/// A sender and its first receiver, which has seen `value`.
pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    pub(crate) fn new(value: T) -> Self {
        let state = Mutex::new(State { value, changes: 0, ended: false });
        Self(Arc::new(Shared { state, changed: Notify::new() }))
    }

    /// A receiver that has seen the value as it is now.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: self.0.clone(), seen: lock(&self.0.state).changes }
    }

    /// Changes the value and wakes who waits.
    pub(crate) fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Replaces the value and wakes who waits.
    pub(crate) fn send_replace(&self, value: T) {
        self.send_modify(|current| *current = value);
    }

    /// Wakes who waits if `change` says that it has changed the value, and returns that.
    pub(crate) fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut state = lock(&self.0.state);
        let changed = change(&mut state.value);
        if changed {
            state.changes += 1;
        }
        drop(state);
        if changed {
            self.0.changed.notify_waiters();
        }
        changed
    }
}

impl<T> Receiver<T> {
    /// The value as it is.
    pub(crate) fn borrow(&self) -> Look<'_, T> {
        Look(lock(&self.shared.state))
    }

    /// The value as it is, which has then been seen.
    pub(crate) fn borrow_and_update(&mut self) -> Look<'_, T> {
        let state = lock(&self.shared.state);
        self.seen = state.changes;
        Look(state)
    }

    /// Waits for a change that was not seen yet, and takes it as seen. Cancel safe.
    pub(crate) async fn changed(&mut self) -> Result<(), Ended> {
        loop {
            // Before the look: a change after it wakes this one.
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            {
                let state = lock(&self.shared.state);
                if state.changes != self.seen {
                    self.seen = state.changes;
                    return Ok(());
                }
                if state.ended {
                    return Err(Ended);
                }
            }
            changed.await;
        }
    }

    /// Waits until the value is as `wanted`, which it may be already. Cancel safe.
    pub(crate) async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<(), Ended> {
        loop {
            if wanted(&self.borrow_and_update()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        lock(&self.0.state).ended = true;
        self.0.changed.notify_waiters();
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Deref for Look<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&lock(&self.0.state).value).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&lock(&self.shared.state).value).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn who_waits_wakes_in_the_order_of_waiting() {
        let sender = Sender::new(0);
        let (woken, mut order) = (Arc::new(Mutex::new(Vec::new())), Vec::new());
        let mut tasks = JoinSet::new();
        for n in 0..50 {
            let (mut receiver, woken) = (sender.subscribe(), woken.clone());
            tasks.spawn(async move {
                receiver.changed().await.unwrap();
                lock(&woken).push(n);
            });
            order.push(n);
        }
        tokio::task::yield_now().await;
        sender.send_replace(1);
        while tasks.join_next().await.is_some() {}
        assert_eq!(*lock(&woken), order);
    }

    #[tokio::test]
    async fn a_change_is_seen_once_by_each_also_by_who_comes_late() {
        let (sender, mut receiver) = channel(0);
        let mut other = receiver.clone();
        sender.send_modify(|value| *value += 1);
        sender.send_modify(|value| *value += 1);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(*other.borrow_and_update(), 2);
        assert!(!sender.send_if_modified(|_| false));
        for receiver in [&mut receiver, &mut other, &mut sender.subscribe()] {
            let again = tokio::time::timeout(std::time::Duration::ZERO, receiver.changed()).await;
            assert!(again.is_err());
        }
    }

    #[tokio::test]
    async fn without_a_sender_nobody_waits() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        drop(sender);
        assert_eq!(receiver.changed().await, Ok(()), "the last change is still to be seen");
        assert_eq!(receiver.changed().await, Err(Ended));
        assert_eq!(receiver.wait_for(|value| *value == 1).await, Ok(()));
        assert_eq!(receiver.wait_for(|value| *value == 2).await, Err(Ended));
    }
}
