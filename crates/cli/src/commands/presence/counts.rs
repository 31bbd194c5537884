//! How many are on a channel, in the one form that `farwire presence --json` prints and the admin endpoint answers, and as a
//! table for people. Pure: no clock, no output.

use std::collections::BTreeMap;

use farwire_client::ChannelPresence;
use serde::{Deserialize, Serialize};

use crate::table::Column::{Left, Right};
use crate::table::{Table, marked};
use crate::units::{date_unless_today, shown};

/// How many are on a channel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Sessions, over the regions that can be reached.
    occupancy: u64,
    /// Distinct clients among them.
    clients: u64,
    /// Every region of the mesh, by its name.
    regions: BTreeMap<String, RegionCount>,
}

/// How many are on a channel in one region.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RegionCount {
    /// Sessions; of a region that cannot be reached, what was last heard.
    occupancy: u64,
    /// Until when that is known to be right, in microseconds since the Unix epoch; null if nothing was ever heard.
    as_of: Option<u64>,
    reachable: bool,
}

impl Counts {
    pub(super) fn of(presence: &ChannelPresence) -> Self {
        let regions = presence.regions.iter().map(|region| {
            let count =
                RegionCount { occupancy: region.occupancy, as_of: region.as_of_us, reachable: region.reachable };
            (region.region.to_string(), count)
        });
        Self { occupancy: presence.occupancy, clients: presence.clients, regions: regions.collect() }
    }

    /// `3 sessions of 2 clients`, and which regions these leave out.
    pub(crate) fn summary(&self) -> String {
        let out_of_reach: Vec<String> =
            self.regions.iter().filter(|(_, region)| !region.reachable).map(|(name, _)| shown(name)).collect();
        let left_out = match out_of_reach.len() {
            0 => String::new(),
            _ => format!(", ! unreachable and not counted: {}", out_of_reach.join(", ")),
        };
        format!("{} of {}{left_out}", plural(self.occupancy, "session"), plural(self.clients, "client"))
    }

    /// A row for each region. `now_us` is in microseconds since the Unix epoch.
    pub(crate) fn table(&self, now_us: u64) -> String {
        let mut table = Table::new([Left("  REGION"), Right("PRESENT"), Left("KNOWN (UTC)")]);
        for (name, region) in &self.regions {
            table.row([marked(name, region.reachable), region.occupancy.to_string(), region.known(now_us)]);
        }
        table.render()
    }
}

impl RegionCount {
    fn known(&self, now_us: u64) -> String {
        let as_of = self.as_of.map(|us| format!("as of {}", date_unless_today(us, now_us)));
        match (self.reachable, as_of) {
            (true, as_of) => as_of.unwrap_or_else(|| "nothing heard yet".to_owned()),
            (false, Some(as_of)) => format!("unreachable, {as_of}"),
            (false, None) => "unreachable, never heard from".to_owned(),
        }
    }
}

/// `2 sessions`, `1 session`
pub(super) fn plural(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31 14:03:11 UTC.
    const AS_OF_US: u64 = 1_769_868_191_000_000;

    #[test]
    fn a_region_out_of_reach_is_marked_with_what_was_last_heard_and_not_counted() {
        let answer = format!(
            r#"{{"occupancy":3,"clients":1,"newer":0,"regions":{{"fra":{{"occupancy":3,"as_of":{AS_OF_US},"reachable":true}},
            "iad":{{"occupancy":12,"as_of":{AS_OF_US},"reachable":false}},"sin":{{"occupancy":0,"as_of":null,"reachable":false}}}}}}"#
        );
        let counts: Counts = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(counts.summary(), "3 sessions of 1 client, ! unreachable and not counted: iad, sin");
        let want = [
            "  REGION  PRESENT  KNOWN (UTC)",
            "  fra           3  as of 14:03:11",
            "! iad          12  unreachable, as of 14:03:11",
            "! sin           0  unreachable, never heard from",
            "",
        ];
        assert_eq!(counts.table(AS_OF_US), want.join("\n"));
        assert!(counts.table(AS_OF_US + 86_400_000_000).contains("unreachable, as of 2026-01-31 14:03:11\n"));
    }
}
