//! Notes about sweep files that are valid but probably not meant.

use crate::terminal;
use plusminus_core::methods::losses::Loss;
use plusminus_core::sweep_file::Sweep;

/// Prints a note for each setting of `sweep` that is likely to train nothing useful.
pub fn print(sweep: &Sweep) {
    hints(sweep).iter().for_each(|hint| terminal::note(hint));
}

fn hints(sweep: &Sweep) -> Vec<String> {
    let trained = sweep.trained();
    let from_scratch = trained.iter().map(|cell| &cell.configuration).filter(|configuration| {
        let has_initial_weights = configuration.parent.is_some() || configuration.initial_weights.is_some();
        matches!(configuration.loss, Loss::Dmi(_)) && !has_initial_weights
    });
    let configurations = match from_scratch.count() {
        0 => return Vec::new(),
        1 => "1 configuration trains".to_owned(),
        many => format!("{many} configurations train"),
    };
    vec![format!(
        "{configurations} `dmi` from random weights, where its gradient is about 0; Xu et al. (2019) start from a network \
         trained with `cce`: set `parent` or `initial_weights`"
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

    fn hints_of(more: &str) -> Vec<String> {
        hints(
            &sweep_file::read(&format!("{DMI}{more}"), sweep_file::MAX_JOBS)
                .unwrap_or_else(|problems| panic!("{problems:#?}")),
        )
    }

    #[test]
    fn only_dmi_from_random_weights_gets_a_hint() {
        let from_scratch = hints_of("");
        assert!(
            matches!(from_scratch.as_slice(), [one] if one.starts_with("1 configuration trains `dmi` from random weights")),
            "{from_scratch:?}"
        );
        let parent = "overrides: [{when: {loss: dmi}, set: {parent: {set: {loss: cce}, at: final}}}]\n";
        assert_eq!(hints_of(parent), [""; 0]);
        let weights = "overrides: [{when: {loss: dmi}, set: {initial_weights: {file: cnn.safetensors}}}]\n";
        assert_eq!(hints_of(weights), [""; 0]);
    }
}
