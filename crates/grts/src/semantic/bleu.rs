//! Self-BLEU and distinct-n: diversity of a set of texts by their words alone, without an embedding.
//!
//! Each text is scored against all the others as sacreBLEU scores a sentence: its default tokenization, orders cut to what
//! the text holds (`effective_order`), exponential smoothing. Comparing each with each costs the square of the set; here an
//! n-gram is clipped by the most and second most that any text has of it, so the cost is that of reading the texts.

use std::collections::HashMap;

/// The longest n-grams that are counted.
const ORDERS: usize = 5;

/// Texts cut into n-grams.
pub struct SelfBleu {
    texts: Vec<Counts>,
    num_grams: usize,
}

/// The n-grams of one text.
struct Counts {
    length: usize,
    /// By order: which n-gram, how often.
    grams: [Vec<(usize, u32)>; ORDERS],
}

/// How often the texts of a set hold an n-gram: at most, where, and at most elsewhere.
#[derive(Clone, Copy, Default)]
struct Most {
    first: u32,
    owner: usize,
    second: u32,
}

impl SelfBleu {
    /// Cuts `texts` into words and n-grams.
    pub fn new(texts: &[&str]) -> Self {
        let mut known: HashMap<Vec<String>, usize> = HashMap::new();
        let cut = |text: &&str| {
            let words = words(text);
            let mut grams: [Vec<(usize, u32)>; ORDERS] = Default::default();
            for (order, grams) in (1..).zip(&mut grams) {
                let mut counts: HashMap<usize, u32> = HashMap::new();
                for gram in words.windows(order) {
                    let next = known.len();
                    *counts.entry(*known.entry(gram.to_vec()).or_insert(next)).or_default() += 1;
                }
                grams.extend(counts);
                grams.sort_unstable();
            }
            Counts { length: words.len(), grams }
        };
        let texts = texts.iter().map(cut).collect();
        Self { texts, num_grams: known.len() }
    }

    /// Mean BLEU of each text of `set` against the others, for n-grams up to each of `orders` (1 to 5): 0 for texts that share
    /// nothing, 1 for copies. A set of fewer than two has nothing to be like: 0.
    pub fn of(&self, set: &[usize], orders: std::ops::RangeInclusive<usize>) -> Vec<f64> {
        let most = self.most(set);
        let mut lengths: Vec<usize> = set.iter().map(|&i| self.texts[i].length).collect();
        lengths.sort_unstable();
        let mut sums = vec![0.0; orders.clone().count()];
        for (at, &i) in set.iter().enumerate() {
            let text = &self.texts[i];
            let Some(reference) = nearest_other(&lengths, text.length) else { return sums };
            let matches: [u32; ORDERS] = std::array::from_fn(|order| {
                let clip = |&(gram, count): &(usize, u32)| {
                    let Most { first, owner, second } = most[gram];
                    count.min(if owner == at { second } else { first })
                };
                text.grams[order].iter().map(clip).sum()
            });
            for (sum, order) in sums.iter_mut().zip(orders.clone()) {
                *sum += bleu(&matches[..order.min(ORDERS)], text.length, reference) / set.len() as f64;
            }
        }
        sums
    }

    fn most(&self, set: &[usize]) -> Vec<Most> {
        let mut most = vec![Most::default(); self.num_grams];
        for (owner, &i) in set.iter().enumerate() {
            for &(gram, count) in self.texts[i].grams.iter().flatten() {
                let held = &mut most[gram];
                if count > held.first {
                    *held = Most { first: count, owner, second: held.first };
                } else {
                    held.second = held.second.max(count);
                }
            }
        }
        most
    }

    /// Distinct n-grams of `set` over all of them (Li et al. 2016); 0 where there are none.
    pub fn distinct(&self, set: &[usize], order: usize) -> f64 {
        let mut seen = vec![false; self.num_grams];
        let (mut different, mut all) = (0u64, 0u64);
        for &(gram, count) in set.iter().flat_map(|&i| &self.texts[i].grams[order - 1]) {
            different += u64::from(!std::mem::replace(&mut seen[gram], true));
            all += u64::from(count);
        }
        different as f64 / all.max(1) as f64
    }
}

/// The length nearest to `own` in the sorted `lengths` from which one `own` is taken away; of two as near the shorter.
fn nearest_other(lengths: &[usize], own: usize) -> Option<usize> {
    let (below, above) = (lengths.partition_point(|l| *l < own), lengths.partition_point(|l| *l <= own));
    if above - below > 1 {
        return Some(own);
    }
    let (shorter, longer) = (lengths[..below].last().copied(), lengths.get(above).copied());
    match (shorter, longer) {
        (Some(s), Some(l)) => Some(if own - s <= l - own { s } else { l }),
        (one, other) => one.or(other),
    }
}

/// Sentence BLEU from clipped matches by order, as sacreBLEU's `compute_bleu` with `effective_order` and exponential smoothing.
fn bleu(matches: &[u32], length: usize, reference: usize) -> f64 {
    if length == 0 || matches.iter().all(|m| *m == 0) {
        return 0.0;
    }
    let (mut smooth, mut logs, mut orders) = (1.0, 0.0, 0.0);
    for (order, matched) in (1..).zip(matches) {
        let all = (length + 1).saturating_sub(order);
        if all == 0 {
            break;
        }
        let precision = if *matched > 0 {
            f64::from(*matched) / all as f64
        } else {
            smooth *= 2.0;
            1.0 / (smooth * all as f64)
        };
        logs += precision.ln();
        orders += 1.0;
    }
    let brevity = if length < reference { (1.0 - reference as f64 / length as f64).exp() } else { 1.0 };
    brevity * (logs / orders).exp()
}

/// Words of a text by the tokenization `13a` of mteval-v13a, sacreBLEU's default.
pub fn words(text: &str) -> Vec<String> {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let mut spaced: Vec<char> = vec![' '];
    for c in text.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => spaced.extend([' ', c, ' ']),
            _ => spaced.push(c),
        }
    }
    spaced.push(' ');
    let (digit, mark) = (|c: char| c.is_ascii_digit(), |c: char| matches!(c, '.' | ','));
    let spaced = pairs(&spaced, |a, b| !digit(a) && mark(b), |a, b| [a, ' ', b, ' ']);
    let spaced = pairs(&spaced, |a, b| mark(a) && !digit(b), |a, b| [' ', a, ' ', b]);
    let spaced = pairs(&spaced, |a, b| digit(a) && b == '-', |a, b| [a, ' ', b, ' ']);
    spaced.iter().collect::<String>().split_whitespace().map(str::to_owned).collect()
}

/// Rewrites every pair of neighbours that `matches`, from the left and without overlap.
fn pairs(text: &[char], matches: impl Fn(char, char) -> bool, write: impl Fn(char, char) -> [char; 4]) -> Vec<char> {
    let mut out = Vec::with_capacity(2 * text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match tail {
            [second, after @ ..] if matches(*first, *second) => {
                out.extend(write(*first, *second));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}
