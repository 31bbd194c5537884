//! Addresses that may be names. Not resolved here: a name is looked up when it is dialled, every time anew.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// `host:port`, checked in form: a DNS name, an IPv4 address or an IPv6 address in brackets, and a port from 1
/// to 65535. A clone costs a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    text: Arc<str>,
    host_bytes: usize,
    port: u16,
}

/// The text is not of the form `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address; write host:port, for example fra-1.example.com:7400")]
pub struct HostPortError;

impl HostPort {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not of the form `host:port`.
    pub fn parse(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(HostPortError)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let sound = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => is_dns_name(host),
        };
        if sound { Ok(Self { text: text.into(), host_bytes: host.len(), port }) } else { Err(HostPortError) }
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text[..self.host_bytes].trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The whole as text, as `ToSocketAddrs` and `lookup_host` take it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Only the form; an IPv4 address passes as a name too.
fn is_dns_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

impl TryFrom<SocketAddr> for HostPort {
    type Error = HostPortError;
    /// Fails for port 0 only (and for an IPv6 address with a scope, which has no meaning elsewhere).
    fn try_from(address: SocketAddr) -> Result<Self, HostPortError> {
        Self::parse(&address.to_string())
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;
    fn from_str(text: &str) -> Result<Self, HostPortError> {
        Self::parse(text)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl serde::Serialize for HostPort {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_both_kinds_of_address_are_hosts() {
        let split = |text| HostPort::parse(text).map(|a| (a.host().to_owned(), a.port())).ok();
        assert_eq!(split("fra-1.example.com:7400"), Some(("fra-1.example.com".to_owned(), 7400)));
        assert_eq!(split("127.0.0.1:1"), Some(("127.0.0.1".to_owned(), 1)));
        assert_eq!(split("[::1]:7400"), Some(("::1".to_owned(), 7400)));
        for bad in ["", "host", ":1", "host:", "host:0", "host:65536", "::1:7400", "[x]:1", "a b:1", "a..b:1", "a:1\n"]
        {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
