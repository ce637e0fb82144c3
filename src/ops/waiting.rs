//! How long a command that ends by itself waits for the world outside: `--timeout` on each answer. Owns the sentence that gives up.

use std::time::Duration;

use crate::clock::Clock;
use crate::ops::exit::Failure;

/// The patience of one command.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    limit: Duration,
    clock: Clock,
}

impl Patience {
    /// Waits up to `limit` for each answer.
    pub(crate) fn new(limit: Duration, clock: &Clock) -> Self {
        Patience {
            limit,
            clock: clock.clone(),
        }
    }

    /// The limit, for clients that take it themselves.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Time and sleep.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Lets `answer` come, or gives up on `whom`.
    pub(crate) async fn wait<F: Future>(
        &self,
        whom: &str,
        answer: F,
    ) -> Result<F::Output, Failure> {
        self.clock
            .timeout(self.limit, answer)
            .await
            .ok_or_else(|| self.given_up(whom))
    }

    /// The failure of one who did not answer in time.
    pub(crate) fn given_up(&self, whom: &str) -> Failure {
        Failure::unavailable(format!(
            "{whom} did not answer within {:?}; mend it, or wait longer with --timeout",
            self.limit
        ))
    }
}
