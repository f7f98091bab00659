//! Key pairs that are the same in every run, so that a finding can be played again. None of them is written down: they
//! are drawn from a fixed seed, and nobody could take one for a key to use.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20::rand_core::{Rng as _, SeedableRng as _};
use jwt_reissuer::crypto::{Crypto, Rng, SigningKey, SoftwareCrypto};
use pkcs8::EncodePrivateKey as _;

/// A pair, and its PEM.
pub struct Pair {
    pub key: SigningKey,
    pub pem: String,
}

impl Pair {
    /// An ES256 pair, quick to sign with.
    pub fn es256(seed: u8) -> Self {
        let mut scalar = [0; 32];
        Rng::from_seed([seed; 32]).fill_bytes(&mut scalar);
        Self::of(&p256::SecretKey::from_slice(&scalar).unwrap().to_pkcs8_pem(Default::default()).unwrap())
    }

    /// An RS256 pair; making it takes a while.
    pub fn rs256(seed: u8) -> Self {
        let key = rsa::PrivateKey::new(&mut Rng::from_seed([seed; 32]), 2048).unwrap();
        Self::of(&key.to_pkcs8_pem(Default::default()).unwrap())
    }

    fn of(pem: &str) -> Self {
        let (_, der) = pkcs8::der::pem::decode_vec(pem.as_bytes()).unwrap();
        Self { key: SigningKey::from_pkcs8_der(&der).unwrap(), pem: pem.to_string() }
    }

    /// Signs whatever header and claims are given, as no honest issuer would.
    pub fn sign(&self, header: &[u8], claims: &[u8]) -> String {
        self.sign_by(&SoftwareCrypto, header, claims)
    }

    /// The same by another implementation.
    pub fn sign_by(&self, crypto: &dyn Crypto, header: &[u8], claims: &[u8]) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = crypto.sign(&self.key, input.as_bytes(), &mut Rng::from_seed([0; 32])).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The JWKS that holds its public half alone.
    pub fn jwks(&self, kid: &str) -> String {
        format!("{{\"keys\":[{}]}}", self.key.public().to_jwk(kid).to_text())
    }
}

/// The same with a signature that is none.
pub fn unsigned(header: &[u8], claims: &[u8]) -> String {
    let zero = [0; 64];
    [header, claims, &zero].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// The API server's ES256 pair.
pub fn api_server() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| Pair::es256(1))
}

/// The API server's RS256 pair.
pub fn api_server_rsa() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| Pair::rs256(2))
}

/// Our own pair.
pub fn ours() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| Pair::es256(3))
}

/// The pair that ours is replaced by.
pub fn ours_next() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| Pair::es256(4))
}
