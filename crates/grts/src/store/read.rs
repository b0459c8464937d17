//! Reads the records of one unit back, for reports and exports.
//!
//! A unit at a time keeps memory at the size of the largest unit, whatever the length of a run.
//! Aggregates are the reader's business: nothing is computed here.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::RunDir;
use super::records::{
    self, EntryRecord, EpisodeRecord, EventRecord, IterationRecord, Records, ScoreRecord, StoredPlayer, TurnRecord,
};
use crate::error::Error;

impl RunDir {
    /// The keys of the committed units, in the order of their commits.
    ///
    /// # Errors
    /// [`Error::Store`] if the database cannot be read.
    pub fn unit_keys(&self) -> Result<Vec<String>, Error> {
        let sql = "SELECT key FROM units ORDER BY seq";
        rows(&self.connection, sql, (), |row| row.get(0)).map_err(|e| self.database_error(e))
    }

    /// The records committed with a unit; `None` if it is not committed.
    ///
    /// # Errors
    /// [`Error::Store`] if the database cannot be read.
    pub fn records(&self, key: &str) -> Result<Option<Records>, Error> {
        let seq = self.connection.query_row("SELECT seq FROM units WHERE key = ?", [key], |row| row.get(0)).optional();
        seq.and_then(|seq| seq.map(|unit| read(&self.connection, unit)).transpose())
            .map_err(|error| self.database_error(error))
    }
}

fn read(from: &Connection, unit: i64) -> rusqlite::Result<Records> {
    Ok(Records {
        episodes: episodes(from, unit)?,
        entries: entries(from, unit)?,
        iterations: iterations(from, unit)?,
        events: events(from, unit)?,
    })
}

fn episodes(from: &Connection, unit: i64) -> rusqlite::Result<Vec<EpisodeRecord>> {
    let sql = "SELECT id, iteration, purpose, red, blue, episode, returns, cell, opening \
               FROM episodes WHERE unit = ? ORDER BY id";
    let played = rows(from, sql, [unit], |row| Ok((id(row)?, records::episode(row)?)))?;
    let (ids, mut episodes): (Vec<i64>, Vec<EpisodeRecord>) = played.into_iter().unzip();
    let at = |id: i64| ids.binary_search(&id).ok();
    let sql = "SELECT t.episode, t.turn, t.player, t.text, t.num_tokens FROM episodes e \
               JOIN turns t ON t.episode = e.id WHERE e.unit = ? \
               ORDER BY t.episode, t.turn, t.player DESC";
    for (id, turn) in rows(from, sql, [unit], |row| Ok((id(row)?, turn(row)?)))? {
        if let Some(episode) = at(id).and_then(|idx| episodes.get_mut(idx)) {
            episode.turns.push(turn);
        }
    }
    let sql = "SELECT s.episode, s.turn, s.h FROM episodes e \
               JOIN scores s ON s.episode = e.id WHERE e.unit = ? ORDER BY s.episode, s.turn";
    for (id, score) in rows(from, sql, [unit], |row| Ok((id(row)?, score(row)?)))? {
        if let Some(episode) = at(id).and_then(|idx| episodes.get_mut(idx)) {
            episode.scores.push(score);
        }
    }
    Ok(episodes)
}

/// The episode's id, which every query of episodes and their parts has first.
fn id(row: &Row<'_>) -> rusqlite::Result<i64> {
    row.get(0)
}

fn turn(row: &Row<'_>) -> rusqlite::Result<TurnRecord> {
    Ok(TurnRecord {
        turn: row.get(1)?,
        player: row.get::<_, StoredPlayer>(2)?.0,
        text: row.get(3)?,
        num_tokens: row.get(4)?,
    })
}

fn score(row: &Row<'_>) -> rusqlite::Result<ScoreRecord> {
    Ok(ScoreRecord { turn: row.get(1)?, h: row.get(2)? })
}

fn entries(from: &Connection, unit: i64) -> rusqlite::Result<Vec<EntryRecord>> {
    let sql = "SELECT iteration, row, col, count, mean, m2 FROM entries WHERE unit = ? \
               ORDER BY iteration, row, col";
    rows(from, sql, [unit], |row| {
        Ok(EntryRecord {
            iteration: row.get(0)?,
            row: row.get(1)?,
            col: row.get(2)?,
            count: row.get(3)?,
            mean: row.get(4)?,
            m2: row.get(5)?,
        })
    })
}

fn iterations(from: &Connection, unit: i64) -> rusqlite::Result<Vec<IterationRecord>> {
    let sql = "SELECT iteration, record FROM iterations WHERE unit = ? ORDER BY iteration";
    rows(from, sql, [unit], |row| {
        let text: String = row.get(1)?;
        let record = serde_json::from_str(&text)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into()))?;
        Ok(IterationRecord { iteration: row.get(0)?, record })
    })
}

fn events(from: &Connection, unit: i64) -> rusqlite::Result<Vec<EventRecord>> {
    let sql = "SELECT level, text FROM events WHERE unit = ? ORDER BY id";
    rows(from, sql, [unit], |row| Ok(EventRecord { level: row.get(0)?, text: row.get(1)? }))
}

/// Every row of a query.
fn rows<T>(
    from: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    from.prepare_cached(sql)?.query_map(params, read)?.collect()
}
