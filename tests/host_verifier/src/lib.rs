//! A plugin that has the signature of a request verified as the filter has it, by the sources that are shipped, and answers
//! whether it was taken and who judged it: Envoy, the core's software, or nobody where its form is no signature's.
//!
//! A request names the algorithm in its path, as `/ES256`, and has key, message and signature in header fields of hexadecimal
//! digits: `n` and `e`, or `x` and `y`, then `message` and `signature`. `taken by Envoy` is an answer, `refused by nobody`
//! another; a key that the core does not take is refused for it.
//!
//! The shipped sources say `crate` and `jwt_reissuer`. Both are this crate, which puts itself between them and what they call,
//! to see it called.

#[allow(dead_code, reason = "of it all, what this plugin does not need")]
#[path = "../../plugin/abi.rs"]
mod abi;
#[allow(dead_code, reason = "see above")]
#[path = "../../../wasm/envoy/src/ecdsa.rs"]
mod ecdsa;
#[allow(dead_code, reason = "see above")]
#[path = "../../../wasm/envoy/src/hostcalls.rs"]
mod envoy;
#[allow(dead_code, reason = "see above")]
#[path = "../../../wasm/envoy/src/crypto.rs"]
mod host_crypto;
#[path = "../../../wasm/envoy/src/protobuf.rs"]
mod protobuf;

mod crypto;
mod judge;

extern crate self as jwt_reissuer;

use crypto::{Algorithm, Crypto as _, VerifyingKey};
use envoy::{Map, header, send_response};

/// `Action::Pause` of the ABI: the answer is already given
const PAUSE: u32 = 1;

/// What the shipped `HostCrypto` calls Envoy by.
mod hostcalls {
    use crate::envoy::{self, Failed};
    use crate::judge::{Judge, note};

    pub(crate) fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Failed> {
        note(Judge::Envoy);
        envoy::call_foreign_function(name, arguments)
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_context: u32, _count: usize, _end_of_stream: usize) -> u32 {
    match answered() {
        Ok(answer) => send_response(200, &[], answer.as_bytes()),
        Err(problem) => send_response(400, &[], problem.as_bytes()),
    };
    PAUSE
}

fn answered() -> Result<String, String> {
    let (crypto, _) = host_crypto::chosen(std::env::var(host_crypto::VARIABLE).ok().as_deref());
    let path = field(":path")?;
    let algorithm = path.strip_prefix('/').and_then(Algorithm::from_name).ok_or("no algorithm in the path")?;
    let key = match algorithm {
        Algorithm::Rs256 => VerifyingKey::dangerous_published_rsa(&bytes("n")?, &bytes("e")?),
        _ => VerifyingKey::from_ec(algorithm, &bytes("x")?, &bytes("y")?),
    };
    let key = match key {
        Ok(key) => key,
        Err(why) => return Ok(format!("refused for the key: {why}")),
    };
    let (message, signature) = (bytes("message")?, bytes("signature")?);
    let (verified, judge) = judge::asked_by(|| crypto.verify(&key, &message, &signature));
    Ok(format!("{} by {judge}", if verified.is_ok() { "taken" } else { "refused" }))
}

fn bytes(name: &str) -> Result<Vec<u8>, String> {
    let digits = field(name)?;
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
    bytes.collect::<Option<_>>().ok_or_else(|| format!("{name}: no hexadecimal digits"))
}

fn field(name: &str) -> Result<String, String> {
    let value = header(Map::RequestHeaders, name).map_err(|status| format!("{name}: {status}"))?;
    String::from_utf8(value.ok_or_else(|| format!("{name}: not there"))?).map_err(|_| format!("{name}: no text"))
}
