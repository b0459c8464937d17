//! `run.toml`: what a run is, written once when it is created.
//!
//! It holds the settings after defaults, `--quick` and paths have been resolved, so that a resume
//! neither reads the scenario file again nor depends on where it was started. It is checked as
//! strictly as a scenario, because people edit it. Nothing that changes while a run goes on is here.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::scenario::Scenario;

const HEADER: &str = "# Written by `grts` when the run was created; a run keeps its settings.\n\n";

/// Settings and versions of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// What the run was made with: `grts` and whatever else its caller names (weights, world).
    pub versions: BTreeMap<String, String>,
    /// The resolved settings, the seed among them.
    pub scenario: Scenario,
}

#[derive(Deserialize)]
struct Versions {
    versions: BTreeMap<String, String>,
}

impl Manifest {
    /// The manifest of a run of this version of `grts`.
    pub fn new(scenario: Scenario) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { versions: BTreeMap::from([("grts".to_owned(), version)]), scenario }
    }

    /// The text of `run.toml`.
    ///
    /// # Errors
    /// As for [`Scenario::to_toml`].
    pub fn to_toml(&self) -> Result<String, Error> {
        let body = toml::to_string(self).map_err(|error| Error::Failed {
            problem: format!("`run.toml` cannot be written: {error}"),
            hint: "use integers below 2^63".to_owned(),
        })?;
        Ok(format!("{HEADER}{body}"))
    }

    /// Reads the text of `run.toml`; `origin` is its path.
    ///
    /// # Errors
    /// [`Error::Setting`] with the line of the first fault.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Error> {
        let scenario = Scenario::parse_section(text, origin, "scenario")?;
        let Versions { versions } = toml::from_str(text).map_err(|error| Error::Setting {
            file: origin.to_owned(),
            line: None,
            problem: format!("section `[versions]`: {}", error.message()),
            hint: "restore the file, or start a new run".to_owned(),
        })?;
        Ok(Self { versions, scenario })
    }
}
