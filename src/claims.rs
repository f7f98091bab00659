//! What of a subject token goes into the token that we issue.

use alloc::string::String;

use chacha20::rand_core::Rng as _;

use crate::crypto::Rng;
use crate::json::{Json, Object};
use crate::text::Text;
use crate::token::SubjectToken;

/// The registered claims (RFC 7519 section 4.1). They are always written by us, last.
pub const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// One rule of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimRule {
    /// Copies a claim of the subject token, where it has it.
    Copy(String),
    /// Writes a claim with a value of the configuration.
    Set(String, Json),
}

/// What a subject was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The one audience of the issued token
    pub audience: Text,
    /// `sub` of the issued token: the subject token's, after the prefix of its cluster
    pub sub: Text,
    /// When it expires, Unix seconds: never after the subject token
    pub exp: u64,
}

/// The claims of a token that is about to be signed. Only [`Claims::of`] makes them, and only from a verified token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    members: Object,
    exp: u64,
    jti: Text,
}

impl Claims {
    /// Applies the rules to a subject token and writes the registered claims over whatever they gave.
    #[must_use]
    pub fn of(subject: &SubjectToken, rules: &[ClaimRule], issuer: &Text, grant: &Grant, now: u64, jti: Text) -> Self {
        let mut members = Object::with_capacity(rules.len().saturating_add(REGISTERED.len()));
        for rule in rules {
            match rule {
                ClaimRule::Copy(name) => {
                    if let Some((name, value)) = subject.member(name) {
                        members.set(name.clone(), value.clone());
                    }
                }
                ClaimRule::Set(name, value) => members.set(name.as_str(), value.clone()),
            }
        }
        let mut set = |name, value| members.set(Text::fixed(name), value);
        set("iss", issuer.clone().into());
        set("sub", grant.sub.clone().into());
        set("aud", grant.audience.clone().into());
        set("exp", grant.exp.into());
        set("nbf", now.into());
        set("iat", now.into());
        set("jti", jti.clone().into());
        Self { members, exp: grant.exp, jti }
    }

    /// As JSON text.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.members.to_text()
    }

    /// `exp`, Unix seconds.
    #[must_use]
    pub const fn exp(&self) -> u64 {
        self.exp
    }

    /// `jti`.
    #[must_use]
    pub const fn jti(&self) -> &Text {
        &self.jti
    }
}

/// A `jti`: a version 4 UUID (RFC 9562 section 5.4): 122 random bits.
pub(crate) fn random_jti(rng: &mut Rng) -> Text {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    let random = u128::from_be_bytes(bytes);
    let version_and_variant: u128 = 0x0000_0000_0000_4000_8000_0000_0000_0000;
    let random = random & !0x0000_0000_0000_F000_C000_0000_0000_0000 | version_and_variant;
    let mut text = String::with_capacity(36);
    for place in 0..32_u32 {
        if matches!(place, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        let digit = random >> 124_u32.saturating_sub(place.saturating_mul(4)) & 0xf;
        text.push(char::from_digit(u32::try_from(digit).unwrap_or_default(), 16).unwrap_or_default());
    }
    Text::shared(text)
}
