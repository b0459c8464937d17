//! Reads a TOML text against a table of known keys, with the line of every fault.
//!
//! Deriving `Deserialize` with `deny_unknown_fields` would be shorter, but says neither the line in a
//! section nor the nearest key, knows no ranges, and does not combine with flattened records. So the
//! text is walked beside a *template*: any table in which every valid key has a value of its type.
//! Nothing is corrected or clamped; the first fault in the order of the file is the error.

use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::ranges;
use crate::error::Error;

/// Jaro-Winkler similarity below which a suggestion would be a guess.
const NEAR: f64 = 0.75;

/// A text and where it came from.
pub(super) struct Document<'a> {
    pub text: &'a str,
    pub origin: &'a Path,
    /// Name of the enclosing section, for messages; empty at the top of a file.
    pub inside: &'a str,
    /// Every valid key of the whole text, with a value of its type.
    pub template: &'a Table,
}

/// One key of the text with its value.
struct Setting<'a> {
    section: &'a str,
    key: &'a str,
    value: &'a Spanned<DeValue<'a>>,
}

impl Document<'_> {
    /// Parses the text.
    pub fn table(&self) -> Result<Spanned<DeTable<'_>>, Error> {
        DeTable::parse(self.text).map_err(|error| Error::Setting {
            file: self.origin.to_owned(),
            line: error.span().map(|span| self.line(span.start)),
            problem: format!("not valid TOML: {}", error.message()),
            hint: "check quotes, brackets and `=` on that line".to_owned(),
        })
    }

    /// Copies every key of `given` into `settings`, or names the first that is wrong.
    ///
    /// `template` is the complete table of valid keys of this `section` (`""` for the top level).
    pub fn overlay(
        &self,
        section: &str,
        given: &DeTable<'_>,
        template: &Table,
        settings: &mut Table,
    ) -> Result<(), Error> {
        let mut entries: Vec<_> = given.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let known = template.get(name).ok_or_else(|| self.unknown(section, name, key.span().start, template))?;
            match (known, value.get_ref()) {
                (Value::Table(known), DeValue::Table(given)) => {
                    let inner = settings.entry(name).or_insert_with(|| Table::new().into());
                    let inner = inner.as_table_mut().ok_or_else(|| incomplete(name))?;
                    self.overlay(name, given, known, inner)?;
                }
                _ => {
                    let checked = self.checked(&Setting { section, key: name, value }, known)?;
                    settings.insert(name.to_owned(), checked);
                }
            }
        }
        Ok(())
    }

    /// The value in the type of the template, inside its range.
    fn checked(&self, setting: &Setting<'_>, known: &Value) -> Result<Value, Error> {
        match (known, setting.value.get_ref()) {
            (Value::Integer(_), DeValue::Integer(given)) => {
                let number = i64::from_str_radix(given.as_str(), given.radix());
                let number = number.ok().filter(|&x| in_range(setting, x as f64));
                number.map(Value::Integer).ok_or_else(|| self.outside(setting))
            }
            (Value::Float(_), DeValue::Float(given)) => {
                let number = given.as_str().parse().ok().filter(|&x| in_range(setting, x));
                number.map(Value::Float).ok_or_else(|| self.outside(setting))
            }
            (Value::Float(_), DeValue::Integer(given)) => {
                let number = i64::from_str_radix(given.as_str(), given.radix()).ok();
                let number = number.map(|x| x as f64).filter(|&x| in_range(setting, x));
                number.map(Value::Float).ok_or_else(|| self.outside(setting))
            }
            (Value::String(_), DeValue::String(given)) => self.checked_text(setting, given),
            (Value::Boolean(_), DeValue::Boolean(given)) => Ok(Value::Boolean(*given)),
            (known, given) => Err(self.mistyped(setting, known, given)),
        }
    }

    fn checked_text(&self, setting: &Setting<'_>, text: &str) -> Result<Value, Error> {
        if let Some((rule, hint)) = ranges::text_fault(setting.section, setting.key, text) {
            return Err(self.fault(setting, &rule, hint));
        }
        match ranges::choices(setting.section, setting.key) {
            Some(choices) if !choices.iter().any(|choice| choice == text) => Err(self.fault(
                setting,
                &format!("it must be one of {}", list(&choices)),
                suggestion(text, &choices).unwrap_or_else(|| "choose one of them".to_owned()),
            )),
            _ => Ok(Value::String(text.to_owned())),
        }
    }

    fn mistyped(&self, setting: &Setting<'_>, known: &Value, given: &DeValue<'_>) -> Error {
        let wanted = article(known);
        let seen = match given {
            DeValue::Table(_) => "a section".to_owned(),
            given => format!("`{}`, of type {}", self.written(setting), given.type_str()),
        };
        self.error(setting, &format!("{seen}; it must be {wanted}"), format!("give it {wanted}"))
    }

    fn outside(&self, setting: &Setting<'_>) -> Error {
        let range =
            ranges::range(setting.section, setting.key).map_or_else(|| "a 64-bit number".to_owned(), ranges::in_words);
        self.fault(setting, &format!("it must be {range}"), format!("allowed: {range}"))
    }

    /// An error about a value of the right type.
    fn fault(&self, setting: &Setting<'_>, rule: &str, hint: String) -> Error {
        self.error(setting, &format!("`{}`; {rule}", self.written(setting)), hint)
    }

    fn error(&self, setting: &Setting<'_>, finding: &str, hint: String) -> Error {
        let place = self.place(setting.section);
        let place = if place.is_empty() { place } else { format!("{place} ") };
        Error::Setting {
            file: self.origin.to_owned(),
            line: Some(self.line(setting.value.span().start)),
            problem: format!("`{place}{}` is {finding}", setting.key),
            hint,
        }
    }

    /// The value as the user wrote it.
    fn written(&self, setting: &Setting<'_>) -> &str {
        self.text.get(setting.value.span()).unwrap_or_default()
    }

    fn unknown(&self, section: &str, key: &str, at: usize, template: &Table) -> Error {
        let keys: Vec<String> = template.keys().cloned().collect();
        let place = match self.place(section) {
            place if place.is_empty() => "the top level".to_owned(),
            place => format!("`{place}`"),
        };
        Error::Setting {
            file: self.origin.to_owned(),
            line: Some(self.line(at)),
            problem: format!("{place} has no key `{key}`"),
            hint: self
                .belongs(key)
                .or_else(|| suggestion(key, &keys))
                .unwrap_or_else(|| format!("its keys are {}", list(&keys))),
        }
    }

    /// The sections in which `key` would be right.
    fn belongs(&self, key: &str) -> Option<String> {
        let holds = |value: &Value| value.as_table().is_some_and(|table| table.contains_key(key));
        let sections = self.template.iter().filter(|(_, value)| holds(value));
        let sections: Vec<String> = sections.map(|(section, _)| format!("`{}`", self.place(section))).collect();
        (!sections.is_empty()).then(|| format!("`{key}` belongs to {}", sections.join(" or ")))
    }

    /// The section as the file spells it, `[game]`; empty at the top level of a file.
    fn place(&self, section: &str) -> String {
        match (self.inside, section) {
            ("", "") => String::new(),
            ("", one) | (one, "") => format!("[{one}]"),
            (outer, inner) => format!("[{outer}.{inner}]"),
        }
    }

    /// The line of whichever of `keys` comes last in `section`; `None` if it has none of them.
    pub fn line_of_last(&self, given: &DeTable<'_>, section: &str, keys: &[&str]) -> Option<usize> {
        let section = given.get(section)?.get_ref().as_table()?;
        let wanted = section.keys().filter(|key| keys.contains(&key.get_ref().as_ref()));
        wanted.map(|key| self.line(key.span().start)).max()
    }

    /// The line of a byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        1 + before.filter(|&&byte| byte == b'\n').count()
    }
}

fn in_range(setting: &Setting<'_>, number: f64) -> bool {
    ranges::range(setting.section, setting.key).is_some_and(|range| ranges::allows(range, number))
}

/// The nearest of `known`, as a question; `None` if none is near.
fn suggestion(given: &str, known: &[String]) -> Option<String> {
    let near = known.iter().map(|key| (strsim::jaro_winkler(given, key), key));
    let best = near.filter(|(score, _)| *score >= NEAR).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, key)| format!("did you mean `{key}`?"))
}

fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

fn article(value: &Value) -> String {
    match value.type_str() {
        name @ ("integer" | "array") => format!("an {name}"),
        "float" => "a number".to_owned(),
        "table" => "a section".to_owned(),
        name => format!("a {name}"),
    }
}

fn incomplete(section: &str) -> Error {
    Error::Failed {
        problem: format!("the defaults have no section `[{section}]`"),
        hint: "report this: the built-in scenario is incomplete".to_owned(),
    }
}
