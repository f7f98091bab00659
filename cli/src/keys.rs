//! `jwt-reissuer keys`: the options that its commands share, and what each of them needs.

mod check;
mod new;
mod public;
mod rotate;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chacha20::rand_core::SeedableRng as _;
use clap::{Args, Subcommand};
use jwt_reissuer::config::parse_duration;
use jwt_reissuer::crypto::{Rng, SoftwareCrypto};
use jwt_reissuer::http::Serve;
use jwt_reissuer::keyring::{Keyring, Terms};
use jwt_reissuer::timetable::parse_time;
use zeroize::Zeroizing;

use crate::failure::{EXIT_CODES, Failure};

/// The longest `publish_ahead` that a gateway takes.
const LONGEST_PUBLISH_AHEAD: Duration = Duration::from_secs(30 * 86_400);

#[derive(Args)]
pub struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
    /// The time that it is, for tests: seconds since 1970, or RFC 3339
    #[arg(long, global = true, hide = true, value_name = "TIME", value_parser = unix_or_rfc3339)]
    now: Option<u64>,
}

#[derive(Subcommand)]
enum KeysCommand {
    #[command(after_help = EXIT_CODES)]
    New(new::New),
    #[command(after_help = EXIT_CODES)]
    Rotate(rotate::Rotate),
    #[command(after_help = EXIT_CODES)]
    Public(public::Public),
    #[command(after_help = EXIT_CODES)]
    Check(check::Check),
}

/// How long a key is published before it signs.
#[derive(Args)]
struct PublishAhead {
    /// How long a key is published before it signs; not less than signing_keys.publish_ahead of any gateway
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = publish_ahead)]
    publish_ahead: Duration,
}

impl Keys {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`], whose exit code is the command's.
    pub fn run(&self) -> Result<(), Failure> {
        let now = self.now.unwrap_or_else(unix_time);
        match &self.command {
            KeysCommand::New(command) => command.run(now),
            KeysCommand::Rotate(command) => command.run(now),
            KeysCommand::Public(command) => command.run(now),
            KeysCommand::Check(command) => command.run(now),
        }
    }
}

/// Parses a keyring as a gateway does that serves tokens, or documents alone, and tests its private keys as it does.
fn parse(source: &str, plain: &[u8], tokens: bool, publish_ahead: Duration, now: u64) -> Result<Keyring, Failure> {
    let terms = Terms { serve: Serve { documents: true, tokens }, publish_ahead, now };
    let keyring = Keyring::parse(plain, &terms).map_err(|error| Failure::refused(source, &error))?;
    keyring.self_test(&SoftwareCrypto, &mut rng()?).map_err(|_| {
        Failure::Refused(format!(
            "{source}: the self-test failed: the public half of a key does not verify what it signs"
        ))
    })?;
    Ok(keyring)
}

/// A generator with a fresh seed.
fn rng() -> Result<Rng, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|why| Failure::Unusable(format!("no random numbers: {why}")))?;
    Ok(Rng::from_seed(*seed))
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn publish_ahead(text: &str) -> Result<Duration, &'static str> {
    let duration = parse_duration(text).ok_or("must be a duration such as 30m, 24h or 7d")?;
    if duration <= LONGEST_PUBLISH_AHEAD { Ok(duration) } else { Err("must be 30d at most") }
}

fn rfc3339(text: &str) -> Result<u64, &'static str> {
    parse_time(text).ok_or("must be a time of RFC 3339 in UTC, as 2026-12-01T00:00:00Z")
}

fn unix_or_rfc3339(text: &str) -> Result<u64, &'static str> {
    text.parse().or_else(|_| rfc3339(text))
}
