//! A config, or one namespace, while it is being written setting by setting: what was written where, which of
//! it was no good, and all faults so far. A fault in one setting hides none in another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::faults::{Fault, Place};
use super::parse::{Given, Value};
use super::schema::{self, Otherwise, Setting};

/// The config file, for places and relative paths.
#[derive(Debug, Clone)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) name: Arc<str>,
    pub(super) dir: &'a Path,
}

impl Source<'_> {
    pub(super) fn line(&self, byte: usize) -> Place {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Place::Line { file: self.name.clone(), line }
    }

    /// The line that holds a byte.
    pub(super) fn line_text(&self, byte: usize) -> &str {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.text[start..].lines().next().unwrap_or_default()
    }

    pub(super) fn whole(&self) -> Place {
        Place::File(self.name.clone())
    }
}

/// Settings that do not go together, each sound by itself. Reported at the first of `keys` that was written.
pub(super) struct Clash {
    pub(super) keys: &'static [&'static str],
    pub(super) message: String,
}

/// A `T` that is being written.
pub(super) struct Draft<'a, T: 'static> {
    pub(super) target: T,
    pub(super) places: BTreeMap<&'static str, Place>,
    pub(super) faults: Vec<Fault>,
    settings: &'static [Setting<T>],
    /// What precedes the keys in faults: nothing, or `namespace.`.
    section: &'static str,
    dir: &'a Path,
    /// Where to point for what is nowhere.
    home: Place,
    /// Settings whose last value was no good: reported already, so left out of what follows.
    spoilt: BTreeSet<&'static str>,
}

impl<'a, T> Draft<'a, T> {
    pub(super) fn new(
        settings: &'static [Setting<T>],
        section: &'static str,
        dir: &'a Path,
        home: Place,
        target: T,
    ) -> Self {
        Self {
            target,
            places: BTreeMap::new(),
            faults: Vec::new(),
            settings,
            section,
            dir,
            home,
            spoilt: BTreeSet::new(),
        }
    }

    /// Puts `value` in its place, or notes why not. Returns whether there is such a setting.
    pub(super) fn write(&mut self, key: &str, value: &Value, place: &Place) -> bool {
        let Some(setting) = schema::find(self.settings, key) else { return false };
        self.places.insert(setting.key, place.clone());
        match (setting.set)(&mut self.target, &Given { value, dir: self.dir }) {
            Ok(()) => {
                self.spoilt.remove(setting.key);
            }
            Err(message) => {
                self.spoilt.insert(setting.key);
                self.fault(place.clone(), setting.key, message);
            }
        }
        true
    }

    pub(super) fn fault(&mut self, place: Place, key: &str, message: impl Into<String>) {
        let key = Some(format!("{}{key}", self.section));
        self.faults.push(Fault { place, key, message: message.into() });
    }

    /// Notes the required settings that nobody wrote.
    pub(super) fn check_complete(&mut self) {
        for setting in self.settings {
            if let Otherwise::Required(example) = setting.otherwise
                && !self.places.contains_key(setting.key)
            {
                let message = match setting.key.rsplit_once('.') {
                    Some((section, key)) => format!("is missing; write {key} = {example} below [{section}]"),
                    None => format!("is missing; write {} = {example}", setting.key),
                };
                self.fault(self.home.clone(), setting.key, message);
            }
        }
    }

    /// Notes clashes, but those with a part in them that is no good itself.
    pub(super) fn check_clashes(&mut self, clashes: Vec<Clash>) {
        for Clash { keys, message } in clashes {
            if keys.iter().any(|key| self.spoilt.contains(key)) {
                continue;
            }
            let written = keys.iter().find_map(|key| Some((*key, self.places.get(key)?.clone())));
            let (key, place) = written.unwrap_or_else(|| (keys[0], self.home.clone()));
            self.fault(place, key, message);
        }
    }
}
