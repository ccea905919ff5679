//! `plusminus jobs SWEEP`

use crate::arguments::{JobsArgs, JobsOutput};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sweep_source::SweepSource;
use crate::terminal;
use plusminus_coordinator::StoreError;
use plusminus_core::outcome::FailureKind;
use plusminus_proto::v1;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The digits of a job's id in text; almost always enough for `explain`.
const DIGITS: usize = 12;
/// The columns of text. The last one is not aligned.
const COLUMNS: [&str; 8] = ["job", "state", "cell", "seed", "attempts", "epoch", "worker", "failure"];

const CSV_HEADER: &str = "job,state,cell,label,seed,attempts,worker,epoch,failure,message\n";

pub async fn run(arguments: JobsArgs) -> Result<Exit, CliError> {
    let source = SweepSource::resolve(&arguments.sweep)?;
    let request = v1::JobsRequest {
        sweep: source.name().to_owned(),
        states: arguments.states().cloned().collect(),
        r#where: arguments.conditions.iter().cloned().map(|(key, value)| v1::Condition { key, value }).collect(),
    };
    let client = open(&arguments).await?;
    // One part is printed while the next one is read.
    let (sender, parts) = mpsc::channel(1);
    let print = print(arguments.output, parts);
    tokio::select! {
        (listed, printed) = async { tokio::join!(client.jobs(request, sender), print) } => {
            // After an error, an array has no end.
            listed?;
            if let Some(end) = printed? {
                terminal::data(end)?;
            }
        }
        () = terminal::closed() => {}
    }
    Ok(Exit::Success)
}

/// Prints the parts of a list. Returns what ends the list; nothing if the reader of standard output has gone.
async fn print(output: JobsOutput, mut parts: mpsc::Receiver<v1::JobsPart>) -> Result<Option<&'static str>, CliError> {
    let mut printer = Printer::new(output);
    while let Some(part) = parts.recv().await {
        if !terminal::stream(printer.part(&part.jobs)).await? {
            return Ok(None);
        }
    }
    Ok(Some(printer.end()))
}

async fn open(arguments: &JobsArgs) -> Result<Client, CliError> {
    let opened = Client::open(&arguments.target()).await;
    match (opened, arguments.directory()) {
        (Err(CliError::Store(StoreError::Absent(_))), Some(given)) => {
            Err(CliError::NeitherStateNorDirectory(given.to_owned(), crate::arguments::STATES.join(", ")))
        }
        (opened, _) => opened,
    }
}

/// Prints jobs, part by part.
struct Printer {
    output: JobsOutput,
    /// The widths of columns so far; a wider value in a later part widens what follows.
    widths: [usize; COLUMNS.len()],
    begun: bool,
}

impl Printer {
    fn new(output: JobsOutput) -> Self {
        Printer { output, widths: [0; COLUMNS.len()], begun: false }
    }

    /// Formats the next jobs.
    fn part(&mut self, jobs: &[v1::JobRow]) -> String {
        if jobs.is_empty() {
            return String::new();
        }
        let first = !std::mem::replace(&mut self.begun, true);
        match self.output {
            JobsOutput::Text => self.lines(jobs, first),
            JobsOutput::Json => {
                let job = |(nth, job): (usize, &v1::JobRow)| {
                    let before = if first && nth == 0 { "[\n" } else { ",\n" };
                    format!("{before}  {}", to_json(job))
                };
                jobs.iter().enumerate().map(job).collect()
            }
            JobsOutput::Csv => to_csv(jobs, first),
        }
    }

    /// What follows the last job.
    fn end(self) -> &'static str {
        match (self.output, self.begun) {
            (JobsOutput::Json, true) => "\n]\n",
            (JobsOutput::Json, false) => "[]\n",
            (JobsOutput::Csv, false) => CSV_HEADER,
            (JobsOutput::Text | JobsOutput::Csv, _) => "",
        }
    }

    fn lines(&mut self, jobs: &[v1::JobRow], first: bool) -> String {
        let header = first.then(|| COLUMNS.map(str::to_owned));
        let rows: Vec<_> = header.into_iter().chain(jobs.iter().map(columns)).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let widths = &self.widths;
        let line = |row: &[String; COLUMNS.len()]| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
            cells.join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }
}

fn failure(job: &v1::JobRow) -> Option<(&'static str, &str)> {
    let failure = job.failure.as_ref()?;
    Some((FailureKind::from(failure.kind()).name(), &failure.message))
}

fn columns(job: &v1::JobRow) -> [String; COLUMNS.len()] {
    let v1::JobRow { job: id, label, seed, state, attempts, worker, epoch, .. } = job;
    let dash = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    let failure = match failure(job) {
        // The state says so.
        Some(("diverged", message)) => message.to_owned(),
        Some((kind, message)) => format!("{kind}: {message}"),
        None => String::new(),
    };
    [
        id.get(..DIGITS).unwrap_or(id).to_owned(),
        state.clone(),
        dash(label),
        seed.to_string(),
        attempts.to_string(),
        epoch.to_string(),
        dash(worker),
        failure,
    ]
}

fn to_json(job: &v1::JobRow) -> Value {
    json!({
        "job": job.job,
        "state": job.state,
        "cell": job.cell,
        "label": job.label,
        "seed": job.seed,
        "attempts": job.attempts,
        "worker": (!job.worker.is_empty()).then_some(&job.worker),
        "epoch": job.epoch,
        "failure": failure(job).map(|(kind, message)| json!({ "kind": kind, "message": message })),
    })
}

fn to_csv(jobs: &[v1::JobRow], header: bool) -> String {
    let mut text = String::new();
    if header {
        text += CSV_HEADER;
    }
    for job in jobs {
        let (kind, message) = failure(job).unwrap_or_default();
        let (seed, attempts, epoch) = (job.seed.to_string(), job.attempts.to_string(), job.epoch.to_string());
        let fields: [&str; 10] =
            [&job.job, &job.state, &job.cell, &job.label, &seed, &attempts, &job.worker, &epoch, kind, message];
        text += &fields.map(quoted).join(",");
        text.push('\n');
    }
    text
}

/// A field of CSV, in quotes where it needs them.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs() -> [v1::JobRow; 2] {
        let running = v1::JobRow {
            job: "3f2a9c0d11223344556677889900aabb".to_owned(),
            cell: "c".to_owned(),
            label: "gce · uniform 0.4".to_owned(),
            seed: 2,
            state: "running".to_owned(),
            attempts: 1,
            worker: "w-1".to_owned(),
            epoch: 3,
            failure: None,
        };
        let kind = v1::FailureKind::UserError.into();
        let failure = v1::Failure { kind, message: "no data set \"mnist\", here".to_owned() };
        let failed = v1::JobRow {
            state: "failed".to_owned(),
            worker: String::new(),
            failure: Some(failure),
            label: String::new(),
            ..running.clone()
        };
        [running, failed]
    }

    #[test]
    fn text_has_aligned_columns_and_one_header() {
        let mut printer = Printer::new(JobsOutput::Text);
        let text = printer.part(&jobs()) + &printer.part(&jobs()[..1]);
        let lines = [
            "job           state    cell               seed  attempts  epoch  worker  failure",
            "3f2a9c0d1122  running  gce · uniform 0.4  2     1         3      w-1",
            "3f2a9c0d1122  failed   –                  2     1         3      –       user-error: no data set \"mnist\", here",
            "3f2a9c0d1122  running  gce · uniform 0.4  2     1         3      w-1",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn json_in_parts_is_one_array() {
        for parts in [&[][..], &[2], &[1, 2], &[1, 0, 1]] {
            let mut printer = Printer::new(JobsOutput::Json);
            let text: String = parts.iter().map(|jobs_in_part| printer.part(&jobs()[..*jobs_in_part])).collect();
            let array: Vec<Value> = serde_json::from_str(&(text + printer.end())).unwrap();
            assert_eq!(array.len(), parts.iter().sum::<usize>());
        }
    }

    #[test]
    fn csv_quotes_fields_with_commas_and_quotes() {
        let text = to_csv(&jobs(), true);
        assert!(text.starts_with("job,state,cell,label,seed,"), "{text}");
        assert!(text.ends_with(",2,1,,3,user-error,\"no data set \"\"mnist\"\", here\"\n"), "{text}");
    }
}
