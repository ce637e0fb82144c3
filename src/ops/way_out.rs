//! `lakeward resume` and `lakeward offsets set`: what a person says to a suspended table. Owns what is printed; the commits are the pipeline's.

use crate::config::Config;
use crate::config::settings::Table;
use crate::model::offset::TopicPartition;
use crate::ops::cli::{OffsetsSet, Resume};
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::output;
use crate::ops::verify::block_on;
use crate::ops::waiting::Patience;
use crate::ops::wiring;
use crate::pipeline::{self, Error, Place, WayOut};

/// Lifts what a table waits for, and says what that was.
pub(super) fn resume(request: &Resume, patience: &Patience) -> Outcome {
    let config = wiring::config(&request.config)?;
    let table = &request.table;
    let lifted = block_on(lift(&config, table, patience))??;
    for line in &lifted {
        output::line(&format!("lifted {line}"));
    }
    output::line(&if lifted.is_empty() {
        format!(
            "table `{table}`: nothing stands between it and its topics; instances that wait try again"
        )
    } else {
        format!("table `{table}` goes on")
    });
    Ok(Ending::Done)
}

/// Lifts what a table waits for; answers each cause by its id and its sentence.
pub(super) async fn lift(
    config: &Config,
    table: &str,
    patience: &Patience,
) -> Result<Vec<String>, Failure> {
    let known = pipeline::known(config, patience.clock(), patience.limit());
    let config = known.await.map_err(failed)?.config;
    let table = named(&config, table)?;
    let work = async {
        let way = WayOut::open(&config, table, patience.clock(), patience.limit()).await?;
        way.resume().await
    };
    let lifted = patience.wait("kafka or the store", work).await?;
    let lifted = lifted.map_err(failed)?;
    Ok(lifted
        .iter()
        .map(|cause| format!("{}: {}", cause.id, cause.sentence))
        .collect())
}

/// Says where a topic partition goes on.
pub(super) fn set_offset(request: &OffsetsSet, patience: &Patience) -> Outcome {
    let config = wiring::known(&request.config, patience)?;
    let table = named(&config, &request.table)?;
    if !table.topics.contains(&request.topic) {
        return Err(Failure::invalid(format!(
            "--topic {}: table `{}` has the topics {}",
            request.topic,
            table.name,
            table.topics.join(", ")
        )));
    }
    let place = Place {
        topic_partition: TopicPartition::new(request.topic.as_str(), request.partition),
        to: request.to,
        reason: request.reason.clone(),
        allow_duplicates: request.allow_duplicates,
    };
    let work = async {
        let way = WayOut::open(&config, table, patience.clock(), patience.limit()).await?;
        way.set_offset(&place).await
    };
    let before = block_on(patience.wait("kafka or the store", work))??.map_err(failed)?;
    let at = &place.topic_partition;
    output::line(&match request.to.cmp(&before) {
        std::cmp::Ordering::Equal => format!("{at} stands at {before} already"),
        std::cmp::Ordering::Greater => format!(
            "{at} goes on at {}; offsets [{before}, {}) are recorded as lost",
            request.to, request.to
        ),
        std::cmp::Ordering::Less => format!(
            "{at} goes on at {} in the next incarnation; it stood at {before}",
            request.to
        ),
    });
    Ok(Ending::Done)
}

fn named<'a>(config: &'a Config, name: &str) -> Result<&'a Table, Failure> {
    let tables = wiring::tables(config, std::slice::from_ref(&name.to_owned()))?;
    tables
        .first()
        .copied()
        .ok_or_else(|| Failure::invalid(format!("--table {name}: the config has no such table")))
}

fn failed(error: Error) -> Failure {
    Failure::new(error.kind(), error)
}
