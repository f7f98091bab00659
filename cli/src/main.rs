//! `jwt-reissuer`, the operator's command: makes, rotates and checks the keyring that gateways sign with, and brings the module
//! of an image to where Envoy reads it.
//!
//! ```text
//! keys new | rotate | public | check  keys/   one command each
//!   Place::read, Place::write   files        standard input and output, and files that are replaced whole
//!   form::open, Form::write     form         JSON, base64 or sealed
//!   KeyringDocument             document     the members of the JSON document
//!   fresh_key::generate         fresh_key    a new private key
//!   SecretKey::manifest         secret       the Kubernetes Secret that holds a keyring
//!   gaps::between               gaps         what one keyring after another would break
//!   KeyTimes::of                key_times    when a key is published, signs and retires
//! module install                module/      the module, from the image into a volume
//! any Err(Failure) -> message and exit code  failure
//! ```
//!
//! The rules are the core's: a keyring is parsed, and its timetable computed, by the code that gateways run.
#![forbid(unsafe_code)]

mod document;
mod failure;
mod files;
mod form;
mod fresh_key;
mod gaps;
mod key_times;
mod keys;
mod module;
mod secret;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The operator's command of JWT Reissuer.
#[derive(Parser)]
#[command(name = "jwt-reissuer", version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes, rotates and checks keyrings: the keys that gateways sign with
    Keys(keys::Keys),
    /// Brings the module of the image to where Envoy reads it
    Module(module::Module),
}

fn main() -> ExitCode {
    let ran = match CommandLine::parse().command {
        Command::Keys(keys) => keys.run(),
        Command::Module(module) => module.run(),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
