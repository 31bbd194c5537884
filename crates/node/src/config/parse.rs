//! Texts to values: one function per kind of setting. A value is its text, whether it was quoted in TOML or
//! not, so that the file, the environment and the command line go through the same functions. Every error
//! says what is wrong and what to write instead.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::faults::quoted;

/// What was written for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A scalar, or anything that the environment or the command line says.
    Text(String),
    /// An array of scalars.
    List(Vec<String>),
    /// A table, or an array that holds one.
    Table,
}

impl Value {
    pub(super) fn of_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::Array(items) => {
                let texts: Option<Vec<String>> = items.iter().map(|item| scalar(item.get_ref())).collect();
                texts.map_or(Self::Table, Self::List)
            }
            value => scalar(value).map_or(Self::Table, Self::Text),
        }
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.to_string(),
            Err(_) => number.to_string(),
        }),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A value and the directory that relative paths start from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) value: &'a Value,
    pub(super) dir: &'a Path,
}

/// What is wrong and what to write instead.
pub(super) type Parsed<T> = Result<T, String>;

/// The one place that says "is not": `what` is the kind, `remedy` what to write.
fn wrong(text: &str, what: &str, remedy: &str) -> String {
    format!("{} is not {what}; write {remedy}", quoted(text))
}

fn text<'a>(given: &Given<'a>) -> Parsed<&'a str> {
    match given.value {
        Value::Text(text) => Ok(text),
        Value::List(_) => Err("takes one value, not a list; write it without brackets".to_owned()),
        Value::Table => Err("takes a value, not a table; write key = value".to_owned()),
    }
}

/// A list, or a text with commas between the items.
fn items<'a>(given: &Given<'a>) -> Parsed<Vec<&'a str>> {
    match given.value {
        Value::List(items) => Ok(items.iter().map(String::as_str).collect()),
        Value::Text(text) => Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
        Value::Table => Err("takes a list, not a table; write key = [\"…\", \"…\"]".to_owned()),
    }
}

/// A checked name; its own error says which rule is broken.
pub(super) fn name<T>(given: &Given<'_>) -> Parsed<T>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let text = text(given)?;
    text.parse().map_err(|err| format!("{} is not a name: {err}", quoted(text)))
}

pub(super) fn names<T>(given: &Given<'_>) -> Parsed<Vec<T>>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let one = |text: &str| text.parse().map_err(|err| format!("{} is not a name: {err}", quoted(text)));
    items(given)?.into_iter().map(one).collect()
}

/// One of a few words; its own error lists them.
pub(super) fn choice<T>(given: &Given<'_>) -> Parsed<T>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let text = text(given)?;
    text.parse().map_err(|err| format!("{} is not known here; {err}", quoted(text)))
}

/// The prefix of a namespace: whole segments.
pub(super) fn prefix<T: FromStr>(given: &Given<'_>) -> Parsed<T> {
    let text = text(given)?;
    let remedy = "whole segments without a wildcard or a dot at the end, for example \"live\" or \"chat.rooms\"";
    text.parse().map_err(|_| wrong(text, "a prefix", remedy))
}

/// An address that a socket can be bound to.
pub(super) fn address(given: &Given<'_>) -> Parsed<SocketAddr> {
    let text = text(given)?;
    text.parse().map_err(|_| wrong(text, "an address", "host:port, for example 0.0.0.0:7400"))
}

/// An address of this machine only.
pub(super) fn loopback(given: &Given<'_>) -> Parsed<SocketAddr> {
    let address = address(given)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "{address} can be reached from outside, which needs TLS and a token that this version does not have; \
         write 127.0.0.1:{}",
        address.port()
    ))
}

/// An address that others dial: reachable in form, with a port.
pub(super) fn reachable(given: &Given<'_>) -> Parsed<SocketAddr> {
    let text = text(given)?;
    let dialable = |address: &SocketAddr| !address.ip().is_unspecified() && address.port() != 0;
    text.parse()
        .ok()
        .filter(dialable)
        .ok_or_else(|| wrong(text, "an address that others can dial", "ip:port, for example 192.0.2.10:7440"))
}

pub(super) fn host_port<T: FromStr>(given: &Given<'_>) -> Parsed<T> {
    one_host_port(text(given)?)
}

pub(super) fn host_ports<T: FromStr>(given: &Given<'_>) -> Parsed<Vec<T>> {
    items(given)?.into_iter().map(one_host_port).collect()
}

fn one_host_port<T: FromStr>(text: &str) -> Parsed<T> {
    text.parse().map_err(|_| wrong(text, "an address", "host:port, for example fra-1.example.com:7400"))
}

/// A path; a relative one starts from the config file's directory.
pub(super) fn path(given: &Given<'_>) -> Parsed<PathBuf> {
    one_path(text(given)?, given.dir)
}

/// One path or more.
pub(super) fn paths(given: &Given<'_>) -> Parsed<Vec<PathBuf>> {
    let paths: Vec<_> = items(given)?.into_iter().map(|text| one_path(text, given.dir)).collect::<Parsed<_>>()?;
    if paths.is_empty() { Err("is an empty list; name at least one file".to_owned()) } else { Ok(paths) }
}

fn one_path(text: &str, dir: &Path) -> Parsed<PathBuf> {
    if text.is_empty() || text.contains('\0') {
        return Err(wrong(text, "a path", "the path of a file, relative to the config file's directory or absolute"));
    }
    Ok(dir.join(text))
}

pub(super) fn truth(given: &Given<'_>) -> Parsed<bool> {
    let text = text(given)?;
    text.parse().map_err(|_| wrong(text, "yes or no", "true or false"))
}

/// A count within `range`.
pub(super) fn number<T: TryFrom<u64>>(given: &Given<'_>, range: RangeInclusive<u64>) -> Parsed<T> {
    let text = text(given)?;
    let number = text.parse().ok().filter(|number| range.contains(number));
    let what = format!("a whole number from {} to {}", range.start(), range.end());
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| wrong(text, &what, "one, without a unit"))
}

/// A size in bytes within `range`, written `64MiB`, `8KiB` or as a plain number of bytes.
pub(super) fn size<T: TryFrom<u64>>(given: &Given<'_>, range: RangeInclusive<u64>) -> Parsed<T> {
    let text = text(given)?;
    let bytes = scaled(text, &SIZE_UNITS).filter(|bytes| range.contains(bytes));
    bytes.and_then(|bytes| T::try_from(bytes).ok()).ok_or_else(|| {
        let what = format!("a size from {} to {}", size_text(*range.start()), size_text(*range.end()));
        wrong(text, &what, "a number with KiB, MiB or GiB, for example 64MiB, or a plain number of bytes")
    })
}

/// A time within `range`, always with its unit: `250ms`, `10s`, `10m`, `24h`, `7d`.
pub(super) fn duration(given: &Given<'_>, range: RangeInclusive<Duration>) -> Parsed<Duration> {
    let text = text(given)?;
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let millis = scaled(text, &TIME_UNITS).filter(|_| has_unit);
    millis.map(Duration::from_millis).filter(|time| range.contains(time)).ok_or_else(|| {
        let what = format!("a time from {:?} to {:?}", range.start(), range.end());
        wrong(text, &what, "a whole number with its unit (ms, s, m, h, d), for example 10s")
    })
}

/// A whole number times its unit; `None` for anything else, and when it does not fit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A size in its largest unit that divides it.
fn size_text(bytes: u64) -> String {
    let (unit, factor) = *SIZE_UNITS.iter().rev().find(|(_, factor)| bytes.is_multiple_of(*factor)).unwrap_or(&("", 1));
    format!("{}{unit}", bytes / factor)
}

const SIZE_UNITS: [(&str, u64); 5] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(text: &str, parse: impl Fn(&Given<'_>) -> Parsed<T>) -> Parsed<T> {
        parse(&Given { value: &Value::Text(text.to_owned()), dir: Path::new("/etc/farwire") })
    }

    #[test]
    fn sizes_take_binary_units_or_plain_bytes() {
        let size = |text| with(text, |given| size::<u64>(given, 0..=u64::MAX)).ok();
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("8 KiB"), Some(8 << 10));
        assert_eq!(size("4096"), Some(4096));
        for bad in ["64MB", "1.5MiB", "-1", "MiB", "", "99999999TiB", "64mib"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_need_their_unit() {
        let time = |text| with(text, |given| duration(given, Duration::ZERO..=Duration::MAX)).ok();
        assert_eq!(time("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(time("24h"), Some(Duration::from_secs(86_400)));
        for bad in ["10", "s", "10 parsecs", "-1s", ""] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_told_the_range() {
        let err = with("17", |given| number::<u16>(given, 1..=16)).expect_err("17 > 16");
        assert_eq!(err, "\"17\" is not a whole number from 1 to 16; write one, without a unit");
        let err = with("2GiB", |given| size::<u64>(given, 65_536..=1 << 30)).expect_err("too large");
        assert!(err.contains("from 64KiB to 1GiB"), "{err}");
    }

    #[test]
    fn relative_paths_start_at_the_config_file() {
        assert_eq!(with("a.pem", path), Ok("/etc/farwire/a.pem".into()));
        assert_eq!(with("/b.pem", path), Ok("/b.pem".into()));
        assert!(with("", path).is_err());
    }

    #[test]
    fn an_admin_port_for_everybody_is_refused() {
        assert!(with("127.0.0.1:7480", loopback).is_ok() && with("[::1]:0", loopback).is_ok());
        assert!(with("0.0.0.0:7480", loopback).expect_err("public").contains("write 127.0.0.1:7480"));
    }

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        let err = with(&format!("\u{1b}[31m{}", "x".repeat(500)), address).expect_err("no address");
        assert!(!err.contains('\u{1b}') && err.len() < 200, "{err}");
    }
}
