//! The one error type of the crate, sorted by what the user can do about it.
//!
//! A program that calls `grts` needs to know four things apart (wrong input, an unreachable
//! service, an interruption, a failure of ours), so [`ErrorKind`] has four values and the variants
//! stay few: each carries the value, the place and the way out as text instead of growing one
//! variant per message. The way out is kept apart from the message, because a log wants the first
//! and a person wants both. A full disk is a variant of its own: the run is intact, and "free space,
//! then resume" is the only right answer. Nothing here prints, exits or retries.

use std::io;
use std::path::{Path, PathBuf};

/// What a caller can do about an [`Error`]; the command line maps it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong arguments, settings, files, or a machine that is not ready: exit code 2.
    Usage,
    /// A target or a judge does not answer: exit code 3.
    Unreachable,
    /// Stopped on request, with the run saved: exit code 130.
    Interrupted,
    /// Something that should have worked did not.
    Failed,
}

/// Everything that can go wrong, each with a message and a [`hint`](Error::hint).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A scenario or manifest says something that cannot be used.
    #[error("`{}`{}: {problem}", file.display(), on_line(*line))]
    Setting {
        /// The file the text came from.
        file: PathBuf,
        /// Line of the key, counted from 1; `None` where no line can be named.
        line: Option<usize>,
        /// Key, value and allowed range.
        problem: String,
        /// The way out.
        hint: String,
    },
    /// A model directory (weights, tokenizer, configuration) cannot be used.
    #[error("model `{}`: {problem}", path.display())]
    Model {
        /// The file or directory at fault.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The way out.
        hint: String,
    },
    /// A file holds no game, or cannot hold the one at hand.
    #[error("game `{}`: {problem}", path.display())]
    Game {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the entry.
        problem: String,
        /// The way out.
        hint: String,
    },
    /// A device cannot be used.
    #[error("device `{device}`: {problem}")]
    Device {
        /// `cuda:0`, …
        device: String,
        /// What it, or this binary, said.
        problem: String,
        /// The way out.
        hint: String,
    },
    /// A directory cannot be created or opened as a run.
    #[error("run directory `{}` {problem}", path.display())]
    Run {
        /// The run directory.
        path: PathBuf,
        /// What is wrong with it, as the rest of a sentence.
        problem: String,
        /// The way out.
        hint: String,
    },
    /// Another process, or another handle of this one, holds the run directory.
    #[error("run directory `{}` is in use by {}", path.display(), owner(*pid))]
    RunInUse {
        /// The run directory.
        path: PathBuf,
        /// Process id of the holder, where it could be read.
        pid: Option<u32>,
    },
    /// No space left, quota used up, or the file-size limit reached.
    #[error("no space left on `{}`", path.display())]
    DiskFull {
        /// The file or directory that could not grow.
        path: PathBuf,
        /// The run to resume, where one exists.
        run: Option<PathBuf>,
    },
    /// The file system refused an operation.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// A verb: `read`, `create`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database of a run refused a statement.
    #[error("cannot use `{}`: {source}", path.display())]
    Store {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A target or judge does not answer.
    #[error("`{target}` cannot be reached: {problem}")]
    Unreachable {
        /// Its address, without secrets.
        target: String,
        /// What was tried and seen.
        problem: String,
    },
    /// A model is not cached, and the hub that has it does not answer.
    #[error("model `{id}`: {problem}")]
    Hub {
        /// `organisation/name`.
        id: String,
        /// Where it was looked for, and what was seen.
        problem: String,
        /// The way out.
        hint: String,
    },
    /// Stopped on request; everything committed is saved.
    #[error("interrupted; run `{}` is saved", run.display())]
    Interrupted {
        /// The run directory.
        run: PathBuf,
        /// The way to go on.
        hint: String,
    },
    /// A broken invariant or a failed computation.
    #[error("{problem}")]
    Failed {
        /// What was expected and what was seen.
        problem: String,
        /// The way out.
        hint: String,
    },
}

fn on_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" line {line}"))
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::Hub { .. } => ErrorKind::Unreachable,
            Self::Interrupted { .. } => ErrorKind::Interrupted,
            Self::Store { .. } | Self::Failed { .. } => ErrorKind::Failed,
            Self::Setting { .. }
            | Self::Model { .. }
            | Self::Game { .. }
            | Self::Device { .. }
            | Self::Run { .. }
            | Self::RunInUse { .. }
            | Self::DiskFull { .. }
            | Self::Io { .. } => ErrorKind::Usage,
        }
    }

    /// The way out, in one sentence without a full stop; empty where there is none to offer.
    pub fn hint(&self) -> String {
        match self {
            Self::Setting { hint, .. }
            | Self::Model { hint, .. }
            | Self::Game { hint, .. }
            | Self::Device { hint, .. }
            | Self::Run { hint, .. }
            | Self::Hub { hint, .. }
            | Self::Interrupted { hint, .. }
            | Self::Failed { hint, .. } => hint.clone(),
            Self::RunInUse { .. } => "wait until it ends or stop it, or use another `--run-dir`".to_owned(),
            Self::DiskFull { run: Some(run), .. } => {
                format!("free space, then `grts resume {}`", run.display())
            }
            Self::DiskFull { run: None, .. } => "free space, then start again".to_owned(),
            Self::Io { source, .. } => io_hint(source.kind()).to_owned(),
            Self::Store { path, .. } => {
                format!("what was committed before is kept; check the disk that holds `{}`", path.display())
            }
            Self::Unreachable { .. } => "check that it runs and that the address is right".into(),
        }
    }

    /// A failed file operation; a full disk, quota or size limit becomes [`Error::DiskFull`].
    ///
    /// `action` is a verb that fits "cannot ACTION `PATH`".
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) { Self::DiskFull { path, run: None } } else { Self::Io { action, path, source } }
    }

    /// A model directory that the engine refused.
    pub(crate) fn model(directory: &Path, error: &grts_lm::Error) -> Self {
        Self::Model {
            path: directory.to_owned(),
            problem: error.to_string(),
            hint: "give a complete Hugging Face directory of the Llama layout in `[base] model`".to_owned(),
        }
    }

    /// A sentence encoder that the engine refused.
    pub(crate) fn embedder(directory: &Path, error: &grts_lm::Error) -> Self {
        Self::Model {
            path: directory.to_owned(),
            problem: error.to_string(),
            hint:
                "give a complete sentence-transformers directory of the BERT family in `[semantic] embedder`, or `base`"
                    .to_owned(),
        }
    }

    /// What the language engine refused in the middle of a run, or a device that it cannot use.
    pub(crate) fn engine(error: &grts_lm::Error) -> Self {
        if let grts_lm::Error::Io { action, path, source } = error {
            let kind = || io::Error::from(source.kind());
            return Self::io(action, path, source.raw_os_error().map_or_else(kind, io::Error::from_raw_os_error));
        }
        if let grts_lm::Error::Device { device, problem, hint } = error {
            return Self::Device { device: device.clone(), problem: problem.clone(), hint: (*hint).to_owned() };
        }
        Self::Failed {
            problem: error.to_string(),
            hint: "the run keeps everything that was committed before".to_owned(),
        }
    }

    /// Names the run that can be resumed once there is space again; other errors stay as they are.
    pub fn in_run(self, directory: &Path) -> Self {
        match self {
            Self::DiskFull { path, .. } => Self::DiskFull { path, run: Some(directory.to_owned()) },
            other => other,
        }
    }
}

/// ENOSPC, EDQUOT and EFBIG: three ways for a file not to be allowed to grow.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn io_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check the permissions, or use another directory",
        io::ErrorKind::ReadOnlyFilesystem => "use a directory on a writable file system",
        _ => "check the disk and the permissions, then try again",
    }
}
