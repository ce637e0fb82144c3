//! SIGTERM and SIGINT: the first drains, the second or the end of `shutdown_grace` exits now. Owns that order; what draining means is the pipeline's.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::ops::exit::Failure;

/// The two signals that ask a process to end.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over both signals; needs a runtime around it.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::bug(format!("cannot listen for signals: {error}")))
        };
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for either and names it.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Calls `drain` on the first signal and returns when it is time to exit at once: on the second, or after `grace`.
    pub(crate) async fn watch(mut self, drain: impl FnOnce(), grace: Duration, clock: &Clock) {
        let signal = self.next().await;
        tracing::info!(
            signal,
            grace_seconds = grace.as_secs(),
            "draining; a second signal exits now"
        );
        drain();
        match clock.timeout(grace, self.next()).await {
            Some(signal) => tracing::warn!(
                signal,
                "exiting now; what is not committed will be read again"
            ),
            None => tracing::warn!(
                grace_seconds = grace.as_secs(),
                "the drain took longer than shutdown_grace; exiting now, what is not committed will be read again"
            ),
        }
    }
}
