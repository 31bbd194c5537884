//! What a process takes from the system: memory and file handles, as Linux tells them.

use std::fmt;

use farwire_tests::process::resident_kib;
use farwire_tests::up::ProcessMesh;

/// What one process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Resident memory.
    pub(crate) kib: u64,
    /// Open file handles, sockets among them.
    pub(crate) files: usize,
}

/// What each process of a mesh takes: its nodes, and the `up` that carries their packets.
pub(crate) fn of_mesh(mesh: &ProcessMesh) -> Vec<(String, Footprint)> {
    let nodes = mesh.nodes().into_iter().map(|node| (node.name, node.pid));
    let all = nodes.chain([("up".to_owned(), mesh.up.0.id())]);
    all.map(|(name, pid)| (name, Footprint::of(pid))).collect()
}

impl Footprint {
    fn of(pid: u32) -> Self {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("our own process").count();
        Self { kib: resident_kib(pid), files }
    }

    /// Why this is more than `before`, if it is.
    pub(crate) fn growth_since(&self, before: &Self) -> Option<String> {
        let (kib, files) = (self.kib.saturating_sub(before.kib), self.files.saturating_sub(before.files));
        match (kib > GROWTH_KIB_MAX, files > GROWTH_FILES_MAX) {
            (true, _) => Some(format!("{kib} KiB more than before; {GROWTH_KIB_MAX} are allowed")),
            (_, true) => Some(format!("{files} file handles more than before; {GROWTH_FILES_MAX} are allowed")),
            (false, false) => None,
        }
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.1} MiB {:>4} files", self.kib as f64 / 1024.0, self.files)
    }
}

/// What an allocator keeps after a busy time; a leak of a connection's buffers for each fault would be several times that.
const GROWTH_KIB_MAX: u64 = 16 * 1024;
/// A client may have its connection elsewhere than before, but a node has one socket for all of them.
const GROWTH_FILES_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_files() {
        let before = Footprint::of(std::process::id());
        assert!(before.kib > 1_000 && before.files >= 3, "{before}");
        let more = Footprint { kib: before.kib + GROWTH_KIB_MAX + 1, files: before.files };
        assert!(more.growth_since(&before).is_some() && before.growth_since(&more).is_none());
        let more = Footprint { kib: before.kib, files: before.files + GROWTH_FILES_MAX + 1 };
        assert!(more.growth_since(&before).is_some_and(|why| why.contains("file handles")));
    }
}
