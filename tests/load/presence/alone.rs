//! What the decisions of presence take without a node around them: the memory of a channel's owner with the parts of three
//! nodes, its own and two that are read from frames as links bring them. In a process that did little before, so that what it
//! takes is new to it: a node reuses what its sessions have given back.

use farwire_core::presence::channel::{Channel, Merged};
use farwire_core::presence::local::Local;
use farwire_tests::process::resident_kib;
use farwire_wire::frame::FrameDecoder;
use farwire_wire::peer::{Addressed, Relayed};
use farwire_wire::presence::{Occupant, PartChange, PresenceFrame, PresenceId, Stamp, Writer};
use farwire_wire::{ChannelName, Instance, Life, NodeName, RegionName};

use crate::crowd::{occupant_name, state_of};
use crate::mesh::{CHANNEL, REGIONS};

/// How much resident memory grows by so many occupants, in KiB.
pub(crate) fn memory_kib(occupants: usize) -> u64 {
    let own = std::process::id();
    let before = resident_kib(own);
    let name = ChannelName::parse(CHANNEL).expect("a channel");
    let regions = REGIONS.map(|region| RegionName::parse(region).expect("a region"));
    let mut channel = Channel::default();
    let mut here = Local::new(NodeName::parse(REGIONS[0]).expect("a node"), Life(1));
    let mut merge = |region: usize, change: &PartChange| {
        let merged = channel.merge(&regions[region], change, &mut Vec::new());
        assert_eq!(merged, Merged::Applied);
    };
    for first in (0..occupants).step_by(IN_A_FLUSH) {
        let last = occupants.min(first + IN_A_FLUSH);
        for seat in (first..last).step_by(REGIONS.len()) {
            here.enter(&id_of(seat), 1, &name, state_of(seat), WALL_US);
        }
        here.flush().iter().for_each(|change| merge(0, change));
        for region in 1..REGIONS.len() {
            let seats: Vec<usize> = (first + region..last).step_by(REGIONS.len()).collect();
            merge(region, &arrived(region, &name, first, &seats));
        }
    }
    assert_eq!(channel.occupancy(), occupants as u64, "everybody is there");
    let after = resident_kib(own);
    drop((channel, here));
    after.saturating_sub(before)
}

fn id_of(seat: usize) -> PresenceId {
    PresenceId { client: occupant_name(seat).parse().expect("a client"), instance: Instance(seat as u64) }
}

/// News of a node of another region, as it arrives: these have entered, after as many ops as `first`.
fn arrived(region: usize, channel: &ChannelName, first: usize, seats: &[usize]) -> PartChange {
    let occupant = |seat| Occupant { moves: 1, since_us: WALL_US, stamp: Stamp(WALL_US), state: state_of(seat) };
    let change = PartChange {
        writer: Writer { node: NodeName::parse(REGIONS[region]).expect("a node"), life: Life(1) },
        channel: channel.clone(),
        from: first as u64,
        to: (first + IN_A_FLUSH) as u64,
        whole: first == 0,
        joins: (first + seats.len()) as u64,
        leaves: 0,
        present: seats.iter().map(|seat| (id_of(*seat), occupant(*seat))).collect(),
        gone: Vec::new(),
    };
    let mut decoder = FrameDecoder::new(usize::MAX);
    let frame = PresenceFrame::Change { change, catch_up: false };
    decoder.push(Addressed { relayed: Relayed::No, frame }.encode());
    let frame = decoder.next_frame().expect("sound").expect("whole");
    match Addressed::decode(frame).expect("what was encoded decodes").frame {
        PresenceFrame::Change { change, .. } => change,
        other => unreachable!("a change became {other:?}"),
    }
}

/// How many enter between two flushes: so many that some are of each region.
const IN_A_FLUSH: usize = 99;
/// Any time will do.
const WALL_US: u64 = 1_700_000_000_000_000;
