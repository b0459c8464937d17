//! Token ids of a whole text in which control tokens count only where nobody typed them.
//!
//! `tokenizers` knows two ways to read a text: every control token counts, or none does. A rendered dialogue needs both at
//! once, and cutting it at the contents is no way out: a tokenizer that puts `▁` before a text would put one at each cut,
//! merges over a cut would be lost, and blanks that a control token swallows would stay. So this file repeats the steps of
//! `Tokenizer::encode`, with its own search for added tokens, and leaves out the typed ones that the search finds.

use std::ops::Range;
use tokenizers::normalizer::Range as Span;
use tokenizers::tokenizer::{Model, Normalizer, PreTokenizer};
use tokenizers::{
    NormalizedString, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString, Result, Token, Tokenizer,
};

/// Token ids of `text`. A control token of which any byte lies in one of the ranges `typed` is ordinary text; where there is
/// none, the ids are those of `Tokenizer::encode`.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str, typed: &[Range<usize>]) -> Result<Vec<u32>> {
    let mut parts = PreTokenizedString::from(text);
    parts.split(|_, part| Ok(cut(tokenizer, &part, false, typed)))?;
    parts.split(|_, mut part| {
        if let Some(normalizer) = tokenizer.get_normalizer() {
            normalizer.normalize(&mut part)?;
        }
        Ok(cut(tokenizer, &part, true, typed))
    })?;
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut parts)?;
    }
    tokenizer.get_model().tokenize_in_pretokenized(&mut parts, None)?;
    Ok(parts.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
}

/// Cuts a part at its added tokens, those of the file that are `normalized` or those that are not. Each takes the blanks
/// beside it that its `lstrip` and `rstrip` say.
fn cut(
    tokenizer: &Tokenizer,
    part: &NormalizedString,
    normalized: bool,
    typed: &[Range<usize>],
) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
    let vocabulary = tokenizer.get_added_vocabulary();
    let slice = |range| part.slice(Span::Normalized(range)).expect("the search gives ranges of this part");
    let mut cuts = Vec::new();
    let mut end = 0;
    let found = vocabulary.extract_and_normalize(None::<&NormalizerWrapper>, part.get());
    for (_, (start, stop), tokens) in found.get_splits(OffsetReferential::Original, OffsetType::Byte) {
        let Some([token]) = tokens.as_deref() else { continue };
        let added = &vocabulary.get_added_tokens_decoder()[&token.id];
        if added.normalized != normalized || added.special && is_typed(part, start..stop, typed) {
            continue;
        }
        if end < start {
            cuts.push((slice(end..start), None));
        }
        cuts.push((slice(start..stop), Some(vec![token.clone()])));
        end = stop;
    }
    if end < part.len() {
        cuts.push((slice(end..part.len()), None));
    }
    cuts
}

/// Whether a range of a part lies, even partly, in a typed range of the text. Blanks at its ends, which a token took or which
/// stand for its `▁`, do not count, unless there is nothing else.
fn is_typed(part: &NormalizedString, range: Range<usize>, typed: &[Range<usize>]) -> bool {
    let Some(range) = part.convert_offsets(Span::Normalized(range)) else { return true };
    let original = &part.get_original()[range.clone()];
    let [before, after] = match super::blanks(original) {
        [before, _] if before.len() == original.len() => ["", ""],
        blanks => blanks,
    };
    let offset = part.offsets_original().0;
    let (start, end) = (offset + range.start + before.len(), offset + range.end - after.len());
    typed.iter().any(|t| t.start.max(start) < t.end.min(end))
}
