//! Damaged or foreign directories: each is one error that names the file and the tensor or key.

use crate::{adapter, base, fixture};
use grts_lm::config::ModelConfig;
use grts_lm::lora::Adapter;
use grts_lm::text::{Message, Role, Text};
use grts_lm::weights::Model;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const UP: &str = "model.layers.1.mlp.up_proj.weight";
const LORA_UP: &str = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";

/// A copy of a fixture's directory, to be damaged.
pub(crate) struct Copy(TempDir);

impl Copy {
    pub(crate) fn of(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        copy_all(&fixture(name), directory.path());
        Self(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn set(&self, file: &str, key: &str, value: Value) {
        let mut json: Value = serde_json::from_slice(&std::fs::read(self.file(file)).unwrap()).unwrap();
        json[key] = value;
        std::fs::write(self.file(file), json.to_string()).unwrap();
    }

    pub(crate) fn cut(&self, file: &str, length: usize) {
        let bytes = std::fs::read(self.file(file)).unwrap();
        assert!(length < bytes.len());
        std::fs::write(self.file(file), &bytes[..length]).unwrap();
    }

    /// Passes every tensor through `edit`, which may drop it (`None`).
    fn edit(&self, file: &str, edit: impl for<'a> Fn(&str, TensorView<'a>) -> Option<TensorView<'a>>) {
        let bytes = std::fs::read(self.file(file)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let kept: Vec<_> = tensors.into_iter().filter_map(|(n, view)| edit(&n, view).map(|v| (n, v))).collect();
        std::fs::write(self.file(file), safetensors::serialize(kept, None).unwrap()).unwrap();
    }

    pub(crate) fn drop_tensor(&self, file: &str, tensor: &str) {
        self.edit(file, |name, view| (name != tensor).then_some(view));
    }

    /// The same values under another type or shape of as many bytes.
    fn recast(&self, file: &str, tensor: &str, dtype: Dtype, shape: &[usize]) {
        self.edit(file, |name, view| {
            let change = name == tensor;
            Some(if change { TensorView::new(dtype, shape.to_vec(), view.data()).unwrap() } else { view })
        });
    }

    /// The values replaced by the bit patterns of NaN.
    fn poison(&self, file: &str, tensor: &str) {
        let nan = f32::NAN.to_le_bytes().repeat(56 * 32);
        let nan: &'static [u8] = nan.leak();
        self.edit(file, |name, view| {
            let change = name == tensor;
            let length = view.data().len();
            let shape = view.shape().to_vec();
            Some(if change { TensorView::new(Dtype::F32, shape, &nan[..length]).unwrap() } else { view })
        });
    }

    /// The message that `reason` in `file` gives.
    pub(crate) fn says(&self, file: &str, reason: &str) -> String {
        format!("`{}`: {reason}", self.file(file).display())
    }

    // `err` and not `unwrap_err`, which would print every weight.
    fn model_error(&self) -> String {
        Model::load(self.path()).err().unwrap().to_string()
    }

    fn text_error(&self) -> String {
        Text::load(self.path(), 280).err().unwrap().to_string()
    }

    fn adapter_error(&self, base: &ModelConfig) -> String {
        Adapter::load(self.path(), base).err().unwrap().to_string()
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.path().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

const WEIGHTS: &str = "model.safetensors";
const ADAPTER: &str = "adapter_model.safetensors";

#[test]
fn copies_are_whole_before_they_are_damaged() {
    Model::load(Copy::of("llama-tiny").path()).unwrap();
    Text::load(Copy::of("llama-untied").path(), 280).unwrap();
    let copy = Copy::of("adapter-a");
    copy.edit(ADAPTER, |_, view| Some(view));
    assert_eq!(Adapter::load(copy.path(), base("llama-tiny").config()).unwrap(), *adapter("adapter-a"));
}

#[test]
fn missing_files() {
    for file in ["config.json", WEIGHTS] {
        let copy = Copy::of("llama-tiny");
        std::fs::remove_file(copy.file(file)).unwrap();
        let error = copy.model_error();
        assert!(error.starts_with(&format!("cannot read `{}`: ", copy.file(file).display())), "{error}");
    }
    for file in ["adapter_config.json", ADAPTER] {
        let copy = Copy::of("adapter-a");
        std::fs::remove_file(copy.file(file)).unwrap();
        let error = copy.adapter_error(base("llama-tiny").config());
        assert!(error.starts_with(&format!("cannot read `{}`: ", copy.file(file).display())), "{error}");
    }
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        let copy = Copy::of("llama-tiny");
        std::fs::remove_file(copy.file(file)).unwrap();
        let error = copy.text_error();
        assert!(error.contains(&format!("`{}`: ", copy.file(file).display())), "{error}");
    }
}

#[test]
fn truncated_weights() {
    for (fixture, file) in [("llama-tiny", WEIGHTS), ("adapter-a", ADAPTER)] {
        let length = std::fs::metadata(crate::fixture(fixture).join(file)).unwrap().len() as usize;
        for length in [0, 5, 100, length / 2, length - 1] {
            let copy = Copy::of(fixture);
            copy.cut(file, length);
            let error = match fixture {
                "llama-tiny" => copy.model_error(),
                _ => copy.adapter_error(base("llama-tiny").config()),
            };
            let expected = copy.says(file, "not a complete safetensors file (");
            assert!(error.starts_with(&expected), "{length} bytes: {error}");
        }
    }
}

#[test]
fn tensors_of_a_model() {
    let refused = |damage: &dyn Fn(&Copy), reason: &str| {
        let copy = Copy::of("llama-tiny");
        damage(&copy);
        assert_eq!(copy.model_error(), copy.says(WEIGHTS, reason));
    };
    refused(&|c| c.drop_tensor(WEIGHTS, UP), &format!("tensor `{UP}` is missing"));
    refused(
        &|c| c.recast(WEIGHTS, UP, Dtype::F32, &[32, 56]),
        &format!("tensor `{UP}` has shape [32, 56], `config.json` asks for [56, 32]"),
    );
    refused(
        &|c| c.recast(WEIGHTS, UP, Dtype::I32, &[56, 32]),
        &format!("tensor `{UP}` is I32; f32, f16 or bf16 is read"),
    );
    refused(&|c| c.poison(WEIGHTS, UP), &format!("tensor `{UP}` holds NaN at index 0"));
    refused(&|c| c.set("config.json", "tie_word_embeddings", json!(false)), "tensor `lm_head.weight` is missing");
    refused(
        &|c| c.set("config.json", "num_hidden_layers", json!(3)),
        "tensor `model.layers.2.self_attn.q_proj.weight` is missing",
    );
    refused(
        &|c| c.set("config.json", "vocab_size", json!(281)),
        "tensor `model.embed_tokens.weight` has shape [280, 32], `config.json` asks for [281, 32]",
    );
}

#[test]
fn architectures_that_are_not_implemented() {
    let unknown = json!({"rope_type": "spiral", "rope_theta": 1e4, "factor": 8.0});
    let bare = json!({"type": "linear"});
    let cases = [
        (
            "llama-tiny",
            "model_type",
            json!("mamba"),
            "`model_type` is `mamba`; llama, mistral, qwen2, qwen3, gemma2, gemma3_text, phi3, gpt2, gpt_neox or stablelm is \
             read",
        ),
        (
            "llama-tiny",
            "hidden_act",
            json!("relu"),
            "`hidden_act` is `relu`; silu, gelu, gelu_new or gelu_pytorch_tanh is supported",
        ),
        ("llama-tiny", "attention_bias", json!("yes"), "`attention_bias` is \"yes\"; it must be true or false"),
        ("llama-tiny", "rope_parameters", unknown.clone(), "rope scaling `spiral` is not supported"),
        ("llama-untied", "rope_scaling", unknown, "rope scaling `spiral` is not supported"),
        ("llama-untied", "rope_scaling", bare, "`factor` is missing"),
        ("llama-tiny", "head_dim", json!(7), "`head_dim` 7 is odd: rotary embedding needs pairs"),
        ("llama-tiny", "hidden_size", json!(0), "`hidden_size` is 0"),
        ("llama-tiny", "num_key_value_heads", json!(0), "`num_key_value_heads` is 0"),
        (
            "llama-tiny",
            "num_key_value_heads",
            json!(3),
            "`num_attention_heads` 4 is not a multiple of `num_key_value_heads` 3",
        ),
    ];
    for (fixture, key, value, reason) in cases {
        let copy = Copy::of(fixture);
        copy.set("config.json", key, value);
        assert_eq!(copy.model_error(), copy.says("config.json", reason), "{fixture}, `{key}`");
    }
}

#[test]
fn a_key_of_the_wrong_type_is_named() {
    let copy = Copy::of("llama-tiny");
    copy.set("config.json", "hidden_size", json!("wide"));
    let error = copy.model_error();
    assert!(error.starts_with(&copy.says("config.json", "")), "{error}");
    assert!(error.ends_with("`hidden_size` is \"wide\"; it must be a whole number"), "{error}");
}

#[test]
fn tokenizers_and_templates() {
    let directory = fixture("llama-tiny");
    let error = Text::load(&directory, 279).err().unwrap().to_string();
    let reason = "token id 279 does not fit the model's `vocab_size` 279: this tokenizer belongs to another model";
    assert_eq!(error, format!("`{}`: {reason}", directory.join("tokenizer.json").display()));

    let copy = Copy::of("llama-tiny");
    copy.cut("tokenizer.json", 1000);
    let error = copy.text_error();
    assert!(error.starts_with(&copy.says("tokenizer.json", "")), "{error}");

    let copy = Copy::of("llama-tiny");
    copy.set("tokenizer_config.json", "chat_template", json!("{% for %}"));
    let error = copy.text_error();
    assert!(error.starts_with(&copy.says("tokenizer_config.json", "chat template: ")), "{error}");

    let copy = Copy::of("llama-untied");
    std::fs::write(copy.file("chat_template.jinja"), "{% for %}").unwrap();
    let error = copy.text_error();
    assert!(error.starts_with(&copy.says("chat_template.jinja", "chat template: ")), "{error}");
}

#[test]
fn a_model_without_a_template_and_a_template_that_refuses() {
    let hello = [Message { role: Role::User, content: "hello".into() }];
    let copy = Copy::of("llama-untied");
    std::fs::remove_file(copy.file("chat_template.jinja")).unwrap();
    let text = Text::load(copy.path(), 280).unwrap();
    let reason = "the model has no chat template: add `chat_template.jinja` beside it";
    assert_eq!(text.encode_chat(&hello, true).unwrap_err().to_string(), copy.says("tokenizer.json", reason));

    std::fs::write(copy.file("chat_template.jinja"), "{{ raise_exception('system first') }}").unwrap();
    let error = Text::load(copy.path(), 280).unwrap().encode_chat(&hello, true).unwrap_err().to_string();
    assert!(error.starts_with("chat template: ") && error.contains("system first"), "{error}");
}

#[test]
fn adapters_with_options_that_change_the_arithmetic() {
    let cases = [
        ("use_dora", json!(true), "`use_dora` is not supported"),
        ("lora_bias", json!(true), "`lora_bias` is not supported"),
        ("fan_in_fan_out", json!(true), "`fan_in_fan_out` is true, but the base stores its weights the other way"),
        ("use_qalora", json!(true), "`use_qalora` is not supported"),
        ("alora_invocation_tokens", json!([1, 2]), "`alora_invocation_tokens` is not supported"),
        ("bias", json!("lora_only"), "`bias` is \"lora_only\"; only `none` is supported"),
        ("bias", json!("all"), "`bias` is \"all\"; only `none` is supported"),
        ("init_lora_weights", json!("pissa"), "`init_lora_weights` is \"pissa\", which changes the base's own weights"),
        ("modules_to_save", json!(["lm_head"]), "`modules_to_save` is not supported"),
        ("layers_to_transform", json!([0]), "`layers_to_transform` is not supported"),
        ("layers_to_transform", json!(0), "`layers_to_transform` is not supported"),
        ("rank_pattern", json!({"q_proj": 8}), "`rank_pattern` is not supported"),
        ("alpha_pattern", json!({"q_proj": 8}), "`alpha_pattern` is not supported"),
        ("peft_type", json!("IA3"), "`peft_type` is `IA3`; `LORA` is read"),
        ("r", json!(0), "`r` must be a positive whole number"),
        ("lora_alpha", json!("8"), "`lora_alpha` must be a number"),
        (
            "target_modules",
            json!(7),
            "`target_modules` must be a list of module names, a regular expression or `all-linear`",
        ),
        ("target_modules", json!(".*wq"), "`target_modules` matches no linear module of the base"),
        ("target_modules", json!(["wq"]), "`target_modules` names `wq`, which the base does not have"),
    ];
    for (key, value, reason) in cases {
        let copy = Copy::of("adapter-a");
        copy.set("adapter_config.json", key, value);
        let error = copy.adapter_error(base("llama-tiny").config());
        assert_eq!(error, copy.says("adapter_config.json", reason), "`{key}`");
    }
}

#[test]
fn tensors_of_an_adapter() {
    let tiny = base("llama-tiny");
    let refused = |damage: &dyn Fn(&Copy), reason: &str| {
        let copy = Copy::of("adapter-a");
        damage(&copy);
        assert_eq!(copy.adapter_error(tiny.config()), copy.says(ADAPTER, reason));
    };
    refused(&|c| c.drop_tensor(ADAPTER, LORA_UP), &format!("tensor `{LORA_UP}` is missing"));
    refused(
        &|c| c.recast(ADAPTER, LORA_UP, Dtype::F32, &[4, 56]),
        &format!("tensor `{LORA_UP}` has shape [4, 56], the base asks for [56, 4]"),
    );
    refused(&|c| c.poison(ADAPTER, LORA_UP), &format!("tensor `{LORA_UP}` holds NaN at index 0"));
    refused(
        &|c| c.set("adapter_config.json", "target_modules", json!(["q_proj"])),
        "tensor `base_model.model.model.layers.0.mlp.down_proj.lora_A.weight` belongs to no module that is adapted",
    );
    refused(
        &|c| c.set("adapter_config.json", "r", json!(2)),
        "tensor `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` has shape [4, 32], \
         the base asks for [2, 32]",
    );
}

#[test]
fn an_adapter_of_another_base() {
    let copy = Copy::of("adapter-a");
    let wider = base("llama-untied");
    let reason = "tensor `base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight` has shape [32, 4], \
                  the base asks for [48, 4]";
    assert_eq!(copy.adapter_error(wider.config()), copy.says(ADAPTER, reason));

    let layers = |n: usize| -> ModelConfig {
        let mut config = crate::json("llama-tiny/config.json");
        config["num_hidden_layers"] = json!(n);
        serde_json::from_value(config).unwrap()
    };
    let reason =
        "tensor `base_model.model.model.layers.1.mlp.down_proj.lora_A.weight` belongs to no module that is adapted";
    assert_eq!(copy.adapter_error(&layers(1)), copy.says(ADAPTER, reason));

    let reason = "tensor `base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight` is missing";
    assert_eq!(copy.adapter_error(&layers(3)), copy.says(ADAPTER, reason));
}
