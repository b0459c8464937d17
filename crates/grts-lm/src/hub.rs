//! From a model's id on the Hugging Face hub to a directory. This is the only file of the engine that knows a network,
//! and it is asked only for an id.
//!
//! The cache is the one that `hf download` and `transformers` fill, in the same place and layout, so what one of them
//! has fetched the others need not fetch. A model that is there whole is taken as it is, without asking whether the hub
//! has a newer one: a run should not change because somebody else's repository did. Fetched are the files that are read
//! here, and no others.

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;
use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What is fetched beside the weights, where the repository has it.
const BESIDE: [&str; 6] = [
    CONFIG,
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// Why an id gave no directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not in the cache, and `HF_HUB_OFFLINE` is set.
    #[error("it is not in the cache `{}`, and `HF_HUB_OFFLINE` is set", .0.display())]
    Offline(PathBuf),
    /// The hub answers, and has no such model for us.
    #[error("{0}")]
    Refused(String),
    /// No answer.
    #[error("it is not in the cache `{}`, and the hub does not answer: {problem}", cache.display())]
    Unreachable {
        /// The folder that was searched.
        cache: PathBuf,
        /// What was seen.
        problem: String,
    },
}

/// Where models are looked for.
#[derive(Debug, Clone)]
pub struct Hub {
    cache: PathBuf,
    offline: bool,
    endpoint: Option<String>,
    token: Option<String>,
}

/// Whether `text` is spelled like an id, `organisation/name`.
pub fn is_id(text: &str) -> bool {
    let part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(allowed)
    };
    text.split_once('/').is_some_and(|(organisation, name)| part(organisation) && part(name))
}

impl Hub {
    /// As the environment says: `HF_HUB_CACHE`, or `hub` below `HF_HOME`, or below `~/.cache/huggingface`;
    /// `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN`.
    pub fn from_env() -> Self {
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let home = || given("HF_HOME").map_or_else(default_home, PathBuf::from);
        let offline = given("HF_HUB_OFFLINE");
        Self {
            cache: given("HF_HUB_CACHE").map_or_else(|| home().join("hub"), PathBuf::from),
            offline: offline.is_some_and(|v| matches!(v.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")),
            endpoint: given("HF_ENDPOINT"),
            token: given("HF_TOKEN"),
        }
    }

    /// Only what is in the folder `cache`.
    pub fn offline(cache: &Path) -> Self {
        Self { cache: cache.to_owned(), offline: true, endpoint: None, token: None }
    }

    /// The directory of the model `id`, fetched first if it is not in the cache; `note` is told of every file.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn directory(&self, id: &str, note: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
        if let Some(directory) = self.cached(id) {
            return Ok(directory);
        }
        if self.offline {
            return Err(Error::Offline(self.cache.clone()));
        }
        self.fetch(id, note)
    }

    /// The snapshot of `main`, if every file that a model needs is there.
    fn cached(&self, id: &str) -> Option<PathBuf> {
        let config = Cache::new(self.cache.clone()).model(id.to_owned()).get(CONFIG)?;
        let directory = config.parent()?.to_owned();
        is_complete(&directory).then_some(directory)
    }

    fn fetch(&self, id: &str, note: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
        let failed = |error: ApiError| self.error(&error);
        let repo = self.api().map_err(failed)?.repo(Repo::new(id.to_owned(), RepoType::Model));
        let names: Vec<String> = repo.info().map_err(failed)?.siblings.into_iter().map(|s| s.rfilename).collect();
        let wanted = wanted(&names);
        if !wanted.iter().any(|name| name.ends_with(".safetensors")) {
            return Err(Error::Refused(format!("the repository has neither `{WEIGHTS}` nor its shards")));
        }
        for name in wanted {
            note(&format!("fetching `{name}` of `{id}`"));
            self.one(&repo, name)?;
        }
        self.cached(id).ok_or_else(|| Error::Refused(format!("the repository has no `{CONFIG}` or no `{TOKENIZER}`")))
    }

    fn one(&self, repo: &ApiRepo, name: &str) -> Result<PathBuf, Error> {
        repo.get(name).map_err(|error| self.error(&error))
    }

    fn api(&self) -> Result<Api, ApiError> {
        let mut builder = ApiBuilder::from_cache(Cache::new(self.cache.clone())).with_progress(false).with_retries(2);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        if let Some(token) = &self.token {
            builder = builder.with_token(Some(token.clone()));
        }
        builder.build()
    }

    /// A refusal comes with a status of the 400s; all else is a hub that cannot be reached.
    fn error(&self, error: &ApiError) -> Error {
        if let ApiError::RequestError(request) = error
            && let ureq::Error::StatusCode(status @ 400..500) = **request
        {
            return Error::Refused(format!("the hub has no such model, or not for everybody (HTTP status {status})"));
        }
        Error::Unreachable { cache: self.cache.clone(), problem: error.to_string() }
    }
}

fn default_home() -> PathBuf {
    let below = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || env::home_dir().unwrap_or_default().join(".cache");
    below("XDG_CACHE_HOME").unwrap_or_else(home).join("huggingface")
}

/// Of the files of a repository those that are read here. Other spellings of the same weights are not.
fn wanted(names: &[String]) -> Vec<&str> {
    let sharded = names.iter().any(|name| name == INDEX) && !names.iter().any(|name| name == WEIGHTS);
    let is_wanted = |name: &str| match sharded {
        _ if BESIDE.contains(&name) => true,
        true => name == INDEX || (name.starts_with("model-") && name.ends_with(".safetensors") && !name.contains('/')),
        false => name == WEIGHTS,
    };
    names.iter().map(String::as_str).filter(|name| is_wanted(name)).collect()
}

/// A fetch that was stopped leaves some files out.
fn is_complete(directory: &Path) -> bool {
    let there = |name: &str| directory.join(name).is_file();
    there(CONFIG)
        && there(TOKENIZER)
        && (there(WEIGHTS) || shards(directory).is_some_and(|all| all.iter().all(|s| there(s))))
}

/// The files that the index names.
fn shards(directory: &Path) -> Option<BTreeSet<String>> {
    let index: Value = serde_json::from_str(&std::fs::read_to_string(directory.join(INDEX)).ok()?).ok()?;
    index["weight_map"].as_object()?.values().map(|name| name.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Error, Hub, is_id, wanted};
    use serde_json::json;
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::path::{Path, PathBuf};

    /// A cache as `hf download` leaves it, with these files in the snapshot.
    fn fabricate(cache: &Path, files: &[(&str, &str)]) -> PathBuf {
        let model = cache.join("models--some-org--tiny.model");
        let snapshot = model.join("snapshots/0123abcd");
        fs::create_dir_all(model.join("refs")).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(model.join("refs/main"), "0123abcd").unwrap();
        for (name, text) in files {
            fs::write(snapshot.join(name), text).unwrap();
        }
        snapshot
    }

    fn found(cache: &Path) -> Result<PathBuf, Error> {
        Hub::offline(cache).directory("some-org/tiny.model", &mut |_| panic!("nothing is fetched"))
    }

    const INDEX: &str = r#"{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}"#;

    #[test]
    fn a_model_that_is_cached_whole_is_found_without_a_network() {
        let cache = tempfile::tempdir().unwrap();
        let whole = [("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", "")];
        let snapshot = fabricate(cache.path(), &whole);
        assert_eq!(found(cache.path()).unwrap(), snapshot);
    }

    #[test]
    fn shards_are_complete_when_all_that_the_index_names_are_there() {
        let cache = tempfile::tempdir().unwrap();
        let begun = [
            ("config.json", "{}"),
            ("tokenizer.json", "{}"),
            ("model.safetensors.index.json", INDEX),
            ("model-1-of-2.safetensors", ""),
        ];
        let snapshot = fabricate(cache.path(), &begun);
        assert!(matches!(found(cache.path()), Err(Error::Offline(_))));
        fs::write(snapshot.join("model-2-of-2.safetensors"), "").unwrap();
        assert_eq!(found(cache.path()).unwrap(), snapshot);
    }

    #[test]
    fn what_is_not_cached_is_an_error_that_names_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        let Err(error) = found(cache.path()) else { panic!("an empty cache has no model") };
        let here = cache.path().display();
        assert_eq!(error.to_string(), format!("it is not in the cache `{here}`, and `HF_HUB_OFFLINE` is set"));
    }

    /// A closed port of this machine stands for a missing network.
    #[test]
    fn a_hub_that_does_not_answer_is_unreachable() {
        let cache = tempfile::tempdir().unwrap();
        let endpoint = Some("http://127.0.0.1:1".to_owned());
        let hub = Hub { offline: false, endpoint, ..Hub::offline(cache.path()) };
        let answer = hub.directory("some-org/tiny.model", &mut |_| ());
        assert!(matches!(answer, Err(Error::Unreachable { .. })), "{answer:?}");
    }

    /// A hub with one model, on a port of this machine; its address.
    fn serve(files: &'static [(&'static str, &'static str)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || listener.incoming().for_each(|stream| answer(&stream.unwrap(), files)));
        address
    }

    fn answer(mut stream: &TcpStream, files: &[(&str, &str)]) {
        let head: Vec<String> =
            BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        let path = head[0].split(' ').nth(1).unwrap();
        let file = path.strip_prefix("/some-org/tiny.model/resolve/main/");
        let file = file.and_then(|name| files.iter().find(|(n, _)| *n == name));
        let reply = if path.starts_with("/api/models/some-org/tiny.model") {
            let names: Vec<_> = files.iter().map(|(name, _)| json!({"rfilename": name})).collect();
            let body = json!({"siblings": names, "sha": "0123abcd"}).to_string();
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        } else if let Some((name, text)) = file {
            let range =
                head.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            let whole = !range.unwrap().ends_with("-0");
            let body = if whole { text } else { &text[..1] };
            let (last, length) = (body.len() - 1, text.len());
            format!(
                "HTTP/1.1 206 Partial\r\ncontent-length: {}\r\ncontent-range: bytes 0-{last}/{length}\r\n\
                 etag: \"{name}\"\r\nx-repo-commit: 0123abcd\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
        } else {
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
        };
        stream.write_all(reply.as_bytes()).unwrap();
    }

    #[test]
    fn a_model_is_fetched_once_and_then_found() {
        const FILES: &[(&str, &str)] = &[
            ("config.json", "{}"),
            ("tokenizer.json", "{ }"),
            ("model.safetensors", "weights"),
            ("pytorch_model.bin", "not read here"),
        ];
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub { offline: false, endpoint: Some(serve(FILES)), ..Hub::offline(cache.path()) };
        let mut notes = Vec::new();
        let directory = hub.directory("some-org/tiny.model", &mut |note| notes.push(note.to_owned())).unwrap();
        let fetched = ["config.json", "tokenizer.json", "model.safetensors"];
        assert_eq!(notes, fetched.map(|name| format!("fetching `{name}` of `some-org/tiny.model`")));
        for (name, text) in &FILES[..3] {
            assert_eq!(fs::read_to_string(directory.join(name)).unwrap(), *text);
        }
        assert!(!directory.join(FILES[3].0).exists());
        assert_eq!(found(cache.path()).unwrap(), directory);
        let other = hub.directory("some-org/other", &mut |_| ());
        assert!(matches!(other, Err(Error::Refused(_))), "{other:?}");
    }

    #[test]
    fn ids_have_an_organisation_and_a_name() {
        for id in ["org/name", "Qwen/Qwen3-0.6B", "a/b_c.d"] {
            assert!(is_id(id), "{id}");
        }
        for path in ["name", "./name", "../a", "a/b/c", "/a", "a/", "a b/c", "dir/.hidden", ""] {
            assert!(!is_id(path), "{path}");
        }
    }

    #[test]
    fn only_what_is_read_is_fetched() {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let one = names(&[
            "README.md",
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/model.safetensors",
        ]);
        assert_eq!(wanted(&one), ["config.json", "tokenizer.json", "model.safetensors"]);
        let many = names(&[
            "consolidated.safetensors",
            "model-1-of-1.safetensors",
            "model.safetensors.index.json",
            "chat_template.jinja",
        ]);
        assert_eq!(wanted(&many), ["model-1-of-1.safetensors", "model.safetensors.index.json", "chat_template.jinja"]);
    }
}
