//! Core of JWT Reissuer.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod claims;
pub mod config;
pub mod crypto;
pub mod discovery;
pub mod error;
pub mod event;
pub mod http;
pub mod json;
pub mod jwks;
pub mod keyring;
pub mod policy;
mod published_keys;
mod reissuer;
mod roca;
mod settings;
pub mod source;
pub mod token;
mod waiting;

pub use config::{Config, ConfigError};
pub use reissuer::{Answer, Fetch, FetchId, Now, Outcome, Reissuer, SourceKey};
pub use waiting::{MAX_WAITING, StreamId};
