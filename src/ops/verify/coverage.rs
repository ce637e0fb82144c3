//! A set of offsets that stays small whether they are dense or sparse: chunks of 65536 as a list, a bitmap, or nothing but "full". Knows no topic.

use std::collections::BTreeMap;

const CHUNK: i64 = 1 << 16;
const WORDS: usize = 1 << 10;
/// From here on a bitmap of 8 KiB is smaller than a list of 2-byte places.
const FEW_MAX: usize = 4096;

/// Offsets of one life of one topic partition.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    chunks: BTreeMap<i64, Chunk>,
    len: u64,
}

#[derive(Debug)]
enum Chunk {
    Few(Vec<u16>),
    Bits { words: Box<[u64; WORDS]>, set: u32 },
    Full,
}

impl Coverage {
    /// Adds an offset; false when it is there already.
    pub(crate) fn insert(&mut self, offset: i64) -> bool {
        let (number, place) = split(offset);
        let added = self
            .chunks
            .entry(number)
            .or_insert_with(|| Chunk::Few(Vec::new()))
            .insert(place);
        self.len += u64::from(added);
        added
    }

    /// Whether an offset is there.
    pub(crate) fn contains(&self, offset: i64) -> bool {
        let (number, place) = split(offset);
        self.chunks
            .get(&number)
            .is_some_and(|chunk| chunk.contains(place))
    }

    /// How many offsets there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many offsets lie in `[start, end)`.
    pub(crate) fn count(&self, start: i64, end: i64) -> u64 {
        if end <= start {
            return 0;
        }
        let (first, last) = (start.div_euclid(CHUNK), (end - 1).div_euclid(CHUNK));
        self.chunks
            .range(first..=last)
            .map(|(number, chunk)| {
                let base = number * CHUNK;
                chunk.count((start - base).max(0), (end - base).min(CHUNK))
            })
            .sum()
    }
}

impl Chunk {
    fn insert(&mut self, place: u16) -> bool {
        match self {
            Chunk::Full => false,
            Chunk::Few(places) => {
                let Err(at) = places.binary_search(&place) else {
                    return false;
                };
                places.insert(at, place);
                if places.len() > FEW_MAX {
                    *self = Chunk::bits(places);
                }
                true
            }
            Chunk::Bits { words, set } => {
                let Some(word) = words.get_mut(usize::from(place / 64)) else {
                    return false;
                };
                let bit = 1 << (place % 64);
                if *word & bit != 0 {
                    return false;
                }
                *word |= bit;
                *set += 1;
                if i64::from(*set) == CHUNK {
                    *self = Chunk::Full;
                }
                true
            }
        }
    }

    fn bits(places: &[u16]) -> Chunk {
        let mut words = Box::new([0; WORDS]);
        for place in places {
            if let Some(word) = words.get_mut(usize::from(place / 64)) {
                *word |= 1 << (place % 64);
            }
        }
        Chunk::Bits {
            words,
            set: u32::try_from(places.len()).unwrap_or(u32::MAX),
        }
    }

    fn contains(&self, place: u16) -> bool {
        match self {
            Chunk::Full => true,
            Chunk::Few(places) => places.binary_search(&place).is_ok(),
            Chunk::Bits { words, .. } => words
                .get(usize::from(place / 64))
                .is_some_and(|word| word & (1 << (place % 64)) != 0),
        }
    }

    /// Within `[from, to)` of this chunk, `0 <= from < to <= CHUNK`.
    fn count(&self, from: i64, to: i64) -> u64 {
        match self {
            Chunk::Full => (to - from).unsigned_abs(),
            Chunk::Few(places) => {
                let below = |limit: i64| places.partition_point(|place| i64::from(*place) < limit);
                (below(to) - below(from)) as u64
            }
            Chunk::Bits { set, .. } if to - from == CHUNK => u64::from(*set),
            Chunk::Bits { words, .. } => (0_i64..)
                .step_by(64)
                .zip(words.iter())
                .map(|(at, word)| u64::from((word & mask(from - at, to - at)).count_ones()))
                .sum(),
        }
    }
}

fn split(offset: i64) -> (i64, u16) {
    (
        offset.div_euclid(CHUNK),
        u16::try_from(offset.rem_euclid(CHUNK)).unwrap_or(0),
    )
}

/// The bits `[from, to)` of a word; both may lie outside of it.
fn mask(from: i64, to: i64) -> u64 {
    let below = |limit: i64| match limit {
        i64::MIN..=0 => 0,
        64.. => u64::MAX,
        bits => (1_u64 << bits) - 1,
    };
    below(to) & !below(from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_agrees_with_a_plain_set(steps in prop::collection::vec((0_i64..3, 0_i64..200_000, 1_i64..9000), 1..12), from in 0_i64..200_000, length in 0_i64..200_000) {
            let (mut coverage, mut plain) = (Coverage::default(), BTreeSet::new());
            for (stride, start, count) in steps {
                for index in 0..count {
                    let offset = start + index * (1 + stride * 7);
                    prop_assert_eq!(coverage.insert(offset), plain.insert(offset));
                }
            }
            prop_assert_eq!(coverage.len(), plain.len() as u64);
            prop_assert_eq!(coverage.count(from, from + length), plain.range(from..from + length).count() as u64);
            for offset in from..from + 100 {
                prop_assert_eq!(coverage.contains(offset), plain.contains(&offset));
            }
        }
    }

    #[test]
    fn a_dense_chunk_costs_nothing() {
        let mut coverage = Coverage::default();
        for offset in 0..CHUNK {
            assert!(coverage.insert(offset));
        }
        assert!(matches!(coverage.chunks.get(&0), Some(Chunk::Full)));
        assert!(!coverage.insert(9));
        assert_eq!(coverage.count(10, 20), 10);
    }
}
