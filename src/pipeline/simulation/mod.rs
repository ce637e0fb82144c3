//! The seeded simulation: whole instances (control, lanes, flusher, commit, as `assembly` puts them together) over a scripted Kafka, a store at the far end of a bad line,
//! and virtual time, on one thread. The same seed gives the same trace. Owns the schedule; `script` owns what goes wrong, `oracle` what must hold.
//!
//! Simulated: decoding, encoding, planning, the control thread's turns, the lanes' steps, the flusher's task, the Delta log, the outbox of rejected records (a tenth of the
//! records is no row) and its publishing, compaction and vacuum, all in one order that the seed draws. A third of the seeds have two tables on the topic, with different lags and columns; for half of those the second table comes later. Not simulated: librdkafka (`testing::broker` stands in), our
//! checkpoint writer and log clean-up (foreign engines do both here), the drain of a stopping process, tables without a topic in common, and replays of rejected records.

mod foreign;
mod instance;
mod oracle;
mod script;
mod tests;
mod upkeep;
mod world;

use crate::pipeline::simulation::world::World;
use crate::trial::{self, Bug};

/// Lines of the trace that a failure shows.
const TAIL: usize = 120;

/// What a simulation came to.
#[derive(Debug, Default, Clone)]
pub(super) struct Report {
    pub(super) hash: u64,
    pub(super) lines: u64,
    pub(super) rows: u64,
    pub(super) versions: u64,
    pub(super) virtual_ms: u64,
    /// How often each kind of event happened.
    pub(super) counts: std::collections::BTreeMap<&'static str, u64>,
}

impl Report {
    pub(super) fn add(&mut self, other: &Report) {
        self.lines += other.lines;
        self.rows += other.rows;
        self.versions += other.versions;
        self.virtual_ms += other.virtual_ms;
        for (kind, count) in &other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
    }
}

/// Plays one seed, with a bug in the product or none; an error names the seed, what does not hold, and what happened last.
pub(super) fn simulate(seed: u64, bug: Option<Bug>) -> Result<Report, String> {
    trial::order(bug);
    drop(trial::take_outcomes());
    let mut world = World::new(seed);
    let played = world.play();
    trial::order(None);
    let ordered = bug.map_or_else(String::new, |bug| format!(" with {bug:?}"));
    played.map_err(|violation| {
        format!(
            "seed {seed}{ordered}: {violation}\nreplay it with SEED={seed}; the last of {} lines:\n{}",
            world.trace.hash().1,
            world.trace.tail(TAIL)
        )
    })
}
