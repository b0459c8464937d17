//! Models by what a person types: a directory, `builtin`, or an id on the Hugging Face hub; with or without an adapter.
//!
//! The commands that try, measure and export a model share this, so that a name means the same everywhere and a wrong one
//! gets the same answer. What is typed is looked for in this order: `builtin`, a directory that exists, an id. A path
//! that does not exist and is spelled like an id is asked of the hub, so the error says both.

use crate::error::Error;
use crate::policy::{Base, SCRIPT, seat_path};
use crate::scenario::{Method, Model as Named};
use crate::store::RunDir;
use grts_lm::hub::{self, Hub};
use grts_lm::lora::Adapter;
use grts_lm::text::Text;
use grts_lm::weights::Model;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::scenario::Dtype;
pub use grts_lm::Device;

const HINT: &str = "give a directory in Hugging Face layout, `builtin`, or a hub id like `org/name`";

/// A model ready to speak: a base, and the adapter that it speaks through.
pub struct Speaker {
    /// What was typed for the base.
    pub name: String,
    /// Where it lies.
    pub directory: PathBuf,
    /// The base.
    pub base: Base,
    /// The adapter; `None` is the base as it is.
    pub adapter: Option<Arc<Adapter>>,
}

/// The directory that `name` means; `note` is told what is fetched.
///
/// # Errors
/// [`Error::Model`] for a name that means nothing or is not cached while `HF_HUB_OFFLINE` is set,
/// [`Error::Unreachable`] when the hub does not answer.
pub fn find(name: &str, note: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
    let path = Path::new(name);
    if name == "builtin" {
        builtin()
    } else if path.is_dir() {
        Ok(path.to_owned())
    } else if hub::is_id(name) && !path.exists() {
        Hub::from_env().directory(name, note).map_err(|error| from_hub(name, error))
    } else {
        let problem = if path.exists() { "it is no directory" } else { "there is no such directory" };
        Err(refused(path, problem, HINT))
    }
}

/// Finds and loads a base to compute on `device`, and an adapter for it; `note` is told what is fetched.
///
/// # Errors
/// Those of [`find`], [`Error::Device`], and whatever is missing, damaged or unsupported, with the file and the tensor or key.
pub fn load(
    name: &str,
    adapter: Option<&Path>,
    (dtype, device): (Dtype, Device),
    note: &mut dyn FnMut(&str),
) -> Result<Speaker, Error> {
    let directory = find(name, note)?;
    let model = weights(&directory, dtype)?.on(device).map_err(|e| Error::engine(&e))?;
    let text = Text::load(&directory, model.config().vocab_size()).map_err(|e| refused(&directory, e, HINT))?;
    let adapter = adapter.map(|path| self::adapter(path, &model)).transpose()?.map(Arc::new);
    let base = Base::new(model, text);
    Ok(Speaker { name: name.to_owned(), directory, base, adapter })
}

impl Speaker {
    /// A request that this model cannot serve.
    pub(crate) fn refuses(&self, problem: impl ToString, hint: &str) -> Error {
        refused(Path::new(&self.name), problem, hint)
    }
}

/// The weights alone.
pub(crate) fn weights(directory: &Path, dtype: Dtype) -> Result<Model, Error> {
    Model::load_as(directory, dtype.into()).map_err(|e| refused(directory, e, HINT))
}

/// An adapter for `model`.
pub(crate) fn adapter(directory: &Path, model: &Model) -> Result<Adapter, Error> {
    const HINT: &str = "give a directory in PEFT layout whose adapter was trained on this model";
    let first = seat_path(directory, 0);
    if first.is_dir() {
        let hint = format!("give one of its seats, such as `{}`", first.display());
        return Err(refused(directory, "it holds a red team, with an adapter for each seat", hint));
    }
    Adapter::load(directory, model.config()).map_err(|e| refused(directory, e, HINT))
}

/// Base and adapter of a policy of a run; the base itself has no adapter. Of a red team one seat is named, `red-1/seat-0`.
///
/// # Errors
/// [`Error::Run`] for what is no run or a policy that it does not have, [`Error::RunInUse`].
pub fn of_policy(run: &Path, id: &str) -> Result<(PathBuf, Option<PathBuf>), Error> {
    let run = RunDir::open(run)?;
    let base = match &run.manifest().scenario.base.model {
        Named::Builtin => builtin()?,
        Named::Directory(path) => path.clone(),
    };
    if id == "base" {
        return Ok((base, None));
    }
    let names: Vec<String> = run.policy_ids()?.into_iter().flat_map(|id| speakers(&run, id)).collect();
    if names.iter().any(|known| known == id) {
        return Ok((base, Some(run.policy_path(id))));
    }
    let problem = if names.iter().any(|name| name.strip_prefix(id).is_some_and(|rest| rest.starts_with('/'))) {
        format!("has a red team `{id}`, which is no single policy")
    } else if id == SCRIPT && run.manifest().scenario.method == Method::Heuristic {
        format!("has attackers that follow a script, and `{id}` has no model")
    } else {
        format!("has no policy `{id}`")
    };
    let known: Vec<String> = names.iter().map(|id| format!("`{id}`")).chain(["`base`".to_owned()]).collect();
    Err(Error::Run { path: run.path().to_owned(), problem, hint: format!("it has {}", known.join(", ")) })
}

/// A policy by its id, or the seats of a team.
fn speakers(run: &RunDir, id: String) -> Vec<String> {
    let path = run.policy_path(&id);
    let seats: Vec<String> = (0..)
        .map(|seat| seat_path(&path, seat))
        .take_while(|seat| seat.is_dir())
        .filter_map(|seat| Some(format!("{id}/{}", seat.file_name()?.to_str()?)))
        .collect();
    if seats.is_empty() { vec![id] } else { seats }
}

/// The shipped base: beside the sources of a checkout, or in `assets/` beside the binary.
///
/// # Errors
/// [`Error::Model`] if it is in neither place.
pub fn builtin() -> Result<PathBuf, Error> {
    const BASE: &str = "assets/meridian/base";
    let checkout = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(BASE);
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(BASE)));
    let found = [Some(checkout), beside].into_iter().flatten().find(|d| d.join("config.json").is_file());
    found.ok_or_else(|| Error::Model {
        path: PathBuf::from(BASE),
        problem: "the shipped base is neither in the checkout nor beside the binary".to_owned(),
        hint: "keep `assets/` beside the binary, or name a directory in `[base] model`".to_owned(),
    })
}

/// A model or adapter that cannot be used as asked.
pub(crate) fn refused(path: &Path, problem: impl ToString, hint: impl Into<String>) -> Error {
    Error::Model { path: path.to_owned(), problem: problem.to_string(), hint: hint.into() }
}

fn from_hub(id: &str, error: hub::Error) -> Error {
    let fetch = format!("fetch it where there is a network with `hf download {id}`, or give a directory");
    match error {
        hub::Error::Offline(_) => refused(Path::new(id), error, fetch),
        hub::Error::Refused(_) => refused(
            Path::new(id),
            error,
            "check the id, or set `HF_TOKEN` if its owner asks for one; no directory has this name",
        ),
        hub::Error::Unreachable { .. } => Error::Hub { id: id.to_owned(), problem: error.to_string(), hint: fetch },
    }
}
