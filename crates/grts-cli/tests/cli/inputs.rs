//! Scenarios and models that cannot be used: one error, the way out, and nothing made or changed.

use crate::Desk;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::fs;
use std::path::PathBuf;

const NORM: &str = "model.norm.weight";

/// A working directory with a scenario of this text.
fn with_scenario(text: &str) -> Desk {
    let desk = Desk::new();
    desk.write("my.toml", text);
    desk
}

/// What `solve` says of this scenario.
fn said(text: &str) -> String {
    with_scenario(text).refusal(&["solve", "my.toml", "--run-dir", "run"])
}

#[test]
fn unknown_keys_are_named_with_line_and_neighbour() {
    assert_eq!(
        said("seed = 1\n\n[game]\nturnz = 3\n"),
        "error: `my.toml` line 4: `[game]` has no key `turnz`\nhint: did you mean `turns`?\n"
    );
}

#[test]
fn no_turns_is_no_game() {
    let said = said("[game]\nturns = 0\n");
    let (error, hint) = said.split_once('\n').unwrap();
    assert_eq!(error, "error: `my.toml` line 2: `[game] turns` is `0`; it must be at least 1 and at most 64");
    assert!(hint.starts_with("hint: "), "{hint}");
}

#[test]
fn a_scenario_that_is_not_there_or_is_no_text() {
    let desk = Desk::new();
    assert_eq!(
        desk.refusal(&["solve", "no.toml"]),
        "error: cannot read `no.toml`: No such file or directory (os error 2)\nhint: check the path\n"
    );
    fs::write(desk.path("bytes.toml"), [0xff, 0xfe]).unwrap();
    assert_eq!(
        desk.refusal(&["solve", "bytes.toml"]),
        "error: `bytes.toml`: not UTF-8 text\nhint: give a scenario in TOML, saved as UTF-8\n"
    );
    assert!(with_scenario("[game\n").refusal(&["solve", "my.toml"]).contains("line 1: not valid TOML"));
}

/// A scenario with a copy of the shipped base, to be damaged.
struct Damaged(Desk);

impl Damaged {
    fn new() -> Self {
        let desk = with_scenario("[base]\nmodel = 'base'\n");
        let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/meridian/base");
        fs::create_dir(desk.path("base")).unwrap();
        for entry in fs::read_dir(shipped).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), desk.path("base").join(entry.file_name())).unwrap();
        }
        Self(desk)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path("base").join(name)
    }

    /// Passes every tensor through `edit`, which may drop it.
    fn edit(&self, edit: impl for<'a> Fn(&str, TensorView<'a>) -> Option<TensorView<'a>>) {
        let path = self.file("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let kept: Vec<_> =
            tensors.into_iter().filter_map(|(name, view)| Some((name.clone(), edit(&name, view)?))).collect();
        fs::write(path, safetensors::serialize(kept, None).unwrap()).unwrap();
    }

    /// Error and hint, which must name the directory and the way out.
    fn error(&self) -> String {
        let said = self.0.refusal(&["solve", "my.toml", "--run-dir", "run"]);
        let (error, hint) = said.split_once('\n').unwrap();
        assert!(error.starts_with("error: model `DIR/base`: "), "{error}");
        assert!(hint.starts_with("hint: give a complete Hugging Face directory"), "{hint}");
        error["error: model `DIR/base`: ".len()..].to_owned()
    }
}

#[test]
fn a_model_that_is_not_there() {
    let desk = with_scenario("[base]\nmodel = 'nowhere'\n");
    let said = desk.refusal(&["solve", "my.toml", "--run-dir", "run"]);
    assert!(said.starts_with("error: model `DIR/nowhere`: cannot read `DIR/nowhere/"), "{said}");
}

#[test]
fn weights_that_are_missing_or_cut_off() {
    let model = Damaged::new();
    let path = model.file("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = model.error();
    assert!(error.starts_with("`DIR/base/model.safetensors`: "), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(model.error().contains("`DIR/base/model.safetensors`"));
}

#[test]
fn a_missing_tensor_is_named() {
    let model = Damaged::new();
    model.edit(|name, view| (name != NORM).then_some(view));
    assert!(model.error().contains(NORM));
}

#[test]
fn a_tensor_of_the_wrong_shape_is_named_with_both_shapes() {
    let model = Damaged::new();
    model.edit(|name, view| {
        let width: usize = view.shape().iter().product();
        let shape = if name == NORM { vec![2, width / 2] } else { view.shape().to_vec() };
        let (dtype, data) = (view.dtype(), view.data());
        TensorView::new(dtype, shape, data).ok()
    });
    let error = model.error();
    assert!(error.contains(NORM) && error.contains("has shape [2, "), "{error}");
}

#[test]
fn a_tokenizer_that_does_not_fit_the_weights() {
    let model = Damaged::new();
    let path = model.file("tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["surplus"] = 1_000_000.into();
    fs::write(&path, tokenizer.to_string()).unwrap();
    let error = model.error();
    assert!(error.contains("tokenizer.json") && error.contains("1000000"), "{error}");
}
