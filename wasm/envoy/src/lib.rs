//! JWT Reissuer as a proxy-wasm filter: reads what Envoy has, asks the core, does what it says. It decides nothing.
//!
//! Envoy runs one VM a worker (and two that serve nobody). Each has a [`root`] context, which holds the state, makes the
//! callouts and answers requests that waited, and an [`http`] context a request.
#![deny(unsafe_code)]
// The SDK's `main!` exports a function by name, which counts as unsafe; it holds no unsafe operation of ours.
#![allow(missing_docs, reason = "a module's exports are its interface; the crate docs say what it is")]

#[allow(unsafe_code)]
mod hostcalls;
mod http;
mod observe;
mod root;

/// What Envoy calls first: contexts are made by [`root::Root`] from here on.
pub fn start() {
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}

#[cfg(target_family = "wasm")]
#[allow(unsafe_code)]
mod entry {
    proxy_wasm::main! {{ super::start(); }}
}
