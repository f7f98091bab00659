//! A plugin of somebody else's in the same Envoy, which tries to get at our signing key and logs what it got: an HTTP
//! filter that lets every request pass, and on each tick of a worker
//!
//! - reads its environment,
//! - reads a few keys of Envoy's shared data,
//! - asks the cluster `signing_keys` for what that answers to our filter.
//!
//! Raw calls by the proxy-wasm ABI 0.2.1: it is to have no more than any plugin has, and no less.

#[path = "../../plugin/abi.rs"]
mod abi;
mod hostcalls;

use hostcalls::{body_of_callout, http_get, log, set_tick_period, shared_data, status_of_callout};

const CLUSTER: &str = "signing_keys";
const TICK_MILLISECONDS: u32 = 250;
/// Names that a filter might keep a key under.
const SHARED: [&str; 5] = ["jwt_reissuer", "keyring", "signing_keys", "sealing_key", "REISSUER_SEALING_KEY"];

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, _size: usize) -> bool {
    // Not here: a worker has no internal listeners yet.
    set_tick_period(TICK_MILLISECONDS);
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(_root: u32) {
    let environment: Vec<_> = std::env::vars_os().collect();
    log(&format!("environment of {} variables {environment:?}", environment.len()));
    for key in SHARED {
        match shared_data(key) {
            Ok(value) => log(&format!("shared data {key} {}", String::from_utf8_lossy(&value))),
            Err(status) => log(&format!("shared data {key} not had: status {status}")),
        }
    }
    if let Err(status) = http_get(CLUSTER, "signing-keys", "/") {
        log(&format!("callout not sent: status {status}"));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(_root: u32, _token: u32, _headers: usize, body: usize, _trailers: usize) {
    let answer = body_of_callout(body);
    log(&format!("callout answered {} {}", status_of_callout(), String::from_utf8_lossy(&answer)));
}
