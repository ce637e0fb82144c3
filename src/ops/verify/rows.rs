//! The rows of every live file: coordinates into a coverage per life, counts and statistics held against the data. Bounded by one batch and the coverage.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use futures::TryStreamExt as _;
use object_store::path::Path;

use crate::error;
use crate::ops::exit::Failure;
use crate::ops::progress::Progress;
use crate::ops::stored_file;
use crate::ops::verify::audit::Subject;
use crate::ops::verify::coverage::Coverage;
use crate::ops::verify::history::{History, Life, LiveFile};
use crate::ops::verify::report::{Kind, Report};
use crate::ops::verify::statistics::Statistics;
use crate::ops::waiting::Patience;

/// Rows in memory at once.
const BATCH_ROWS: usize = 8192;

/// The coordinates of all rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    lives: BTreeMap<Life, Coverage>,
    rows: u64,
}

impl Rows {
    /// Rows of `life` in `[start, end)`.
    pub(crate) fn count(&self, life: &Life, start: i64, end: i64) -> u64 {
        self.lives
            .get(life)
            .map_or(0, |coverage| coverage.count(start, end))
    }

    /// Whether a row has these coordinates.
    pub(crate) fn contains(&self, life: &Life, offset: i64) -> bool {
        self.lives
            .get(life)
            .is_some_and(|coverage| coverage.contains(offset))
    }

    /// Rows that were read, coordinates or not.
    pub(crate) fn len(&self) -> u64 {
        self.rows
    }
}

/// Reads every live file.
pub(crate) async fn read(
    subject: &Subject,
    history: &History,
    report: &mut Report,
    patience: &Patience,
) -> Result<Rows, Failure> {
    let progress = Progress::over(
        "bytes of files",
        history.files.values().map(|file| file.size).sum(),
    );
    let mut reading = Reading {
        history,
        prefix: &subject.prefix,
        rows: Rows::default(),
        report,
    };
    for (path, file) in &history.files {
        if file.has_deletion_vector {
            reading.report.unproved(format!("the rows of {path}: others deleted some by a deletion vector, which this audit does not read"));
        } else if let Err(error) = reading.file(subject, path, file, patience).await {
            match error {
                Trouble::Outside(failure) => return Err(failure),
                Trouble::File(error) if stored_file::is_outside(&error) => {
                    let failure = Failure::new(error::Kind::Unavailable, error);
                    return Err(failure.context(format!("cannot read {path}")));
                }
                // Said already, when its size was asked for.
                Trouble::File(error) if stored_file::is_missing(&error) => {}
                Trouble::File(error) => reading
                    .report
                    .finding(Kind::Unreadable, || format!("{path}: {error}")),
            }
        }
        progress.advance(file.size);
    }
    progress.done();
    Ok(reading.rows)
}

enum Trouble {
    Outside(Failure),
    File(parquet::errors::ParquetError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Outside(failure)
    }
}

impl From<parquet::errors::ParquetError> for Trouble {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Trouble::File(error)
    }
}

struct Reading<'a> {
    history: &'a History,
    prefix: &'a str,
    rows: Rows,
    report: &'a mut Report,
}

/// The coordinate columns of one batch, whether they come from the file or are partition values.
struct Coordinates {
    topics: StringArray,
    partitions: ArrayRef,
    offsets: ArrayRef,
}

impl Reading<'_> {
    async fn file(
        &mut self,
        subject: &Subject,
        path: &Path,
        file: &LiveFile,
        patience: &Patience,
    ) -> Result<(), Trouble> {
        let opened = stored_file::open(&subject.objects, path);
        let mut stream = patience
            .wait("the store (`storage.url`)", opened)
            .await??
            .with_batch_size(BATCH_ROWS)
            .build()?;
        let mut statistics = Statistics::new(file.stats.as_deref());
        let mut without_coordinates = 0;
        while let Some(batch) = patience
            .wait("the store (`storage.url`)", stream.try_next())
            .await??
        {
            self.rows.rows += batch.num_rows() as u64;
            statistics.observe(&batch);
            match self.coordinates(&batch, file) {
                Some(coordinates) => without_coordinates += self.take(&coordinates, path, file),
                None => without_coordinates += batch.num_rows(),
            }
        }
        for wrong in statistics.verdict() {
            self.report
                .finding(Kind::Statistics, || format!("{path}: {wrong}"));
        }
        if without_coordinates > 0 && file.appended_at.is_some() {
            self.report
                .findings(Kind::StrayRow, without_coordinates as u64, || {
                    format!("{path}: {without_coordinates} rows of ours have no coordinates")
                });
        } else if without_coordinates > 0 {
            self.report.unproved(format!("{without_coordinates} rows of {path}: they have no coordinates, so others wrote them"));
        }
        Ok(())
    }

    fn coordinates(&self, batch: &RecordBatch, file: &LiveFile) -> Option<Coordinates> {
        let column = |name: &str, kind: &DataType| {
            let name = format!("{}{name}", self.prefix);
            let column = match (
                batch.column_by_name(&name),
                file.partition_values.get(&name),
            ) {
                (Some(column), _) => Arc::clone(column),
                (None, Some(value)) => {
                    Arc::new(StringArray::from(vec![value.as_deref(); batch.num_rows()]))
                }
                (None, None) => return None,
            };
            arrow::compute::cast(&column, kind).ok()
        };
        Some(Coordinates {
            topics: column("topic", &DataType::Utf8)?
                .as_string_opt::<i32>()?
                .clone(),
            partitions: column("partition", &DataType::Int32)?,
            offsets: column("offset", &DataType::Int64)?,
        })
    }

    /// Enters the rows of a batch, and returns how many have no coordinates.
    fn take(&mut self, coordinates: &Coordinates, path: &Path, file: &LiveFile) -> usize {
        let (Some(partitions), Some(offsets)) = (
            coordinates.partitions.as_primitive_opt::<Int32Type>(),
            coordinates.offsets.as_primitive_opt::<Int64Type>(),
        ) else {
            return coordinates.topics.len();
        };
        let mut without = 0;
        let mut current: Option<(Life, Place)> = None;
        for ((topic, partition), offset) in coordinates.topics.iter().zip(partitions).zip(offsets) {
            let (Some(topic), Some(partition), Some(offset)) = (topic, partition, offset) else {
                without += 1;
                continue;
            };
            if current
                .as_ref()
                .is_none_or(|(life, _)| life.partition != partition || &*life.topic != topic)
            {
                current = Some(self.place(topic, partition, file));
            }
            if let Some((life, place)) = &current {
                self.enter(life, *place, offset, path);
            }
        }
        without
    }

    fn place(&self, topic: &str, partition: i32, file: &LiveFile) -> (Life, Place) {
        let topic: Arc<str> = topic.into();
        let life = |incarnation| Life {
            topic: Arc::clone(&topic),
            partition,
            incarnation,
        };
        match self.history.incarnation(&topic, partition, file) {
            None => (life(0), Place::Unknown),
            Some(None) => (life(0), Place::Ambiguous),
            Some(Some(incarnation)) => {
                let life = life(incarnation);
                let progress = self.history.lives.get(&life);
                let start = progress
                    .filter(|progress| progress.from_its_start)
                    .and_then(|progress| progress.tiles.first())
                    .map_or(i64::MIN, |tile| tile.start);
                let end = progress
                    .and_then(|progress| progress.committed)
                    .unwrap_or(i64::MAX);
                (life, Place::Known { start, end })
            }
        }
    }

    fn enter(&mut self, life: &Life, place: Place, offset: i64, path: &Path) {
        match place {
            Place::Unknown => self.report.finding(Kind::StrayRow, || format!("{path}: a row of {life} offset {offset}, which the table has never read")),
            Place::Ambiguous => self.report.unproved(format!("rows of {life} in {path}: the log does not say any more to which incarnation they belong")),
            Place::Known { start, end } => {
                if offset < start || offset >= end {
                    self.report.finding(Kind::StrayRow, || format!("{path}: a row of {life} offset {offset} is outside of every committed span"));
                }
                // The entry API would clone the life for every row.
                let added = match self.rows.lives.get_mut(life) {
                    Some(coverage) => coverage.insert(offset),
                    None => self.rows.lives.entry(life.clone()).or_default().insert(offset),
                };
                if !added {
                    self.report.finding(Kind::DuplicateRow, || format!("{path}: {life} offset {offset} is in the table twice"));
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// No topic partition of the table.
    Unknown,
    /// One of several lives, and the log no longer says which.
    Ambiguous,
    /// One life, with its committed range.
    Known { start: i64, end: i64 },
}
