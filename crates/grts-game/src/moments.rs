//! Count, mean and spread of a sample, updated one value at a time (Welford) or merged (Chan, Golub & LeVeque).
//!
//! An entry of the meta-game keeps these three numbers and not its values: they are what intervals need, they merge
//! exactly as if the values had been pushed one after the other, and their size does not grow with the run.

use serde::{Deserialize, Serialize};

/// Sufficient statistics of a sample for its mean and variance.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    /// Number of values.
    pub count: u64,
    /// Their mean; 0 when there are none.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
}

impl Moments {
    /// Adds one value.
    pub fn push(&mut self, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.m2 += delta * (value - self.mean);
    }

    /// Adds all values of another sample.
    pub fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.count += other.count;
        self.mean += delta * m / (n + m);
        self.m2 += other.m2 + delta * delta * n * m / (n + m);
    }

    /// What is independent in a sample of which several values share a cluster (dialogues that share an opening): one value
    /// a cluster, its mean. Clusters without a value are left out.
    ///
    /// With it any interval here counts clusters: [`crate::Estimate::bounded`], or an entry of a [`crate::MetaGame`] by
    /// `merge`. That is exact for any correlation inside a cluster, and wide if there are few.
    pub fn of_clusters(clusters: impl IntoIterator<Item = Self>) -> Self {
        clusters.into_iter().filter(|cluster| cluster.count > 0).map(|cluster| cluster.mean).collect()
    }

    /// Unbiased sample variance; 0 for fewer than two values, where the data say nothing about it.
    pub fn variance(&self) -> f64 {
        if self.count < 2 { 0.0 } else { (self.m2 / (self.count - 1) as f64).max(0.0) }
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        values.into_iter().for_each(|value| moments.push(value));
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::Moments;

    #[test]
    fn merging_equals_pushing() {
        let values = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0, 1e9];
        let whole: Moments = values.into_iter().collect();
        for cut in 0..=values.len() {
            let mut left: Moments = values[..cut].iter().copied().collect();
            left.merge(values[cut..].iter().copied().collect());
            assert_eq!(left.count, 5);
            assert!((left.mean - whole.mean).abs() < 1e-6);
            assert!((left.variance() - whole.variance()).abs() < 1e-5, "{left:?} {whole:?}");
        }
        // Two-pass variance of 4, 7, 13, 16, 0.
        assert!((whole.variance() - 42.5).abs() < 1e-6, "{}", whole.variance());
    }

    #[test]
    fn one_value_has_no_variance() {
        let one: Moments = [3.0].into_iter().collect();
        assert_eq!((one.mean, one.variance()), (3.0, 0.0));
    }
}
