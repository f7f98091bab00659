//! How much of a worker's time signatures may take: everybody else's requests need the same worker.
//!
//! Time is earned at a share of the clock's pace, up to what a burst may take, and spent by every signature that is checked or
//! made. Who comes while nothing is left is told to come again. While less than half of a burst is left, no subject may have more
//! than a quarter of what is earned in a second, so that one that asks too often takes it from itself first.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::time::Duration;

use crate::clock::Monotonic;
use crate::error::Rejection;
use crate::sorted::Sorted;

/// What may be spent at once after a quiet while.
const BURST: Duration = Duration::from_millis(250);
/// How long it is remembered what a subject has spent.
const WINDOW: Duration = Duration::from_secs(1);
/// Most subjects of whom it is remembered.
const MAX_SUBJECTS: usize = 4096;
/// All of a worker's time: then nothing is counted.
const EVERYTHING: u32 = 100;

/// The time that there is for signatures.
#[derive(Debug)]
pub(crate) struct Budget {
    percent: u32,
    /// What there is, and since when; less than nothing after a signature that took longer than there was time for
    credit: Credit,
    at: Monotonic,
    window: Monotonic,
    by_subject: Sorted<String, Duration>,
    work: Option<Work>,
}

#[derive(Clone, Copy, Debug)]
enum Credit {
    Left(Duration),
    Owed(Duration),
}

/// Work on signatures that has begun.
#[derive(Debug)]
struct Work {
    began: Monotonic,
    /// Who is charged for it, once it is known who it is
    subject: Option<String>,
}

impl Budget {
    /// A full one, of so many percent of a worker's time.
    pub(crate) const fn new(percent: u32) -> Self {
        Self {
            percent,
            credit: Credit::Left(BURST),
            at: Duration::ZERO,
            window: Duration::ZERO,
            by_subject: Sorted::new(),
            work: None,
        }
    }

    /// How long until there is something to spend; zero if there is.
    pub(crate) fn free_in(&self, now: Monotonic) -> Duration {
        if self.percent >= EVERYTHING {
            return Duration::ZERO;
        }
        match self.credit_at(now) {
            Credit::Left(left) if left > Duration::ZERO => Duration::ZERO,
            // A millisecond more, so that there is something then.
            Credit::Left(_) => Duration::from_millis(1),
            Credit::Owed(owed) => self.time_to_earn(owed).saturating_add(Duration::from_millis(1)),
        }
    }

    /// Begins work for a subject, which may not be who it says it is. One that has waited has its turn in any case.
    ///
    /// # Errors
    /// [`Rejection::OverBudget`], [`Rejection::SubjectOverBudget`]
    pub(crate) fn begin(&mut self, subject: &str, now: Monotonic, has_waited: bool) -> Result<(), Rejection> {
        if self.percent < EVERYTHING {
            let free_in = self.free_in(now);
            if free_in > Duration::ZERO && !has_waited {
                return Err(Rejection::OverBudget { retry_after: free_in.as_secs().saturating_add(1) });
            }
            if !has_waited && self.is_short(now) && self.has_had_its_part(subject, now) {
                return Err(Rejection::SubjectOverBudget);
            }
        }
        self.work = Some(Work { began: now, subject: None });
        Ok(())
    }

    /// The work is for this subject: its token was verified.
    pub(crate) fn is_for(&mut self, subject: &str) {
        if self.percent < EVERYTHING
            && let Some(work) = &mut self.work
        {
            work.subject = Some(subject.to_owned());
        }
    }

    /// Whether work has begun that nobody has been charged for.
    pub(crate) const fn is_at_work(&self) -> bool {
        self.work.is_some()
    }

    /// The work has come to its end.
    pub(crate) fn end(&mut self, now: Monotonic) {
        let Some(Work { began, subject }) = self.work.take() else { return };
        if self.percent >= EVERYTHING {
            return;
        }
        let spent = now.saturating_sub(began);
        self.credit = match self.credit_at(began) {
            Credit::Left(left) if left >= spent => Credit::Left(left.saturating_sub(spent)),
            Credit::Left(left) => Credit::Owed(spent.saturating_sub(left)),
            Credit::Owed(owed) => Credit::Owed(owed.saturating_add(spent)),
        };
        self.at = began;
        if now.saturating_sub(self.window) >= WINDOW {
            self.window = now;
            self.by_subject.clear();
        }
        if let Some(subject) = subject {
            if let Some(before) = self.by_subject.get_mut(subject.as_str()) {
                *before = before.saturating_add(spent);
            } else if self.by_subject.len() < MAX_SUBJECTS {
                self.by_subject.insert(subject, spent);
            }
        }
    }

    fn is_short(&self, now: Monotonic) -> bool {
        !matches!(self.credit_at(now), Credit::Left(left) if left.saturating_mul(2) >= BURST)
    }

    /// Whether it has spent a quarter of what is earned in a second or more, in the last one.
    fn has_had_its_part(&self, subject: &str, now: Monotonic) -> bool {
        let is_current = now.saturating_sub(self.window) < WINDOW;
        let spent = self.by_subject.get(subject).copied().unwrap_or_default();
        is_current && spent.saturating_mul(4) >= self.earned_in(WINDOW)
    }

    fn credit_at(&self, now: Monotonic) -> Credit {
        let earned = self.earned_in(now.saturating_sub(self.at));
        match self.credit {
            Credit::Left(left) => Credit::Left(left.saturating_add(earned).min(BURST)),
            Credit::Owed(owed) if owed > earned => Credit::Owed(owed.saturating_sub(earned)),
            Credit::Owed(owed) => Credit::Left(earned.saturating_sub(owed).min(BURST)),
        }
    }

    fn earned_in(&self, time: Duration) -> Duration {
        time.saturating_mul(self.percent).checked_div(EVERYTHING).unwrap_or_default()
    }

    fn time_to_earn(&self, credit: Duration) -> Duration {
        credit.saturating_mul(EVERYTHING).checked_div(self.percent).unwrap_or_default()
    }
}
