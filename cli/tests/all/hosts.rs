//! Hosts on which something is missing: a directory that can be written, threads, space behind standard error.

use crate::common::{Answer, Daemon, Place, SMALL, eventually};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns a command that starts `command` through `prefix`, with the same arguments, variables and directory.
fn through(prefix: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(prefix[0]);
    outer.args(&prefix[1..]).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer.current_dir(command.get_current_dir().unwrap());
    outer
}

/// A directory that can be replaced by a file and back, each in one step: a link.
struct Directory<'a> {
    place: &'a Place,
    name: &'a str,
}

impl<'a> Directory<'a> {
    fn new(place: &'a Place, name: &'a str) -> Self {
        let directory = Directory { place, name };
        fs::create_dir(directory.real()).unwrap();
        directory.replace(&directory.real());
        directory
    }

    fn real(&self) -> PathBuf {
        self.place.path().join(format!("real-{}", self.name))
    }

    fn replace(&self, target: &Path) {
        let [new, link] = ["new-link", self.name].map(|name| self.place.path().join(name));
        symlink(target, &new).unwrap();
        fs::rename(new, link).unwrap();
    }

    fn block(&self) {
        self.replace(&self.place.file("in-the-way", ""));
    }

    fn release(&self) {
        self.replace(&self.real());
    }
}

fn refused(answer: &Answer, code: i32, words: &[&str]) {
    assert_eq!(answer.code, Some(code), "{}", answer.stderr);
    for word in words {
        assert!(answer.stderr.contains(word), "no {word:?} in {}", answer.stderr);
    }
}

#[test]
fn directories_that_cannot_be_written_end_a_command_at_once() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let file = place.file("file", "kept");
    symlink(place.path().join("absent"), place.path().join("link")).unwrap();
    for (option, what) in [("--weights", "weights"), ("--checkpoints", "checkpoints")] {
        let expected = |found: &str| format!("cannot write to the directory for {what} {found}");
        let below = file.join("below");
        let run =
            |directory: &str| place.run(&["run", "small.yaml", "--checkpoint-every", "1epochs", option, directory]);
        let remedy = format!("give another one with {option}");
        refused(&run("file"), 2, &[&expected("file: "), "file is not a directory", &remedy]);
        refused(&run(below.to_str().unwrap()), 2, &[&expected(below.to_str().unwrap()), "file is not a directory"]);
        refused(&run("link"), 2, &[&expected("link: "), "absent, which does not exist"]);
        let worker = place.run(&["worker", "--device", "cpu", option, "link/below"]);
        refused(&worker, 2, &[&expected("link/below: "), &remedy]);
    }
    assert!(!place.state().exists(), "nothing was submitted");
    let worker = |option| place.run(&["worker", "--device", "cpu", option, "file"]);
    refused(&worker("--cache"), 2, &["cannot write to the directory for kept weights file: ", "--cache"]);
    refused(&worker("--state"), 6, &["cannot use the worker's state directory", "--state"]);
    place.file("w/checkpoints", "in the way");
    let worker = place.run(&["worker", "--device", "cpu", "--state", "w"]);
    refused(&worker, 6, &["checkpoints is not a directory", "--state"]);
    assert_eq!(fs::read(file).unwrap(), b"kept");
}

#[test]
fn trained_weights_wait_until_their_directory_can_be_written_again() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let weights = Directory::new(&place, "weights");
    let mut run = place.start(&["run", "small.yaml", "--weights", "weights", "--slots", "2"]);
    eventually("the sweep trains", || {
        place.state().join("worker/checkpoints").exists() && place.jobs("small", "running") > 0
    });
    weights.block();
    run.wait_for("the trained weights stay in memory until they can be saved");
    eventually("no further job is started", || place.jobs("small", "running") <= 2);
    weights.release();
    let (code, log) = run.wait();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(place.query("SELECT max(attempts) || ' ' || sum(failures) FROM jobs"), "1 0", "no job trained twice");
    assert_eq!(fs::read_dir(weights.real()).unwrap().count(), 4);
    assert!(!log.contains("stay in memory"), "said once: {log}");
}

#[test]
fn a_run_says_when_finished_jobs_leave_no_weights() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    place.run(&["run", "small.yaml"]).good();
    let again = place.run(&["run", "small.yaml", "--weights", "weights"]);
    refused(&again, 0, &["4 jobs had finished before: no weights of them are written to weights", "another --state"]);
}

#[test]
fn warnings_of_runners_reach_the_user_of_run() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    let checkpoints = Directory::new(&place, "checkpoints");
    let options = ["--checkpoints", "checkpoints", "--checkpoint-every", "1epochs", "--slots", "1"];
    let mut run = place.start(&[&["run", "small.yaml"][..], &options].concat());
    eventually("the sweep trains", || place.jobs("small", "running") > 0);
    checkpoints.block();
    let log = run.wait_for("cannot write a checkpoint to ");
    let line = log.lines().last().unwrap();
    let of_a_job = |id: &str| line.contains(&format!("WARN job {}: ", &id[..8]));
    let store = place.store();
    let mut rows = store.prepare("SELECT id FROM jobs").unwrap();
    let ids: Vec<String> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(ids.iter().any(|id| of_a_job(id)), "{line}");
    let (code, log) = run.wait();
    assert_eq!((code, log.matches("cannot write a checkpoint").count()), (Some(0), 0), "said once: {log}");
}

#[test]
fn a_full_disk_behind_standard_error_ends_no_daemon() {
    let place = Place::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let daemon = |arguments: &[&str]| place.plusminus(arguments).stderr(full()).stdout(Stdio::null()).spawn().unwrap();
    let mut coordinator = daemon(&["coordinator", "--listen", "127.0.0.1:0"]);
    let address = place.state().join("address");
    let url = || fs::read_to_string(&address).unwrap_or_default();
    eventually("the coordinator has written its address", || url().ends_with('\n'));
    let mut worker = daemon(&["worker", "--coordinator", url().trim(), "--name", "w", "--state", "w", "--slots", "1"]);
    place.submit("small", SMALL);
    place.run(&["watch", "small"]).good();
    for daemon in [&mut worker, &mut coordinator] {
        crate::common::signal(daemon.id(), "TERM");
        assert_eq!(daemon.wait().unwrap().code(), Some(0));
    }
}

/// A user who has no other processes, and may have `limit` processes and threads. `None` if this user may not become another.
fn as_limited_user(place: &Place, arguments: &[&str], limit: u32) -> Option<Command> {
    // Nobody's number, and another for each test process.
    let user = (1_000_000_000 + std::process::id()).to_string();
    let program = place.path().join("program");
    fs::copy(place.plusminus(&[]).get_program(), &program).ok()?;
    for path in [place.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let [reuid, regid] = ["--reuid", "--regid"].map(|option| format!("{option}={user}"));
    let nproc = format!("--nproc={limit}");
    let prefix = ["taskset", "-c", "0", "setpriv", &reuid, &regid, "--clear-groups", "prlimit", &nproc];
    let possible = Command::new(prefix[0]).args(&prefix[1..]).arg("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let home = format!("HOME={}", place.path().display());
    let prefix = [&prefix[..], &["env", &home]].concat();
    let inner = place.plusminus(arguments);
    let mut copy = Command::new(&program);
    copy.args(inner.get_args()).envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    copy.current_dir(inner.get_current_dir().unwrap());
    Some(through(&prefix, &copy))
}

#[test]
fn a_limit_of_processes_costs_no_job_a_try() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    // Enough for coordinator, worker and one runner.
    let arguments = ["run", "small.yaml", "--slots", "4", "--threads", "1"];
    let Some(mut command) = as_limited_user(&place, &arguments, 16) else { return };
    let (code, log) = Daemon::start(&mut command).wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.contains("ulimit -u") && log.contains("no job loses a try"), "{log}");
    assert_eq!(place.query("SELECT count(*) || ' ' || sum(failures) FROM jobs WHERE state = 'finished'"), "4 0");
}

#[test]
fn a_command_without_threads_names_the_limit() {
    let place = Place::new();
    let Some(mut command) = as_limited_user(&place, &["status"], 1) else { return };
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{stderr}");
    assert!(stderr.contains("cannot start threads: ") && stderr.contains("ulimit -u"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Starts the binary as `nohup` and the shell's `&` do: with signals that are ignored.
pub fn with_ignored_signals(place: &Place, arguments: &[&str]) -> Daemon {
    Daemon::start(&mut place.plusminus_with_signals("--ignore-signal=HUP,INT", arguments))
}

fn ignored(process: u32) -> String {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim().to_owned()
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let place = Place::new();
    let mut coordinator = with_ignored_signals(&place, &["coordinator", "--listen", "127.0.0.1:0"]);
    coordinator.wait_for("listening");
    let url = fs::read_to_string(place.state().join("address")).unwrap();
    let options = ["--name", "w", "--state", "w", "--slots", "1", "--threads", "1"];
    let arguments = [&["worker", "--coordinator", url.trim()][..], &options].concat();
    let mut worker = with_ignored_signals(&place, &arguments);
    worker.wait_for("connected");
    place.file("small.yaml", SMALL);
    let run = with_ignored_signals(&place, &["run", "small.yaml", "--state", "other", "--slots", "1"]);
    eventually("run trains", || !crate::common::children(run.id()).is_empty());
    for daemon in [&coordinator, &worker, &run] {
        assert!(ignored(daemon.id()).ends_with('3') || ignored(daemon.id()).ends_with('7'), "{}", ignored(daemon.id()));
        daemon.signal("HUP");
        daemon.signal("INT");
    }
    place.submit("small", SMALL);
    place.run(&["watch", "small"]).good();
    let (code, log) = run.wait();
    assert_eq!(code, Some(0), "{log}");
    for daemon in [worker, coordinator] {
        daemon.signal("TERM");
        assert_eq!(daemon.wait().0, Some(0));
    }
}

#[test]
fn a_hangup_stops_a_daemon_as_sigterm_does() {
    let place = Place::new();
    let (coordinator, url) = place.coordinator();
    let mut worker = place.worker(&url, "w", &[]);
    worker.wait_for("connected");
    for daemon in [worker, coordinator] {
        daemon.signal("HUP");
        assert_eq!(daemon.wait().0, Some(0));
    }
}

#[test]
fn a_state_directory_that_a_run_uses_is_left_to_it() {
    let place = Place::new();
    place.file("small.yaml", SMALL);
    place.file("large.yaml", SMALL.replace("sweep: small", "sweep: large").replace("epochs: 2", "epochs: 500"));
    let run = place.start(&["run", "large.yaml", "--slots", "1"]);
    eventually("the run trains", || place.jobs("large", "running") > 0);
    let second = place.run(&["run", "large.yaml"]);
    let watch = "`plusminus watch large --state .plusminus`";
    refused(&second, 6, &["in use by another `plusminus run` or coordinator", watch, "give another directory"]);
    let submitted = place.run(&["submit", "small.yaml"]);
    refused(&submitted, 70, &["this coordinator runs sweep `large` only", "wait until it ends"]);
    refused(&place.run(&["submit", "large.yaml"]), 0, &["large: 4 jobs"]);
    run.signal("TERM");
    assert_eq!(run.wait().0, Some(130));
}
