//! Runs tests on the stand-in: locates the library, links it under the names of NVIDIA's libraries, and starts processes that load it.
//!
//! A test's package lists this one in its `[dev-dependencies]`. Cargo then builds the C library together with the test and puts it beside the
//! test's executable in `target/…/deps`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File names of the driver's library.
pub const CUDA: &[&str] = &["libcuda.so", "libcuda.so.1"];

/// File names of NVRTC.
pub const NVRTC: &[&str] = &["libnvrtc.so", "libnvrtc.so.12"];

/// File names of NVML.
pub const NVML: &[&str] = &["libnvidia-ml.so", "libnvidia-ml.so.1"];

/// File names of cuDNN, which must not be found: NVIDIA's cuDNN does not work with simulated GPUs.
const HIDDEN: [&str; 3] = ["libcudnn.so", "libcudnn.so.8", "libcudnn.so.9"];

/// Set in processes that [`test()`] starts.
const INSIDE: &str = "PLUSMINUS_STAND_IN_INSIDE";

/// Path of the stand-in's C library.
///
/// # Panics
/// Panics if it does not exist because the test's package does not list this one.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let name = "libplusminus_stand_in.so";
    // Tests are in `deps`, programs in its parent, examples in a sibling.
    let candidates = program
        .ancestors()
        .skip(1)
        .take(3)
        .flat_map(|directory| [directory.join(name), directory.join("deps").join(name)]);
    let found = candidates.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} not found beside {}: add plusminus-stand-in to [dev-dependencies]", program.display())
    })
}

/// Returns a directory with the stand-in under the names of all three libraries. Empty files hide an installed cuDNN: the loader stops at
/// the first file of that name. The directory is beside the library and shared by all tests.
///
/// # Panics
/// Panics if the directory cannot be created.
pub fn directory() -> PathBuf {
    let directory = directory_of(&library().with_file_name("stand-in"), &[CUDA, NVRTC, NVML]);
    for name in HIDDEN {
        std::fs::write(directory.join(name), "").expect("an empty file");
    }
    directory
}

/// Links the stand-in under the names of some libraries into `directory`.
///
/// # Panics
/// Panics if the links cannot be created.
pub fn directory_of(directory: &Path, libraries: &[&[&str]]) -> PathBuf {
    std::fs::create_dir_all(directory).expect("a directory for links");
    for name in libraries.iter().copied().flatten() {
        let link = directory.join(name);
        // Another test may be creating the same link. A link with another target was made for another build.
        if std::fs::read_link(&link).is_ok_and(|to| to == library()) {
            continue;
        }
        let beside = directory.join(format!("{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
        std::os::unix::fs::symlink(library(), &beside).expect("a link");
        std::fs::rename(&beside, &link).expect("a link");
    }
    directory.to_owned()
}

/// A command for `program` that loads the stand-in instead of NVIDIA's libraries and caches compiled kernels apart from the user's cache.
/// Callers add [`settings`](crate::settings) as environment variables.
pub fn program(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for variable in crate::settings::ALL.iter().chain(&["CUDA_VISIBLE_DEVICES", "PLUSMINUS_CUDA_LIBRARIES", INSIDE]) {
        command.env_remove(variable);
    }
    command.env("XDG_CACHE_HOME", directory().join("cache"));
    let others = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let directories = std::iter::once(directory()).chain(std::env::split_paths(&others));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(directories).expect("no `:` in a path"));
    command
}

/// Runs `work` in its own process on the stand-in: starts the current test again, by its libtest name `name`. `settings` are
/// environment variables. Code before this call runs in both processes.
///
/// # Panics
/// Panics with the output of the process if the test fails there or no test has this name.
pub fn test(name: &str, settings: &[(&str, &str)], work: impl FnOnce()) {
    tests(name, &[settings], work);
}

/// Like [`test()`], with one process after the other for each list of settings.
///
/// # Panics
/// Panics with the output of a process if the test fails there or no test has this name.
pub fn tests(name: &str, each: &[&[(&str, &str)]], work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    for settings in each {
        let mut command = program(std::env::current_exe().expect("the path of this program"));
        command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
        let output = command.envs(settings.iter().copied()).output().expect("a process");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let (status, passed) = (output.status, stdout.contains("1 passed"));
        assert!(status.success() && passed, "{name} on the stand-in, {settings:?}: {status}\n{stdout}\n{stderr}");
    }
}
