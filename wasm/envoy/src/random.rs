//! The seed of the generator, from the host's random numbers.

use zeroize::Zeroizing;

/// 32 bytes for the generator that blinds signatures, adds to their nonces and makes `jti`s.
///
/// Two draws that are the same are no random numbers: a source that works gives them once in 2^256, one that is stuck
/// always does.
pub(crate) fn seed<E: std::fmt::Display>(
    fill: impl Fn(&mut [u8]) -> Result<(), E>,
) -> Result<Zeroizing<[u8; 32]>, String> {
    let draw = || -> Result<Zeroizing<[u8; 32]>, String> {
        let mut drawn = Zeroizing::new([0; 32]);
        fill(&mut *drawn).map_err(|error| format!("no random numbers from the host: {error}"))?;
        Ok(drawn)
    };
    let (first, second) = (draw()?, draw()?);
    if *first == *second {
        return Err("no random numbers from the host: it gives the same ones again".into());
    }
    Ok(second)
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_source_that_fails_first_or_later_gives_no_seed() {
        for failing in [0, 1] {
            let calls = Cell::new(0);
            let fill = |bytes: &mut [u8]| {
                bytes.fill(calls.get());
                calls.set(calls.get() + 1);
                if calls.get() > failing { Err("out of order") } else { Ok(()) }
            };
            assert_eq!(seed(fill).unwrap_err(), "no random numbers from the host: out of order");
        }
    }

    #[test]
    fn a_source_that_is_stuck_gives_no_seed() {
        for byte in [0, 0xff, 0xa5] {
            let stuck = |bytes: &mut [u8]| {
                bytes.fill(byte);
                Ok::<_, &str>(())
            };
            assert_eq!(seed(stuck).unwrap_err(), "no random numbers from the host: it gives the same ones again");
        }
    }

    #[test]
    fn a_source_that_works_gives_another_seed_each_time() {
        let seeds = [(); 4].map(|()| *seed(getrandom::fill).unwrap());
        assert!((1..4).all(|place| !seeds[..place].contains(&seeds[place])));
    }
}
