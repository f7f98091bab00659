//! Where a keyring is read and written: a file, or standard input and output. A module is written as a file too.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, IsTerminal as _, Read, Write as _, stdin, stdout};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use jwt_reissuer::keyring::MAX_DOCUMENT;
use zeroize::Zeroizing;

use crate::failure::{Failure, say};

/// How long another command is waited for. It may make an RSA key meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// A file, or `-` for standard input and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file of that path
    File(PathBuf),
    /// Standard input where a keyring is read, standard output where one is written
    Standard,
}

/// A keyring that is ready to be written.
pub struct KeyringText {
    /// The text of the file, without a line break at its end
    pub text: Zeroizing<Vec<u8>>,
    /// Whether the text shows no private key: it is sealed, or has public keys alone
    pub hides_private_keys: bool,
}

/// How a write treats a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// Fails, also where another command makes the file at that moment
    Refuse,
    /// Replaces it
    Replace,
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Self::Standard } else { Self::File(text.into()) })
    }
}

impl Place {
    /// Its name where it is read.
    pub fn source(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Standard => "standard input".into(),
        }
    }

    /// Reads all of it. One byte more than a keyring may have is read at most, so that the core refuses it by its length.
    ///
    /// # Errors
    /// [`Failure::Unusable`] with the place.
    pub fn read(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let read = match self {
            Self::File(path) => File::open(path).and_then(read_bounded),
            Self::Standard => read_bounded(stdin().lock()),
        };
        read.map_err(|error| Failure::io(self.source(), &error))
    }

    /// Whether a keyring that is written here replaces the file that `input` reads. Any path, link or redirection may lead to it.
    ///
    /// # Errors
    /// [`Failure::Unusable`] with the place, where the file system does not tell.
    pub fn replaces(&self, input: &Self) -> Result<bool, Failure> {
        let Self::File(path) = self else { return Ok(false) };
        let written = found(fs::metadata(path)).map_err(|error| Failure::io(self.source(), &error))?;
        let read = match input {
            Self::File(path) => found(fs::metadata(path)),
            Self::Standard => stdin().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata()).map(Some),
        };
        let read = read.map_err(|error| Failure::io(input.source(), &error))?;
        Ok(written.zip(read).is_some_and(|(written, read)| (written.dev(), written.ino()) == (read.dev(), read.ino())))
    }

    /// Refuses a terminal for a text that shows a private key: a terminal keeps its output, and others see it.
    ///
    /// # Errors
    /// [`Failure::Unusable`] with what to give in its place.
    pub fn refuse_terminal(&self, hides_private_keys: bool) -> Result<(), Failure> {
        if *self == Self::Standard && !hides_private_keys && stdout().is_terminal() {
            let message = "standard output is a terminal, and a private key is not shown there: give -o FILE";
            return Err(Failure::Unusable(message.into()));
        }
        Ok(())
    }

    /// Locks the directory of a file, so that other runs of the command wait for this one. Dropping the result unlocks it. The
    /// lock is advisory: it holds off this command alone. Standard output needs none.
    ///
    /// # Errors
    /// [`Failure::Unusable`] with the place, where the directory cannot be opened or another command does not unlock it.
    pub fn lock(&self) -> Result<Option<File>, Failure> {
        let Self::File(path) = self else { return Ok(None) };
        let opened = resolved(path).and_then(|target| File::open(directory_of(&target)));
        let directory = opened.map_err(|error| Failure::io(path.display(), &error))?;
        lock(path, &directory, LONGEST_WAIT)?;
        Ok(Some(directory))
    }

    /// Refuses a file that exists.
    ///
    /// # Errors
    /// [`Failure::Unusable`] with what to do instead.
    pub fn refuse_existing(&self) -> Result<(), Failure> {
        let Self::File(path) = self else { return Ok(()) };
        let target = resolved(path).map_err(|error| Failure::io(path.display(), &error))?;
        if target.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
    }

    /// Writes a keyring. A file is written whole or not at all. A replaced one keeps its owner and mode; a new one has mode 0600.
    ///
    /// # Errors
    /// [`Failure::Unusable`] with the place; a file is then as it was.
    pub fn write(&self, keyring: &KeyringText, if_exists: IfExists) -> Result<(), Failure> {
        self.refuse_terminal(keyring.hides_private_keys)?;
        match self {
            Self::File(path) => {
                write_file(path, &keyring.text, if_exists).map_err(|error| match (if_exists, error.kind()) {
                    (IfExists::Refuse, io::ErrorKind::AlreadyExists) => exists(path),
                    _ => Failure::io(path.display(), &error),
                })
            }
            Self::Standard => print(&keyring.text).map_err(|error| Failure::io("standard output", &error)),
        }
    }
}

fn exists(path: &Path) -> Failure {
    Failure::Unusable(format!(
        "{} exists, and a new keyring in its place would withdraw its keys: use keys rotate, or another file",
        path.display()
    ))
}

fn read_bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: what a growing buffer leaves behind is not wiped.
    let longest = MAX_DOCUMENT.saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(longest));
    from.take(u64::try_from(longest).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text)?;
    if out.is_terminal() {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Writes a file beside the old one and then gives it the name: a reader sees the old file or the new one.
///
/// # Errors
/// Those of the file system. The file of that name is then as it was.
fn write_file(path: &Path, content: &[u8], if_exists: IfExists) -> io::Result<()> {
    let target = resolved(path)?;
    let before = match if_exists {
        IfExists::Refuse => None,
        IfExists::Replace => metadata_of_file(&target)?,
    };
    let name = target.file_name().ok_or_else(|| io::Error::other("is no name of a file"))?;
    let directory = directory_of(&target);
    let unfinished = Unfinished(directory.join(unfinished_name(name.to_os_string())?));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished.0)?;
    file.write_all(content)?;
    if let Some(before) = &before {
        let is = file.metadata()?;
        if (is.uid(), is.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o7777))?;
    }
    file.sync_all()?;
    match before {
        Some(_) => fs::rename(&unfinished.0, &target)?,
        None => link(&unfinished.0, &target)?,
    }
    sync_names(path, directory);
    Ok(())
}

/// Writes a file of mode 0644 beside its place and renames it: a reader sees the old file or the new one.
///
/// # Errors
/// Those of the file system. The file of that name is then as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("is no name of a file"))?;
    let directory = directory_of(path);
    let unfinished = Unfinished(directory.join(unfinished_name(name.to_os_string())?));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished.0)?;
    file.write_all(content)?;
    // The umask has no say: Envoy runs as another user.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()?;
    fs::rename(&unfinished.0, path)?;
    sync_names(path, directory);
    Ok(())
}

/// Makes a renamed file outlast a power failure. The file has been changed: from here on, no error may say that it was not.
fn sync_names(path: &Path, directory: &Path) {
    if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
        say(&format!("{} is written, but a power failure may undo that: {error}", path.display()));
    }
}

/// Gives a file a second name. A rename would replace a file that another command has made under that name meanwhile.
fn link(file: &Path, name: &Path) -> io::Result<()> {
    fs::hard_link(file, name).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => error,
        kind => io::Error::new(kind, format!("a new file gets its name by a hard link, which failed: {error}")),
    })
}

/// The path of the file that a path leads to, so that a symbolic link stays where its file is replaced.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.symlink_metadata() {
            Ok(found) if found.is_symlink() => {
                Err(io::Error::new(error.kind(), "is a symbolic link that leads to no file"))
            }
            // It does not exist, or was made just now.
            _ => Ok(path.to_path_buf()),
        },
        found => found,
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn metadata_of_file(path: &Path) -> io::Result<Option<Metadata>> {
    match found(fs::metadata(path))? {
        Some(metadata) if !metadata.is_file() => Err(io::Error::other("is no regular file")),
        metadata => Ok(metadata),
    }
}

/// `None` for a file that does not exist.
fn found(metadata: io::Result<Metadata>) -> io::Result<Option<Metadata>> {
    match metadata {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        metadata => metadata.map(Some),
    }
}

/// Locks the directory of a file, and waits so long at most for another command to unlock it.
fn lock(path: &Path, directory: &File, longest_wait: Duration) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if started.elapsed() < longest_wait => thread::sleep(BETWEEN_TRIES),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Unusable(format!(
                    "{}: another command keeps its directory locked: run this one again when that has ended",
                    path.display()
                )));
            }
            // Some network file systems have no locks for directories.
            Err(TryLockError::Error(error)) => {
                let path = path.display();
                say(&format!("{path}: its directory cannot be locked: let no two commands write it at once: {error}"));
                return Ok(());
            }
        }
    }
}

/// The name of a file that is removed at the end, unless the file was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn unfinished_name(name: OsString) -> io::Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
    Ok(unfinished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_stays_locked_is_refused_and_one_that_is_unlocked_is_taken() {
        let path = std::env::temp_dir().join(format!("jwt-reissuer-lock-{}", std::process::id())).join("signing-keys");
        fs::create_dir(directory_of(&path)).unwrap();
        let [first, second] = [(); 2].map(|()| File::open(directory_of(&path)).unwrap());
        fs::remove_dir(directory_of(&path)).unwrap();
        lock(&path, &first, Duration::ZERO).unwrap();
        let Err(Failure::Unusable(message)) = lock(&path, &second, Duration::ZERO) else { panic!("it was locked") };
        assert!(message.contains("another command keeps its directory locked"), "{message}");
        drop(first);
        lock(&path, &second, Duration::ZERO).unwrap();
    }
}
