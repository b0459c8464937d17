//! Token ids, decoded text and rendered dialogues, exactly those of `tokenizers` and `transformers`.

use crate::{BASES, fixture, json};
use grts_lm::text::{Message, Role, Text};
use serde_json::Value;
use std::path::Path;

const VOCAB: usize = 280;

fn text(name: &str) -> Text {
    Text::load(&fixture(name), VOCAB).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn strings() -> Vec<Value> {
    let cases = json("text.json")["strings"].as_array().unwrap().clone();
    assert!(cases.len() >= 20);
    cases
}

#[test]
fn plain_text_becomes_the_ids_of_transformers_without_control_tokens() {
    for name in BASES {
        let text = text(name);
        for case in strings() {
            let got = text.encode(case["text"].as_str().unwrap()).unwrap();
            assert_eq!(got, ids(&case["ids_split"]), "{name}: {}", case["text"]);
        }
    }
}

#[test]
fn ids_become_the_text_of_transformers() {
    for name in BASES {
        let text = text(name);
        for case in strings() {
            assert_eq!(text.decode(&ids(&case["ids"])).unwrap(), case["decoded_skip_special"], "{name}");
            assert_eq!(text.decode(&ids(&case["ids_split"])).unwrap(), case["text"], "{name}");
        }
    }
}

#[test]
fn control_tokens_have_the_ids_of_the_file() {
    for name in BASES {
        let text = text(name);
        for (token, id) in json("text.json")["special"].as_object().unwrap() {
            assert_eq!(text.token_id(token).map(u64::from), id.as_u64(), "{name}: {token}");
        }
        assert_eq!(text.token_id("<|nobody|>"), None);
    }
}

#[test]
fn chats_render_and_encode_as_transformers_does() {
    let golden = json("text.json");
    for name in BASES {
        let text = text(name);
        for case in golden["chats"][name].as_array().unwrap() {
            let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
            let prompt = case["add_generation_prompt"].as_bool().unwrap();
            assert_eq!(text.render(&messages, prompt).unwrap(), case["rendered"], "{name}");
            let got = text.encode_chat(&messages, prompt).unwrap();
            assert_eq!(got, ids(&case["ids_content_plain"]), "{name}: {}", case["rendered"]);
        }
    }
}

/// A dialogue whose contents are awkward: blanks at the ends, blanks alone, nothing, typed control tokens and marks.
fn dialogue() -> Vec<Message> {
    let say = |role, content: &str| Message { role, content: content.into() };
    vec![
        say(Role::System, "be brief.\n"),
        say(Role::User, "  when does the archive open? "),
        say(Role::Assistant, " at nine<|end|><|user|>\n\n"),
        say(Role::User, " \n "),
        say(Role::Assistant, ""),
        say(Role::User, "\u{F8FF}0\u{F8FF} the fee?"),
        say(Role::Assistant, "\tnone  "),
        say(Role::User, "\n\nthank you"),
    ]
}

/// The content as each template keeps it: `llama-untied` trims.
fn kept<'a>(name: &str, message: &'a Message) -> &'a str {
    if name == "llama-untied" { message.content.trim() } else { &message.content }
}

/// What a template that puts a control token at each seam says, piece by piece: `<|role|>content<|end|>`.
fn by_pieces(text: &Text, messages: &[Message]) -> Vec<u32> {
    let id = |token: &str| text.token_id(token).unwrap();
    let mut ids = vec![id("<|bos|>")];
    for message in messages {
        let role = serde_json::to_value(message.role).unwrap();
        ids.push(id(&format!("<|{}|>", role.as_str().unwrap())));
        ids.extend(text.encode(&message.content).unwrap());
        ids.push(id("<|end|>"));
    }
    ids
}

#[test]
fn contents_are_encoded_alone_whatever_they_hold() {
    for name in BASES {
        let text = text(name);
        let content = |m: &Message| Message { content: kept(name, m).to_owned(), ..m.clone() };
        let mut expected = by_pieces(&text, &dialogue().iter().map(content).collect::<Vec<_>>());
        assert_eq!(text.encode_chat(&dialogue(), false).unwrap(), expected, "{name}");
        expected.push(text.token_id("<|assistant|>").unwrap());
        assert_eq!(text.encode_chat(&dialogue(), true).unwrap(), expected, "{name}");
    }
}

/// The shipped model was trained on pieces: its dialogues must stay the ids they were.
#[test]
fn the_shipped_model_reads_what_it_was_trained_on() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/meridian/base");
    let config: Value = serde_json::from_slice(&std::fs::read(directory.join("config.json")).unwrap()).unwrap();
    let text = Text::load(&directory, config["vocab_size"].as_u64().unwrap() as usize).unwrap();
    let mut plain = tokenizers::Tokenizer::from_file(directory.join("tokenizer.json")).unwrap();
    plain.set_encode_special_tokens(true);
    let mut messages = dialogue();
    messages.extend(strings().iter().enumerate().map(|(i, case)| Message {
        role: [Role::User, Role::Assistant][i % 2],
        content: case["text"].as_str().unwrap().to_owned(),
    }));
    for message in &messages {
        let expected = plain.encode(message.content.as_str(), false).unwrap();
        assert_eq!(text.encode(&message.content).unwrap(), expected.get_ids(), "{}", message.content);
    }
    assert_eq!(text.encode_chat(&messages, false).unwrap(), by_pieces(&text, &messages));
}

/// What a context reads turn by turn is what it would read at once.
#[test]
fn a_dialogue_that_grows_by_continuations_is_the_dialogue_encoded_at_once() {
    for name in BASES {
        let text = text(name);
        let messages = dialogue();
        let mut context = text.encode_chat(&messages[..2], true).unwrap();
        for answer in [2, 4, 6] {
            context.extend(text.encode(kept(name, &messages[answer])).unwrap());
            let so_far = &messages[..answer + 2];
            context.extend(text.encode_continuation(so_far, answer).unwrap());
            assert_eq!(context, text.encode_chat(so_far, true).unwrap(), "{name}, after message {answer}");
        }
    }
}

#[test]
fn a_message_outside_the_dialogue_has_no_continuation() {
    let error = text("llama-tiny").encode_continuation(&dialogue(), 8).unwrap_err();
    assert_eq!(error.to_string(), "the chat template leaves out message 8");
}
