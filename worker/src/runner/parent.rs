//! A runner seen from the daemon.

use super::LONGEST;
use crate::event::{Event, Said};
use plusminus_proto::v1::{self, to_runner};
use prost::Message;
use prost::bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// Lines of a runner's log that are kept for when it crashes.
const LOG_LINES: usize = 10;

/// How runners are started: a program and its arguments.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// The program, which calls [`super::serve`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<std::ffi::OsString>,
    /// By what means they train, as their arguments say: for what is told of the memory that they take.
    pub means: plusminus_trainer::Means,
}

/// A running child process.
pub(crate) struct Runner {
    messages: mpsc::UnboundedSender<to_runner::Message>,
    kill: Option<oneshot::Sender<()>>,
}

impl Runner {
    /// Starts the process. What it says comes as events of `slot` and `generation`.
    pub fn start(
        options: &RunnerOptions,
        slot: usize,
        generation: u64,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Runner> {
        let mut command = Command::new(&options.program);
        command
            .args(&options.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .envs(plusminus_trainer::engine::ENVIRONMENT.iter().copied())
            .kill_on_drop(true);
        // The terminal's Ctrl-C is for the daemon, which tells its runners.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("the process has no pipes"));
        };
        // Unbounded, but a slot is told two things at most: what to train, and to stop.
        let (messages, queue) = mpsc::unbounded_channel();
        let (kill, killed) = oneshot::channel();
        tokio::spawn(send(stdin, queue));
        tokio::spawn(watch(child, stdout, stderr, killed, slot, generation, events));
        Ok(Runner { messages, kill: Some(kill) })
    }

    /// Sends a message. If the process has ended, that comes as an event.
    pub fn tell(&self, message: to_runner::Message) {
        let _ = self.messages.send(message);
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }
}

async fn send(stdin: ChildStdin, mut queue: mpsc::UnboundedReceiver<to_runner::Message>) {
    let mut pipe = FramedWrite::new(stdin, LengthDelimitedCodec::new());
    while let Some(message) = queue.recv().await {
        let bytes = v1::ToRunner { message: Some(message) }.encode_to_vec();
        if futures_util::SinkExt::send(&mut pipe, Bytes::from(bytes)).await.is_err() {
            return;
        }
    }
}

async fn watch(
    mut child: Child,
    stdout: ChildStdout,
    stderr: ChildStderr,
    mut killed: oneshot::Receiver<()>,
    slot: usize,
    generation: u64,
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
                let Some(Ok(frame)) = frame else { break };
                let Ok(v1::FromRunner { message: Some(message) }) = v1::FromRunner::decode(frame) else { break };
                if events.send(Event::Runner(slot, generation, Said::Message(message))).await.is_err() {
                    break;
                }
            }
        }
    }
    // Its output has ended: either it has too, or it is of no more use.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(1), child.wait()).await;
    let _ = child.start_kill();
    let (how, killed) = child.wait().await.map_or_else(|error| (error.to_string(), false), describe);
    let log = log.await.unwrap_or_default();
    // Where its output ended first, it may be this function that has killed it.
    let killed = killed && ended.is_ok();
    let _ = events.send(Event::Runner(slot, generation, Said::Exited { how, killed, log })).await;
}

/// Passes a log on and keeps its last lines.
async fn tail(stderr: ChildStderr) -> String {
    let mut last = VecDeque::with_capacity(LOG_LINES);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::info!(target: "runner", "{line}");
        if last.len() == LOG_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    Vec::from(last).join("\n")
}

fn describe(status: ExitStatus) -> (String, bool) {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        const SIGKILL: i32 = 9;
        return (format!("was killed by signal {signal}"), signal == SIGKILL);
    }
    let how = match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".to_owned(),
    };
    (how, false)
}
