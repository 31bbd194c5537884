//! The few small files that commands read and write themselves: issuers' keys and tokens. Keys and certificates of TLS are the
//! transport crate's.
//!
//! Invariant: a secret is never readable by others, not even while it is written.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use farwire_auth::IssuerKey;

use crate::exit::Failure;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner: secrets.
    Owner,
    /// Everybody.
    Everybody,
}

/// Puts one line of text in the place of `path` in one step: a reader sees the old or the new content, never half.
///
/// # Errors
/// When the system refuses; what was there before is unchanged.
pub(crate) fn write(path: &Path, line: &str, readers: Readers) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everybody => 0o644,
    };
    let written = (|| {
        // A file that is left from an interrupted run may have other readers.
        std::fs::remove_file(&beside).or_else(|err| match err.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(err),
        })?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        writeln!(file, "{line}")?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    written.map_err(|err| Failure::failed(format!("cannot write {}: {err}; check its directory", path.display())))
}

/// Reads a small text.
///
/// # Errors
/// When it is not there or not text; `what` says what was looked for.
pub(crate) fn read(path: &Path, what: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|err| {
        let remedy = match err.kind() {
            std::io::ErrorKind::PermissionDenied => "only the user that may read it can do this: see chown and chmod",
            _ => "give the right path",
        };
        Failure::failed(format!("cannot read {what} {}: {err}; {remedy}", path.display()))
    })
}

/// Reads the key that signs tokens.
///
/// # Errors
/// When it is not there, or no key.
pub(crate) fn issuer_key(path: &Path) -> Result<IssuerKey, Failure> {
    let text = read(path, "the issuer's key")?;
    IssuerKey::from_paserk(&text).map_err(|err| Failure::failed(format!("{}: {err}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_replaces_a_readable_file_and_is_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.token");
        std::fs::write(&path, "old").expect("written");
        std::fs::write(dir.path().join("a.token.new"), "left over").expect("written");
        write(&path, "new", Readers::Owner).expect("written");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!((read(&path, "it").expect("text").as_str(), mode), ("new\n", 0o600));
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
    }
}
