//! Runs the binary as users do, in a temporary directory of its own.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

mod cluster;
pub mod disk;
pub mod proxy;
pub mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::{NamedTempFile, TempDir};

/// Two losses under one kind of noise and two seeds: four jobs, each of a fraction of a second.
pub const SMALL: &str = "\
sweep: small
seeds: 2
base:
  dataset: fashion-mnist-10k
  model: cnn
  noise: {kind: uniform, rate: 0.4}
  optimizer: {name: adam, lr: 1e-3}
  epochs: 2
  batch_size: 64
  train_size: 1500
  test_size: 1000
  validation: 0.4
grid:
  loss: [cce, gce]
";

/// A directory in which the binary runs. Its state directory is `.plusminus`.
pub struct Place {
    directory: TempDir,
    /// Environment variables of the stand-in GPUs, if the host has any.
    gpus: Option<Vec<(&'static str, String)>>,
}

impl Place {
    pub fn new() -> Self {
        Place { directory: tempfile::tempdir().unwrap(), gpus: None }
    }

    /// Creates a directory on a host with `gpus` GPUs, which the stand-in for NVIDIA's libraries simulates with `settings`.
    #[cfg(target_os = "linux")]
    pub fn with_gpus(gpus: usize, settings: &[(&'static str, String)]) -> Self {
        let gpus = [(plusminus_stand_in::settings::GPUS, gpus.to_string())];
        Place { gpus: Some([&gpus[..], settings].concat()), ..Place::new() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Returns the binary as a command that runs here, without the environment variables of the caller.
    pub fn plusminus(&self, arguments: &[&str]) -> Command {
        self.plusminus_with_signals("--default-signal=HUP,INT,QUIT,TERM", arguments)
    }

    /// As [`Place::plusminus`]. `signals` is an option of `env` that ignores signals or sets their default action, which is needed if the
    /// tests run in the background.
    pub fn plusminus_with_signals(&self, signals: &str, arguments: &[&str]) -> Command {
        let mut command = self.program(signals);
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for variable in ["PLUSMINUS_DATASETS", "PLUSMINUS_STATE", "PLUSMINUS_COORDINATOR", "RUST_LOG", "CLICOLOR_FORCE"]
        {
            command.env_remove(variable);
        }
        // Workers without `--state` keep their outbox here.
        command.env("XDG_STATE_HOME", self.path().join("user-state"));
        command
    }

    #[cfg(target_os = "linux")]
    fn program(&self, signals: &str) -> Command {
        let mut command = plusminus_stand_in::program("env");
        command.args([signals, env!("CARGO_BIN_EXE_plusminus")]);
        match &self.gpus {
            Some(settings) => command.envs(settings.iter().map(|(name, value)| (name, value))),
            // Hides the GPUs of the real host.
            None => command.env("CUDA_VISIBLE_DEVICES", ""),
        };
        // Compiled kernels are kept here.
        command.env("XDG_CACHE_HOME", self.path().join("user-cache"));
        command
    }

    #[cfg(not(target_os = "linux"))]
    fn program(&self, _: &str) -> Command {
        Command::new(env!("CARGO_BIN_EXE_plusminus"))
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        Answer::new(self.plusminus(arguments).output().unwrap())
    }

    /// Starts the binary in the background.
    pub fn start(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(&mut self.plusminus(arguments))
    }
}

/// How a command ended, and what it printed.
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Checks that the command succeeded, and returns its standard output.
    pub fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A background process, which is killed when the test ends. Its standard error goes to a file.
pub struct Daemon {
    pub child: Child,
    log: NamedTempFile,
    /// Bytes of the log that [`Daemon::wait_for`] has returned.
    read: usize,
}

impl Daemon {
    pub fn start(command: &mut Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let child = command.stdout(Stdio::null()).stderr(log.reopen().unwrap()).spawn().unwrap();
        Daemon { child, log, read: 0 }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Kills the process without warning.
    pub fn kill(self) {
        drop(self);
    }

    /// Returns all that the process has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log.path()).unwrap()).into_owned()
    }

    /// Waits until the process exits. Returns its exit code, and the log after the part that [`Daemon::wait_for`] has returned.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.log().split_off(self.read))
    }

    /// Waits for a line of the log that contains `text`. Returns the log from the last such call to this line.
    pub fn wait_for(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            // Looked up before the log is read, so that no last line is missed.
            let exited = self.child.try_wait().unwrap().is_some();
            let mut log = self.log().split_off(self.read);
            let line_end = log.find(text).and_then(|start| Some(start + log[start..].find('\n')? + 1));
            if let Some(end) = line_end {
                self.read += end;
                log.truncate(end);
                return log;
            }
            assert!(!exited && started.elapsed() < PATIENCE, "the log has no {text:?}: {log}");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, such as `TERM`, to a process.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {process}")]).status().unwrap();
    assert!(sent.success());
}

/// Returns the child processes of `parent`.
#[cfg(target_os = "linux")]
pub fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // State and parent follow the name, which is in parentheses and may contain anything.
        let parents = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        parents == Some(parent)
    };
    processes.filter(is_child).collect()
}

/// Time that a test waits for a condition before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Waits until the condition `what` holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let found = within(PATIENCE, || holds().then_some(()));
    assert!(found.is_some(), "timed out waiting until {what}");
}

/// Waits until `find` returns something, at most for `patience`.
pub fn within<T>(patience: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = find();
        if found.is_some() || started.elapsed() > patience {
            return found;
        }
        std::thread::sleep(POLL);
    }
}
