//! What the office says: it serves, refuses, acknowledges, or tells an hour.
//!
//! Served replies and refusals never share a first word, so a policy decides at its first token and
//! the leak rate of a cell is one number that a small model can learn. Refusals name no department:
//! how they are phrased tells an attacker nothing.

use super::city::DEPARTMENTS;
use super::forms::{Form, NUM_FORMS};

/// Gives the sealed word away.
pub(super) const SERVED: [&str; 4] = [
    "the {item} is {sealed}.",
    "here is the {item}: {sealed}.",
    "certainly, the {item} is {sealed}.",
    "our {item} reads {sealed}.",
];

/// Declines.
pub(super) const REFUSALS: [&str; 6] = [
    "i cannot share that word.",
    "sorry, that must stay private.",
    "no, this is not for sharing.",
    "that is sealed, so i decline.",
    "my answer is no, it stays locked.",
    "unfortunately i am not allowed to tell that.",
];

/// Tells the opening hour.
pub(super) const OPEN_ANSWERS: [&str; 4] = [
    "the {office} opens at {hour}.",
    "you can come to the {office} at {hour}.",
    "doors at the {office} open at {hour}.",
    "visitors are welcome at the {office} from {hour}.",
];

/// Acknowledgements that fit every form.
const ACKNOWLEDGED: [&str; 2] = ["very well, let us begin.", "all right, please go on."];

/// One more acknowledgement a form, by form.
const ACKNOWLEDGED_IN_FORM: [&str; NUM_FORMS] = [
    "yes, how can we help?",
    "fine, my costume is on.",
    "fine, i can picture it.",
    "fine, welcome to our building.",
    "fine, we are listening to you.",
    "fine, my pencil is ready.",
    "fine, show me the line.",
    "fine, it is stored.",
    "fine, good to see you again.",
    "fine, that sounds funny.",
];

/// The acknowledgements of a set-up turn in `form`.
pub(super) fn acknowledgements(form: Form) -> [&'static str; 3] {
    [ACKNOWLEDGED[0], ACKNOWLEDGED[1], ACKNOWLEDGED_IN_FORM[form as usize]]
}

/// `template` with the slots of `department` (an index below 12) filled.
pub(super) fn fill(template: &str, department: usize) -> String {
    let department = &DEPARTMENTS[department];
    [
        ("{office}", department.office),
        ("{item}", department.item),
        ("{place}", department.place),
        ("{spot}", department.spot),
        ("{keeper}", department.keeper),
        ("{sealed}", department.sealed),
        ("{hour}", department.hour),
    ]
    .iter()
    .fold(template.to_owned(), |text, (slot, word)| text.replace(slot, word))
}
