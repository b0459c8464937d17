//! `generate`, `export` and `bench`: one model at a time, from a directory, the checkout, or the hub's cache.

use crate::{Desk, Transcript};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const PROMPT: &str = "When does the harbour office open?";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grts-lm/tests/fixtures").join(name)
}

fn fixture_name(name: &str) -> String {
    fixture(name).to_str().unwrap().to_owned()
}

/// The output of a command that must succeed.
fn done(desk: &Desk, arguments: &[&str]) -> Transcript {
    let said = desk.grts(arguments);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    said
}

fn json(desk: &Desk, arguments: &[&str]) -> Value {
    serde_json::from_str(&done(desk, arguments).stdout).unwrap()
}

fn keys(json: &Value) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_shipped_base_answers() {
    let desk = Desk::new();
    let asked = ["generate", "builtin", "--chat", "--prompt", PROMPT, "--temperature", "0", "--max-tokens", "40"];
    let said = done(&desk, &asked);
    assert!(said.stdout.ends_with('\n') && said.stdout.trim().len() > 5, "{}", said.stdout);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert!(said.stderr.contains(" tokens read and the first of "), "{}", said.stderr);
    let object = json(&desk, &[&asked[..], &["--json"]].concat());
    assert_eq!(keys(&object), ["finished", "logprobs", "prompt_tokens", "text", "tokens"]);
    assert_eq!(format!("{}\n", object["text"].as_str().unwrap()), said.stdout);
    assert_eq!(object["finished"], true);
    let length = |key: &str| object[key].as_array().unwrap().len();
    assert_eq!(length("tokens"), length("logprobs"));
    assert!(object["logprobs"].as_array().unwrap().iter().all(|l| l.as_f64().unwrap() <= 0.0));
}

#[test]
fn a_seed_repeats_and_another_does_not() {
    let desk = Desk::new();
    let tokens = |seed: &str| {
        let asked =
            ["generate", "builtin", "--chat", "--prompt", PROMPT, "--temperature", "1.5", "--seed", seed, "--json"];
        json(&desk, &asked)["tokens"].clone()
    };
    assert_eq!(tokens("1"), tokens("1"));
    assert_ne!(tokens("1"), tokens("2"));
}

/// What the template adds is not added to plain text.
#[test]
fn a_plain_prompt_is_given_as_it_is() {
    let desk = Desk::new();
    let prompt = |chat: &[&str]| {
        let asked = ["generate", "builtin", "--prompt", PROMPT, "--max-tokens", "1", "--json"];
        json(&desk, &[&asked[..], chat].concat())["prompt_tokens"].as_array().unwrap().clone()
    };
    let (plain, chat) = (prompt(&[]), prompt(&["--chat"]));
    assert_eq!(chat[2..2 + plain.len()], plain);
    assert_eq!(chat.len(), plain.len() + 4);
}

#[test]
fn what_is_no_model_is_refused() {
    let desk = Desk::new();
    let hint = "hint: give a directory in Hugging Face layout, `builtin`, or a hub id like `org/name`\n";
    assert_eq!(
        desk.refusal(&["generate", "./nowhere", "--prompt", "x"]),
        format!("error: model `./nowhere`: there is no such directory\n{hint}")
    );
    fs::create_dir(desk.path("empty")).unwrap();
    desk.write("file", "text");
    assert_eq!(
        desk.refusal(&["bench", "empty"]),
        format!(
            "error: model `empty`: cannot read `empty/config.json`: No such file or directory (os error 2)\n{hint}"
        )
    );
    assert_eq!(
        desk.refusal(&["export", "file", "--merged", "--out", "out"]),
        format!("error: model `file`: it is no directory\n{hint}")
    );
    let said = desk.refusal(&["generate", "builtin", "--adapter", "empty", "--prompt", "x"]);
    assert!(said.starts_with("error: model `empty`: cannot read `empty/adapter_config.json`: "), "{said}");
    assert!(
        said.ends_with("hint: give a directory in PEFT layout whose adapter was trained on this model\n"),
        "{said}"
    );
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_this_binary_was_not_built_for_is_refused() {
    let desk = Desk::new();
    let refused = |device: &str| {
        format!(
            "error: device `{device}`: this binary was built without CUDA\nhint: build it with `cargo build --release \
             --features cuda`, which needs CUDA's compiler, or leave out `--device`\n"
        )
    };
    assert_eq!(desk.refusal(&["generate", "builtin", "--prompt", "x", "--device", "cuda"]), refused("cuda:0"));
    assert_eq!(desk.refusal(&["bench", "builtin", "--device", "cuda:3"]), refused("cuda:3"));
    assert_eq!(desk.refusal(&["solve", "--quick", "--device", "cuda:1"]), refused("cuda:1"));
}

/// The same tokens from the same streams, and a whole run.
#[test]
#[cfg(feature = "candle")]
fn the_device_path_says_what_the_kernels_say() {
    let desk = Desk::new();
    let tokens = |device: &str| {
        let asked = ["generate", "builtin", "--chat", "--prompt", PROMPT, "--seed", "4", "--json", "--device", device];
        json(&desk, &asked)["tokens"].clone()
    };
    assert_eq!(tokens("reference"), tokens("cpu"));
    desk.write("tiny.toml", crate::TINY);
    let run = json(&desk, &["solve", "tiny.toml", "--device", "reference", "--run-dir", "run", "--json"]);
    assert!(run["dialogues"].as_u64().unwrap() > 100, "{run}");
}

#[test]
fn prompts_that_cannot_be_read_are_refused() {
    let desk = Desk::new();
    let empty = desk.refusal(&["generate", "builtin", "--prompt", ""]);
    assert_eq!(
        empty,
        "error: model `builtin`: there is nothing to read in the prompt\nhint: give `--prompt` some text\n"
    );
    let long = desk.refusal(&["generate", "builtin", "--prompt", &"hello ".repeat(600)]);
    assert!(long.contains(" tokens, and its context of 512 must hold an answer too\nhint: shorten"), "{long}");
}

/// A command on a hub id, with this cache.
fn with_cache(desk: &Desk, offline: &str, arguments: &[&str]) -> Transcript {
    let mut command = desk.command(arguments);
    command.env("HF_HUB_CACHE", desk.path("cache")).env("HF_HUB_OFFLINE", offline);
    // A closed port stands for a missing network.
    command.env("HF_ENDPOINT", "http://127.0.0.1:1").env_remove("HF_TOKEN");
    desk.transcript(command.output().unwrap())
}

#[test]
fn a_hub_id_that_is_not_cached_names_the_cache_and_the_command() {
    let desk = Desk::new();
    fs::create_dir(desk.path("cache")).unwrap();
    let asked = ["generate", "some-org/tiny", "--prompt", "x"];
    let hint = "hint: fetch it where there is a network with `hf download some-org/tiny`, or give a directory\n";
    let said = with_cache(&desk, "1", &asked);
    let expected = "error: model `some-org/tiny`: it is not in the cache `DIR/cache`, and `HF_HUB_OFFLINE` is set\n";
    assert_eq!((said.code, said.stderr), (Some(2), format!("{expected}{hint}")));
    let said = with_cache(&desk, "0", &asked);
    let expected = "error: model `some-org/tiny`: it is not in the cache `DIR/cache`, and the hub does not answer: ";
    assert!(said.stderr.starts_with(expected) && said.stderr.ends_with(hint), "{}", said.stderr);
    assert_eq!((said.code, said.stdout.as_str()), (Some(3), ""));
}

#[test]
fn a_hub_id_that_is_cached_needs_no_network() {
    let desk = Desk::new();
    let model = desk.path("cache/models--some-org--tiny");
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::create_dir_all(model.join("snapshots/0123abcd")).unwrap();
    fs::write(model.join("refs/main"), "0123abcd").unwrap();
    for entry in fs::read_dir(fixture("llama-tiny")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), model.join("snapshots/0123abcd").join(entry.file_name())).unwrap();
    }
    let asked = ["generate", "some-org/tiny", "--prompt", "hello", "--max-tokens", "4", "--json"];
    for offline in ["0", "1"] {
        let said = with_cache(&desk, offline, &asked);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    }
}

#[test]
fn a_merged_model_says_what_the_adapter_says() {
    let desk = Desk::new();
    let (base, adapter) = (fixture_name("llama-tiny"), fixture_name("adapter-a"));
    let exported = json(&desk, &["export", &base, "--adapter", &adapter, "--merged", "--out", "out", "--json"]);
    let files =
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(exported["files"], serde_json::json!(files));
    let asked = ["--prompt", "hello", "--temperature", "0", "--max-tokens", "30", "--json"];
    let merged = json(&desk, &[&["generate", "out"], &asked[..]].concat());
    let adapted = json(&desk, &[&["generate", base.as_str(), "--adapter", &adapter], &asked[..]].concat());
    let plain = json(&desk, &[&["generate", base.as_str()], &asked[..]].concat());
    assert_eq!(merged["tokens"], adapted["tokens"]);
    assert_ne!(plain["tokens"], adapted["tokens"]);
    assert!(!desk.path(".partial-out").exists());
}

#[test]
fn an_export_writes_over_nothing() {
    let desk = Desk::new();
    fs::create_dir(desk.path("full")).unwrap();
    desk.write("full/mine", "text");
    assert_eq!(
        desk.refusal(&["export", "builtin", "--merged", "--out", "full"]),
        "error: `full`: it exists and is not empty\n\
         hint: name another directory with `--out`; nothing is written over\n"
    );
    fs::create_dir(desk.path("empty")).unwrap();
    let said = done(&desk, &["export", "builtin", "--merged", "--out", "empty"]);
    assert!(said.stdout.starts_with("`empty`: ") && said.stdout.contains(" weights; config.json, "), "{}", said.stdout);
}

#[test]
fn a_policy_of_a_run_is_exported_by_its_name() {
    use grts::scenario::Scenario;
    use grts::store::{Manifest, RunDir};
    let desk = Desk::new();
    let scenario = Scenario::parse("[base]\nmodel = 'base'\n", &desk.path("my.toml")).unwrap();
    let run = RunDir::create_at(&desk.path("run"), &Manifest::new(scenario)).unwrap();
    fs::create_dir(desk.path("base")).unwrap();
    for entry in fs::read_dir(fixture("llama-tiny")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), desk.path("base").join(entry.file_name())).unwrap();
    }
    let copy = |to: &Path| {
        for entry in fs::read_dir(fixture("adapter-a")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        Ok(())
    };
    run.save_policy("blue-1", copy).unwrap();
    drop(run);
    done(&desk, &["export", "run", "--policy", "blue-1", "--merged", "--out", "out"]);
    done(&desk, &["export", "base", "--adapter", &fixture_name("adapter-a"), "--merged", "--out", "other"]);
    let weights = |name: &str| fs::read(desk.path(name).join("model.safetensors")).unwrap();
    assert!(weights("out") == weights("other"));
    assert_eq!(
        desk.refusal(&["export", "run", "--policy", "blue-9", "--merged", "--out", "third"]),
        "error: run directory `run` has no policy `blue-9`\nhint: it has `blue-1`, `base`\n"
    );
}

#[test]
fn a_benchmark_is_one_object_or_one_table() {
    let desk = Desk::new();
    let asked = ["bench", "builtin", "--batch", "1,4", "--prompt-tokens", "8", "--new-tokens", "4"];
    let report = json(&desk, &[&asked[..], &["--json"]].concat());
    let expected = [
        "decode",
        "device",
        "dialogue",
        "dtype",
        "machine",
        "model",
        "new_tokens",
        "parameters",
        "peak_memory",
        "prefill",
        "prompt_tokens",
        "rounds",
        "train",
    ];
    assert_eq!(keys(&report), expected);
    assert_eq!(keys(&report["machine"]), ["bandwidth", "flops", "threads"]);
    assert_eq!(keys(&report["decode"][1]), ["bandwidth_share", "batch", "flops_share", "tokens_per_second"]);
    assert_eq!(keys(&report["train"]), ["flops_share", "tokens", "tokens_per_second"]);
    // A later turn reads its own message and the one token that ended the answer before it.
    let read: Vec<_> = report["dialogue"].as_array().unwrap().iter().map(|turn| turn["read"].clone()).collect();
    assert_eq!(read, [8, 9, 9]);
    let table = done(&desk, &asked).stdout;
    for line in [
        "decode, batch 4 ",
        "prefill ",
        "LoRA step ",
        "dialogue      turn 1: 8 tokens, 8 read; turn 2: 20 tokens, 9 read",
    ] {
        assert!(table.contains(&format!("\n{line}")), "{table}");
    }
}

#[test]
fn a_benchmark_that_does_not_fit_the_context_is_refused() {
    let said = Desk::new().refusal(&["bench", "builtin", "--prompt-tokens", "500", "--new-tokens", "12"]);
    let expected = "error: model `builtin`: a prompt of 500 tokens and 12 new ones do not fit its context of 512\n\
                    hint: lower `--prompt-tokens` or `--new-tokens`\n";
    assert_eq!(said, expected);
}
