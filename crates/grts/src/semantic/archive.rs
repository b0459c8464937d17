//! Attacks that are already made, as something to be different from.

use super::{dot, failed};
use crate::error::Error;
use grts_game::Matrix;
use grts_game::diversity::LogDetGain;

/// Unit vectors of attacks, and how distance from them is measured.
pub enum Archive {
    /// By the gain of a determinantal point process: a direction that is already spanned gains little.
    LogDet(LogDetGain),
    /// By the mean cosine to the nearest of them.
    Neighbours {
        /// One row an attack.
        vectors: Vec<Vec<f64>>,
        /// How many of the nearest count.
        count: usize,
    },
}

impl Archive {
    /// An archive that measures by the log-determinant.
    ///
    /// # Errors
    /// No vector, or one that is not finite.
    pub fn log_det(vectors: &[Vec<f64>]) -> Result<Self, Error> {
        let rows = Matrix::from_rows(vectors).map_err(|e| failed(&e))?;
        Ok(Self::LogDet(LogDetGain::new(&rows).map_err(|e| failed(&e))?))
    }

    /// Novelty of a unit `vector`: larger is newer. `log_det`: the log-determinant's gain, from 0 to ln 2; neighbours: minus the
    /// mean cosine to the nearest, from −1 to 1.
    pub fn novelty(&self, vector: &[f64]) -> f64 {
        match self {
            Self::LogDet(gain) => gain.of(vector),
            Self::Neighbours { vectors, count } => {
                let mut cosines: Vec<f64> = vectors.iter().map(|other| dot(other, vector)).collect();
                let count = (*count).min(cosines.len());
                if count == 0 {
                    return 0.0;
                }
                cosines.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
                -cosines[..count].iter().sum::<f64>() / count as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn what_is_there_is_less_new_than_what_is_not() {
        let vectors = vec![vec![1.0, 0.0, 0.0], vec![1.0, 0.0, 0.0], vec![0.6, 0.8, 0.0]];
        let near = Archive::Neighbours { vectors: vectors.clone(), count: 2 };
        assert!((near.novelty(&[1.0, 0.0, 0.0]) + 1.0).abs() < 1e-12);
        assert!((near.novelty(&[0.0, 1.0, 0.0]) + 0.4).abs() < 1e-12);
        assert_eq!(near.novelty(&[0.0, 0.0, 1.0]), 0.0);
        let gain = Archive::log_det(&vectors).unwrap();
        let new = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(|x| gain.novelty(&x));
        assert!(new[0] < new[1] && new[1] < new[2], "{new:?}");
        assert!((new[2] - 2.0_f64.ln()).abs() < 1e-12);
    }
}
