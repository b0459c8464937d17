//! Sentence vectors against `sentence-transformers`, hidden states against `transformers`; damaged directories.

use crate::refusals::Copy;
use crate::{fixture, json, largest_difference};
use grts_lm::bert::{Encoder, SentenceEncoder};
use serde_json::{Value, json};

const BERT: &str = "bert";
/// Text 5 of the fixture holds a typed `[SEP]`, which `sentence-transformers` takes for the control token.
const TYPED: usize = 5;

fn expected() -> Value {
    json("bert/expected.json")
}

fn texts() -> Vec<String> {
    serde_json::from_value(expected()["texts"].clone()).unwrap()
}

fn embed(encoder: &SentenceEncoder) -> Vec<Vec<f32>> {
    let texts = texts();
    encoder.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

#[test]
fn hidden_states_are_those_of_transformers() {
    let encoder = Encoder::load(&fixture(BERT)).unwrap();
    let ids: Vec<Vec<u32>> = serde_json::from_value(expected()["ids"].clone()).unwrap();
    let states: Vec<Vec<Vec<f32>>> = serde_json::from_value(expected()["states"].clone()).unwrap();
    let got = encoder.hidden_states(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    for (i, (got, expected)) in got.iter().zip(states).enumerate() {
        let off = largest_difference(got, &expected.concat());
        assert!(off <= 2e-5, "text {i}: off by {off}");
    }
}

#[test]
fn vectors_are_those_of_sentence_transformers_for_every_way_of_pooling() {
    let expected = expected();
    let ways = expected["vectors"].as_object().unwrap();
    for (name, vectors) in ways {
        let copy = Copy::of(BERT);
        if name != "normalised" {
            let mut modules = crate::json("bert/modules.json");
            modules.as_array_mut().unwrap().pop();
            std::fs::write(copy.file("modules.json"), modules.to_string()).unwrap();
            let mut pooling = json!({"word_embedding_dimension": 24});
            for (way, flag) in [("cls", "cls_token"), ("max", "max_tokens"), ("mean", "mean_tokens")] {
                pooling[format!("pooling_mode_{flag}")] = json!(name == way || name == "all");
            }
            pooling["pooling_mode_mean_sqrt_len_tokens"] = json!(name == "mean_sqrt" || name == "all");
            std::fs::write(copy.file("1_Pooling/config.json"), pooling.to_string()).unwrap();
        }
        let encoder = SentenceEncoder::load(copy.path()).unwrap();
        let vectors: Vec<Vec<f32>> = serde_json::from_value(vectors.clone()).unwrap();
        for (i, (got, expected)) in embed(&encoder).iter().zip(vectors).enumerate() {
            assert_eq!(got.len(), encoder.width());
            let off = largest_difference(got, &expected);
            assert!(i == TYPED || off <= 2e-5, "{name}, text {i}: off by {off}");
            assert!(i != TYPED || off > 1e-2, "{name}: a typed control token was obeyed");
        }
    }
}

#[test]
fn a_vector_does_not_depend_on_its_batch_to_the_bit() {
    let encoder = SentenceEncoder::load(&fixture(BERT)).unwrap();
    let many: Vec<String> = texts().into_iter().cycle().take(200).collect();
    let together = encoder.embed(&many.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    for (i, text) in texts().iter().enumerate() {
        let alone = encoder.embed(&[text]).unwrap();
        assert!(together.iter().skip(i).step_by(texts().len()).all(|v| *v == alone[0]), "text {i}");
    }
    assert!(encoder.embed(&[]).unwrap().is_empty());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let refused = |damage: &dyn Fn(&Copy), file: &str, reason: &str| {
        let copy = Copy::of(BERT);
        damage(&copy);
        let error = SentenceEncoder::load(copy.path()).err().unwrap().to_string();
        assert!(error.starts_with(&copy.says(file, reason)), "{error}");
    };
    const WEIGHTS: &str = "model.safetensors";
    const UP: &str = "encoder.layer.1.intermediate.dense.weight";
    let config = |key: &'static str, value: Value| move |c: &Copy| c.set("config.json", key, value.clone());
    refused(&|c| c.drop_tensor(WEIGHTS, UP), WEIGHTS, &format!("tensor `bert.{UP}` is missing"));
    refused(&|c| c.cut(WEIGHTS, 5000), WEIGHTS, "not a complete safetensors file (5000 bytes, ");
    refused(
        &config("intermediate_size", json!(48)),
        WEIGHTS,
        "tensor `bert.encoder.layer.0.intermediate.dense.weight` has shape [40, 24], `config.json` asks for [48, 24]",
    );
    refused(
        &config("model_type", json!("mpnet")),
        "config.json",
        "`model_type` is `mpnet`; an encoder of the type bert is read",
    );
    refused(
        &config("position_embedding_type", json!("relative_key")),
        "config.json",
        "`position_embedding_type` is \"relative_key\"; only \"absolute\" is supported",
    );
    refused(
        &config("num_attention_heads", json!(5)),
        "config.json",
        "`hidden_size` 24 is not a multiple of `num_attention_heads` 5",
    );
    refused(
        &|c| c.set("1_Pooling/config.json", "word_embedding_dimension", json!(32)),
        "1_Pooling/config.json",
        "`word_embedding_dimension` is 32, the encoder's `hidden_size` is 24",
    );
    refused(
        &|c| c.set("1_Pooling/config.json", "pooling_mode_lasttoken", json!(true)),
        "1_Pooling/config.json",
        "`pooling_mode_lasttoken` is not supported",
    );
    refused(
        &|c| c.set("1_Pooling/config.json", "pooling_mode_mean_tokens", json!(false)),
        "1_Pooling/config.json",
        "no way of pooling is turned on that is read: `pooling_mode_cls_token`, ",
    );
    let chain =
        |kind: &str| json!([{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": kind}]).to_string();
    refused(
        &|c| std::fs::write(c.file("modules.json"), chain("a.Dense")).unwrap(),
        "modules.json",
        "it chains `Transformer`, `Dense`; `Transformer`, `Pooling` and perhaps `Normalize` are read",
    );
    let outside = json!([{"path": "../elsewhere", "type": "a.Transformer"}]).to_string();
    refused(
        &|c| std::fs::write(c.file("modules.json"), &outside).unwrap(),
        "modules.json",
        "module `Transformer` lies outside the directory: `../elsewhere`",
    );
    refused(&|c| c.cut("tokenizer.json", 900), "tokenizer.json", "");
}

#[test]
fn a_tokenizer_of_another_vocabulary_is_refused() {
    let copy = Copy::of(BERT);
    let mut tokenizer = crate::json("bert/tokenizer.json");
    tokenizer["model"]["vocab"]["beyond"] = json!(5000);
    std::fs::write(copy.file("tokenizer.json"), tokenizer.to_string()).unwrap();
    let error = SentenceEncoder::load(copy.path()).err().unwrap().to_string();
    let reason = "token id 5000 does not fit the encoder's `vocab_size` ";
    assert!(error.starts_with(&copy.says("tokenizer.json", reason)), "{error}");
}
