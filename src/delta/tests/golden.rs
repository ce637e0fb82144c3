//! The text of our entries, word for word: what other readers and independent audits rely on (OFF-4, OFF-6).

use super::*;

#[tokio::test]
async fn off_6_entries_are_spelled_as_promised() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let mut wanted = append(&[(0, 0, 10), (1, 0, 3)], "part ü.parquet");
    wanted.files[0]
        .partition_values
        .insert("region".to_owned(), None);
    assert_eq!(
        table.commit(&wanted, "shop").await,
        CommitOutcome::Committed(1)
    );
    let led = append_led(10, 14, Some((12, Some(5))));
    assert_eq!(
        table.commit(&led, "shop").await,
        CommitOutcome::Committed(2)
    );
    let found = format!(
        "{}{}{}",
        lake.read(&entry(0)).await,
        lake.read(&entry(1)).await,
        lake.read(&entry(2)).await
    )
    .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_eq!(found, include_str!("golden.jsonl"));
}
