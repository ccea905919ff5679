//! What is no mistake in a sweep file, and yet is seldom what was meant.

use crate::terminal;
use plusminus_core::methods::losses::Loss;
use plusminus_core::sweep_file::Sweep;

/// Notes what of `sweep` is likely to come to nothing.
pub fn tell(sweep: &Sweep) {
    of(sweep).iter().for_each(|hint| terminal::note(hint));
}

fn of(sweep: &Sweep) -> Vec<String> {
    let trained = sweep.trained();
    let from_scratch = trained.iter().map(|cell| &cell.configuration).filter(|configuration| {
        let begun = configuration.parent.is_some() || configuration.initial_weights.is_some();
        matches!(configuration.loss, Loss::Dmi(_)) && !begun
    });
    let configurations = match from_scratch.count() {
        0 => return Vec::new(),
        1 => "1 configuration trains".to_owned(),
        many => format!("{many} configurations train"),
    };
    vec![format!(
        "{configurations} `dmi` from random weights, where its gradient is about 0; Xu et al. (2019) begin with a network \
         trained with `cce`: give a `parent`, or `initial_weights`"
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use plusminus_core::sweep_file;

    const DMI: &str = "\
sweep: hints
seeds: 2
base: {dataset: fashion-mnist-10k, model: cnn, optimizer: {name: sgd, lr: 0.01}, epochs: 2, batch_size: 64, validation: 0.1}
grid: {loss: [cce, dmi]}
";

    fn hints(more: &str) -> Vec<String> {
        of(&sweep_file::read(&format!("{DMI}{more}"), sweep_file::MAX_JOBS)
            .unwrap_or_else(|problems| panic!("{problems:#?}")))
    }

    #[test]
    fn dmi_from_random_weights_is_noted_and_with_a_parent_it_is_not() {
        let hints_of_scratch = hints("");
        assert!(
            matches!(hints_of_scratch.as_slice(), [one] if one.starts_with("1 configuration trains `dmi` from random weights")),
            "{hints_of_scratch:?}"
        );
        let parent = "overrides: [{when: {loss: dmi}, set: {parent: {set: {loss: cce}, at: final}}}]\n";
        assert_eq!(hints(parent), [""; 0]);
        let weights = "overrides: [{when: {loss: dmi}, set: {initial_weights: {file: cnn.safetensors}}}]\n";
        assert_eq!(hints(weights), [""; 0]);
    }
}
