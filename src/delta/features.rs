//! Which protocol features of a table we honour and which we refuse, each by name; none is ignored. Owns that judgement; knows nothing of commits.
//!
//! A writer that adds files, txns and metaData, and puts whole files in the place of others without data change, owes little to most features:
//!
//! | feature (legacy writer version) | verdict |
//! |---|---|
//! | appendOnly (2), timestampNtz, deletionVectors, v2Checkpoint, vacuumProtocolCheck, domainMetadata | honoured: an append owes them nothing, and maintenance leaves files with deletion vectors alone |
//! | changeDataFeed (4) | honoured: readers derive an append's changes from its `add` actions |
//! | checkpointProtection | honoured: it binds log clean-up, which leaves such a log alone |
//! | invariants (2), checkConstraints (3), generatedColumns (4), identityColumns (6), allowColumnDefaults | honoured where no column or property uses them, else refused |
//! | columnMapping (5), inCommitTimestamp | honoured where the table has it switched off, else refused |
//! | rowTracking, typeWidening, icebergCompat*, clustering, variantType, catalogManaged and the like | refused: they bind every writer |
//! | everything else | refused as unknown |

use std::collections::BTreeMap;

use deltalake::kernel::{DataType, StructType};

use crate::delta::actions::{Metadata, Protocol};
use crate::delta::error::Error;
use crate::delta::schema;

/// The highest protocol versions there are; from these on, features are listed by name.
const READER_VERSION_MAX: i32 = 3;
const WRITER_VERSION_MAX: i32 = 7;

const DROP_FEATURE: &str =
    "drop the feature (ALTER TABLE ... DROP FEATURE) or write to a new table";

const TIMESTAMP_NTZ: &str = "timestampNtz";

/// Features to which an append owes nothing.
const HONOURED: [&str; 8] = [
    "appendOnly",
    "timestampNtz",
    "deletionVectors",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "domainMetadata",
    "changeDataFeed",
    "checkpointProtection",
];

/// Features that bind us where a column's metadata has a key: feature, key, what the column then has.
const IN_COLUMNS: [(&str, &str, &str); 4] = [
    (
        "invariants",
        "delta.invariants",
        "an invariant, which Lakeward cannot check",
    ),
    (
        "generatedColumns",
        "delta.generationExpression",
        "a generation expression, which Lakeward cannot evaluate",
    ),
    (
        "identityColumns",
        "delta.identity.start",
        "an identity, which Lakeward cannot draw",
    ),
    (
        "allowColumnDefaults",
        "CURRENT_DEFAULT",
        "a default, which Lakeward cannot evaluate",
    ),
];

/// Features that bind us where a property switches them on: feature, property, the value that is off, why.
const BY_PROPERTY: [(&str, &str, &str, &str); 2] = [
    (
        "columnMapping",
        "delta.columnMapping.mode",
        "none",
        "its files carry other column names",
    ),
    (
        "inCommitTimestamp",
        "delta.enableInCommitTimestamps",
        "false",
        "commits must carry ordered timestamps",
    ),
];

/// Features that bind every writer, and how.
const REFUSED: [(&str, &str); 18] = [
    ("rowTracking", "every writer must number rows"),
    ("typeWidening", "columns may change their types"),
    ("typeWidening-preview", "columns may change their types"),
    ("icebergCompatV1", "files must follow Iceberg's rules"),
    ("icebergCompatV2", "files must follow Iceberg's rules"),
    ("icebergCompatV3", "files must follow Iceberg's rules"),
    ("icebergWriterCompatV1", "files must follow Iceberg's rules"),
    ("icebergWriterCompatV3", "files must follow Iceberg's rules"),
    (
        "clustering",
        "files must carry statistics of the clustering columns",
    ),
    ("variantType", "it may hold VARIANT columns"),
    ("variantType-preview", "it may hold VARIANT columns"),
    ("variantShredding", "it may hold VARIANT columns"),
    ("variantShredding-preview", "it may hold VARIANT columns"),
    (
        "catalogManaged",
        "commits go through a catalog, not through the log in storage",
    ),
    (
        "catalogOwned-preview",
        "commits go through a catalog, not through the log in storage",
    ),
    (
        "coordinatedCommits-preview",
        "commits go through a coordinator, not through the log in storage",
    ),
    (
        "materializePartitionColumns",
        "files must hold the table partition columns",
    ),
    (
        "redirectReaderWriter-preview",
        "it stands for another table",
    ),
];

/// The property that lets clean-up drop txns, whether they carry a time or not.
const FORGETS_TXNS: &str = "delta.setTransactionRetentionDuration";

/// What readers and writers of a table must support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// The protocol version of readers.
    pub reader_version: i32,
    /// The protocol version of writers.
    pub writer_version: i32,
    /// The features that the protocol lists, for either.
    pub features: Vec<String>,
}

impl Support {
    pub(crate) fn of(protocol: &Protocol) -> Support {
        let listed = [&protocol.writer_features, &protocol.reader_features];
        let mut features: Vec<String> = Vec::new();
        for feature in listed.into_iter().flatten().flatten() {
            if !features.contains(feature) {
                features.push(feature.clone());
            }
        }
        Support {
            reader_version: protocol.min_reader_version,
            writer_version: protocol.min_writer_version,
            features,
        }
    }
}

/// The protocol that a table needs for a schema that has grown, where it is another than it has.
pub(crate) fn needed(has: &Protocol, schema: &StructType) -> Result<Option<Protocol>, String> {
    let features = |features: &Option<Vec<String>>| features.clone().unwrap_or_default();
    let (mut readers, mut writers) = (
        features(&has.reader_features),
        features(&has.writer_features),
    );
    let feature = TIMESTAMP_NTZ.to_owned();
    if !schema::holds_timestamp_ntz(schema) || writers.contains(&feature) {
        return Ok(None);
    }
    match (has.min_reader_version, has.min_writer_version) {
        // What these versions hold has to be named from version 7 on.
        (1, 1) => {}
        (1, 2) => writers.extend(["appendOnly", "invariants"].map(str::to_owned)),
        (1 | READER_VERSION_MAX, WRITER_VERSION_MAX) => {}
        (reader, writer) => {
            return Err(format!(
                "a column of type timestamp_ntz needs the feature {TIMESTAMP_NTZ}, which a table of reader version {reader} and writer version {writer} does not get by itself: set delta.feature.{TIMESTAMP_NTZ} by another engine, or use value.local_timestamps: utc"
            ));
        }
    }
    readers.push(feature.clone());
    writers.push(feature);
    Ok(Some(Protocol {
        min_reader_version: READER_VERSION_MAX,
        min_writer_version: WRITER_VERSION_MAX,
        reader_features: Some(readers),
        writer_features: Some(writers),
    }))
}

/// A feature that a table uses and we refuse, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) feature: String,
    pub(crate) advice: String,
}

impl Refused {
    fn new(feature: impl Into<String>, advice: impl Into<String>) -> Self {
        Refused {
            feature: feature.into(),
            advice: advice.into(),
        }
    }

    pub(crate) fn into_error(self, location: &str) -> Error {
        Error::Feature {
            location: location.to_owned(),
            feature: self.feature,
            advice: self.advice,
        }
    }
}

/// Honours or refuses what a table's protocol and metadata ask of a writer.
pub(crate) fn judge(
    protocol: &Protocol,
    metadata: &Metadata,
    schema: &StructType,
) -> Result<(), Refused> {
    if metadata.configuration.contains_key(FORGETS_TXNS) {
        let advice = "it lets clean-up forget how far the sources were read; remove it (ALTER TABLE ... UNSET TBLPROPERTIES)";
        return Err(Refused::new(format!("the property {FORGETS_TXNS}"), advice));
    }
    if metadata.format.provider != "parquet" {
        return Err(Refused::new(
            format!("the data format `{}`", metadata.format.provider),
            "Lakeward writes Parquet; write to a new table",
        ));
    }
    let (reader, writer) = (protocol.min_reader_version, protocol.min_writer_version);
    if !(1..=READER_VERSION_MAX).contains(&reader) || !(1..=WRITER_VERSION_MAX).contains(&writer) {
        return Err(Refused::new(
            format!("protocol reader {reader}, writer {writer}"),
            "this version of Lakeward does not know it; use a newer one",
        ));
    }
    let usage = Usage::of(metadata, schema);
    let listed = protocol
        .reader_features
        .iter()
        .chain(protocol.writer_features.iter())
        .flatten()
        .map(String::as_str);
    let by_reader = (reader == 2).then_some("columnMapping");
    legacy(writer)
        .iter()
        .copied()
        .chain(by_reader)
        .chain(listed)
        .try_for_each(|feature| usage.judge(feature))
}

/// Refuses the properties of the config that would need a feature, or would take from us what we rely on.
pub(crate) fn judge_property(key: &str, value: &str) -> Result<(), String> {
    if key == FORGETS_TXNS {
        return Err("it lets clean-up forget how far the sources were read; remove it".to_owned());
    }
    if key.starts_with("lakeward.") {
        return Err("names that begin with `lakeward.` are Lakeward's own; remove it".to_owned());
    }
    let is_off = matches!(value, "false" | "none");
    let needs_feature = [
        "delta.feature.",
        "delta.constraints.",
        "delta.universalFormat.",
        "delta.identity.",
    ]
    .iter()
    .any(|prefix| key.starts_with(prefix))
        || matches!(
            key,
            "delta.minReaderVersion" | "delta.minWriterVersion" | "delta.columnMapping.maxColumnId"
        )
        || (key.starts_with("delta.enable") && key != "delta.enableExpiredLogCleanup" && !is_off)
        || (key == "delta.columnMapping.mode" && !is_off)
        || (key == "delta.checkpointPolicy" && value != "classic");
    if needs_feature {
        return Err("it needs a table feature that is not built yet; remove it".to_owned());
    }
    Ok(())
}

/// The features that a legacy writer version implies.
fn legacy(writer: i32) -> &'static [&'static str] {
    const ALL: [&str; 7] = [
        "appendOnly",
        "invariants",
        "checkConstraints",
        "changeDataFeed",
        "generatedColumns",
        "columnMapping",
        "identityColumns",
    ];
    let count = match writer {
        2 => 2,
        3 => 3,
        4 => 5,
        5 => 6,
        6 => 7,
        // Version 1 implies none, and version 7 lists its own.
        _ => 0,
    };
    ALL.get(..count).unwrap_or(&ALL)
}

/// What of the optional features a table really uses.
struct Usage<'a> {
    configuration: &'a BTreeMap<String, String>,
    /// Column metadata keys with the column that carries them first.
    columns: BTreeMap<String, String>,
}

impl<'a> Usage<'a> {
    fn of(metadata: &'a Metadata, schema: &StructType) -> Self {
        let mut columns = BTreeMap::new();
        collect_keys(schema, "", &mut columns);
        Usage {
            configuration: &metadata.configuration,
            columns,
        }
    }

    fn judge(&self, feature: &str) -> Result<(), Refused> {
        if HONOURED.contains(&feature) {
            return Ok(());
        }
        if let Some((_, key, what)) = IN_COLUMNS.iter().find(|(name, _, _)| *name == feature) {
            return self.columns.get(*key).map_or(Ok(()), |column| {
                refuse(
                    feature,
                    format!("the column `{column}` has {what}; remove it from the column"),
                )
            });
        }
        if let Some((_, key, off, why)) =
            BY_PROPERTY.iter().find(|(name, _, _, _)| *name == feature)
        {
            return match self.configuration.get(*key) {
                Some(value) if value != off => refuse(
                    feature,
                    format!("{why} ({key} is `{value}`), which is not built yet; {DROP_FEATURE}"),
                ),
                Some(_) | None => Ok(()),
            };
        }
        if feature == "checkConstraints" {
            let constraint = self
                .configuration
                .keys()
                .find(|key| key.starts_with("delta.constraints."));
            return constraint.map_or(Ok(()), |key| {
                refuse(
                    feature,
                    format!(
                        "Lakeward cannot check {key}; drop it (ALTER TABLE ... DROP CONSTRAINT)"
                    ),
                )
            });
        }
        match REFUSED.iter().find(|(name, _)| *name == feature) {
            Some((_, why)) => refuse(
                feature,
                format!("{why}, which is not built yet; {DROP_FEATURE}"),
            ),
            None => refuse(
                feature,
                format!(
                    "this version of Lakeward does not know it; use a newer one, or {DROP_FEATURE}"
                ),
            ),
        }
    }
}

fn refuse(feature: &str, advice: String) -> Result<(), Refused> {
    Err(Refused {
        feature: format!("the table feature {feature}"),
        advice,
    })
}

fn collect_keys(schema: &StructType, prefix: &str, keys: &mut BTreeMap<String, String>) {
    for field in schema.fields() {
        let path = format!("{prefix}{}", field.name());
        for key in field.metadata().keys() {
            keys.entry(key.clone()).or_insert_with(|| path.clone());
        }
        collect_nested(field.data_type(), &path, keys);
    }
}

fn collect_nested(kind: &DataType, path: &str, keys: &mut BTreeMap<String, String>) {
    match kind {
        DataType::Struct(inner) | DataType::Variant(inner) => {
            collect_keys(inner, &format!("{path}."), keys)
        }
        DataType::Array(array) => collect_nested(array.element_type(), path, keys),
        DataType::Map(map) => {
            collect_nested(map.key_type(), path, keys);
            collect_nested(map.value_type(), path, keys);
        }
        DataType::Primitive(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        r#"{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}}]}"#;

    /// The protocol that a table of `has` needs for a timestamp_ntz column.
    fn check_needed(has: &str, expect: Result<&str, &str>) {
        let text = PLAIN.replace("\"long\"", "\"timestamp_ntz\"");
        let schema = schema::parse(&text).unwrap();
        let found = needed(&serde_json::from_str(has).unwrap(), &schema);
        match (found, expect) {
            (Ok(found), Ok(expect)) => {
                assert_eq!(serde_json::to_string(&found).unwrap(), expect, "{has}")
            }
            (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
            (found, expect) => panic!("{found:?} is not {expect:?}"),
        }
    }

    #[test]
    fn a_grown_schema_gets_the_features_that_it_needs_and_keeps_those_that_were_implied() {
        let of = |reader, writer| {
            format!(r#"{{"minReaderVersion":{reader},"minWriterVersion":{writer}}}"#)
        };
        let with = |writers: &str| {
            format!(
                r#"{{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["timestampNtz"],"writerFeatures":[{writers}"timestampNtz"]}}"#
            )
        };
        check_needed(&of(1, 2), Ok(&with(r#""appendOnly","invariants","#)));
        check_needed(&of(1, 1), Ok(&with("")));
        check_needed(&with(""), Ok("null"));
        check_needed(
            r#"{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["appendOnly"]}"#,
            Ok(&with(r#""appendOnly","#)),
        );
        check_needed(&of(2, 5), Err("reader version 2 and writer version 5"));
        assert_eq!(
            needed(
                &serde_json::from_str(&of(1, 2)).unwrap(),
                &schema::parse(PLAIN).unwrap()
            ),
            Ok(None)
        );
    }

    fn judged(
        protocol: &str,
        configuration: &[(&str, &str)],
        column_metadata: &str,
    ) -> Result<(), Refused> {
        let text = PLAIN.replace(
            r#""metadata":{}"#,
            &format!(r#""metadata":{{{column_metadata}}}"#),
        );
        let metadata = Metadata {
            id: "i".to_owned(),
            name: None,
            description: None,
            format: crate::delta::actions::Format::default(),
            schema_string: text.clone(),
            partition_columns: Vec::new(),
            configuration: configuration
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            created_time: None,
            other: serde_json::Map::new(),
        };
        judge(
            &serde_json::from_str(protocol).unwrap(),
            &metadata,
            &schema::parse(&text).unwrap(),
        )
    }

    fn version_7(feature: &str) -> String {
        format!(
            r#"{{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["appendOnly","{feature}"]}}"#
        )
    }

    #[test]
    fn each_feature_is_honoured_or_refused_by_name() {
        let honoured = [
            "appendOnly",
            "invariants",
            "checkConstraints",
            "changeDataFeed",
            "generatedColumns",
            "identityColumns",
            "timestampNtz",
        ];
        let also = [
            "deletionVectors",
            "v2Checkpoint",
            "vacuumProtocolCheck",
            "domainMetadata",
            "checkpointProtection",
            "allowColumnDefaults",
            "columnMapping",
        ];
        for feature in honoured.iter().chain(&also) {
            assert_eq!(judged(&version_7(feature), &[], ""), Ok(()), "{feature}");
        }
        let refused = [
            "rowTracking",
            "typeWidening",
            "icebergCompatV1",
            "icebergCompatV2",
            "clustering",
            "variantType",
            "catalogManaged",
        ];
        let also = [
            "materializePartitionColumns",
            "coordinatedCommits-preview",
            "variantShredding",
            "typeWidening-preview",
            "neverHeardOfIt",
        ];
        for feature in refused.iter().chain(&also) {
            assert_eq!(
                judged(&version_7(feature), &[], "").unwrap_err().feature,
                format!("the table feature {feature}")
            );
        }
    }

    #[test]
    fn optional_features_are_refused_where_they_are_used() {
        let check =
            |protocol: &str, configuration: &[(&str, &str)], column: &str, feature: &str| {
                assert_eq!(
                    judged(protocol, configuration, column).unwrap_err().feature,
                    format!("the table feature {feature}"),
                    "{protocol}"
                );
            };
        let legacy = |reader: i32, writer: i32| {
            format!(r#"{{"minReaderVersion":{reader},"minWriterVersion":{writer}}}"#)
        };
        let invariant = r#""delta.invariants":"{\"expression\":{\"expression\":\"id > 0\"}}""#;
        check(&legacy(1, 2), &[], invariant, "invariants");
        check(
            &legacy(1, 3),
            &[("delta.constraints.positive", "id > 0")],
            "",
            "checkConstraints",
        );
        check(
            &legacy(1, 4),
            &[],
            r#""delta.generationExpression":"1""#,
            "generatedColumns",
        );
        check(
            &legacy(1, 5),
            &[("delta.columnMapping.mode", "name")],
            "",
            "columnMapping",
        );
        check(
            &legacy(2, 1),
            &[("delta.columnMapping.mode", "id")],
            "",
            "columnMapping",
        );
        check(
            &legacy(1, 6),
            &[],
            r#""delta.identity.start":1"#,
            "identityColumns",
        );
        check(
            &version_7("columnMapping"),
            &[("delta.columnMapping.mode", "name")],
            "",
            "columnMapping",
        );
        check(
            &version_7("inCommitTimestamp"),
            &[("delta.enableInCommitTimestamps", "true")],
            "",
            "inCommitTimestamp",
        );
        check(
            &version_7("allowColumnDefaults"),
            &[],
            r#""CURRENT_DEFAULT":"1""#,
            "allowColumnDefaults",
        );
    }

    #[test]
    fn legacy_versions_are_honoured_where_nothing_is_used() {
        let legacy = |reader: i32, writer: i32| {
            format!(r#"{{"minReaderVersion":{reader},"minWriterVersion":{writer}}}"#)
        };
        for writer in 1..=6 {
            assert_eq!(
                judged(
                    &legacy(1, writer),
                    &[
                        ("delta.appendOnly", "true"),
                        ("delta.enableChangeDataFeed", "true")
                    ],
                    ""
                ),
                Ok(()),
                "{writer}"
            );
        }
        assert!(judged(&legacy(4, 7), &[], "").is_err());
        assert!(judged(&legacy(1, 8), &[], "").is_err());
    }

    #[test]
    fn a_property_that_forgets_txns_is_refused_on_the_table_and_in_the_config() {
        let refused = judged(
            r#"{"minReaderVersion":1,"minWriterVersion":2}"#,
            &[(FORGETS_TXNS, "interval 1 day")],
            "",
        )
        .unwrap_err();
        assert_eq!(
            refused.feature,
            "the property delta.setTransactionRetentionDuration"
        );
        assert!(judge_property(FORGETS_TXNS, "interval 1 day").is_err());
        assert!(judge_property("lakeward.sources", "{}").is_err());
        assert!(judge_property("delta.enableDeletionVectors", "true").is_err());
        assert!(judge_property("delta.appendOnly", "true").is_ok());
        assert!(judge_property("delta.enableExpiredLogCleanup", "true").is_ok());
        assert!(judge_property("owner", "team").is_ok());
    }
}
