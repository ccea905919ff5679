//! How tests come to the stand-in: where it was built, a directory in which it has the names of NVIDIA's libraries, and processes that
//! find it there.
//!
//! A test's package names this one among its `[dev-dependencies]`. Then cargo builds it before the test, and the library of C, which it
//! builds by the way, lies beside the test's program in `target/…/deps`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The names of the driver's library.
pub const CUDA: &[&str] = &["libcuda.so", "libcuda.so.1"];

/// The names of NVRTC.
pub const NVRTC: &[&str] = &["libnvrtc.so", "libnvrtc.so.12"];

/// The names of NVML.
pub const NVML: &[&str] = &["libnvidia-ml.so", "libnvidia-ml.so.1"];

/// The names of cuDNN, which shall not be found: a real one would make what it likes of made-up GPUs.
const HIDDEN: [&str; 3] = ["libcudnn.so", "libcudnn.so.8", "libcudnn.so.9"];

/// Set in a process that [`test()`] started.
const INSIDE: &str = "PLUSMINUS_STAND_IN_INSIDE";

/// The library itself.
///
/// # Panics
/// If it is not there: the test's package does not name this one.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this program has a place");
    let name = "libplusminus_stand_in.so";
    // Tests lie in `deps`, programs beside it, examples in a directory beside it.
    let places =
        program.ancestors().skip(1).take(3).flat_map(|place| [place.join(name), place.join("deps").join(name)]);
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not beside {}: name plusminus-stand-in among [dev-dependencies]", program.display())
    })
}

/// A directory in which the stand-in has the names of all three libraries, and a cuDNN that the system may have is hidden: an empty file
/// is no library, and no other is looked for. It lies beside the library and is for all tests.
///
/// # Panics
/// If it cannot be made.
pub fn directory() -> PathBuf {
    let directory = directory_of(&library().with_file_name("stand-in"), &[CUDA, NVRTC, NVML]);
    for name in HIDDEN {
        std::fs::write(directory.join(name), "").expect("an empty file");
    }
    directory
}

/// A directory in which the stand-in has the names of some libraries.
///
/// # Panics
/// If it cannot be made.
pub fn directory_of(directory: &Path, libraries: &[&[&str]]) -> PathBuf {
    std::fs::create_dir_all(directory).expect("a directory for links");
    for name in libraries.iter().copied().flatten() {
        let link = directory.join(name);
        // Another test may be making the same link. A link that leads elsewhere was made for another library.
        if std::fs::read_link(&link).is_ok_and(|to| to == library()) {
            continue;
        }
        let beside = directory.join(format!("{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
        std::os::unix::fs::symlink(library(), &beside).expect("a link");
        std::fs::rename(&beside, &link).expect("a link");
    }
    directory.to_owned()
}

/// A process of `program` that finds the stand-in instead of NVIDIA's libraries, and keeps compiled kernels beside it and not with the
/// user's. [`settings`](crate::settings) are added as variables.
pub fn program(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for variable in crate::settings::ALL.iter().chain(&["CUDA_VISIBLE_DEVICES", "PLUSMINUS_CUDA_LIBRARIES", INSIDE]) {
        command.env_remove(variable);
    }
    command.env("XDG_CACHE_HOME", directory().join("cache"));
    let others = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let places = std::iter::once(directory()).chain(std::env::split_paths(&others));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(places).expect("no `:` in a path"));
    command
}

/// Runs `work` in a process of its own that finds the stand-in: the test of this `name`, as libtest has it, started once more. `settings`
/// are variables. What the test does before, it does there too.
///
/// # Panics
/// If the test fails there, with what it printed, or no test has this name.
pub fn test(name: &str, settings: &[(&str, &str)], work: impl FnOnce()) {
    tests(name, &[settings], work);
}

/// As [`test()`], one process after the other for each list of settings.
///
/// # Panics
/// If the test fails in one, with what it printed, or no test has this name.
pub fn tests(name: &str, each: &[&[(&str, &str)]], work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    for settings in each {
        let mut command = program(std::env::current_exe().expect("this program has a place"));
        command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
        let output = command.envs(settings.iter().copied()).output().expect("a process");
        let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let (status, passed) = (output.status, said.contains("1 passed"));
        assert!(status.success() && passed, "{name} on the stand-in, {settings:?}: {status}\n{said}\n{errors}");
    }
}
