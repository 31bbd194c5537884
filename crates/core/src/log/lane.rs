//! One lane: which numbers of a publisher in a channel the log has taken. Judges a publish and remembers it; who owns the
//! publisher id, and when a lane is dropped, is for [`lanes`](super::lanes) to know.
//!
//! Invariant: the numbers taken are 1 to `highest` without `missing`, whose intervals ascend, lie below `highest` and
//! neither touch nor overlap. A publisher numbers densely and a publish above the next number is refused, so nothing is
//! missing unless a state that was restored has it so, and the set costs one number; a missing interval costs 16 bytes.

use std::collections::VecDeque;

use farwire_wire::{Position, varint};

/// How many of a lane's highest numbers are remembered with their payload's hash and position. A publisher resends only
/// what it has not seen acked; the SDK has 256 publishes under way, so each of its retries is told its own place, and
/// whether it still is the same message. A number below these counts as a duplicate. Each costs 16 bytes.
pub const RECENT_MAX: usize = 256;
/// Most intervals of missing numbers that a stored lane may have.
const MISSING_MAX: u64 = 65_536;

const VERSION: u8 = 1;

/// A lane: 88 bytes, and 16 for each recent number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lane {
    /// Keyed hash of the id of the client that it belongs to.
    pub(super) client: u64,
    /// Where its newest message is.
    pub(super) newest: Position,
    /// The log's time when that was taken.
    pub(super) last_publish_us: u64,
    highest: u64,
    missing: Vec<(u64, u64)>,
    /// What is known of `highest`, `highest` − 1 and so on.
    recent: VecDeque<Option<Taken>>,
}

/// What is remembered of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) position: Position,
    /// Two payloads of one number go unnoticed once in 2^64.
    pub(super) payload_hash: u64,
}

/// Why a publish is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its publisher id is another client's.
    OtherClient,
    /// Its number is above the next one; the highest one is this.
    Gap { last: u64 },
    /// It was taken before: where the lane's newest message is, and where it is itself, if that is still known.
    Duplicate { newest: Position, own: Option<Position> },
    /// Its number was taken with another payload.
    NumberReused,
}

impl Lane {
    /// A lane that begins with number 1.
    pub(super) fn new(client: u64, taken: Taken, log_time_us: u64) -> Self {
        let recent = VecDeque::from([Some(taken)]);
        let Taken { position: newest, .. } = taken;
        Self { client, newest, last_publish_us: log_time_us, highest: 1, missing: Vec::new(), recent }
    }

    /// Whether a publish of `client` is new and may be taken.
    pub(super) fn judge(&self, client: u64, number: u64, payload_hash: u64) -> Result<(), Refusal> {
        if client != self.client {
            return Err(Refusal::OtherClient);
        }
        if number > self.highest {
            let is_next = number - self.highest == 1;
            return if is_next { Ok(()) } else { Err(Refusal::Gap { last: self.highest }) };
        }
        if self.find_missing(number).is_ok() {
            return Ok(());
        }
        match self.recent_of(number).and_then(|at| self.recent[at]) {
            Some(taken) if taken.payload_hash != payload_hash => Err(Refusal::NumberReused),
            taken => Err(Refusal::Duplicate { newest: self.newest, own: taken.map(|taken| taken.position) }),
        }
    }

    /// Takes a number that was judged new.
    pub(super) fn take(&mut self, number: u64, taken: Taken, log_time_us: u64) {
        if number > self.highest {
            self.highest = number;
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_back();
            }
            self.recent.push_front(Some(taken));
        } else {
            self.fill(number);
            if let Some(at) = self.recent_of(number) {
                self.recent[at] = Some(taken);
            }
        }
        self.newest = taken.position;
        self.last_publish_us = log_time_us;
    }

    fn fill(&mut self, number: u64) {
        let Ok(at) = self.find_missing(number) else { return };
        let (first, last) = self.missing[at];
        let rest = [(first, number - 1), (number + 1, last)].into_iter().filter(|(first, last)| first <= last);
        self.missing.splice(at..=at, rest);
    }

    fn find_missing(&self, number: u64) -> Result<usize, usize> {
        let at = self.missing.partition_point(|(_, last)| *last < number);
        if self.missing.get(at).is_some_and(|(first, _)| *first <= number) { Ok(at) } else { Err(at) }
    }

    /// Where in `recent` the number is, if it is not too old.
    fn recent_of(&self, number: u64) -> Option<usize> {
        usize::try_from(self.highest - number).ok().filter(|at| *at < self.recent.len())
    }

    /// The stored form: about 20 bytes and 10 for each recent number.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.client.to_be_bytes());
        varint::put(self.newest.get(), &mut out);
        varint::put(self.last_publish_us, &mut out);
        varint::put(self.highest, &mut out);
        varint::put(self.missing.len() as u64, &mut out);
        let mut after = 0;
        for (first, last) in &self.missing {
            varint::put(first - after, &mut out);
            varint::put(last - first, &mut out);
            after = last + 1;
        }
        varint::put(self.recent.len() as u64, &mut out);
        for recent in &self.recent {
            // 0 for none; the newest message's position is the greatest.
            varint::put(recent.map_or(0, |taken| self.newest.get() - taken.position.get() + 1), &mut out);
            if let Some(taken) = recent {
                out.extend(taken.payload_hash.to_be_bytes());
            }
        }
        out
    }

    /// Reads a stored form; `None` if it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (client, mut rest) = rest.split_first_chunk()?;
        let client = u64::from_be_bytes(*client);
        let newest = Position::new(varint::take(&mut rest)?)?;
        let last_publish_us = varint::take(&mut rest)?;
        let highest = varint::take(&mut rest)?;
        let missing = missing_of(&mut rest, highest)?;
        let recent = recent_of(&mut rest, highest, newest)?;
        let lane = Self { client, newest, last_publish_us, highest, missing, recent };
        (version == VERSION && rest.is_empty() && lane.remembers_only_what_it_took()).then_some(lane)
    }

    fn remembers_only_what_it_took(&self) -> bool {
        let numbers = (1..=self.highest).rev().zip(&self.recent);
        numbers.filter(|(_, taken)| taken.is_some()).all(|(number, _)| self.find_missing(number).is_err())
    }
}

fn missing_of(rest: &mut &[u8], highest: u64) -> Option<Vec<(u64, u64)>> {
    let count = varint::take(rest).filter(|count| *count <= MISSING_MAX)?;
    let mut missing = Vec::new();
    let mut after = 0_u64;
    for _ in 0..count {
        // At least one number lies between two intervals, and 0 before the first: no difference is 0.
        let first = varint::take(rest).filter(|more| *more > 0).and_then(|more| after.checked_add(more))?;
        let last = first.checked_add(varint::take(rest)?).filter(|last| *last < highest)?;
        missing.push((first, last));
        after = last + 1;
    }
    (highest > 0).then_some(missing)
}

fn recent_of(rest: &mut &[u8], highest: u64, newest: Position) -> Option<VecDeque<Option<Taken>>> {
    let count = varint::take(rest).filter(|count| *count <= highest.min(RECENT_MAX as u64))?;
    let mut recent = VecDeque::new();
    for _ in 0..count {
        let back = varint::take(rest)?;
        if back == 0 {
            recent.push_back(None);
            continue;
        }
        let position = newest.get().checked_sub(back - 1).and_then(Position::new)?;
        let (hash, after) = rest.split_first_chunk()?;
        *rest = after;
        recent.push_back(Some(Taken { position, payload_hash: u64::from_be_bytes(*hash) }));
    }
    Some(recent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn taken(position: u64) -> Taken {
        Taken { position: Position::new(position).unwrap(), payload_hash: position * 31 }
    }

    /// A lane that has taken 1 and then up to `highest`, of which `missing` are missing, as imports will leave it.
    fn lane(highest: u64, missing: &[(u64, u64)]) -> Lane {
        let is_missing = |number| missing.iter().any(|(first, last)| (*first..=*last).contains(&number));
        let recent = (1..=highest).rev().take(RECENT_MAX).map(|number| (!is_missing(number)).then(|| taken(number)));
        let newest = Position::new(highest).unwrap();
        let (missing, recent) = (missing.to_vec(), recent.collect());
        Lane { client: 7, newest, last_publish_us: 5, highest, missing, recent }
    }

    /// Which numbers are missing, one in `one_in`, as intervals.
    fn holes() -> impl Strategy<Value = (u64, Vec<(u64, u64)>)> {
        prop::collection::vec(prop::bool::weighted(0.3), 0..600).prop_map(|are_missing| {
            let mut missing: Vec<(u64, u64)> = Vec::new();
            for number in (1..).zip(&are_missing).filter(|(_, is_missing)| **is_missing).map(|(number, _)| number) {
                match missing.last_mut() {
                    Some((_, last)) if *last + 1 == number => *last = number,
                    _ => missing.push((number, number)),
                }
            }
            (are_missing.len() as u64 + 1, missing)
        })
    }

    proptest! {
        #[test]
        fn a_lane_takes_each_number_once_in_whatever_order(
            (highest, missing) in holes(),
            numbers in prop::collection::vec(1..640_u64, 0..300),
        ) {
            let mut lane = lane(highest, &missing);
            let mut model: BTreeMap<u64, u64> = (1..=highest).map(|number| (number, number)).collect();
            missing.iter().for_each(|(first, last)| model.retain(|number, _| number < first || number > last));
            for (position, number) in (highest + 1..).zip(numbers) {
                let known = model.get(&number).copied();
                let last = *model.last_key_value().unwrap().0;
                let newest = lane.newest;
                let expected = match known {
                    None if number > last + 1 => Err(Refusal::Gap { last }),
                    None => Ok(()),
                    Some(_) if number + (RECENT_MAX as u64) <= last => Err(Refusal::Duplicate { newest, own: None }),
                    Some(position) => Err(Refusal::Duplicate { newest, own: Position::new(position) }),
                };
                let hash = known.unwrap_or(position) * 31;
                prop_assert_eq!(lane.judge(7, number, hash), expected, "{}", number);
                prop_assert_eq!(lane.judge(8, number, hash), Err(Refusal::OtherClient));
                if let Err(Refusal::Duplicate { own: Some(_), .. }) = expected {
                    prop_assert_eq!(lane.judge(7, number, hash + 1), Err(Refusal::NumberReused));
                }
                if expected.is_ok() {
                    lane.take(number, taken(position), position);
                    model.insert(number, position);
                    prop_assert_eq!(lane.newest.get(), position);
                }
            }
            prop_assert_eq!(Lane::decode(&lane.encode()), Some(lane.clone()));
        }

        #[test]
        fn stored_lanes_have_no_second_form((highest, missing) in holes(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = lane(highest, &missing).encode();
            let at = at.index(bytes.len());
            prop_assert_eq!(Lane::decode(&bytes[..at]), None);
            bytes[at] = byte;
            if let Some(mut lane) = Lane::decode(&bytes) {
                prop_assert_eq!(lane.encode(), &bytes[..]);
                for number in 1..=highest + 2 {
                    if lane.judge(lane.client, number, 0).is_ok() {
                        lane.take(number, Taken { position: lane.newest.next(), payload_hash: 0 }, 0);
                    }
                }
                prop_assert!(lane.highest > highest + 2 || lane.missing.is_empty(), "whatever is read can be filled");
            }
        }

        #[test]
        fn any_bytes_are_a_lane_or_none(mut bytes in prop::collection::vec(any::<u8>(), 9..60)) {
            bytes[0] = VERSION;
            if let Some(lane) = Lane::decode(&bytes) {
                prop_assert_eq!(lane.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_lane_without_holes_keeps_no_intervals_and_not_more_than_it_says() {
        let mut lane = Lane::new(7, taken(1), 5);
        for number in 2..=1_000 {
            assert_eq!(lane.judge(7, number, 0), Ok(()));
            lane.take(number, taken(number), 5);
        }
        assert_eq!((lane.missing.capacity(), lane.recent.capacity()), (0, RECENT_MAX));
        assert_eq!((size_of::<Lane>(), size_of::<Option<Taken>>()), (88, 16));
        assert!(lane.encode().len() < 20 + RECENT_MAX * 10);
    }
}
