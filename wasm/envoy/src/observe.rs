//! Events of the core as Envoy's log lines and counters.

use std::collections::BTreeMap;

use jwt_reissuer::event::{Event, Level};

use crate::hostcalls::{self, LogLevel};

/// The counters defined so far, by name.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    counters: BTreeMap<String, u32>,
}

impl Observer {
    /// Logs and counts one event.
    pub(crate) fn observe(&mut self, event: &Event) {
        let level = match event.level() {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        if hostcalls::logs(level) {
            hostcalls::log(level, &event.to_string());
        }
        let name = event.counter();
        let known = self.counters.get(name.as_ref()).copied();
        let Some(counter) = known.or_else(|| hostcalls::counter(&name)) else { return };
        if known.is_none() {
            self.counters.insert(name.into_owned(), counter);
        }
        hostcalls::increment(counter);
    }
}
