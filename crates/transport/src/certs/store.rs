//! Writing files that must be whole and, if they are keys, private. Knows nothing about certificates.
//!
//! Invariants: a key file is never readable by others, not even while it is written; a reader sees the old or the new content, never half.
//! Called by `certs` and the mesh file; all errors about files that cannot be read take their remedy from here.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The owner: keys.
    Owner,
    /// Everybody: certificates.
    Everybody,
}

/// What to do about a file that cannot be read: `otherwise`, unless it is there and only the right to read it is missing.
pub(crate) fn remedy<'a>(source: &io::Error, otherwise: &'a str) -> &'a str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "let the user that runs this read it: see chown and chmod, of its folders too"
        }
        _ => otherwise,
    }
}

/// Makes `dir` and its parents as far as they are missing, for the owner only.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Writes a file that must not exist yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, access.mode());
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts `bytes` in the place of `path` in one step, whether or not it exists.
pub(crate) fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // What an interrupted run left there is never more than half a file.
    match std::fs::remove_file(beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    write_new(beside, bytes, access)?;
    std::fs::rename(beside, path)?;
    sync_dir_of(path)
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

impl Access {
    #[cfg(unix)]
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o644,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    pub(crate) fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_that_exists_is_not_written_as_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        write_new(&path, b"one", Access::Owner).unwrap();
        let refused = write_new(&path, b"two", Access::Owner).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_replaced_key_stays_private_even_over_an_open_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        std::fs::write(&path, b"old").unwrap();
        std::fs::write(dir.path().join("a.key.new"), b"left by an interrupted run").unwrap();
        replace(&path, b"new", Access::Owner).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode_of(&path)), (b"new".to_vec(), 0o600));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
