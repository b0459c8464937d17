//! The binary as a user meets it: what is typed, and then exit code, stdout, stderr, and what became of the files.

mod compare;
mod export;
mod geometry;
mod inputs;
mod models;
mod nash;
mod play;
mod runs;
mod usage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// An empty working directory.
struct Desk {
    directory: TempDir,
}

/// What came of a command. Paths below the working directory are written `DIR/…`.
#[derive(Debug, PartialEq)]
struct Transcript {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grts"));
        command.args(arguments).current_dir(self.directory.path());
        command
    }

    fn grts(&self, arguments: &[&str]) -> Transcript {
        self.transcript(self.command(arguments).output().unwrap())
    }

    fn transcript(&self, output: Output) -> Transcript {
        let here = self.directory.path().canonicalize().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(here.to_str().unwrap(), "DIR");
        Transcript { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Every file with its bytes; directories and locks have none.
    fn contents(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        gather(self.directory.path(), &mut found);
        found
    }

    /// Runs a command that must fail as a wrong input does, and must leave every file as it was.
    fn refusal(&self, arguments: &[&str]) -> String {
        let before = self.contents();
        let Transcript { code, stdout, stderr } = self.grts(arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(self.contents() == before, "{arguments:?} changed a file");
        stderr
    }
}

fn gather(directory: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, found);
            found.insert(path, None);
        } else {
            // A lock file holds who looked last, and nothing of the run.
            let bytes = (path.file_name() != Some("run.lock".as_ref())).then(|| fs::read(&path).unwrap());
            found.insert(path, bytes);
        }
    }
}

/// A scenario that is over in seconds and means nothing.
const TINY: &str = "
name = 'tiny'
[game]
turns = 1
[solver]
iterations = 1
entry_dialogues = 4
gain_dialogues = 4
[certify]
dialogues = 24
[red]
steps = 1
batch = 4
minibatches = 1
[blue]
steps = 1
batch = 4
minibatches = 1
honest_batch = 4
[probe]
steps = 1
dialogues = 8
[evaluation]
honest_dialogues = 8
open_dialogues = 8
grid_paraphrases = 2
";
