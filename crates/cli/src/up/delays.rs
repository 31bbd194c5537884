//! `--wan`: how long a packet travels from region to region, one way.
//!
//! Only the delays at the start: what `farwire up ctl` changes later is in `wan`. Called by `run` before anything starts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use farwire_wire::names::RegionName;
use serde::Deserialize;

use crate::exit::Failure;

/// What `--wan` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WanChoice {
    /// What light and routers make of it between Frankfurt, Virginia and Singapore.
    Real,
    /// No delay; links can still be cut.
    None,
    /// A table of one's own.
    File(PathBuf),
}

impl FromStr for WanChoice {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "real" => Self::Real,
            "none" => Self::None,
            path => Self::File(path.into()),
        })
    }
}

/// The delay of every pair of regions, by [`pair`]: milliseconds, one way.
pub(super) type Delays = BTreeMap<String, u64>;

/// The table for `regions`.
///
/// # Errors
/// Failed when the file cannot be read or has faults.
pub(super) fn between(regions: &[RegionName], choice: &WanChoice) -> Result<Delays, Failure> {
    match choice {
        WanChoice::Real => {
            Ok(filled(regions, UNKNOWN_MS, |key| REAL_MS.iter().find(|(pair, _)| *pair == key).map(|(_, ms)| *ms)))
        }
        WanChoice::None => Ok(filled(regions, 0, |_| None)),
        WanChoice::File(path) => read(path, regions),
    }
}

/// The key of two regions, `fra-iad`, whichever is named first.
pub(super) fn pair(a: &RegionName, b: &RegionName) -> String {
    format!("{}-{}", a.min(b), a.max(b))
}

/// The delay between two regions; none within a region.
pub(super) fn of(delays: &Delays, a: &RegionName, b: &RegionName) -> Duration {
    let millis = if a == b { 0 } else { delays.get(&pair(a, b)).copied().unwrap_or_default() };
    Duration::from_millis(millis)
}

fn filled(regions: &[RegionName], unknown_ms: u64, known_ms: impl Fn(&str) -> Option<u64>) -> Delays {
    let pairs = regions.iter().enumerate().flat_map(|(index, a)| regions[..index].iter().map(move |b| pair(a, b)));
    pairs.map(|key| (key.clone(), known_ms(&key).unwrap_or(unknown_ms))).collect()
}

fn read(path: &Path, regions: &[RegionName]) -> Result<Delays, Failure> {
    let fault = |what: String| {
        Failure::failed(format!("--wan {}: {what}; `farwire up --help` shows what the file looks like", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|err| fault(format!("cannot be read: {err}")))?;
    parse(&text, regions).map_err(fault)
}

fn parse(text: &str, regions: &[RegionName]) -> Result<Delays, String> {
    let file: File = toml::from_str(text).map_err(|err| err.message().escape_debug().to_string())?;
    let mut written = BTreeMap::new();
    for (key, millis) in &file.one_way_ms {
        let known = filled(regions, 0, |_| None);
        let name = sorted_name(key, regions).filter(|name| known.contains_key(name));
        let name = name.ok_or_else(|| {
            let known: Vec<_> = known.into_keys().collect();
            format!("\"{}\" is no pair of this mesh's regions; the pairs are {}", key.escape_debug(), known.join(", "))
        })?;
        if written.insert(name, *millis).is_some() {
            return Err(format!("\"{}\" is there in both directions; write it once", key.escape_debug()));
        }
    }
    match written.values().chain([&file.unknown_ms]).find(|millis| **millis > DELAY_MS_MAX) {
        Some(millis) => Err(format!("{millis} is more than {DELAY_MS_MAX} ms")),
        None => Ok(filled(regions, file.unknown_ms, |key| written.get(key).copied())),
    }
}

/// Region names may hold dashes themselves, so that only the mesh's regions can tell where a key is divided.
fn sorted_name(key: &str, regions: &[RegionName]) -> Option<String> {
    let divided = key.match_indices('-').map(|(dash, _)| (&key[..dash], &key[dash + 1..]));
    let region = |name: &str| regions.iter().find(|region| region.as_str() == name);
    divided.filter_map(|(a, b)| Some(pair(region(a)?, region(b)?))).next()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "unknown_ms")]
    unknown_ms: u64,
    #[serde(default)]
    one_way_ms: BTreeMap<String, u64>,
}

fn unknown_ms() -> u64 {
    UNKNOWN_MS
}

/// Measured between data centres of these places, by the sorted name of the pair.
const REAL_MS: [(&str, u64); 3] = [("fra-iad", 44), ("fra-sin", 80), ("iad-sin", 110)];
const UNKNOWN_MS: u64 = 40;
/// Longer than any link of this planet.
pub(super) const DELAY_MS_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(names: &[&str]) -> Vec<RegionName> {
        names.iter().map(|name| RegionName::parse(name).expect("a region")).collect()
    }

    fn shown(delays: &Delays) -> String {
        delays.iter().map(|(pair, ms)| format!("{pair}={ms}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_real_wan_knows_three_places_and_guesses_the_others() {
        let regions = regions(&["sin", "fra", "iad", "lab"]);
        let delays = between(&regions, &WanChoice::Real).expect("built in");
        assert_eq!(shown(&delays), "fra-iad=44 fra-lab=40 fra-sin=80 iad-lab=40 iad-sin=110 lab-sin=40");
        assert_eq!(of(&delays, &regions[0], &regions[2]), Duration::from_millis(110));
        assert_eq!(of(&delays, &regions[0], &regions[0]), Duration::ZERO);
    }

    #[test]
    fn without_a_wan_every_pair_has_no_delay() {
        let delays = between(&regions(&["fra", "iad"]), &WanChoice::None).expect("built in");
        assert_eq!(shown(&delays), "fra-iad=0");
    }

    #[test]
    fn a_file_names_pairs_in_any_order_and_regions_with_dashes() {
        let regions = regions(&["eu-west", "us-east", "ap"]);
        let delays = parse("unknown_ms = 90\n[one_way_ms]\nus-east-eu-west = 41", &regions).expect("sound");
        assert_eq!(shown(&delays), "ap-eu-west=90 ap-us-east=90 eu-west-us-east=41");
        assert_eq!(shown(&parse("", &regions[..2]).expect("sound")), "eu-west-us-east=40");
    }

    #[test]
    fn what_the_file_cannot_mean_is_a_fault() {
        let regions = regions(&["fra", "iad"]);
        for (text, fault) in [
            ("[one_way_ms]\nfra-sin = 1", "the pairs are fra-iad"),
            ("[one_way_ms]\nfra-fra = 1", "the pairs are fra-iad"),
            ("[one_way_ms]\nfra-iad = 1\niad-fra = 2", "both directions"),
            ("[one_way_ms]\nfra-iad = -1", "-1"),
            ("unknown_ms = 10001", "more than 10000 ms"),
            ("jitter_ms = 1", "unknown field `jitter_ms`"),
            ("[", ""),
        ] {
            let err = parse(text, &regions).expect_err(text);
            assert!(err.contains(fault), "{text}: {err}");
        }
    }
}
