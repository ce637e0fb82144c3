//! Splits a batch by table partition: one pass over the keys, one `take` for each partition. A batch of one partition is passed on as it is.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use crate::writer::Error;
use crate::writer::placement::transform::{Key, Placed};
use crate::writer::placement::value::Value;

/// The rows of one table partition.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its partition values, in the order of the partition columns.
    pub(crate) values: Vec<Value>,
    /// Its rows, all file columns of them.
    pub(crate) rows: RecordBatch,
}

/// Splits `batch` by its partition values and keeps the columns at `file_columns`; also says how many empty strings became null.
pub(crate) fn split(
    fields: &[Placed],
    file_columns: &[usize],
    batch: &RecordBatch,
) -> Result<(Vec<Part>, u64), Error> {
    let rows = batch.project(file_columns)?;
    let mut groups = Grouping::new(batch.num_rows());
    let mut empties = 0;
    for field in fields {
        let source = field.source(batch)?;
        let keys = field.keys(&source);
        if !field.is_of_text() || !keys.contains(&Some(Key::Text(""))) {
            groups.refine(field, &keys);
            continue;
        }
        // Delta cannot tell the empty string from null: written as null, and counted.
        let keys: Vec<_> = keys
            .into_iter()
            .map(|key| key.filter(|key| *key != Key::Text("")))
            .collect();
        let nulls = keys.iter().filter(|key| key.is_none()).count() - source.null_count();
        empties += u64::try_from(nulls).unwrap_or(0);
        groups.refine(field, &keys);
    }
    Ok((groups.into_parts(rows)?, empties))
}

/// Which group each row belongs to, refined by one partition column after the other.
struct Grouping {
    codes: Vec<u32>,
    values: Vec<Vec<Value>>,
}

impl Grouping {
    fn new(rows: usize) -> Self {
        Grouping {
            codes: vec![0; rows],
            values: vec![Vec::new()],
        }
    }

    fn refine(&mut self, field: &Placed, keys: &[Option<Key<'_>>]) {
        let mut refined: Vec<Vec<Value>> = Vec::new();
        let mut interner = Interner::default();
        for (code, key) in self.codes.iter_mut().zip(keys) {
            let parent = *code;
            *code = interner.code((parent, *key), || {
                let mut values = self.values.get(index(parent)).cloned().unwrap_or_default();
                values.push(field.value(*key));
                refined.push(values);
            });
        }
        self.values = refined;
    }

    fn into_parts(self, rows: RecordBatch) -> Result<Vec<Part>, Error> {
        if self.values.len() <= 1 {
            return Ok(self
                .values
                .into_iter()
                .map(|values| Part {
                    values,
                    rows: rows.clone(),
                })
                .collect());
        }
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); self.values.len()];
        for (row, code) in (0_u32..).zip(&self.codes) {
            if let Some(group) = members.get_mut(index(*code)) {
                group.push(row);
            }
        }
        let part = |(values, rows_of): (Vec<Value>, Vec<u32>)| {
            Ok(Part {
                values,
                rows: take_record_batch(&rows, &UInt32Array::from(rows_of))?,
            })
        };
        self.values.into_iter().zip(members).map(part).collect()
    }
}

/// Numbers distinct keys in the order of their first appearance. A map that withstands chosen keys is slow, so that the keys seen last are asked first.
struct Interner<K> {
    last: Vec<Option<(K, u32)>>,
    seen: HashMap<K, u32>,
}

/// How many keys are asked before the map.
const LAST_KEYS: usize = 256;

impl<K: Copy> Default for Interner<K> {
    fn default() -> Self {
        Interner {
            last: vec![None; LAST_KEYS],
            seen: HashMap::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Interner<K> {
    fn code(&mut self, key: K, on_new: impl FnOnce()) -> u32 {
        let mut spread = Spread(0);
        key.hash(&mut spread);
        let place = usize::try_from(spread.0 >> 32).unwrap_or(0) % LAST_KEYS;
        let last = self.last.get_mut(place);
        if let Some(Some((last, code))) = &last
            && *last == key
        {
            return *code;
        }
        let next = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        let code = *self.seen.entry(key).or_insert_with(|| {
            on_new();
            next
        });
        if let Some(last) = last {
            *last = Some((key, code));
        }
        code
    }
}

/// Spreads keys over few places, quickly.
struct Spread(u64);

impl Spread {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Spread {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        self.add(
            rest.iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        );
    }

    #[inline]
    fn write_u8(&mut self, word: u8) {
        self.add(u64::from(word));
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.add(u64::from(word));
    }

    #[inline]
    fn write_i64(&mut self, word: i64) {
        self.add(word.cast_unsigned());
    }

    #[inline]
    fn write_isize(&mut self, word: isize) {
        self.add(word.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn index(code: u32) -> usize {
    usize::try_from(code).unwrap_or(usize::MAX)
}
