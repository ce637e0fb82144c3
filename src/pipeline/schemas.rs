//! The columns that one table's lanes decode into, which grow while they read. Owns how the wishes of lanes, and what others added to the table, become one schema; the
//! commit that first holds rows of it makes it the table's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, FieldRef, Fields, Schema, SchemaRef};

use crate::clock::Clock;
use crate::config::settings::{Allow, Table};
use crate::decode;
use crate::writer::{self, Encoder, Layout};

/// The columns of decoded rows, and the files that they go to.
#[derive(Debug)]
pub(super) struct TableSchema {
    pub(super) columns: SchemaRef,
    pub(super) layout: Arc<Layout>,
}

/// One table's schema as this process decodes into it.
#[derive(Debug)]
pub(super) struct Schemas {
    settings: Table,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Arc<TableSchema>,
    /// What the table has, as last read.
    table: SchemaRef,
}

impl TableSchema {
    /// The layout of files for rows with these columns.
    pub(super) fn new(
        columns: SchemaRef,
        settings: &Table,
        clock: &Clock,
    ) -> Result<TableSchema, writer::Error> {
        let prefix = &settings.metadata.prefix;
        let coordinates = ["topic", "partition", "offset"].map(|name| format!("{prefix}{name}"));
        let layout = Layout::new(Arc::clone(&columns), &settings.partition_by, clock.clone())?
            .always_indexing(coordinates.iter().map(String::as_str));
        Ok(TableSchema {
            columns,
            layout: Arc::new(layout),
        })
    }
}

impl Schemas {
    /// Begins with the columns of `first`; `table` is what the table has.
    pub(super) fn new(
        first: TableSchema,
        table: SchemaRef,
        settings: &Table,
        clock: &Clock,
    ) -> Schemas {
        Schemas {
            settings: settings.clone(),
            clock: clock.clone(),
            state: Mutex::new(State {
                now: Arc::new(first),
                table,
            }),
        }
    }

    /// What rows are decoded into now.
    pub(super) fn now(&self) -> Arc<TableSchema> {
        Arc::clone(&self.locked().now)
    }

    /// Adds what a lane's next record needs, as the table has it where it has it; says why that cannot be.
    pub(super) fn grow(&self, wished: &Schema) -> Result<Arc<TableSchema>, String> {
        let mut state = self.locked();
        let now = state.now.columns.fields();
        let wished = as_in_table(wished.fields(), state.table.fields())?;
        let grown = decode::widened(now, &wished);
        if grown == *now {
            return Ok(Arc::clone(&state.now));
        }
        let columns = Arc::new(Schema::new(grown));
        let grown = TableSchema::new(columns, &self.settings, &self.clock)
            .map_err(|error| error.to_string())?;
        state.now = Arc::new(grown);
        Ok(Arc::clone(&state.now))
    }

    /// Begins again with the columns of `first`, under a new epoch: what was decoded into others is dropped.
    pub(super) fn restart(&self, first: TableSchema, table: SchemaRef) {
        *self.locked() = State {
            now: Arc::new(first),
            table,
        };
    }

    /// Notes what the table has now.
    pub(super) fn follow(&self, table: SchemaRef) {
        self.locked().table = table;
    }

    /// The schema that has all columns of these rows, decoded and encoded: they grew one out of the other, so it is the widest.
    pub(super) fn widest(
        &self,
        batches: &[RecordBatch],
        encoders: &[Encoder],
    ) -> Result<Arc<TableSchema>, writer::Error> {
        let of_batches = batches.iter().map(RecordBatch::schema_ref);
        let of_encoders = encoders.iter().map(|encoder| encoder.layout().columns());
        let widest = of_batches
            .chain(of_encoders)
            .max_by_key(|columns| columns.flattened_fields().len());
        let now = self.now();
        match widest {
            Some(columns) if *columns != now.columns => {
                TableSchema::new(Arc::clone(columns), &self.settings, &self.clock).map(Arc::new)
            }
            Some(_) | None => Ok(now),
        }
    }

    /// The columns that a commit of these files may add to the table.
    pub(super) fn to_add(&self, schema: &TableSchema) -> Option<SchemaRef> {
        (self.settings.evolution.allow == Allow::AddColumns)
            .then(|| Arc::new(schema.layout.table_schema()))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wished columns with the types that the table already has for them: another instance, or another engine, was first.
pub(super) fn as_in_table(wished: &Fields, table: &Fields) -> Result<Fields, String> {
    let as_found = |field: &FieldRef| -> Result<FieldRef, String> {
        let same = table.iter().find(|other| other.name() == field.name());
        if let Some(same) = same {
            let has = decode::plain(same);
            let both = decode::widened(
                &Fields::from(vec![has]),
                &Fields::from(vec![Field::clone(field)]),
            );
            return Ok(both
                .iter()
                .next()
                .map_or_else(|| FieldRef::clone(field), FieldRef::clone));
        }
        let name = field.name().to_lowercase();
        match table
            .iter()
            .find(|other| other.name().to_lowercase() == name)
        {
            Some(alike) => Err(format!(
                "the table has the column `{}`, which differs from `{}` only in case",
                alike.name(),
                field.name()
            )),
            None => Ok(FieldRef::clone(field)),
        }
    };
    wished.iter().map(as_found).collect()
}
