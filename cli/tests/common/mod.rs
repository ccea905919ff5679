//! The binary as users start it, in a directory of its own.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Two losses under one noise and two seeds: four jobs of a second or so.
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
  validation: 0.9
grid:
  loss: [cce, gce]
";

/// A directory to run in.
pub struct Place {
    directory: TempDir,
    /// What is set where made-up GPUs are found.
    gpus: Option<Vec<(&'static str, String)>>,
}

impl Place {
    pub fn new() -> Self {
        Place { directory: tempfile::tempdir().unwrap(), gpus: None }
    }

    /// One on a machine with so many GPUs, which a stand-in for NVIDIA's libraries makes up; `settings` are its own.
    #[cfg(target_os = "linux")]
    pub fn with_gpus(gpus: usize, settings: &[(&'static str, String)]) -> Self {
        let gpus = [(plusminus_stand_in::settings::GPUS, gpus.to_string())];
        Place { gpus: Some([&gpus[..], settings].concat()), ..Place::new() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file and says where it is.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The binary, in this directory, with none of the caller's settings.
    pub fn plusminus(&self, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for variable in ["PLUSMINUS_DATASETS", "PLUSMINUS_STATE", "PLUSMINUS_COORDINATOR", "RUST_LOG", "CLICOLOR_FORCE"]
        {
            command.env_remove(variable);
        }
        // Where workers keep what they must not forget.
        command.env("XDG_STATE_HOME", self.path().join("user-state"));
        command
    }

    #[cfg(target_os = "linux")]
    fn program(&self) -> Command {
        let mut command = plusminus_stand_in::program(env!("CARGO_BIN_EXE_plusminus"));
        match &self.gpus {
            Some(settings) => command.envs(settings.iter().map(|(name, value)| (name, value))),
            // Whatever this machine has.
            None => command.env("CUDA_VISIBLE_DEVICES", ""),
        };
        // Compiled kernels are kept here.
        command.env("XDG_CACHE_HOME", self.path().join("user-cache"));
        command
    }

    #[cfg(not(target_os = "linux"))]
    fn program(&self) -> Command {
        Command::new(env!("CARGO_BIN_EXE_plusminus"))
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.plusminus(arguments).output().unwrap())
    }

    /// Starts the binary as a daemon.
    pub fn start(&self, arguments: &[&str]) -> Daemon {
        Daemon::of(&mut self.plusminus(arguments))
    }

    /// Starts a coordinator on a free port with its state here, and says its URL.
    pub fn coordinator(&self) -> (Daemon, String) {
        let daemon = self.start(&["coordinator", "--listen", "127.0.0.1:0", "--lease", "3"]);
        let address = self.path().join(".plusminus/address");
        eventually("the coordinator has written its address", || address.is_file());
        (daemon, fs::read_to_string(address).unwrap().trim().to_owned())
    }
}

/// What a command said.
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Standard output of a command that has succeeded.
    pub fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A process that is killed when the test is done with it.
pub struct Daemon {
    pub child: Child,
    log: Option<BufReader<std::process::ChildStderr>>,
}

impl Daemon {
    /// Starts the command.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Daemon { child, log: Some(log) }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for the end, and says the exit code and what was logged.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        for line in self.log.take().unwrap().lines() {
            log += &(line.unwrap() + "\n");
        }
        (self.child.wait().unwrap().code(), log)
    }

    /// Reads the log until a line has `text` in it, and gives what it has read.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut log = String::new();
        loop {
            let before = log.len();
            let read = self.log.as_mut().unwrap().read_line(&mut log).unwrap();
            assert!(read > 0, "the log has ended without {text:?}: {log}");
            if log[before..].contains(text) {
                return log;
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal by its name.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {process}")]).status().unwrap();
    assert!(sent.success());
}

/// The processes that `parent` has started.
#[cfg(target_os = "linux")]
pub fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything; state and parent follow it.
        let parents = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        parents == Some(parent)
    };
    processes.filter(is_child).collect()
}

/// Waits for something to become true.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
