//! Runs the command, and makes keyrings for it.
#![allow(dead_code, reason = "each test uses some of it")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jwt_reissuer::http::Serve;
use jwt_reissuer::keyring::{Keyring, Terms};
use jwt_reissuer::sealed::{NONCE, SealingKeys};
use jwt_reissuer::timetable::text_of;
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use serde_json::{Value, json};

pub const HOUR: u64 = 3600;
pub const DAY: u64 = 24 * HOUR;
/// 2026-10-05T00:00:00Z
pub const START: u64 = 1_791_158_400;
pub const PUBLISH_AHEAD: Duration = Duration::from_secs(DAY);

pub const BINARY: &str = env!("CARGO_BIN_EXE_jwt-reissuer");
pub const SEALING_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub const OTHER_SEALING_KEY: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The exit code and the output of a command.
#[derive(Debug)]
pub struct Ran {
    /// `None`: it was killed
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// One call of the command.
pub struct Call {
    command: Command,
    input: Input,
}

/// Standard input of a call.
enum Input {
    /// A pipe with these bytes
    Pipe(Vec<u8>),
    /// A file that is open for reading
    File(File),
}

/// `jwt-reissuer keys` with these arguments, at a time, without a sealing key.
pub fn keys(now: u64, arguments: &[&str]) -> Call {
    let mut command = Command::new(BINARY);
    command.arg("keys").args(arguments).args(["--now", &now.to_string()]).env_remove("REISSUER_SEALING_KEY");
    Call { command, input: Input::Pipe(Vec::new()) }
}

/// `jwt-reissuer module` with these arguments.
pub fn module(arguments: &[&str]) -> Call {
    let mut command = Command::new(BINARY);
    command.arg("module").args(arguments);
    Call { command, input: Input::Pipe(Vec::new()) }
}

impl Call {
    pub fn sealing_key(mut self, key: Option<&str>) -> Self {
        if let Some(key) = key {
            self.command.env("REISSUER_SEALING_KEY", key);
        }
        self
    }

    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Pipe(input.into());
        self
    }

    pub fn input_file(mut self, path: &str) -> Self {
        self.input = Input::File(File::open(path).unwrap());
        self
    }

    pub fn run(self) -> Ran {
        ended(self.start())
    }

    fn start(mut self) -> Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        match self.input {
            Input::File(file) => self.command.stdin(file).spawn().unwrap(),
            Input::Pipe(bytes) => {
                let mut child = self.command.stdin(Stdio::piped()).spawn().unwrap();
                // A command that reads nothing has closed it.
                let _ = child.stdin.take().unwrap().write_all(&bytes);
                child
            }
        }
    }

    /// Runs it, and asserts that it succeeded.
    #[track_caller]
    pub fn good(self) -> Ran {
        let ran = self.run();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    }
}

/// Starts so many calls, and then waits for each of them.
pub fn at_once(count: usize, mut call: impl FnMut() -> Call) -> Vec<Ran> {
    let started: Vec<Child> = (0..count).map(|_| call().start()).collect();
    started.into_iter().map(ended).collect()
}

fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An empty directory for one test.
pub fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// A file with this content in a directory for one test; its path as text.
pub fn file(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_string()
}

pub fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

pub fn secret(seed: u8) -> p256::SecretKey {
    p256::SecretKey::from_slice(&[seed; 32]).unwrap()
}

pub fn pem(seed: u8) -> String {
    secret(seed).to_pkcs8_pem(Default::default()).unwrap().to_string()
}

pub fn rsa_pem() -> String {
    let mut rng = <chacha20::ChaCha20Rng as chacha20::rand_core::SeedableRng>::from_seed([3; 32]);
    rsa::PrivateKey::new(&mut rng, 2048).unwrap().to_pkcs8_pem(Default::default()).unwrap().to_string()
}

pub fn public_pem(seed: u8) -> String {
    secret(seed).public_key().to_public_key_pem(Default::default()).unwrap()
}

/// The entry of a private key with times beside it.
pub fn private(kid: &str, seed: u8, times: &[(&str, u64)]) -> Value {
    with_times(json!({ "kid": kid, "private_key": pem(seed) }), times)
}

/// The entry of a public key with times beside it.
pub fn public(kid: &str, seed: u8, times: &[(&str, u64)]) -> Value {
    with_times(json!({ "kid": kid, "public_key": public_pem(seed) }), times)
}

fn with_times(mut entry: Value, times: &[(&str, u64)]) -> Value {
    for (name, at) in times {
        entry[*name] = text_of(*at).into();
    }
    entry
}

pub fn keyring(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub fn base64(content: impl AsRef<[u8]>) -> String {
    STANDARD.encode(content)
}

pub fn sealed(content: &str) -> String {
    SealingKeys::parse(SEALING_KEY).unwrap().seal(content.as_bytes(), [7; NONCE]).unwrap()
}

/// The document of a keyring, sealed or not.
fn opened(text: &str) -> Vec<u8> {
    if text.starts_with("sealed.v1.") {
        return SealingKeys::parse(SEALING_KEY).unwrap().open(text.as_bytes()).unwrap().to_vec();
    }
    text.as_bytes().to_vec()
}

/// The keyring as the core parses it at a time.
#[track_caller]
pub fn parsed(text: &str, now: u64) -> Keyring {
    parsed_with(text, now, PUBLISH_AHEAD)
}

/// The keyring as the core parses it at a time, where a key is published so long before it signs.
#[track_caller]
pub fn parsed_with(text: &str, now: u64, publish_ahead: Duration) -> Keyring {
    let terms = Terms { serve: Serve { documents: true, tokens: true }, publish_ahead, now };
    Keyring::parse(&opened(text), &terms).map_err(|error| error.to_string()).unwrap()
}

/// The JSON document of a keyring in any form.
pub fn document(text: &str) -> Value {
    let opened = opened(text);
    let json = if opened.starts_with(b"{") { opened } else { STANDARD.decode(opened).unwrap() };
    serde_json::from_slice(&json).unwrap()
}
