//! The configuration: bytes in, only valid values out.
//!
//! Every member is known, every value usable, every contradiction found here, so that nothing behind this file checks a
//! setting again. An error names the member by its path: `trusted_issuers[0].jwks.path: must begin with /`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use zeroize::Zeroizing;

use crate::claims::{ClaimRule, REGISTERED};
use crate::crypto::Algorithm;
use crate::http::Routes;
use crate::jwks::KeySet;
use crate::settings::Section;

/// The longest `ttl`.
pub const MAX_TTL: Duration = Duration::from_secs(12 * 3600);

/// The configuration of one filter: one issuer, its keys, and whom it trusts.
pub struct Config {
    /// What goes into `iss` and the discovery document
    pub issuer: Issuer,
    /// On which hosts which paths are ours
    pub routes: Routes,
    /// What this filter answers
    pub serve: Serve,
    /// What a caller may ask for; the first is given unasked. Empty only where no tokens are served.
    pub audiences: Vec<String>,
    /// The longest life of an issued token
    pub ttl: Duration,
    /// The longest subject token, in bytes
    pub max_token_bytes: usize,
    /// Whether form bodies are read; the Envoy host can only where `allow_on_headers_stop_iteration` is set
    pub read_forms: bool,
    /// Where our own keys come from
    pub keys_from: KeysFrom,
    /// How long the documents may be cached
    pub documents_max_age: Duration,
    /// Whose tokens are taken
    pub trusted_issuers: Vec<TrustedIssuer>,
    /// What goes into an issued token beside the registered claims
    pub claims: Vec<ClaimRule>,
}

/// An issuer identifier (OpenID Connect Discovery section 3): an https URL, or http on a loopback host, without query,
/// fragment, user and trailing slash, in one spelling only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    host: String,
    path: String,
}

/// What a filter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The discovery document and the key set
    pub documents: bool,
    /// The token endpoints
    pub tokens: bool,
}

/// Where our own keys come from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeysFrom {
    /// By callout to this Envoy cluster, again and again, so that they rotate without a restart
    EnvoyCluster(String),
    /// With the configuration, or from the host's environment
    Given {
        /// Path of the member, for errors
        member: &'static str,
        /// The keyring document or PEM
        document: Zeroizing<Vec<u8>>,
    },
}

/// One issuer whose tokens are taken, and how they are judged.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// How logs, metrics and policies call it
    pub name: String,
    /// Exactly the `iss` of its tokens
    pub issuer: String,
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

/// How a key set is fetched and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksFetch {
    /// The Envoy cluster
    pub cluster: String,
    /// The `Host` of the request
    pub authority: String,
    /// Its path
    pub path: String,
    /// After which it has failed
    pub timeout: Duration,
    /// After which the set is fetched again
    pub lifetime: Duration,
    /// After which a set that could not be fetched again is not used any more
    pub stale_limit: Duration,
}

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The member, as `trusted_issuers[0].jwks.path`; empty for the whole
    pub path: String,
    /// What is wrong with it
    pub problem: String,
}

/// The host's environment variables that the module may see.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] naming the first member that is unknown, missing, unusable or in contradiction to another.
    pub fn from_json(text: &[u8], environment: Environment<'_>) -> Result<Self, ConfigError> {
        let json = crate::json::Json::parse(text)
            .map_err(|error| ConfigError::new("", format!("not a JSON configuration: {error}")))?;
        let mut section = Section::of("", &json)?;

        let issuer = section.required("issuer")?;
        let issuer = Issuer::parse(issuer.string()?).map_err(|problem| issuer.error(problem))?;
        let shared_host = section.optional("shared_host").map_or(Ok(false), |field| field.bool())?;
        let extra_hosts = match section.optional("extra_hosts") {
            Some(field) => field.list(|host| check_host(host.string()?).map_err(|problem| host.error(problem)))?,
            None => Vec::new(),
        };
        let serve = match section.optional("serve") {
            Some(field) => Serve::from_names(&field.strings()?).map_err(|problem| field.error(problem))?,
            None => Serve { documents: true, tokens: true },
        };
        let audiences = match section.optional("audiences") {
            Some(field) => {
                let audiences = field.list(|audience| Ok(audience.text(255)?.to_string()))?;
                field.check(!audiences.is_empty(), "must not be empty")?;
                field.check(!has_repeats(&audiences), "names an audience twice")?;
                audiences
            }
            None if serve.tokens => return Err(section.missing("audiences")),
            None => Vec::new(),
        };
        let ttl = section.duration("ttl", Duration::from_secs(6 * 3600), Duration::from_secs(60)..=MAX_TTL)?;
        let read_forms = section.optional("read_forms").map_or(Ok(false), |field| field.bool())?;
        let mut max_token_bytes = 8192;
        if let Some(field) = section.optional("limits") {
            let mut limits = field.section()?;
            if let Some(field) = limits.optional("token_bytes") {
                max_token_bytes = field.whole(1024..=65_536)?;
            }
            limits.finish()?;
        }

        let (keys_from, documents_max_age) = signing_keys(section.required("signing_keys")?.section()?, environment)?;

        let trusted_issuers = match section.optional("trusted_issuers") {
            Some(field) => {
                let trusted = field.list(|entry| TrustedIssuer::from_section(entry.section()?, &issuer))?;
                field.check(!trusted.is_empty(), "must not be empty")?;
                for (index, entry) in trusted.iter().enumerate() {
                    let earlier = trusted.get(..index).unwrap_or_default();
                    let at = |member| format!("trusted_issuers[{index}].{member}");
                    if earlier.iter().any(|other| other.name == entry.name) {
                        return Err(ConfigError::new(at("name"), "is the name of an earlier entry"));
                    }
                    if earlier.iter().any(|other| other.issuer == entry.issuer) {
                        // Their subjects would be the same strings for different workloads.
                        return Err(ConfigError::new(at("issuer"), "is the issuer of an earlier entry"));
                    }
                }
                trusted
            }
            None if serve.tokens => return Err(section.missing("trusted_issuers")),
            None => Vec::new(),
        };
        let claims = match section.optional("claims") {
            Some(field) => claim_rules(field.section()?)?,
            None => Vec::from([ClaimRule::Copy("kubernetes.io".to_string())]),
        };
        section.finish()?;

        let routes = Routes::new(&issuer, &extra_hosts, shared_host, serve);
        Ok(Self {
            issuer,
            routes,
            serve,
            audiences,
            ttl,
            max_token_bytes,
            read_forms,
            keys_from,
            documents_max_age,
            trusted_issuers,
            claims,
        })
    }

    /// The trusted issuer of exactly this `iss`, with its place in the configuration.
    #[must_use]
    pub fn trusted_issuer(&self, iss: &str) -> Option<(usize, &TrustedIssuer)> {
        self.trusted_issuers.iter().enumerate().find(|(_, trusted)| trusted.issuer == iss)
    }
}

impl Issuer {
    /// Checks an issuer identifier; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > 255 {
            return Err("must not be longer than 255 characters");
        }
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("must be an https URL"),
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, after)) => {
                if !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
                    return Err("has a host that is no IPv6 address");
                }
                let host = authority.get(..address.len().saturating_add(2)).unwrap_or_default();
                (host, after.strip_prefix(':').or(if after.is_empty() { None } else { Some("x") }))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (check_host(host).map(|_| host)?, Some(port)),
                None => (check_host(authority).map(|_| authority)?, None),
            },
        };
        if let Some(port) = port
            && (port.is_empty() || port.starts_with('0') || port.parse::<u16>().is_err() || port.starts_with('+'))
        {
            return Err("has a port that is none");
        }
        let loopback = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
        if !https && !loopback {
            return Err("must be an https URL; http is for a loopback host alone");
        }
        if text.contains(['?', '#']) {
            return Err("must have no query and no fragment");
        }
        if path.ends_with('/') {
            return Err("must not end with a slash");
        }
        for segment in path.split('/').skip(1) {
            if segment.is_empty() || segment == "." || segment == ".." {
                return Err("must have no empty, . or .. segment in its path");
            }
            if !segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
                return Err("may have letters, digits and -._~ in its path, nothing else");
            }
        }
        Ok(Self { text: text.to_string(), host: host.to_string(), path: path.to_string() })
    }

    /// As configured: exactly what goes into `iss`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its path: empty, or beginning with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Serve {
    fn from_names(names: &[&str]) -> Result<Self, &'static str> {
        let mut serve = Self { documents: false, tokens: false };
        for name in names {
            let part = match *name {
                "documents" => &mut serve.documents,
                "tokens" => &mut serve.tokens,
                _ => return Err("takes \"documents\" and \"tokens\""),
            };
            if core::mem::replace(part, true) {
                return Err("names one twice");
            }
        }
        if names.is_empty() { Err("must not be empty") } else { Ok(serve) }
    }
}

impl TrustedIssuer {
    fn from_section(mut section: Section<'_>, ours: &Issuer) -> Result<Self, ConfigError> {
        let name = section.required("name")?;
        let plain = name.string()?.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        name.check(plain && !name.string()?.is_empty(), "may have letters, digits, - and _, and must not be empty")?;
        let name = name.text(63)?.to_string();

        let issuer = section.required("issuer")?;
        issuer.check(issuer.string()? != ours.as_str(), "is our own issuer: we do not take what we issued")?;
        let issuer = issuer.text(255)?.to_string();

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
        let jwks = JwksFrom::from_section(section.required("jwks")?.section()?)?;
        section.finish()?;
        Ok(Self { name, issuer, audiences, algorithms, max_token_age, leeway, jwks })
    }
}

impl JwksFrom {
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

fn signing_keys(mut section: Section<'_>, environment: Environment<'_>) -> Result<(KeysFrom, Duration), ConfigError> {
    let mut from = section.required("from")?.section()?;
    let ways = ["envoy_cluster", "env", "dangerous_inline"].map(|name| from.optional(name));
    let keys_from = match ways {
        [Some(cluster), None, None] => KeysFrom::EnvoyCluster(cluster.text(255)?.to_string()),
        [None, Some(env), None] => {
            let document = environment(env.text(255)?).ok_or_else(|| {
                env.error("no such variable in the VM: name it in vm_config.environment_variables.host_env_keys and set it for Envoy")
            })?;
            KeysFrom::Given { member: "signing_keys.from.env", document: Zeroizing::new(document.into_bytes()) }
        }
        [None, None, Some(inline)] => {
            let document = match inline.value().as_str() {
                Some(text) => text.to_string(),
                None => inline.section()?.to_text(),
            };
            KeysFrom::Given {
                member: "signing_keys.from.dangerous_inline",
                document: Zeroizing::new(document.into_bytes()),
            }
        }
        _ => return Err(from.error("takes exactly one of envoy_cluster, env, dangerous_inline")),
    };
    from.finish()?;
    // How long before its first signature a key must be published. The timetable of a keyring is held against it.
    let publish_ahead = section.duration(
        "publish_ahead",
        Duration::from_secs(24 * 3600),
        Duration::ZERO..=Duration::from_secs(30 * 86_400),
    )?;
    let max_age = section.duration(
        "documents_max_age",
        Duration::from_secs(300),
        Duration::ZERO..=Duration::from_secs(86_400),
    )?;
    if publish_ahead < max_age {
        return Err(section.error_at("publish_ahead", "must not be shorter than documents_max_age"));
    }
    section.finish()?;
    Ok((keys_from, max_age))
}

fn claim_rules(mut section: Section<'_>) -> Result<Vec<ClaimRule>, ConfigError> {
    let mut rules = BTreeMap::new();
    if let Some(field) = section.optional("copy") {
        for claim in field.list(|claim| {
            let name = claim.text(255)?;
            claim.check(!REGISTERED.contains(&name), "is always written by us")?;
            claim.check(!name.starts_with("https://aws.amazon.com/"), "may not be set by another issuer's token")?;
            Ok(name.to_string())
        })? {
            let repeated = rules.insert(claim.clone(), ClaimRule::Copy(claim)).is_some();
            field.check(!repeated, "names a claim twice")?;
        }
    }
    if let Some(field) = section.optional("set") {
        for (name, value) in field.members()? {
            let at = |problem: &str| ConfigError::new(format!("claims.set[{name:?}]"), problem);
            if REGISTERED.contains(&name) {
                return Err(at("is always written by us"));
            }
            let rule = ClaimRule::Set(name.to_string(), value.clone());
            if rules.insert(name.to_string(), rule).is_some() {
                return Err(at("is copied as well"));
            }
        }
    }
    section.finish()?;
    Ok(rules.into_values().collect())
}

/// A DNS name or IPv4 address in lower case, without port.
fn check_host(host: &str) -> Result<String, &'static str> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.is_empty() || host.len() > 253 || !host.split('.').all(label) {
        return Err("must have a host name in lower case, without port");
    }
    Ok(host.to_string())
}

fn has_repeats(list: &[String]) -> bool {
    list.iter().enumerate().any(|(index, item)| list.get(..index).is_some_and(|earlier| earlier.contains(item)))
}

impl ConfigError {
    /// An error at a member.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.problem) } else { write!(f, "{}: {}", self.path, self.problem) }
    }
}

impl core::error::Error for ConfigError {}
