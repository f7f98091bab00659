//! JWT Reissuer as a proxy-wasm filter: reads what Envoy has, asks the core, does what it says. It decides nothing.
//!
//! Envoy runs one VM a worker (and two that serve nobody). Each has a [`root`] context, which holds the state, makes the
//! callouts and answers requests that waited, and an [`http`] context a request; [`exports`] knows them by number.
#![deny(unsafe_code)]
#![allow(missing_docs, reason = "a module's exports are its interface; the crate docs say what it is")]

mod crypto;
mod ecdsa;
#[allow(unsafe_code)]
mod exports;
mod filter;
#[allow(unsafe_code)]
mod hostcalls;
mod http;
mod observe;
mod protobuf;
mod random;
mod root;
mod streams;
mod ticks;
#[cfg(feature = "trap")]
mod trap;
