//! How long a store with a log of 1 GiB takes to open, after a process that ended without a word.
//!
//! `recovery [DIRECTORY [MIB]]`: a child writes entries of 256 KiB into four groups and exits without closing anything; then
//! the store is opened, and every group's newest entry read. The directory must be new; it is removed at the end.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use farwire_log::{Disk, DiskOptions, Encoded, Entry, GroupLog, LogId, Opened, Store, StoreOptions};
use farwire_wire::Shard;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::RaftLogStorageExt;
use openraft::{EntryPayload, RaftLogReader};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", place, mib] => write(Path::new(place), mib.parse()?),
        [place, mib] => measure(PathBuf::from(place), mib.parse()?),
        [place] => measure(PathBuf::from(place), MIB),
        _ => measure(std::env::temp_dir().join(format!("farwire-recovery-{}", std::process::id())), MIB),
    }
}

fn measure(place: PathBuf, mib: u64) -> Outcome {
    std::fs::create_dir(&place)?;
    let begun = Instant::now();
    let program = std::env::current_exe()?;
    let status = std::process::Command::new(program).arg("write").arg(&place).arg(mib.to_string()).status()?;
    println!("written: {mib} MiB in {:.1} s ({status})", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    let disk = Arc::new(Disk::open(&place, DiskOptions::default())?);
    println!("disk open after {:.3} s", begun.elapsed().as_secs_f64());
    let Opened { store, identity, .. } = Store::open(disk.clone(), disk, OPTIONS)?;
    let mut found = 0;
    for shard in store.shards() {
        let log = store.log(shard);
        let last = mib * 4 / GROUPS;
        found += log.read(last, last, usize::MAX)?.len();
    }
    println!("reads served after {:.3} s: {found} newest entries read, {identity:?}", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let mut bytes = 0;
    for shard in store.shards() {
        bytes += all_bytes(store.log(shard))?;
    }
    println!("all {} MiB read and checked in {:.1} s more", bytes >> 20, begun.elapsed().as_secs_f64());
    drop(store);
    Ok(std::fs::remove_dir_all(&place)?)
}

fn all_bytes(log: GroupLog) -> Result<usize, Box<dyn Error>> {
    let (mut next, mut bytes) = (1, 0);
    loop {
        let entries = log.read(next, u64::MAX, 1 << 20)?;
        let Some(last) = entries.last() else { return Ok(bytes) };
        next = last.log_id.index + 1;
        bytes += entries.iter().map(payload_bytes).sum::<usize>();
    }
}

fn payload_bytes(entry: &Entry) -> usize {
    if let EntryPayload::Normal(Encoded(bytes)) = &entry.payload { bytes.len() } else { 0 }
}

/// Ends the process without dropping anything.
fn write(place: &Path, mib: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let disk = Arc::new(Disk::open(place, DiskOptions::default())?);
        let Opened { store, committer, .. } = Store::open(disk.clone(), disk, OPTIONS)?;
        let _thread = committer.start_thread()?;
        for index in 1..=mib * 4 / GROUPS {
            for shard in 0..GROUPS {
                let mut log = store.log(Shard(u16::try_from(shard)?));
                log.blocking_append([entry(shard, index)]).await?;
            }
        }
        let mut log = store.log(Shard(0));
        assert!(log.read_vote().await?.is_none(), "nobody has voted");
        println!("sync: mean {} µs", store.counters().sync_us.sum() / store.counters().sync_us.count());
        std::process::exit(0)
    })
}

fn entry(shard: u64, index: u64) -> Entry {
    let mut seed = shard << 40 | index;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed.to_be_bytes()
    });
    let bytes: Vec<u8> = noise.take(ENTRY_BYTES / 8).flatten().collect();
    let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, index);
    Entry { log_id, payload: EntryPayload::Normal(Encoded(bytes.into())) }
}

const OPTIONS: StoreOptions = StoreOptions { drawn_id: 1, boot: 1, sync: true, bucket: 1 };
const MIB: u64 = 1_024;
const ENTRY_BYTES: usize = 256 << 10;
const GROUPS: u64 = 4;
