//! What a unit leaves behind for reports: plain rows, written with it and never changed.
//!
//! The records repeat nothing that a unit's output needs; a resume reads outputs, a report reads
//! records. Numbers must be finite: SQLite stores NaN as NULL, which in a score would turn a broken
//! judge into "unscored". Text of dialogues is stored as it was said and shown by nobody here.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, Transaction, params};

use grts_game::rules::Player;

use crate::error::Error;

/// Declares an enum whose values are stored as words.
macro_rules! stored_as_text {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// The word in the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($text => Ok(Self::$value),)+
                    _ => Err(FromSqlError::InvalidType),
                }
            }
        }
    };
}

stored_as_text! {
    /// Why a dialogue was played. Dialogues of one purpose never serve another.
    Purpose {
        /// To train a policy.
        Train = "train",
        /// To estimate an entry of the meta-game.
        Payoff = "payoff",
        /// To estimate the gain of a response.
        Gain = "gain",
        /// A scripted attack of the held-out grid.
        Grid = "grid",
        /// A look-alike request.
        Honest = "honest",
        /// A question about an open fact.
        Open = "open",
        /// To measure a probe.
        Probe = "probe",
        /// To bound the regret of the final mixtures.
        Certificate = "certificate",
    }
}

stored_as_text! {
    /// How much an event matters.
    Level {
        /// Worth knowing.
        Info = "info",
        /// A result may need care.
        Warning = "warning",
        /// Something failed and was worked around.
        Error = "error",
    }
}

/// A player as the database spells it; the type belongs to the rules, which know no database.
pub(super) struct StoredPlayer(pub(super) Player);

impl ToSql for StoredPlayer {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Player::Red => "red".into(),
            Player::Blue => "blue".into(),
        })
    }
}

impl FromSql for StoredPlayer {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "red" => Ok(Self(Player::Red)),
            "blue" => Ok(Self(Player::Blue)),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// Everything one unit leaves behind, in the order in which it is stored and read back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// Dialogues that were played.
    pub episodes: Vec<EpisodeRecord>,
    /// Entries of the meta-game as they stood.
    pub entries: Vec<EntryRecord>,
    /// Iterations that were completed.
    pub iterations: Vec<IterationRecord>,
    /// Things a reader should know; not part of the end state.
    pub events: Vec<EventRecord>,
}

/// One dialogue.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeRecord {
    /// Iteration of the solver; `None` outside the loop (evaluations before and after it).
    pub iteration: Option<u32>,
    /// Why it was played.
    pub purpose: Purpose,
    /// Id of the red policy or script.
    pub red: String,
    /// Id of the blue policy.
    pub blue: String,
    /// Index that keyed its random stream.
    pub episode_idx: u32,
    /// Return of red; `None` if a missing score could have changed it.
    pub returns: Option<f64>,
    /// Label of its cell in a known world.
    pub cell: Option<String>,
    /// What red was asked to obtain.
    pub opening: String,
    /// Utterances by turn, red's before blue's.
    pub turns: Vec<TurnRecord>,
    /// Judgements by turn; a turn that was not judged has none.
    pub scores: Vec<ScoreRecord>,
}

/// One utterance.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnRecord {
    /// Turn of the dialogue, from 0.
    pub turn: u32,
    /// Who said it.
    pub player: Player,
    /// What was said.
    pub text: String,
    /// Tokens generated for it.
    pub num_tokens: u32,
}

/// One judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRecord {
    /// Turn of the dialogue, from 0.
    pub turn: u32,
    /// The score in [0, 1]; `None` if the judge gave none (unscored).
    pub h: Option<f64>,
}

/// One entry of the meta-game.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryRecord {
    /// Iteration of the solver.
    pub iteration: u32,
    /// Index of the red policy.
    pub row: u32,
    /// Index of the blue policy.
    pub col: u32,
    /// Dialogues behind it.
    pub count: u32,
    /// Mean return of red.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
}

/// One completed iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct IterationRecord {
    /// Index of the iteration, from 0.
    pub iteration: u32,
    /// The solver's own record of it.
    pub record: serde_json::Value,
}

/// One remark.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// How much it matters.
    pub level: Level,
    /// One sentence.
    pub text: String,
}

impl Records {
    /// Refuses numbers that the database cannot hold.
    pub(super) fn check(&self) -> Result<(), Error> {
        for episode in &self.episodes {
            episode.returns.iter().try_for_each(|&returns| finite("a return", returns))?;
            let mut scores = episode.scores.iter().filter_map(|score| score.h);
            scores.try_for_each(|h| finite("a score", h))?;
        }
        for entry in &self.entries {
            finite("the mean of an entry", entry.mean)?;
            finite("the spread of an entry", entry.m2)?;
        }
        Ok(())
    }

    /// Adds the rows to `unit`.
    pub(super) fn insert(&self, to: &Transaction<'_>, unit: i64) -> rusqlite::Result<()> {
        self.insert_episodes(to, unit)?;
        let mut entry = to.prepare_cached("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)")?;
        for e in &self.entries {
            entry.execute(params![unit, e.iteration, e.row, e.col, e.count, e.mean, e.m2])?;
        }
        let mut iteration = to.prepare_cached("INSERT INTO iterations VALUES (?, ?, ?)")?;
        for i in &self.iterations {
            iteration.execute(params![unit, i.iteration, i.record.to_string()])?;
        }
        let mut event = to.prepare_cached("INSERT INTO events VALUES (NULL, ?, ?, ?)")?;
        for e in &self.events {
            event.execute(params![unit, e.level, e.text])?;
        }
        Ok(())
    }

    fn insert_episodes(&self, to: &Transaction<'_>, unit: i64) -> rusqlite::Result<()> {
        let mut episode = to.prepare_cached("INSERT INTO episodes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        let mut turn = to.prepare_cached("INSERT INTO turns VALUES (?, ?, ?, ?, ?)")?;
        let mut score = to.prepare_cached("INSERT INTO scores VALUES (?, ?, ?)")?;
        for e in &self.episodes {
            let id = episode.insert(params![
                unit,
                e.iteration,
                e.purpose,
                e.red,
                e.blue,
                e.episode_idx,
                e.returns,
                e.cell,
                e.opening
            ])?;
            for t in &e.turns {
                turn.execute(params![id, t.turn, StoredPlayer(t.player), t.text, t.num_tokens])?;
            }
            for s in &e.scores {
                score.execute(params![id, s.turn, s.h])?;
            }
        }
        Ok(())
    }
}

fn finite(what: &str, value: f64) -> Result<(), Error> {
    if value.is_finite() {
        return Ok(());
    }
    Err(Error::Failed {
        problem: format!("{what} is `{value}`, which is not a finite number"),
        hint: "report this with the settings of the run".to_owned(),
    })
}

/// Reads the columns `iteration .. opening` of `episodes`, which begin at index 1.
pub(super) fn episode(row: &Row<'_>) -> rusqlite::Result<EpisodeRecord> {
    Ok(EpisodeRecord {
        iteration: row.get(1)?,
        purpose: row.get(2)?,
        red: row.get(3)?,
        blue: row.get(4)?,
        episode_idx: row.get(5)?,
        returns: row.get(6)?,
        cell: row.get(7)?,
        opening: row.get(8)?,
        turns: Vec::new(),
        scores: Vec::new(),
    })
}
