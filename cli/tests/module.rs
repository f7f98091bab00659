//! `module install`: the module in a directory, and refusals.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod command;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use command::{BINARY, at_once, directory, file, module};

const MODULE: &[u8] = b"\0asm\x01\0\0\0 and more";
const DIGEST: &str = "81b13e108db21f232741fe2b3ac057c1e958c9677765865a61ecb2724f3e91da";

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A directory with a module beside a volume that is empty.
fn image(name: &str) -> (String, String) {
    let image = directory(name);
    let volume = image.join("volume");
    fs::create_dir(&volume).unwrap();
    (file(&image, "plugin.wasm", MODULE), volume.to_str().unwrap().to_string())
}

#[test]
fn the_module_is_installed_for_everybody_to_read_and_its_digest_is_told() {
    let (from, volume) = image("installed");
    let into = Path::new(&volume).join("jwt_reissuer.wasm");
    let ran = module(&["install", &volume, "--from", &from]).good();
    assert_eq!(fs::read(&into).unwrap(), MODULE);
    assert_eq!(into.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(ran.err, format!("{}: {} bytes, sha256 {DIGEST}\n", into.display(), MODULE.len()));
    for digest in [DIGEST.to_string(), DIGEST.to_uppercase(), format!("sha256:{DIGEST}")] {
        module(&["install", &volume, "--from", &from, "--sha256", &digest]).good();
    }
    assert_eq!(names(Path::new(&volume)), ["jwt_reissuer.wasm"]);
}

#[test]
fn a_strict_umask_does_not_keep_envoy_from_reading_the_module() {
    let (from, volume) = image("umask");
    let shell = r#"umask 077 && "$0" module install "$1" --from "$2""#;
    assert!(Command::new("sh").args(["-c", shell, BINARY, &volume, &from]).status().unwrap().success());
    let mode = fs::metadata(Path::new(&volume).join("jwt_reissuer.wasm")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn an_open_module_stays_whole_while_another_takes_its_place() {
    let (from, volume) = image("replaced");
    let into = file(Path::new(&volume), "jwt_reissuer.wasm", "the module before");
    let open = fs::File::open(&into).unwrap();
    module(&["install", &volume, "--from", &from]).good();
    assert_eq!(std::io::read_to_string(&open).unwrap(), "the module before");
    assert_ne!(open.metadata().unwrap().ino(), fs::metadata(&into).unwrap().ino());
    assert_eq!(fs::read(&into).unwrap(), MODULE);
}

#[test]
fn two_commands_at_once_leave_one_whole_module() {
    let (from, volume) = image("at-once");
    for ran in at_once(8, || module(&["install", &volume, "--from", &from])) {
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    assert_eq!(names(Path::new(&volume)), ["jwt_reissuer.wasm"]);
    assert_eq!(fs::read(Path::new(&volume).join("jwt_reissuer.wasm")).unwrap(), MODULE);
}

#[test]
fn a_refusal_names_its_reason_and_leaves_the_module_before_in_place() {
    let (from, volume) = image("refused-module");
    let text = file(Path::new(&volume).parent().unwrap(), "text", "hello");
    let missing = format!("{volume}/missing");
    let into = file(Path::new(&volume), "jwt_reissuer.wasm", "the module before");
    let other = "00".repeat(32);
    let mismatch = format!("has sha256 {DIGEST}, and --sha256 is {other}");
    let cases: [(&str, &[&str], i32, &str); 8] = [
        ("another digest", &[&volume, "--from", &from, "--sha256", &other], 1, &mismatch),
        ("no module", &[&volume, "--from", &text], 1, "text is no WebAssembly module"),
        ("no file", &[&volume, "--from", &missing], 2, "missing: No such file or directory"),
        ("no module beside the program", &[&volume], 2, "/plugin.wasm: No such file or directory"),
        ("no directory", &[&missing, "--from", &from], 2, "missing: No such file or directory"),
        ("a file for a directory", &[&text, "--from", &from], 2, "text is no directory"),
        ("a digest that is cut", &[&volume, "--sha256", &DIGEST[1..]], 2, "must be 64 hexadecimal digits"),
        ("a digest of other letters", &[&volume, "--sha256", &"g".repeat(64)], 2, "must be 64 hexadecimal digits"),
    ];
    for (name, arguments, code, message) in cases {
        let ran = module(&[&["install"], arguments].concat()).run();
        assert_eq!(ran.code, Some(code), "{name}: {ran:?}");
        assert!(ran.err.contains(message), "{name}: {ran:?}");
        assert_eq!(fs::read_to_string(&into).unwrap(), "the module before", "{name}");
        assert_eq!(names(Path::new(&volume)), ["jwt_reissuer.wasm"], "{name}");
    }
}

#[test]
fn a_directory_that_may_not_be_written_is_named() {
    let (from, _) = image("unwritable");
    // Not even the superuser can make a file there.
    let ran = module(&["install", "/proc", "--from", &from]).run();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.starts_with("/proc/jwt_reissuer.wasm: "), "{ran:?}");
}
