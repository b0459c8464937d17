//! The Python environment of the peers: made once below `target/`, from the pinned lists beside the scripts.
//!
//! Two lists, because they fail for different reasons: the first is wheels and needs the network, the second compiles
//! llama.cpp and needs a C++ compiler too (`cmake` comes with the list's own build). Whatever fails costs its peers, never the run.

use super::job::{Job, Peer};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Compiles llama.cpp for this very processor: its portable build stops at AVX2.
const CMAKE_ARGS: &str = "-DGGML_NATIVE=ON -DCMAKE_BUILD_TYPE=Release -DLLAVA_BUILD=OFF";

/// What is there to be measured.
pub struct Environment {
    /// Interpreter of the environment; `None` when it could not be made.
    pub python: Option<PathBuf>,
    /// Whether llama.cpp's bindings are in it.
    pub llama_cpp: bool,
    /// Folder of the scripts.
    pub scripts: PathBuf,
    /// Folder of the models.
    pub models: PathBuf,
}

impl Environment {
    /// Makes what `jobs` need; each thing that cannot be had adds a line to `skipped`.
    pub fn prepare(root: &Path, home: &Path, jobs: &[Job], skipped: &mut Vec<String>) -> Self {
        let scripts = root.join("xtask/peers");
        let mut note = |what: &str, result: Result<()>| {
            let failed = result.err().map(|e| format!("{what}: {e:#}"));
            failed.map(|line| {
                eprintln!("skipped: {line}");
                skipped.push(line);
            })
        };
        let venv = Venv { directory: home.join("venv"), scripts: scripts.clone() };
        let wanted = |peer| jobs.iter().flat_map(|j| j.contenders).any(|c| c.peer == peer);
        let python = note("the Python peers", venv.create().and_then(|()| venv.install("requirements.txt"))).is_none();
        let llama_cpp =
            python && wanted(Peer::LlamaCpp) && note("llama.cpp", venv.install("requirements-llama-cpp.txt")).is_none();
        if python && wanted(Peer::SentenceTransformers) {
            note("sentence-transformers", venv.install("requirements-embedder.txt"));
        }
        let python = python.then(|| venv.python());
        Self { python, llama_cpp, scripts, models: super::models::directory(home) }
    }

    /// A command that runs a script, unless what it needs is missing.
    pub fn script(&self, name: &str) -> Option<Command> {
        let mut command = Command::new(self.python.as_ref()?);
        command.arg(self.scripts.join(name));
        Some(command)
    }
}

/// A virtual environment.
pub struct Venv {
    /// Where it lies, or will.
    pub directory: PathBuf,
    /// Folder of the lists.
    pub scripts: PathBuf,
}

impl Venv {
    /// Its interpreter.
    pub fn python(&self) -> PathBuf {
        self.directory.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
    }

    /// Makes it, unless it is there.
    pub fn create(&self) -> Result<()> {
        if self.python().exists() {
            return Ok(());
        }
        let system = if cfg!(windows) { "python" } else { "python3" };
        finish(Command::new(system).args(["-m", "venv"]).arg(&self.directory))
    }

    /// Installs a list unless this very list is installed: its text is kept in the environment afterwards.
    pub fn install(&self, list: &str) -> Result<()> {
        let path = self.scripts.join(list);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let stamp = self.directory.join(format!("installed-{list}"));
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
            return Ok(());
        }
        eprintln!("installing `{list}`: minutes the first time");
        let mut pip = Command::new(self.python());
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-binary", "llama-cpp-python", "-r"]);
        finish(pip.arg(&path).env("CMAKE_ARGS", CMAKE_ARGS))?;
        std::fs::write(&stamp, text).with_context(|| format!("cannot write `{}`", stamp.display()))
    }
}

/// Runs to the end; the error is the last line of what the command said.
pub fn finish(command: &mut Command) -> Result<()> {
    finish_with_output(command).map(drop)
}

/// The same; returns what it printed.
pub fn finish_with_output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{program}`"))?;
    if !output.status.success() {
        bail!("{}", last_line(&output.stderr).unwrap_or_else(|| output.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last line with anything on it.
pub fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().map(str::trim).find(|l| !l.is_empty()).map(str::to_owned)
}
