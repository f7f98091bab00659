//! Our own keys: one document says which key signs, which are published beside it, and when that changes.
//!
//! The document is a JSON keyring, or the PEM of one key; either may be base64 on one line, as a header or a secret file
//! carries it. Worker and replica read the same document and so do the same.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use der::pem;
use zeroize::{Zeroize as _, Zeroizing};

use crate::claims::Claims;
use crate::crypto::{Algorithm, BadSignature, Crypto, Rng, SigningFailed, SigningKey, VerifyingKey};
use crate::http::Serve;
use crate::json::{Json, Object};
use crate::sealed;
use crate::settings::{ConfigError, Section};
use crate::timetable::{self, Phase, Times, Timetable};
use crate::token::IssuedToken;

/// Most bytes of a keyring document.
pub const MAX_DOCUMENT: usize = 64 * 1024;
/// Most keys of a keyring: AWS takes a hundred, and every verifier reads all of them.
pub const MAX_KEYS: usize = 16;

/// Our keys, and when each of them does what.
pub struct Keyring {
    keys: Vec<Key>,
    timetable: Timetable,
}

/// What a document is held to.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Where tokens are served there is a key that signs at every moment; where documents alone are, no key is private
    pub serve: Serve,
    /// How long a key is published before it signs
    pub publish_ahead: Duration,
    /// Seconds since 1970
    pub now: u64,
}

struct Key {
    kid: String,
    public: VerifyingKey,
    signer: Option<Signer>,
}

struct Signer {
    key: SigningKey,
    /// The JOSE header of everything it signs, base64url
    header: String,
}

/// Why no token came out of a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueError {
    /// There is no key that signs.
    NoKey,
    /// The signer failed.
    Failed,
    /// A signature was made that its public key does not verify: the signer cannot be trusted any more.
    Wrong,
}

/// One key of a document.
struct Entry {
    kid: Option<String>,
    half: Half,
    times: Times,
}

/// A key, whole or its public half.
enum Half {
    Private(SigningKey),
    Public(VerifyingKey),
}

impl Keyring {
    /// Parses a document. Where tokens are served, a private key signs at every moment from now on; where documents alone
    /// are, none is private: a public gateway has no business with a private key.
    ///
    /// # Errors
    /// [`ConfigError`] with the path within the document, as `keys[0].private_key`.
    pub fn parse(document: &[u8], terms: &Terms) -> Result<Self, ConfigError> {
        let problem = |text: &str| ConfigError::new("", text);
        if document.len() > MAX_DOCUMENT {
            return Err(problem("more than 64 KiB"));
        }
        let document = Document::read(document).map_err(problem)?;
        let one = |half| Vec::from([Entry { kid: None, half, times: Times::default() }]);
        let entries = match &document {
            Document::Keyring(Secret(json)) => read_entries(json)?,
            Document::Pem(text) => one(Half::from_pem(text).map_err(|why| ConfigError::new("", why))?),
            Document::Der(der) => {
                let key = SigningKey::from_pkcs8_der(der).map_err(|why| ConfigError::new("", why.to_string()))?;
                one(Half::Private(key))
            }
        };
        Self::of(entries, terms)
    }

    fn of(entries: Vec<Entry>, terms: &Terms) -> Result<Self, ConfigError> {
        let mut keys: Vec<Key> = Vec::new();
        let mut times = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let at = |member: &str, problem: &str| ConfigError::new(format!("keys[{index}]{member}"), problem);
            let thumbprint = entry.half.public().thumbprint();
            if keys.iter().any(|key| key.public.thumbprint() == thumbprint) {
                return Err(at("", "is a key that is there already"));
            }
            let kid = entry.kid.unwrap_or(thumbprint);
            if keys.iter().any(|key| key.kid == kid) {
                return Err(at(".kid", "is the kid of an earlier key"));
            }
            let is_private = matches!(entry.half, Half::Private(_));
            if is_private && !terms.serve.tokens {
                return Err(at(".private_key", "has no use where documents alone are served; give its public_key"));
            }
            if entry.times.sign_at.is_some() && !is_private && terms.serve.tokens {
                return Err(at(".sign_at", "has no use without a private_key where tokens are signed"));
            }
            // Where documents alone are served, a key that signs elsewhere has the times that it has there.
            times.push(Times { signs: is_private || entry.times.sign_at.is_some(), ..entry.times });
            keys.push(Key::new(kid, entry.half));
        }
        if terms.serve.tokens && !keys.iter().any(|key| key.signer.is_some()) {
            return Err(ConfigError::new("", "has no private key, and tokens are to be signed"));
        }
        let timetable = Timetable::new(
            &times,
            timetable::Terms {
                publish_ahead: terms.publish_ahead,
                signs_from: terms.serve.tokens.then_some(terms.now),
            },
        )?;
        Ok(Self { keys, timetable })
    }

    /// When keys come, sign and go.
    #[must_use]
    pub const fn timetable(&self) -> &Timetable {
        &self.timetable
    }

    /// The public keys of a phase with their ids, the signing one first.
    pub fn published<'a>(&'a self, phase: &'a Phase) -> impl Iterator<Item = (&'a str, &'a VerifyingKey)> {
        phase.published.iter().filter_map(|place| self.keys.get(*place)).map(|key| (key.kid.as_str(), &key.public))
    }

    /// The public key in a place of the document, with its id.
    #[must_use]
    pub fn key(&self, place: usize) -> Option<(&str, &VerifyingKey)> {
        self.keys.get(place).map(|key| (key.kid.as_str(), &key.public))
    }

    /// The place of the key of that id with this `SubjectPublicKeyInfo`.
    pub(crate) fn place_of(&self, kid: &str, spki: &[u8]) -> Option<usize> {
        self.keys.iter().position(|key| key.kid == kid && key.public.spki_der() == spki)
    }

    /// The key that signs at a time, in seconds since 1970, with its id.
    #[must_use]
    pub fn signing(&self, now: u64) -> Option<(&str, &VerifyingKey)> {
        self.signing_key(now).map(|key| (key.kid.as_str(), &key.public))
    }

    fn signing_key(&self, now: u64) -> Option<&Key> {
        let signing = self.timetable.at(now).and_then(|phase| phase.signing);
        signing.and_then(|place| self.keys.get(place))
    }

    /// Signs and verifies a fixed text with every private key, also with those whose turn has not come.
    ///
    /// # Errors
    /// [`IssueError`] where a pair or the implementation is broken.
    pub fn self_test(&self, crypto: &dyn Crypto, rng: &mut Rng) -> Result<(), IssueError> {
        self.keys
            .iter()
            .filter(|key| key.signer.is_some())
            .try_for_each(|key| key.sign(b"jwt-reissuer self-test", crypto, rng).map(|_| ()))
    }

    /// Signs claims with the key whose turn it is, and checks the signature with the public key before anything leaves: a
    /// fault in one signature can give the key away. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`IssueError`]; then there is no token.
    pub fn issue(
        &self,
        claims: &Claims,
        now: u64,
        crypto: &dyn Crypto,
        rng: &mut Rng,
    ) -> Result<IssuedToken, IssueError> {
        let key = self.signing_key(now).ok_or(IssueError::NoKey)?;
        let header = key.signer.as_ref().map(|signer| signer.header.as_str()).ok_or(IssueError::NoKey)?;
        let claims_text = claims.to_text();
        let base64 = |length: usize| length.div_ceil(3).saturating_mul(4).saturating_add(1);
        let lengths = [header.len(), base64(claims_text.len()), base64(key.public.signature_length())];
        let mut text = String::with_capacity(lengths.into_iter().fold(0, usize::saturating_add));
        text.push_str(header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims_text, &mut text);
        let signature = key.sign(text.as_bytes(), crypto, rng)?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(IssuedToken { text: text.into(), exp: claims.exp() })
    }
}

impl Key {
    fn new(kid: String, half: Half) -> Self {
        let public = half.public().clone();
        let signer = match half {
            Half::Public(_) => None,
            Half::Private(key) => {
                let header = Object::from([
                    ("alg", public.algorithm().name().into()),
                    ("kid", kid.as_str().into()),
                    ("typ", "JWT".into()),
                ]);
                Some(Signer { key, header: URL_SAFE_NO_PAD.encode(header.to_text()) })
            }
        };
        Self { kid, public, signer }
    }

    fn sign(&self, message: &[u8], crypto: &dyn Crypto, rng: &mut Rng) -> Result<Vec<u8>, IssueError> {
        let signer = self.signer.as_ref().ok_or(IssueError::NoKey)?;
        let signature = crypto.sign(&signer.key, message, rng).map_err(|SigningFailed| IssueError::Failed)?;
        crypto.verify(&self.public, message, &signature).map_err(|BadSignature| IssueError::Wrong)?;
        Ok(signature)
    }
}

impl Half {
    const fn public(&self) -> &VerifyingKey {
        match self {
            Self::Private(key) => key.public(),
            Self::Public(key) => key,
        }
    }

    /// One PEM block (RFC 7468): a private key, or the public half of one.
    fn from_pem(text: &[u8]) -> Result<Self, String> {
        let (label, der) = decode_pem(text)?;
        match label.as_str() {
            "PRIVATE KEY" => SigningKey::from_pkcs8_der(&der).map(Self::Private).map_err(|why| why.to_string()),
            "PUBLIC KEY" => VerifyingKey::from_spki_der(&der).map(Self::Public).map_err(|why| why.to_string()),
            "ENCRYPTED PRIVATE KEY" => Err("is an encrypted key; give it unencrypted".to_owned()),
            "RSA PRIVATE KEY" => SigningKey::from_pkcs1_der(&der).map(Self::Private).map_err(|why| why.to_string()),
            "EC PRIVATE KEY" => SigningKey::from_sec1_der(&der).map(Self::Private).map_err(|why| why.to_string()),
            _ => {
                Err(format!("is a PEM of {label}; PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY or PUBLIC KEY is taken"))
            }
        }
    }
}

/// JSON that holds private keys: its texts are wiped when it goes.
struct Secret(Json);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The forms of a document.
enum Document {
    Keyring(Secret),
    Pem(Zeroizing<Vec<u8>>),
    Der(Zeroizing<Vec<u8>>),
}

impl Document {
    fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Err("empty: the secret is not there yet, or the internal listener does not give it");
        }
        Self::read_plain(bytes).unwrap_or_else(|| {
            let plain = decode_base64(bytes).ok_or("neither a JSON keyring, nor a PEM, nor base64 of one")?;
            Self::read_plain(plain.trim_ascii())
                .unwrap_or(Err("base64 of neither a JSON keyring, nor a PEM, nor PKCS#8"))
        })
    }

    fn read_plain(bytes: &[u8]) -> Option<Result<Self, &'static str>> {
        match bytes.first() {
            Some(b'{') => Some(
                Json::parse(bytes).map(|json| Self::Keyring(Secret(json))).map_err(|_| "not a strict JSON keyring"),
            ),
            Some(b'-') => Some(Ok(Self::Pem(Zeroizing::new(bytes.to_vec())))),
            // DER: a SEQUENCE with a long length
            Some(0x30) if bytes.get(1).is_some_and(|length| *length >= 0x81) => {
                Some(Ok(Self::Der(Zeroizing::new(bytes.to_vec()))))
            }
            _ if bytes.starts_with(sealed::PREFIX.as_bytes()) => {
                Some(Err("sealed, and there is no sealing key: give signing_keys.sealing_key"))
            }
            _ => None,
        }
    }
}

fn read_entries(json: &Json) -> Result<Vec<Entry>, ConfigError> {
    let mut section = Section::of("", json)?;
    let keys = section.required("keys")?;
    let entries = keys.list(|key| read_entry(key.section()?))?;
    keys.check(!entries.is_empty(), "must not be empty")?;
    keys.check(entries.len() <= MAX_KEYS, "must not be more than 16")?;
    section.finish()?;
    Ok(entries)
}

fn read_entry(mut section: Section<'_>) -> Result<Entry, ConfigError> {
    let kid = section.optional("kid").map(|kid| kid.text(255).map(ToString::to_string)).transpose()?;
    let mut time = |name| {
        section.optional(name).map(|field| {
            let time = timetable::parse_time(field.string()?);
            time.ok_or_else(|| field.error("must be a time of RFC 3339 in UTC, as 2026-12-01T00:00:00Z"))
        })
    };
    let [publish_at, sign_at, retire_at] = ["publish_at", "sign_at", "retire_at"].map(&mut time);
    let times = Times {
        signs: false,
        publish_at: publish_at.transpose()?,
        sign_at: sign_at.transpose()?,
        retire_at: retire_at.transpose()?,
    };
    let (field, is_private) = match (section.optional("private_key"), section.optional("public_key")) {
        (Some(private), None) => (private, true),
        (None, Some(public)) => (public, false),
        _ => return Err(section.error("takes exactly one of private_key, public_key")),
    };
    let text = field.string()?.trim().as_bytes();
    let decoded;
    let pem = if text.starts_with(b"-") {
        text
    } else {
        decoded = decode_base64(text).ok_or_else(|| field.error("must be a PEM or base64 of one"))?;
        &decoded
    };
    let half = Half::from_pem(pem).map_err(|why| field.error(why))?;
    match (&half, is_private) {
        (Half::Private(_), true) | (Half::Public(_), false) => {}
        (Half::Private(_), false) => return Err(field.error("is a private key")),
        (Half::Public(_), true) => return Err(field.error("is a public key")),
    }
    if let Some(field) = section.optional("algorithm") {
        let is = half.public().algorithm();
        field.check(
            Algorithm::from_name(field.string()?) == Some(is),
            &format!("must be {is}, which the key is one for"),
        )?;
    }
    section.finish()?;
    Ok(Entry { kid, half, times })
}

/// Label and content of a PEM of one key.
fn decode_pem(text: &[u8]) -> Result<(String, Zeroizing<Vec<u8>>), String> {
    // RFC 1421 section 4.6.1.1, as `openssl genrsa -traditional -aes256` writes it
    if text.windows(20).any(|window| window == b"Proc-Type: 4,ENCRYPT") {
        return Err("is an encrypted key; give it unencrypted".to_owned());
    }
    let text = without_ec_parameters(text);
    let blocks = text.windows(10).filter(|window| window == b"-----BEGIN").count();
    if blocks > 1 {
        return Err("holds more than one key".to_owned());
    }
    let (label, der) = pem::decode_vec(text).map_err(|error| format!("is no PEM: {error}"))?;
    Ok((label.to_owned(), Zeroizing::new(der)))
}

/// `openssl ecparam -genkey` writes the curve in a block of its own before the key, which names it too.
fn without_ec_parameters(text: &[u8]) -> &[u8] {
    const END: &[u8] = b"-----END EC PARAMETERS-----";
    if !text.starts_with(b"-----BEGIN EC PARAMETERS-----") {
        return text;
    }
    let end = text.windows(END.len()).position(|window| window == END).map(|start| start.saturating_add(END.len()));
    end.and_then(|end| text.get(end..)).map_or(text, <[u8]>::trim_ascii_start)
}

/// Standard base64, with or without line breaks.
pub fn decode_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // Both with all the room they need: what a growing buffer leaves behind is wiped by nobody.
    let mut packed = Zeroizing::new(Vec::with_capacity(text.len()));
    packed.extend(text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()));
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    STANDARD.decode_vec(&*packed, &mut decoded).ok()?;
    Some(decoded)
}
