//! librdkafka's queues in batches. rust-rdkafka polls one message at a time and discards the offset of a partition's end, which is the only
//! proof that a span covers a tail without records. Does not decide what to read.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;

use crate::model::offset::TopicPartition;
use crate::model::record::{Coordinates, Records, TimestampType};
use crate::source::client::Consumer;
use crate::source::error::Error;

/// A run of what one poll found of one topic partition, in the order of its log.
#[derive(Debug)]
pub struct Fetch {
    /// Where it comes from.
    pub topic_partition: TopicPartition,
    /// The records.
    pub records: Records,
    /// The log's end, where the run reached it: every offset below it is covered.
    pub end: Option<i64>,
    /// Why fetching stopped, where it did.
    pub error: Option<FetchError>,
}

/// Why librdkafka does not fetch a topic partition.
#[derive(Debug, Clone)]
pub struct FetchError {
    /// librdkafka's words.
    pub reason: String,
    /// Whether the stored offset lies outside of the log.
    pub offset_out_of_range: bool,
}

/// The most that is set aside for a run before its bytes are seen.
const ROOM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One lane's queue, to which the queues of its topic partitions are forwarded. Messages of a topic partition whose assignment or position has changed since are
/// dropped by librdkafka itself.
pub struct LaneQueue {
    shared: Arc<Shared>,
    slots: Vec<*mut sys::rd_kafka_message_t>,
    with_headers: bool,
    last_topic: Arc<str>,
    /// The topic object of the last message, during a poll: all messages of a poll hold theirs until it has returned them, so that the same pointer is the same topic.
    last_object: *const sys::rd_kafka_topic_t,
    /// Bytes of the longest run of the last poll that brought any, per record: what the next one is likely to need.
    record_bytes: usize,
}

/// Forwards topic partitions to a lane's queue.
#[derive(Clone)]
pub struct LaneHandle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for LaneHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneHandle").finish_non_exhaustive()
    }
}

/// The native queue with the consumer that it belongs to; destroyed with its last holder.
struct Shared {
    queue: NonNull<sys::rd_kafka_queue_t>,
    consumer: Arc<Consumer>,
}

#[expect(unsafe_code, reason = "librdkafka's queues are thread-safe")]
// SAFETY: every librdkafka call on a queue takes the queue's own lock; the consumer is Sync.
unsafe impl Send for Shared {}
#[expect(unsafe_code, reason = "librdkafka's queues are thread-safe")]
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl std::fmt::Debug for LaneQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneQueue")
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

#[expect(
    unsafe_code,
    reason = "a librdkafka queue may be used from any thread, by one at a time"
)]
// SAFETY: the shared part may move; `slots` holds no message between polls.
unsafe impl Send for LaneQueue {}

impl LaneQueue {
    /// A queue that takes up to `batch` records at a time.
    #[expect(unsafe_code, reason = "creates a librdkafka queue")]
    pub(in crate::source) fn new(
        consumer: &Arc<Consumer>,
        batch: usize,
        with_headers: bool,
    ) -> Option<LaneQueue> {
        // SAFETY: the client pointer is valid while `consumer` lives, and the queue is destroyed before it (field order and Drop).
        let queue =
            NonNull::new(unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) })?;
        let shared = Arc::new(Shared {
            queue,
            consumer: Arc::clone(consumer),
        });
        Some(LaneQueue {
            shared,
            slots: vec![null_mut(); batch.max(1)],
            with_headers,
            last_topic: Arc::from(""),
            last_object: null(),
            record_bytes: 0,
        })
    }

    /// What the control thread keeps, to forward topic partitions here while a lane polls.
    pub fn handle(&self) -> LaneHandle {
        LaneHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Waits up to `timeout` for records, copies them out and gives librdkafka its memory back.
    #[expect(unsafe_code, reason = "takes a batch of messages from librdkafka")]
    pub fn poll(&mut self, timeout: Duration) -> Vec<Fetch> {
        let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: `slots` has room for `len` pointers; each pointer returned is valid until it is destroyed below, once.
        let taken = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.shared.queue.as_ptr(),
                timeout_ms,
                self.slots.as_mut_ptr(),
                self.slots.len(),
            )
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        self.last_object = null();
        let mut runs: Vec<Fetch> = Vec::new();
        for index in 0..taken {
            let Some(slot) = self.slots.get(index).copied().and_then(NonNull::new) else {
                continue;
            };
            // SAFETY: see above.
            unsafe {
                self.take(slot.as_ref(), taken - index, &mut runs);
                sys::rd_kafka_message_destroy(slot.as_ptr());
            }
        }
        if let Some(longest) = runs.iter().max_by_key(|run| run.records.len()) {
            self.record_bytes = longest.records.payload_bytes() / longest.records.len().max(1);
        }
        runs
    }

    #[expect(unsafe_code, reason = "reads a message that librdkafka owns")]
    // SAFETY: the caller passes a message that is valid during the call.
    unsafe fn take(
        &mut self,
        message: &sys::rd_kafka_message_t,
        left: usize,
        runs: &mut Vec<Fetch>,
    ) {
        if !std::ptr::eq(self.last_object, message.rkt) {
            // SAFETY: a message from a consumer queue names its topic; the name lives as long as the topic object, which the message holds.
            let topic = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(message.rkt)) };
            if topic.to_bytes() != self.last_topic.as_bytes() {
                self.last_topic = Arc::from(topic.to_string_lossy());
            }
            self.last_object = message.rkt;
        }
        let same_run = runs.last().is_some_and(|run| {
            run.end.is_none()
                && run.error.is_none()
                && run.topic_partition.number == message.partition
                && run.topic_partition.topic == self.last_topic
        });
        if !same_run {
            runs.push(Fetch {
                topic_partition: TopicPartition {
                    topic: Arc::clone(&self.last_topic),
                    number: message.partition,
                },
                // Messages come by topic partition, a fetch response's at a time: this run is likely to be the rest of the poll.
                records: Records::with_room(
                    left,
                    left.saturating_mul(self.record_bytes + 16)
                        .min(ROOM_BYTES_MAX),
                ),
                end: None,
                error: None,
            });
        }
        let Some(run) = runs.last_mut() else { return };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "librdkafka has some two hundred codes"
        )]
        match message.err {
            // SAFETY: the message is valid during the call.
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => unsafe {
                push(message, self.with_headers, &mut run.records)
            },
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                run.end = Some(message.offset)
            }
            code => run.error = Some(failure(message, code)),
        }
    }
}

impl LaneHandle {
    /// Forwards a topic partition's queue here. To be called before it is assigned, so that no record passes through the consumer's queue.
    #[expect(unsafe_code, reason = "forwards one librdkafka queue to another")]
    pub fn attach(&self, topic_partition: &TopicPartition) -> Result<(), Error> {
        let refused = |reason: &str| Error::Refused {
            doing: "forward the queue of",
            topic_partition: topic_partition.clone(),
            reason: reason.to_owned(),
        };
        let topic = CString::new(topic_partition.topic.as_bytes())
            .map_err(|_| refused("the topic's name holds a zero byte"))?;
        // SAFETY: client and topic are valid for the call; the handle is given back below, the forwarding stays with the partition's own queue.
        unsafe {
            let partition = sys::rd_kafka_queue_get_partition(
                self.shared.consumer.client().native_ptr(),
                topic.as_ptr(),
                topic_partition.number,
            );
            if partition.is_null() {
                return Err(refused("it has no queue"));
            }
            sys::rd_kafka_queue_forward(partition, self.shared.queue.as_ptr());
            sys::rd_kafka_queue_destroy(partition);
        }
        Ok(())
    }
}

impl Drop for Shared {
    #[expect(unsafe_code, reason = "gives the queue back to librdkafka")]
    fn drop(&mut self) {
        // SAFETY: the queue is ours and not used after this; the consumer, a later field, still lives.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

#[expect(unsafe_code, reason = "asks librdkafka for the text of an error")]
fn failure(message: &sys::rd_kafka_message_t, code: sys::rd_kafka_resp_err_t) -> FetchError {
    // SAFETY: the text belongs to the message, which is valid during the call.
    let reason = unsafe {
        let text = sys::rd_kafka_message_errstr(message);
        if text.is_null() {
            String::new()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    };
    let code = RDKafkaErrorCode::from(code);
    let offset_out_of_range = matches!(
        code,
        RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset
    );
    let mut reason = if reason.is_empty() {
        code.to_string()
    } else {
        reason
    };
    if code == RDKafkaErrorCode::BadCompression {
        reason.push_str("; the record batch is damaged, or unpacks to more than a quarter of limits.memory (zstd, 64 MiB at least, 256 MiB at most): raise limits.memory, or go past it by `lakeward offsets set`");
    }
    FetchError {
        reason,
        offset_out_of_range,
    }
}

#[expect(unsafe_code, reason = "copies a message that librdkafka owns")]
// SAFETY: the caller passes a message that is valid during the call.
unsafe fn push(message: &sys::rd_kafka_message_t, with_headers: bool, records: &mut Records) {
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: both calls only read the message.
    let (timestamp_ms, leader_epoch) = unsafe {
        (
            sys::rd_kafka_message_timestamp(message, &mut kind),
            sys::rd_kafka_message_leader_epoch(message),
        )
    };
    let timestamp_type = match kind {
        sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => TimestampType::CreateTime,
        sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
            TimestampType::LogAppendTime
        }
        sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => TimestampType::None,
    };
    let at = Coordinates {
        offset: message.offset,
        timestamp_ms: (timestamp_type != TimestampType::None && timestamp_ms >= 0)
            .then_some(timestamp_ms),
        timestamp_type,
        leader_epoch: (leader_epoch >= 0).then_some(leader_epoch),
    };
    // SAFETY: librdkafka gives a pointer and its length, or null; headers live as long as the message.
    unsafe {
        let key = bytes(message.key, message.key_len);
        let value = bytes(message.payload, message.len);
        let headers = if with_headers {
            headers(message)
        } else {
            Vec::new()
        };
        records.push(
            at,
            key,
            value,
            headers.iter().map(|(name, value)| (name.as_ref(), *value)),
        );
    }
}

#[expect(unsafe_code, reason = "views bytes that librdkafka owns")]
// SAFETY: the caller passes a pointer that is null or valid for `len` bytes during 'a.
unsafe fn bytes<'a>(pointer: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as above.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), len) })
}

#[expect(unsafe_code, reason = "views headers that librdkafka owns")]
// SAFETY: the caller passes a message that is valid during 'a.
unsafe fn headers<'a>(
    message: &'a sys::rd_kafka_message_t,
) -> Vec<(std::borrow::Cow<'a, str>, Option<&'a [u8]>)> {
    let mut found = Vec::new();
    let mut list: *mut sys::rd_kafka_headers_t = null_mut();
    // SAFETY: the list and what it names stay valid with the message.
    unsafe {
        if sys::rd_kafka_message_headers(message, &mut list)
            != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return found;
        }
        let (mut name, mut value, mut size) = (null(), null(), 0usize);
        while sys::rd_kafka_header_get_all(list, found.len(), &mut name, &mut value, &mut size)
            == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            found.push((CStr::from_ptr(name).to_string_lossy(), bytes(value, size)));
        }
    }
    found
}
