//! `--namespace PREFIX:key=value,…`: taken apart, and put beside the namespaces that every local mesh has.
//!
//! Does not know which keys there are: the node's config does, and its faults come up when a node is started.

use std::fmt;
use std::str::FromStr;

use toml::{Table, Value};

/// The settings of all channels with one prefix, as they will stand in the nodes' configs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Namespace {
    prefix: String,
    settings: Table,
}

impl Namespace {
    /// The table of a node's config.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::from_iter([("prefix".to_owned(), Value::from(self.prefix.as_str()))]);
        table.extend(self.settings.clone());
        table
    }
}

/// `live` and `demo`, which are volatile, and those that were asked for; the latter win.
pub(super) fn with_defaults(asked: &[Namespace]) -> Vec<Namespace> {
    let defaults = ["live", "demo"].map(|prefix| Namespace {
        prefix: prefix.to_owned(),
        settings: Table::from_iter([("log".to_owned(), Value::from(false))]),
    });
    let missing =
        defaults.into_iter().filter(|default| asked.iter().all(|namespace| namespace.prefix != default.prefix));
    missing.chain(asked.iter().cloned()).collect()
}

impl FromStr for Namespace {
    type Err = NamespaceError;
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        // A prefix may hold colons, a key cannot: the last one before the first `=` divides.
        let equals = text.find('=').ok_or(NamespaceError)?;
        let colon = text[..equals].rfind(':').filter(|colon| *colon > 0).ok_or(NamespaceError)?;
        let mut pairs: Vec<(String, String)> = Vec::new();
        for item in text[colon + 1..].split(',') {
            match (item.split_once('='), pairs.last_mut()) {
                (Some(("", _)), _) | (None, None) => return Err(NamespaceError),
                (Some((key, value)), _) => pairs.push((key.to_owned(), value.to_owned())),
                // `regions=fra,iad`: what has no key of its own goes on with the list before it.
                (None, Some((_, list))) => *list = format!("{list},{item}"),
            }
        }
        let settings = pairs.into_iter().map(|(key, text)| (key, value(text))).collect();
        Ok(Self { prefix: text[..colon].to_owned(), settings })
    }
}

fn value(text: String) -> Value {
    let plain = text.parse::<bool>().map(Value::from).or_else(|_| text.parse::<i64>().map(Value::from));
    plain.unwrap_or(Value::String(text))
}

/// Not of the form that `--namespace` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamespaceError;

impl std::error::Error for NamespaceError {}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write PREFIX:key=value,key=value, for example chat:retention_age=1h,retention_count=100")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Namespace>().map(|namespace| namespace.table().to_string()).unwrap_or_default()
    }

    #[test]
    fn a_namespace_has_a_prefix_and_settings() {
        let text = shown("room:7.x:log=false,retention_age=1h,retention_count=100");
        let want = "log = false\nprefix = \"room:7.x\"\nretention_age = \"1h\"\nretention_count = 100\n";
        assert_eq!(text, want);
        assert_eq!(shown("a:regions=fra,iad,log=true"), "log = true\nprefix = \"a\"\nregions = \"fra,iad\"\n");
        for bad in ["", "live", "live:", "live:log", ":log=false", "log=false", "live:=x", "a:x,log=true"] {
            assert_eq!(bad.parse::<Namespace>(), Err(NamespaceError), "{bad}");
        }
    }

    #[test]
    fn the_default_namespaces_can_be_replaced() {
        let asked: Namespace = "live:log=true".parse().expect("sound");
        let all = with_defaults(std::slice::from_ref(&asked));
        assert_eq!(all.iter().map(|namespace| namespace.prefix.as_str()).collect::<Vec<_>>(), ["demo", "live"]);
        assert_eq!(all[1], asked);
    }
}
