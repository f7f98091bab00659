//! The signature algorithms of JWS that are taken or made here.

use core::fmt;

/// The signature algorithms of RFC 7518 section 3.1 that are taken or made here. `none` and HMAC do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256
    Rs256,
    /// ECDSA on P-256 with SHA-256
    Es256,
    /// ECDSA on P-384 with SHA-384
    Es384,
    /// ECDSA on P-521 with SHA-512; verified, never issued
    Es512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Es256, Self::Es384, Self::Es512];

    /// The `alg` value of RFC 7518.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    /// The algorithm of exactly that `alg` value.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The `kty` and, for elliptic curves, the `crv` of its keys.
    #[must_use]
    pub const fn key_type(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Rs256 => ("RSA", None),
            Self::Es256 => ("EC", Some("P-256")),
            Self::Es384 => ("EC", Some("P-384")),
            Self::Es512 => ("EC", Some("P-521")),
        }
    }

    /// Bytes of a coordinate, and of each half of a signature, for the elliptic curves; 0 for RSA.
    #[must_use]
    pub const fn coordinate_length(self) -> usize {
        match self {
            Self::Rs256 => 0,
            Self::Es256 => 32,
            Self::Es384 => 48,
            Self::Es512 => 66,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
