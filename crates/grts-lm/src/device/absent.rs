//! What stands for the device path in a binary that was built without it: types that nothing can be.

use super::{Device, refuse};
use crate::Result;
use crate::decode::{Generated, GenerationConfig, Reading, Row, Want};
use crate::lora::Adapter;
use crate::train::Packed;
use crate::weights::Model;

#[derive(Debug)]
pub(crate) enum Decoder {}

#[derive(Debug, Clone, Default)]
pub(crate) struct Cache {}

#[derive(Debug, Clone, Default)]
pub(crate) struct Loras {}

impl Decoder {
    pub(crate) fn open(_: &Model, device: Device) -> Result<Self> {
        let (problem, hint) = match device {
            Device::Reference => ("this binary was built without it", "build it with `--features candle`"),
            _ => (
                "this binary was built without CUDA",
                "build it with `cargo build --release --features cuda`, which needs CUDA's compiler, or leave out `--device`",
            ),
        };
        Err(refuse(device, problem, hint))
    }

    pub(crate) fn generate(&self, _: &Model, _: &mut [Row<'_>], _: &GenerationConfig) -> Result<Vec<Generated>> {
        match *self {}
    }

    pub(crate) fn read(
        &self,
        _: &Model,
        _: &[Reading<'_>],
        _: (Want, usize),
        _: impl Fn(&Reading<'_>, usize, &mut [f32], &mut [f32]) + Sync,
    ) -> Result<Vec<Vec<f32>>> {
        match *self {}
    }

    pub(crate) fn gradients(
        &self,
        _: (&Model, &Adapter),
        _: &Packed,
        _: bool,
        _: impl FnOnce(&[f32]) -> (f64, Vec<f32>),
    ) -> Result<(f64, Vec<Vec<f32>>)> {
        match *self {}
    }
}
