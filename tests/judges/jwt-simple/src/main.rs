//! An independent verifier of what is issued: `judge ISSUER AUDIENCE [DISCOVERY JWKS] < token`.
//!
//! Reads the issuer's discovery document and key set as any relying party would, and checks the token with jwt-simple,
//! which shares no parser and no claim check with the project. Prints the claims, or says why not and fails. Speaks no TLS:
//! for an https issuer the two documents are given as files.
//!
//! `judge many ISSUER AUDIENCE JWKS NOW LEEWAY < tokens` says what jwt-simple makes of many tokens, each in a line of its own
//! in base64, at that second: `yes`, or why not, in a line for each.
#![allow(missing_docs, reason = "a program")]

use std::collections::HashSet;
use std::error::Error;
use std::io::{BufRead as _, Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jwt_simple::prelude::*;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [issuer, audience] => one(issuer, audience, None),
        [issuer, audience, discovery, jwks] => one(issuer, audience, Some((discovery, jwks))),
        ["many", issuer, audience, jwks, now, leeway] => {
            many(&read(jwks)?, &options(issuer, audience, leeway.parse()?, Some(now.parse()?)))
        }
        _ => {
            Err("usage: judge ISSUER AUDIENCE [DISCOVERY JWKS] < token, judge many ISSUER AUDIENCE JWKS NOW LEEWAY < tokens"
                .into())
        }
    }
}

fn one(issuer: &str, audience: &str, files: Option<(&str, &str)>) -> Result<(), Box<dyn Error>> {
    let mut token = String::new();
    std::io::stdin().read_to_string(&mut token)?;

    let discovery = match files {
        Some((discovery, _)) => read(discovery)?,
        None => fetch(&format!("{issuer}/.well-known/openid-configuration"))?,
    };
    if discovery["issuer"] != issuer {
        return Err(format!("the discovery document names issuer {}", discovery["issuer"]).into());
    }
    let jwks = match files {
        Some((_, jwks)) => read(jwks)?,
        None => fetch(discovery["jwks_uri"].as_str().ok_or("no jwks_uri")?)?,
    };

    let claims = verify(&token, &jwks, &options(issuer, audience, 2, None))?;
    // jwt-simple takes a token that lacks them; nobody who trusts this issuer should.
    if claims.subject.is_none() || claims.expires_at.is_none() || claims.issued_at.is_none() || claims.jwt_id.is_none()
    {
        return Err("sub, exp, iat or jti is missing".into());
    }
    println!("{}", serde_json::to_string(&claims)?);
    Ok(())
}

fn many(jwks: &Value, options: &VerificationOptions) -> Result<(), Box<dyn Error>> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let token = STANDARD.decode(line?)?;
        let verdict = String::from_utf8(token)
            .map_err(Into::into)
            .and_then(|token| verify(&token, jwks, options).map(|_| "yes".to_string()));
        // One line each, whatever a token has written into the message.
        let verdict = verdict.unwrap_or_else(|why: Box<dyn Error>| format!("no: {why}").replace(['\n', '\r'], " "));
        writeln!(output, "{verdict}")?;
    }
    Ok(())
}

fn options(issuer: &str, audience: &str, leeway: u64, now: Option<u64>) -> VerificationOptions {
    VerificationOptions {
        allowed_issuers: Some(HashSet::from([issuer.to_string()])),
        allowed_audiences: Some(HashSet::from([audience.to_string()])),
        time_tolerance: Some(Duration::from_secs(leeway)),
        artificial_time: now.map(UnixTimeStamp::from_secs),
        ..VerificationOptions::default()
    }
}

/// Checks a token by the key that its `kid` names. A key without `alg` is one for every algorithm of its type.
fn verify(token: &str, jwks: &Value, options: &VerificationOptions) -> Result<JWTClaims<Value>, Box<dyn Error>> {
    let header = Token::decode_metadata(token)?;
    let kid = header.key_id().ok_or("no kid")?;
    let keys = jwks["keys"].as_array().ok_or("no keys")?;
    let jwk = keys.iter().find(|jwk| jwk["kid"] == kid).ok_or("kid not in the key set")?;
    if jwk.get("alg").is_some_and(|alg| alg != header.algorithm()) || jwk["use"] != "sig" {
        return Err("alg or use of the key".into());
    }

    let member = |name: &str| -> Result<Vec<u8>, Box<dyn Error>> {
        Ok(URL_SAFE_NO_PAD.decode(jwk[name].as_str().ok_or_else(|| format!("no {name}"))?)?)
    };
    let point = || -> Result<Vec<u8>, Box<dyn Error>> { Ok([vec![4], member("x")?, member("y")?].concat()) };
    let options = Some(options.clone());
    let claims = match header.algorithm() {
        "RS256" => RS256PublicKey::from_components(&member("n")?, &member("e")?)?.verify_token(token, options)?,
        "RS384" => RS384PublicKey::from_components(&member("n")?, &member("e")?)?.verify_token(token, options)?,
        "RS512" => RS512PublicKey::from_components(&member("n")?, &member("e")?)?.verify_token(token, options)?,
        "PS256" => PS256PublicKey::from_components(&member("n")?, &member("e")?)?.verify_token(token, options)?,
        "ES256" => ES256PublicKey::from_bytes(&point()?)?.verify_token(token, options)?,
        "ES384" => ES384PublicKey::from_bytes(&point()?)?.verify_token(token, options)?,
        other => return Err(format!("algorithm {other}").into()),
    };
    Ok(claims)
}

fn fetch(url: &str) -> Result<Value, Box<dyn Error>> {
    let body = ureq::get(url).call()?.body_mut().read_to_string()?;
    Ok(serde_json::from_str(&body)?)
}

fn read(file: &str) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}
