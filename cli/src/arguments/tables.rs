//! Arguments of the commands that print tables: `table`, `compare`, `significance`.

use super::output::format_parser;
use super::parse::{decimals, level};
use super::target::{SweepArgs, TargetArgs};
use clap::Args;
use plusminus_core::report::Format;

const TABLE_EXAMPLES: &str = "\
Examples:
  # Print a sweep's table for a paper
  plusminus table fashion-mnist --format latex

  # Show the validation accuracy at its best epoch instead
  plusminus table fashion-mnist --metric validation_accuracy --at best-validation

  # Lay the results out as an edited sweep file says; nothing trains again
  plusminus table sweeps/fashion-mnist.yaml";

const COMPARE_EXAMPLES: &str = "\
Examples:
  # Compare a sweep with the results that its `table.reference` names
  plusminus compare fashion-mnist

  # Compare with a table that ships, or with one of your own
  plusminus compare fashion-mnist --reference gce-table1
  plusminus compare fashion-mnist --reference published.yaml --alpha 0.01";

/// The table that `table`, `compare` and `significance` start from.
#[derive(Debug, Args)]
pub struct TableOfSweepArgs {
    /// The sweep.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Where the results are.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Output format
    #[arg(long, value_name = "FORMAT", default_value_t, value_parser = format_parser())]
    pub format: Format,
    /// Metric to show, such as test_accuracy [default: the sweep file's]
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,
    /// Epoch to show: final, best, best-validation, best-validation-loss, or a mean such as last-10-mean [default: the
    /// sweep file's]
    #[arg(long, value_name = "EPOCH")]
    pub at: Option<String>,
    /// Decimals of printed means and deviations, from 0 to 10 [default: the sweep file's, or 2 for per cent and as many
    /// as the deviations need for other metrics]
    #[arg(long, value_name = "N", value_parser = decimals)]
    pub decimals: Option<u8>,
}

/// `table`
#[derive(Debug, Args)]
#[command(after_help = TABLE_EXAMPLES)]
pub struct TableArgs {
    /// The table.
    #[command(flatten)]
    pub table: TableOfSweepArgs,
}

/// `compare`
#[derive(Debug, Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct CompareArgs {
    /// The table.
    #[command(flatten)]
    pub table: TableOfSweepArgs,
    /// Published results: a name that ships, or a file [default: the sweep file's `table.reference`]
    #[arg(long, value_name = "NAME|FILE")]
    pub reference: Option<String>,
    /// Significance level of the test, above 0 and below 1
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = level)]
    pub alpha: f64,
}

/// `significance`
#[derive(Debug, Args)]
pub struct SignificanceArgs {
    /// The table.
    #[command(flatten)]
    pub table: TableOfSweepArgs,
    /// Significance level of the tests, above 0 and below 1
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = level)]
    pub alpha: f64,
}
