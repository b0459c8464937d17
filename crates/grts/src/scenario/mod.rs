//! Scenarios: from the text of a file to settings that are valid as a whole.
//!
//! Settings come in two steps: the text is checked completely here, and objects (models, worlds,
//! solvers) are built from the result elsewhere, so a wrong file never starts a run. Every key has a
//! default, and the defaults *are* the built-in scenario file, so they are written once, with
//! comments, where a user can copy them. This module opens no file and knows no model, world or run.

mod document;
mod quick;
pub(crate) mod ranges;
mod settings;

use std::path::{Path, PathBuf};

use grts_game::rules::Schedule;
use grts_game::{GameError, MetaSolver};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Table;
use toml::de::DeTable;

pub use settings::{
    Base, Blue, Budget, Certify, Dtype, Embedder, Evaluation, Game, Learning, MetaStrategy, Method, Model, Probe, Red,
    RedDiversity, Semantic, Solver,
};

use crate::error::Error;
use document::Document;

/// The built-in scenario, which is also the table of defaults.
const BUILTIN: &str = include_str!("../../../../assets/meridian/scenario.toml");

/// What of it differs where methods are compared.
const COMPARED: &str = include_str!("../../../../assets/meridian/compare.toml");

/// Everything that decides a run. Each field is a section or a top-level key of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Names the run directory; changes no result.
    pub name: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// The training scheme.
    pub method: Method,
    /// `[base]`
    pub base: Base,
    /// `[semantic]`
    pub semantic: Semantic,
    /// `[game]`
    pub game: Game,
    /// `[solver]`
    pub solver: Solver,
    /// `[certify]`
    pub certify: Certify,
    /// `[red]`
    pub red: Red,
    /// `[blue]`
    pub blue: Blue,
    /// `[probe]`
    pub probe: Probe,
    /// `[evaluation]`
    pub evaluation: Evaluation,
    /// `[budget]`
    pub budget: Budget,
}

impl Scenario {
    /// Validates the text of a scenario file; keys that are left out take their defaults.
    ///
    /// `origin` is the file's path: messages name it, and a relative `[base] model` starts from its
    /// directory. The file itself is not opened.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first fault in the order of the file: invalid TOML, an unknown key,
    /// a wrong type, or a value outside its range.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Error> {
        let template = template()?;
        let document = Document { text, origin, inside: "", template: &template };
        Self::resolve(&document, document.table()?.get_ref())
    }

    /// The scenario of the built-in world.
    ///
    /// # Errors
    /// [`Error::Setting`] if the shipped file is damaged, which the tests exclude.
    pub fn builtin() -> Result<Self, Error> {
        Self::parse(BUILTIN, Path::new("assets/meridian/scenario.toml"))
    }

    /// The built-in world with responses and a budget small enough that many methods can be compared.
    ///
    /// # Errors
    /// [`Error::Setting`] if the shipped file is damaged, which the tests exclude.
    pub fn compared() -> Result<Self, Error> {
        Self::parse(COMPARED, Path::new("assets/meridian/compare.toml"))
    }

    /// Validates the section `inside` of a larger text, as [`Scenario::parse`] does a whole one.
    ///
    /// # Errors
    /// As for [`Scenario::parse`], with the section's name before each key.
    pub(crate) fn parse_section(text: &str, origin: &Path, inside: &str) -> Result<Self, Error> {
        let template = template()?;
        let document = Document { text, origin, inside, template: &template };
        let whole = document.table()?;
        let section = whole.get_ref().get(inside).and_then(|value| value.get_ref().as_table());
        let section = section.ok_or_else(|| Error::Setting {
            file: origin.to_owned(),
            line: None,
            problem: format!("there is no section `[{inside}]`"),
            hint: "restore the file, or start a new run".to_owned(),
        })?;
        Self::resolve(&document, section)
    }

    fn resolve(document: &Document<'_>, given: &DeTable<'_>) -> Result<Self, Error> {
        let mut settings = defaults()?;
        document.overlay("", given, document.template, &mut settings)?;
        let mut scenario = from_table(settings, document.origin)?;
        scenario.game.rules().map_err(|error| idle(&error, document, given))?;
        if let Model::Directory(path) = &mut scenario.base.model {
            *path = located(path, document.origin)?;
        }
        if let Embedder::Directory(path) = &mut scenario.semantic.embedder {
            *path = located(path, document.origin)?;
        }
        scenario.agree(document.origin)?;
        Ok(scenario)
    }

    /// Refuses settings that are right one by one and wrong together; `origin` is the file that messages name.
    ///
    /// # Errors
    /// [`Error::Setting`] for a rule beside a method that is one, or for more iterations than the rule can take.
    pub fn agree(&self, origin: &Path) -> Result<(), Error> {
        let Some(MetaStrategy(rule)) = self.solver.meta_strategy else { return Ok(()) };
        let conflict = |problem: String, hint: String| {
            let problem = format!("`[solver] meta_strategy` is `\"{}\"`; {problem}", rule.name());
            Err(Error::Setting { file: origin.to_owned(), line: None, problem, hint })
        };
        if self.method != Method::Psro {
            let problem = "only `method = \"psro\"` has a choice, the other methods are their rule";
            return conflict(problem.to_owned(), "leave the key out, or set `method = \"psro\"`".to_owned());
        }
        // The untouched base of each side counts.
        let reached = self.solver.iterations.saturating_add(1);
        match rule.most_policies() {
            Some(most) if reached > most => conflict(
                format!(
                    "it takes {most} policies a side, and {} iterations may reach {reached}",
                    self.solver.iterations
                ),
                format!("set `[solver] iterations` to at most {}, or choose another rule", most - 1),
            ),
            _ => Ok(()),
        }
    }

    /// The complete settings as TOML, which [`Scenario::parse`] reads back to an equal value.
    ///
    /// # Errors
    /// [`Error::Failed`] for a value that TOML cannot hold: an integer above 2⁶³ − 1 set in code.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|error| unwritable(&error))
    }

    /// Eight hexadecimal digits over everything that changes a result: all settings but the name.
    ///
    /// A model directory counts by its path, not by its contents.
    ///
    /// # Errors
    /// As for [`Scenario::to_toml`].
    pub fn fingerprint(&self) -> Result<String, Error> {
        let nameless = Self { name: String::new(), ..self.clone() };
        let digest = Sha256::digest(nameless.to_toml()?.as_bytes());
        Ok(digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The defaults of every key; optional keys are absent.
fn defaults() -> Result<Table, Error> {
    let mut defaults: Table = BUILTIN.parse().map_err(|error: toml::de::Error| Error::Failed {
        problem: format!("the built-in scenario is damaged: {}", error.message()),
        hint: "build `grts` again from clean sources".to_owned(),
    })?;
    // All keys of this section are optional, and a section without keys need not be written.
    defaults.entry("budget").or_insert_with(|| Table::new().into());
    Ok(defaults)
}

/// Every valid key with a value of its type, optional keys included.
pub(crate) fn template() -> Result<Table, Error> {
    let mut scenario = from_table(defaults()?, Path::new("assets/meridian/scenario.toml"))?;
    scenario.solver.meta_strategy = Some(MetaStrategy(MetaSolver::Nash));
    let complete = Scenario {
        base: Base { world_seed: 1, dtype: Dtype::Bf16, checkpointing: true, ..scenario.base },
        game: Game { red_team: 2, schedule: Schedule::Drawn, ..scenario.game },
        budget: Budget { tokens: Some(1), dialogues: Some(1), seconds: Some(1) },
        ..scenario
    };
    Table::try_from(complete).map_err(|error| unwritable(&error))
}

fn from_table(table: Table, origin: &Path) -> Result<Scenario, Error> {
    table.try_into().map_err(|error: toml::de::Error| Error::Setting {
        file: origin.to_owned(),
        line: None,
        problem: error.message().to_owned(),
        hint: "compare with the built-in scenario".to_owned(),
    })
}

/// Seats that would never speak: the one fault that several keys make together.
fn idle(error: &GameError, document: &Document<'_>, given: &DeTable<'_>) -> Error {
    let keys = ["turns", "red_team", "schedule"];
    Error::Setting {
        file: document.origin.to_owned(),
        line: document.line_of_last(given, "game", &keys),
        problem: error.to_string(),
        hint: "lower `[game] red_team`, raise `turns`, or take another `schedule`".to_owned(),
    }
}

/// Makes a model's path independent of the working directory, so that a run can be resumed anywhere.
fn located(path: &Path, origin: &Path) -> Result<PathBuf, Error> {
    let beside = origin.parent().unwrap_or(Path::new("")).join(path);
    let absolute = std::path::absolute(&beside).map_err(|e| Error::io("locate", &beside, e))?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(Error::Model {
            path: absolute,
            problem: "the path is not valid UTF-8 and cannot be written to `run.toml`".to_owned(),
            hint: "rename the directory".to_owned(),
        }),
    }
}

fn unwritable(error: &toml::ser::Error) -> Error {
    Error::Failed {
        problem: format!("the settings cannot be written as TOML: {error}"),
        hint: "use integers below 2^63".to_owned(),
    }
}
