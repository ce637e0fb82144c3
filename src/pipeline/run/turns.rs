//! The turns of a run, until it is done or stopped; then the drain and the order of leaving. Decides nothing about records.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::pipeline::caught_up::is_caught_up;
use crate::pipeline::control::Control;
use crate::pipeline::error::Error;
use crate::pipeline::family::Family;
use crate::pipeline::flusher::FlusherCommand;
use crate::pipeline::run::Run;
use crate::pipeline::run::start::Started;

/// How often a run that ends by itself looks at topic partitions that others own.
const REFRESH: Duration = Duration::from_secs(1);

impl Run<'_> {
    pub(super) fn turns(
        &self,
        mut started: Started,
        mut suspended: Vec<(String, String)>,
    ) -> Result<(), Error> {
        let result = self.turn_until_done(&mut started);
        let drained = if result.is_ok() {
            self.drain(&mut started.control)
        } else {
            Ok(())
        };
        // After the drain: a table that came to its end and is suspended by its last records says so at the last.
        suspended.extend(started.control.suspended());
        // While the lanes still know which topic partitions are this process's own.
        started.upkeep.end(&self.surroundings.clock);
        started.control.stop_lanes();
        for thread in started.threads {
            if thread.join().is_err() {
                return Err(Error::Bug("a lane ended in a panic".to_owned()));
            }
        }
        started.control.group.close();
        result?;
        drained?;
        if suspended.is_empty()
            || (self.surroundings.stop.is_asked() && !self.options.until_caught_up)
        {
            return Ok(());
        }
        Err(Error::Suspended { tables: suspended })
    }

    fn turn_until_done(&self, started: &mut Started) -> Result<(), Error> {
        let clock = &self.surroundings.clock;
        let mut refreshed = clock.now();
        loop {
            if self.surroundings.stop.is_asked() {
                return Ok(());
            }
            started.control.turn()?;
            self.grow(started)?;
            if started.threads.iter().any(JoinHandle::is_finished) {
                return Err(Error::Bug("a lane ended early".to_owned()));
            }
            let control = &started.control;
            let is_suspended = |family: &Family| family.suspended.is_some();
            if control.families.values().all(is_suspended) {
                return Ok(());
            }
            let Some(targets) = &started.targets else {
                continue;
            };
            let done = control.families.values().all(|family| {
                is_suspended(family)
                    || family.tables.values().all(|table| {
                        let of_table = targets.iter().filter(|(it, _)| table.reads(&it.topic));
                        is_caught_up(
                            &of_table.map(|(it, end)| (it.clone(), *end)).collect(),
                            &table.share.committed(),
                        )
                    })
            });
            if done {
                return Ok(());
            }
            let now = clock.now();
            if let Some((since, reason)) = &control.trouble
                && now.since(*since) >= self.options.timeout
            {
                return Err(Error::TimedOut {
                    waited_s: now.since(*since).as_secs(),
                    reason: reason.clone(),
                });
            }
            if now.since(refreshed) >= REFRESH {
                refreshed = now;
                // What this process owns shows in its own commits; only what others own must be read from the table.
                let elsewhere = control.families.values().flat_map(|family| {
                    family.tables.values().filter(|table| {
                        let mut of_table = targets.keys().filter(|it| table.reads(&it.topic));
                        of_table.any(|it| !family.owned.contains(it))
                    })
                });
                for table in elsewhere {
                    // A flusher that is busy is asked again a second later.
                    drop(table.flusher.try_send(FlusherCommand::Refresh));
                }
            }
        }
    }

    /// Takes up what was found meanwhile, when the group waits for no answer.
    fn grow(&self, started: &mut Started) -> Result<(), Error> {
        if !started.control.is_settled() {
            return Ok(());
        }
        let mut all = Vec::new();
        while let Ok(found) = started.growing.found.try_recv() {
            all.extend(found);
        }
        if all.is_empty() {
            return Ok(());
        }
        for flusher in started.control.grow(all, &started.growing.parts)? {
            started.upkeep.add(Arc::clone(&flusher.share));
            self.runtime.spawn(flusher.run());
        }
        Ok(())
    }

    /// Lets every flusher commit what there is, within `shutdown_grace`, while the group is served on.
    fn drain(&self, control: &mut Control) -> Result<(), Error> {
        let clock = &self.surroundings.clock;
        let until = clock.now().after(self.config.shutdown_grace);
        let mut waiting: Vec<_> = control.families.values().flat_map(Family::drain).collect();
        while clock.now() < until {
            control.turn()?;
            waiting.retain_mut(|answer| {
                matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty))
            });
            if waiting.is_empty() {
                control.turn()?;
                // A table that stops at its last records waits for the others of its family.
                if control.stopping.is_empty() {
                    return Ok(());
                }
            }
        }
        Err(Error::Grace {
            grace_s: self.config.shutdown_grace.as_secs(),
        })
    }
}
