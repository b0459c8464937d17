//! One process at a time in a run directory.
//!
//! The lock is the operating system's, on `run.lock`, so it ends with its holder even after
//! `kill -9`; a file whose mere existence means "locked" would have to be removed by hand. The
//! process id inside is for the message only and decides nothing.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::files;
use crate::error::Error;

/// Name of the lock file inside a run directory.
pub(super) const LOCK: &str = "run.lock";

/// The held lock.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a child that was forked but has not yet replaced its image still
        // shares the file, and with it the lock. If this fails, the lock ends with the process.
        let _ = self.0.unlock();
    }
}

/// Takes the lock of `directory`; it is held until the returned value is dropped.
pub(super) fn acquire(directory: &Path) -> Result<Lock, Error> {
    let path = directory.join(LOCK);
    let mut file = files::open_private(&path).map_err(|e| Error::io("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::RunInUse { path: directory.to_owned(), pid: holder(&mut file) });
        }
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, error)),
    }
    sign(&mut file).map_err(|e| Error::io("write", &path, e))?;
    Ok(Lock(file))
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

/// The holder's process id; `None` in the instant before it has signed.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
