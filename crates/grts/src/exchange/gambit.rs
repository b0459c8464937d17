//! Gambit's `.nfg`, a strategic game, written so that pygambit and OpenSpiel both take it.
//!
//! Payoffs run with red's row fastest, a pair for each entry. Neither reader allows comments in it, pygambit refuses an
//! exponent after a decimal point (`2.5e30`), OpenSpiel a missing line end; so decimals are written out in full. Read is
//! what both write, for two players whose payoffs sum to 0: the payoff form, and the list of outcomes that Gambit 17 writes.
//! Names of strategies and outcomes are skipped.

use super::GameTable;
use grts_game::Matrix;
use std::fmt::Write as _;

pub(super) fn text(table: &GameTable) -> String {
    let payoffs = &table.payoffs;
    let (rows, cols) = (payoffs.rows(), payoffs.cols());
    let mut out = format!("NFG 1 R \"meta-game\" {{ \"Red\" \"Blue\" }} {{ {rows} {cols} }}\n\n");
    for col in 0..cols {
        for row in 0..rows {
            let payoff = payoffs.get(row, col) + 0.0; // no minus before a 0
            let _ = write!(out, "{payoff} {} ", 0.0 - payoff);
        }
        out.pop();
        out.push('\n');
    }
    out
}

pub(super) fn read(bytes: &[u8]) -> Result<GameTable, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let words = words(text);
    let strange = || "not a game in Gambit's strategic form for two players".to_owned();
    let body = match words.as_slice() {
        ["NFG", "1", "R" | "D", rest @ ..] => rest,
        _ => return Err(strange()),
    };
    let open =
        body.iter().enumerate().filter(|(_, word)| **word == "{").map(|(at, _)| at).nth(1).ok_or_else(strange)?;
    let (sizes, after) = sizes(&body[open..]).ok_or_else(strange)?;
    let [rows, cols] = sizes[..] else { return Err(format!("it has {} players, not 2", sizes.len())) };
    let numbers = payoffs(after).ok_or_else(strange)?;
    let wanted = rows.checked_mul(cols).and_then(|n| n.checked_mul(2)).ok_or_else(strange)?;
    if numbers.len() != wanted {
        return Err(format!("expected {wanted} payoffs, found {}", numbers.len()));
    }
    let mut payoffs = vec![0.0; rows * cols];
    for (at, pair) in numbers.chunks_exact(2).enumerate() {
        let (row, col) = (at % rows, at / rows);
        let (red, blue) = (number(pair[0], row, col)?, number(pair[1], row, col)?);
        if (red + blue).abs() > 1e-9 * red.abs().max(blue.abs()) {
            return Err(format!("entry ({row}, {col}): payoffs {red} and {blue} do not sum to 0"));
        }
        payoffs[row * cols + col] = red;
    }
    Ok(Matrix::new(rows, cols, payoffs).map_err(|e| e.to_string())?.into())
}

/// The payoffs entry by entry, from the payoff form or from outcomes and the number of one for each entry; 0 is none of them.
fn payoffs<'a>(words: &[&'a str]) -> Option<Vec<&'a str>> {
    // Without names and an optional comment.
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with('"')).collect();
    let Some(end) = words.iter().rposition(|word| *word == "}") else { return Some(words) };
    let outcomes: Vec<&[&str]> = words.get(1..end)?.split(|word| *word == "{").skip(1).collect();
    let of = |entry: &&str| match entry.parse::<usize>().ok()?.checked_sub(1) {
        None => Some(["0", "0"].as_slice()),
        Some(at) => outcomes.get(at)?.strip_suffix(&["}"]),
    };
    Some(words[end + 1..].iter().map(of).collect::<Option<Vec<_>>>()?.concat())
}

/// What blanks and commas separate; braces stand alone, and a text in quotes is one word.
fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let between = |c: char| c.is_whitespace() || c == ',';
    let mut rest = text.trim_start_matches(between);
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '{' | '}' => 1,
            '"' => rest[1..].find('"').map_or(rest.len(), |at| at + 2),
            _ => rest.find(|c| between(c) || "{}\"".contains(c)).unwrap_or(rest.len()),
        };
        out.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(between);
    }
    out
}

/// Numbers of strategies, `{ 2 3 }` or names `{ { "a" "b" } … }`, and what follows.
fn sizes<'a, 'b>(words: &'b [&'a str]) -> Option<(Vec<usize>, &'b [&'a str])> {
    let (mut depth, mut sizes, mut names) = (0, Vec::new(), 0);
    for (at, word) in words.iter().enumerate() {
        match *word {
            "{" => (depth, names) = (depth + 1, 0),
            "}" if depth == 1 => return Some((sizes, &words[at + 1..])),
            "}" => {
                sizes.push(names);
                depth -= 1;
            }
            name if name.starts_with('"') => names += 1,
            size => sizes.push(size.parse().ok()?),
        }
    }
    None
}

/// A decimal or, as Gambit writes exact payoffs, a fraction.
fn number(word: &str, row: usize, col: usize) -> Result<f64, String> {
    let part = |text: &str| text.parse::<f64>().map_err(|_| format!("entry ({row}, {col}): `{word}` is not a number"));
    match word.split_once('/') {
        Some((over, under)) => Ok(part(over)? / part(under)?),
        None => part(word),
    }
}

#[cfg(test)]
mod tests {
    use super::{read, text};
    use grts_game::Matrix;

    #[test]
    fn rows_run_fastest_and_the_last_line_ends() {
        let game = Matrix::from_rows(&[[0.5, -0.0], [1e-7, 2.0]]).unwrap();
        let wanted = "NFG 1 R \"meta-game\" { \"Red\" \"Blue\" } { 2 2 }\n\n0.5 -0.5 0.0000001 -0.0000001\n0 0 2 -2\n";
        assert_eq!(text(&game.into()), wanted);
    }

    #[test]
    fn named_strategies_comments_and_fractions_are_read() {
        let file = "NFG 1 R \"a game\" { \"Red\" \"Blue\" }\n\n{ { \"x\" \"y\" }\n{ \"l\" }\n}\n\"a comment\"\n1/4 -1/4 -3 3\n";
        assert_eq!(read(file.as_bytes()).unwrap().payoffs.as_slice(), [0.25, -3.0]);
    }

    #[test]
    fn outcomes_are_read_by_their_numbers() {
        let game = |entries: &str| {
            let outcomes = "{\n{ \"win\" 1/2, -1/2 }\n{ \"\" -3,3 }\n}";
            let names = "{ { \"x\" \"y\" }\n{ \"l\" \"r\" }\n}";
            read(format!("NFG 1 R \"t\" {{ \"Red\" \"Blue\" }}\n\n{names}\n\"\"\n\n{outcomes}\n{entries}\n").as_bytes())
        };
        assert_eq!(game("2 1 0 2").unwrap().payoffs.as_slice(), [-3.0, 0.0, 0.5, -3.0]);
        assert_eq!(game("2 1 0").unwrap_err(), "expected 8 payoffs, found 6");
        assert_eq!(game("2 1 0 3").unwrap_err(), "not a game in Gambit's strategic form for two players");
    }
}
