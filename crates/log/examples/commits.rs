//! What group commit makes of the disk: several groups append at the same time, one committer syncs for all.
//!
//! `commits [DIRECTORY]`: for 1, 4 and 16 groups and for entries of 1, 32 and 256 messages of 256 bytes, 5 seconds each, it
//! prints syncs, entries and messages a second and the times of the syncs. The directory must be new; it is removed at the end.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use farwire_log::{Disk, DiskOptions, Encoded, Entry, GroupLog, LogId, Opened, Store, StoreOptions};
use farwire_wire::Shard;
use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::RaftLogStorageExt;

fn main() -> Result<(), Box<dyn Error>> {
    let own = || std::env::temp_dir().join(format!("farwire-commits-{}", std::process::id()));
    let place = std::env::args().nth(1).map_or_else(own, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    println!("groups messages | syncs/s entries/s messages/s | jobs a sync | sync µs: mean, max");
    for groups in [1, 4, 16] {
        for messages in [1, 32, 256] {
            std::fs::create_dir(&place)?;
            let outcome = runtime.block_on(run(&place, groups, messages));
            std::fs::remove_dir_all(&place)?;
            outcome?;
        }
    }
    Ok(())
}

async fn run(place: &Path, groups: u16, messages: usize) -> Result<(), Box<dyn Error>> {
    let disk = Arc::new(Disk::open(place, DiskOptions::default())?);
    let Opened { store, committer, .. } = Store::open(disk.clone(), disk, OPTIONS)?;
    let thread = committer.start_thread()?;
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for shard in 0..groups {
        tasks.spawn(append(store.log(Shard(shard)), messages * 256, begun + RUN));
    }
    let mut entries = 0;
    while let Some(appended) = tasks.join_next().await {
        entries += appended?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let counters = store.counters();
    let syncs = counters.sync_us.count();
    println!(
        "{groups:6} {messages:8} | {:7.0} {:9.0} {:10.0} | {:11.1} | {} {}",
        syncs as f64 / seconds,
        entries as f64 / seconds,
        (entries * messages) as f64 / seconds,
        counters.batch_jobs.sum() as f64 / syncs as f64,
        counters.sync_us.sum() / syncs,
        counters.sync_us.max(),
    );
    drop(store);
    thread.join().map_err(|_| "the committer panicked".into())
}

/// One entry after the other, each after the last one counts. Returns how many.
async fn append(mut log: GroupLog, bytes: usize, until: Instant) -> usize {
    let command = Encoded(vec![7; bytes].into());
    let mut appended = 0;
    while Instant::now() < until {
        let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, appended as u64 + 1);
        let entry = Entry { log_id, payload: EntryPayload::Normal(command.clone()) };
        log.blocking_append([entry]).await.expect("the disk works");
        appended += 1;
    }
    appended
}

const RUN: Duration = Duration::from_secs(5);
const OPTIONS: StoreOptions = StoreOptions { drawn_id: 1, boot: 1, sync: true, bucket: 1 };
