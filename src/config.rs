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
use crate::settings::Section;
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
    /// Whether tokens are given over connections without TLS: set so, or our issuer is http on a loopback host
    pub allow_plain_http: bool,
    /// Whether form bodies are read; the Envoy host can only where `allow_on_headers_stop_iteration` is set
    pub read_forms: bool,
    /// Where our own keys come from
    pub keys_from: KeysFrom,
    /// The sealing keys, where ours are sealed
    pub sealing: Option<Sealing>,
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
#[derive(Clone)]
pub enum KeysFrom {
    /// By callout to this Envoy cluster, again and again, so that they rotate without a restart
    EnvoyCluster(String),
    /// From the host's environment, as it was when the configuration was read
    Environment {
        /// Name of the variable
        variable: String,
        /// Its value: a keyring document or PEM; `None` if the VM has no such variable
        document: Option<Zeroizing<Vec<u8>>>,
    },
    /// From the configuration itself: a keyring document or PEM
    Inline(Zeroizing<Vec<u8>>),
}

/// The keys that our keyring is sealed with, from the host's environment.
#[derive(Clone)]
pub struct Sealing {
    /// The keys, or what is wrong with the variable. That is no fault of the configuration, so it is not refused for it: a gateway
    /// that restarts without the variable must still serve everybody else.
    pub keys: Result<SealingKeys, String>,
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
        let allow_plain_http = section.optional("allow_plain_http").map_or(Ok(false), |field| field.bool())?;
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

        let SigningKeys { keys_from, sealing, documents_max_age, publish_ahead } =
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
                    for (place, other) in earlier.iter().enumerate() {
                        let (member, problem) = match (entry.jwks.has_the_keys_of(&other.jwks), other) {
                            (true, other) if other.issuer == entry.issuer => {
                                ("issuer", format!("is the issuer of trusted_issuers[{place}], with the same keys"))
                            }
                            (false, other) if other.subject_prefix == entry.subject_prefix => (
                                "subject_prefix",
                                format!(
                                    "must differ from that of trusted_issuers[{place}] ({}): {SAME_SUBJECTS}",
                                    other.name
                                ),
                            ),
                            _ => continue,
                        };
                        return Err(ConfigError::new(at(member), problem));
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

        let issuer_is_http = issuer.as_str().starts_with("http://");
        let routes = Routes::new(&issuer, &extra_hosts, shared_host, serve);
        Ok(Self {
            issuer,
            routes,
            serve,
            audiences,
            ttl,
            max_token_bytes,
            worker_percent,
            allow_plain_http: allow_plain_http || issuer_is_http,
            read_forms,
            keys_from,
            sealing,
            documents_max_age,
            publish_ahead,
            trusted_issuers,
            claims,
        })
    }

    /// The trusted issuers with the `iss` of the one in that place, without that one. Several clusters may have one `iss`.
    pub(crate) fn namesakes(&self, place: usize) -> impl Iterator<Item = usize> {
        let iss = self.trusted_issuers.get(place).map(|issuer| &issuer.issuer);
        let others = self.trusted_issuers.iter().enumerate().filter(move |(other, _)| *other != place);
        others.filter(move |(_, other)| Some(&other.issuer) == iss).map(|(other, _)| other)
    }
}

/// `signing_keys`
struct SigningKeys {
    keys_from: KeysFrom,
    sealing: Option<Sealing>,
    documents_max_age: Duration,
    publish_ahead: Duration,
}

impl SigningKeys {
    fn from_section(mut section: Section<'_>, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let keys_from = keys_from(section.required("from")?.section()?, environment)?;
        let sealing =
            section.optional("sealing_key").map(|field| sealing(field.section()?, environment)).transpose()?;
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
        Ok(Self { keys_from, sealing, documents_max_age, publish_ahead })
    }
}

fn keys_from(mut section: Section<'_>, environment: Environment<'_>) -> Result<KeysFrom, ConfigError> {
    let ways = ["envoy_cluster", "env", "dangerous_inline"].map(|name| section.optional(name));
    let keys_from = match ways {
        [Some(cluster), None, None] => KeysFrom::EnvoyCluster(cluster.text(255)?.to_string()),
        [None, Some(env), None] => {
            let variable = env.text(255)?;
            let document = environment(variable).map(|document| Zeroizing::new(document.into_bytes()));
            KeysFrom::Environment { variable: variable.to_string(), document }
        }
        [None, None, Some(inline)] => {
            let document = match inline.value().as_str() {
                Some(text) => text.to_string(),
                None => inline.section()?.to_text(),
            };
            KeysFrom::Inline(Zeroizing::new(document.into_bytes()))
        }
        _ => return Err(section.error("takes exactly one of envoy_cluster, env, dangerous_inline")),
    };
    section.finish()?;
    Ok(keys_from)
}

/// From the environment alone: beside the configuration it would be read by whoever reads that.
fn sealing(mut section: Section<'_>, environment: Environment<'_>) -> Result<Sealing, ConfigError> {
    let env = section.required("env")?;
    let variable = env.text(255)?;
    let keys = match environment(variable).map(Zeroizing::new) {
        Some(text) => SealingKeys::parse(&text).map_err(ToString::to_string),
        None => Err(NO_SUCH_VARIABLE.to_string()),
    };
    let keys = keys.map_err(|problem| format!("signing_keys.sealing_key.env: {variable} {problem}"));
    section.finish()?;
    Ok(Sealing { keys })
}

/// A variable that the VM does not have.
pub(crate) const NO_SUCH_VARIABLE: &str =
    "is not set in the VM: name it in vm_config.environment_variables.host_env_keys and set it for Envoy";

/// Why two clusters need different prefixes.
const SAME_SUBJECTS: &str = "the service accounts of two clusters have the same names, so one cluster could act as the other; \
     give each cluster a subject_prefix of its own, such as \"prod:\"";

/// The authorized party (OpenID Connect Core section 2).
const AUTHORIZED_PARTY: &str = "azp";
const AUTHORIZED_PARTY_COUNTS: &str =
    "may not be in an issued token: AWS compares azp in place of aud where there is one";

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
            claim.check(name != AUTHORIZED_PARTY, AUTHORIZED_PARTY_COUNTS)?;
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
            if name == AUTHORIZED_PARTY {
                return Err(at(AUTHORIZED_PARTY_COUNTS));
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
