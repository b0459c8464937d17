//! A product with weights that are never trained.
//!
//! Candle's `matmul` takes gradients back to both sides and keeps them until the end: with a frozen base that is a second
//! product, and a second copy of the model, for nothing. Here only the input gets one.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Error, Layout, Result, Shape, Storage, Tensor};

/// `x (n, in) · weightᵀ` for `weight (out, in)`, computed in the type of `weight`; `f32` goes in and comes out.
pub(super) fn frozen(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(weight.dtype())?;
    let product = x.detach().matmul(&weight.t()?)?;
    let out = if x.track_op() { x.apply_op1(Frozen { weight: weight.clone(), product })? } else { product };
    out.to_dtype(DType::F32)
}

/// Gives a product that was made without a way back its way back, on any device.
struct Frozen {
    weight: Tensor,
    product: Tensor,
}

impl Frozen {
    fn take<S>(&self, of: impl Fn(&Storage) -> Option<Result<S>>) -> Result<(S, Shape)> {
        let (storage, _) = self.product.storage_and_layout();
        let own = of(&storage).ok_or_else(|| Error::Msg("a product lies on another device than its input".into()))?;
        Ok((own?, self.product.shape().clone()))
    }
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take(|storage| match storage {
            Storage::Cpu(own) => Some(own.try_clone(self.product.layout())),
            _ => None,
        })
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take(|storage| match storage {
            Storage::Cuda(own) => Some(own.try_clone(self.product.layout())),
            _ => None,
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(g.contiguous()?.matmul(&self.weight)?))
    }
}
