//! Seals a keyring: `REISSUER_SEALING_KEY=... seal < keyring > signing-keys`.
//!
//! Reads what goes into the secret otherwise (a PEM, a keyring, or base64 of one), and writes the one line that goes there
//! instead. What no filter could use is refused here rather than by the gateway.

use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};
use std::process::ExitCode;
use std::time::Duration;

use jwt_reissuer::http::Serve;
use jwt_reissuer::keyring::{Keyring, MAX_DOCUMENT, Terms};
use jwt_reissuer::sealed::{NONCE, SealingKeys};
use zeroize::Zeroizing;

const VARIABLE: &str = "REISSUER_SEALING_KEY";

fn main() -> ExitCode {
    match seal() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("seal: {why}");
            ExitCode::FAILURE
        }
    }
}

fn seal() -> Result<(), String> {
    let text = std::env::var(VARIABLE)
        .map_err(|_| format!("{VARIABLE} is not set: it must be the one that the gateways have"))?;
    let keys = SealingKeys::parse(&Zeroizing::new(text)).map_err(|why| format!("{VARIABLE} {why}"))?;
    // Room for all of it at once: what a growing buffer leaves behind is wiped by nobody.
    let longest = MAX_DOCUMENT.saturating_add(1);
    let mut document = Zeroizing::new(Vec::with_capacity(longest));
    let limit = u64::try_from(longest).unwrap_or(u64::MAX);
    stdin().lock().take(limit).read_to_end(&mut document).map_err(|why| format!("standard input: {why}"))?;
    check(&document)?;
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|why| format!("no random numbers: {why}"))?;
    let line = keys.seal(&document, nonce)?;
    if line.len() > MAX_DOCUMENT {
        return Err(format!("the keyring is too long: sealed, it has {} bytes of {MAX_DOCUMENT}", line.len()));
    }
    // Into a file without a line break: an Envoy before 1.40 takes it for a part of the secret.
    let end = if stdout().is_terminal() { "\n" } else { "" };
    write!(stdout(), "{line}{end}").map_err(|why| format!("standard output: {why}"))
}

/// Whether some filter could use it: one that signs, or one that serves documents alone.
fn check(document: &[u8]) -> Result<(), String> {
    let parse = |tokens| {
        // The times of a keyring are for the filter to judge, which knows its settings and the clock.
        let terms = Terms { serve: Serve { documents: true, tokens }, publish_ahead: Duration::ZERO, now: u64::MAX };
        Keyring::parse(document, &terms).map(|_| ())
    };
    parse(true).or_else(|why| parse(false).map_err(|_| why)).map_err(|why| format!("the keyring: {why}"))
}
