//! One instance of the product in a simulation: its life from planning to its end, as parts that a scheduler steps one at a time. Owns the wiring of real parts to fakes.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};

use url::Url;

use crate::clock::Clock;
use crate::config::settings;
use crate::delta::Store;
use crate::error::Kind;
use crate::metrics::Metrics;
use crate::model::memory::Pool;
use crate::pipeline::assembly::{Assembly, Parts, TableParts, assemble};
use crate::pipeline::control::Control;
use crate::pipeline::discover::Found;
use crate::pipeline::error::Error;
use crate::pipeline::lane::Lane;
use crate::pipeline::orders::Orders;
use crate::pipeline::plan::{Outside, Planned, plan};
use crate::pipeline::status::Status;
use crate::source::{Fetches, Forwards};
use crate::testing::broker::Broker;
use crate::testing::distant_store::DistantStore;
use crate::testing::timeline::InstanceClock;

/// A future with a flag that says whether it wants to be polled.
pub(super) struct Task<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    flag: Arc<Flag>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<T> Task<T> {
    pub(super) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Task {
            future: Box::pin(future),
            flag: Arc::new(Flag(AtomicBool::new(true))),
        }
    }

    pub(super) fn is_woken(&self) -> bool {
        self.flag.0.load(Ordering::SeqCst)
    }

    pub(super) fn poll(&mut self) -> Option<T> {
        self.flag.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.flag));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

/// Where an instance is.
pub(super) enum Phase {
    /// It reads or creates its tables.
    Starting(Task<Result<Vec<Planned>, Error>>),
    /// Something was away; it tries again then.
    Waiting(u64),
    Running(Box<Running>),
    /// Its process is gone; another life begins then.
    Dead(u64),
}

pub(super) struct Running {
    pub(super) control: Control,
    pub(super) lanes: Vec<Arc<Mutex<Lane>>>,
    pub(super) flushers: Vec<Task<()>>,
    parts: TableParts,
}

/// How far an instance is with a table that it finds while it runs.
pub(super) enum Finding {
    /// It looks then.
    At(u64),
    Planning(Task<Result<Planned, Error>>),
    /// Until the group waits for nothing.
    Planned(Box<Planned>),
}

/// What an instance is made with.
pub(super) struct Surroundings {
    pub(super) broker: Broker,
    pub(super) store: DistantStore,
    pub(super) clock: Arc<InstanceClock>,
    pub(super) settings: Vec<settings::Table>,
    /// A table that it does not know from the start, and when it looks for it.
    pub(super) finds: Option<(settings::Table, u64)>,
    pub(super) lanes: usize,
    pub(super) pool_bytes: u64,
}

/// One life of an instance.
pub(super) struct Instance {
    pub(super) life: u64,
    pub(super) phase: Phase,
    pub(super) surroundings: Surroundings,
    /// Stopped by SIGSTOP until then.
    pub(super) frozen_until_ms: u64,
    pub(super) control_at_ms: u64,
    /// By table.
    pub(super) flushers_at_ms: Vec<u64>,
    pub(super) lanes_at_ms: Vec<u64>,
    pub(super) finding: Option<Finding>,
}

/// What a step of the control thread or of planning came to.
pub(super) enum Ended {
    /// A table waits for a person.
    Suspended(String),
    /// The process ends.
    Exit(Kind, String),
}

impl Instance {
    pub(super) fn new(life: u64, surroundings: Surroundings) -> Instance {
        let mut instance = Instance {
            life,
            phase: Phase::Waiting(0),
            frozen_until_ms: 0,
            control_at_ms: 0,
            flushers_at_ms: vec![0; surroundings.settings.len()],
            lanes_at_ms: vec![0; surroundings.lanes],
            finding: surroundings.finds.as_ref().map(|(_, at)| Finding::At(*at)),
            surroundings,
        };
        instance.start();
        instance
    }

    /// Reads the tables, as `run` does before it joins.
    pub(super) fn start(&mut self) {
        let outside = self.surroundings.outside();
        let settings = self.surroundings.settings.clone();
        self.phase = Phase::Starting(Task::new(async move {
            let mut planned = Vec::new();
            for table in &settings {
                planned.push(plan(&outside, table).await?);
            }
            Ok(planned)
        }));
    }

    /// Joins the group with what was planned.
    pub(super) fn join(&mut self, planned: Vec<Planned>) {
        let with = &self.surroundings;
        let queues = (0..with.lanes).map(|lane| {
            let queue = with.broker.queue(self.life, lane);
            let (fetches, forwards): (Box<dyn Fetches>, Box<dyn Forwards>) =
                (Box::new(queue.clone()), Box::new(queue));
            (fetches, forwards)
        });
        let Assembly {
            control,
            lanes,
            flushers,
            parts,
        } = assemble(Parts {
            group: Box::new(with.broker.member(self.life)),
            queues: queues.collect(),
            planned,
            lookup: with.broker.questions(),
            clock: Clock::simulated(Arc::clone(&with.clock) as Arc<dyn crate::clock::Timeline>),
            status: Status::default(),
            metrics: Arc::new(Metrics::new("simulation")),
            pool: Pool::new(with.pool_bytes),
            batch_bytes: 1 << 16,
            targets: None,
            app_name: "simulation".to_owned(),
            orders: Orders::default(),
        });
        let lanes: Vec<Arc<Mutex<Lane>>> = lanes
            .into_iter()
            .map(|lane| Arc::new(Mutex::new(lane)))
            .collect();
        // The lanes have the clock: it may not keep them.
        let waiting: Vec<_> = lanes.iter().map(Arc::downgrade).collect();
        with.clock.on_wait(move || {
            for lane in waiting.iter().filter_map(Weak::upgrade) {
                // Whoever waits may be a lane itself.
                if let Ok(mut lane) = lane.try_lock() {
                    lane.hear();
                }
            }
        });
        control.group.subscribe(&[]).unwrap();
        self.phase = Phase::Running(Box::new(Running {
            control,
            lanes,
            flushers: flushers
                .into_iter()
                .map(|flusher| Task::new(flusher.run()))
                .collect(),
            parts,
        }));
    }

    /// Whether it has something to do about a table that it finds.
    pub(super) fn may_find(&self, now: u64) -> bool {
        let Phase::Running(running) = &self.phase else {
            return false;
        };
        match &self.finding {
            None => false,
            Some(Finding::At(at)) => *at <= now,
            Some(Finding::Planning(task)) => task.is_woken(),
            Some(Finding::Planned(_)) => running.control.is_settled(),
        }
    }

    /// When it looks for a table.
    pub(super) fn finds_at_ms(&self) -> u64 {
        match &self.finding {
            Some(Finding::At(at)) => *at,
            Some(Finding::Planning(_) | Finding::Planned(_)) | None => u64::MAX,
        }
    }

    /// Plans the table beside what runs, then takes it up; as `discover` and `growth` do. Whether it has it now.
    pub(super) fn find(&mut self, now: u64) -> Result<bool, Error> {
        let (Phase::Running(running), Some((settings, _))) =
            (&mut self.phase, &self.surroundings.finds)
        else {
            return Ok(false);
        };
        self.finding = match self.finding.take() {
            None => None,
            Some(Finding::At(_)) => {
                let (outside, settings) = (self.surroundings.outside(), settings.clone());
                Some(Finding::Planning(Task::new(async move {
                    plan(&outside, &settings).await
                })))
            }
            Some(Finding::Planning(mut task)) => match task.poll() {
                None => Some(Finding::Planning(task)),
                Some(Ok(planned)) => Some(Finding::Planned(Box::new(planned))),
                Some(Err(error)) if error.kind() == Kind::Unavailable => {
                    Some(Finding::At(now + 1_000))
                }
                Some(Err(error)) => return Err(error),
            },
            Some(Finding::Planned(planned)) => {
                let found = vec![Found::Table(planned)];
                for flusher in running.control.grow(found, &running.parts)? {
                    running.flushers.push(Task::new(flusher.run()));
                    self.flushers_at_ms.push(0);
                }
                self.surroundings.settings.push(settings.clone());
                return Ok(true);
            }
        };
        Ok(false)
    }
}

impl Surroundings {
    fn outside(&self) -> Outside {
        let url = Url::parse("memory:///lake").unwrap();
        Outside {
            lookup: self.broker.questions(),
            registry: None,
            store: Arc::new(Store::over(url, Arc::new(self.store.clone()))),
            clock: Clock::simulated(Arc::clone(&self.clock) as Arc<dyn crate::clock::Timeline>),
            record_bytes_max: 1 << 20,
        }
    }
}

impl Running {
    /// One turn of the control thread.
    pub(super) fn turn(&mut self) -> Option<Ended> {
        if let Err(error) = self.control.turn() {
            return Some(Ended::Exit(error.kind(), error.to_string()));
        }
        let (_, reason) = self.control.suspended().into_iter().next()?;
        Some(Ended::Suspended(reason))
    }
}
