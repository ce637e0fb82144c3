//! Processes that maintain the table of a simulation: they plan, merge and vacuum beside ingest, other engines and each other, and die or are held up at any await. Owns their
//! turns, and what must hold of each: nothing that is live is unreadable, no merge makes or loses rows (COMP-1), and a lost race is a value (COMP-2).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::clock::Clock;
use crate::delta::{Store, TableStore};
use crate::error::Kind;
use crate::maintenance::compact::{Compacted, Compaction};
use crate::maintenance::plan::Policy;
use crate::maintenance::vacuum::{Vacuumed, vacuum};
use crate::maintenance::{Error, Memory, Pace};
use crate::pipeline::simulation::instance::{Surroundings, Task};
use crate::pipeline::simulation::world::World;

/// What vacuum is asked to keep; it keeps an hour at least.
const OLDER_THAN: Duration = Duration::ZERO;
const MEMORY_BYTES: u64 = 16 << 20;

/// One maintainer, over all its lives.
pub(super) struct Maintainer {
    /// Which table it maintains.
    table: usize,
    compaction: Compaction,
    /// Files that it could not read.
    left_alone: BTreeSet<String>,
    turn: Option<Task<Turn>>,
    /// Whether nobody had created the table yet when its turn began.
    is_early: bool,
    /// When it acts again.
    pub(super) at_ms: u64,
}

/// What a turn came to.
struct Turn {
    left_alone: BTreeSet<String>,
    outcome: Result<Done, Error>,
}

enum Done {
    Merged(Compacted),
    Vacuumed(Vacuumed),
}

impl Maintainer {
    pub(super) fn new(with: Surroundings, table: usize, path: &str) -> Maintainer {
        let url = Url::parse("memory:///lake").unwrap();
        let store: TableStore = Store::over(url, Arc::new(with.store)).table(path).unwrap();
        let clock = Arc::clone(&with.clock) as Arc<dyn crate::clock::Timeline>;
        Maintainer {
            table,
            at_ms: clock.monotonic_ms() + 10_000,
            compaction: Compaction {
                store,
                clock: Clock::simulated(clock),
                policy: Policy {
                    target_bytes: 1 << 20,
                    min_files: 2,
                    cold_after: Duration::ZERO,
                },
                sort_by: Vec::new(),
                always_indexed: BTreeSet::new(),
                memory: Memory::of(MEMORY_BYTES),
            },
            left_alone: BTreeSet::new(),
            turn: None,
            is_early: false,
        }
    }

    /// Whether a step would come to something, once its time has come.
    pub(super) fn is_willing(&self) -> bool {
        self.turn.as_ref().is_none_or(Task::is_woken)
    }

    /// Its process is gone, with whatever it was about to do.
    pub(super) fn kill(&mut self) {
        self.turn = None;
        self.left_alone = BTreeSet::new();
    }

    fn begin(&mut self, is_vacuum: bool) {
        let compaction = self.compaction.clone();
        let left_alone = self.left_alone.clone();
        self.turn = Some(Task::new(turn(compaction, left_alone, is_vacuum)));
    }
}

async fn turn(compaction: Compaction, mut left_alone: BTreeSet<String>, is_vacuum: bool) -> Turn {
    let outcome = if is_vacuum {
        let Compaction { store, clock, .. } = &compaction;
        let done = vacuum(store, clock, OLDER_THAN, false, &Pace::default()).await;
        done.map(Done::Vacuumed)
    } else {
        let done = merge(&compaction, &mut left_alone).await;
        done.map(Done::Merged)
    };
    Turn {
        left_alone,
        outcome,
    }
}

async fn merge(
    compaction: &Compaction,
    left_alone: &mut BTreeSet<String>,
) -> Result<Compacted, Error> {
    let opened = compaction.open().await?;
    let plan = compaction.plan(&opened, left_alone);
    compaction
        .run(opened, &plan, &Pace::default(), left_alone)
        .await
}

impl World {
    /// One step of a maintainer.
    pub(super) fn maintain(&mut self, index: usize) -> Result<(), String> {
        let Some(mut turn) = self.maintainers[index].turn.take() else {
            let is_vacuum = self.random.per_mille(300);
            let lake = &self.lakes[self.maintainers[index].table];
            self.maintainers[index].is_early = lake.read()?.versions == 0;
            self.maintainers[index].begin(is_vacuum);
            return Ok(());
        };
        // It is held up at any await; now and then for so long that its base and its files age.
        let now = self.now();
        if self.random.per_mille(30) {
            let most = [1_000, 30_000, 200_000][self.random.index(3)];
            self.maintainers[index].at_ms = now + self.random.within(100..=most);
            self.maintainers[index].turn = Some(turn);
            return Ok(());
        }
        let Some(Turn {
            left_alone,
            outcome,
        }) = turn.poll()
        else {
            self.maintainers[index].turn = Some(turn);
            return Ok(());
        };
        let pause_ms = self.random.within(1_000..=15_000);
        self.maintainers[index].at_ms =
            now + pause_ms.max(self.night_until_ms.saturating_sub(now) / 4);
        self.judge_unread(self.maintainers[index].table, &left_alone)?;
        self.maintainers[index].left_alone = left_alone;
        match outcome {
            Ok(Done::Merged(done)) => {
                self.count_up("files merged", done.files_removed);
                self.count_up("merges dropped", done.dropped);
                Ok(())
            }
            Ok(Done::Vacuumed(done)) => {
                self.count_up("files vacuumed", done.files);
                Ok(())
            }
            Err(error) if error.kind() == Kind::Invalid && self.maintainers[index].is_early => {
                Ok(())
            }
            Err(error) if error.kind() == Kind::Unavailable => Ok(()),
            Err(error) => Err(format!("a maintainer fails without cause: {error}")),
        }
    }

    /// What is live can be read, but for what other engines only pretend to have written.
    fn judge_unread(&self, table: usize, left_alone: &BTreeSet<String>) -> Result<(), String> {
        let live = self.lakes[table].read()?.live;
        let unread = left_alone
            .iter()
            .find(|key| !key.starts_with("foreign-") && live.contains_key(*key));
        unread.map_or(Ok(()), |key| {
            Err(format!(
                "{key} is live, and a maintainer could not read it (FILE-1)"
            ))
        })
    }

    fn count_up(&mut self, kind: &'static str, by: u64) {
        if by > 0 {
            *self.counts.entry(kind).or_default() += by;
        }
    }

    /// Whether there was none yet, and somebody is awake in it.
    pub(super) fn may_have_a_night(&self) -> bool {
        self.night_until_ms == 0 && !self.maintainers.is_empty()
    }

    /// Everybody sleeps for hours but for the maintainers: what was about to be committed ages.
    pub(super) fn night(&mut self) {
        let hours = self.random.within(2..=4);
        let until = self.now() + hours * 3_600_000;
        self.note(format_args!("a night of {hours} hours"));
        self.count("nights");
        for instance in &mut self.instances {
            instance.frozen_until_ms = until;
        }
        self.night_until_ms = until;
        self.calm_at_ms = self.calm_at_ms.max(until + 30_000);
        self.produce_at_ms = until;
        self.happens_at_ms = until;
    }
}
