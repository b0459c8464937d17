//! Numbers of some 32 digits, each the unevaluated sum of two doubles (Dekker 1971; Hida, Li & Bailey 2001).

use multiversion::multiversion;

/// `high` is the sum rounded, `low` what it lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct DoubleDouble {
    high: f64,
    low: f64,
}

impl From<f64> for DoubleDouble {
    fn from(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }
}

impl std::ops::Neg for DoubleDouble {
    type Output = Self;

    fn neg(self) -> Self {
        Self { high: -self.high, low: -self.low }
    }
}

impl std::ops::Div for DoubleDouble {
    type Output = Self;

    /// Long division with three digits, each a double.
    fn div(self, other: Self) -> Self {
        let first = self.high / other.high;
        let rest = self.plus(-other, first.into());
        let second = rest.high / other.high;
        let third = rest.plus(-other, second.into()).high / other.high;
        Self::of_sum(first, second).plus(third.into(), 1.0.into())
    }
}

impl DoubleDouble {
    /// Rounded to a double.
    pub(super) fn rounded(self) -> f64 {
        self.high
    }

    /// The number with the exact sum of two doubles, the larger first.
    #[inline(always)]
    fn of_sum(large: f64, small: f64) -> Self {
        let high = large + small;
        Self { high, low: small - (high - large) }
    }

    /// self + a b, to about 2⁻¹⁰⁴ of the larger of the two.
    #[inline(always)]
    pub(super) fn plus(self, a: Self, b: Self) -> Self {
        let term = a.high * b.high;
        let lost_in_term = a.high.mul_add(b.high, -term) + a.high.mul_add(b.low, a.low * b.high);
        let total = self.high + term;
        let added = total - self.high;
        let lost_in_sum = (self.high - (total - added)) + (term - added);
        Self::of_sum(total, lost_in_sum + (self.low + lost_in_term))
    }
}

/// out += weight · vector, of equal lengths.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
pub(super) fn combine(out: &mut [DoubleDouble], weight: DoubleDouble, vector: &[DoubleDouble]) {
    out.iter_mut().zip(vector).for_each(|(sum, value)| *sum = sum.plus(weight, *value));
}

#[cfg(test)]
mod tests {
    use super::{DoubleDouble, combine};

    #[test]
    fn thirty_digits_survive() {
        let [one, three] = [1.0, 3.0].map(DoubleDouble::from);
        let third = one / three;
        assert_eq!(third.rounded(), 1.0 / 3.0);
        // 1 − 3 · ⅓, which doubles take for 0 or 1e-16.
        assert!((-one).plus(third, three).rounded().abs() < 1e-32);
        let mut sums = [third, one];
        combine(&mut sums, 1e-20.into(), &[one, three]);
        assert_eq!(sums[1].plus(-one, one).rounded(), 1e-20 * 3.0);
        assert!((sums[0].plus(-third, one).rounded() - 1e-20).abs() < 1e-32);
    }
}
