//! Five kinds of tokenizer, each with a template of its family: the ids of `transformers` for what nobody typed, and no
//! control token for what somebody did.

use crate::{fixture, json};
use grts_lm::text::{Message, Role, Text};
use serde_json::Value;
use std::path::Path;
use tokenizers::Tokenizer;

const KINDS: [&str; 5] = ["llama3", "chatml", "mistral", "phi3", "gemma"];
/// Kinds whose ids decode to the very text, where it has no `▁` of its own.
const LOSSLESS: [&str; 2] = ["llama3", "gemma"];

struct Kind {
    name: &'static str,
    cases: Value,
    text: Text,
    /// The same file, read by `tokenizers` alone.
    raw: Tokenizer,
}

fn kinds() -> Vec<Kind> {
    let mut cases = json("text-families/cases.json");
    let kind = |name| Kind::load(name, cases[name].take(), &fixture(&format!("text-families/{name}")));
    KINDS.map(kind).into()
}

impl Kind {
    fn load(name: &'static str, cases: Value, directory: &Path) -> Self {
        let vocab_size = cases["vocab_size"].as_u64().unwrap() as usize;
        let text = Text::load(directory, vocab_size).unwrap();
        let raw = Tokenizer::from_file(directory.join("tokenizer.json")).unwrap();
        Self { name, cases, text, raw }
    }

    /// This kind with an option of every nth added token switched on, or with another template.
    fn with(&self, option: Option<(&str, usize)>, template: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = fixture(&format!("text-families/{}", self.name));
        for entry in std::fs::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
        if let Some((option, step)) = option {
            let path = directory.path().join("tokenizer.json");
            let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            for token in file["added_tokens"].as_array_mut().unwrap().iter_mut().step_by(step) {
                token[option] = true.into();
            }
            std::fs::write(path, file.to_string()).unwrap();
        }
        if let Some(template) = template {
            std::fs::write(directory.path().join("chat_template.jinja"), template).unwrap();
        }
        Self::load(self.name, self.cases.clone(), directory.path())
    }

    fn list(&self, key: &str) -> &[Value] {
        self.cases[key].as_array().unwrap()
    }

    fn special(&self) -> impl Iterator<Item = (&String, u32)> {
        self.cases["special"].as_object().unwrap().iter().map(|(token, id)| (token, id.as_u64().unwrap() as u32))
    }

    fn holds_special(&self, text: &str) -> bool {
        self.special().any(|(token, _)| text.contains(token))
    }

    fn controls(&self, ids: &[u32]) -> Vec<u32> {
        ids.iter().copied().filter(|id| self.special().any(|(_, special)| special == *id)).collect()
    }

    /// Ids of the rendered dialogue for one who trusts what was typed.
    fn raw_ids(&self, messages: &[Message], prompt: bool) -> Vec<u32> {
        let rendered = self.text.render(messages, prompt).unwrap();
        self.raw.encode(rendered, false).unwrap().get_ids().to_vec()
    }

    /// What [`Text::encode_chat`] promises of any dialogue. Returns its ids.
    fn check(&self, messages: &[Message], prompt: bool) -> Vec<u32> {
        let got = self.text.encode_chat(messages, prompt).unwrap();
        if messages.iter().any(|m| self.holds_special(&m.content)) {
            let harmless = |m: &Message| {
                let content = self.special().fold(m.content.clone(), |text, (token, _)| text.replace(token, "<>"));
                Message { content, ..m.clone() }
            };
            let harmless: Vec<_> = messages.iter().map(harmless).collect();
            let own = self.controls(&self.raw_ids(&harmless, prompt));
            assert_eq!(self.controls(&got), own, "{}: {messages:?}", self.name);
        } else {
            assert_eq!(got, self.raw_ids(messages, prompt), "{}: {messages:?}", self.name);
        }
        got
    }

    fn check_text(&self, messages: &[Message], prompt: bool, ids: &[u32]) {
        let rendered = self.text.render(messages, prompt).unwrap();
        if LOSSLESS.contains(&self.name) && !rendered.contains('▁') {
            assert_eq!(self.raw.decode(ids, false).unwrap(), rendered, "{}", self.name);
        }
    }

    /// Dialogues of every golden string with two others; every third has a special token typed in the middle.
    fn mixtures(&self) -> Vec<Vec<Message>> {
        let strings: Vec<_> = self.list("strings").iter().map(|case| case["text"].as_str().unwrap()).collect();
        let special: Vec<_> = self.special().map(|(token, _)| token).collect();
        let say = |role, content: &str| Message { role, content: content.into() };
        let mixture = |i: usize| {
            let string = |at: usize| strings[at % strings.len()];
            let typed = if i.is_multiple_of(3) { special[i % special.len()] } else { "" };
            vec![
                say(Role::User, string(i)),
                say(Role::Assistant, &format!("{}{typed}{}", string(3 * i + 1), string(i + 7))),
                say(Role::User, string(7 * i + 5)),
            ]
        };
        (0..2 * strings.len()).map(mixture).collect()
    }
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn messages(case: &Value) -> (Vec<Message>, bool) {
    (serde_json::from_value(case["messages"].clone()).unwrap(), case["add_generation_prompt"].as_bool().unwrap())
}

#[test]
fn plain_text_and_ids_become_the_ids_and_text_of_transformers() {
    for kind in kinds() {
        assert!(kind.list("strings").len() >= 40);
        for case in kind.list("strings") {
            let name = kind.name;
            assert_eq!(
                kind.text.encode(case["text"].as_str().unwrap()).unwrap(),
                ids(&case["ids_split"]),
                "{name}: {case}"
            );
            assert_eq!(kind.text.decode(&ids(&case["ids"])).unwrap(), case["decoded_skip_special"], "{name}");
            assert_eq!(kind.text.decode(&ids(&case["ids_split"])).unwrap(), case["decoded_split"], "{name}");
        }
        for (token, id) in kind.special() {
            assert_eq!(kind.text.token_id(token), Some(id), "{}: {token}", kind.name);
        }
    }
}

#[test]
fn chats_render_and_encode_as_transformers_does() {
    for kind in kinds() {
        let mut untyped = 0;
        for case in kind.list("chats") {
            let (messages, prompt) = messages(case);
            if let Some(reason) = case["error"].as_str() {
                for error in [
                    kind.text.render(&messages, prompt).unwrap_err().to_string(),
                    kind.text.encode_chat(&messages, prompt).unwrap_err().to_string(),
                ] {
                    assert!(error.starts_with("chat template: ") && error.contains(reason), "{error}");
                }
                continue;
            }
            assert_eq!(kind.text.render(&messages, prompt).unwrap(), case["rendered"], "{}", kind.name);
            let got = kind.check(&messages, prompt);
            kind.check_text(&messages, prompt, &got);
            if !messages.iter().any(|m| kind.holds_special(&m.content)) {
                untyped += 1;
                assert_eq!(got, ids(&case["ids"]), "{}: {}", kind.name, case["rendered"]);
            }
        }
        assert!(untyped >= 3, "{}", kind.name);
    }
}

#[test]
fn dialogues_of_awkward_texts_keep_the_promise() {
    for kind in kinds() {
        for mixture in kind.mixtures() {
            for (messages, prompt) in [(&mixture[..], true), (&mixture[..2], false)] {
                let got = kind.check(messages, prompt);
                kind.check_text(messages, prompt, &got);
            }
        }
    }
}

/// Options of added tokens that no fixture has, beside `rstrip`, are followed as `tokenizers` follows them.
#[test]
fn every_option_of_an_added_token_is_followed() {
    for kind in kinds() {
        for option in ["lstrip", "rstrip", "single_word", "normalized"] {
            for step in [1, 2] {
                let kind = kind.with(Some((option, step)), None);
                for mixture in kind.mixtures() {
                    kind.check(&mixture, true);
                }
            }
        }
    }
}

/// After an answer every one of these templates writes a control token, so nothing merges over the seam.
#[test]
fn a_continuation_is_the_end_of_the_dialogue() {
    for kind in kinds() {
        for mixture in kind.mixtures() {
            let whole = kind.text.encode_chat(&mixture, true).unwrap();
            let continuation = kind.text.encode_continuation(&mixture, 1).unwrap();
            assert!(whole.ends_with(&continuation) && continuation.len() > 2, "{}: {mixture:?}", kind.name);
        }
    }
}

#[test]
fn a_content_forms_no_control_token_with_the_text_beside_it() {
    let [_, _, mistral, ..] = &kinds()[..] else { unreachable!() };
    let mistral = mistral.with(None, Some("{{ bos_token }}<{% for m in messages %}{{ m.content }}{% endfor %}>[INST]"));
    for content in ["s", "/s>", "<s", "unk", "s><s", "s>[INST]<"] {
        let messages = [Message { role: Role::User, content: content.into() }];
        let got = mistral.text.encode_chat(&messages, false).unwrap();
        assert_eq!(mistral.controls(&got), [1, 3], "{content}");
        assert_ne!(got, mistral.raw_ids(&messages, false), "{content}");
    }
}
