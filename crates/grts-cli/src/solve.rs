//! `grts solve`: a scenario becomes a new run, which is then played like any other.
//!
//! Everything that can be wrong is found before the run directory is made: first the text of the scenario, then the
//! model it names. So a wrong input leaves nothing behind, and a directory that exists is a run that can be resumed.

use crate::args::Solve;
use crate::resume::to_the_end;
use grts::error::Error;
use grts::scenario::Scenario;
use grts::session;
use grts::store::{Manifest, RunDir};
use std::fs;
use std::io;
use std::path::Path;

/// Where runs go that are given no directory.
const RUNS: &str = "runs";

/// Starts a run and plays it to its end.
pub fn run(arguments: &Solve) -> Result<(), Error> {
    let scenario = settings(arguments)?;
    session::check(&scenario, arguments.common.device)?;
    let manifest = Manifest::new(scenario);
    let run = match &arguments.run_dir {
        Some(path) => RunDir::create_at(path, &manifest)?,
        None => RunDir::create_in(Path::new(RUNS), &manifest)?,
    };
    to_the_end(run, arguments.common.device, arguments.common.json)
}

/// The scenario with what was typed on top of it.
fn settings(arguments: &Solve) -> Result<Scenario, Error> {
    let mut scenario = match &arguments.scenario {
        Some(path) => Scenario::parse(&read(path)?, path)?,
        None => Scenario::builtin()?,
    };
    // First, so that what is typed beside it is meant.
    if arguments.quick {
        scenario = scenario.quick();
    }
    if let Some(seed) = arguments.seed {
        scenario.seed = seed;
    }
    if let Some(method) = arguments.method {
        scenario.method = method.into();
    }
    if let Some(iterations) = arguments.iterations.and_then(|n| usize::try_from(n).ok()) {
        scenario.solver.iterations = iterations;
    }
    scenario.agree(arguments.scenario.as_deref().unwrap_or(Path::new("the built-in scenario")))?;
    Ok(scenario)
}

/// The text of a scenario file.
pub fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Error::Setting {
            file: path.to_owned(),
            line: None,
            problem: "not UTF-8 text".to_owned(),
            hint: "give a scenario in TOML, saved as UTF-8".to_owned(),
        },
        _ => Error::io("read", path, error),
    })
}

#[cfg(test)]
mod tests {
    use super::settings;
    use crate::args::{Common, MethodName, Solve};
    use grts::models::Device;
    use grts::scenario::{Method, Scenario};

    fn plain() -> Solve {
        Solve {
            scenario: None,
            quick: false,
            seed: None,
            method: None,
            iterations: None,
            run_dir: None,
            common: Common { device: Device::Cpu, json: false },
        }
    }

    #[test]
    fn nothing_typed_is_the_builtin_scenario() {
        assert_eq!(settings(&plain()).unwrap(), Scenario::builtin().unwrap());
    }

    #[test]
    fn what_is_typed_wins_over_quick() {
        let typed =
            Solve { quick: true, seed: Some(9), method: Some(MethodName::SelfPlay), iterations: Some(5), ..plain() };
        let mut expected = Scenario::builtin().unwrap().quick();
        assert_ne!(expected.solver.iterations, 5);
        (expected.seed, expected.method, expected.solver.iterations) = (9, Method::SelfPlay, 5);
        assert_eq!(settings(&typed).unwrap(), expected);
    }
}
