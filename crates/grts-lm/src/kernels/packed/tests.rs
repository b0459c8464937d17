use super::{Input, Output, PANEL, Packed, Precision, bf16_bits, multiply_with, turn_block};
use crate::kernels::lanes::Isa;
use crate::kernels::tests::noise;

/// (rows, in, out): odd everywhere, several blocks of rows, several chunks of the reduction, several panels, parts of one.
const SIZES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 96, 160),
    (2, 33, 64),
    (3, 40, 70),
    (4, 21, 48),
    (5, 7, 31),
    (7, 600, 65),
    (8, 64, 129),
    (11, 96, 24),
    (12, 1100, 40),
    (13, 65, 96),
    (70, 513, 33),
];

fn rounded(x: &[f32], precision: Precision) -> Vec<f64> {
    let round = |x: &f32| match precision {
        Precision::F32 => f64::from(*x),
        Precision::Bf16 => f64::from(f32::from_bits(bf16_bits(*x) << 16)),
    };
    x.iter().map(round).collect()
}

fn product(isa: Isa, packed: &Packed, x: &[f32], rows: usize, start: Option<&[f32]>) -> Vec<f32> {
    let mut out = start.map_or_else(|| vec![f32::NAN; rows * packed.out()], <[f32]>::to_vec);
    let words = packed.round(isa, x, rows, packed.input());
    let input = match packed.precision() {
        Precision::F32 => Input::floats(x, packed.input(), rows),
        Precision::Bf16 => Input::rounded(&words, packed.row_words_for(isa), rows),
    };
    let to = Output::new(&mut out, packed.out());
    // SAFETY: one thread, and `isa` is one that this processor has.
    unsafe { multiply_with(isa, packed, input, to, 0..packed.panels(), start.is_some()) };
    out
}

#[test]
fn rounding_is_that_of_the_half_crate() {
    let special = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        1e-40,
        f32::MAX,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0x3f80_8000),
    ];
    for x in noise(10_000, 8).into_iter().map(|x| x * 1e3).chain(special) {
        assert_eq!(bf16_bits(x), u32::from(half::bf16::from_f32(x).to_bits()), "{x}");
    }
}

#[test]
fn squares_are_turned_as_single_words_are() {
    for (precision, rows_per_output) in [(Precision::F32, 1), (Precision::Bf16, 2)] {
        for (words, outputs) in [(32 / rows_per_output, 32), (8, 16), (5, 32), (16, 6)] {
            let panel: Vec<u32> = noise(words * PANEL, 7).into_iter().map(f32::to_bits).collect();
            let mut blocks = [Isa::detect(), Isa::Portable].map(|isa| {
                let mut block = vec![0u32; outputs / rows_per_output * PANEL];
                turn_block(isa, precision, &panel, &mut block);
                block
            });
            // Columns past the words are nobody's.
            for block in &mut blocks {
                block.chunks_exact_mut(PANEL).for_each(|row| row[words * rows_per_output..].fill(0));
            }
            assert_eq!(blocks[0], blocks[1], "{precision:?}, {words} words, {outputs} outputs");
        }
    }
}

#[test]
fn every_instruction_set_agrees_with_double_precision() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (rows, input, out) in SIZES {
            let (x, w, start) = (noise(rows * input, 1), noise(out * input, 2), noise(rows * out, 3));
            let packed = Packed::new(out, input, precision, |o| &w[o * input..(o + 1) * input]);
            let (xs, ws) = (rounded(&x, precision), rounded(&w, precision));
            for isa in Isa::available() {
                for start in [None, Some(start.as_slice())] {
                    let got = product(isa, &packed, &x, rows, start);
                    for (i, got) in got.iter().enumerate() {
                        let (r, o) = (i / out, i % out);
                        let sum: f64 = (0..input).map(|k| xs[r * input + k] * ws[o * input + k]).sum();
                        let want = sum + start.map_or(0.0, |s| f64::from(s[i]));
                        let off = (f64::from(*got) - want).abs();
                        assert!(
                            off < 2e-5 * (input as f64).sqrt(),
                            "{isa:?} {precision:?} {rows}x{input}x{out}: {off}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_gets_the_same_bits_whatever_is_computed_with_it() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (rows, input, out) in SIZES {
            let (x, w) = (noise(rows * input, 4), noise(out * input, 5));
            let packed = Packed::new(out, input, precision, |o| &w[o * input..(o + 1) * input]);
            for isa in Isa::available() {
                let together = product(isa, &packed, &x, rows, None);
                for (x, want) in x.chunks_exact(input).zip(together.chunks_exact(out)) {
                    assert_eq!(product(isa, &packed, x, 1, None), want, "{isa:?} {precision:?}");
                }
            }
        }
    }
}

/// Wherever the processor has fused multiply-add: lanes of 16 and of 8, with the same steps.
#[test]
#[cfg(target_arch = "x86_64")]
fn avx2_and_avx512_give_the_same_bits() {
    if !Isa::available().contains(&Isa::Avx512) {
        return;
    }
    for precision in [Precision::F32, Precision::Bf16] {
        for (rows, input, out) in SIZES {
            let (x, w) = (noise(rows * input, 9), noise(out * input, 10));
            let packed = Packed::new(out, input, precision, |o| &w[o * input..(o + 1) * input]);
            let narrow = product(Isa::Avx2, &packed, &x, rows, None);
            assert_eq!(product(Isa::Avx512, &packed, &x, rows, None), narrow, "{precision:?} {rows}x{input}x{out}");
        }
    }
}

#[test]
fn packing_and_unpacking_give_the_weights_back() {
    for (_, input, out) in SIZES {
        let w = noise(out * input, 6);
        for precision in [Precision::F32, Precision::Bf16] {
            let packed = Packed::new(out, input, precision, |o| &w[o * input..(o + 1) * input]);
            let want: Vec<f32> = rounded(&w, precision).into_iter().map(|x| x as f32).collect();
            assert_eq!(packed.to_rows(), want);
        }
    }
}

#[test]
fn the_transposed_product_agrees_with_double_precision() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (rows, input, out) in SIZES.into_iter().chain([(3, 40, 1100)]) {
            let (g, w) = (noise(rows * out, 7), noise(out * input, 8));
            let packed = Packed::new(out, input, precision, |o| &w[o * input..(o + 1) * input]);
            let mut got = vec![f32::NAN; rows * input];
            packed.backward(&g, rows, &mut got);
            let (gs, ws) = (rounded(&g, precision), rounded(&w, precision));
            for (i, got) in got.iter().enumerate() {
                let (r, k) = (i / input, i % input);
                let want: f64 = (0..out).map(|o| gs[r * out + o] * ws[o * input + k]).sum();
                let off = (f64::from(*got) - want).abs();
                assert!(off < 2e-5 * (out as f64).sqrt(), "{precision:?} {rows}x{input}x{out}: {off}");
            }
        }
    }
}

#[test]
fn parts_of_the_outputs_are_those_of_all() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (rows, input, out) in SIZES {
            let (x, g, w) = (noise(rows * input, 11), noise(rows * out, 12), noise(out * input, 13));
            let packed = Packed::new(out, input, precision, |o| &w[o * input..(o + 1) * input]);
            let (mut all, mut sum, mut whole) =
                (vec![0f32; rows * out], vec![0f32; rows * input], vec![0f32; rows * input]);
            packed.forward(&x, rows, &mut all);
            packed.backward(&g, rows, &mut whole);
            for first in (0..out).step_by(2 * PANEL) {
                let part = first..out.min(first + 2 * PANEL);
                let mut got = vec![f32::NAN; rows * part.len()];
                packed.forward_part(&x, rows, part.clone(), &mut got);
                let own = |row: &[f32]| row[part.clone()].to_vec();
                assert_eq!(got, all.chunks_exact(out).flat_map(own).collect::<Vec<_>>(), "{precision:?}, {part:?}");
                let g: Vec<f32> = g.chunks_exact(out).flat_map(own).collect();
                packed.add_backward_part(&g, rows, part, &mut sum);
            }
            for (a, b) in sum.iter().zip(&whole) {
                assert!((a - b).abs() < 2e-5 * (out as f32).sqrt(), "{precision:?} {rows}x{input}x{out}: {a} and {b}");
            }
        }
    }
}
