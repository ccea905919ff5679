//! The modes of everything that plusminus creates for itself.

use crate::common::{Place, SMALL};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the binary under an umask that removes no rights.
fn run_without_umask(place: &Place, arguments: &[&str]) -> Output {
    let command = place.plusminus(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"umask 000; exec "$0" "$@""#]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.current_dir(place.path()).output().unwrap()
}

/// Every file and directory below a path, with its mode.
fn modes(path: &Path) -> Vec<(PathBuf, bool, u32)> {
    let metadata = fs::symlink_metadata(path).unwrap();
    let own = (path.to_owned(), metadata.is_dir(), metadata.permissions().mode() & 0o7777);
    let below = metadata.is_dir().then(|| fs::read_dir(path).unwrap().map(|entry| modes(&entry.unwrap().path())));
    std::iter::once(own).chain(below.into_iter().flatten().flatten()).collect()
}

fn assert_private(path: &Path) {
    for (path, is_dir, mode) in modes(path) {
        let expected = if is_dir { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{} has mode {mode:04o}", path.display());
    }
}

fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn what_a_run_leaves_is_private_whatever_the_umask() {
    let place = Place::new();
    // A parent, so that the coordinator and the worker keep weights.
    let family = SMALL.replace("epochs: 2", "epochs: 1").replace("seeds: 2", "seeds: 1");
    let family = family.replace("grid:\n  loss: [cce, gce]\n", "  loss: gce\n  parent: {set: {loss: cce}}\n");
    place.file("family.yaml", family);
    let state = place.path().join(".plusminus");
    let run = ["run", "family.yaml", "--weights", "kept", "--checkpoint-every", "1epochs"];
    succeeded(&run_without_umask(&place, &run));
    succeeded(&run_without_umask(&place, &["backup", "copy"]));
    [state.clone(), place.path().join("kept"), place.path().join("copy")].iter().for_each(|path| assert_private(path));
    assert!(modes(&state).iter().any(|(path, ..)| path.ends_with("plusminus.sqlite")));
    assert!(modes(&state.join("weights")).len() > 1 && modes(&state.join("worker")).len() > 3);

    // A state directory as older versions left it.
    for (path, is_dir, _) in modes(&state) {
        fs::set_permissions(path, Permissions::from_mode(if is_dir { 0o755 } else { 0o644 })).unwrap();
    }
    let log = succeeded(&run_without_umask(&place, &run));
    assert!(log.contains("private now"), "{log}");
    assert_private(&state);

    // One that every user can write.
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    let refused = run_without_umask(&place, &run);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("mode 0777") && text.contains("chmod 700"), "{text}");
}
