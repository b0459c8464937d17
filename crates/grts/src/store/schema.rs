//! The tables of `run.sqlite` and how older ones become today's.
//!
//! `user_version` counts the migrations that have been applied, so that the list below is both the
//! schema and its history: it only ever grows. A database with a higher number belongs to a newer
//! `grts` and is refused, because guessing at columns would corrupt a run.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{DATABASE, files};
use crate::error::{Error, is_full};

const MIGRATIONS: &[&str] = &["
CREATE TABLE units (
    seq INTEGER PRIMARY KEY,            -- order of commits
    key TEXT NOT NULL UNIQUE,
    output TEXT NOT NULL,               -- JSON
    seconds REAL NOT NULL               -- wall clock; not part of the end state
) STRICT;
CREATE TABLE episodes (
    id INTEGER PRIMARY KEY,             -- consecutive inside a unit
    unit INTEGER NOT NULL REFERENCES units(seq),
    iteration INTEGER,
    purpose TEXT NOT NULL,
    red TEXT NOT NULL,
    blue TEXT NOT NULL,
    episode INTEGER NOT NULL,           -- index of the random stream
    returns REAL,                       -- of red; NULL: unscored
    cell TEXT,
    opening TEXT NOT NULL
) STRICT;
CREATE INDEX episodes_of_unit ON episodes(unit);
CREATE TABLE turns (
    episode INTEGER NOT NULL REFERENCES episodes(id),
    turn INTEGER NOT NULL,
    player TEXT NOT NULL CHECK (player IN ('red', 'blue')),
    text TEXT NOT NULL,
    num_tokens INTEGER NOT NULL,
    PRIMARY KEY (episode, turn, player)
) STRICT, WITHOUT ROWID;
CREATE TABLE scores (
    episode INTEGER NOT NULL REFERENCES episodes(id),
    turn INTEGER NOT NULL,
    h REAL,                             -- NULL: unscored
    PRIMARY KEY (episode, turn)
) STRICT, WITHOUT ROWID;
CREATE TABLE entries (
    unit INTEGER NOT NULL REFERENCES units(seq),
    iteration INTEGER NOT NULL,
    row INTEGER NOT NULL,
    col INTEGER NOT NULL,
    count INTEGER NOT NULL,
    mean REAL NOT NULL,
    m2 REAL NOT NULL,                   -- sum of squared deviations
    PRIMARY KEY (unit, iteration, row, col)
) STRICT, WITHOUT ROWID;
CREATE TABLE iterations (
    unit INTEGER NOT NULL REFERENCES units(seq),
    iteration INTEGER NOT NULL,
    record TEXT NOT NULL,               -- JSON
    PRIMARY KEY (unit, iteration)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    unit INTEGER NOT NULL REFERENCES units(seq),
    level TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
"];

/// Makes the database of a new run, or completes one whose creation was killed.
pub(super) fn create(directory: &Path) -> Result<Connection, Error> {
    let path = directory.join(DATABASE);
    // SQLite gives its side files the mode of the main file, so the main file is made first.
    files::open_private(&path).map_err(|error| Error::io("create", &path, error))?;
    let created = connect(&path).and_then(|mut connection| {
        prepare(&mut connection)?;
        Ok(connection)
    });
    created.map_err(|error| database_error(directory, error))
}

/// Opens, checks and migrates the database of an existing run.
pub(super) fn open(directory: &Path) -> Result<Connection, Error> {
    let path = directory.join(DATABASE);
    if !path.is_file() {
        return Err(damaged(directory, &format!("has no `{DATABASE}`")));
    }
    let failed = |error| database_error(directory, error);
    let mut connection = connect(&path).map_err(failed)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(damaged(directory, &format!("has a damaged `{DATABASE}` ({verdict})")));
    }
    match version(&connection).map_err(failed)? {
        0 => return Err(damaged(directory, &format!("has an empty `{DATABASE}`"))),
        newer if newer > MIGRATIONS.len() => return Err(too_new(directory, newer)),
        // Only now is anything written: a file that is refused stays as it was.
        _ => prepare(&mut connection).map_err(failed)?,
    }
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Sets what makes a commit durable and brings the schema up to date.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate(connection, MIGRATIONS)
}

/// Applies the migrations that `connection` has not seen, each with its number in one transaction.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let done = version(connection)?;
    for (number, migration) in (1_u32..).zip(migrations).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: u32 = connection.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    Ok(version as usize)
}

fn damaged(directory: &Path, problem: &str) -> Error {
    Error::Run {
        path: directory.to_owned(),
        problem: problem.to_owned(),
        hint: "restore it from a copy, or start a new run with `grts solve`".to_owned(),
    }
}

fn too_new(directory: &Path, version: usize) -> Error {
    Error::Run {
        path: directory.to_owned(),
        problem: format!("has schema version {version}; this `grts` knows versions up to {}", MIGRATIONS.len()),
        hint: "use the version of `grts` that wrote it, or a newer one".to_owned(),
    }
}

/// Tells a full disk and a damaged file apart from other database errors.
pub(super) fn database_error(directory: &Path, source: rusqlite::Error) -> Error {
    let path = directory.join(DATABASE);
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::DiskFull { path, run: Some(directory.to_owned()) },
        // SQLite reports a quota and the file-size limit as plain I/O errors.
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if cannot_grow(directory) => {
            Error::DiskFull { path, run: Some(directory.to_owned()) }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            damaged(directory, &format!("has a damaged `{DATABASE}` ({source})"))
        }
        _ => Error::Store { path, source },
    }
}

/// Whether a file as long as the database's longest may not grow here.
fn cannot_grow(directory: &Path) -> bool {
    use std::io::{Seek, SeekFrom, Write};
    let length = |name: &str| std::fs::metadata(directory.join(name)).map_or(0, |m| m.len());
    let longest = length(DATABASE).max(length("run.sqlite-wal"));
    let probe = files::partial_of(&directory.join("space"));
    let grown = files::open_private(&probe).and_then(|mut file| {
        file.seek(SeekFrom::Start(longest))?;
        // As much as SQLite's shared-memory file, the largest step that it takes.
        file.write_all(&[0; 32 * 1024])?;
        file.sync_all()
    });
    let _ = files::remove(&probe);
    grown.is_err_and(|error| is_full(&error))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{MIGRATIONS, migrate, version};

    #[test]
    fn migrations_are_applied_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, MIGRATIONS).unwrap();
        assert_eq!(version(&connection).unwrap(), MIGRATIONS.len());
        let mut longer = MIGRATIONS.to_vec();
        longer.push("ALTER TABLE units ADD COLUMN note TEXT");
        migrate(&mut connection, &longer).unwrap();
        migrate(&mut connection, &longer).unwrap();
        assert_eq!(version(&connection).unwrap(), longer.len());
        connection.execute("INSERT INTO units VALUES (1, 'a', '{}', 0.0, 'x')", ()).unwrap();
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = ["CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)"];
        migrate(&mut connection, &broken).unwrap_err();
        assert_eq!(version(&connection).unwrap(), 1);
        connection.execute("INSERT INTO b VALUES (1)", ()).unwrap_err();
    }
}
