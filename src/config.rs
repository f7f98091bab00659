//! The configuration: bytes in, only valid values out.
//!
//! Every member is known, every value usable, every contradiction found here, so that nothing behind this file checks a
//! setting again. An error names the member by its path: `trusted_issuers[0].jwks.path: must begin with /`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use zeroize::Zeroizing;

use crate::claims::{ClaimRule, REGISTERED};
use crate::http::{Routes, Serve};
use crate::issuer::{Issuer, check_host};
use crate::sealed::SealingKeys;
use crate::settings::{Section, Setting};
use crate::sorted::Sorted;
use crate::text::Text;
use crate::trusted_issuer::TrustedIssuer;

pub use crate::settings::{ConfigError, parse_duration};

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
    pub audiences: Vec<Text>,
    /// The longest life of an issued token
    pub ttl: Duration,
    /// The longest subject token, in bytes
    pub max_token_bytes: usize,
    /// How much of a worker's time signatures may take, in percent; at 100 there is no limit
    pub worker_percent: u8,
    /// Whether form bodies are read; the Envoy host can only where `allow_on_headers_stop_iteration` is set
    pub read_forms: bool,
    /// Where our own keys come from
    pub keys_from: KeysFrom,
    /// What they are sealed with, where they are
    pub sealing_keys: Option<SealingKeys>,
    /// How long the documents may be cached
    pub documents_max_age: Duration,
    /// How long a key of ours is published before it signs
    pub publish_ahead: Duration,
    /// Whose tokens are taken
    pub trusted_issuers: Vec<TrustedIssuer>,
    /// What goes into an issued token beside the registered claims
    pub claims: Vec<ClaimRule>,
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
                let audiences = field.list(|audience| Ok(Text::shared(audience.text(255)?.to_string())))?;
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
        let mut worker_percent = 50_u8;
        if let Some(field) = section.optional("limits") {
            let mut limits = field.section()?;
            if let Some(field) = limits.optional("token_bytes") {
                max_token_bytes = field.whole(1024..=65_536)?;
            }
            if let Some(field) = limits.optional("worker_percent") {
                // 100 fits.
                worker_percent = field.whole(1..=100)?.try_into().unwrap_or(worker_percent);
            }
            limits.finish()?;
        }

        let SigningKeys { keys_from, sealing_keys, documents_max_age, publish_ahead } =
            SigningKeys::from_section(section.required("signing_keys")?.section()?, environment)?;

        let trusted_issuers = match section.optional("trusted_issuers") {
            Some(field) => {
                let trusted = field.list(|entry| TrustedIssuer::from_section(entry.section()?, &issuer))?;
                field.check(!trusted.is_empty(), "must not be empty")?;
                for (index, entry) in trusted.iter().enumerate() {
                    let earlier = trusted.get(..index).unwrap_or_default();
                    let at = |member| format!("trusted_issuers[{index}].{member}");
                    if earlier.iter().any(|other| metric_of(&other.name) == metric_of(&entry.name)) {
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
            None => Vec::from(default_claims()),
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
            worker_percent,
            read_forms,
            keys_from,
            sealing_keys,
            documents_max_age,
            publish_ahead,
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

/// `signing_keys`
struct SigningKeys {
    keys_from: KeysFrom,
    sealing_keys: Option<SealingKeys>,
    documents_max_age: Duration,
    publish_ahead: Duration,
}

impl SigningKeys {
    fn from_section(mut section: Section<'_>, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let keys_from = keys_from(section.required("from")?.section()?, environment)?;
        let sealing_keys = section.optional("sealing_key").map(|field| sealing_keys(field.section()?, environment));
        let sealing_keys = sealing_keys.transpose()?;
        let publish_ahead = section.duration(
            "publish_ahead",
            Duration::from_secs(24 * 3600),
            Duration::ZERO..=Duration::from_secs(30 * 86_400),
        )?;
        let documents_max_age = section.duration(
            "documents_max_age",
            Duration::from_secs(300),
            Duration::ZERO..=Duration::from_secs(86_400),
        )?;
        if publish_ahead < documents_max_age {
            return Err(section.error_at("publish_ahead", "must not be shorter than documents_max_age"));
        }
        section.finish()?;
        Ok(Self { keys_from, sealing_keys, documents_max_age, publish_ahead })
    }
}

fn keys_from(mut section: Section<'_>, environment: Environment<'_>) -> Result<KeysFrom, ConfigError> {
    let ways = ["envoy_cluster", "env", "dangerous_inline"].map(|name| section.optional(name));
    let keys_from = match ways {
        [Some(cluster), None, None] => KeysFrom::EnvoyCluster(cluster.text(255)?.to_string()),
        [None, Some(env), None] => {
            let document = variable(&env, environment)?;
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
        _ => return Err(section.error("takes exactly one of envoy_cluster, env, dangerous_inline")),
    };
    section.finish()?;
    Ok(keys_from)
}

/// From the environment alone: beside the configuration it would be read by whoever reads that.
fn sealing_keys(mut section: Section<'_>, environment: Environment<'_>) -> Result<SealingKeys, ConfigError> {
    let env = section.required("env")?;
    let text = Zeroizing::new(variable(&env, environment)?);
    let keys = SealingKeys::parse(&text).map_err(|problem| env.error(problem))?;
    section.finish()?;
    Ok(keys)
}

fn variable(name: &Setting<'_>, environment: Environment<'_>) -> Result<String, ConfigError> {
    environment(name.text(255)?).ok_or_else(|| {
        name.error(
            "no such variable in the VM: name it in vm_config.environment_variables.host_env_keys and set it for Envoy",
        )
    })
}

/// What is copied unless `claims.copy` says otherwise.
const DEFAULT_CLAIM: &str = "kubernetes.io";

fn default_claims() -> [ClaimRule; 1] {
    [ClaimRule::Copy(DEFAULT_CLAIM.to_string())]
}

fn claim_rules(mut section: Section<'_>) -> Result<Vec<ClaimRule>, ConfigError> {
    let mut rules = Sorted::new();
    if section.optional("copy").is_none() {
        for rule in default_claims() {
            rules.insert(DEFAULT_CLAIM.to_string(), rule);
        }
    }
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

/// A name as it is in metrics: to Prometheus a hyphen is an underscore.
fn metric_of(name: &str) -> String {
    name.replace('-', "_")
}

fn has_repeats(list: &[Text]) -> bool {
    list.iter().enumerate().any(|(index, item)| list.get(..index).is_some_and(|earlier| earlier.contains(item)))
}
