//! What a command was asked for, on stdout: JSON lines for programs, or text for people. Buffered: the caller flushes when
//! nothing more is ready, so that nobody waits for a line. And notes for people who watch, on stderr.

use std::io::{self, BufWriter, Stdout, Write};

use farwire_client::{Gap, NodeName, RegionName, Status};
use serde::Serialize;

use crate::exit::Failure;

/// The process's stdout. Dropped without a flush it loses what is buffered, so every command flushes before it ends.
pub(crate) struct Output(BufWriter<Stdout>);

impl Output {
    /// The one output of this process.
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(BUFFER_BYTES, io::stdout()))
    }

    /// One JSON object on a line of its own.
    ///
    /// # Errors
    /// A clean end when the reader has gone away, else a failure.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.0, value).map_err(|err| Failure::stdout(&err.into()))?;
        self.bytes(b"\n")
    }

    /// One line of text.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// How a client is, at once: a line of JSON, or a note for people; nothing when it has ended, which the command itself
    /// tells.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub(crate) fn status(&mut self, status: &Status, json: bool) -> Result<(), Failure> {
        if !json {
            status_text(status).iter().for_each(|text| note(text));
            return Ok(());
        }
        if let Some(line) = StatusLine::of(status) {
            self.json(&line)?;
        }
        self.flush()
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(|err| Failure::stdout(&err))
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|err| Failure::stdout(&err))
    }
}

/// A line for people who watch; not worth a failure.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// How a client is, for people; nothing when it has ended, which the command itself tells.
pub(crate) fn status_text(status: &Status) -> Option<String> {
    match status {
        Status::Connected { node, region } => Some(format!("connected: {node} in {region}")),
        Status::Reconnecting { attempt, reason } => Some(format!("reconnecting, attempt {attempt}: {reason}")),
        Status::Resumed { node, region, gaps } => {
            let gap = gaps.iter().map(|gap| gap.lasted.as_secs_f64()).reduce(f64::max);
            let gap = gap
                .map(|seconds| format!("; what was published in the {seconds:.1} s without a session may be missing"));
            Some(format!("resumed: {node} in {region}{}", gap.unwrap_or_default()))
        }
        Status::Closed { .. } => None,
    }
}

#[derive(Debug, Serialize)]
struct StatusLine<'a> {
    status: &'static str,
    node: Option<&'a NodeName>,
    region: Option<&'a RegionName>,
    /// How long nothing could arrive, since the loss was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    gap_ms: Option<u64>,
}

impl<'a> StatusLine<'a> {
    /// Nothing when the client has ended, which the command itself tells.
    fn of(status: &'a Status) -> Option<Self> {
        let (status, place, gap_ms) = match status {
            Status::Connected { node, region } => ("connected", Some((node, region)), None),
            Status::Reconnecting { .. } => ("reconnecting", None, None),
            Status::Resumed { node, region, gaps } => ("resumed", Some((node, region)), longest_ms(gaps)),
            Status::Closed { .. } => return None,
        };
        let (node, region) = place.unzip();
        Some(Self { status, node, region, gap_ms })
    }
}

fn longest_ms(gaps: &[Gap]) -> Option<u64> {
    gaps.iter().map(|gap| u64::try_from(gap.lasted.as_millis()).unwrap_or(u64::MAX)).max()
}

const BUFFER_BYTES: usize = 64 * 1024;
