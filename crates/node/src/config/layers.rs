//! Reads the layers of a config over each other: file, environment, command line. What the settings are is the
//! table's business ([`super::schema`]); whether they go together is [`super::checks`]'.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use farwire_wire::names::ChannelName;
use toml::de::{DeTable, DeValue};

use super::draft::{Draft, Source};
use super::faults::{Fault, Faults, Place, quoted};
use super::namespace::{Namespace, Namespaces};
use super::parse::Value;
use super::schema::{self, NAMESPACE, NAMESPACES, SETTINGS};
use super::{Config, checks};

/// The text of the config file.
pub(super) fn read(path: &Path) -> Result<String, Faults> {
    std::fs::read_to_string(path).map_err(|err| {
        let message = format!("cannot be read: {err}; give the config file of this node with --config");
        Faults::of(Fault { place: Place::File(path.display().to_string().into()), key: None, message })
    })
}

/// Defaults, then the file, then the environment, then the pairs of the command line, then what must go together.
pub(super) fn config(
    text: &str,
    path: &Path,
    environment: impl Fn(&str) -> Option<String>,
    sets: &[(String, String)],
) -> Result<Config, Faults> {
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut layers = Layers::new(Source { text, name: path.display().to_string().into(), dir });
    let is_toml = layers.file();
    layers.environment(environment);
    layers.command_line(sets);
    layers.finish(is_toml)
}

struct Layers<'a> {
    source: Source<'a>,
    config: Draft<'a, Config>,
    namespaces: Vec<Namespace>,
    /// Prefix to the place where it was first seen.
    prefixes: BTreeMap<ChannelName, Place>,
}

impl<'a> Layers<'a> {
    fn new(source: Source<'a>) -> Self {
        let mut config = Config::blank();
        schema::apply_defaults(SETTINGS, &mut config);
        let config = Draft::new(SETTINGS, "", source.dir, source.whole(), config);
        Self { source, config, namespaces: Vec::new(), prefixes: BTreeMap::new() }
    }

    /// Returns whether the text is TOML throughout.
    fn file(&mut self) -> bool {
        let (table, errors) = DeTable::parse_recoverable(self.source.text);
        self.table("", table.get_ref());
        // Where the text is broken, what was guessed from it is noise.
        let place =
            |error: &toml::de::Error| error.span().map_or(self.source.whole(), |span| self.source.line(span.start));
        let broken: BTreeSet<Place> = errors.iter().map(place).collect();
        self.config.faults.retain(|fault| !broken.contains(&fault.place));
        for error in &errors {
            let line = error.span().map_or("", |span| self.source.line_text(span.start));
            let what = bare_word(line)
                .unwrap_or_else(|| format!("{}; write key = value, with text in quotes", error.message()));
            let message = format!("this is not TOML: {what}");
            self.config.faults.push(Fault { place: place(error), key: None, message });
        }
        errors.is_empty()
    }

    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let place = self.source.line(key.span().start);
            let path = if section.is_empty() { key.to_string() } else { format!("{section}.{key}") };
            match value.get_ref() {
                DeValue::Table(table) if schema::is_section(&path) => self.table(&path, table),
                value if path == NAMESPACES => self.namespaces(value, &place),
                _ if schema::is_section(&path) => {
                    let message = format!("is a section; write [{path}] and its settings below");
                    self.config.fault(place, &path, message);
                }
                value => {
                    if !self.config.write(&path, &Value::of_toml(value), &place) {
                        self.config.fault(place, &path, schema::unknown(&path));
                    }
                }
            }
        }
    }

    fn namespaces(&mut self, value: &DeValue<'_>, place: &Place) {
        let tables = if let DeValue::Array(array) = value { array.iter().collect() } else { Vec::new() };
        if tables.is_empty() {
            self.config.fault(place.clone(), NAMESPACES, "is a list of tables; write [[namespace]] before each");
        }
        for item in tables {
            let place = self.source.line(item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => self.namespace(table, place),
                _ => self.config.fault(place, NAMESPACES, "takes tables; write [[namespace]] and its settings below"),
            }
        }
    }

    fn namespace(&mut self, table: &DeTable<'_>, header: Place) {
        let mut draft = Draft::new(NAMESPACE, "namespace.", self.source.dir, header.clone(), Namespace::default());
        for (key, value) in table {
            let place = self.source.line(key.span().start);
            if !draft.write(key.get_ref(), &Value::of_toml(value.get_ref()), &place) {
                draft.fault(place, key.get_ref(), schema::unknown_in_namespace(key.get_ref()));
            }
        }
        draft.check_complete();
        draft.check_clashes(checks::namespace(&draft.target));
        if let Some(prefix) = &draft.target.prefix {
            let place = draft.places.get("prefix").unwrap_or(&header).clone();
            if let Some(first) = self.prefixes.insert(prefix.clone(), place.clone()) {
                let message =
                    format!("\"{prefix}\" has its settings at {first} already; put both into one [[namespace]]");
                draft.fault(place, "prefix", message);
            }
        }
        self.config.faults.append(&mut draft.faults);
        self.namespaces.push(draft.target);
    }

    fn environment(&mut self, environment: impl Fn(&str) -> Option<String>) {
        for setting in SETTINGS {
            let name = schema::environment_name(setting.key);
            if let Some(text) = environment(&name) {
                self.config.write(setting.key, &Value::Text(text), &Place::Environment(name));
            }
        }
    }

    fn command_line(&mut self, sets: &[(String, String)]) {
        for (key, text) in sets {
            if self.config.write(key, &Value::Text(text.clone()), &Place::CommandLine) {
                continue;
            }
            let message = match key.split(['.', '[']).next() {
                Some(NAMESPACES) => "namespaces are the same on every node; write them into the file".to_owned(),
                _ => schema::unknown(key),
            };
            self.config.fault(Place::CommandLine, key, message);
        }
    }

    fn finish(mut self, is_toml: bool) -> Result<Config, Faults> {
        // Half a file says nothing about what is missing from the whole.
        if is_toml {
            self.config.check_complete();
            self.config.check_clashes(checks::settings(&self.config.target));
        }
        Faults::check(self.config.faults)?;
        let mut config = self.config.target;
        config.namespaces = Namespaces::new(self.namespaces);
        config.places = self.config.places;
        Ok(config)
    }
}

/// What to say of a line `key = word`, which the parser takes for a broken number.
fn bare_word(line: &str) -> Option<String> {
    let (_, value) = line.split_once('=')?;
    let word = value.split('#').next()?.trim();
    let is_bare = word.starts_with(|first: char| first.is_alphabetic()) && !word.contains(['"', '\'']);
    let remedy = match word.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" => "write true".to_owned(),
        "no" | "off" | "false" => "write false".to_owned(),
        _ => format!("write it in quotes: \"{}\"", word.escape_debug()),
    };
    is_bare.then(|| format!("{} is not a value; {remedy}", quoted(word)))
}
