//! This machine: its clock, its limits, its disk. Reads what the system says, changes nothing.

use std::path::Path;
use std::process::Command;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;

/// Everything about the machine; the disk where `data_dir` is or will be.
pub(super) fn findings(data_dir: Option<&Path>) -> Vec<Finding> {
    let clock = synchronized().map(clock);
    let buffers = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok();
    let buffers = buffers.and_then(|text| text.trim().parse().ok()).map(buffers_of);
    let disk = data_dir.and_then(free).map(|(free_bytes, share)| disk(free_bytes, share));
    clock.into_iter().chain([files(getrlimit(Resource::Nofile).current)]).chain(buffers).chain(disk).collect()
}

/// What systemd says of the clock; none where there is no systemd.
fn synchronized() -> Option<bool> {
    let output = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output().ok()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn clock(is_synchronized: bool) -> Finding {
    if is_synchronized {
        return Finding::ok("clock", "kept right by a time service");
    }
    Finding::warn(
        "clock",
        "no time service keeps it right",
        "install chrony: certificates, tokens and latencies go by it",
    )
}

/// `max`: how many files a process may have open; none for any number.
fn files(max: Option<u64>) -> Finding {
    let remedy = "raise it with `ulimit -n 65536`, or LimitNOFILE=65536 in the node's unit";
    match max {
        Some(max) if max < FILES_FEW => Finding::fail("open files", format!("a process may have {max}"), remedy),
        Some(max) if max < FILES_GOOD => Finding::warn("open files", format!("a process may have {max}"), remedy),
        Some(max) => Finding::ok("open files", format!("a process may have {max}")),
        None => Finding::ok("open files", "no limit"),
    }
}

/// `bytes_max`: what the kernel grants a socket.
fn buffers_of(bytes_max: u64) -> Finding {
    let kib = bytes_max / 1024;
    if bytes_max >= SOCKET_BUFFER_GOOD {
        return Finding::ok("UDP buffers", format!("up to {kib} KiB a socket"));
    }
    let wanted = SOCKET_BUFFER_GOOD;
    let remedy =
        format!("sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}, and the same in /etc/sysctl.d");
    Finding::warn("UDP buffers", format!("at most {kib} KiB a socket: bursts are lost"), remedy)
}

/// Free bytes where `dir` is or will be, and their share of all.
fn free(dir: &Path) -> Option<(u64, f64)> {
    let there = dir.ancestors().find(|path| path.exists())?;
    let disk = statvfs(there).ok()?;
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let share = disk.f_bavail as f64 / disk.f_blocks.max(1) as f64;
    Some((disk.f_bavail.saturating_mul(disk.f_frsize), share))
}

fn disk(free_bytes: u64, share: f64) -> Finding {
    let text = format!("{} MiB free in data_dir, {:.0} %", free_bytes >> 20, share * 100.0);
    let remedy = "make room, or set data_dir to another disk";
    match (free_bytes, share) {
        (..DISK_FULL, _) => Finding::fail("disk", text, remedy),
        (..DISK_LOW, _) => Finding::warn("disk", text, remedy),
        (_, share) if share < 0.05 => Finding::warn("disk", text, remedy),
        _ => Finding::ok("disk", text),
    }
}

/// A node has two UDP sockets, a listener, and a file for each thing that it keeps.
const FILES_FEW: u64 = 256;
const FILES_GOOD: u64 = 4_096;
/// What the client port and the peer port ask for.
const SOCKET_BUFFER_GOOD: u64 = farwire_transport::endpoint::SOCKET_BUFFER_BYTES as u64;
const DISK_FULL: u64 = 100 << 20;
const DISK_LOW: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn limits_are_told_by_how_much_they_hurt() {
        let levels = [Some(100), Some(1_024), Some(65_536), None].map(|max| files(max).level);
        assert_eq!(levels, [Level::Fail, Level::Warn, Level::Ok, Level::Ok]);
        assert_eq!([212_992, SOCKET_BUFFER_GOOD].map(|max| buffers_of(max).level), [Level::Warn, Level::Ok]);
        assert_eq!([true, false].map(|is| clock(is).level), [Level::Ok, Level::Warn]);
        let disks = [(1 << 20, 0.5), (1 << 29, 0.5), (1 << 35, 0.01), (1 << 35, 0.5)];
        assert_eq!(
            disks.map(|(free, share)| disk(free, share).level),
            [Level::Fail, Level::Warn, Level::Warn, Level::Ok]
        );
    }

    #[test]
    fn every_machine_has_a_limit_and_a_disk() {
        let checks: Vec<_> = findings(Some(Path::new("/not/there"))).into_iter().map(|finding| finding.check).collect();
        assert!(checks.contains(&"open files") && checks.contains(&"disk"), "{checks:?}");
    }
}
