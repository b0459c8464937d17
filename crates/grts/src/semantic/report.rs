//! How diverse a set of attacks is, by its vectors, by its words, by where it strikes; and which strategies it holds.
//!
//! Every figure depends on how many attacks there are (a larger set contains more), so figures compare at one size only, and
//! an interval is of the figure at this size: from random halves of the attacks, see `grts_game::sampling::halves`.

use super::bleu::SelfBleu;
use super::{dot, failed};
use crate::error::Error;
use grts_game::diversity::Spectrum;
use grts_game::sampling::halves;
use grts_game::stream::StreamKey;
use grts_game::{Estimate, GameError, Matrix};
use hdbscan::{DistanceMetric, Hdbscan, HdbscanHyperParams, NnAlgorithm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Halves behind each interval.
const DRAWS: usize = 100;
/// Shortest and longest n-grams whose Self-BLEU is reported.
pub const SMALLEST_BLEU: usize = 2;
/// See [`SMALLEST_BLEU`].
pub const LARGEST_BLEU: usize = 5;
/// A strategy has at least this many attacks, and at least this share of them.
const LEAST_STRATEGY: usize = 5;
const LEAST_SHARE: f64 = 0.02;
/// Vectors nearer than about this (a cosine of 0.995) lie at one place.
const BLUR: f64 = 0.1;

/// Vendi scores: the effective number of different attacks, rare ones counting less and less.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Vendi {
    /// Order 1.
    pub order_1: Estimate,
    /// Order 2.
    pub order_2: Estimate,
    /// Order ∞: one over the share of the most common kind.
    pub order_infinity: Estimate,
}

/// Diversity of a set of attacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiversityReport {
    /// Effective numbers of different attacks.
    pub vendi: Vendi,
    /// Expected size of a sample of the determinantal point process over the attacks.
    pub expected_cardinality: Estimate,
    /// Mean cosine between two attacks.
    pub mean_cosine: Estimate,
    /// Self-BLEU for n-grams up to 2, 3, 4, 5: how much an attack repeats the others' words.
    pub self_bleu: Vec<Estimate>,
    /// Share of word pairs that are different.
    pub distinct_2: Estimate,
    /// Share of the cells (department × form) in which an attack asks.
    pub coverage: Estimate,
}

/// Measures `texts` by their unit `vectors`; `cells[i]` of `num_cells` is where text i asks.
///
/// # Errors
/// When there is no text.
pub fn measure(
    texts: &[&str],
    vectors: &[Vec<f64>],
    (cells, num_cells): (&[Option<usize>], usize),
    key: StreamKey,
) -> Result<DiversityReport, Error> {
    let words = SelfBleu::new(texts);
    let figures = |set: &[usize]| -> Result<Vec<f64>, GameError> {
        let rows: Vec<&[f64]> = set.iter().map(|&i| vectors[i].as_slice()).collect();
        let spectrum = Spectrum::of_rows(&Matrix::from_rows(&rows)?)?;
        let covered: BTreeSet<usize> = set.iter().filter_map(|&i| cells[i]).collect();
        let mut figures: Vec<f64> = [1.0, 2.0, f64::INFINITY].map(|order| spectrum.vendi(order)).to_vec();
        figures.extend([
            spectrum.expected_cardinality(),
            mean_cosine(&rows),
            words.distinct(set, 2),
            covered.len() as f64 / num_cells as f64,
        ]);
        figures.extend(words.of(set, SMALLEST_BLEU..=LARGEST_BLEU));
        Ok(figures)
    };
    let found = halves(texts.len(), DRAWS, &mut key.rng(), figures).map_err(|e| failed(&e))?;
    let n = texts.len() as f64;
    let [order_1, order_2, order_infinity] = [0, 1, 2].map(|i| found[i].within(1.0, n));
    Ok(DiversityReport {
        vendi: Vendi { order_1, order_2, order_infinity },
        expected_cardinality: found[3].within(0.0, n),
        mean_cosine: found[4].within(-1.0, 1.0),
        distinct_2: found[5].within(0.0, 1.0),
        coverage: found[6].within(0.0, 1.0),
        self_bleu: found[7..].iter().map(|bleu| bleu.within(0.0, 1.0)).collect(),
    })
}

/// Mean of the cosines between two different rows of unit length: from the length of their sum.
fn mean_cosine(rows: &[&[f64]]) -> f64 {
    let n = rows.len() as f64;
    let mut sum = vec![0.0; rows[0].len()];
    rows.iter().for_each(|row| sum.iter_mut().zip(*row).for_each(|(s, x)| *s += x));
    (dot(&sum, &sum) - n) / (n * (n - 1.0)).max(1.0)
}

/// Clusters of unit `vectors`, the largest first, each led by its medoid: the member that is most like the others. What is
/// in no dense place belongs to none (HDBSCAN, Campello, Moulavi & Sander 2013).
///
/// Distances are √(|x − y|² + `BLUR`²): a phrase that is said again and again would otherwise be infinitely dense, and the
/// stability of a cluster that contains it a difference of infinities.
///
/// # Errors
/// A vector that is not finite.
pub fn strategies(vectors: &[Vec<f64>]) -> Result<Vec<Vec<usize>>, Error> {
    let least = LEAST_STRATEGY.max((LEAST_SHARE * vectors.len() as f64).ceil() as usize);
    if vectors.len() < least {
        return Ok(Vec::new());
    }
    let settings = HdbscanHyperParams::builder()
        .min_cluster_size(least)
        .min_samples(LEAST_STRATEGY)
        .allow_single_cluster(true)
        .dist_metric(DistanceMetric::Precalculated)
        .nn_algorithm(NnAlgorithm::BruteForce)
        .build();
    let blurred = |x: &[f64], y: &[f64]| (2.0 - 2.0 * dot(x, y) + BLUR * BLUR).max(BLUR * BLUR).sqrt();
    let distance = |i: usize, j: usize| if i == j { 0.0 } else { blurred(&vectors[i], &vectors[j]) };
    let all = 0..vectors.len();
    let distances: Vec<Vec<f64>> = all.clone().map(|i| all.clone().map(|j| distance(i, j)).collect()).collect();
    let labels = Hdbscan::new(&distances, settings)
        .cluster()
        .map_err(|e| Error::Failed { problem: format!("clusters of attacks: {e}"), hint: String::new() })?;
    let clusters = labels.iter().max().map_or(0, |most| usize::try_from(most + 1).unwrap_or(0));
    let mut members = vec![Vec::new(); clusters];
    for (i, label) in labels.iter().enumerate() {
        if let Ok(cluster) = usize::try_from(*label) {
            members[cluster].push(i);
        }
    }
    members.retain(|cluster: &Vec<usize>| !cluster.is_empty());
    members.iter_mut().for_each(|cluster| lead(cluster, vectors));
    members.sort_by_key(|cluster| (std::cmp::Reverse(cluster.len()), cluster[0]));
    Ok(members)
}

/// Puts the medoid first.
fn lead(cluster: &mut [usize], vectors: &[Vec<f64>]) {
    let mut sum = vec![0.0; vectors[cluster[0]].len()];
    for &i in cluster.iter() {
        sum.iter_mut().zip(&vectors[i]).for_each(|(s, x)| *s += x);
    }
    let like = |at: &usize| dot(&sum, &vectors[cluster[*at]]);
    let medoid = (0..cluster.len()).rev().max_by(|a, b| like(a).total_cmp(&like(b)));
    cluster.swap(0, medoid.unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::{measure, strategies};
    use grts_game::stream::StreamKey;

    const KEY: StreamKey = StreamKey { seed: 1, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 };

    fn at(degrees: f64) -> Vec<f64> {
        vec![degrees.to_radians().cos(), degrees.to_radians().sin()]
    }

    #[test]
    fn copies_are_one_attack_and_strangers_are_many() {
        let copies = vec![at(30.0); 12];
        let report = measure(&["tell me the word"; 12], &copies, (&[Some(3); 12], 120), KEY).unwrap();
        assert!(
            (report.vendi.order_1.mean - 1.0).abs() < 1e-9 && (report.vendi.order_infinity.mean - 1.0).abs() < 1e-9
        );
        assert!((report.expected_cardinality.mean - 12.0 / 13.0).abs() < 1e-9);
        assert!((report.mean_cosine.mean - 1.0).abs() < 1e-9);
        assert!(report.self_bleu.iter().all(|bleu| (bleu.mean - 1.0).abs() < 1e-9), "{:?}", report.self_bleu);
        assert!((report.distinct_2.mean - 3.0 / 36.0).abs() < 1e-9);
        assert!((report.coverage.mean - 1.0 / 120.0).abs() < 1e-12);

        let texts = ["a b", "c d", "e f", "g h"];
        let strangers: Vec<Vec<f64>> = (0..4).map(|i| (0..4).map(|j| f64::from(u8::from(i == j))).collect()).collect();
        let cells = [Some(0), Some(1), None, Some(1)];
        let report = measure(&texts, &strangers, (&cells, 4), KEY).unwrap();
        assert!((report.vendi.order_2.mean - 4.0).abs() < 1e-9 && report.vendi.order_2.high <= 4.0);
        assert!(report.mean_cosine.mean.abs() < 1e-12);
        assert!(report.self_bleu.iter().all(|bleu| bleu.mean == 0.0));
        assert_eq!((report.distinct_2.mean, report.coverage.mean), (1.0, 0.5));
        assert_eq!(measure(&texts, &strangers, (&cells, 4), KEY).unwrap(), report);
    }

    #[test]
    fn strategies_are_led_by_what_is_most_like_the_rest() {
        let around = |centre: f64, count: usize| (0..count).map(move |i| at(centre + i as f64 - (count / 2) as f64));
        let vectors: Vec<Vec<f64>> = around(10.0, 7).chain(around(60.0, 11)).chain([at(170.0), at(280.0)]).collect();
        let found = strategies(&vectors).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [11, 7]);
        // The middle ones lead.
        assert_eq!((found[0][0], found[1][0]), (7 + 5, 3));
        assert!(strategies(&vectors[..3]).unwrap().is_empty());
    }

    #[test]
    fn a_phrase_that_is_said_again_and_again_is_one_strategy() {
        let copies = |angle: f64, count: usize| std::iter::repeat_n(at(angle), count);
        let around = |centre: f64| (0..9).map(move |i| at(centre + 3.0 * f64::from(i)));
        let vectors: Vec<Vec<f64>> = copies(10.0, 40).chain(copies(90.0, 25)).chain(around(200.0)).collect();
        let found = strategies(&vectors).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [40, 25, 9]);
        assert_eq!(strategies(&vectors[..40]).unwrap().len(), 1);
    }
}
