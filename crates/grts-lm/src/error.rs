//! One error type for the language engine: every message names the file or tensor and what was expected of it.

use std::path::PathBuf;

/// What can go wrong between a model directory and a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file was read but its contents are not what the format asks for.
    #[error("`{path}`: {reason}")]
    Format {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it, with the offending key or tensor.
        reason: String,
    },
    /// A request that the loaded model cannot serve (context too long, token outside the vocabulary, …).
    #[error("{0}")]
    Request(String),
    /// A device that cannot be used, or failed.
    #[error("device `{device}`: {problem}")]
    Device {
        /// `cuda:0`, …
        device: String,
        /// What it said.
        problem: String,
        /// The way out.
        hint: &'static str,
    },
    /// Training produced a value that is not finite; the parameters are those before the step.
    #[error("{what} is not finite at optimiser step {step}")]
    NotFinite {
        /// `loss` or `gradient of NAME`.
        what: String,
        /// 0-based optimiser step.
        step: u64,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Shorthand for [`Error::Format`].
    pub(crate) fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Format { path: path.into(), reason: reason.into() }
    }

    /// Adapter for `map_err` on input and output.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
