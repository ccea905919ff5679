//! The daemon's end of a runner: starts the process, sends messages, and turns its output and its exit into events.

use super::framing::{DEVICE_FAILED, HOST_FAILED, MAX_MESSAGE};
use super::log_lines::{Level, LogLine, Show, ShownWarnings};
use super::out_of_memory::OutOfMemoryKills;
use crate::agent::{Equipment, Event, RunnerEvent, RunnerExit};
use crate::clock;
use futures_util::FutureExt;
use plusminus_proto::v1::{self, to_runner};
use prost::Message;
use prost::bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::StreamExt;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// The number of log lines that are kept for a failure message.
const LOG_LINES: usize = 10;
/// The number of bytes that are kept of a line.
const LOG_LINE: usize = 1_000;
/// The number of bytes of a log that are kept for a failure message.
const LOG: usize = 4_000;
/// The capacity of the queue of messages per lane. At most two are expected: an assignment and a stop.
const QUEUE: usize = 8;
/// The number of messages of a runner that are sent to the agent at once.
const BATCH: usize = 32;

/// The runner program and its arguments, to which `--device`, `--threads` and `--lanes` are appended.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// The program, which calls [`super::serve`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<std::ffi::OsString>,
}

/// A running child process. Dropping it kills the process.
pub(crate) struct Runner {
    messages: mpsc::Sender<(u32, to_runner::Message)>,
    /// A newer lease replaces an older one.
    lease: watch::Sender<v1::Lease>,
    kill: Option<oneshot::Sender<()>>,
}

impl Runner {
    /// Starts the process on `equipment`. Its messages and its exit arrive as events with this number and generation.
    pub fn start(
        options: &RunnerOptions,
        equipment: &Equipment,
        (number, generation): (usize, u64),
        warnings: Arc<Mutex<ShownWarnings>>,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Runner> {
        let mut command = Command::new(&options.program);
        command
            .args(&options.arguments)
            .args(["--device", &equipment.execution.device.to_string()])
            .args(["--threads", &equipment.execution.threads.to_string()])
            .args(["--lanes", &equipment.lanes().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .envs(plusminus_engines::ENVIRONMENT.iter().copied())
            .kill_on_drop(true);
        // The terminal's Ctrl-C must reach only the daemon, which stops its runners.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        // Count before the process receives a job and allocates memory.
        let kills = child.id().and_then(OutOfMemoryKills::near);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("the process has no pipes"));
        };
        let (messages, queue) = mpsc::channel(QUEUE * equipment.lanes() as usize);
        let (lease, leases) = watch::channel(v1::Lease::default());
        let (kill, killed) = oneshot::channel();
        tokio::spawn(write(stdin, queue, leases));
        let process = Process { child, kills, warnings, number, generation };
        tokio::spawn(process.supervise(stdout, stderr, killed, events));
        Ok(Runner { messages, lease, kill: Some(kill) })
    }

    /// Sends a message to a lane; a lease is for all lanes. After an exit, which arrives as an event, messages are dropped.
    pub fn send(&self, lane: u32, message: to_runner::Message) {
        match message {
            to_runner::Message::Lease(lease) => drop(self.lease.send_replace(lease)),
            message => {
                if let Err(mpsc::error::TrySendError::Full(_)) = self.messages.try_send((lane, message)) {
                    tracing::error!("the queue of a runner is full; dropping a message");
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

async fn write(
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

/// A child process and what identifies its events.
struct Process {
    child: Child,
    kills: Option<OutOfMemoryKills>,
    warnings: Arc<Mutex<ShownWarnings>>,
    number: usize,
    generation: u64,
}

impl Process {
    /// Sends events until the output of the process ends; then kills it, if necessary, and sends its exit.
    async fn supervise(
        mut self,
        stdout: ChildStdout,
        stderr: ChildStderr,
        killed: oneshot::Receiver<()>,
        events: mpsc::Sender<Event>,
    ) {
        let log = tokio::spawn(tail(stderr, Arc::clone(&self.warnings)));
        self.forward(stdout, killed, &events).await;
        // The process has exited or can no longer be used.
        let exited = tokio::time::timeout(std::time::Duration::from_secs(1), self.child.wait()).await;
        let _ = self.child.start_kill();
        let exit = match self.child.wait().await {
            // This function killed it, because its output ended before the process did.
            Ok(_) if exited.is_err() => RunnerExit::Crashed("closed its output and did not exit".to_owned()),
            Ok(status) => describe(status, || self.kills.as_ref().is_some_and(OutOfMemoryKills::any_since)),
            Err(error) => RunnerExit::Crashed(format!("has an unknown exit status: {error}")),
        };
        // A process that it started may keep the pipe open.
        let log = tokio::time::timeout(std::time::Duration::from_secs(1), log).await;
        let log = log.map_or_else(|_| String::new(), Result::unwrap_or_default);
        let _ = events.send(self.event(RunnerEvent::Exited(exit, log))).await;
    }

    /// Sends the messages of the process as events, until its output ends or is malformed.
    async fn forward(&mut self, stdout: ChildStdout, mut killed: oneshot::Receiver<()>, events: &mpsc::Sender<Event>) {
        let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_MESSAGE as usize).new_codec();
        let mut pipe = FramedRead::new(stdout, codec);
        let mut running = true;
        loop {
            tokio::select! {
                // Also if the daemon drops its end: a runner must not outlive the daemon.
                _ = &mut killed, if running => {
                    running = false;
                    let _ = self.child.start_kill();
                }
                frame = pipe.next() => {
                    let Some(first) = decode(frame) else { return };
                    let (mut batch, mut open) = (vec![first], true);
                    // Messages that have arrived already join the batch: waking the agent for each would cost more than handling it.
                    while open
                        && batch.len() < BATCH.min(events.max_capacity())
                        && let Some(frame) = pipe.next().now_or_never()
                    {
                        match decode(frame) {
                            Some(event) => batch.push(event),
                            None => open = false,
                        }
                    }
                    let Ok(permits) = events.reserve_many(batch.len()).await else { return };
                    permits.zip(batch).for_each(|(permit, event)| permit.send(self.event(event)));
                    if !open {
                        return;
                    }
                }
            }
        }
    }

    fn event(&self, event: RunnerEvent) -> Event {
        Event::Runner { runner: self.number, generation: self.generation, event }
    }
}

/// The message in a frame. `None` at the end of the output or if it is malformed.
fn decode(frame: Option<io::Result<BytesMut>>) -> Option<RunnerEvent> {
    let v1::FromRunner { lane, message } = v1::FromRunner::decode(frame?.ok()?).ok()?;
    Some(RunnerEvent::Message(lane, message?))
}

/// Forwards a log line by line. Returns its last lines.
async fn tail(mut stderr: impl AsyncRead + Unpin, warnings: Arc<Mutex<ShownWarnings>>) -> String {
    let mut last = VecDeque::with_capacity(LOG_LINES);
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    let mut end = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).into_owned();
        line.clear();
        forward_line(&LogLine::parse(&text), &warnings);
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
    let log = Vec::from(last).join("\n");
    let start = (log.len().saturating_sub(LOG)..=log.len()).find(|start| log.is_char_boundary(*start));
    log[start.unwrap_or(0)..].to_owned()
}

/// Logs a line of a runner with the level that it has. Warnings that are not to be shown are logged for debugging.
fn forward_line(line: &LogLine<'_>, warnings: &Mutex<ShownWarnings>) {
    let text = match line.job {
        Some(job) => &format!("job {job}: {}", line.text),
        None => line.text,
    };
    if line.level == Level::Other {
        return tracing::info!(target: "runner", "{text}");
    }
    let show = warnings.lock().unwrap_or_else(PoisonError::into_inner).show(clock::now(), line.text);
    match (show, line.level) {
        (Show::No, _) => tracing::debug!(target: "runner", "{text}"),
        (_, Level::Error) => tracing::error!(target: "runner", "{text}"),
        _ => tracing::warn!(target: "runner", "{text}"),
    }
    if show == Show::Last {
        tracing::warn!(target: "runner", "runners warn of many different things: the next ones are shown in a minute, or with -vv");
    }
}

/// Classifies an exit status.
fn describe(status: ExitStatus, ran_out_of_memory: impl FnOnce() -> bool) -> RunnerExit {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal_name(signal) {
            Some("SIGKILL") if ran_out_of_memory() => RunnerExit::OutOfMemory,
            Some("SIGKILL") => RunnerExit::Killed,
            // Asked to exit before it had installed its signal handler.
            Some("SIGTERM") => RunnerExit::Clean,
            Some(name) => RunnerExit::Crashed(format!("was killed by {name}")),
            None => RunnerExit::Crashed(format!("was killed by signal {signal}")),
        };
    }
    match status.code() {
        Some(0) => RunnerExit::Clean,
        Some(DEVICE_FAILED) => RunnerExit::DeviceFailed,
        Some(HOST_FAILED) => RunnerExit::HostFailed,
        Some(code) => RunnerExit::Crashed(format!("exited with code {code}")),
        None => RunnerExit::Crashed("exited without a code".to_owned()),
    }
}

/// The names of signals that end a process and have the same number on every Unix.
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
        #[cfg(target_os = "linux")]
        31 => "SIGSYS",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests;
