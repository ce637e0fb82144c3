//! The command line: names, help and refusals. Owns what is accepted; runs nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
   0  done; also after SIGTERM or SIGINT, since nothing is lost
   2  invalid request or config
   3  unavailable: a broker, the registry or the store does not answer
   4  superseded: another owner commits to the table
   5  corrupt or incompatible: findings, a suspended table
  70  a bug of Lakeward

LAKEWARD_LOG sets what is logged (`debug`, `lakeward=debug,info`); logs go to stderr, as text on a terminal and as JSON otherwise.";

const RUN: &str = "Runs the sink until SIGTERM or SIGINT. It waits out a broker, registry or store that is down, logs one sentence and answers 503 on /readyz.

SIGTERM drains: it seals and commits what is read, leaves the group and ends with exit 0 within `shutdown_grace`. A second one exits now, also with 0: what is not committed is read again by the next owner.

Example:
  lakeward run -c lakeward.yaml
  lakeward run -c lakeward.yaml --until-caught-up     # a batch job: ends once everything that was there at the start is committed";

const DEMO: &str = "Starts a broker and a schema registry inside this process, produces realistic Avro orders, sinks them with the real pipeline, then audits that every record is in the table exactly once, field by field. It opens no connection beyond loopback.

Example:
  lakeward demo
  lakeward demo --records 1000000 --dir /tmp/orders-demo";

const VALIDATE: &str = "Checks a config and prints every problem at once, with path, line, column and a suggestion. With --connect it also asks the world outside: brokers, topics, permissions, registry, store (including whether its put-if-absent is real) and whether existing tables fit.

Example:
  lakeward validate -c lakeward.yaml
  lakeward validate -c lakeward.yaml --connect --format json";

const PLAN: &str = "Says what `run` would do with each table, and does none of it: the statement that makes the table, or the columns that it gets; where each topic partition starts, and why; what becomes of a sample of the records from there, with code, field and coordinates of each that is rejected; the table partitions that they fall into; the protocol that readers need. It reads topics, registry and tables; it joins no consumer group and writes nothing.

Exit 0 says that nothing stands in the way; 2, 3 or 5 that something does, which is printed with the plan. Rejected records in the sample are no problem of the plan.

Example:
  lakeward plan -c lakeward.yaml
  lakeward plan -c lakeward.yaml --sample 10000 --format json";

const OFFSETS_SHOW: &str = "Shows, for each table and topic partition, the committed offset as the table holds it, the end of the topic partition as the broker says, and the difference. The offsets of the consumer group are not asked: the table is the only truth about progress.

Example:
  lakeward offsets show -c lakeward.yaml --table orders";

const OFFSETS_SET: &str = "Says where a topic partition goes on. It is a commit to the table with its reason; a live sink is superseded by it and reads the table again. Forward: the offsets between are recorded as lost. Backward: their records come into the table a second time, so it needs --allow-duplicates, and begins the next incarnation.

Example:
  lakeward offsets set -c lakeward.yaml --table orders --topic shop.orders --partition 3 --to 120000 --reason 'poison records of ticket 17'";

const RESUME: &str = "Lifts the suspension of a table, for every instance. What stands between the table and its topics is accepted once, each cause by its id: a topic that was created again is taken from its start, expired offsets are recorded as lost, a truncated log is read on as the next incarnation. It prints what it accepted. Instances that run see the commit and go on; one that ended with exit 5 is to be started again.

Example:
  lakeward resume -c lakeward.yaml --table orders";

const VERIFY: &str = "Audits tables from their log and files alone. It checks that the spans of offsets tile without gap or overlap up to the committed offsets, that no file is added twice, and that every live file is there with its size. It says what it could not prove. Exit 0: no finding; exit 5: findings.

Example:
  lakeward verify -c lakeward.yaml
  lakeward verify -c lakeward.yaml --table orders --deep --against-kafka";

const MAINTAIN: &str = "Keeps tables fast, beside a running sink, beside other engines, or alone: merges small files, writes checkpoints and proves them, removes old log entries and files that no version needs. Any Delta table under `storage.url` can be named in the config. It may be killed at any time; several may run at once.

`lakeward run` does the same for the tables that it feeds. With --once, exit 5 says that a file could not be read; it is named and left alone.

Example:
  lakeward maintain -c lakeward.yaml --dry-run
  lakeward maintain -c lakeward.yaml --once --only compact,checkpoint
  lakeward maintain -c lakeward.yaml --table orders";

const DLQ_LIST: &str = "Counts the rejected records of a table by code and field, with when it happened and one example's coordinates. It reads the table of rejected records (`errors.table`) and changes nothing.

Example:
  lakeward dlq list -c lakeward.yaml --table orders";

const DLQ_SHOW: &str = "Shows rejected records with their coordinates, code, field and message, newest files first. With --format json also key, value and headers: as text where they are UTF-8, else as base64.

Example:
  lakeward dlq show -c lakeward.yaml --table orders --code type_mismatch --limit 5
  lakeward dlq show -c lakeward.yaml --table orders --partition 3 --offset 4711 --format json";

const DLQ_REPLAY: &str = "Decodes the rejected records of a table again, under today's config and schemas, after the cause was mended. Each one that is a row now is added to the table and leaves the table of rejected records, exactly once: a replay may run beside the sink, be killed at any step, and be run again. What still cannot be decoded stays, with today's reason; what was kept without its bytes (`errors.raw: false`) stays too. Files of rejected records that were taken out remain readable by time travel until vacuum removes them.

Example:
  lakeward dlq replay -c lakeward.yaml --table orders";

const REFERENCE: &str = "Prints a reference page generated from the program itself.

Example:
  lakeward reference config > CONFIG.md
  lakeward reference schema > lakeward.schema.json    # for editors";

/// Carries Kafka topics into Delta Lake tables, exactly once.
#[derive(Debug, Parser)]
#[command(name = "lakeward", version, arg_required_else_help = true, after_help = EXIT_CODES, max_term_width = 110)]
#[command(
    long_about = "Carries Kafka topics into Delta Lake tables, exactly once: rows and consumer offsets are in the same Delta commit.

Try it, with nothing set up:    lakeward demo
Check a config:                 lakeward validate -c lakeward.yaml --connect
See what a run would do:        lakeward plan -c lakeward.yaml
Run the sink:                   lakeward run -c lakeward.yaml
Audit what it wrote:            lakeward verify -c lakeward.yaml --deep --against-kafka"
)]
pub(crate) struct Cli {
    /// How long a command that ends by itself waits for a broker, the registry or the store before it gives up with exit 3
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands of CONTRACT.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the sink
    #[command(long_about = RUN)]
    Run(Run),
    /// See the whole product work on an embedded broker, with no set-up and no network
    #[command(long_about = DEMO)]
    Demo(Demo),
    /// Check a config: every problem at once
    #[command(long_about = VALIDATE)]
    Validate(Validate),
    /// Show how far the tables are, or say where they go on
    #[command(subcommand)]
    Offsets(Offsets),
    /// Lift a suspension, for every instance
    #[command(long_about = RESUME)]
    Resume(Resume),
    /// Audit tables: every record once, every file there
    #[command(long_about = VERIFY)]
    Verify(Verify),
    /// Keep tables fast: compaction, checkpoints, log clean-up, vacuum
    #[command(long_about = MAINTAIN)]
    Maintain(Maintain),
    /// Print a generated reference page
    #[command(long_about = REFERENCE)]
    Reference(Reference),
    /// See what a run would do: tables, columns, starts, some records; writes nothing
    #[command(long_about = PLAN)]
    Plan(Plan),
    /// Look at rejected records, and decode them again
    #[command(subcommand)]
    Dlq(Dlq),
}

/// The file that every command about tables starts from.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The config file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) path: PathBuf,
}

/// The form of a command's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// End with exit 0 once the tables have committed everything that the topics held at the start, and with exit 5 if a table is suspended
    #[arg(long)]
    pub(crate) until_caught_up: bool,
    /// Run only this table; may be repeated
    #[arg(long = "table", value_name = "NAME")]
    pub(crate) tables: Vec<String>,
}

/// `demo`
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many orders to produce
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
    pub(crate) records: u64,
    /// Where the table goes; refused when it holds anything
    #[arg(long, value_name = "DIR", default_value = "./lakeward-demo")]
    pub(crate) dir: PathBuf,
}

/// `validate`
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Also check what the config points to; writes nothing but a scratch key that it removes
    #[arg(long)]
    pub(crate) connect: bool,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// `plan`
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// How many records of each table are read and decoded; 0 reads none
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = sample_size)]
    pub(crate) sample: usize,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// `offsets ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Offsets {
    /// Committed offsets, end offsets and lag by table and topic partition
    #[command(long_about = OFFSETS_SHOW)]
    Show(OffsetsShow),
    /// Say where a topic partition goes on, in a commit with a reason
    #[command(long_about = OFFSETS_SET)]
    Set(OffsetsSet),
}

/// `offsets show`
#[derive(Debug, Args)]
pub(crate) struct OffsetsShow {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Only this table; may be repeated
    #[arg(long = "table", value_name = "NAME")]
    pub(crate) tables: Vec<String>,
    /// Only this topic
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Only topic partitions of this number
    #[arg(long)]
    pub(crate) partition: Option<i32>,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// `offsets set`
#[derive(Debug, Args)]
pub(crate) struct OffsetsSet {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// The table
    #[arg(long, value_name = "NAME")]
    pub(crate) table: String,
    /// The topic
    #[arg(long)]
    pub(crate) topic: String,
    /// The number of the topic partition
    #[arg(long)]
    pub(crate) partition: i32,
    /// The next offset to read
    #[arg(long, value_name = "OFFSET")]
    pub(crate) to: i64,
    /// Why; it is kept in the table's history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Allow going back: records from there on are in the table twice, the second time in the next incarnation
    #[arg(long)]
    pub(crate) allow_duplicates: bool,
}

/// `resume`
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// The table
    #[arg(long, value_name = "NAME")]
    pub(crate) table: String,
}

/// `verify`
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Only this table; may be repeated
    #[arg(long = "table", value_name = "NAME")]
    pub(crate) tables: Vec<String>,
    /// Also read the data: row counts, statistics, and no coordinates twice or outside of a committed span
    #[arg(long)]
    pub(crate) deep: bool,
    /// Also read the topics, and find each of their records once in the table; implies --deep
    #[arg(long)]
    pub(crate) against_kafka: bool,
}

/// `maintain`
#[derive(Debug, Args)]
pub(crate) struct Maintain {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Only this table; may be repeated
    #[arg(long = "table", value_name = "NAME")]
    pub(crate) tables: Vec<String>,
    /// Only these tasks, separated by commas
    #[arg(long, value_name = "TASKS", value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<MaintainTask>,
    /// Print what would be done; writes and deletes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do what there is to do and end, instead of staying
    #[arg(long)]
    pub(crate) once: bool,
}

/// The tasks of `maintain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MaintainTask {
    /// Merge small files.
    Compact,
    /// Write a checkpoint that is due.
    Checkpoint,
    /// Remove old entries of the log.
    CleanLog,
    /// Remove files that no version needs.
    Vacuum,
}

/// `dlq ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// How many records were rejected, by code and field
    #[command(long_about = DLQ_LIST)]
    List(DlqList),
    /// Rejected records one by one
    #[command(long_about = DLQ_SHOW)]
    Show(DlqShow),
    /// Decode rejected records again, into their table
    #[command(long_about = DLQ_REPLAY)]
    Replay(DlqReplay),
}

/// `dlq list`
#[derive(Debug, Args)]
pub(crate) struct DlqList {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// The table whose records were rejected
    #[arg(long, value_name = "NAME")]
    pub(crate) table: String,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// `dlq show`
#[derive(Debug, Args)]
pub(crate) struct DlqShow {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// The table whose records were rejected
    #[arg(long, value_name = "NAME")]
    pub(crate) table: String,
    /// Only records with this code
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// Only this topic
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Only topic partitions of this number
    #[arg(long)]
    pub(crate) partition: Option<i32>,
    /// Only this offset
    #[arg(long)]
    pub(crate) offset: Option<i64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// `dlq replay`
#[derive(Debug, Args)]
pub(crate) struct DlqReplay {
    /// The config file
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// The table whose records were rejected
    #[arg(long, value_name = "NAME")]
    pub(crate) table: String,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// `reference`
#[derive(Debug, Args)]
pub(crate) struct Reference {
    /// Which page
    #[arg(value_enum)]
    pub(crate) page: Page,
}

/// The reference pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// Every config key, in Markdown
    Config,
    /// The config as JSON Schema
    Schema,
    /// Every metric family, in Markdown
    Metrics,
    /// Error kinds, exit codes and what to do, in Markdown
    Errors,
    /// What each source type becomes in a table, in Markdown
    Types,
}

impl Command {
    /// Whether it stays until it is told to end, so that its log is its voice.
    pub(crate) fn is_resident(&self) -> bool {
        matches!(self, Command::Run(_))
            || matches!(self, Command::Maintain(request) if !request.once && !request.dry_run)
    }
}

/// A number of records that fits into memory.
fn sample_size(text: &str) -> Result<usize, String> {
    const MAX: usize = 100_000;
    let size = text.parse::<usize>().ok().filter(|size| *size <= MAX);
    size.ok_or_else(|| format!("`{text}` is no number of records from 0 to {MAX}"))
}

/// A duration with its unit: `500ms`, `30s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("`{text}` is no duration; write a number with ms, s, m or h, such as `30s`");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(refused)?;
    let (number, unit) = text.split_at_checked(digits).ok_or_else(refused)?;
    let number: u64 = number.parse().map_err(|_| refused())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refused()),
    };
    match number.checked_mul(unit_ms) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        Some(_) => Err(format!("`{text}` leaves no time at all")),
        None => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn usage_errors_exit_with_2_and_help_with_0() {
        for (line, code) in [
            ("lakeward", 2),
            ("lakeward run", 2),
            ("lakeward fly", 2),
            ("lakeward demo --records 0", 2),
            ("lakeward plan -c x --sample 100001", 2),
            ("lakeward --help", 0),
            ("lakeward --version", 0),
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), code, "{line}");
        }
    }

    #[test]
    fn help_teaches_with_an_example_and_the_exit_codes() {
        let help = parse("lakeward --help").unwrap_err().to_string();
        assert!(
            help.contains("lakeward demo") && help.contains("Exit codes:"),
            "{help}"
        );
        for command in [
            "run",
            "demo",
            "validate",
            "plan",
            "verify",
            "maintain",
            "reference",
            "resume",
        ] {
            let help = parse(&format!("lakeward {command} --help"))
                .unwrap_err()
                .to_string();
            assert!(help.contains("Example:"), "{command}: {help}");
        }
    }

    #[test]
    fn the_timeout_is_global_and_carries_a_unit() {
        assert_eq!(
            parse("lakeward demo").unwrap().timeout,
            Duration::from_secs(30)
        );
        assert_eq!(
            parse("lakeward verify -c x --timeout 500ms")
                .unwrap()
                .timeout,
            Duration::from_millis(500)
        );
        for wrong in ["30", "s", "1.5s", "0s", "99999999999999999h", "-3s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
