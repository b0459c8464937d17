//! What a response of red's would add to its population, and which of several candidates is taken.
//!
//! A policy has a descriptor in each of two spaces: its payoffs against every blue, and the mean embedding of what it says in a
//! dialogue, whose products are the mean kernels between sets of attacks. Both are sampled, and noise looks like
//! difference, the more the less is known. So lengths are corrected for it, and a distance is held against what
//! sampling alone would explain.

use grts_game::diversity::{kernel_cardinality, nearest_in_hull};
use grts_game::{GameError, Matrix, Moments};
use serde::{Deserialize, Serialize};

/// Where a policy lies in a space, as far as samples tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Mean of its samples, `(features)`.
    pub mean: Vec<f64>,
    /// Expected squared distance of `mean` from what it estimates.
    pub error: f64,
}

impl Descriptor {
    /// Of independent samples `(features)`, at least one.
    pub fn of_samples(samples: &[Vec<f64>]) -> Self {
        let of_feature = |i: usize| samples.iter().map(|sample| sample[i]).collect::<Moments>();
        let features: Vec<Moments> = (0..samples[0].len()).map(of_feature).collect();
        let error = features.iter().map(Moments::variance).sum::<f64>() / samples.len() as f64;
        Self { mean: features.iter().map(|feature| feature.mean).collect(), error }
    }

    /// Of payoffs in `range`, one entry a blue. A variance counts one more return at each end of the range, so that a few equal
    /// returns are not certain.
    pub fn of_payoffs(entries: &[Moments], range: (f64, f64)) -> Self {
        let error = |entry: &Moments| {
            let mut widened = *entry;
            widened.merge([range.0, range.1].into_iter().collect());
            widened.variance() / widened.count as f64
        };
        Self { mean: entries.iter().map(|entry| entry.mean).collect(), error: entries.iter().map(error).sum() }
    }
}

/// What a candidate would add to the members of a population in one space.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Addition {
    /// Increase of the expected cardinality: at most ½, for a direction of its own; less the more members share its direction.
    pub cardinality: f64,
    /// Squared distance from the convex hull of the members.
    pub distance: f64,
    /// What `distance` is expected to be at most for a mixture of the members, since all of them are sampled.
    pub noise: f64,
}

/// The 95 % quantile of χ² with one degree of freedom. Of all weighted sums of χ² variables with one expectation this one has the
/// heaviest tail there (Székely & Bakirov 2003), so whatever the covariance of the noise is, its square exceeds
/// so many times its expectation in at most 5 %.
const HEAVIEST_TAIL: f64 = 3.841;

impl Addition {
    /// Of `candidate` to `members`, of which there is at least one.
    ///
    /// # Errors
    /// Descriptors of different spaces.
    pub fn of(candidate: &Descriptor, members: &[Descriptor]) -> Result<Self, GameError> {
        let means: Vec<&[f64]> = members.iter().map(|member| member.mean.as_slice()).collect();
        let (distance, weights) = nearest_in_hull(&Matrix::from_rows(&means)?, &candidate.mean)?;
        let mixed = members.iter().zip(&weights).map(|(member, weight)| weight * weight * member.error);
        let mut all: Vec<&Descriptor> = members.iter().collect();
        let before = kernel_cardinality(&kernel(&all)?)?;
        all.push(candidate);
        let cardinality = (kernel_cardinality(&kernel(&all)?)? - before).max(0.0);
        Ok(Self { cardinality, distance, noise: candidate.error + mixed.sum::<f64>() })
    }

    /// Whether no mixture of the members explains it.
    pub fn is_new(&self) -> bool {
        self.distance > HEAVIEST_TAIL * self.noise
    }
}

/// Cosines between what the means estimate: squared lengths are less by their errors. One that cannot be told from zero has
/// no direction and adds nothing.
fn kernel(all: &[&Descriptor]) -> Result<Matrix, GameError> {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let squared = |d: &&Descriptor| (product(&d.mean, &d.mean) - d.error).max(0.0);
    let squares: Vec<f64> = all.iter().map(squared).collect();
    Matrix::from_fn(all.len(), all.len(), |i, j| match (squares[i] * squares[j]).sqrt() {
        0.0 => 0.0,
        _ if i == j => 1.0,
        lengths => (product(&all[i].mean, &all[j].mean) / lengths).clamp(-1.0, 1.0),
    })
}

/// What is known of a candidate before one is taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Merits {
    /// Mean gain over the value of the game.
    pub gain: f64,
    /// The constraint that it breaks.
    pub fault: Option<String>,
    /// What its row of payoffs adds.
    pub payoffs: Addition,
    /// What its attacks add.
    pub attacks: Addition,
}

impl Merits {
    /// Gain plus `weight` times what it adds to both expected cardinalities, which together is at most 1.
    fn score(&self, weight: f64) -> f64 {
        self.gain + weight * (self.payoffs.cardinality + self.attacks.cardinality)
    }

    /// Whether no mixture of the members explains it, in either space.
    pub fn is_new(&self) -> bool {
        self.payoffs.is_new() || self.attacks.is_new()
    }
}

/// Index of the candidate to take: of those that break no constraint, if there are any, the one with the largest score; the
/// last one of equals.
pub fn choose(candidates: &[Merits], weight: f64) -> Option<usize> {
    let rank = |merits: &Merits| (merits.fault.is_none(), merits.score(weight));
    let by_rank =
        |(_, a): &(usize, (bool, f64)), (_, b): &(usize, (bool, f64))| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
    candidates.iter().map(rank).enumerate().max_by(by_rank).map(|(idx, _)| idx)
}

#[cfg(test)]
mod tests {
    use super::{Addition, Descriptor, Merits, choose};
    use grts_game::Moments;
    use grts_game::stream::{StreamKey, unit};

    fn exact(mean: [f64; 3]) -> Descriptor {
        Descriptor { mean: mean.to_vec(), error: 0.0 }
    }

    fn members() -> Vec<Descriptor> {
        vec![exact([1.0, 0.0, 0.0]), exact([0.0, 1.0, 0.0])]
    }

    fn of(mean: [f64; 3]) -> Addition {
        Addition::of(&exact(mean), &members()).unwrap()
    }

    fn merits(gain: f64, addition: Addition) -> Merits {
        Merits { gain, fault: None, payoffs: addition, attacks: addition }
    }

    const COPY: [f64; 3] = [1.0, 0.0, 0.0];
    const MIXTURE: [f64; 3] = [0.5, 0.5, 0.0];
    const OTHER: [f64; 3] = [0.0, 0.0, 1.0];

    #[test]
    fn a_copy_adds_no_distance_and_a_right_angle_half_an_item() {
        let (copy, mixture, other) = (of(COPY), of(MIXTURE), of(OTHER));
        // Eigenvalues 2 and 1 instead of 1 and 1; one more 1.
        assert!((copy.cardinality - (2.0 / 3.0 - 0.5)).abs() < 1e-9 && (other.cardinality - 0.5).abs() < 1e-9);
        assert!(copy.distance < 1e-9 && mixture.distance < 1e-9, "{copy:?} {mixture:?}");
        assert!((other.distance - 1.5).abs() < 1e-6, "{other:?}");
        // A copy of what is there many times adds next to nothing.
        let crowd = vec![exact(COPY); 30];
        assert!(Addition::of(&exact(COPY), &crowd).unwrap().cardinality < 0.0011);
    }

    #[test]
    fn of_equal_gains_the_other_kind_is_taken_and_without_weight_the_larger_gain() {
        let (copy, other) = (merits(0.2, of(COPY)), merits(0.2, of(OTHER)));
        assert_eq!(choose(&[other.clone(), copy.clone()], 0.1), Some(0));
        assert_eq!(choose(&[copy, other.clone()], 0.1), Some(1));
        let better = merits(0.201, of(COPY));
        assert_eq!(choose(&[better.clone(), other.clone()], 0.0), Some(0));
        // Diversity is worth its weight at most.
        let much_better = merits(0.31, of(COPY));
        assert_eq!(choose(&[much_better, other.clone()], 0.1), Some(0));
        // Equals: the last.
        assert_eq!(choose(&[other.clone(), other.clone()], 0.1), Some(1));
        let broken = Merits { fault: Some("not fluent".to_owned()), ..merits(0.9, of(OTHER)) };
        assert_eq!(choose(&[better, broken.clone()], 0.1), Some(0));
        assert_eq!(choose(&[broken.clone(), broken], 0.1), Some(1));
        assert_eq!(choose(&[], 0.1), None);
    }

    #[test]
    fn noise_has_no_direction_and_is_not_new() {
        let noisy = |mean, error| Descriptor { error, ..exact(mean) };
        let lost = Addition::of(&noisy([0.0, 0.0, 0.3], 0.1), &members()).unwrap();
        assert_eq!(lost.cardinality, 0.0);
        assert!(of(OTHER).is_new() && !of(COPY).is_new());
        // The nearest mixture is half of each, so a quarter of each error counts.
        let members = [noisy([1.0, 0.0, 0.0], 0.2), noisy([0.0, 1.0, 0.0], 0.2)];
        for (height, new) in [(0.8, false), (0.9, true)] {
            let addition = Addition::of(&noisy([0.5, 0.5, height], 0.1), &members).unwrap();
            assert!((addition.noise - 0.2).abs() < 1e-3, "{addition:?}");
            assert_eq!(addition.is_new(), new, "{addition:?}");
        }
    }

    /// How often a policy that only repeats a member is called new.
    #[test]
    fn a_sampled_copy_is_seldom_new() {
        let mut rng = StreamKey { seed: 1, iteration: 0, purpose: 0, entry: 0, episode: 0, turn: 0 }.rng();
        let mut sampled = |rates: [f64; 2]| {
            let mut play =
                |rate: f64, count: usize| (0..count).map(|_| f64::from(u8::from(unit(&mut rng) < rate))).collect();
            Descriptor::of_payoffs(&rates.map(|rate| play(rate, 60)) as &[Moments], (0.0, 1.0))
        };
        let (mut copies, mut others) = (0, 0);
        for _ in 0..500 {
            let members = [sampled([0.3, 0.1]), sampled([0.1, 0.1])];
            let new = |candidate: &Descriptor| usize::from(Addition::of(candidate, &members).unwrap().is_new());
            copies += new(&sampled([0.3, 0.1]));
            others += new(&sampled([0.1, 0.6]));
        }
        assert!(copies <= 25 && others >= 450, "{copies} copies and {others} others of 500");
    }

    #[test]
    fn a_descriptor_knows_its_error() {
        let descriptor = Descriptor::of_samples(&[vec![1.0, 0.0], vec![0.0, 1.0], vec![0.5, 0.5]]);
        assert_eq!(descriptor.mean, [0.5, 0.5]);
        // Variance ¼ in each of two features, over three samples.
        assert!((descriptor.error - 0.5 / 3.0).abs() < 1e-12);
        let never: Moments = [0.0; 8].into_iter().collect();
        let payoffs = Descriptor::of_payoffs(&[never], (0.0, 1.0));
        // 1 of 10: variance 0.9 / 9, over 10.
        assert!(payoffs.mean == [0.0] && (payoffs.error - 0.01).abs() < 1e-12);
    }
}
