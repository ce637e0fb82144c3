//! Starts what a run consists of: joins the group, gives the lanes their threads and the flushers their tasks. Moves no record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::buffer::budget::{Budget, Shape};
use crate::model::offset::TopicPartition;
use crate::pipeline::assembly::{Assembly, Parts, TableParts, Targets, assemble};
use crate::pipeline::control::Control;
use crate::pipeline::discover::{Discovery, Found, LOOKS_MAX, interval};
use crate::pipeline::error::Error;
use crate::pipeline::lane::Lane;
use crate::pipeline::maintain;
use crate::pipeline::plan::{Outside, Planned, with_headers};
use crate::pipeline::run::Run;
use crate::source::{Fetches, Forwards, Group, Shares};

/// Everything that a drain must end, in order.
pub(super) struct Started {
    pub(super) control: Control,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) targets: Option<Targets>,
    pub(super) upkeep: maintain::Running,
    pub(super) growing: Growing,
}

/// What takes up tables and topics that are found later.
pub(super) struct Growing {
    pub(super) found: mpsc::Receiver<Vec<Found>>,
    pub(super) parts: TableParts,
}

fn start_lane(number: usize, lane: Lane) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(format!("lakeward-lane-{number}"))
        .spawn(move || lane.run())
        .map_err(|error| Error::Bug(format!("no thread for a lane: {error}")))
}

/// What a lane reads, and what forwards topic partitions to it.
type Ends = (Box<dyn Fetches>, Box<dyn Forwards>);

fn lane_queues(group: &Group, lanes: usize, with_headers: bool) -> Result<Vec<Ends>, Error> {
    let mut queues: Vec<Ends> = Vec::new();
    for _ in 0..lanes {
        let queue = group.lane_queue(with_headers)?;
        let handle = queue.handle();
        queues.push((Box::new(queue), Box::new(handle)));
    }
    Ok(queues)
}

impl Run<'_> {
    pub(super) fn start(
        &self,
        outside: &Outside,
        planned: Vec<Planned>,
        waiting: BTreeSet<String>,
    ) -> Result<Option<Started>, Error> {
        let Some(targets) = self.targets(outside, &planned)? else {
            return Ok(None);
        };
        let lanes = self.config.limits.lanes.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        });
        let budget = self.budget(&planned, lanes)?;
        let group = self.group(&budget)?;
        // The queues are made once, for what patterns find later too.
        let mut patterns = self.config.patterns.iter();
        let with_headers = planned.iter().any(|planned| planned.plan.with_headers())
            || patterns.any(|pattern| with_headers(&pattern.table));
        let queues = lane_queues(&group, lanes, with_headers)?;
        let topics: BTreeSet<String> = planned
            .iter()
            .flat_map(|planned| planned.plan.settings.topics.iter().cloned())
            .collect();
        let found = self.discover(outside, &planned, waiting);
        let Assembly {
            control,
            lanes: at_rest,
            flushers,
            parts,
        } = assemble(Parts {
            group: Box::new(group),
            queues,
            planned,
            lookup: Arc::clone(&outside.lookup),
            clock: outside.clock.clone(),
            status: self.surroundings.status.clone(),
            metrics: Arc::clone(&self.surroundings.metrics),
            pool: budget.rows.clone(),
            batch_bytes: usize::try_from(budget.batch_bytes).unwrap_or(usize::MAX),
            targets: targets.clone(),
            app_name: self.config.name.clone(),
            orders: self.surroundings.orders.clone(),
        });
        let mut threads = Vec::new();
        for (number, lane) in at_rest.into_iter().enumerate() {
            threads.push(start_lane(number, lane)?);
        }
        for flusher in flushers {
            self.runtime.spawn(flusher.run());
        }
        let tables = control.families.values();
        let shares = tables.flat_map(|family| family.tables.values());
        let upkeep = maintain::start(
            self.config,
            shares.map(|table| Arc::clone(&table.share)).collect(),
            &outside.clock,
            &self.surroundings.metrics,
            &budget,
        )?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.surroundings
            .stop
            .consuming
            .store(true, Ordering::SeqCst);
        control.group.subscribe(&topics)?;
        let group = &self.config.kafka.group_id;
        tracing::info!(topics = topics.join(","), group, lanes, "subscribed");
        Ok(Some(Started {
            control,
            threads,
            targets,
            upkeep,
            growing: Growing { found, parts },
        }))
    }

    /// Looks for further topics while the run goes on. One that ends by itself is about those that were there at its start.
    fn discover(
        &self,
        outside: &Outside,
        planned: &[Planned],
        waiting: BTreeSet<String>,
    ) -> mpsc::Receiver<Vec<Found>> {
        let (sender, found) = mpsc::channel(LOOKS_MAX);
        if self.config.patterns.is_empty() || self.options.until_caught_up {
            return found;
        }
        let Some(every) = interval(&self.config.kafka) else {
            tracing::info!(
                "kafka.properties say that metadata is not asked for again: topics are looked for at the start only"
            );
            return found;
        };
        let settings = planned.iter().map(|planned| &planned.plan.settings);
        let discovery = Discovery {
            config: self.config.clone(),
            outside: outside.clone(),
            names: self.options.tables.clone(),
            status: self.surroundings.status.clone(),
            feeds: settings
                .map(|table| (table.name.clone(), table.topics.iter().cloned().collect()))
                .collect(),
            waiting,
            said: BTreeMap::new(),
            found: sender,
        };
        self.runtime.spawn(discovery.run(every));
        found
    }

    fn budget(&self, planned: &[Planned], lanes: usize) -> Result<Budget, Error> {
        let memory_bytes = self.config.limits.memory_bytes;
        let all = planned.iter().flat_map(|planned| &planned.topic_partitions);
        let topic_partitions = all.collect::<BTreeSet<_>>().len();
        let budget = Budget::divide(Shape {
            memory_bytes,
            lanes,
            topic_partitions,
        })?;
        self.surroundings
            .status
            .set_memory(budget.rows.clone(), memory_bytes);
        Ok(budget)
    }

    fn group(&self, budget: &Budget) -> Result<Group, Error> {
        let shares = Shares {
            queue_kbytes: budget.fetch.queue_kbytes,
            queue_messages: budget.fetch.queue_messages,
            topic_partition_bytes: budget.fetch.topic_partition_bytes,
            response_bytes: budget.fetch.response_bytes,
            record_batch_bytes: budget.fetch.record_batch_bytes,
        };
        Ok(Group::new(&self.config.kafka, shares)?)
    }

    /// The ends seen now, for a run that ends by itself. The outer `None`: stopped meanwhile.
    fn targets(
        &self,
        outside: &Outside,
        planned: &[Planned],
    ) -> Result<Option<Option<Targets>>, Error> {
        if !self.options.until_caught_up {
            return Ok(Some(None));
        }
        let all = planned.iter().flat_map(|planned| &planned.topic_partitions);
        let all: BTreeSet<TopicPartition> = all.cloned().collect();
        let all: Vec<TopicPartition> = all.into_iter().collect();
        let marks = self.persist("the ends of topics", || {
            Ok(outside.lookup.watermarks(&all)?)
        })?;
        Ok(marks.map(|marks| {
            let ends = marks.into_iter().map(|(it, marks)| (it, marks.high));
            Some(Arc::new(ends.collect()))
        }))
    }
}
