//! Whose tokens are taken, how they are judged, and where the keys for that come from.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::crypto::Algorithm;
use crate::issuer::Issuer;
use crate::jwks::{JwksFetch, KeySet};
use crate::settings::{ConfigError, Section};
use crate::text::Text;

/// One issuer whose tokens are taken, and how they are judged.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// How logs, metrics and policies call it
    pub name: Text,
    /// Exactly the `iss` of its tokens
    pub issuer: String,
    /// Stands before `sub` in what is issued for its tokens; empty where it is the only cluster
    pub subject_prefix: String,
    /// `aud` must hold one of these
    pub audiences: Vec<String>,
    /// `alg` must be one of these
    pub algorithms: Vec<Algorithm>,
    /// A token issued longer ago is refused
    pub max_token_age: Duration,
    /// For `nbf` and `iat`; `exp` has none
    pub leeway: Duration,
    /// Where its keys come from
    pub jwks: JwksFrom,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum JwksFrom {
    /// By callout
    EnvoyCluster(JwksFetch),
    /// With the configuration; they never change
    Inline(KeySet),
}

impl TrustedIssuer {
    /// Reads one entry of `trusted_issuers`.
    pub(crate) fn from_section(mut section: Section<'_>, ours: &Issuer) -> Result<Self, ConfigError> {
        let name = section.required("name")?;
        let plain = name.string()?.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        name.check(plain && !name.string()?.is_empty(), "may have letters, digits, - and _, and must not be empty")?;
        let name = Text::shared(name.text(63)?.to_string());

        let issuer = section.required("issuer")?;
        issuer.check(issuer.string()? != ours.as_str(), "is our own issuer: we do not take what we issued")?;
        let issuer = issuer.text(255)?.to_string();

        let subject_prefix = match section.optional("subject_prefix") {
            Some(prefix) => {
                let text = prefix.text(64)?;
                let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte));
                prefix.check(plain, "may have letters, digits and -._:/")?;
                // A pattern for the service accounts of one cluster must not match those of another.
                prefix
                    .check(!text.starts_with("system:"), "must not begin with system:, as subjects of Kubernetes do")?;
                text.to_string()
            }
            None => String::new(),
        };

        let audiences = section.required("audiences")?;
        let list = audiences.list(|audience| Ok(audience.text(255)?.to_string()))?;
        audiences.check(!list.is_empty(), "must not be empty: a token made for somebody else would be taken")?;
        let audiences = list;

        let algorithms = match section.optional("algorithms") {
            Some(field) => {
                let list = field.list(|name| {
                    Algorithm::from_name(name.string()?)
                        .ok_or_else(|| name.error("must be one of RS256, ES256, ES384, ES512"))
                })?;
                field.check(!list.is_empty(), "must not be empty")?;
                list
            }
            None => Algorithm::ALL.to_vec(),
        };
        let days = |days: u64| Duration::from_secs(days.saturating_mul(86_400));
        let max_token_age =
            section.duration("max_token_age", Duration::from_secs(36 * 3600), Duration::from_secs(60)..=days(400))?;
        let leeway = section.duration("leeway", Duration::from_secs(30), Duration::ZERO..=Duration::from_secs(300))?;
        let jwks = section.required("jwks")?;
        let at = jwks.error("");
        let jwks = JwksFrom::from_section(jwks.section()?)?;
        if let JwksFrom::Inline(keys) = &jwks
            && !keys.has_key_for(&algorithms)
        {
            return Err(ConfigError::new(at.path, "has no usable key of an algorithm that this issuer may use"));
        }
        section.finish()?;
        Ok(Self { name, issuer, subject_prefix, audiences, algorithms, max_token_age, leeway, jwks })
    }
}

impl JwksFrom {
    /// How long keys are used that could not be fetched again.
    pub(crate) fn usable_for(&self) -> Duration {
        match self {
            Self::EnvoyCluster(fetch) => fetch.stale_limit.max(fetch.lifetime),
            Self::Inline(_) => Duration::MAX,
        }
    }

    /// Whether both read one cluster's keys: the same document, or equal key sets in the configuration.
    pub(crate) fn has_the_keys_of(&self, other: &Self) -> bool {
        match other {
            Self::EnvoyCluster(fetch) => self.is_from(fetch),
            Self::Inline(keys) => matches!(self, Self::Inline(own) if own.is_equal(keys)),
        }
    }

    /// Whether it is the same document: by the same cluster, of the same host and path.
    pub(crate) fn is_from(&self, place: &JwksFetch) -> bool {
        let is = |fetch: &JwksFetch| {
            (&fetch.cluster, &fetch.authority, &fetch.path) == (&place.cluster, &place.authority, &place.path)
        };
        matches!(self, Self::EnvoyCluster(fetch) if is(fetch))
    }

    fn from_section(mut section: Section<'_>) -> Result<Self, ConfigError> {
        if let Some(field) = section.optional("inline") {
            let keys = KeySet::from_json(field.value()).map_err(|problem| field.error(problem))?;
            field.check(keys.refused().is_empty(), "holds a key that is not usable")?;
            section.finish()?;
            return Ok(Self::Inline(keys));
        }
        let seconds = Duration::from_secs;
        let fetch = JwksFetch {
            cluster: section.required("envoy_cluster")?.text(255)?.to_string(),
            authority: section.required("authority")?.text(255)?.to_string(),
            path: match section.optional("path") {
                Some(field) => {
                    field.check(field.string()?.starts_with('/'), "must begin with /")?;
                    field.text(1024)?.to_string()
                }
                None => "/openid/v1/jwks".to_string(),
            },
            timeout: section.duration("timeout", seconds(2), seconds(1)..=seconds(30))?,
            lifetime: section.duration("lifetime", seconds(300), seconds(60)..=seconds(3600))?,
            stale_limit: section.duration("stale_limit", seconds(6 * 3600), Duration::ZERO..=seconds(24 * 3600))?,
        };
        section.finish()?;
        Ok(Self::EnvoyCluster(fetch))
    }
}
