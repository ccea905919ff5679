//! `plusminus watch SWEEP`

use crate::arguments::{Output, TargetArgs, WatchArgs};
use crate::client::LiveClient;
use crate::commands::status::sweep_json;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::terminal::{self, SweepProgress};
use crate::{outcome, signals};
use plusminus_coordinator::answer::as_submitted;
use plusminus_core::sweep_file::Sweep;
use plusminus_proto::parts::WatchedStatus;
use plusminus_proto::v1;
use std::time::{Duration, Instant};

/// How long a watch waits for a coordinator that does not answer.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The first and the longest pause between two attempts to reach it.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(10)];

pub async fn run(arguments: WatchArgs) -> Result<Exit, CliError> {
    let source = SweepSource::resolve(&arguments.sweep)?;
    let mut client = LiveClient::open(&arguments.target).await?;
    let sweep = match &source {
        SweepSource::File(file) => file.sweep.clone(),
        SweepSource::Name(name) => as_submitted(&client.source(name).await?, name)?,
    };
    let mut display = Display::new(&sweep, arguments.output);
    let status = tokio::select! {
        status = follow_across_restarts(client, &arguments.target, &sweep, &mut display) => status?,
        () = signals::stop_requested() => return Ok(Exit::Interrupted),
        () = terminal::closed() => None,
    };
    display.finish();
    // Without a status, the reader of standard output has gone.
    let Some(status) = status else { return Ok(Exit::Success) };
    outcome::print_failures(&status, sweep.table.diverged);
    Ok(outcome::exit_code(&status, sweep.table.diverged))
}

/// Shows a sweep's progress until its last job has ended, and returns its last status.
///
/// # Errors
/// If there is no such sweep, or the coordinator stops before.
pub async fn follow(client: &mut LiveClient, sweep: &Sweep, output: Output) -> Result<v1::SweepStatus, CliError> {
    let mut display = Display::new(sweep, output);
    let ended = follow_connection(client, sweep, &mut display).await;
    display.finish();
    match ended? {
        Ended::Over(status) => Ok(status),
        Ended::Stopped | Ended::ReaderGone => {
            Err(CliError::Coordinator("it stopped before the sweep ended".to_owned()))
        }
    }
}

/// Why a connection is not followed any further.
enum Ended {
    /// The sweep is over.
    Over(v1::SweepStatus),
    /// The coordinator stopped.
    Stopped,
    /// The reader of standard output has gone.
    ReaderGone,
}

/// Follows a sweep, also across restarts of its coordinator. Returns nothing if the reader of standard output has gone.
async fn follow_across_restarts(
    mut client: LiveClient,
    target: &TargetArgs,
    sweep: &Sweep,
    display: &mut Display,
) -> Result<Option<v1::SweepStatus>, CliError> {
    let mut outage = Outage::begin();
    loop {
        let shown = display.shown;
        match follow_connection(&mut client, sweep, display).await {
            Ok(Ended::Over(status)) => return Ok(Some(status)),
            Ok(Ended::ReaderGone) => return Ok(None),
            // The first request tells whether there is such a sweep and a coordinator.
            Err(error) if !error.is_passing() || display.shown == 0 => return Err(error),
            Ok(Ended::Stopped) | Err(_) => {}
        }
        if display.shown > shown {
            display.note("the coordinator does not answer; the watch continues when it is back (Ctrl-C ends it)");
            outage = Outage::begin();
        }
        client = outage.reconnect(target).await?;
    }
}

/// A time without a coordinator.
struct Outage {
    begun: Instant,
    pause: Duration,
}

impl Outage {
    fn begin() -> Self {
        Outage { begun: Instant::now(), pause: PAUSES[0] }
    }

    /// Connects again once the coordinator is back.
    async fn reconnect(&mut self, target: &TargetArgs) -> Result<LiveClient, CliError> {
        loop {
            tokio::time::sleep(self.pause).await;
            self.pause = (2 * self.pause).min(PAUSES[1]);
            match LiveClient::open(target).await {
                Ok(client) => return Ok(client),
                Err(error) if error.is_passing() && self.begun.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
        }
    }
}

async fn follow_connection(client: &mut LiveClient, sweep: &Sweep, display: &mut Display) -> Result<Ended, CliError> {
    let mut updates = client.watch(sweep.name.as_str()).await?;
    let mut whole = WatchedStatus::default();
    while let Some(update) = updates.message().await.map_err(|status| client.refused(status, None))? {
        let Some(status) = whole.take(update) else { continue };
        if !display.show(&status).await? {
            return Ok(Ended::ReaderGone);
        }
        if status.is_over() {
            return Ok(Ended::Over(status));
        }
    }
    Ok(Ended::Stopped)
}

/// Shows statuses: bars or lines on standard error, or JSON on standard output.
struct Display {
    progress: Option<SweepProgress>,
    /// The number of statuses shown.
    shown: u64,
}

impl Display {
    fn new(sweep: &Sweep, output: Output) -> Self {
        Display { progress: (output == Output::Text).then(|| SweepProgress::new(sweep)), shown: 0 }
    }

    /// Shows a status. Returns whether there is still a reader.
    async fn show(&mut self, status: &v1::SweepStatus) -> Result<bool, CliError> {
        self.shown += 1;
        match &mut self.progress {
            Some(progress) => {
                progress.show(status);
                Ok(true)
            }
            None => terminal::stream(format!("{}\n", sweep_json(status))).await,
        }
    }

    fn note(&self, text: &str) {
        self.progress.as_ref().map_or_else(|| terminal::note(text), |progress| progress.note(text));
    }

    fn finish(self) {
        if let Some(progress) = self.progress {
            progress.finish();
        }
    }
}
