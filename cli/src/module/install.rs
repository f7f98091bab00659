//! `jwt-reissuer module install`: a module in a directory, whole or not at all.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::failure::{Failure, say};
use crate::files;

/// The name that the module has in every sample configuration.
const NAME: &str = "jwt_reissuer.wasm";
/// How a WebAssembly module of version 1 begins (WebAssembly Core Specification section 5.5.16).
const MAGIC: &[u8] = b"\0asm\x01\0\0\0";

/// Copies the module into a directory, as jwt_reissuer.wasm.
///
/// The file is written beside its place and then renamed, so that an Envoy reads the module before it or the new one.
#[derive(Args)]
pub struct Install {
    /// The directory to write to, such as a volume that Envoy's container mounts too
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The module to copy
    #[arg(long, value_name = "FILE", default_value = "/plugin.wasm")]
    from: PathBuf,
    /// Refuse a module that has another SHA-256
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<FileDigest>,
}

/// The SHA-256 of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileDigest([u8; 32]);

impl Install {
    pub fn run(&self) -> Result<(), Failure> {
        let source = self.from.display();
        let module = fs::read(&self.from).map_err(|error| Failure::io(source.to_string(), &error))?;
        if !module.starts_with(MAGIC) {
            return Err(Failure::Refused(format!("{source} is no WebAssembly module")));
        }
        let digest = FileDigest(Sha256::digest(&module).into());
        if let Some(expected) = self.sha256.filter(|expected| *expected != digest) {
            return Err(Failure::Refused(format!("{source} has sha256 {digest}, and --sha256 is {expected}")));
        }
        let path = self.directory.join(NAME);
        self.check_directory()?;
        files::replace(&path, &module).map_err(|error| Failure::io(path.display(), &error))?;
        say(&format!("{}: {} bytes, sha256 {digest}", path.display(), module.len()));
        Ok(())
    }

    /// A mistyped directory is named as such, not as a file that cannot be made in it.
    fn check_directory(&self) -> Result<(), Failure> {
        let directory: &Path = &self.directory;
        let found = fs::metadata(directory).map_err(|error| Failure::io(directory.display(), &error))?;
        if found.is_dir() {
            return Ok(());
        }
        Err(Failure::Unusable(format!("{} is no directory", directory.display())))
    }
}

impl FromStr for FileDigest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const PROBLEM: &str = "must be 64 hexadecimal digits";
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(PROBLEM);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = str::from_utf8(pair).map_err(|_| PROBLEM)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| PROBLEM)?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
