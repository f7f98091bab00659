//! When a key of a keyring is published, signs and retires, by the timetable.

use std::fmt;

use jwt_reissuer::timetable::{Timetable, text_of};

/// When a key is published, signs and retires; seconds since 1970. A time that lies before every other is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTimes {
    pub publish_at: u64,
    /// `None`: it never signs by this keyring
    pub signs: Option<Turn>,
    /// `None`: it stays published
    pub retire_at: Option<u64>,
}

/// When a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub from: u64,
    /// `None`: no key takes over from it
    pub until: Option<u64>,
}

/// The state of a key at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Not published yet
    Upcoming,
    /// Published, and signs later
    Next,
    /// Signs
    Active,
    /// Published, and signs no more, or never
    Retired,
    /// Not published any more
    Gone,
}

impl KeyTimes {
    /// The times of the key in a place of the keyring.
    pub fn of(timetable: &Timetable, place: usize) -> Self {
        let phases = timetable.phases();
        let span = |has: &dyn Fn(usize) -> bool| {
            let first = (0..phases.len()).find(|phase| has(*phase))?;
            let last = (0..phases.len()).rfind(|phase| has(*phase))?;
            let end = phases.get(last.saturating_add(1)).map(|phase| phase.from);
            Some((phases.get(first)?.from, end))
        };
        let published = span(&|phase| phases.get(phase).is_some_and(|phase| phase.published.contains(&place)));
        let signs = span(&|phase| phases.get(phase).is_some_and(|phase| phase.signing == Some(place)));
        let (publish_at, retire_at) = published.unwrap_or((u64::MAX, None));
        Self { publish_at, signs: signs.map(|(from, until)| Turn { from, until }), retire_at }
    }

    /// The state of the key at a time.
    pub fn state(&self, now: u64) -> KeyState {
        if self.retire_at.is_some_and(|at| at <= now) {
            return KeyState::Gone;
        }
        if now < self.publish_at {
            return KeyState::Upcoming;
        }
        match self.signs {
            Some(turn) if now < turn.from => KeyState::Next,
            Some(turn) if turn.until.is_none_or(|until| now < until) => KeyState::Active,
            _ => KeyState::Retired,
        }
    }

    /// When it begins to sign, if that is still to come.
    pub fn takes_over(&self, now: u64) -> Option<u64> {
        self.signs.map(|turn| turn.from).filter(|from| *from > now)
    }

    /// State and times in words, as the rest of a sentence about the key.
    pub fn described(&self, now: u64) -> String {
        let state = self.state(now);
        let mut parts = Vec::new();
        match state {
            KeyState::Upcoming => parts.push(format!("is published from {}", text_of(self.publish_at))),
            KeyState::Next => parts.push("is published".to_string()),
            KeyState::Active | KeyState::Retired | KeyState::Gone => {}
        }
        match self.signs {
            None => parts.push("never signs by this keyring".to_string()),
            Some(Turn { from, until }) => {
                let mut words =
                    if matches!(state, KeyState::Retired | KeyState::Gone) { "signed" } else { "signs" }.to_string();
                if from > 0 {
                    words.push_str(&format!(" from {}", text_of(from)));
                }
                match until {
                    Some(until) => words.push_str(&format!(" until {}", text_of(until))),
                    None => words.push_str(" with no end planned"),
                }
                parts.push(words);
            }
        }
        parts.push(match (state, self.retire_at) {
            (KeyState::Gone, Some(at)) => format!("was published until {}", text_of(at)),
            (_, Some(at)) => format!("stays published until {}", text_of(at)),
            (_, None) => "stays published".to_string(),
        });
        format!("is {state}: it {}", join(&parts))
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upcoming => "upcoming",
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Gone => "gone",
        })
    }
}

fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
