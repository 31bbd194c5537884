//! A long history goes through a file and is judged; how long that took is printed.
//!
//! `FARWIRE_EVENTS=5000000 cargo test -p farwire-sim a_long_history -- --nocapture` does it for so many events.

use std::io::{BufWriter, Write};
use std::time::Instant;

use super::story;
use crate::logged::history::{read, write_line};
use crate::logged::{Terms, judge};

/// What a round of a long story takes, roughly.
const EVENTS_A_ROUND: u64 = 74;
const EVENTS: u64 = 20_000;

#[test]
fn a_long_history_is_read_and_judged() {
    let events = std::env::var("FARWIRE_EVENTS").map_or(EVENTS, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    {
        let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
        for record in story::good(events / EVENTS_A_ROUND) {
            write_line(&mut file, &record).unwrap();
        }
        file.flush().unwrap();
    }
    let bytes = path.metadata().unwrap().len();
    let begun = Instant::now();
    let read = read(&[path]).unwrap();
    let (read_in, begun) = (begun.elapsed(), Instant::now());
    let verdict = judge(&read.records, &Terms::default());
    let judged_in = begun.elapsed();
    println!("{}\n{bytes} bytes, read in {read_in:.1?}, judged in {judged_in:.1?}", verdict.totals);
    println!("{}", memory());
    assert_eq!(verdict.violations, [""; 0]);
}

/// The most memory that this process had, as the kernel says.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("memory unknown").to_owned()
}
