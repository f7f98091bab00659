//! Our issuer identifier: what goes into `iss`, and whose host and path decide which requests are ours.

use alloc::string::{String, ToString};

use crate::text::Text;

/// An issuer identifier (OpenID Connect Discovery section 3): an https URL, or http on a loopback host, without query,
/// fragment, user and trailing slash, in one spelling only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    text: Text,
    host: String,
    path: String,
}

impl Issuer {
    /// Checks an issuer identifier; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > 255 {
            return Err("must not be longer than 255 characters");
        }
        if text.contains(['?', '#']) {
            return Err("must have no query and no fragment");
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
                Some((host, port)) => (issuer_host(host)?, Some(port)),
                None => (issuer_host(authority)?, None),
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
        Ok(Self { text: Text::shared(text.to_string()), host: host.to_string(), path: path.to_string() })
    }

    /// As configured: exactly what goes into `iss`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same, to be handed on.
    #[must_use]
    pub const fn as_text(&self) -> &Text {
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

fn issuer_host(host: &str) -> Result<&str, &'static str> {
    check_host(host).map(|_| host).map_err(|_| "must have a host name in lower case")
}

/// A DNS name or IPv4 address in lower case, without port.
pub(crate) fn check_host(host: &str) -> Result<String, &'static str> {
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
