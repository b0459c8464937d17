//! The run store: one directory that survives `kill -9` at any instant.
//!
//! ```text
//! run.toml      resolved settings and versions        run.lock      held while a process works here
//! run.sqlite    units and their records (WAL)         summary.json  the result, when there is one
//! policies/ID/  adapters
//! ```
//!
//! SQLite holds everything that must appear together, since its transactions are the only atomic
//! step that spans many records; weights and texts for other programs are files, replaced by rename.
//! Creation has an order that makes each instant recoverable: settings, database, and last
//! `policies/`, whose existence says that creation was completed. The store sees plain values only:
//! no tensor, no world, no model, and it never deletes a run.

mod digest;
mod files;
mod lock;
mod manifest;
mod policies;
mod read;
mod records;
mod schema;
mod units;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::Connection;
use serde::de::DeserializeOwned;

pub use manifest::Manifest;
pub use records::{
    EntryRecord, EpisodeRecord, EventRecord, IterationRecord, Level, Purpose, Records, ScoreRecord, TurnRecord,
};

use crate::error::Error;
use lock::Lock;

const MANIFEST: &str = "run.toml";
const DATABASE: &str = "run.sqlite";
const POLICIES: &str = "policies";
const SUMMARY: &str = "summary.json";

/// An open run, locked against every other handle until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    manifest: Manifest,
    // Before the lock, because fields are dropped in this order: the database closes first.
    connection: Connection,
    _lock: Lock,
    /// Since when time is charged to the next unit.
    since: Instant,
}

impl RunDir {
    /// Creates a run below `parent` (made if absent) as `NAME-FINGERPRINT`, or `…-2`, `…-3` if taken.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`] from the file system.
    pub fn create_in(parent: &Path, manifest: &Manifest) -> Result<Self, Error> {
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))?;
        let scenario = &manifest.scenario;
        let name = format!("{}-{}", scenario.name, scenario.fingerprint()?);
        let mut path = parent.join(&name);
        let mut number = 1_u32;
        // Making the directory is the test, so that two processes cannot take the same name.
        while let Err(error) = files::create_private_dir(&path) {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(Error::io("create", &path, error));
            }
            number += 1;
            path = parent.join(format!("{name}-{number}"));
        }
        Self::initialise(&path, manifest)
    }

    /// Creates a run at `path`, which must be absent or an empty directory.
    ///
    /// # Errors
    /// [`Error::Run`] if something is there, and it stays as it is; [`Error::RunInUse`];
    /// [`Error::Io`] or [`Error::DiskFull`] from the file system.
    pub fn create_at(path: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let parent = files::parent_of(path);
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))?;
        match files::create_private_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => require_empty(path)?,
            made => made.map_err(|e| Error::io("create", path, e))?,
        }
        Self::initialise(path, manifest)
    }

    fn initialise(path: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let lock = lock::acquire(path)?;
        // Once more under the lock: another process may have been quicker.
        require_empty(path)?;
        files::restrict(path, 0o700).map_err(|e| Error::io("close to others", path, e))?;
        files::write_atomic(&path.join(MANIFEST), manifest.to_toml()?.as_bytes())?;
        let connection = complete(path)?;
        Ok(Self::assemble(path, manifest.clone(), connection, lock))
    }

    /// Whether a run was begun at `path`.
    pub fn exists(path: &Path) -> bool {
        path.join(MANIFEST).is_file()
    }

    /// Opens an existing run and clears away what a killed process left half-written.
    ///
    /// # Errors
    /// [`Error::Run`] if it is no run, is damaged, or was written by a newer `grts`;
    /// [`Error::RunInUse`]; [`Error::Setting`] for a faulty `run.toml`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !Self::exists(path) {
            return Err(not_a_run(path));
        }
        let manifest_path = path.join(MANIFEST);
        let lock = lock::acquire(path).map_err(|error| error.in_run(path))?;
        let text = fs::read_to_string(&manifest_path).map_err(|error| Error::io("read", &manifest_path, error))?;
        let manifest = Manifest::parse(&text, &manifest_path)?;
        clear(path).map_err(|error| Error::io("clean", path, error))?;
        let connection = if path.join(POLICIES).is_dir() { schema::open(path)? } else { complete(path)? };
        Ok(Self::assemble(path, manifest, connection, lock))
    }

    fn assemble(path: &Path, manifest: Manifest, connection: Connection, lock: Lock) -> Self {
        Self { path: path.to_owned(), manifest, connection, _lock: lock, since: Instant::now() }
    }

    /// The run directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Settings and versions, as `run.toml` has them.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Writes `summary.json`, replacing an earlier one.
    ///
    /// # Errors
    /// [`Error::DiskFull`] or [`Error::Io`], with the earlier file as it was.
    pub fn write_summary(&self, summary: &serde_json::Value) -> Result<(), Error> {
        let text = format!("{summary:#}\n");
        files::write_atomic(&self.path.join(SUMMARY), text.as_bytes()).map_err(|error| error.in_run(&self.path))
    }

    /// `summary.json`; `None` before the end of the run.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Run`] if it is not a `T`.
    pub fn summary<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let path = self.path.join(SUMMARY);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| Error::Run {
            path: self.path.clone(),
            problem: format!("has a `{SUMMARY}` that this `grts` cannot read ({error})"),
            hint: format!("write it again: `grts resume {}`", self.path.display()),
        })
    }

    fn database_error(&self, source: rusqlite::Error) -> Error {
        schema::database_error(&self.path, source)
    }
}

/// The steps of a creation after `run.toml`; they may be repeated after a kill.
fn complete(path: &Path) -> Result<Connection, Error> {
    let connection = schema::create(path)?;
    let policies = path.join(POLICIES);
    files::create_private_dir(&policies)
        .and_then(|()| files::sync_dir(path))
        .map_err(|error| Error::io("create", &policies, error).in_run(path))?;
    Ok(connection)
}

/// Removes what a killed process was writing.
fn clear(path: &Path) -> io::Result<()> {
    for name in [MANIFEST, SUMMARY] {
        files::remove(&files::partial_of(&path.join(name)))?;
    }
    let policies = path.join(POLICIES);
    if policies.is_dir() { policies::remove_unfinished(&policies) } else { Ok(()) }
}

/// Refuses anything but a directory that holds at most the traces of a creation without settings.
fn require_empty(path: &Path) -> Result<(), Error> {
    let unfinished = files::partial_of(Path::new(MANIFEST));
    let ours = |name: &Path| name == Path::new(lock::LOCK) || name == unfinished;
    let entries = fs::read_dir(path).map_err(|e| Error::io("read", path, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", path, e))?;
        if !ours(Path::new(&entry.file_name())) {
            return Err(Error::Run {
                path: path.to_owned(),
                problem: "exists and is not empty".to_owned(),
                hint: format!("go on with `grts resume {}`, or use another `--run-dir`", path.display()),
            });
        }
    }
    Ok(())
}

fn not_a_run(path: &Path) -> Error {
    let (problem, hint) = if path.is_dir() {
        (format!("has no `{MANIFEST}`"), "start a run with `grts solve`")
    } else {
        ("does not exist".to_owned(), "check the path, or start a run with `grts solve`")
    };
    Error::Run { path: path.to_owned(), problem, hint: hint.to_owned() }
}
