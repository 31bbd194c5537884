//! I11: what a node uses is bounded. No measurement of a node is above the bounds of [`UsageMax`]: its memory against its
//! first measurement, its queues, tasks and files as they are, its text log as a rate between two measurements that are
//! at least a minute apart. The worst measurement of each figure is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::UsageMax;
use crate::logged::event::{Event, Name, Usage};
use crate::logged::run::Run;

pub(super) fn violations(run: &Run, max: &UsageMax) -> Vec<String> {
    let mut nodes: BTreeMap<Name, Measured> = BTreeMap::new();
    for record in run.records {
        match &record.event {
            Event::Measured { node, usage } => nodes.entry(*node).or_default().take(record.at(), usage),
            // A process that begins anew counts from nothing.
            Event::NodeStarted { node, .. } => {
                let measured = nodes.entry(*node).or_default();
                *measured = Measured { worst: measured.worst, ..Measured::default() };
            }
            _ => {}
        }
    }
    nodes.iter().flat_map(|(node, measured)| measured.above(*node, max)).collect()
}

/// A node's measurements so far. In `worst`, memory is its growth, and the text log what came in a minute.
#[derive(Default)]
struct Measured {
    first: Option<Usage>,
    minute: Option<(Duration, u64)>,
    worst: Usage,
}

impl Measured {
    fn take(&mut self, at: Duration, usage: &Usage) {
        let first = *self.first.get_or_insert(*usage);
        let (since, before) = *self.minute.get_or_insert((at, usage.log_bytes));
        let mut log_bytes = 0;
        let passed = at.saturating_sub(since);
        if passed >= MINUTE {
            let written = u128::from(usage.log_bytes.saturating_sub(before));
            log_bytes = u64::try_from(written * MINUTE.as_millis() / passed.as_millis()).unwrap_or(u64::MAX);
            self.minute = Some((at, usage.log_bytes));
        }
        let worst = &mut self.worst;
        worst.memory_bytes = worst.memory_bytes.max(usage.memory_bytes.saturating_sub(first.memory_bytes));
        worst.queue_bytes = worst.queue_bytes.max(usage.queue_bytes);
        worst.tasks = worst.tasks.max(usage.tasks);
        worst.files = worst.files.max(usage.files);
        worst.log_bytes = worst.log_bytes.max(log_bytes);
    }

    fn above(&self, node: Name, max: &UsageMax) -> Vec<String> {
        let figures = [
            ("bytes of memory more than at first", self.worst.memory_bytes, max.memory_growth_bytes),
            ("bytes in queues", self.worst.queue_bytes, max.queue_bytes),
            ("tasks", self.worst.tasks, max.tasks),
            ("open files", self.worst.files, max.files),
            ("bytes of log in a minute", self.worst.log_bytes, max.log_bytes_per_minute),
        ];
        let above =
            figures.into_iter().filter_map(|(what, worst, max)| Some((what, worst, max.filter(|max| worst > *max)?)));
        above
            .map(|(what, worst, max)| format!("I11 above its bound: {node} had {worst} {what}, {max} is the most"))
            .collect()
    }
}

const MINUTE: Duration = Duration::from_secs(60);
