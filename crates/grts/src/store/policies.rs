//! Policies on disk: one directory each, complete or absent.
//!
//! Weights are files and not rows, because other programs load them. A policy is saved before the
//! unit that speaks of it is committed, so a kill can leave a policy that no unit knows; the unit is
//! then computed again and replaces it by the same bytes. What a policy's files are is the writer's
//! business.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{POLICIES, RunDir, files};
use crate::error::Error;
use crate::scenario::ranges::is_name;

/// Prefix of a policy that is being written; no id begins with a dot.
const WRITING: &str = ".partial-";

impl RunDir {
    /// Where the policy `id` is, or will be.
    pub fn policy_path(&self, id: &str) -> PathBuf {
        self.path.join(POLICIES).join(id)
    }

    /// The policies that are there, sorted.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read.
    pub fn policy_ids(&self) -> Result<Vec<String>, Error> {
        let policies = self.path.join(POLICIES);
        let names = || -> io::Result<Vec<String>> {
            let names = fs::read_dir(&policies)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned()));
            names.collect()
        };
        let mut ids = names().map_err(|error| Error::io("read", &policies, error))?;
        ids.retain(|id| is_name(id));
        ids.sort_unstable();
        Ok(ids)
    }

    /// Saves the policy `id`: `write` fills an empty directory, which then appears whole and synced.
    ///
    /// A directory of that id left over from a killed unit is replaced.
    ///
    /// # Errors
    /// [`Error::Failed`] for an id that is not a file name, [`Error::DiskFull`] and [`Error::Io`]
    /// from the file system, and whatever `write` returns; nothing is left then.
    pub fn save_policy(&self, id: &str, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
        if !is_name(id) {
            return Err(Error::Failed {
                problem: format!("`{id}` cannot be the name of a policy's directory"),
                hint: "use letters, digits, `-`, `_` and `.`".to_owned(),
            });
        }
        let writing = self.path.join(POLICIES).join(format!("{WRITING}{id}"));
        let saved = self.write_policy(id, &writing, write);
        if saved.is_err() {
            let _ = files::remove(&writing);
        }
        saved.map_err(|error| error.in_run(&self.path))
    }

    fn write_policy(
        &self,
        id: &str,
        writing: &Path,
        write: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let failed = |error| Error::io("save", writing, error);
        files::remove(writing).map_err(failed)?;
        files::create_private_dir(writing).map_err(failed)?;
        write(writing)?;
        files::seal(writing).map_err(failed)?;
        let path = self.policy_path(id);
        let publish = || {
            files::remove(&path)?;
            fs::rename(writing, &path)?;
            files::sync_dir(&self.path.join(POLICIES))
        };
        publish().map_err(|error| Error::io("save", &path, error))
    }
}

/// Removes policies whose writing was killed.
pub(super) fn remove_unfinished(policies: &Path) -> io::Result<()> {
    for entry in fs::read_dir(policies)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(WRITING) {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}
