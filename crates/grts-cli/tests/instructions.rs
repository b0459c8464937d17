//! Vector instructions of floats are instructions in the program that is shipped, not calls.
//!
//! An intrinsic that is used in a function without its target feature (a closure that was not inlined is one) becomes a
//! function of its own, which is called: right, and many times slower. Nothing else would show it.

#![cfg(all(target_arch = "x86_64", target_os = "linux", not(debug_assertions)))]

use std::collections::BTreeSet;

/// Names of the symbols in `program` that contain `path`.
fn symbols(program: &[u8], path: &str) -> BTreeSet<String> {
    let named = |c: &u8| c.is_ascii_alphanumeric() || b"_.$".contains(c);
    let found = program.windows(path.len()).enumerate().filter(|(_, text)| *text == path.as_bytes());
    found
        .map(|(at, _)| {
            let first = program[..at].iter().rposition(|c| !named(c)).map_or(0, |before| before + 1);
            program[first..].iter().take_while(|c| named(c)).map(|c| char::from(*c)).collect()
        })
        .collect()
}

#[test]
fn no_vector_instruction_is_a_function() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_grts")).expect("the program can be read");
    assert!(!symbols(&program, "kernels9attention3x866narrow").is_empty(), "the program has no symbols to look at");
    // Of floats: a library that searches text sets itself up with a few of integers.
    let vectors = |name: &String| name.contains("_ps") && (name.contains("_mm256_") || name.contains("_mm512_"));
    let called: Vec<String> = symbols(&program, "core_arch3x86").into_iter().filter(vectors).collect();
    assert!(called.is_empty(), "vector instructions that are called: {called:#?}");
}
