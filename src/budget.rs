//! How much of a worker's time signatures may take: everybody else's requests need the same worker.
//!
//! Time is earned at a share of the clock's pace, a millisecond of it at most, and spent by every signature that is checked or
//! made. Who comes while there is none waits for its turn. Where somebody waits less is saved up, so that signatures and everybody
//! else's requests alternate: one signature at a time, or a few that are short. Who would wait for nearly half a second is told to come
//! again, and who has waited for half a second too. Once the wait is half of that, no subject may have more than a quarter of what can
//! be spent in a second, so that one that asks too often takes it from itself first.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::time::Duration;

use crate::clock::Monotonic;
use crate::error::Rejection;
use crate::sorted::Sorted;

/// What may be spent at once after a while in which nobody waited: as long as that nobody else has the worker.
const SLICE: Duration = Duration::from_millis(1);
/// How long signatures may take one after the other where somebody waits; where one alone takes longer, it is one.
const TURN: Duration = Duration::from_micros(700);
/// What is left to who has waited, at least: enough to begin.
const NOTHING_SAVED: Duration = Duration::from_nanos(1);
/// The longest wait for a turn that is foreseen. One that becomes longer is ended somewhat later.
const LONGEST_WAIT: Duration = Duration::from_millis(450);
/// The longest line, of all that may wait for anything.
const LONGEST_LINE: u32 = 900;
/// How long it is remembered what a subject has spent.
const WINDOW: Duration = Duration::from_secs(1);
/// Most subjects of whom it is remembered.
const MAX_SUBJECTS: usize = 4096;
/// What a signature is taken to cost before there was one.
const FIRST_COST: Duration = Duration::from_millis(1);
/// What one piece of work is charged at most: time in which the whole machine stood still was nobody's work.
const LONGEST_WORK: Duration = Duration::from_millis(100);
/// The longest time between two turns that a host's timers are the cause of.
const LONGEST_INTERVAL: Duration = Duration::from_millis(20);
/// All of a worker's time: then nothing is counted.
const EVERYTHING: u32 = 100;

/// The time that there is for signatures.
#[derive(Debug)]
pub(crate) struct Budget {
    percent: u32,
    /// What there is, and since when; less than nothing after a signature that took longer than there was time for
    credit: Credit,
    at: Monotonic,
    /// What the last few have cost, once there was one
    cost: Option<Duration>,
    /// When the last one began that had waited for its turn, and how long it was between the last few of those: a host may let
    /// turns pass, because its timers are coarse
    last_turn: Option<Monotonic>,
    between_turns: Duration,
    window: Monotonic,
    by_subject: Sorted<Subject, Duration>,
    work: Option<Work>,
}

#[derive(Clone, Copy, Debug)]
enum Credit {
    Left(Duration),
    Owed(Duration),
}

/// When a signature may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    /// When those who wait already have had theirs, and there is time again
    Later,
}

/// Place of a trusted issuer, and a subject: two issuers may have one of the same name.
type Subject = (usize, String);

/// Work on signatures that has begun.
#[derive(Debug)]
struct Work {
    began: Monotonic,
    /// Who is charged for it, once it is known who it is
    subject: Option<Subject>,
}

impl Budget {
    /// A full one, of so many percent of a worker's time.
    pub(crate) const fn new(percent: u32) -> Self {
        Self {
            percent,
            credit: Credit::Left(SLICE),
            at: Duration::ZERO,
            cost: None,
            last_turn: None,
            between_turns: Duration::ZERO,
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
            Credit::Left(_) => Duration::from_micros(1),
            // A little more, so that there is something then.
            Credit::Owed(owed) => self.time_to_earn(owed).saturating_add(Duration::from_micros(1)),
        }
    }

    /// Goes on with what another one has counted.
    pub(crate) fn inherit(&mut self, before: &Self) {
        let Self { credit, at, cost, between_turns, window, by_subject, .. } = before;
        (self.credit, self.at, self.cost) = (*credit, *at, *cost);
        (self.between_turns, self.window) = (*between_turns, *window);
        self.by_subject = by_subject.clone();
    }

    /// When a subject of one of these trusted issuers, by their places in the configuration, may have its signatures, where so many
    /// wait already. Neither the subject nor the issuer is verified yet, so a subject has had its part only if each of them has.
    ///
    /// # Errors
    /// [`Rejection::OverBudget`], [`Rejection::SubjectOverBudget`]
    pub(crate) fn turn(&self, issuers: &[usize], sub: &str, waiting: usize, now: Monotonic) -> Result<Turn, Rejection> {
        let free_in = self.free_in(now);
        if self.percent >= EVERYTHING || (free_in.is_zero() && waiting == 0) {
            return Ok(Turn::Now);
        }
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let wait = self.turn_time().saturating_mul(waiting).saturating_add(free_in);
        if wait > LONGEST_WAIT || waiting >= LONGEST_LINE {
            return Err(Rejection::OverBudget { retry_after: wait.as_secs().saturating_add(1) });
        }
        let have_had_their_part =
            || issuers.iter().all(|issuer| self.has_had_its_part(&(*issuer, sub.to_owned()), now));
        if wait.saturating_mul(2) > LONGEST_WAIT && have_had_their_part() {
            return Err(Rejection::SubjectOverBudget { sub: sub.to_owned() });
        }
        Ok(Turn::Later)
    }

    /// Work begins, of one that has waited or has not.
    pub(crate) fn begin(&mut self, now: Monotonic, has_waited: bool) {
        self.work = Some(Work { began: now, subject: None });
        if !has_waited {
            // Nobody waits, or it would too.
            self.last_turn = None;
            return;
        }
        if let Credit::Left(left) = self.credit_at(now) {
            // Half of what is spent is earned meanwhile, or more.
            let most = TURN.saturating_sub(self.cost.unwrap_or(FIRST_COST)).checked_div(2).unwrap_or_default();
            (self.credit, self.at) = (Credit::Left(left.min(most).max(NOTHING_SAVED)), now);
        }
        let interval = self.last_turn.replace(now).map(|last| now.saturating_sub(last));
        // A longer one was between two lines, or is what follows from what signatures take.
        if let Some(interval) = interval.filter(|interval| *interval <= LONGEST_INTERVAL) {
            self.between_turns = average(self.between_turns, interval);
        }
    }

    /// The work is for this subject: its token was verified.
    pub(crate) fn is_for(&mut self, issuer: usize, sub: &str) {
        if self.percent < EVERYTHING
            && let Some(work) = &mut self.work
        {
            work.subject = Some((issuer, sub.to_owned()));
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
        let spent = now.saturating_sub(began).min(LONGEST_WORK);
        self.credit = match self.credit_at(began) {
            Credit::Left(left) if left >= spent => Credit::Left(left.saturating_sub(spent)),
            Credit::Left(left) => Credit::Owed(spent.saturating_sub(left)),
            Credit::Owed(owed) => Credit::Owed(owed.saturating_add(spent)),
        };
        self.at = began;
        self.cost = Some(average(self.cost.unwrap_or(spent), spent));
        if now.saturating_sub(self.window) >= WINDOW {
            self.window = now;
            self.by_subject.clear();
        }
        if let Some(subject) = subject {
            if let Some(before) = self.by_subject.get_mut(&subject) {
                *before = before.saturating_add(spent);
            } else if self.by_subject.len() < MAX_SUBJECTS {
                self.by_subject.insert(subject, spent);
            }
        }
    }

    /// Whether it has spent a quarter of what can be spent in a second or more, in the last one. That is less than what is earned
    /// where turns come late.
    fn has_had_its_part(&self, subject: &Subject, now: Monotonic) -> bool {
        let is_current = now.saturating_sub(self.window) < WINDOW;
        let spent = self.by_subject.get(subject).copied().unwrap_or_default();
        let turns = WINDOW.as_micros().checked_div(self.turn_time().as_micros()).unwrap_or_default();
        let all = self.cost.unwrap_or(FIRST_COST).saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX));
        is_current && spent.saturating_mul(4) >= all.min(self.earned_in(WINDOW))
    }

    /// From one turn to the next, so far as one can tell.
    fn turn_time(&self) -> Duration {
        self.time_to_earn(self.cost.unwrap_or(FIRST_COST)).max(self.between_turns)
    }

    fn credit_at(&self, now: Monotonic) -> Credit {
        let earned = self.earned_in(now.saturating_sub(self.at));
        match self.credit {
            Credit::Left(left) => Credit::Left(left.saturating_add(earned).min(SLICE)),
            Credit::Owed(owed) if owed > earned => Credit::Owed(owed.saturating_sub(earned)),
            Credit::Owed(owed) => Credit::Left(earned.saturating_sub(owed).min(SLICE)),
        }
    }

    fn earned_in(&self, time: Duration) -> Duration {
        time.saturating_mul(self.percent).checked_div(EVERYTHING).unwrap_or_default()
    }

    fn time_to_earn(&self, credit: Duration) -> Duration {
        credit.saturating_mul(EVERYTHING).checked_div(self.percent).unwrap_or_default()
    }
}

/// Of the last few: each new one counts for a quarter.
fn average(before: Duration, new: Duration) -> Duration {
    before.saturating_mul(3).saturating_add(new).checked_div(4).unwrap_or(new)
}
