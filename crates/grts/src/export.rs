//! Files for other programs: a model with an adapter merged in, as one Hugging Face directory; the meta-game of a run.
//!
//! A policy is an adapter on a shared base, which `peft` and vLLM read as it is. Programs that know no adapters get whole
//! weights here. The directory appears whole or not at all, and nothing that exists is written over;
//! an export that is killed leaves `.partial-NAME` beside it, which the next one replaces.

use crate::error::Error;
use crate::models::{self, Dtype, refused};
use crate::store::RunDir;
use crate::{exchange, meta_game};
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Copied from the base where it has them; `config.json` and the weights are written anew.
const COPIED: [&str; 10] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
];

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exported {
    /// The new directory.
    pub out: PathBuf,
    /// Weights in it.
    pub parameters: usize,
    /// Its files, sorted.
    pub files: Vec<String>,
}

/// What was written of a meta-game.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportedGame {
    /// The new file.
    pub file: PathBuf,
    /// Red policies.
    pub rows: usize,
    /// Blue policies.
    pub cols: usize,
    /// Dialogues behind the payoffs.
    pub dialogues: u64,
    /// What of the game a file of this format holds, in words.
    pub holds: Vec<&'static str>,
}

/// Writes the meta-game of `run` to `file`, in the format of its ending.
///
/// # Errors
/// [`Error::Run`] if payoffs are missing, [`Error::Game`] for an ending that names no format or a file that exists,
/// [`Error::Store`]; [`Error::Io`] or [`Error::DiskFull`] from the file system, and nothing is left then.
pub fn game(run: &RunDir, file: &Path) -> Result<ExportedGame, Error> {
    let table = meta_game::of_run(run)?.table()?;
    let holds = exchange::write(file, &table)?;
    let dialogues = table.sample.map_or(0, |sample| sample.count.iter().sum());
    let (rows, cols) = (table.payoffs.rows(), table.payoffs.cols());
    Ok(ExportedGame { file: file.to_owned(), rows, cols, dialogues, holds })
}

/// Writes the model in `directory`, with the adapter merged in, to `out`.
///
/// # Errors
/// [`Error::Setting`] if something is in `out`, which stays as it is; what is wrong with model or adapter;
/// [`Error::Io`] or [`Error::DiskFull`] from the file system, and nothing is left then.
pub fn merged(directory: &Path, adapter: Option<&Path>, out: &Path) -> Result<Exported, Error> {
    require_free(out)?;
    let mut model = models::weights(directory, Dtype::F32)?;
    if let Some(path) = adapter {
        let adapter = models::adapter(path, &model)?;
        model = model.merged(&adapter).map_err(|e| Error::engine(&e))?;
    }
    let writing = partial(out)?;
    let failed = |error| Error::io("write", out, error);
    let written = (|| {
        clear(&writing).and_then(|()| fs::create_dir_all(&writing)).map_err(failed)?;
        model.save(&writing).map_err(|e| Error::engine(&e))?;
        copy(directory, &writing)?;
        publish(&writing, out).map_err(failed)
    })();
    if written.is_err() {
        let _ = fs::remove_dir_all(&writing);
    }
    written?;
    Ok(Exported { out: out.to_owned(), parameters: model.num_parameters(), files: names(out).map_err(failed)? })
}

fn require_free(out: &Path) -> Result<(), Error> {
    match fs::read_dir(out).map(Iterator::count) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("use", out, error)),
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::Setting {
            file: out.to_owned(),
            line: None,
            problem: "it exists and is not empty".to_owned(),
            hint: "name another directory with `--out`; nothing is written over".to_owned(),
        }),
    }
}

/// Beside `out`, so that a rename can move it there.
fn partial(out: &Path) -> Result<PathBuf, Error> {
    let Some(name) = out.file_name() else {
        return Err(refused(out, "it has no name of its own", "name a new directory with `--out`"));
    };
    let mut partial = std::ffi::OsString::from(".partial-");
    partial.push(name);
    Ok(out.with_file_name(partial))
}

/// Removes what an export that was killed had begun.
fn clear(writing: &Path) -> io::Result<()> {
    if writing.exists() { fs::remove_dir_all(writing) } else { Ok(()) }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    for name in COPIED.iter().filter(|name| from.join(name).is_file()) {
        // The bytes and not the file: the hub's cache holds links and may forbid writing.
        let bytes = fs::read(from.join(name)).map_err(|e| Error::io("read", &from.join(name), e))?;
        fs::write(to.join(name), bytes).map_err(|e| Error::io("write", &to.join(name), e))?;
    }
    Ok(())
}

fn publish(writing: &Path, out: &Path) -> io::Result<()> {
    if out.exists() {
        // Refuses a directory that has been filled meanwhile.
        fs::remove_dir(out)?;
    }
    fs::rename(writing, out)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(directory)?;
    let mut names =
        entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
