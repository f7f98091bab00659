//! Keys of P-521, by which tokens are verified and never issued.
//!
//! A crate of its own, because code of a generic library is made where its types are first named: there, P-521 would take
//! four times the room of P-256 for the sake of speed that the rarest algorithm does not need.
#![no_std]

use p521::ecdsa::signature::Verifier as _;
use p521::elliptic_curve::point::AffineCoordinates as _;

/// A point of the curve that may verify signatures of ES512.
#[derive(Clone)]
pub struct VerifyingKey(p521::ecdsa::VerifyingKey);

impl VerifyingKey {
    /// A key from the coordinates of its point, each as long as the field; none where that is not one of the curve.
    #[must_use]
    pub fn from_coordinates(x: &[u8], y: &[u8]) -> Option<Self> {
        let point = p521::AffinePoint::from_coordinates(x.try_into().ok()?, y.try_into().ok()?).into_option()?;
        p521::ecdsa::VerifyingKey::from_affine(point).ok().map(Self)
    }

    /// Whether it is a signature of this key over the message: `r || s` (RFC 7518 section 3.4) with SHA-512.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        p521::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}
