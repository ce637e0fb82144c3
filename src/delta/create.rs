//! Makes a table: version 0 by put-if-absent, with its sources and their first offsets, so that `start` is resolved once and for all instances. Losers of the
//! race load what the winner made.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::Schema;
use bytes::Bytes;
use deltalake::kernel::{ArrayType, DataType, MapType, StructField, StructType};
use deltalake::logstore::CommitOrBytes;
use serde_json::Map;

use crate::clock::Clock;
use crate::delta::actions::{Format, Metadata, Protocol, Txn};
use crate::delta::entry::{Draft, Info, engine_info};
use crate::delta::error::Error;
use crate::delta::open::TableStore;
use crate::delta::sources::{self, Sources, TopicStart, app_id};
use crate::delta::table::{Creation, Table};
use crate::delta::{Support, features, schema};
use crate::model::offset::Incarnation;

/// The property that records the version of the type mapping.
const MAPPING_VERSION: &str = "lakeward.mapping_version";
/// How long creating may take before the store counts as unavailable.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
const PUT_LIMIT: Duration = Duration::from_secs(30);

impl Table {
    /// Makes the table unless there is one, and loads it. Which of several instances made it shows in nothing but its sources.
    pub async fn create(
        store: &TableStore,
        creation: &Creation,
        sources: &[TopicStart],
        clock: &Clock,
    ) -> Result<Table, Error> {
        if let Some(table) = Table::load(store, clock).await? {
            return Ok(table);
        }
        let entry = compose(store, creation, sources, clock)?;
        let deadline = clock.now().after(DEADLINE);
        loop {
            let put = store.log().write_commit_entry(
                0,
                CommitOrBytes::LogBytes(entry.clone()),
                clock.new_uuid(),
            );
            let put = clock.timeout(PUT_LIMIT, put).await;
            // Whatever the store answered, the log says whose version 0 it is (COMMIT-1).
            if let Some(table) = Table::load(store, clock).await? {
                return Ok(table);
            }
            if clock.now() >= deadline {
                let source = match put {
                    Some(Err(error)) => error.to_string(),
                    Some(Ok(())) => "the entry was taken, but cannot be read".to_owned(),
                    None => "no answer".to_owned(),
                };
                return Err(store.failed("create the table", source));
            }
            clock.sleep(PAUSE).await;
        }
    }
}

impl Support {
    /// Of a table that is made with these columns.
    pub fn of_new(columns: &Schema) -> Result<Support, String> {
        let columns = schema::from_arrow(columns)?;
        Ok(Support::of(&lowest_protocol(&columns)))
    }
}

fn compose(
    store: &TableStore,
    creation: &Creation,
    starts: &[TopicStart],
    clock: &Clock,
) -> Result<Bytes, Error> {
    let misfit = |reason: String| Error::Misfit {
        location: store.url().to_string(),
        reason,
    };
    let columns = plain(&schema::from_arrow(&creation.columns).map_err(misfit)?).map_err(misfit)?;
    if let Some(missing) = creation
        .partition_columns
        .iter()
        .find(|name| columns.field(name.as_str()).is_none())
    {
        return Err(misfit(format!(
            "the table partition column `{missing}` is not among its columns"
        )));
    }
    let mut sources = Sources::default();
    let begun = sources.begin(starts).into_iter();
    let txns = begun
        .map(|(topic_partition, version)| Txn {
            app_id: app_id(&topic_partition, Incarnation(0)),
            version,
        })
        .collect();
    let metadata = Metadata {
        id: clock.new_id(),
        name: None,
        description: None,
        format: Format::default(),
        schema_string: serde_json::to_string(&columns).map_err(bug)?,
        partition_columns: creation.partition_columns.clone(),
        configuration: configuration(creation, &sources)?,
        created_time: Some(clock.wall_ms()),
        other: Map::new(),
    };
    let info = Info {
        timestamp: clock.wall_ms(),
        operation: "CREATE TABLE",
        operation_parameters: BTreeMap::from([(
            "partitionBy",
            serde_json::to_string(&creation.partition_columns).map_err(bug)?,
        )]),
        operation_metrics: BTreeMap::new(),
        engine_info: engine_info(),
        is_blind_append: true,
        txn_id: clock.new_id(),
        lakeward: None,
    };
    Draft {
        info,
        protocol: Some(&lowest_protocol(&columns)),
        metadata: Some(&metadata),
        txns,
        files: &[],
    }
    .to_bytes()
}

/// The properties of the config, none of which may need a feature, and our own.
fn configuration(
    creation: &Creation,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, Error> {
    let mut configuration = creation.properties.clone();
    for (key, value) in &configuration {
        features::judge_property(key, value).map_err(|reason| Error::Property {
            key: key.clone(),
            reason,
        })?;
    }
    configuration.insert(
        sources::PROPERTY.to_owned(),
        sources.to_property().map_err(bug)?,
    );
    configuration.insert(
        MAPPING_VERSION.to_owned(),
        creation.mapping_version.to_string(),
    );
    Ok(configuration)
}

fn bug(error: serde_json::Error) -> Error {
    Error::Bug(format!("the table's metadata cannot be written ({error})"))
}

/// The lowest protocol that holds the types: readers of plain tables need no feature.
fn lowest_protocol(columns: &StructType) -> Protocol {
    if !schema::holds_timestamp_ntz(columns) {
        return Protocol {
            min_reader_version: 1,
            min_writer_version: 2,
            reader_features: None,
            writer_features: None,
        };
    }
    let named = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: named(&["timestampNtz"]),
        writer_features: named(&["appendOnly", "invariants", "timestampNtz"]),
    }
}

/// The same columns, all nullable, without what Arrow or Parquet noted on them.
fn plain(columns: &StructType) -> Result<StructType, String> {
    let fields = columns
        .fields()
        .map(|field| {
            Ok(StructField::nullable(
                field.name().clone(),
                plain_type(field.data_type())?,
            ))
        })
        .collect::<Result<Vec<_>, String>>()?;
    StructType::try_new(fields)
        .map_err(|error| format!("its columns make no Delta schema ({error})"))
}

/// The same type, its parts nullable.
pub(crate) fn plain_type(kind: &DataType) -> Result<DataType, String> {
    Ok(match kind {
        DataType::Primitive(primitive) => DataType::Primitive(primitive.clone()),
        DataType::Array(array) => ArrayType::new(plain_type(array.element_type())?, true).into(),
        DataType::Map(map) => MapType::new(
            plain_type(map.key_type())?,
            plain_type(map.value_type())?,
            true,
        )
        .into(),
        DataType::Struct(inner) => DataType::Struct(Box::new(plain(inner)?)),
        DataType::Variant(_) => return Err("VARIANT columns are not built yet".to_owned()),
    })
}
