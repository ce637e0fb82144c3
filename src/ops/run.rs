//! `lakeward run`: the pipeline on this thread, HTTP and signals on their own. Owns the process's life; the sink itself is `pipeline`.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::ops::cli::Run;
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::http::{self, Actions, Lift, View};
use crate::ops::signals::Signals;
use crate::ops::waiting::Patience;
use crate::ops::way_out;
use crate::ops::wiring;
use crate::pipeline::{self, Orders, RunOptions, Status, Stop, Surroundings};

/// Runs the sink to its end.
pub(crate) fn run(request: &Run, patience: &Patience) -> Outcome {
    let clock = patience.clock();
    let config = wiring::config(&request.config)?;
    if config.patterns.is_empty() {
        wiring::tables(&config, &request.tables)?;
    }
    let metrics = Arc::new(Metrics::new(&config.name));
    let status = Status::default();
    let stop = Stop::default();
    let orders = Orders::default();
    let runtime = http::beside()?;
    let view = View {
        name: config.name.clone(),
        snapshot: snapshot_of(&status),
        metrics: Arc::clone(&metrics),
        actions: Actions {
            orders: orders.clone(),
            token: config.http.token.clone(),
            lift: lift(&config, patience),
        },
        clock: clock.clone(),
    };
    let listener = runtime.block_on(http::bind(config.http.listen))?;
    tracing::info!(name = config.name, tables = config.tables.len(), patterns = config.patterns.len(), http = %config.http.listen, version = env!("CARGO_PKG_VERSION"), "starting");
    runtime.spawn(http::serve(
        listener,
        http::router(Arc::new(view)),
        clock.clone(),
    ));
    exit_on_signals(&runtime, &stop, &config, clock)?;
    let options = RunOptions {
        until_caught_up: request.until_caught_up,
        tables: request.tables.clone(),
        timeout: patience.limit(),
    };
    let surroundings = Surroundings {
        clock: clock.clone(),
        metrics,
        status,
        stop,
        orders,
    };
    pipeline::run(&config, &options, &surroundings)
        .map_err(|error| Failure::new(error.kind(), error))?;
    tracing::info!("ended");
    Ok(Ending::Done)
}

fn snapshot_of(status: &Status) -> Box<dyn Fn() -> pipeline::status::StatusSnapshot + Send + Sync> {
    let status = status.clone();
    Box::new(move || status.snapshot())
}

fn lift(config: &Config, patience: &Patience) -> Lift {
    let (config, patience) = (Arc::new(config.clone()), patience.clone());
    Box::new(move |table| {
        let (config, patience) = (Arc::clone(&config), patience.clone());
        Box::pin(async move { way_out::lift(&config, &table, &patience).await })
    })
}

fn exit_on_signals(
    runtime: &Runtime,
    stop: &Stop,
    config: &Config,
    clock: &Clock,
) -> Result<(), Failure> {
    let signals = runtime.block_on(async { Signals::listen() })?;
    let (stop, grace, clock) = (stop.clone(), config.shutdown_grace, clock.clone());
    runtime.spawn(async move {
        let drain = || {
            stop.drain();
            // Nothing was consumed: a question to Kafka or the store that is still open need not be waited for.
            if !stop.is_consuming() {
                std::process::exit(0);
            }
        };
        signals.watch(drain, grace, &clock).await;
        std::process::exit(0);
    });
    Ok(())
}
