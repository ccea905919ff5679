//! Divides the samples that a job takes into training samples and held-out samples.

use super::shuffle::shuffle;
use plusminus_core::job::Job;
use plusminus_core::methods::split::Split;
use plusminus_core::random::Stream;

/// Divides the first `taken` samples of the training file into training samples and held-out samples, each in file order.
///
/// # Errors
/// No training sample remains.
pub(super) fn split(job: &Job, taken: usize) -> Result<(Vec<usize>, Vec<usize>), String> {
    let configuration = &job.configuration;
    let held_out = configuration.held_out(taken);
    if held_out >= taken {
        return Err(format!(
            "`validation: {}` holds out {held_out} of {taken} samples and leaves none to train on; lower it",
            configuration.validation,
        ));
    }
    let mut train: Vec<usize> = (0..taken).collect();
    if configuration.split == Split::Random {
        shuffle(&mut train, &mut job.streams().generator(Stream::Split, 0));
    }
    let mut validation = train.split_off(taken - held_out);
    train.sort_unstable();
    validation.sort_unstable();
    Ok((train, validation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::job;

    #[test]
    fn a_last_split_holds_out_the_last_samples() {
        let held = |validation| {
            let job = job(1, |c| (c.validation, c.split) = (validation, Split::Last));
            split(&job, 100).unwrap()
        };
        assert_eq!(held(0.25), ((0..75).collect(), (75..100).collect()));
        assert_eq!(held(10.0), ((0..90).collect(), (90..100).collect()));
    }

    #[test]
    fn a_number_of_samples_splits_like_the_equal_share() {
        let held = |validation| split(&job(1, |c| c.validation = validation), 40).unwrap();
        assert_eq!(held(10.0), held(0.25));
        assert_ne!(held(10.0).1, (30..40).collect::<Vec<_>>());
    }

    #[test]
    fn an_official_split_holds_out_nothing_of_the_training_file() {
        let job = job(1, |c| c.split = Split::Official);
        assert_eq!(split(&job, 3).unwrap(), (vec![0, 1, 2], vec![]));
    }

    #[test]
    fn a_split_without_training_samples_is_an_error() {
        for validation in [100.0, 101.0, 0.999] {
            let refusal = split(&job(0, |c| c.validation = validation), 100).unwrap_err();
            assert!(refusal.contains("leaves none to train on"), "{refusal}");
        }
    }
}
