//! Owns measuring the stages alone, on records of a real topic: consuming, decoding, encoding, in CPU time of the process, with the sink's own parts and the config that
//! it runs with; decoding also where one record in a hundred is bad, and beside the library at hand (`libraries`). Then decoding and encoding on one thread and on two. Prints one
//! JSON line. Does not measure the sink as a whole, and no store.
//!
//! `stages CONFIG RECORDS`: the config's first table, at most RECORDS records in memory.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot measure should stop at once, and speaks to standard output"
)]

mod libraries;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use lakeward::buffer::budget::{Budget, Shape};
use lakeward::clock::Clock;
use lakeward::config::settings::{ErrorMode, Table};
use lakeward::config::{self, Config};
use lakeward::decode::{self, Decoder, Registry, Resolved, Setup};
use lakeward::model::offset::TopicPartition;
use lakeward::model::record::Records;
use lakeward::source::{Event, Fetch, Group, LaneQueue, Lookup, Shares};
use lakeward::writer::{Encoder, Layout};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::libraries::Library;

/// As the sink: rows of a batch.
const BATCH_ROWS: usize = 65_536;
/// Rows of a file, so that a file's end is paid for as in the sink.
const FILE_ROWS: u64 = 1_000_000;
/// One record in so many is bad where isolation is measured.
const BAD_EACH: usize = 100;
/// How often a stage is measured.
const TURNS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(60);

/// As in the sink.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: stages CONFIG RECORDS";
    let path = arguments.next().map(PathBuf::from).expect(usage);
    let records_max: usize = arguments
        .next()
        .and_then(|it| it.parse().ok())
        .expect(usage);
    let config = config::load(&path).expect("the config is valid");
    let bench = Bench::new(config);
    let (consumed, consume_seconds) = bench.consume();
    let fetches = bench.collect(records_max);
    let records: usize = fetches.iter().map(|fetch| fetch.records.len()).sum();
    let batches = bench.decode(&fetches);
    let decode = micros_of(records, || _ = bench.decode_each(&fetches, drop));
    let encode = micros_of(records, || bench.encode(&batches));
    drop(batches);
    let (alone, both) = (
        bench.wall_seconds(1, &fetches),
        bench.wall_seconds(2, &fetches),
    );
    let consume = micros(consume_seconds, consumed);
    let mut line = json!({
        "records": records,
        "consume_us": consume,
        "decode_us": decode,
        "encode_us": encode,
        "sum_us": ((consume + decode + encode) * 1e3).round() / 1e3,
        "two_lanes_speed_up": (200.0 * alone / both).round() / 100.0,
    });
    let isolation = bench.isolation(fetches);
    if let Some(line) = line.as_object_mut() {
        line.extend(isolation);
    }
    println!("{line}");
}

/// Microseconds of CPU a record that `work` takes: the median of a few turns.
fn micros_of(records: usize, mut work: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..TURNS).map(|_| cpu_seconds(&mut work)).collect();
    seconds.sort_unstable_by(f64::total_cmp);
    micros(seconds.get(TURNS / 2).copied().expect("a turn"), records)
}

fn micros(seconds: f64, records: usize) -> f64 {
    (seconds / records as f64 * 1e9).round() / 1e3
}

fn payloads(fetches: &[Fetch]) -> Vec<&[u8]> {
    let records = fetches.iter().flat_map(|fetch| fetch.records.iter_from(0));
    records
        .map(|record| record.value.expect("no tombstone"))
        .collect()
}

/// The same fetch, one record in a hundred of it without its second half.
fn with_bad_records(fetch: &Fetch) -> Fetch {
    let mut records = Records::with_room(fetch.records.len(), fetch.records.payload_bytes());
    for (place, record) in fetch.records.iter_from(0).enumerate() {
        let value = record.value.map(|value| match place % BAD_EACH {
            0 => value.split_at(value.len() / 2).0,
            _ => value,
        });
        records.push(record.at, record.key, value, record.headers());
    }
    Fetch {
        topic_partition: fetch.topic_partition.clone(),
        records,
        end: fetch.end,
        error: None,
    }
}

/// One table of the config, with what its lanes would work from.
struct Bench {
    config: Config,
    registry: Option<Arc<Registry>>,
    resolved: Resolved,
    columns: SchemaRef,
    clock: Clock,
}

impl Bench {
    fn new(mut config: Config) -> Bench {
        let clock = Clock::machine();
        // A bad record is to cost itself alone, and not to stop the table.
        for table in &mut config.tables {
            table.errors.mode = ErrorMode::Skip;
        }
        let table = config.tables.first().expect("the config has a table");
        let registry = config.schema_registry.as_ref().map(|settings| {
            Arc::new(Registry::connect(settings, clock.clone()).expect("a registry"))
        });
        let resolved = decode::resolve(table, registry.as_ref()).expect("columns");
        let columns = Arc::new(Schema::new(resolved.columns(table)));
        Bench {
            registry,
            resolved,
            columns,
            clock,
            config,
        }
    }

    fn table(&self) -> &Table {
        self.config.tables.first().expect("the config has a table")
    }

    fn decoder(&self) -> Decoder {
        Decoder::new(Setup {
            resolved: &self.resolved,
            table: self.table(),
            record_bytes_max: 16 << 20,
            target: Arc::clone(&self.columns),
            registry: self.registry.clone(),
            clock: self.clock.clone(),
        })
        .expect("a decoder")
    }

    fn layout(&self) -> Arc<Layout> {
        let layout = Layout::new(
            Arc::clone(&self.columns),
            &self.table().partition_by,
            self.clock.clone(),
        );
        Arc::new(layout.expect("a layout").always_indexing([
            "_kafka_topic",
            "_kafka_partition",
            "_kafka_offset",
        ]))
    }

    /// Reads the whole topic and drops what comes: the records, and the CPU time from the assignment on.
    fn consume(&self) -> (usize, f64) {
        let mut reading = Reading::begin(self);
        let mut records = 0;
        let seconds = cpu_seconds(|| {
            while let Some(fetches) = reading.next() {
                records += fetches
                    .iter()
                    .map(|fetch| fetch.records.len())
                    .sum::<usize>();
            }
        });
        reading.end();
        (records, seconds)
    }

    fn collect(&self, records_max: usize) -> Vec<Fetch> {
        let mut reading = Reading::begin(self);
        let (mut kept, mut records) = (Vec::new(), 0);
        while let Some(fetches) = reading.next() {
            records += fetches
                .iter()
                .map(|fetch| fetch.records.len())
                .sum::<usize>();
            kept.extend(fetches);
            if records >= records_max {
                break;
            }
        }
        reading.end();
        kept
    }

    fn decode(&self, fetches: &[Fetch]) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        let rejects = self.decode_each(fetches, |batch| batches.push(batch));
        assert_eq!(rejects, 0, "a record is bad");
        batches
    }

    /// Decodes all, and says how many were bad.
    fn decode_each(&self, fetches: &[Fetch], mut take: impl FnMut(RecordBatch)) -> usize {
        let mut decoder = self.decoder();
        let mut rejects = 0;
        for fetch in fetches {
            let mut from = 0;
            while from < fetch.records.len() {
                let appended = decoder.append(&fetch.topic_partition, &fetch.records, from);
                assert!(appended.stalled.is_none(), "{appended:?}");
                rejects += appended.rejects.len();
                from = appended.taken;
                if decoder.rows() >= BATCH_ROWS || from < fetch.records.len() {
                    take(decoder.take().expect("a batch"));
                }
            }
        }
        if decoder.rows() > 0 {
            take(decoder.take().expect("a batch"));
        }
        rejects
    }

    fn encode(&self, batches: &[RecordBatch]) {
        let layout = self.layout();
        let mut encoder = Encoder::new(Arc::clone(&layout));
        for batch in batches {
            encoder.write(batch).expect("encodes");
            if encoder.rows() >= FILE_ROWS {
                let full = std::mem::replace(&mut encoder, Encoder::new(Arc::clone(&layout)));
                drop(full.finish().expect("a file"));
            }
        }
        drop(encoder.finish().expect("a file"));
    }

    /// Decoding where one record in a hundred is bad, and what the library at hand takes for the same records, without and with isolation of bad ones.
    fn isolation(&self, fetches: Vec<Fetch>) -> BTreeMap<String, Value> {
        let records = fetches.iter().map(|fetch| fetch.records.len()).sum();
        let registry = self.config.schema_registry.as_ref().map(|it| &it.url);
        let library = Library::of(&self.table().value, &self.columns, registry);
        let mut found = BTreeMap::new();
        if let Some(library) = &library {
            let payloads = payloads(&fetches);
            let micros = micros_of(records, || library.decode(&payloads));
            found.insert("library".to_owned(), json!(library.name()));
            found.insert("library_us".to_owned(), json!(micros));
            let mut rejects = None;
            let micros = micros_of(records, || rejects = library.decode_isolating(&payloads));
            if rejects.is_some() {
                found.insert("library_isolating_us".to_owned(), json!(micros));
            }
        }
        let broken: Vec<Fetch> = fetches.iter().map(with_bad_records).collect();
        drop(fetches);
        let mut rejects = 0;
        let micros = micros_of(records, || rejects = self.decode_each(&broken, drop));
        assert!(rejects > 0, "no record is bad");
        found.insert("decode_bad_us".to_owned(), json!(micros));
        if let Some(library) = &library {
            let (payloads, mut of_library) = (payloads(&broken), None);
            let micros = micros_of(records, || {
                of_library = library.decode_isolating(&payloads);
            });
            if let Some(of_library) = of_library {
                assert_eq!(of_library, rejects, "the library finds other records bad");
                found.insert("library_bad_us".to_owned(), json!(micros));
            }
        }
        found
    }

    /// Decoding and encoding everything in each of so many threads.
    fn wall_seconds(&self, threads: usize, fetches: &[Fetch]) -> f64 {
        let started = self.clock.now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let layout = self.layout();
                    let mut encoder = Encoder::new(layout);
                    let _rejects =
                        self.decode_each(fetches, |batch| encoder.write(&batch).expect("encodes"));
                    drop(encoder.finish().expect("a file"));
                });
            }
        });
        self.clock.now().since(started).as_secs_f64()
    }
}

/// A consumer on its way from every topic partition's start to the end that it had.
struct Reading {
    group: Group,
    queue: LaneQueue,
    left: BTreeMap<TopicPartition, i64>,
}

impl Reading {
    fn begin(bench: &Bench) -> Reading {
        let lookup =
            Lookup::new(&bench.config.kafka, TIMEOUT, &Clock::machine()).expect("a client");
        let topics: Vec<&str> = bench.table().topics.iter().map(String::as_str).collect();
        let mut left = BTreeMap::new();
        for topic in &topics {
            let all = lookup.topic_partitions(topic).expect("the topic");
            let marks = lookup.watermarks(&all).expect("watermarks");
            left.extend(marks.into_iter().map(|(it, marks)| (it, marks.high)));
        }
        let shape = Shape {
            memory_bytes: bench.config.limits.memory_bytes,
            lanes: 1,
            topic_partitions: left.len(),
        };
        let granted = Budget::divide(shape).expect("enough memory").fetch;
        let shares = Shares {
            queue_kbytes: granted.queue_kbytes,
            queue_messages: granted.queue_messages,
            topic_partition_bytes: granted.topic_partition_bytes,
            response_bytes: granted.response_bytes,
            record_batch_bytes: granted.record_batch_bytes,
        };
        let mut group = Group::new(&bench.config.kafka, shares).expect("a consumer");
        let queue = group.lane_queue(false).expect("a queue");
        group.subscribe(&topics).expect("subscribes");
        let assigned = loop {
            let assigned = |event| match event {
                Event::Assigned(assigned) => Some(assigned),
                Event::Revoked(_) | Event::Lost(_) | Event::Trouble(_) | Event::Fatal(_) => None,
            };
            if let Some(assigned) = group
                .poll(Duration::from_millis(10))
                .into_iter()
                .find_map(assigned)
            {
                break assigned;
            }
        };
        let handle = queue.handle();
        assigned
            .iter()
            .for_each(|it| handle.attach(it).expect("attaches"));
        let starts = assigned.into_iter().map(|it| (it, Some(0))).collect();
        group.assign(&starts).expect("assigns");
        left.retain(|_, end| *end > 0);
        Reading { group, queue, left }
    }

    /// What one poll brings; `None` at the end.
    fn next(&mut self) -> Option<Vec<Fetch>> {
        if self.left.is_empty() {
            return None;
        }
        drop(self.group.poll(Duration::ZERO));
        let fetches = self.queue.poll(Duration::from_millis(20));
        for fetch in &fetches {
            assert!(fetch.error.is_none(), "{:?}", fetch.error);
            let last = fetch.records.len().checked_sub(1);
            let reached = last
                .and_then(|last| fetch.records.get(last))
                .map(|record| record.at.offset + 1)
                .max(fetch.end);
            if reached >= self.left.get(&fetch.topic_partition).copied() {
                self.left.remove(&fetch.topic_partition);
            }
        }
        Some(fetches)
    }

    /// Leaves the group: a client that is only dropped would wait for its revocation to be answered.
    fn end(self) {
        drop(self.queue);
        self.group.close();
    }
}

fn cpu_seconds(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let before = now();
    work();
    now() - before
}
