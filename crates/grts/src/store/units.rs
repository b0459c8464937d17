//! Units: the steps of a run, each committed whole or not at all.
//!
//! A unit is a pure function of the settings and of earlier units. A resumed run asks for each
//! output by key before computing it, so it takes the same path as an unbroken one and recomputes at
//! most the unit that was in flight. Output and records travel in one transaction, synced before
//! [`RunDir::commit_unit`] returns. Time is kept in a column of its own, because it is the one thing
//! about a unit that differs from run to run.

use std::time::Instant;

use rusqlite::{OptionalExtension, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RunDir;
use super::records::Records;
use crate::error::Error;

impl RunDir {
    /// The output of a committed unit; `None` if it must still be computed.
    ///
    /// # Errors
    /// [`Error::Run`] if the stored output is not a `T`, [`Error::Store`] if it cannot be read.
    pub fn unit<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let stored: Option<String> = self
            .connection
            .query_row("SELECT output FROM units WHERE key = ?", [key], |row| row.get(0))
            .optional()
            .map_err(|error| self.database_error(error))?;
        let Some(text) = stored else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| Error::Run {
            path: self.path.clone(),
            problem: format!("holds unit `{key}` in a form that this `grts` cannot read ({error})"),
            hint: "use the version of `grts` that `run.toml` names".to_owned(),
        })
    }

    /// Commits a unit with its records, in one transaction that is on the disk when this returns.
    ///
    /// The time since the previous commit (or since the run was opened) is charged to it. An output
    /// must read back to itself as JSON, or a resume would go another way than the run; a NaN, which
    /// JSON turns into `null`, is refused by the same check wherever the type has no place for it.
    ///
    /// # Errors
    /// [`Error::DiskFull`], with nothing of the unit written; [`Error::Failed`] for a key that is
    /// committed already, an output that does not read back, or a record that is not finite;
    /// [`Error::Store`] otherwise.
    pub fn commit_unit<T: Serialize + DeserializeOwned>(
        &mut self,
        key: &str,
        output: &T,
        records: &Records,
    ) -> Result<(), Error> {
        let text = encode(key, output)?;
        records.check()?;
        let seconds = self.since.elapsed().as_secs_f64();
        match self.insert_unit(key, &text, seconds, records) {
            Ok(true) => {}
            Ok(false) => return Err(fault(key, "is committed already")),
            Err(error) => return Err(self.database_error(error)),
        }
        self.since = Instant::now();
        Ok(())
    }

    /// Writes a unit and its records; `false` if the key is taken.
    fn insert_unit(&mut self, key: &str, output: &str, seconds: f64, records: &Records) -> rusqlite::Result<bool> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let taken = transaction.prepare_cached("SELECT 1 FROM units WHERE key = ?")?.exists([key])?;
        if taken {
            return Ok(false);
        }
        let unit = transaction
            .prepare_cached("INSERT INTO units VALUES (NULL, ?, ?, ?)")?
            .insert(params![key, output, seconds])?;
        records.insert(&transaction, unit)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Wall-clock seconds of all committed units, over every resume.
    ///
    /// # Errors
    /// [`Error::Store`] if the database cannot be read.
    pub fn elapsed(&self) -> Result<f64, Error> {
        let sum = "SELECT TOTAL(seconds) FROM units";
        self.connection.query_row(sum, (), |row| row.get(0)).map_err(|e| self.database_error(e))
    }
}

/// The output as JSON that reads back to the same JSON.
fn encode<T: Serialize + DeserializeOwned>(key: &str, output: &T) -> Result<String, Error> {
    let unreadable = |error| fault(key, &format!("has an output that JSON cannot hold ({error})"));
    let text = serde_json::to_string(output).map_err(unreadable)?;
    let read: T = serde_json::from_str(&text).map_err(unreadable)?;
    let again = serde_json::to_string(&read).map_err(unreadable)?;
    if again == text { Ok(text) } else { Err(fault(key, "has an output that reads back differently")) }
}

fn fault(key: &str, problem: &str) -> Error {
    Error::Failed {
        problem: format!("unit `{key}` {problem}"),
        hint: "report this with the settings of the run".to_owned(),
    }
}
