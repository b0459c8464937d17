//! The direction of imports (DESIGN: who must not know whom), checked on manifests and sources.
//!
//! `cargo` already refuses cycles between crates; this refuses the arrows that would compile but must not exist.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Crates of the workspace that each crate may depend on.
const CRATES: [(&str, &[&str]); 4] =
    [("grts-game", &[]), ("grts-lm", &[]), ("grts", &["grts-game", "grts-lm"]), ("grts-cli", &["grts", "grts-game"])];

/// What `grts-game` must not know: files, network, clocks, threads, the environment, tensors, ambient randomness.
const FOREIGN_TO_GAMES: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::time",
    "std::thread",
    "std::env",
    "std::process",
    "std::io",
    "candle",
    "rayon",
    "tokio",
    "rand::rng",
    "from_os_rng",
];

/// Modules of `grts`, each of which may import only those to its left.
const MODULES: [&str; 22] = [
    "error",
    "exchange",
    "world",
    "twin",
    "scenario",
    "store",
    "meta_game",
    "geometry",
    "summary",
    "comparison",
    "policy",
    "models",
    "bench",
    "export",
    "generate",
    "judge",
    "semantic",
    "rollout",
    "measure",
    "oracle",
    "session",
    "lib",
];

/// Modules of `grts` that see plain values only.
const PLAIN: [(&str, &[&str]); 3] = [("store", &["error", "scenario"]), ("scenario", &["error"]), ("world", &[])];

/// Words that only tensor code needs.
const TENSORS: [&str; 2] = ["candle_core", "grts_lm::"];

pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let mut problems = Vec::new();
    for (name, allowed) in CRATES {
        let path = root.join("crates").join(name).join("Cargo.toml");
        let manifest = read(&path)?;
        for (other, _) in CRATES {
            let depends = manifest.lines().any(|l| l.split(['=', '.', ' ']).next() == Some(other));
            if depends && !allowed.contains(&other) {
                problems.push(format!("{}: `{name}` must not depend on `{other}`", path.display()));
            }
        }
    }
    for file in sources(&root.join("crates/grts-game/src"))? {
        let text = read(&file)?;
        for word in FOREIGN_TO_GAMES.iter().filter(|w| code_lines(&text).any(|l| l.contains(**w))) {
            problems.push(format!("{}: `grts-game` must not know `{word}`", file.display()));
        }
    }
    check_modules(root, &mut problems)?;
    if !problems.is_empty() {
        bail!("imports run the wrong way:\n{}", problems.join("\n"));
    }
    println!("imports run one way: {} crates, {} modules of `grts`", CRATES.len(), MODULES.len() - 1);
    Ok(())
}

fn check_modules(root: &Path, problems: &mut Vec<String>) -> Result<()> {
    let source = root.join("crates/grts/src");
    for file in sources(&source)? {
        let module = module_of(&source, &file);
        let Some(rank) = MODULES.iter().position(|m| *m == module) else {
            problems.push(format!("{}: module `{module}` has no place in the order of imports", file.display()));
            continue;
        };
        let text = read(&file)?;
        let plain = PLAIN.iter().find(|(m, _)| *m == module);
        for line in code_lines(&text) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let wrong = MODULES.iter().position(|m| **m == used).is_some_and(|other| other > rank)
                    || plain.is_some_and(|(_, allowed)| {
                        used != module && MODULES.contains(&used.as_str()) && !allowed.contains(&used.as_str())
                    });
                if wrong {
                    problems.push(format!("{}: `{module}` must not import `{used}`", file.display()));
                }
            }
            if plain.is_some() && TENSORS.iter().any(|w| line.contains(w)) {
                problems.push(format!("{}: `{module}` sees plain values only", file.display()));
            }
        }
    }
    Ok(())
}

fn module_of(source: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(source).unwrap_or(file);
    let first = relative.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|l| !l.trim_start().starts_with("//"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list `{}`", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            out.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}
