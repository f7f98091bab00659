//! The two clocks that a host tells the time by.

use core::time::Duration;

/// A point of a clock that nobody can set, since any fixed point.
pub type Monotonic = Duration;

/// Both clocks. Claims and timetables go by the wall clock; timers by the monotonic one, so that a step of the wall clock
/// neither stalls a refresh nor frees a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Unix time in seconds
    pub unix: u64,
    /// Since any fixed point
    pub monotonic: Monotonic,
}
