//! Puts one instance together: the control's end, the lanes, the flushers, and the channels between them, all still at rest. Owns the channels' sizes; starts nothing, so
//! that threads and tasks run the same parts in production as a seeded scheduler in simulation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::memory::Pool;
use crate::model::offset::TopicPartition;
use crate::pipeline::control::{Control, FromWorker};
use crate::pipeline::family::{Family, TableControl, families};
use crate::pipeline::flusher::{FlushState, Flusher, Publishing};
use crate::pipeline::lane::{Lane, LaneCommand, LaneContext};
use crate::pipeline::orders::Orders;
use crate::pipeline::plan::Planned;
use crate::pipeline::share::{Ledger, Share};
use crate::pipeline::status::Status;
use crate::source::{Fetches, Forwards, Member, Questions};

/// Commands and messages that may wait in a channel; far above what a turn produces.
const CHANNEL: usize = 4096;

/// The ends to reach, for a run that ends by itself.
pub(super) type Targets = Arc<BTreeMap<TopicPartition, i64>>;

/// What an instance is put together from.
pub(super) struct Parts {
    pub(super) group: Box<dyn Member>,
    /// One for each lane.
    pub(super) queues: Vec<(Box<dyn Fetches>, Box<dyn Forwards>)>,
    pub(super) planned: Vec<Planned>,
    pub(super) lookup: Arc<dyn Questions>,
    pub(super) clock: Clock,
    pub(super) status: Status,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pool: Pool,
    /// The size at which a lane makes a batch of decoded rows.
    pub(super) batch_bytes: usize,
    pub(super) targets: Option<Targets>,
    pub(super) app_name: String,
    pub(super) orders: Orders,
}

/// An instance at rest.
pub(super) struct Assembly {
    pub(super) control: Control,
    pub(super) lanes: Vec<Lane>,
    pub(super) flushers: Vec<Flusher>,
    /// For tables that come later.
    pub(super) parts: TableParts,
}

/// Connects the parts.
pub(super) fn assemble(parts: Parts) -> Assembly {
    let (to_control, from_workers) = sync_channel::<FromWorker>(CHANNEL);
    let mut control = Control {
        group: parts.group,
        lanes: Vec::new(),
        queues: Vec::new(),
        families: BTreeMap::new(),
        from_workers,
        clock: parts.clock.clone(),
        status: parts.status.clone(),
        metrics: parts.metrics,
        pending: None,
        revoking: None,
        stopping: Vec::new(),
        orders: parts.orders,
        obeying: Vec::new(),
        unsought: BTreeMap::new(),
        epochs: 0,
        trouble: None,
        ledger: Ledger::default(),
    };
    let mut lanes = Vec::new();
    for (number, (queue, handle)) in parts.queues.into_iter().enumerate() {
        let ctx = LaneContext {
            number,
            pool: parts.pool.clone(),
            batch_bytes: parts.batch_bytes,
            clock: parts.clock.clone(),
            status: parts.status.clone(),
            to_control: to_control.clone(),
        };
        let (commands, inbox) = sync_channel::<LaneCommand>(CHANNEL);
        control.lanes.push(commands);
        control.queues.push(handle);
        lanes.push(Lane::new(ctx, queue, inbox));
    }
    let shared = TableParts {
        to_control,
        lookup: parts.lookup,
        pool: parts.pool,
        targets: parts.targets,
        app_name: parts.app_name,
    };
    let settings = parts.planned.iter().map(|planned| &planned.plan.settings);
    let of_table: BTreeMap<String, String> = families(settings)
        .iter()
        .flat_map(|names| {
            let first = names.first().copied().unwrap_or_default();
            names
                .iter()
                .map(move |it| ((*it).to_owned(), first.to_owned()))
        })
        .collect();
    let mut flushers = Vec::new();
    for planned in parts.planned {
        let (flusher, table) = connect(&control, planned, &shared);
        let name = flusher.share.name().to_owned();
        let family = of_table.get(&name).unwrap_or(&name).clone();
        let family: &mut Family = control.families.entry(family).or_default();
        family.tables.insert(name, table);
        flushers.push(flusher);
    }
    Assembly {
        control,
        lanes,
        flushers,
        parts: shared,
    }
}

/// What the flushers of all tables have in common.
pub(super) struct TableParts {
    to_control: SyncSender<FromWorker>,
    lookup: Arc<dyn Questions>,
    pool: Pool,
    targets: Option<Targets>,
    app_name: String,
}

/// Makes the ends of one table.
pub(super) fn connect(
    control: &Control,
    planned: Planned,
    shared: &TableParts,
) -> (Flusher, TableControl) {
    let counters = control.metrics.table(&planned.plan.settings.name);
    let share = Arc::new(Share::new(
        planned.plan,
        planned.schemas,
        control.lanes.len(),
        counters,
        control.ledger.clone(),
    ));
    let (commands, inbox) = mpsc::channel(64);
    let flusher = Flusher {
        share: Arc::clone(&share),
        table: planned.table,
        lanes: control.lanes.clone(),
        commands: inbox,
        to_control: shared.to_control.clone(),
        clock: control.clock.clone(),
        status: control.status.clone(),
        pool: shared.pool.clone(),
        lookup: Arc::clone(&shared.lookup),
        targets: shared.targets.clone(),
        app_name: shared.app_name.clone(),
        state: FlushState::default(),
        publishing: Publishing::new(&control.clock),
    };
    let table = TableControl {
        topics: share.plan.settings.topics.iter().cloned().collect(),
        share,
        flusher: commands,
    };
    (flusher, table)
}
