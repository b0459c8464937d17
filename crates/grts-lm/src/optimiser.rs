//! AdamW over plain buffers, with gradients clipped by their joint norm.

use crate::Result;
use crate::weights::Parameter;

/// Names of the moments, after their parameter's; and of the count of steps, in two numbers that f32 holds exactly.
const MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];
const STEP: &str = "step";
const HALF: u32 = 24;

fn halves(step: u64) -> [f32; 2] {
    [(step >> HALF) as f32, (step & ((1 << HALF) - 1)) as f32]
}

/// Settings of [`AdamW`] (decoupled weight decay; Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay; norms and other vectors are not decayed.
    pub weight_decay: f64,
    /// Largest L2 norm of the whole gradient; larger ones are scaled down to it.
    pub max_grad_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 }
    }
}

/// AdamW over plain buffers, state in f32 as in PyTorch.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    step: u64,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
}

impl AdamW {
    /// Zero state for parameters of these lengths.
    pub fn new(config: AdamWConfig, lengths: impl IntoIterator<Item = usize>) -> Self {
        let moments = lengths.into_iter().map(|n| (vec![0.0; n], vec![0.0; n])).collect();
        Self { config, step: 0, moments }
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// The state beside `parameters`, each moment under its parameter's name and PyTorch's for it; and the number of steps.
    pub(crate) fn state(&self, parameters: &[Parameter]) -> Vec<Parameter> {
        let moments = parameters.iter().zip(&self.moments).flat_map(|(parameter, (m, v))| {
            MOMENTS.iter().zip([m, v]).map(|(moment, data)| Parameter {
                name: format!("{}.{moment}", parameter.name),
                shape: parameter.shape.clone(),
                data: data.clone(),
            })
        });
        let step = Parameter { name: STEP.to_owned(), shape: vec![2], data: halves(self.step).to_vec() };
        moments.chain([step]).collect()
    }

    /// Takes back what [`AdamW::state`] gave, as `read` finds each tensor by name and shape.
    pub(crate) fn restore(
        &mut self,
        parameters: &[Parameter],
        read: impl Fn(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<()> {
        let moment =
            |parameter: &Parameter, which: &str| read(&format!("{}.{which}", parameter.name), &parameter.shape);
        let moments = parameters.iter().map(|p| Ok((moment(p, MOMENTS[0])?, moment(p, MOMENTS[1])?)));
        let (moments, step) = (moments.collect::<Result<_>>()?, read(STEP, &[2])?);
        self.moments = moments;
        self.step = (step[0] as u64) << HALF | step[1] as u64;
        Ok(())
    }

    /// One update in place, gradients clipped by their joint norm. Returns that norm before clipping.
    pub fn update(&mut self, parameters: &mut [Parameter], gradients: &[Vec<f32>], learning_rate: f64) -> f64 {
        let square = |g: &Vec<f32>| g.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        let norm = gradients.iter().map(square).sum::<f64>().sqrt();
        let clip = (self.config.max_grad_norm / norm.max(1e-12)).min(1.0) as f32;
        self.step += 1;
        let c = self.config;
        let (b1, b2) = (c.beta1 as f32, c.beta2 as f32);
        let correction1 = 1.0 - c.beta1.powi(self.step as i32);
        let correction2 = (1.0 - c.beta2.powi(self.step as i32)).sqrt();
        let rate = (learning_rate / correction1) as f32;
        for ((parameter, gradient), (m, v)) in parameters.iter_mut().zip(gradients).zip(&mut self.moments) {
            let decay = if parameter.shape.len() > 1 { 1.0 - (learning_rate * c.weight_decay) as f32 } else { 1.0 };
            for (((x, g), m), v) in parameter.data.iter_mut().zip(gradient).zip(m).zip(v) {
                let g = g * clip;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *x = *x * decay - rate * *m / (v.sqrt() / correction2 as f32 + c.eps as f32);
            }
        }
        norm
    }
}
