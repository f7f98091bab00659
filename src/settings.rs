//! Reading settings out of JSON with errors that name the member by its path, and with no member unread.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

use crate::json::{Json, Object};

/// Says of a member that this version does not know it: the version that wrote it may have been a later one.
const NOT_A_SETTING: &str =
    concat!("is not a setting of version ", env!("CARGO_PKG_VERSION"), "; a later version may know it");

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The member, as `trusted_issuers[0].jwks.path`; empty for the whole
    pub path: String,
    /// What is wrong with it
    pub problem: String,
}

/// An object of settings. What is asked for is taken; [`Section::finish`] refuses the rest.
pub(crate) struct Section<'a> {
    path: String,
    object: &'a Object,
    asked: Vec<&'static str>,
}

/// One setting, with its path.
pub(crate) struct Setting<'a> {
    path: String,
    value: &'a Json,
}

impl<'a> Section<'a> {
    pub(crate) fn of(path: &str, json: &'a Json) -> Result<Self, ConfigError> {
        let object = json.as_object().ok_or_else(|| ConfigError::new(path, "must be an object"))?;
        Ok(Self { path: path.to_string(), object, asked: Vec::new() })
    }

    pub(crate) fn optional(&mut self, name: &'static str) -> Option<Setting<'a>> {
        self.asked.push(name);
        let value = self.object.get(name)?;
        Some(Setting { path: self.path_of(name), value })
    }

    pub(crate) fn required(&mut self, name: &'static str) -> Result<Setting<'a>, ConfigError> {
        self.optional(name).ok_or_else(|| self.missing(name))
    }

    /// A duration, or its default.
    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        let Some(field) = self.optional(name) else { return Ok(default) };
        let duration = parse_duration(field.string()?)
            .ok_or_else(|| field.error("must be a duration such as 30s, 5m, 6h or 7d"))?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let bounds = format!("must be from {} to {}", written(*range.start()), written(*range.end()));
        Err(field.error(bounds))
    }

    /// Refuses members that this version does not know: they may be restrictions.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        match self.object.iter().find(|(name, _)| !self.asked.contains(name)) {
            Some((name, _)) => Err(ConfigError::new(self.path_of(name), NOT_A_SETTING)),
            None => Ok(()),
        }
    }

    pub(crate) fn to_text(&self) -> String {
        self.object.to_text()
    }

    pub(crate) fn missing(&self, name: &str) -> ConfigError {
        self.error_at(name, "is missing")
    }

    pub(crate) fn error_at(&self, name: &str, problem: &str) -> ConfigError {
        ConfigError::new(self.path_of(name), problem)
    }

    pub(crate) fn error(&self, problem: &str) -> ConfigError {
        ConfigError::new(self.path.as_str(), problem)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }
}

impl<'a> Setting<'a> {
    pub(crate) const fn value(&self) -> &'a Json {
        self.value
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError::new(self.path.as_str(), problem)
    }

    pub(crate) fn check(&self, good: bool, problem: &str) -> Result<(), ConfigError> {
        if good { Ok(()) } else { Err(self.error(problem)) }
    }

    pub(crate) fn section(&self) -> Result<Section<'a>, ConfigError> {
        Section::of(&self.path, self.value)
    }

    pub(crate) fn bool(&self) -> Result<bool, ConfigError> {
        if let Json::Bool(value) = self.value { Ok(*value) } else { Err(self.error("must be true or false")) }
    }

    /// A whole number of that range. A gateway's own representation of numbers may be a double: 8192.0 is 8192.
    pub(crate) fn whole(&self, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let Json::Number(number) = self.value else { return Err(self.error("must be a number")) };
        let whole = number.to_string();
        let whole = whole.strip_suffix(".0").unwrap_or(&whole).parse().ok();
        whole
            .filter(|value| range.contains(value))
            .ok_or_else(|| self.error(format!("must be a whole number from {} to {}", range.start(), range.end())))
    }

    pub(crate) fn string(&self) -> Result<&'a str, ConfigError> {
        self.value.as_str().ok_or_else(|| self.error("must be a string"))
    }

    /// A string of visible ASCII characters, not empty and not longer than that.
    pub(crate) fn text(&self, longest: usize) -> Result<&'a str, ConfigError> {
        let text = self.string()?;
        self.check(!text.is_empty(), "must not be empty")?;
        self.check(text.len() <= longest, &format!("must not be longer than {longest} characters"))?;
        self.check(text.bytes().all(|byte| byte.is_ascii_graphic()), "must be of visible ASCII characters")?;
        Ok(text)
    }

    pub(crate) fn list<T>(&self, read: impl Fn(Setting<'a>) -> Result<T, ConfigError>) -> Result<Vec<T>, ConfigError> {
        let items = self.value.as_array().ok_or_else(|| self.error("must be a list"))?;
        let settings = items
            .iter()
            .enumerate()
            .map(|(index, value)| read(Setting { path: format!("{}[{index}]", self.path), value }));
        settings.collect()
    }

    pub(crate) fn strings(&self) -> Result<Vec<&'a str>, ConfigError> {
        self.list(|item| item.string())
    }

    pub(crate) fn members(&self) -> Result<Vec<(&'a str, &'a Json)>, ConfigError> {
        let object = self.value.as_object().ok_or_else(|| self.error("must be an object"))?;
        Ok(object.iter().collect())
    }
}

impl ConfigError {
    /// An error at a member.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.problem) } else { write!(f, "{}: {}", self.path, self.problem) }
    }
}

impl core::error::Error for ConfigError {}

/// A duration as it is written in a configuration.
fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => format!("{}{name}", seconds.checked_div(unit).unwrap_or_default()),
        None => format!("{seconds}s"),
    }
}

/// Parses a duration as settings have it: a whole number and one of `s`, `m`, `h`, `d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}
