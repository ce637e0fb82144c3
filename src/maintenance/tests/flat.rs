//! What a table's size costs: nothing per commit, and a projected read at the start. Prints times; asserts what does not depend on the machine's load.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::time::Instant;

use super::*;

/// A table with so many live files in its checkpoint.
async fn with_files(count: usize) -> Lake {
    let lake = Lake::in_memory(1).await;
    let stats = r#"{\"numRecords\":100,\"minValues\":{\"id\":1,\"text\":\"aaaaaaaaaaaaaaaa\",\"_kafka_offset\":1},\"maxValues\":{\"id\":2,\"text\":\"zzzzzzzzzzzzzzzz\",\"_kafka_offset\":2},\"nullCount\":{\"id\":0,\"text\":0,\"_kafka_offset\":0}}"#;
    let lines: Vec<String> = (0..count)
        .map(|number| format!(r#"{{"add":{{"path":"region=eu/part-{number:08}-1a2b3c4d-1a2b-1a2b-1a2b-1a2b3c4d5e6f.zstd.parquet","partitionValues":{{"region":"eu"}},"size":1000000,"modificationTime":{NOW_MS},"dataChange":true,"stats":"{stats}"}}}}"#))
        .collect();
    lake.foreign(&lines).await;
    lake
}

/// Requests and seconds of a commit (median), and seconds of a cold start and of a checkpoint.
async fn measure(count: usize) -> (u64, f64, f64, f64) {
    let lake = with_files(count).await;
    let began = Instant::now();
    lake.store.write_checkpoint(&lake.clock).await.unwrap();
    let checkpoint = began.elapsed().as_secs_f64();
    lake.objects()
        .delete(&Path::from("_delta_log/00000000000000000001.json"))
        .await
        .unwrap();
    let began = Instant::now();
    let mut table = lake.load().await;
    let start = began.elapsed().as_secs_f64();
    lake.append_to(&mut table, 3).await;
    let topic_partition = TopicPartition::new(TOPIC, 0);
    let faulty = lake.faulty.clone().unwrap();
    let (mut times, mut requests) = (Vec::new(), 0);
    for _ in 0..60 {
        let from = table.committed(&topic_partition).unwrap();
        let files = lake.stage(from, 3).await;
        let counts = Counts {
            rows: 3,
            ..Counts::default()
        };
        let mut advance = Advance::default();
        advance
            .extend(
                &topic_partition,
                Span::new(from, from + 3).unwrap(),
                &counts,
            )
            .unwrap();
        let append = Append {
            epoch: Epoch::begin(1),
            advance,
            files,
            outbox: None,
        };
        let (before, began) = (faulty.requests(), Instant::now());
        let outcome = table.commit(&append, "shop").await;
        times.push(began.elapsed().as_secs_f64());
        requests = faulty.requests() - before;
        assert!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
    }
    times.sort_by(f64::total_cmp);
    (requests, times[30], start, checkpoint)
}

#[tokio::test]
async fn a_commit_costs_the_same_at_ten_and_at_two_hundred_thousand_files() {
    let mut all = Vec::new();
    for count in [10, 10_000, 200_000] {
        let (requests, commit, start, checkpoint) = measure(count).await;
        println!(
            "{count} files: commit {:.3} ms in {requests} requests, cold start {:.3} s, checkpoint proven in {checkpoint:.2} s",
            commit * 1e3,
            start
        );
        assert!(start < 2.0, "cold start on {count} files takes {start} s");
        all.push((requests, commit));
    }
    assert!(
        all.iter().all(|(requests, _)| *requests == all[0].0),
        "{all:?}"
    );
    // Beyond the noise of a busy machine: growing with the files would be a thousandfold.
    assert!(all[2].1 < all[0].1 * 3.0 + 0.001, "{all:?}");
}
