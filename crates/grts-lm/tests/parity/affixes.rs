//! What stands around plain text, as `tokenizer(text)` of `transformers` has it.

use crate::{fixture, json};
use grts_lm::Affixes;

fn copied(family: &str, edit: impl FnOnce(&mut serde_json::Value)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| fixture(&format!("text-families/{family}/{name}"));
    std::fs::copy(file("tokenizer.json"), directory.path().join("tokenizer.json")).unwrap();
    let mut config = json(&format!("text-families/{family}/tokenizer_config.json"));
    edit(&mut config);
    std::fs::write(directory.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    directory
}

#[test]
fn the_post_processor_decides_where_the_configuration_says_nothing() {
    let cases = json("text-families/cases.json");
    for (family, first) in [("llama3", Some("<|begin_of_text|>")), ("gemma", Some("<bos>")), ("chatml", None)] {
        let affixes = Affixes::load(&fixture(&format!("text-families/{family}"))).unwrap();
        let id = |token| u32::try_from(cases[family]["special"][token].as_u64().unwrap()).unwrap();
        assert_eq!(affixes, Affixes { before: first.map(id).into_iter().collect(), after: Vec::new() }, "{family}");
    }
}

#[test]
fn a_flag_of_the_configuration_wins() {
    let without = copied("gemma", |config| config["add_bos_token"] = false.into());
    assert_eq!(Affixes::load(without.path()).unwrap(), Affixes::default());
    let with = copied("chatml", |config| {
        config["add_bos_token"] = true.into();
        config["bos_token"] = serde_json::json!({"content": "<|im_start|>"});
    });
    assert_eq!(Affixes::load(with.path()).unwrap().before.len(), 1);
}
