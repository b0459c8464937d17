//! Vectors of `f32` as the packed kernels see them: AVX-512, AVX2 with FMA, or plain arrays.
//!
//! A kernel is written once, generic over [`Lanes`], and compiled inside a function that turns the instructions on; which
//! one runs is decided once per process. Every output is one chain of multiply-adds in the order of the reduction, so
//! the widths agree to the bit wherever the processor has fused multiply-add.

#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

/// A register of `WIDTH` numbers.
///
/// # Safety
/// Every method may use instructions that only the matching [`Isa`] promises; pointers must allow `WIDTH` elements.
pub(super) trait Lanes: Copy {
    const WIDTH: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(at: *const f32) -> Self;
    unsafe fn store(self, at: *mut f32);
    /// `self * b + c`.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// Even and odd members of `WIDTH` pairs of bf16.
    unsafe fn load_pairs(at: *const u32) -> (Self, Self);
}

/// Which instructions this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// AVX-512 with a bf16 dot product that is worth using.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every target has.
    Portable,
}

impl Isa {
    /// The best that this processor has. The standard library remembers what it detected.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                let bf16 = Self::has_dot_product() && !*SLOW_DOT_PRODUCT;
                return if bf16 { Self::Avx512Bf16 } else { Self::Avx512 };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    #[cfg(target_arch = "x86_64")]
    fn has_dot_product() -> bool {
        is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw")
    }

    /// Words that hold a pair of rounded inputs: one where the dot product takes both, else a float each.
    pub(super) const fn words_of_a_pair(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => 1,
            _ => 2,
        }
    }

    /// All that this processor has, worth using or not: for tests and measurements.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let mut all = vec![Self::Avx512, Self::Avx2, Self::Portable];
            all.retain(|isa| *isa != Self::Avx512 || is_x86_feature_detected!("avx512f"));
            all.retain(|isa| *isa != Self::Avx2 || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
            all.splice(0..0, Self::has_dot_product().then_some(Self::Avx512Bf16));
            all
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Portable]
    }
}

/// Intel's cores begin a dot product every other cycle, and two multiply-adds in each: widened pairs are then as many a cycle,
/// exact, and no slower to load. (185 against 346 GFLOP/s were measured on an Emerald Rapids.) A Zen 5 does twice as much with the instruction.
#[cfg(target_arch = "x86_64")]
static SLOW_DOT_PRODUCT: LazyLock<bool> = LazyLock::new(|| {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
});

/// Asks for the cache line of `at`, which may lie past the end.
#[inline(always)]
pub(super) fn fetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Eight numbers in whatever registers the target has.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Plain([f32; 8]);

impl Lanes for Plain {
    const WIDTH: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 8])
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller promises eight readable elements.
        Self(unsafe { at.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: the caller promises eight writable elements.
        unsafe { at.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // Without the instruction a fused product would be a library call.
        Self(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
    }

    #[inline(always)]
    unsafe fn load_pairs(at: *const u32) -> (Self, Self) {
        // SAFETY: the caller promises eight readable elements.
        let pairs = unsafe { at.cast::<[u32; 8]>().read_unaligned() };
        (Self(pairs.map(|p| f32::from_bits(p << 16))), Self(pairs.map(|p| f32::from_bits(p & 0xffff_0000))))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    // SAFETY of every block below: the instruction set and the pointers are the caller's promise, see `Lanes`.
    impl Lanes for __m512 {
        const WIDTH: usize = 16;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(at) }
        }

        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            unsafe { _mm512_storeu_ps(at, self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }

        #[inline(always)]
        unsafe fn load_pairs(at: *const u32) -> (Self, Self) {
            unsafe {
                let pairs = _mm512_loadu_si512(at.cast());
                let high = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(high))
            }
        }
    }

    impl Lanes for __m256 {
        const WIDTH: usize = 8;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(at) }
        }

        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            unsafe { _mm256_storeu_ps(at, self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            unsafe { _mm256_fmadd_ps(self, b, c) }
        }

        #[inline(always)]
        unsafe fn load_pairs(at: *const u32) -> (Self, Self) {
            unsafe {
                let pairs = _mm256_loadu_si256(at.cast());
                let high = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32));
                (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(high))
            }
        }
    }
}
