//! Compaction: rows conserved (COMP-1), races lost without harm (COMP-2), files that cannot be read left alone.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::testing::faulty_store::{Failure, Fault, Operation, When};

async fn filled(seed: u64, appends: usize, rows: usize) -> Lake {
    let lake = Lake::in_memory(seed).await;
    for _ in 0..appends {
        lake.append(rows).await;
    }
    lake
}

fn i64_of(count: usize) -> i64 {
    i64::try_from(count).unwrap()
}

#[tokio::test]
async fn comp_1_a_rewrite_is_an_optimize_without_data_change() {
    let lake = filled(1, 6, 100).await;
    let done = lake.compact().await.unwrap();
    assert_eq!(
        (
            done.commits,
            done.files_removed,
            done.files_added,
            done.rows
        ),
        (3, 18, 3, 600)
    );
    assert_eq!(lake.rows().await, expected(600));
    let entry = lake.entry(lake.load().await.version()).await;
    let lines: Vec<Value> = entry
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["commitInfo"]["operation"], "OPTIMIZE");
    assert_eq!(lines[0]["commitInfo"]["isBlindAppend"], false);
    assert!(
        lines[0]["commitInfo"]["engineInfo"]
            .as_str()
            .unwrap()
            .starts_with("lakeward/")
    );
    for line in &lines[1..] {
        let action = line.get("remove").or(line.get("add")).unwrap();
        assert_eq!(action["dataChange"], false, "COMP-1");
        assert!(
            action["partitionValues"]
                .as_object()
                .unwrap()
                .contains_key("region")
        );
    }
    let stats: Value =
        serde_json::from_str(lines.last().unwrap()["add"]["stats"].as_str().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 200, "STAT-1");
    // Offsets do not move, and a second look finds nothing to do.
    assert_eq!(
        lake.load()
            .await
            .committed(&TopicPartition::new(TOPIC, 0))
            .unwrap(),
        600
    );
    assert_eq!(lake.compact().await.unwrap(), Compacted::default());
}

#[test]
fn comp_1_rows_that_would_be_lost_or_made_are_refused() {
    let staged = StagedFile {
        path: "x".to_owned(),
        partition_values: BTreeMap::new(),
        size_bytes: 1,
        rows: 9,
        stats: String::new(),
        modified_ms: 0,
        staged: crate::clock::Instant::from_millis(0),
    };
    let replaced = crate::model::commit::Replaced {
        path_in_log: "a".to_owned(),
        key: "a".to_owned(),
        partition_values: BTreeMap::new(),
        size_bytes: 1,
        rows: 10,
    };
    let error = crate::model::commit::Rewrite::new(vec![replaced], vec![staged]).unwrap_err();
    assert_eq!((error.removed, error.added), (10, 9));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The row multiset is the same, whatever the sizes, the order, the faults of the store and how often it is done.
    #[test]
    fn comp_1_the_row_multiset_is_preserved(sizes in proptest::collection::vec(1..120_usize, 1..9), seed in 1..u64::MAX, sorted: bool, rounds in 1..4_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lake = Lake::in_memory(seed).await;
            let mut total = 0;
            let faulty = lake.faulty.clone().unwrap();
            for _ in 0..rounds {
                for size in &sizes {
                    lake.append(*size).await;
                    total += i64_of(*size);
                }
                faulty.rule(Operation::Put, "_delta_log/0", When::PerMille(300), Fault::FailAfter(Failure::Unavailable));
                faulty.rule(Operation::Put, "_delta_log/0", When::PerMille(200), Fault::FailBefore(Failure::Unavailable));
                let mut compaction = lake.compaction();
                if sorted {
                    compaction.sort_by = vec!["id".to_owned()];
                }
                let opened = compaction.open().await.unwrap();
                let plan = compaction.plan(&opened, &BTreeSet::new());
                compaction.run(opened, &plan, &Pace::default(), &mut BTreeSet::new()).await.unwrap();
                faulty.heal();
                assert_eq!(lake.rows().await, expected(total), "COMP-1");
            }
            assert!(lake.files().await.files().len() <= 3 * rounds, "it makes progress");
        });
    }
}

#[tokio::test]
async fn comp_1_a_rewrite_whose_answer_is_lost_is_settled_and_not_repeated() {
    let lake = filled(3, 4, 50).await;
    let faulty = lake.faulty.clone().unwrap();
    faulty.rule(
        Operation::Put,
        "_delta_log/",
        When::Always,
        Fault::FailAfter(Failure::Unavailable),
    );
    let before = lake.load().await.version();
    let done = lake.compact().await.unwrap();
    faulty.heal();
    assert_eq!((done.commits, done.dropped), (3, 0));
    assert_eq!(lake.load().await.version(), before + 3);
    assert_eq!(lake.rows().await, expected(200));
}

#[tokio::test]
async fn comp_2_of_two_stale_compactions_one_is_dropped() {
    let lake = filled(4, 6, 60).await;
    let compaction = lake.compaction();
    let (one, other) = (
        compaction.open().await.unwrap(),
        compaction.open().await.unwrap(),
    );
    let plan = compaction.plan(&one, &BTreeSet::new());
    let first = compaction
        .run(one, &plan, &Pace::default(), &mut BTreeSet::new())
        .await
        .unwrap();
    let second = compaction
        .run(other, &plan, &Pace::default(), &mut BTreeSet::new())
        .await
        .unwrap();
    assert_eq!((first.commits, second.commits), (3, 0));
    assert!(second.dropped > 0);
    assert_eq!(lake.rows().await, expected(360), "COMP-2: no row twice");
}

/// Two groups planned together: what happens to the second's files during the first's commit must not be missed.
#[tokio::test]
async fn comp_2_a_file_that_goes_while_another_group_is_merged_is_noticed() {
    let lake = filled(5, 4, 60).await;
    let compaction = lake.compaction();
    let opened = compaction.open().await.unwrap();
    let plan = compaction.plan(&opened, &BTreeSet::new());
    let last = plan.groups.last().unwrap().keys[0].clone();
    let list = lake.files().await;
    lake.foreign(&[removal(&list.get(&last).unwrap().path_in_log, true)])
        .await;
    let done = compaction
        .run(opened, &plan, &Pace::default(), &mut BTreeSet::new())
        .await
        .unwrap();
    assert_eq!((done.commits, done.dropped), (2, 1));
    assert_eq!(
        lake.rows().await.len(),
        240 - 20,
        "COMP-2: what was deleted stays deleted"
    );
}

#[tokio::test]
async fn comp_2_a_foreign_removal_during_the_merge_drops_it_whatever_its_data_change() {
    for data_change in [true, false] {
        let lake = filled(6, 3, 60).await;
        let compaction = lake.compaction();
        let opened = compaction.open().await.unwrap();
        let plan = compaction.plan(&opened, &BTreeSet::new());
        let path = lake
            .files()
            .await
            .get(&plan.groups[0].keys[0])
            .unwrap()
            .path_in_log
            .clone();
        let version = lake.load().await.version() + 1;
        // It comes between the reading of the log and the put.
        let entry = format!(
            "{{\"commitInfo\":{{\"operation\":\"DELETE\",\"engineInfo\":\"other\"}}}}\n{}\n",
            removal(&path, data_change)
        );
        let at = Path::from(format!("lake/orders/_delta_log/{version:020}.json"));
        let interruption: crate::testing::faulty_store::Interruption = Arc::new(move |inner| {
            let (at, entry) = (at.clone(), entry.clone());
            Box::pin(async move {
                inner.put(&at, entry.into()).await.unwrap();
            })
        });
        let faulty = lake.faulty.clone().unwrap();
        faulty.rule(
            Operation::Put,
            "_delta_log/",
            When::First(1),
            Fault::First(interruption),
        );
        let done = compaction
            .run(opened, &plan, &Pace::default(), &mut BTreeSet::new())
            .await
            .unwrap();
        assert_eq!((done.commits, done.dropped), (0, 1));
        assert_eq!(lake.rows().await.len(), 180 - 20, "COMP-2");
        // The next plan goes on with what is left.
        assert!(lake.compact().await.unwrap().commits > 0);
        assert_eq!(lake.rows().await.len(), 180 - 20);
    }
}

#[tokio::test]
async fn comp_2_a_rewrite_on_a_log_that_was_cleaned_up_meanwhile_is_dropped() {
    let lake = filled(7, 4, 60).await;
    let compaction = lake.compaction();
    let opened = compaction.open().await.unwrap();
    let plan = compaction.plan(&opened, &BTreeSet::new());
    lake.append(30).await;
    lake.store.write_checkpoint(&lake.clock).await.unwrap();
    for version in 0..=4_u64 {
        lake.objects()
            .delete(&Path::from(format!("_delta_log/{version:020}.json")))
            .await
            .unwrap();
    }
    let done = compaction
        .run(opened, &plan, &Pace::default(), &mut BTreeSet::new())
        .await
        .unwrap();
    assert_eq!((done.commits, done.dropped), (0, 1));
    assert_eq!(lake.rows().await, expected(270));
}

#[tokio::test]
async fn comp_2_a_long_merge_follows_the_log_instead_of_believing_a_fresh_base() {
    let lake = filled(8, 4, 60).await;
    let compaction = lake.compaction();
    let opened = compaction.open().await.unwrap();
    let plan = compaction.plan(&opened, &BTreeSet::new());
    let path = lake
        .files()
        .await
        .get(&plan.groups[0].keys[0])
        .unwrap()
        .path_in_log
        .clone();
    let faulty = lake.faulty.clone().unwrap();
    // Reading the data takes longer than a base may age; meanwhile somebody deletes.
    let version = lake.load().await.version() + 1;
    let (clock, at) = (
        lake.clock.clone(),
        Path::from(format!("lake/orders/_delta_log/{version:020}.json")),
    );
    let entry = format!(
        "{{\"commitInfo\":{{\"engineInfo\":\"other\"}}}}\n{}\n",
        removal(&path, true)
    );
    let interruption: crate::testing::faulty_store::Interruption = Arc::new(move |inner| {
        clock.advance(Duration::from_secs(600));
        let (at, entry) = (at.clone(), entry.clone());
        Box::pin(async move {
            inner.put(&at, entry.into()).await.unwrap();
        })
    });
    faulty.rule(
        Operation::Get,
        "region=",
        When::First(1),
        Fault::First(interruption),
    );
    let done = compaction
        .run(opened, &plan, &Pace::default(), &mut BTreeSet::new())
        .await
        .unwrap();
    assert_eq!(done.commits, 0);
    assert_eq!(lake.rows().await.len(), 240 - 20, "COMP-2");
}

#[tokio::test]
async fn comp_2_two_maintainers_race_with_ingest_on_a_store_that_loses_answers() {
    for seed in 1..6_u64 {
        let lake = Lake::in_memory(seed).await;
        let faulty = lake.faulty.clone().unwrap();
        faulty.rule(
            Operation::Put,
            "_delta_log/0",
            When::PerMille(150),
            Fault::FailAfter(Failure::Unavailable),
        );
        faulty.rule(
            Operation::Put,
            "_delta_log/0",
            When::PerMille(100),
            Fault::FalseExists,
        );
        let ingest = async {
            let mut table = lake.load().await;
            for _ in 0..40 {
                lake.append_to(&mut table, 9).await;
                tokio::task::yield_now().await;
            }
        };
        let maintainer = async || {
            let mut all = Compacted::default();
            for _ in 0..25 {
                all.add(&lake.compact().await.unwrap());
                tokio::task::yield_now().await;
            }
            all
        };
        let ((), one, other) = tokio::join!(ingest, maintainer(), maintainer());
        faulty.heal();
        assert!(one.commits + other.commits > 0, "seed {seed}");
        assert_eq!(lake.rows().await, expected(360), "seed {seed}");
    }
}

#[tokio::test]
async fn a_truncated_file_is_named_left_alone_and_costs_no_other() {
    let lake = filled(9, 4, 60).await;
    let victim = lake.append(30).await.remove(0);
    let path = Path::parse(&victim.path).unwrap();
    let bytes = lake
        .objects()
        .get(&path)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    lake.objects()
        .put(&path, bytes.slice(..bytes.len() - 9).into())
        .await
        .unwrap();
    let compaction = lake.compaction();
    let mut left_alone = BTreeSet::new();
    let mut commits = 0;
    for _ in 0..2 {
        let opened = compaction.open().await.unwrap();
        let plan = compaction.plan(&opened, &left_alone);
        commits += compaction
            .run(opened, &plan, &Pace::default(), &mut left_alone)
            .await
            .unwrap()
            .commits;
    }
    assert_eq!(left_alone, BTreeSet::from([victim.path.clone()]));
    assert_eq!(
        commits, 3,
        "the others of its table partition are merged without it"
    );
    assert!(
        lake.files().await.is_live(&victim.path),
        "nothing is made worse"
    );
}

#[tokio::test]
async fn files_with_deletion_vectors_and_paths_out_of_the_table_are_left_alone() {
    let lake = filled(10, 3, 60).await;
    let list = lake.files().await;
    let add = |path: &str, more: &str| {
        format!(
            r#"{{"add":{{"path":"{path}","partitionValues":{{"region":"eu"}},"size":10,"modificationTime":1,"dataChange":true{more}}}}}"#
        )
    };
    let (key, file) = list
        .files()
        .find(|(_, file)| file.partition_values["region"].as_deref() == Some("eu"))
        .unwrap();
    let vector = r#","deletionVector":{"storageType":"u","pathOrInlineDv":"x","sizeInBytes":1,"cardinality":1}"#;
    lake.foreign(&[
        removal(&file.path_in_log, true),
        add(&file.path_in_log, vector),
        add("s3://elsewhere/x.parquet", ""),
    ])
    .await;
    let compaction = lake.compaction();
    let opened = compaction.open().await.unwrap();
    let plan = compaction.plan(&opened, &BTreeSet::new());
    assert_eq!(plan.debt.left_alone, 2);
    assert!(
        plan.groups
            .iter()
            .all(|group| !group.keys.contains(&key.to_owned()))
    );
}

#[tokio::test]
async fn sorted_rows_come_out_in_order_and_old_files_in_todays_schema() {
    let lake = filled(11, 4, 90).await;
    let entry = lake.entry(0).await;
    let metadata = entry
        .lines()
        .find(|line| line.starts_with("{\"metaData\""))
        .unwrap();
    let late = r#"{\"name\":\"late\",\"type\":\"double\",\"nullable\":true,\"metadata\":{}}]"#;
    let wider = metadata.replacen(
        r#"]}","partitionColumns""#,
        &format!(r#",{}}}","partitionColumns""#, late),
        1,
    );
    assert_ne!(wider, metadata);
    lake.foreign(&[wider]).await;
    let mut compaction = lake.compaction();
    compaction.sort_by = vec!["id".to_owned()];
    let opened = compaction.open().await.unwrap();
    let plan = compaction.plan(&opened, &BTreeSet::new());
    compaction
        .run(opened, &plan, &Pace::default(), &mut BTreeSet::new())
        .await
        .unwrap();
    assert_eq!(lake.rows().await, expected(360));
    for (key, _) in lake.files().await.files() {
        let bytes = lake
            .objects()
            .get(&Path::parse(key).unwrap())
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap()
        {
            let batch = batch.unwrap();
            assert_eq!(
                batch.column_by_name("late").unwrap().null_count(),
                batch.num_rows()
            );
            let ids = batch
                .column_by_name("id")
                .unwrap()
                .as_primitive::<Int64Type>()
                .values()
                .to_vec();
            assert!(ids.is_sorted());
        }
    }
}
