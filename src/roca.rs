//! The fingerprint of RSA keys made by a faulty library (ROCA, CVE-2017-15361).
//!
//! Its primes were `k * M + 65537^a mod M` with M a product of small primes, so the modulus is a power of 65537 modulo
//! each of them. A random modulus passes all seventeen tests by chance about once in 2^27.5 keys.

/// The primes of M in whose multiplicative group 65537 does not generate everything: the others tell nothing.
const PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus, big-endian, has the fingerprint.
pub(crate) fn is_roca(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| is_power_of_generator(remainder(modulus, *prime), *prime))
}

#[allow(clippy::arithmetic_side_effects, reason = "below 157 * 256 + 255, and the primes are not zero")]
fn remainder(number: &[u8], prime: u32) -> u32 {
    number.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime)
}

#[allow(clippy::arithmetic_side_effects, reason = "below 157 * 157, and the primes are not zero")]
fn is_power_of_generator(residue: u32, prime: u32) -> bool {
    let generator = 65_537 % prime;
    let mut power = 1;
    // The group has fewer than `prime` elements, so the walk is back at 1 by then.
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * generator % prime;
    }
    false
}
