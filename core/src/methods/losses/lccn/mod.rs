//! Latent class-conditional noise: CCE on a latent label z drawn from the posterior r of the true label (see
//! [`Forward`](super::Forward)), gradient p − e_z, whose mean over the draws is the gradient of the forward correction. T is
//! estimated from how often each latent label occurs with each given one.
//!
//! Yao, Wu, Zhang, Tsang & Sun, "Safeguarded Dynamic Label Regression for Noisy Supervision" (2019), eq. 5 and 6. Details from
//! their algorithm 1, their program for CIFAR-10, and the programs that Xu et al. (2019) based on it:
//! - Training starts from a network trained with CCE. Latent labels start as its largest p; C\[z\]\[y\] counts them under the
//!   given labels.
//! - T = (C + α) over its row sums with α = 1, the mean under a Dirichlet prior, recomputed every 200 steps (Xu et al. on Dogs
//!   vs Cats: 100).
//! - During the first 20,000 steps (Dogs vs Cats: 1,000) draws use a fixed matrix, while C already follows them. The first
//!   authors take it from their forward correction. Xu et al. use the soft confusion of the network, Σ p_z over the samples
//!   given y, and α as above; so does this implementation.
//! - Xu et al. then continue from the soft confusion as C and subtract hard counts from it. Here, as in the first authors'
//!   program, C counts latent labels.
//!
//! Without a network to start from ([`Criterion::start`](super::Criterion::start)) nothing is counted, and the warm-up uses
//! the given labels as true ones.

mod parameters;
mod regression;

pub use parameters::Lccn;

#[cfg(test)]
mod tests;
