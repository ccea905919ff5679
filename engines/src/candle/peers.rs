//! Comparisons with candle-nn, where it has a correct equivalent.

use super::ops::BatchNorm;
use crate::optimizer::Updater;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, Optimizer as _, VarBuilder};
use plusminus_core::methods::losses::{Cce, Loss};
use plusminus_core::methods::optimizer::Optimizer;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

fn wave(count: usize) -> Vec<f32> {
    (0..count).map(|i| (0.7 * i as f32).sin()).collect()
}

fn agree(ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-5 * (1.0 + theirs.abs()), "{ours} against {theirs}");
    }
}

#[test]
fn cce_agrees_with_candles_cross_entropy() {
    let (logits, labels) = (wave(4 * 5), [0u32, 4, 2, 2]);
    let mut gradient = vec![0.0; logits.len()];
    let value = Loss::Cce(Cce {}).value_and_gradient(&logits, 5, &labels, &mut gradient);
    let variable = Var::from_slice(&logits, (4, 5), &Device::Cpu).unwrap();
    let labels = Tensor::new(&labels, &Device::Cpu).unwrap();
    let theirs = candle_nn::loss::cross_entropy(variable.as_tensor(), &labels).unwrap();
    agree(&[value as f32], &[theirs.to_scalar().unwrap()]);
    let gradients = theirs.backward().unwrap();
    agree(&gradient, &gradients.get(&variable).unwrap().flatten_all().unwrap().to_vec1().unwrap());
}

#[test]
fn adam_agrees_with_candles_adamw_without_weight_decay() {
    let adam = Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut updater = Updater::new(adam, 6, plusminus_kernels::Instructions::best());
    let mut weights = wave(6);
    let variable = Var::from_slice(&weights, 6, &Device::Cpu).unwrap();
    let parameters = candle_nn::ParamsAdamW { lr: 0.01, weight_decay: 0.0, ..candle_nn::ParamsAdamW::default() };
    let mut peer = candle_nn::AdamW::new(vec![variable.clone()], parameters).unwrap();
    for _ in 0..5 {
        // The gradient of Σ w⁴/4 is w³.
        let gradient: Vec<f32> = weights.iter().map(|w| w * w * w).collect();
        updater.step(&mut weights, &gradient, 0.01);
        let loss = (variable.powf(4.0).unwrap() / 4.0).unwrap().sum_all().unwrap();
        peer.backward_step(&loss).unwrap();
        agree(&weights, &variable.to_vec1().unwrap());
    }
}

#[test]
fn batch_norm_agrees_with_candles_in_training() {
    let device = Device::Cpu;
    let (scale, shift) =
        (Tensor::new(&[1.5f32, -0.5], &device).unwrap(), Tensor::new(&[0.1f32, 0.2], &device).unwrap());
    let zero_and_one = [
        ("running_mean", Tensor::zeros(2, DType::F32, &device)),
        ("running_var", Tensor::ones(2, DType::F32, &device)),
    ];
    let mut tensors: HashMap<String, Tensor> =
        zero_and_one.into_iter().map(|(name, tensor)| (name.to_owned(), tensor.unwrap())).collect();
    tensors.insert("weight".to_owned(), scale.clone());
    tensors.insert("bias".to_owned(), shift.clone());
    let peer = candle_nn::batch_norm(2, 1e-5, VarBuilder::from_tensors(tensors, DType::F32, &device)).unwrap();
    // candle-nn has channels first, we have channels last.
    let images = Tensor::from_vec(wave(3 * 2 * 4 * 4), (3, 2, 4, 4), &device).unwrap();
    let theirs = peer.forward_t(&images, true).unwrap();
    let last = images.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
    let ours =
        last.apply_op3(&scale, &shift, BatchNorm { relu: false, statistics: Arc::new(OnceLock::new()) }).unwrap();
    let ours = ours.permute((0, 3, 1, 2)).unwrap();
    let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    agree(&flat(ours), &flat(theirs));
}
