//! Kafka records as fetched: one arena of bytes for a batch and the places inside it. Does not interpret a byte of them.

use std::ops::Range;

/// What a record's timestamp means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The record has none.
    #[default]
    None,
    /// Set by the producer.
    CreateTime,
    /// Set by the broker on append.
    LogAppendTime,
}

/// A record without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coordinates {
    /// The record's offset.
    pub offset: i64,
    /// Milliseconds since 1970 UTC, where the record has a timestamp.
    pub timestamp_ms: Option<i64>,
    /// What the timestamp means.
    pub timestamp_type: TimestampType,
    /// The leader epoch the broker wrote it under, where known.
    pub leader_epoch: Option<i32>,
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Offset and timestamp.
    pub at: Coordinates,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: &'a [Header],
    arena: &'a [u8],
}

impl<'a> Record<'a> {
    /// The headers in their order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let arena = self.arena;
        self.headers.iter().map(move |header| {
            let name = arena
                .get(header.name.clone())
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
                .unwrap_or("");
            (
                name,
                header.value.clone().and_then(|range| arena.get(range)),
            )
        })
    }
}

#[derive(Debug, Clone)]
struct Header {
    name: Range<usize>,
    value: Option<Range<usize>>,
}

#[derive(Debug, Clone)]
struct Entry {
    at: Coordinates,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// Records of one topic partition in the order of their offsets, with all their bytes in one arena.
#[derive(Debug, Clone, Default)]
pub struct Records {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<Header>,
}

impl Records {
    /// No records yet, with room for some.
    pub fn with_room(records: usize, bytes: usize) -> Self {
        Records {
            arena: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(records),
            headers: Vec::new(),
        }
    }

    /// Appends a record by copying its bytes into the arena.
    pub fn push<'h>(
        &mut self,
        at: Coordinates,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) {
        let key = key.map(|bytes| self.store(bytes));
        let value = value.map(|bytes| self.store(bytes));
        let first_header = self.headers.len();
        for (name, value) in headers {
            let header = Header {
                name: self.store(name.as_bytes()),
                value: value.map(|bytes| self.store(bytes)),
            };
            self.headers.push(header);
        }
        self.entries.push(Entry {
            at,
            key,
            value,
            headers: first_header..self.headers.len(),
        });
    }

    fn store(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes held, with their bookkeeping.
    pub fn size_bytes(&self) -> usize {
        self.arena.len()
            + self.entries.len() * size_of::<Entry>()
            + self.headers.len() * size_of::<Header>()
    }

    /// The bytes of keys, values and headers as they came.
    pub fn payload_bytes(&self) -> usize {
        self.arena.len()
    }

    /// The records from index `from` on.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().skip(from).map(|entry| self.view(entry))
    }

    /// The record at `index`.
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        self.entries.get(index).map(|entry| self.view(entry))
    }

    fn view<'a>(&'a self, entry: &'a Entry) -> Record<'a> {
        Record {
            at: entry.at,
            key: entry.key.clone().and_then(|range| self.arena.get(range)),
            value: entry.value.clone().and_then(|range| self.arena.get(range)),
            headers: self.headers.get(entry.headers.clone()).unwrap_or(&[]),
            arena: &self.arena,
        }
    }
}
