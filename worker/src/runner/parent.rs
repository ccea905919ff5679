//! A runner seen from the daemon.

use super::memory::OutOfMemoryKills;
use super::{LONGEST, UNWELL};
use crate::agent::{Equipment, Event, RunnerEvent, RunnerExit};
use futures_util::FutureExt;
use plusminus_proto::v1::{self, to_runner};
use prost::Message;
use prost::bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::StreamExt;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// Lines of a runner's log that are kept for when it crashes.
const LOG_LINES: usize = 10;
/// Bytes of a line that are kept.
const LOG_LINE: usize = 1_000;
/// Things that may wait for a lane of a runner to hear them: there are two at most, what to train, and to stop.
const QUEUE: usize = 8;
/// Messages of a runner that are passed on together.
const TOGETHER: usize = 32;

/// How runners are started: a program and its arguments. What they train with comes behind those: `--device`, `--threads`, `--lanes`.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// The program, which calls [`super::serve`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<std::ffi::OsString>,
}

/// A running child process.
pub(crate) struct Runner {
    messages: mpsc::Sender<(u32, to_runner::Message)>,
    /// Only the latest matters.
    lease: watch::Sender<v1::Lease>,
    kill: Option<oneshot::Sender<()>>,
}

impl Runner {
    /// Starts the process, to train with `equipment`. What it says comes as events of the runner of that number and generation.
    pub fn start(
        options: &RunnerOptions,
        equipment: &Equipment,
        (number, generation): (usize, u64),
        events: mpsc::Sender<Event>,
    ) -> io::Result<Runner> {
        let mut command = Command::new(&options.program);
        command
            .args(&options.arguments)
            .args(["--device", &equipment.means.device.to_string()])
            .args(["--threads", &equipment.means.threads.to_string()])
            .args(["--lanes", &equipment.lanes().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .envs(plusminus_engines::ENVIRONMENT.iter().copied())
            .kill_on_drop(true);
        // The terminal's Ctrl-C is for the daemon, which tells its runners.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        // Counted before it is given anything that takes memory.
        let kills = child.id().and_then(OutOfMemoryKills::around);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("the process has no pipes"));
        };
        let (messages, queue) = mpsc::channel(QUEUE * equipment.lanes() as usize);
        let (lease, leases) = watch::channel(v1::Lease::default());
        let (kill, killed) = oneshot::channel();
        tokio::spawn(send(stdin, queue, leases));
        tokio::spawn(attend((child, kills), stdout, stderr, killed, (number, generation), events));
        Ok(Runner { messages, lease, kill: Some(kill) })
    }

    /// Sends a message for a lane; a lease is for all. If the process has ended, that comes as an event.
    pub fn tell(&self, lane: u32, message: to_runner::Message) {
        match message {
            to_runner::Message::Lease(lease) => drop(self.lease.send_replace(lease)),
            message => {
                if let Err(mpsc::error::TrySendError::Full(_)) = self.messages.try_send((lane, message)) {
                    tracing::error!("a runner was told more than it can have in hand");
                }
            }
        }
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }
}

async fn send(
    stdin: ChildStdin,
    mut queue: mpsc::Receiver<(u32, to_runner::Message)>,
    mut leases: watch::Receiver<v1::Lease>,
) {
    let mut pipe = FramedWrite::new(stdin, LengthDelimitedCodec::new());
    loop {
        let (lane, message) = tokio::select! {
            biased;
            message = queue.recv() => match message {
                Some(message) => message,
                None => return,
            },
            changed = leases.changed() => match changed {
                Ok(()) => (0, to_runner::Message::Lease(*leases.borrow_and_update())),
                Err(_) => return,
            },
        };
        let bytes = v1::ToRunner { lane, message: Some(message) }.encode_to_vec();
        if futures_util::SinkExt::send(&mut pipe, Bytes::from(bytes)).await.is_err() {
            return;
        }
    }
}

async fn attend(
    (mut child, kills): (Child, Option<OutOfMemoryKills>),
    stdout: ChildStdout,
    stderr: ChildStderr,
    mut killed: oneshot::Receiver<()>,
    (runner, generation): (usize, u64),
    events: mpsc::Sender<Event>,
) {
    let log = tokio::spawn(tail(stderr));
    let codec = LengthDelimitedCodec::builder().max_frame_length(LONGEST as usize).new_codec();
    let mut pipe = FramedRead::new(stdout, codec);
    let mut alive = true;
    loop {
        tokio::select! {
            // The agent dropping its end means that it is gone, and so must the runner be.
            _ = &mut killed, if alive => {
                alive = false;
                let _ = child.start_kill();
            }
            frame = pipe.next() => {
                let Some(said) = understood(frame) else { break };
                let (mut messages, mut whole) = (vec![said], true);
                // What has been read already goes along: to wake the agent for each would cost more than to tell it.
                while whole
                    && messages.len() < TOGETHER.min(events.max_capacity())
                    && let Some(frame) = pipe.next().now_or_never()
                {
                    match understood(frame) {
                        Some(said) => messages.push(said),
                        None => whole = false,
                    }
                }
                let Ok(permits) = events.reserve_many(messages.len()).await else { break };
                for (permit, said) in permits.zip(messages) {
                    permit.send(Event::Runner { runner, generation, said });
                }
                if !whole {
                    break;
                }
            }
        }
    }
    // Its output has ended: either it has too, or it is of no more use.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(1), child.wait()).await;
    let _ = child.start_kill();
    let how = match child.wait().await {
        // Where its output ended first, it is this function that has killed it.
        Ok(_) if ended.is_err() => RunnerExit::Crashed("closed its output and went on".to_owned()),
        Ok(status) => describe(status, || kills.is_some_and(|kills| kills.any_since())),
        Err(error) => RunnerExit::Crashed(format!("cannot be asked how it ended: {error}")),
    };
    // Something that it has started may keep the pipe open.
    let log = tokio::time::timeout(std::time::Duration::from_secs(1), log).await;
    let log = log.map_or_else(|_| String::new(), Result::unwrap_or_default);
    let _ = events.send(Event::Runner { runner, generation, said: RunnerEvent::Exited(how, log) }).await;
}

/// The message in a frame, if it is one.
fn understood(frame: Option<io::Result<BytesMut>>) -> Option<RunnerEvent> {
    let v1::FromRunner { lane, message } = v1::FromRunner::decode(frame?.ok()?).ok()?;
    Some(RunnerEvent::Message(lane, message?))
}

/// Passes a log on and keeps its last lines.
async fn tail(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut last = VecDeque::with_capacity(LOG_LINES);
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    let mut end = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).into_owned();
        line.clear();
        tracing::info!(target: "runner", "{text}");
        if last.len() == LOG_LINES {
            last.pop_front();
        }
        last.push_back(text);
    };
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        for byte in &buffer[..read] {
            match byte {
                b'\n' => end(&mut line),
                _ if line.len() < LOG_LINE => line.push(*byte),
                _ => {}
            }
        }
    }
    if !line.is_empty() {
        end(&mut line);
    }
    Vec::from(last).join("\n")
}

fn describe(status: ExitStatus, ran_out_of_memory: impl FnOnce() -> bool) -> RunnerExit {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal_name(signal) {
            Some("SIGKILL") if ran_out_of_memory() => RunnerExit::OutOfMemory,
            Some("SIGKILL") => RunnerExit::Killed,
            // It was told to leave, before it could hear of it.
            Some("SIGTERM") => RunnerExit::Left,
            Some(name) => RunnerExit::Crashed(format!("was killed by {name}")),
            None => RunnerExit::Crashed(format!("was killed by signal {signal}")),
        };
    }
    match status.code() {
        Some(0) => RunnerExit::Left,
        Some(UNWELL) => RunnerExit::Unwell,
        Some(code) => RunnerExit::Crashed(format!("ended with exit code {code}")),
        None => RunnerExit::Crashed("ended".to_owned()),
    }
}

/// The names of signals that end processes, where they have the same numbers everywhere.
#[cfg(unix)]
fn signal_name(signal: i32) -> Option<&'static str> {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        #[cfg(target_os = "linux")]
        7 => "SIGBUS",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests;
