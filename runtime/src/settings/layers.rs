//! Settings by name: which layer a value comes from, and what is wrong with it.

use crate::error::{Error, Result};
use crate::plan::Tier;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names with this prefix in the environment are settings.
const ENV_PREFIX: &str = "DISTRIBUTARY_";

/// Names in the environment that are no settings: where the file lies, and what tests tell a process.
const ENV_RESERVED: [&str; 5] =
    ["DISTRIBUTARY_CONFIG", "DISTRIBUTARY_FAILPOINT", "DISTRIBUTARY_PHASE_FILE", "DISTRIBUTARY_SEED", "DISTRIBUTARY_ZOMBIES"];

/// Names with this prefix tell tests what is there for them.
const ENV_OF_TESTS: &str = "DISTRIBUTARY_TEST_";

/// What stands in a file is copied, and what stands on a command line is seen by every user of the machine.
const ONLY_IN_ENV: &str = "kafka_sasl_password";

/// What both tiers know by this name is each one's own, although its default is the same: an address is taken once.
const ONE_EACH: &str = "metrics_listen";

/// Names behind this are of the batch tier. In the environment it is [`BATCH_IN_ENV`].
const BATCH: &str = "batch.";
const BATCH_IN_ENV: &str = "batch_";
/// The table of the file that holds them.
const BATCH_TABLE: &str = "batch";

/// A name this much alike (Jaro-Winkler) is likely meant.
const ALIKE: f64 = 0.8;

/// Where a value stood.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Name of the file, and the line.
    File(String, usize),
    /// Name of the variable.
    Env(String),
    /// On the command line.
    Flag,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, line) => write!(f, "{name}, line {line}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("flag --set"),
        }
    }
}

/// The defaults, and what the layers put over them.
pub(super) struct Layers {
    tier: Tier,
    /// The defaults know the names and types; `null` is an optional text.
    defaults: Map<String, Value>,
    /// Names that the tier does not share with the other one.
    own: BTreeSet<String>,
    set: BTreeMap<String, (Value, Place)>,
}

impl Layers {
    /// Over the defaults of the streaming and of the batch tier.
    pub(super) fn over(tier: Tier, defaults: [&impl Serialize; 2]) -> Self {
        let [stream, batch] = defaults.map(|of| match serde_json::to_value(of) {
            Ok(Value::Object(values)) => values,
            _ => unreachable!("settings have names"),
        });
        let own = stream.iter().filter(|(name, value)| *name == ONE_EACH || batch.get(*name) != Some(value));
        let own = own.map(|(name, _)| name.clone()).collect();
        Self { tier, defaults: if tier == Tier::Batch { batch } else { stream }, own, set: BTreeMap::new() }
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.defaults.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// A setting with the place its value comes from, as errors show it.
    pub(super) fn named(&self, name: &str) -> String {
        let shown = self.shown(name);
        self.set.get(name).map_or_else(|| format!("{shown} (default)"), |(_, place)| format!("{shown} ({place})"))
    }

    pub(super) fn add_file(&mut self, origin: &str, text: &str) -> Result<()> {
        let not_toml = |e: toml::de::Error| {
            let line = e.span().map_or(1, |span| line_at(text, span.start));
            wrong("file", &Place::File(origin.to_string(), line), format!("not TOML: {}", e.message()))
        };
        let values: toml::Table = text.parse().map_err(not_toml)?;
        let spans = toml::de::DeTable::parse(text).map_err(not_toml)?;
        let mut all = Vec::new();
        for (key, span) in spans.get_ref() {
            let name: &str = key.get_ref();
            match (span.get_ref().as_table(), values.get(name).and_then(toml::Value::as_table)) {
                (Some(spans), Some(values)) if name == BATCH_TABLE => {
                    all.extend(
                        spans.keys().map(|key| (format!("{BATCH}{}", key.get_ref()), key.span(), values.get(&**key.get_ref()))),
                    );
                }
                _ => all.push((name.to_string(), key.span(), values.get(name))),
            }
        }
        all.sort_by_key(|(name, ..)| name.starts_with(BATCH));
        for (name, span, value) in all {
            let place = Place::File(origin.to_string(), line_at(text, span.start));
            let Some(Ok(value)) = value.map(serde_json::to_value) else {
                return Err(wrong(&name, &place, "cannot be read".to_string()));
            };
            self.add(&name, value, place)?;
        }
        Ok(())
    }

    pub(super) fn add_env(&mut self, env: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        let mut all = Vec::new();
        for (variable, text) in env {
            let Some(name) = variable.strip_prefix(ENV_PREFIX) else { continue };
            if !ENV_RESERVED.contains(&variable.as_str()) && !variable.starts_with(ENV_OF_TESTS) {
                let name = name.to_ascii_lowercase();
                let name = name.strip_prefix(BATCH_IN_ENV).map_or(name.clone(), |name| format!("{BATCH}{name}"));
                all.push((name, text, Place::Env(variable)));
            }
        }
        self.add_texts(all)
    }

    pub(super) fn add_flags(&mut self, flags: &[(String, String)]) -> Result<()> {
        self.add_texts(flags.iter().map(|(name, text)| (name.clone(), text.clone(), Place::Flag)).collect())
    }

    /// Within a layer, what is said for the batch tier alone comes last, and wins.
    fn add_texts(&mut self, mut all: Vec<(String, String, Place)>) -> Result<()> {
        all.sort_by_key(|(name, ..)| name.starts_with(BATCH));
        all.into_iter().try_for_each(|(name, text, place)| self.add_text(&name, &text, place))
    }

    /// A value as text: a number where one is expected; no text takes an optional value away.
    fn add_text(&mut self, name: &str, text: &str, place: Place) -> Result<()> {
        let value = match self.defaults.get(name.strip_prefix(BATCH).unwrap_or(name)) {
            Some(Value::Number(_)) => text.replace('_', "").parse().map_or_else(|_| Value::from(text), |n: u64| n.into()),
            Some(Value::Bool(_)) => text.parse().map_or_else(|_| Value::from(text), Value::Bool),
            Some(Value::Null) if text.is_empty() => Value::Null,
            _ => Value::from(text),
        };
        self.add(name, value, place)
    }

    fn add(&mut self, shown: &str, value: Value, place: Place) -> Result<()> {
        let (name, of_batch) = shown.strip_prefix(BATCH).map_or((shown, false), |name| (name, true));
        let Some(default) = self.defaults.get(name) else {
            return Err(wrong(shown, &place, self.unknown(name)));
        };
        if name == ONLY_IN_ENV && !matches!(place, Place::Env(_)) {
            let what = "a password is taken from the environment variable DISTRIBUTARY_KAFKA_SASL_PASSWORD, or from a file that \
                        kafka_sasl_password_file names";
            return Err(wrong(name, &place, what.to_string()));
        }
        let expected = match default {
            Value::Bool(_) if !value.is_boolean() => "`true` or `false`",
            Value::Number(_) if value.as_u64().is_none() => "a whole number",
            Value::String(_) if !value.is_string() => "text",
            Value::Null if !value.is_string() && !value.is_null() => "text",
            _ => {
                let counts = match self.tier {
                    Tier::Stream => !of_batch,
                    Tier::Batch => of_batch || !self.own.contains(name),
                };
                if counts {
                    self.set.insert(name.to_string(), (value, place));
                }
                return Ok(());
            }
        };
        Err(wrong(shown, &place, format!("expected {expected}, found {value}")))
    }

    fn unknown(&self, name: &str) -> String {
        let alike = self.defaults.keys().map(|known| (strsim::jaro_winkler(name, known), known));
        match alike.max_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((score, known)) if score >= ALIKE => format!("there is no such setting; did you mean `{known}`?"),
            _ => format!("there is no such setting; there are {}", self.names().join(", ")),
        }
    }

    /// A setting as it is to be written down.
    fn shown(&self, name: &str) -> String {
        let prefix = if self.tier == Tier::Batch && self.own.contains(name) { BATCH } else { "" };
        format!("{prefix}{name}")
    }

    pub(super) fn check_range(&self, name: &str, min: u64, max: u64) -> Result<()> {
        match self.set.get(name).and_then(|(value, place)| Some((value.as_u64()?, place))) {
            Some((n, place)) if !(min..=max).contains(&n) => {
                Err(wrong(&self.shown(name), place, format!("expected a whole number from {min} to {max}, found {n}")))
            }
            _ => Ok(()),
        }
    }

    /// The settings. Each is first read alone, so that an error names the one it is about.
    pub(super) fn finish<T: DeserializeOwned>(&self) -> Result<T> {
        let mut all = self.defaults.clone();
        for (name, (value, place)) in &self.set {
            let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
            serde_json::from_value::<T>(alone).map_err(|e| wrong(&self.shown(name), place, format!("{e}, found {value}")))?;
            all.insert(name.clone(), value.clone());
        }
        let Ok(settings) = serde_json::from_value(Value::Object(all)) else { unreachable!("each setting was read alone") };
        Ok(settings)
    }
}

fn wrong(name: &str, place: &Place, what: String) -> Error {
    Error::Setting { name: format!("{name} ({place})"), what }
}

fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}
