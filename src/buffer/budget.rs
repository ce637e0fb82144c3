//! Divides `limits.memory` where it is known, so that the parts never add up to more (MEM-1). Owns the shares; who holds memory shows a permit of a pool.
//!
//! | share | of | why |
//! |---|---|---|
//! | overhead | an eighth of all, 96 MiB at least | code (30 MiB), stacks, table state, what an allocator keeps between size classes (10 % was measured) |
//! | fetch, 20 % of the rest | librdkafka | half for its queues, half for a response on its way, which its queue limits do not see; a message costs it a kibibyte beside its bytes |
//! | rows, 57 % | raw chunks, builders, encoders | two thirds of the work is encoding, and larger files need room; a flush for memory begins at 70 % of it, so lanes go on meanwhile |
//! | flush, 15 % | joining, footers, parts on their way | reserved and lent to nobody else, so that memory can always be freed |
//! | maintenance, 8 % | checkpoints, compaction | one file at a time |

use crate::error::Kind;
use crate::model::memory::Pool;

const MIB: u64 = 1024 * 1024;
const OVERHEAD_BYTES_MIN: u64 = 96 * MIB;
const OVERHEAD_PART: u64 = 8;
const FETCH_PERCENT: u64 = 20;
const ROWS_PERCENT: u64 = 57;
const FLUSH_PERCENT: u64 = 15;
const MAINTENANCE_PERCENT: u64 = 8;
/// A lane with less could not hold a chunk, its builders and an open file.
const LANE_BYTES_MIN: u64 = 8 * MIB;
/// Less than this for each topic partition and every fetch would bring one record batch.
const FETCH_BYTES_MIN: u64 = 16 * 1024;
/// More in one response does not make fetching faster.
const RESPONSE_BYTES_MAX: u64 = 50 * MIB;
const TOPIC_PARTITION_RESPONSE_BYTES_MAX: u64 = 4 * MIB;
const QUEUE_BYTES_MAX: u64 = 64 * MIB;
/// `sizeof(rd_kafka_op_t)` of librdkafka 2.12: what each queued message costs beside its bytes, unseen by `queued.max.messages.kbytes`.
const MESSAGE_BYTES: u64 = 1024;
/// Fewer would make a lane wait for every response.
const QUEUE_MESSAGES_MIN: u64 = 256;
const QUEUE_MESSAGES_MAX: u64 = 100_000;
/// What a byte of a response becomes once it is parsed: records of some 200 bytes, compressed to half, with their message each.
const RESPONSE_GROWTH: u64 = 12;
const RESPONSE_BYTES_MIN: u64 = 64 * 1024;
/// A record batch, which is unpacked whole, may have this part of the limit.
const RECORD_BATCH_PART: u64 = 4;
const RECORD_BATCH_BYTES_MIN: u64 = 64 * MIB;
const RECORD_BATCH_BYTES_MAX: u64 = 256 * MIB;
/// Decoded rows become a batch at an eighth of the lane's memory: builders, batches on their way to an encoder, and its pages are there at the same time.
const LANE_BATCHES: u64 = 8;
const BATCH_BYTES_MIN: u64 = 512 * 1024;
const BATCH_BYTES_MAX: u64 = 32 * MIB;

/// What the division depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// `limits.memory`.
    pub memory_bytes: u64,
    /// Lanes.
    pub lanes: usize,
    /// Topic partitions that this process may come to own.
    pub topic_partitions: usize,
}

/// The shares of `limits.memory`.
#[derive(Debug, Clone)]
pub struct Budget {
    /// For what nobody accounts for.
    pub overhead_bytes: u64,
    /// librdkafka's bounds.
    pub fetch: Fetch,
    /// Raw chunks, builders and encoders.
    pub rows: Pool,
    /// What a flush needs beside the rows it flushes.
    pub flush: Pool,
    /// Checkpoints and compaction.
    pub maintenance: Pool,
    /// The size at which a lane makes a batch of decoded rows.
    pub batch_bytes: u64,
}

/// librdkafka's share, in its own properties' terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// The whole share.
    pub total_bytes: u64,
    /// `queued.max.messages.kbytes`: topic partitions share their lane's queue, so it bounds a lane.
    pub queue_kbytes: u64,
    /// `queued.min.messages`, from which a lane's queue counts as full.
    pub queue_messages: u64,
    /// `fetch.message.max.bytes`, for each topic partition in a response.
    pub topic_partition_bytes: u64,
    /// `fetch.max.bytes`, for a response.
    pub response_bytes: u64,
    /// What one record batch may have beyond that, which comes whole (KIP-74); for zstd, unpacked too: `receive.message.max.bytes` less a response.
    pub record_batch_bytes: u64,
}

/// A limit that cannot be divided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too little for the lanes and topic partitions.
    #[error(
        "limits.memory: {memory_bytes} bytes are too few for {lanes} lanes and {topic_partitions} topic partitions; they need {needed_bytes}, or fewer lanes (limits.lanes)"
    )]
    TooSmall {
        /// What is written.
        memory_bytes: u64,
        /// Lanes.
        lanes: usize,
        /// Topic partitions.
        topic_partitions: usize,
        /// What would do.
        needed_bytes: u64,
    },
}

impl Error {
    /// Says what to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::TooSmall { .. } => Kind::Invalid,
        }
    }
}

impl Budget {
    /// Divides the limit (MEM-1).
    pub fn divide(shape: Shape) -> Result<Budget, Error> {
        let lanes = to_u64(shape.lanes).max(1);
        let topic_partitions = to_u64(shape.topic_partitions).max(1);
        let needed_bytes = needed_bytes(lanes, topic_partitions);
        if shape.memory_bytes < needed_bytes {
            let Shape {
                memory_bytes,
                lanes,
                topic_partitions,
            } = shape;
            return Err(Error::TooSmall {
                memory_bytes,
                lanes,
                topic_partitions,
                needed_bytes,
            });
        }
        let overhead_bytes = (shape.memory_bytes / OVERHEAD_PART).max(OVERHEAD_BYTES_MIN);
        let rest = shape.memory_bytes - overhead_bytes;
        let rows = rest / 100 * ROWS_PERCENT;
        Ok(Budget {
            overhead_bytes,
            fetch: Fetch::divide(rest / 100 * FETCH_PERCENT, lanes, shape.memory_bytes),
            rows: Pool::new(rows),
            flush: Pool::new(rest / 100 * FLUSH_PERCENT),
            maintenance: Pool::new(rest / 100 * MAINTENANCE_PERCENT),
            batch_bytes: (rows / lanes / LANE_BATCHES).clamp(BATCH_BYTES_MIN, BATCH_BYTES_MAX),
        })
    }
}

impl Fetch {
    fn divide(total_bytes: u64, lanes: u64, memory_bytes: u64) -> Self {
        let half = total_bytes / 2;
        // A quarter of the share each: the messages' bytes, and the messages.
        let queue_part = half / 2 / lanes;
        let response_bytes = (half / RESPONSE_GROWTH).clamp(RESPONSE_BYTES_MIN, RESPONSE_BYTES_MAX);
        Fetch {
            total_bytes,
            queue_kbytes: (queue_part.min(QUEUE_BYTES_MAX) / 1024).max(1),
            queue_messages: (queue_part / MESSAGE_BYTES)
                .clamp(QUEUE_MESSAGES_MIN, QUEUE_MESSAGES_MAX),
            topic_partition_bytes: response_bytes.min(TOPIC_PARTITION_RESPONSE_BYTES_MAX),
            response_bytes,
            record_batch_bytes: (memory_bytes / RECORD_BATCH_PART)
                .clamp(RECORD_BATCH_BYTES_MIN, RECORD_BATCH_BYTES_MAX),
        }
    }
}

/// The least limit whose shares give each lane and each topic partition its minimum.
fn needed_bytes(lanes: u64, topic_partitions: u64) -> u64 {
    let for_lanes = (lanes * LANE_BYTES_MIN).div_ceil(ROWS_PERCENT);
    let for_fetch = (topic_partitions * FETCH_BYTES_MIN * 2).div_ceil(FETCH_PERCENT);
    let rest = for_lanes.max(for_fetch) * 100;
    (rest + OVERHEAD_BYTES_MIN).max((rest * OVERHEAD_PART).div_ceil(OVERHEAD_PART - 1))
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * MIB;

    fn shape(memory_bytes: u64, lanes: usize, topic_partitions: usize) -> Shape {
        Shape {
            memory_bytes,
            lanes,
            topic_partitions,
        }
    }

    #[test]
    fn mem_1_the_shares_never_add_up_to_more_than_the_limit() {
        for memory_bytes in [64 * MIB, 128 * MIB, 300 * MIB + 7, GIB, 4 * GIB, 64 * GIB] {
            for lanes in [1, 2, 7, 64] {
                for topic_partitions in [0, 1, 6, 100, 3000] {
                    let Ok(budget) = Budget::divide(shape(memory_bytes, lanes, topic_partitions))
                    else {
                        continue;
                    };
                    let shares = [
                        budget.overhead_bytes,
                        budget.fetch.total_bytes,
                        budget.rows.limit_bytes(),
                        budget.flush.limit_bytes(),
                        budget.maintenance.limit_bytes(),
                    ];
                    assert!(
                        shares.iter().sum::<u64>() <= memory_bytes,
                        "{shares:?} of {memory_bytes}"
                    );
                    let Fetch {
                        total_bytes,
                        queue_kbytes,
                        queue_messages,
                        response_bytes,
                        ..
                    } = budget.fetch;
                    let queues =
                        (queue_kbytes * 1024 + queue_messages * MESSAGE_BYTES) * to_u64(lanes);
                    let held = queues + response_bytes * RESPONSE_GROWTH;
                    assert!(
                        held <= total_bytes,
                        "MEM-1: librdkafka's bounds add up: {held} of {total_bytes}"
                    );
                    assert!(
                        budget.batch_bytes * LANE_BATCHES * to_u64(lanes)
                            <= budget.rows.limit_bytes()
                    );
                }
            }
        }
    }

    #[test]
    fn a_record_batch_may_have_a_quarter_of_the_limit_within_bounds() {
        for (limit_mib, batch_mib) in [(160, 64), (256, 64), (512, 128), (1024, 256), (8192, 256)] {
            let budget = Budget::divide(shape(limit_mib * MIB, 2, 6)).unwrap();
            assert_eq!(
                budget.fetch.record_batch_bytes / MIB,
                batch_mib,
                "{limit_mib}"
            );
        }
    }

    #[test]
    fn the_default_limit_leaves_rows_the_most() {
        let budget = Budget::divide(shape(GIB, 2, 6)).unwrap();
        assert_eq!(budget.rows.limit_bytes() / MIB, 510);
        assert_eq!(budget.fetch.queue_kbytes / 1024, 22);
        assert_eq!(budget.fetch.queue_messages / 1000, 22);
        assert_eq!(budget.fetch.response_bytes / MIB, 7);
        assert_eq!(budget.batch_bytes / MIB, 31);
    }

    #[test]
    fn a_limit_that_is_too_small_is_refused_with_one_that_would_do() {
        for (lanes, topic_partitions) in [(1, 1), (2, 6), (16, 3), (2, 5000)] {
            let Err(Error::TooSmall { needed_bytes, .. }) =
                Budget::divide(shape(20 * MIB, lanes, topic_partitions))
            else {
                panic!("20 MiB did")
            };
            assert!(Budget::divide(shape(needed_bytes, lanes, topic_partitions)).is_ok());
            assert!(Budget::divide(shape(needed_bytes - 1, lanes, topic_partitions)).is_err());
        }
        let message = Budget::divide(shape(20 * MIB, 2, 6))
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("limits.memory: 20971520 bytes are too few for 2 lanes and 6 topic partitions; they need "), "{message}");
    }
}
