//! What a mesh answers to who is on a channel and where a client is: a line of JSON for programs, a page for people. Pure: no
//! clock, no output. The state of an occupant is a stranger's text: for people its control characters are made visible.

use farwire_client::{ChannelPresence, ClientId, ListedOccupant, Place, PresenceState, WhereAnswer};
use serde::Serialize;
use serde_json::value::RawValue;

use super::counts::Counts;
use crate::table::Column::Left;
use crate::table::Table;
use crate::units::{NONE, date};

/// Who is on a channel.
#[derive(Debug, Serialize)]
pub(super) struct ChannelLine<'a> {
    channel: &'a str,
    #[serde(flatten)]
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    occupants: Option<Vec<OccupantLine<'a>>>,
}

#[derive(Debug, Serialize)]
struct OccupantLine<'a> {
    client_id: &'a str,
    state: Option<Box<RawValue>>,
    node: &'a str,
    /// Microseconds since the Unix epoch, as all times here.
    since: u64,
}

impl<'a> ChannelLine<'a> {
    /// `occupants` says whether they were asked for.
    pub(super) fn of(presence: &'a ChannelPresence, occupants: bool) -> Self {
        let occupant = |occupant: &'a ListedOccupant| OccupantLine {
            client_id: occupant.client.as_str(),
            state: state_value(&occupant.state),
            node: occupant.node.as_str(),
            since: occupant.since_us,
        };
        Self {
            channel: presence.channel.as_str(),
            counts: Counts::of(presence),
            occupants: occupants.then(|| presence.occupants.iter().map(occupant).collect()),
        }
    }

    /// `now_us` is in microseconds since the Unix epoch.
    pub(super) fn page(&self, now_us: u64) -> String {
        let summary = self.counts.summary();
        let occupants = match &self.occupants {
            Some(listed) if !listed.is_empty() => format!("\n{}", occupants(listed)),
            _ => String::new(),
        };
        format!("{}: {summary}\n\n{}{occupants}", self.channel, self.counts.table(now_us))
    }
}

fn occupants(listed: &[OccupantLine<'_>]) -> String {
    let mut table = Table::new([Left("CLIENT"), Left("NODE"), Left("SINCE (UTC)"), Left("STATE")]);
    for occupant in listed {
        let state = occupant.state.as_deref().map_or(NONE, RawValue::get);
        let [client, node] = [occupant.client_id, occupant.node].map(str::to_owned);
        table.row([client, node, date(occupant.since), state.to_owned()]);
    }
    table.render()
}

/// Where a client is.
#[derive(Debug, Serialize)]
pub(super) struct WhereLine<'a> {
    client_id: &'a str,
    places: Vec<PlaceLine<'a>>,
    unreachable: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct PlaceLine<'a> {
    channel: &'a str,
    node: &'a str,
    region: &'a str,
    since: u64,
}

impl<'a> WhereLine<'a> {
    pub(super) fn of(client: &'a ClientId, answer: &'a WhereAnswer) -> Self {
        let place = |place: &'a Place| PlaceLine {
            channel: place.channel.as_str(),
            node: place.node.as_str(),
            region: place.region.as_str(),
            since: place.since_us,
        };
        Self {
            client_id: client.as_str(),
            places: answer.places.iter().map(place).collect(),
            unreachable: answer.unreachable.iter().map(|node| node.as_str()).collect(),
        }
    }

    pub(super) fn page(&self) -> String {
        let places = if self.places.is_empty() {
            format!("{} is on no channel whose presence you may see\n", self.client_id)
        } else {
            self.table()
        };
        if self.unreachable.is_empty() {
            return places;
        }
        format!("{places}\n! could not be asked, the client may be there too: {}\n", self.unreachable.join(", "))
    }

    fn table(&self) -> String {
        let mut table = Table::new([Left("CHANNEL"), Left("NODE"), Left("REGION"), Left("SINCE (UTC)")]);
        for place in &self.places {
            let [channel, node, region] = [place.channel, place.node, place.region].map(str::to_owned);
            table.row([channel, node, region, date(place.since)]);
        }
        table.render()
    }
}

/// A state as the JSON value that it is, its numbers as the client wrote them. In JSON a line break is only ever between
/// values, where a space does as well.
pub(super) fn state_value(state: &PresenceState) -> Option<Box<RawValue>> {
    RawValue::from_string(state.json()?.replace(['\r', '\n'], " ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farwire_client::RegionPresence;
    use serde_json::json;

    const SINCE_US: u64 = 1_769_903_947_042_000;

    fn presence() -> ChannelPresence {
        let region = |name: &str, occupancy, as_of_us, reachable| RegionPresence {
            region: name.parse().expect("sound"),
            occupancy,
            as_of_us,
            reachable,
        };
        let occupant = |client: &str, state: &str| ListedOccupant {
            client: client.parse().expect("sound"),
            state: state.parse().expect("sound"),
            node: "fra-1".parse().expect("sound"),
            since_us: SINCE_US,
        };
        ChannelPresence {
            channel: "live.a".parse().expect("sound"),
            occupancy: 3,
            clients: 2,
            regions: vec![region("fra", 3, Some(SINCE_US), true), region("iad", 0, None, false)],
            occupants: vec![occupant("alice", "{\"n\":1.50,\n\"s\":\"\u{9b}2J\"}"), occupant("bob", "")],
        }
    }

    #[test]
    fn a_channel_has_the_fields_of_the_contract() {
        let presence = presence();
        let mut want = json!({"channel": "live.a", "occupancy": 3, "clients": 2, "regions": {
            "fra": {"occupancy": 3, "as_of": SINCE_US, "reachable": true},
            "iad": {"occupancy": 0, "as_of": null, "reachable": false},
        }});
        assert_eq!(serde_json::to_value(ChannelLine::of(&presence, false)).expect("JSON"), want);
        want["occupants"] = json!([
            {"client_id": "alice", "state": {"n": 1.5, "s": "\u{9b}2J"}, "node": "fra-1", "since": SINCE_US},
            {"client_id": "bob", "state": null, "node": "fra-1", "since": SINCE_US},
        ]);
        let line = serde_json::to_string(&ChannelLine::of(&presence, true)).expect("JSON");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("JSON"), want);
        assert!(
            line.contains(r#""state":{"n":1.50, "s""#) && !line.contains('\n'),
            "as it was said, on one line: {line}"
        );
    }

    #[test]
    fn a_page_lists_occupants_if_asked_and_lets_no_state_steer_the_terminal() {
        let presence = presence();
        let page = ChannelLine::of(&presence, true).page(SINCE_US);
        let want = [
            "live.a: 3 sessions of 2 clients, ! unreachable and not counted: iad",
            "",
            "  REGION  PRESENT  KNOWN (UTC)",
            "  fra           3  as of 23:59:07",
            "! iad           0  unreachable, never heard from",
            "",
            "CLIENT  NODE   SINCE (UTC)          STATE",
            "alice   fra-1  2026-01-31 23:59:07  {\"n\":1.50, \"s\":\"\\u{9b}2J\"}",
            "bob     fra-1  2026-01-31 23:59:07  -",
        ];
        assert_eq!(page.lines().collect::<Vec<_>>(), want);
        assert_eq!(ChannelLine::of(&presence, false).page(SINCE_US).lines().count(), 5);
    }

    #[test]
    fn where_a_client_is_says_who_could_not_be_asked() {
        let alice = "alice".parse().expect("sound");
        let place = Place {
            channel: "live.a".parse().expect("sound"),
            node: "fra-1".parse().expect("sound"),
            region: "fra".parse().expect("sound"),
            since_us: SINCE_US,
        };
        let unreachable = vec!["iad-1".parse().expect("sound")];
        let mut answer = WhereAnswer { places: vec![place], more: false, unreachable };
        let want = json!({"client_id": "alice", "unreachable": ["iad-1"], "places": [
            {"channel": "live.a", "node": "fra-1", "region": "fra", "since": SINCE_US},
        ]});
        assert_eq!(serde_json::to_value(WhereLine::of(&alice, &answer)).expect("JSON"), want);
        let page = "CHANNEL  NODE   REGION  SINCE (UTC)\nlive.a   fra-1  fra     2026-01-31 23:59:07\n";
        let lacking = "\n! could not be asked, the client may be there too: iad-1\n";
        assert_eq!(WhereLine::of(&alice, &answer).page(), format!("{page}{lacking}"));
        answer.places.clear();
        answer.unreachable.clear();
        assert_eq!(WhereLine::of(&alice, &answer).page(), "alice is on no channel whose presence you may see\n");
    }
}
