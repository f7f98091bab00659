//! Envoy's own crypto, BoringSSL, as the [`Crypto`] of the core, and the core's where Envoy has none.
//!
//! Envoy verifies for a filter since 1.30 and signs since 1.37, by the foreign functions `verify_signature` and `sign`. What it
//! can do is found out once for a VM, for each algorithm by itself: it has to verify a signature that is good, refuse one that
//! is not, and sign what then verifies. What it cannot do, the core does, in software.

use std::cell::OnceCell;

use jwt_reissuer::crypto::{
    Algorithm, BadSignature, Crypto, Rng, SigningFailed, SigningKey, SoftwareCrypto, VerifyingKey,
};

use zeroize::Zeroizing;

use crate::{ecdsa, hostcalls, protobuf};

/// The environment variable by which an operator does without Envoy's crypto.
pub(crate) const VARIABLE: &str = "REISSUER_CRYPTO";

thread_local! {
    // A VM has one thread.
    static PROBED: OnceCell<HostCrypto> = const { OnceCell::new() };
}

/// The crypto that the value of [`VARIABLE`] asks for, and whether that value is unknown. An unknown one asks for nothing.
pub(crate) fn chosen(variable: Option<&str>) -> (HostCrypto, bool) {
    let probed = || PROBED.with(|probed| probed.get_or_init(HostCrypto::probe).clone());
    match variable {
        None => (probed(), false),
        Some("software") => (HostCrypto::default(), false),
        Some(_) => (probed(), true),
    }
}

/// What Envoy does, and software for the rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostCrypto {
    signs: Vec<Algorithm>,
    verifies: Vec<Algorithm>,
    /// What Envoy says of a signature that is not good
    refusal: Vec<u8>,
}

/// A key pair of an RFC and a signature of it. Its private half is published, and no keyring takes it.
struct KnownAnswer {
    algorithm: Algorithm,
    /// `None` where we never sign
    pkcs8: Option<&'static [u8]>,
    spki: &'static [u8],
    message: &'static [u8],
    /// As BoringSSL has it
    signature: &'static [u8],
}

/// RFC 7515 appendix A.2, RFC 6979 appendices A.2.5 to A.2.7.
const KNOWN_ANSWERS: [KnownAnswer; 4] = [
    KnownAnswer {
        algorithm: Algorithm::Rs256,
        pkcs8: Some(include_bytes!("known_answers/rs256.pkcs8")),
        spki: include_bytes!("known_answers/rs256.spki"),
        message: include_bytes!("known_answers/rs256.message"),
        signature: include_bytes!("known_answers/rs256.signature"),
    },
    KnownAnswer {
        algorithm: Algorithm::Es256,
        pkcs8: Some(include_bytes!("known_answers/es256.pkcs8")),
        spki: include_bytes!("known_answers/es256.spki"),
        message: b"sample",
        signature: include_bytes!("known_answers/es256.signature"),
    },
    KnownAnswer {
        algorithm: Algorithm::Es384,
        pkcs8: Some(include_bytes!("known_answers/es384.pkcs8")),
        spki: include_bytes!("known_answers/es384.spki"),
        message: b"sample",
        signature: include_bytes!("known_answers/es384.signature"),
    },
    KnownAnswer {
        algorithm: Algorithm::Es512,
        pkcs8: None,
        spki: include_bytes!("known_answers/es512.spki"),
        message: b"sample",
        signature: include_bytes!("known_answers/es512.signature"),
    },
];

impl HostCrypto {
    /// Finds out what Envoy can do.
    fn probe() -> Self {
        let mut found = Self::default();
        for answer in &KNOWN_ANSWERS {
            let verify = |message, signature: &[u8]| verify(answer.algorithm, answer.spki, message, signature);
            if !matches!(verify(answer.message, answer.signature), Ok(Verdict::Good)) {
                continue;
            }
            let mut changed = answer.signature.to_vec();
            if let Some(last) = changed.last_mut() {
                *last ^= 1;
            }
            let (Ok(Verdict::Refused(refusal)), Ok(Verdict::Refused(other))) =
                (verify(answer.message, &changed), verify(b"another", answer.signature))
            else {
                continue;
            };
            // Of another text than for other algorithms nothing could be told from it.
            if refusal != other || (!found.refusal.is_empty() && found.refusal != refusal) {
                continue;
            }
            found.refusal = refusal;
            found.verifies.push(answer.algorithm);

            let Some(signature) = answer.pkcs8.and_then(|key| sign(answer.algorithm, key, answer.message)) else {
                continue;
            };
            let is_right = match answer.algorithm {
                // RSASSA-PKCS1-v1_5 makes one signature of one message.
                Algorithm::Rs256 => signature == answer.signature,
                _ => matches!(verify(answer.message, &signature), Ok(Verdict::Good)),
            };
            if is_right {
                found.signs.push(answer.algorithm);
            }
        }
        found
    }

    /// Whether Envoy makes the signatures of every algorithm that we sign with.
    pub(crate) fn host_signs(&self) -> bool {
        KNOWN_ANSWERS
            .iter()
            .filter(|answer| answer.pkcs8.is_some())
            .all(|answer| self.signs.contains(&answer.algorithm))
    }

    /// Whether Envoy verifies the signatures of every algorithm that we take.
    pub(crate) fn host_verifies(&self) -> bool {
        KNOWN_ANSWERS.iter().all(|answer| self.verifies.contains(&answer.algorithm))
    }

    /// For the log.
    pub(crate) fn describe(&self) -> String {
        let names = |algorithms: &[Algorithm]| match algorithms {
            [] => "nothing".to_owned(),
            _ => algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", "),
        };
        format!(
            "jwt-reissuer: signatures: Envoy signs {} and verifies {}; software does the rest",
            names(&self.signs),
            names(&self.verifies),
        )
    }
}

impl Crypto for HostCrypto {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let algorithm = key.algorithm();
        if !self.verifies.contains(&algorithm) {
            return SoftwareCrypto.verify(key, message, signature);
        }
        let converted;
        let form = if algorithm == Algorithm::Rs256 {
            signature
        } else {
            converted = ecdsa::to_der(signature, algorithm.coordinate_length()).ok_or(BadSignature)?;
            &converted
        };
        match verify(algorithm, key.spki_der(), message, form) {
            Ok(Verdict::Good) => Ok(()),
            Ok(Verdict::Refused(why)) if why == self.refusal => Err(BadSignature),
            // Refused for another reason, as a key that it cannot read: that says nothing of the signature.
            Ok(Verdict::Refused(_)) | Err(NoAnswer) => SoftwareCrypto.verify(key, message, signature),
        }
    }

    fn sign(&self, key: &SigningKey, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, SigningFailed> {
        let algorithm = key.public().algorithm();
        let made = self.signs.contains(&algorithm).then(|| sign(algorithm, key.pkcs8_der(), message)).flatten();
        let signature = match algorithm {
            Algorithm::Rs256 => made,
            _ => made.and_then(|made| ecdsa::from_der(&made, algorithm.coordinate_length())),
        };
        signature.map_or_else(|| SoftwareCrypto.sign(key, message, rng), Ok)
    }
}

/// What Envoy says of a signature.
enum Verdict {
    Good,
    Refused(Vec<u8>),
}

/// Envoy has no such function, or says nothing that can be read.
struct NoAnswer;

fn verify(algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> Result<Verdict, NoAnswer> {
    // VerifySignatureArguments, VerifySignatureResult
    let arguments = protobuf::message(&[(1, hash_of(algorithm)), (2, spki), (3, signature), (4, message)]);
    let result = hostcalls::call_foreign_function("verify_signature", &arguments).map_err(|_| NoAnswer)?;
    match protobuf::result(&result).ok_or(NoAnswer)? {
        (true, _) => Ok(Verdict::Good),
        (false, [error, _]) => Ok(Verdict::Refused(error.to_vec())),
    }
}

fn sign(algorithm: Algorithm, pkcs8: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    // SignArguments, SignResult
    let arguments = Zeroizing::new(protobuf::message(&[(1, hash_of(algorithm)), (2, pkcs8), (3, message)]));
    let result = hostcalls::call_foreign_function("sign", &arguments).ok()?;
    match protobuf::result(&result)? {
        (true, [signature, _]) => Some(signature.to_vec()),
        (false, _) => None,
    }
}

const fn hash_of(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Es256 => b"sha256",
        Algorithm::Es384 => b"sha384",
        Algorithm::Es512 => b"sha512",
    }
}
