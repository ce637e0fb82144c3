//! What a person touches: the commands, the HTTP listener, logs, signals and exit codes. Owns the process; decides nothing about data.

mod cli;
mod demo;
mod dlq;
mod exit;
mod http;
mod kafka;
mod logging;
mod maintain;
mod offsets;
mod output;
mod plan;
mod progress;
mod reference;
mod run;
mod signals;
mod stored_file;
mod validate;
mod verify;
mod waiting;
mod way_out;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;

use crate::clock::Clock;
use crate::ops::cli::{Cli, Command, Dlq, Offsets};
use crate::ops::exit::Outcome;
use crate::ops::logging::Default;
use crate::ops::waiting::Patience;

/// Runs the command that the process was started with, to its exit code.
pub fn main() -> ExitCode {
    exit::install_panic_hook();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version come this way too, with exit 0. A closed stdout is no error.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    exit::finish(dispatch(cli, &Clock::machine()))
}

fn dispatch(cli: Cli, clock: &Clock) -> Outcome {
    let default = if cli.command.is_resident() {
        Default::Lifecycle
    } else {
        Default::Trouble
    };
    logging::start(default, clock)?;
    let patience = Patience::new(cli.timeout, clock);
    match cli.command {
        Command::Run(request) => run::run(&request, &patience),
        Command::Demo(request) => demo::demo(&request, &patience),
        Command::Validate(request) => validate::validate(&request, &patience),
        Command::Offsets(Offsets::Show(request)) => offsets::show(&request, &patience),
        Command::Verify(request) => verify::verify(&request, &patience),
        Command::Maintain(request) => maintain::maintain(&request, &patience),
        Command::Dlq(Dlq::List(request)) => dlq::list(&request, &patience),
        Command::Dlq(Dlq::Show(request)) => dlq::show(&request, &patience),
        Command::Dlq(Dlq::Replay(request)) => dlq::replay(&request, &patience),
        Command::Reference(request) => reference::print(request.page),
        Command::Offsets(Offsets::Set(request)) => way_out::set_offset(&request, &patience),
        Command::Resume(request) => way_out::resume(&request, &patience),
        Command::Plan(request) => plan::plan(&request, &patience),
    }
}
