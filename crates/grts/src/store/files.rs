//! Files that are either the old or the new content after a kill, and readable by their owner only.
//!
//! Atomic means: write a sibling, sync it, rename it, sync the directory; without the last step the
//! rename itself can be lost. A file is made with its final permissions, so that a transcript is at
//! no moment readable by others; only what a policy's writer made is closed afterwards, inside a
//! directory that was closed before. On systems without Unix permissions the
//! directory's own access rules apply.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Suffix or prefix of everything that is being written and has no value after a kill.
pub(super) const PARTIAL: &str = ".partial";

/// Opens a file for reading and writing, making it with mode 0600 if it is not there.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes one directory with mode 0700; its parent must exist and it must not.
pub(super) fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Replaces the file at `path` by `bytes`, or leaves it as it was.
pub(super) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let partial = partial_of(path);
    let replace = || {
        let mut file = open_private(&partial)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        sync_dir(parent_of(path))
    };
    replace().map_err(|error| {
        let _ = fs::remove_file(&partial);
        Error::io("write", path, error)
    })
}

/// Makes renames and removals inside `path` durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Syncs every file below `path` and closes it to others: files 0600, directories 0700.
pub(super) fn seal(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            seal(&entry.path())?;
        } else {
            restrict(&entry.path(), 0o600)?;
            File::open(entry.path())?.sync_all()?;
        }
    }
    restrict(path, 0o700)?;
    sync_dir(path)
}

/// Sets the mode of a file or directory.
#[cfg(unix)]
pub(super) fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Other systems keep the access rules of the directory above.
#[cfg(not(unix))]
pub(super) fn restrict(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Removes a file or directory tree; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The sibling under which `path` is written.
pub(super) fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
}

/// The directory that holds `path`, with the current one written out.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
