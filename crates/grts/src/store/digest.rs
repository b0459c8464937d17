//! The end state of a run as one hash, to prove that a killed and resumed run equals an unbroken one.
//!
//! It covers what the run *means* (outputs, dialogues, judgements, entries, iterations, weights) and
//! leaves out what may differ between two equal runs: row ids, page layout, order of commits, wall
//! clock, events. Every value is hashed with its type and length, so that no two different
//! contents run together. It is a test's and an auditor's tool, not a checksum against damage.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sha2::{Digest, Sha256};

use super::{POLICIES, RunDir};
use crate::error::Error;

/// Ids count from the first episode of the unit, since they are consecutive inside it.
const CONTENT: [&str; 6] = [
    "SELECT key, output FROM units ORDER BY key",
    "SELECT u.key, e.iteration, e.purpose, e.red, e.blue, e.episode, e.returns, e.cell, e.opening \
     FROM episodes e JOIN units u ON u.seq = e.unit ORDER BY u.key, e.id",
    "WITH first AS (SELECT unit, MIN(id) AS id FROM episodes GROUP BY unit) \
     SELECT u.key, e.id - first.id AS position, t.turn, t.player, t.text, t.num_tokens \
     FROM turns t JOIN episodes e ON e.id = t.episode JOIN units u ON u.seq = e.unit \
     JOIN first ON first.unit = e.unit ORDER BY u.key, position, t.turn, t.player",
    "WITH first AS (SELECT unit, MIN(id) AS id FROM episodes GROUP BY unit) \
     SELECT u.key, e.id - first.id AS position, s.turn, s.h \
     FROM scores s JOIN episodes e ON e.id = s.episode JOIN units u ON u.seq = e.unit \
     JOIN first ON first.unit = e.unit ORDER BY u.key, position, s.turn",
    "SELECT u.key, n.iteration, n.row, n.col, n.count, n.mean, n.m2 \
     FROM entries n JOIN units u ON u.seq = n.unit ORDER BY u.key, n.iteration, n.row, n.col",
    "SELECT u.key, i.iteration, i.record \
     FROM iterations i JOIN units u ON u.seq = i.unit ORDER BY u.key, i.iteration",
];

impl RunDir {
    /// SHA-256 over the logical content of the run, as 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Io`] if something cannot be read.
    pub fn end_state_digest(&self) -> Result<String, Error> {
        let mut hasher = Sha256::new();
        for query in CONTENT {
            hash_rows(&mut hasher, &self.connection, query).map_err(|e| self.database_error(e))?;
        }
        let policies = self.path.join(POLICIES);
        hash_files(&mut hasher, &policies).map_err(|e| Error::io("read", &policies, e))?;
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn hash_rows(hasher: &mut Sha256, from: &Connection, query: &str) -> rusqlite::Result<()> {
    hash_bytes(hasher, b'q', query.as_bytes());
    let mut statement = from.prepare(query)?;
    let columns = statement.column_count();
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Null => hash_bytes(hasher, b'n', &[]),
                ValueRef::Integer(x) => hash_bytes(hasher, b'i', &x.to_le_bytes()),
                ValueRef::Real(x) => hash_bytes(hasher, b'r', &x.to_bits().to_le_bytes()),
                ValueRef::Text(text) => hash_bytes(hasher, b't', text),
                ValueRef::Blob(blob) => hash_bytes(hasher, b'b', blob),
            }
        }
    }
    Ok(())
}

fn hash_bytes(hasher: &mut Sha256, kind: u8, bytes: &[u8]) {
    hasher.update([kind]);
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Hashes names and bytes of everything below `directory`, in the order of names.
fn hash_files(hasher: &mut Sha256, directory: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = if entry.file_type()?.is_dir() { b'd' } else { b'f' };
        hash_bytes(hasher, kind, entry.file_name().as_encoded_bytes());
        if kind == b'd' {
            hash_files(hasher, &entry.path())?;
        } else {
            hasher.update(entry.metadata()?.len().to_le_bytes());
            hash_file(hasher, File::open(entry.path())?)?;
        }
    }
    // Marks the end, so that a file cannot pass for one of the directory above.
    hash_bytes(hasher, b'e', &[]);
    Ok(())
}

fn hash_file(hasher: &mut Sha256, file: File) -> io::Result<()> {
    let mut reader = BufReader::new(file);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        hasher.update(bytes);
        let read = bytes.len();
        reader.consume(read);
    }
}
