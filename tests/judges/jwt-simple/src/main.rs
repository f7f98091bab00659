//! An independent verifier of what is issued: `judge ISSUER AUDIENCE [DISCOVERY JWKS] < token`.
//!
//! Reads the issuer's discovery document and key set as any relying party would, and checks the token with jwt-simple,
//! which shares no parser and no claim check with the project. Prints the claims, or says why not and fails. Speaks no TLS:
//! for an https issuer the two documents are given as files.
#![allow(missing_docs, reason = "a program")]

use std::collections::HashSet;
use std::error::Error;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (issuer, audience, files) = match arguments.as_slice() {
        [issuer, audience] => (issuer, audience, None),
        [issuer, audience, discovery, jwks] => (issuer, audience, Some((discovery, jwks))),
        _ => return Err("usage: judge ISSUER AUDIENCE [DISCOVERY JWKS] < token".into()),
    };
    let mut token = String::new();
    std::io::stdin().read_to_string(&mut token)?;

    let discovery = match files {
        Some((discovery, _)) => read(discovery)?,
        None => fetch(&format!("{issuer}/.well-known/openid-configuration"))?,
    };
    if discovery["issuer"] != issuer.as_str() {
        return Err(format!("the discovery document names issuer {}", discovery["issuer"]).into());
    }
    let jwks = match files {
        Some((_, jwks)) => read(jwks)?,
        None => fetch(discovery["jwks_uri"].as_str().ok_or("no jwks_uri")?)?,
    };

    let header = Token::decode_metadata(&token)?;
    let kid = header.key_id().ok_or("no kid")?;
    let keys = jwks["keys"].as_array().ok_or("no keys")?;
    let jwk = keys.iter().find(|jwk| jwk["kid"] == kid).ok_or("kid not in the key set")?;
    if jwk["alg"] != header.algorithm() || jwk["use"] != "sig" {
        return Err("alg or use of the key".into());
    }

    let options = VerificationOptions {
        allowed_issuers: Some(HashSet::from([issuer.clone()])),
        allowed_audiences: Some(HashSet::from([audience.clone()])),
        time_tolerance: Some(Duration::from_secs(2)),
        ..VerificationOptions::default()
    };
    let member = |name: &str| -> Result<Vec<u8>, Box<dyn Error>> {
        Ok(URL_SAFE_NO_PAD.decode(jwk[name].as_str().ok_or_else(|| format!("no {name}"))?)?)
    };
    let point = || -> Result<Vec<u8>, Box<dyn Error>> { Ok([vec![4], member("x")?, member("y")?].concat()) };
    let claims = match header.algorithm() {
        "RS256" => RS256PublicKey::from_components(&member("n")?, &member("e")?)?
            .verify_token::<Value>(&token, Some(options))?,
        "ES256" => ES256PublicKey::from_bytes(&point()?)?.verify_token::<Value>(&token, Some(options))?,
        "ES384" => ES384PublicKey::from_bytes(&point()?)?.verify_token::<Value>(&token, Some(options))?,
        other => return Err(format!("algorithm {other}").into()),
    };
    // jwt-simple takes a token that lacks them; nobody who trusts this issuer should.
    if claims.subject.is_none() || claims.expires_at.is_none() || claims.issued_at.is_none() || claims.jwt_id.is_none()
    {
        return Err("sub, exp, iat or jti is missing".into());
    }
    println!("{}", serde_json::to_string(&claims)?);
    Ok(())
}

fn fetch(url: &str) -> Result<Value, Box<dyn Error>> {
    let body = ureq::get(url).call()?.body_mut().read_to_string()?;
    Ok(serde_json::from_str(&body)?)
}

fn read(file: &str) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}
