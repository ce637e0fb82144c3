//! What a table's size and age cost: nothing per commit, and a projected read at the start. Prints times; asserts what does not depend on the machine's load.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::time::Instant;

use super::*;

const COMMITS: usize = 120;
/// Opening reads projected columns of one checkpoint and the entries since, however many files that lists.
const COLD_START_REQUESTS_MAX: u64 = 16;

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

/// A table at so high a version, all its entries still there.
async fn with_versions(count: u64) -> Lake {
    let lake = with_files(10).await;
    for version in 2..=count {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        let text = r#"{"commitInfo":{"operation":"WRITE","engineInfo":"other"}}"#;
        lake.objects().put(&path, text.into()).await.unwrap();
    }
    lake
}

/// A table that was opened from a proven checkpoint.
struct Opened {
    name: String,
    lake: Lake,
    table: Table,
    seconds: Vec<f64>,
    requests: u64,
}

impl Opened {
    async fn new(name: String, lake: Lake) -> Opened {
        let began = Instant::now();
        lake.store.write_checkpoint(&lake.clock).await.unwrap();
        let checkpoint = began.elapsed().as_secs_f64();
        let faulty = lake.faulty.clone().unwrap();
        let (before, began) = (faulty.requests(), Instant::now());
        let mut table = lake.load().await;
        let start = began.elapsed().as_secs_f64();
        let requests = faulty.requests() - before;
        println!(
            "{name}: cold start {start:.3} s in {requests} requests, checkpoint proven in {checkpoint:.2} s"
        );
        assert!(requests <= COLD_START_REQUESTS_MAX, "{name}: {requests}");
        lake.append_to(&mut table, 3).await;
        Opened {
            name,
            lake,
            table,
            seconds: Vec::new(),
            requests: 0,
        }
    }

    async fn commit(&mut self) {
        let topic_partition = TopicPartition::new(TOPIC, 0);
        let from = self.table.committed(&topic_partition).unwrap();
        let files = self.lake.stage(from, 3).await;
        let counts = Counts {
            rows: 3,
            ..Counts::default()
        };
        let mut advance = Advance::default();
        let span = Span::new(from, from + 3).unwrap();
        advance.extend(&topic_partition, span, &counts).unwrap();
        let append = Append {
            epoch: Epoch::begin(1),
            advance,
            files,
            columns: None,
            outbox: None,
        };
        let faulty = self.lake.faulty.clone().unwrap();
        let (before, began) = (faulty.requests(), Instant::now());
        let outcome = self.table.commit(&append, "shop").await;
        self.seconds.push(began.elapsed().as_secs_f64());
        self.requests = faulty.requests() - before;
        assert!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
    }

    /// What most commits take at most: the median of the quicker half, which a busy machine disturbs least.
    fn typical(&mut self) -> f64 {
        self.seconds.sort_by(f64::total_cmp);
        self.seconds[self.seconds.len() / 4]
    }
}

#[tokio::test]
async fn a_commit_costs_the_same_at_ten_and_at_two_hundred_thousand_files_and_at_a_hundred_thousand_versions()
 {
    let mut all = Vec::new();
    for count in [10, 10_000, 200_000] {
        all.push(Opened::new(format!("{count} files"), with_files(count).await).await);
    }
    let lake = with_versions(100_000).await;
    all.push(Opened::new("100000 versions".to_owned(), lake).await);
    // In turns: what else runs on the machine meets all alike.
    for _ in 0..COMMITS {
        for opened in &mut all {
            opened.commit().await;
        }
    }
    let smallest = all[0].typical();
    for opened in &mut all {
        let typical = opened.typical();
        println!(
            "{}: commit {:.3} ms in {} requests, {:.2} of the smallest",
            opened.name,
            typical * 1e3,
            opened.requests,
            typical / smallest
        );
        assert_eq!(opened.requests, 4, "{}", opened.name);
        // Twice is beyond the noise of turns; growing with the files would be a thousandfold.
        assert!(typical < smallest * 2.0 + 0.0002, "{}", opened.name);
    }
}
