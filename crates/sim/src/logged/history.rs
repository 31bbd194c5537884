//! The record of a run while it happens, in memory for a simulation and as a file for a process; and reading such files.
//!
//! Append-only: a line of JSON per event, written at once, so that what a process noted before it was killed is there. Each
//! process writes a file of its own; [`read`] puts them in order by the monotonic clock that a machine's processes share.
//! Invariant: within a file, times never go back.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::event::{Event, Record};

/// The record of a run, or of one process of it. Clones write to the same one.
#[derive(Debug, Clone)]
pub struct History {
    clock: Clock,
    sink: Arc<Mutex<Sink>>,
}

#[derive(Debug, Clone, Copy)]
enum Clock {
    Machine,
    Simulated { begun: Instant, wall_at_start: Duration },
}

#[derive(Debug)]
enum Sink {
    Memory(Vec<Record>),
    File(File),
}

/// Why a history cannot be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}; name the files that the run wrote", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no event, and not the torn last one of a process that was killed.
    #[error("{}, line {line}: no event of a history: {source}; the file was made by something else, or changed", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// What some files say.
#[derive(Debug, Default)]
pub struct Read {
    /// All events, in the order of their times.
    pub records: Vec<Record>,
    /// How many files end within a line: their processes were killed as they wrote.
    pub torn: usize,
}

impl History {
    /// An empty history in memory that begins now, by tokio's clock. `wall_at_start` is since the Unix epoch.
    #[must_use]
    pub fn simulated(wall_at_start: Duration) -> Self {
        let clock = Clock::Simulated { begun: Instant::now(), wall_at_start };
        Self { clock, sink: Arc::new(Mutex::new(Sink::Memory(Vec::new()))) }
    }

    /// An empty history in a new file, by the machine's clocks.
    ///
    /// # Errors
    /// When the file is there already, or cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create_new(path)?;
        Ok(Self { clock: Clock::Machine, sink: Arc::new(Mutex::new(Sink::File(file))) })
    }

    /// Notes what happens now.
    ///
    /// # Errors
    /// When the file cannot be written. The run proves nothing then.
    pub fn note(&self, event: Event) -> io::Result<()> {
        let mut sink = self.lock();
        // Within the lock, so that the order of lines is the order of times.
        let (at, wall) = self.clock.now();
        let record = Record { at_ns: whole(at.as_nanos()), wall_us: whole(wall.as_micros()), event };
        match &mut *sink {
            Sink::Memory(records) => records.push(record),
            Sink::File(file) => write_line(file, &record)?,
        }
        Ok(())
    }

    /// Everything so far; nothing for a file, which is for [`read`].
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        match &*self.lock() {
            Sink::Memory(records) => records.clone(),
            Sink::File(_) => Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    /// Monotonic and wall time.
    fn now(self) -> (Duration, Duration) {
        match self {
            Self::Machine => {
                let now = clock_gettime(ClockId::Monotonic);
                let at = Duration::try_from(now).unwrap_or_default();
                (at, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
            }
            Self::Simulated { begun, wall_at_start } => (begun.elapsed(), wall_at_start + begun.elapsed()),
        }
    }
}

/// Writes one event as a line, in one call.
///
/// # Errors
/// When `to` cannot be written.
pub fn write_line(to: &mut impl Write, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads the files of a run. Events of one time keep the order of the files.
///
/// # Errors
/// When a file cannot be read, or holds what no history writes.
pub fn read(paths: &[PathBuf]) -> Result<Read, ReadError> {
    let mut read = Read::default();
    for path in paths {
        read_file(path, &mut read)?;
    }
    read.records.sort_by_key(|record| record.at_ns);
    Ok(read)
}

fn read_file(path: &Path, read: &mut Read) -> Result<(), ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(io)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(io)? == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(record) => read.records.push(record),
            Err(_) if !line.ends_with(b"\n") => read.torn += 1,
            Err(source) => return Err(ReadError::Line { path: path.to_owned(), line: number, source }),
        }
    }
    Ok(())
}

/// Times of a run fit: a u64 of nanoseconds is 584 years.
fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logged::event::Name;

    fn fault(what: &str) -> Event {
        Event::Fault { what: what.to_owned(), way_around: true }
    }

    fn whats(read: &Read) -> Vec<&str> {
        let what = |record: &'_ Record| match &record.event {
            Event::Fault { .. } => "fault",
            Event::Drained { node } => node.as_str(),
            _ => "other",
        };
        read.records.iter().map(what).collect()
    }

    #[test]
    fn files_of_two_processes_are_read_in_the_order_of_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        let [a, b] = paths.clone().map(|path| History::create(&path).unwrap());
        for (history, node) in [(&a, "1"), (&b, "2"), (&a, "3"), (&b, "4")] {
            history.note(Event::Drained { node: Name::new(node) }).unwrap();
        }
        let read = read(&paths).unwrap();
        assert_eq!((whats(&read), read.torn), (vec!["1", "2", "3", "4"], 0));
        assert!(read.records.iter().all(|record| record.wall_us > 0));
    }

    #[test]
    fn the_torn_last_line_of_a_killed_process_is_counted_and_any_other_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let history = History::create(&path).unwrap();
        history.note(fault("kill")).unwrap();
        history.note(fault("cut")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 3]).unwrap();
        let torn = read(std::slice::from_ref(&path)).unwrap();
        assert_eq!((whats(&torn), torn.torn), (vec!["fault"], 1));
        std::fs::write(&path, text.replacen('{', "[", 1)).unwrap();
        let error = read(&[path]).unwrap_err();
        assert!(matches!(error, ReadError::Line { line: 1, .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulated_history_has_virtual_times() {
        let history = History::simulated(Duration::from_secs(1_800_000_000));
        tokio::time::advance(Duration::from_millis(1_500)).await;
        history.note(Event::Begun).unwrap();
        let expected = Record { at_ns: 1_500_000_000, wall_us: 1_800_000_001_500_000, event: Event::Begun };
        assert_eq!(history.records(), [expected]);
    }
}
