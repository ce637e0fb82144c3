//! Why a table cannot simply go on from its offsets: another topic under the name, a hole, a truncated log. Owns the judgement (pure), the sentences and the ids of
//! causes; asks nobody and changes nothing.

use crate::config::settings::{self, OnChange};
use crate::model::identity::TopicIdentity;
use crate::model::offset::TopicPartition;
use crate::source::Watermarks;

/// What stands between a table and its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The topic was deleted and created again.
    Recreated {
        /// Its name.
        topic: String,
        /// Who it was, by the table.
        was: TopicIdentity,
        /// Who it is, by the broker.
        is: TopicIdentity,
    },
    /// The topic is another cluster's.
    OtherCluster {
        /// Its name.
        topic: String,
        /// Who it was, by the table.
        was: TopicIdentity,
        /// Who it is, by the broker.
        is: TopicIdentity,
    },
    /// Records were deleted before they were read.
    Expired {
        /// Where.
        topic_partition: TopicPartition,
        /// The next offset by the table.
        committed: i64,
        /// Where the log begins.
        low: i64,
    },
    /// The log is not the one that was read.
    Truncated {
        /// Where.
        topic_partition: TopicPartition,
        /// The next offset by the table.
        committed: i64,
        /// The first offset that differs, as far as it can be told.
        end: i64,
    },
}

/// What a topic's identity says beside the pinned one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the topic that the table knows.
    Same,
    /// It has an identity that the table has not pinned yet.
    Adopt,
    /// It is another topic.
    Changed(Cause),
    /// The broker does not tell what the table has pinned; the sentence says what is missing.
    Untold(String),
}

/// Holds who a topic is against who it was.
pub(super) fn judge_identity(
    topic: &str,
    pinned: &TopicIdentity,
    found: Option<&TopicIdentity>,
) -> Verdict {
    let nobody = TopicIdentity::default();
    let found = found.unwrap_or(&nobody);
    let untold = |what: &str, id: &str| {
        Verdict::Untold(format!(
            "the broker does not tell the {what} of topic `{topic}`, which must be {id}; allow this principal to Describe the topic"
        ))
    };
    let (was, is) = (pinned.clone(), found.clone());
    let topic_name = topic.to_owned();
    match (
        (&pinned.cluster_id, &found.cluster_id),
        (&pinned.topic_id, &found.topic_id),
    ) {
        // A topic id is unique over clusters, so it alone can prove that nothing changed.
        (_, (Some(was), Some(is))) if was == is => match (&pinned.cluster_id, &found.cluster_id) {
            (None, Some(_)) => Verdict::Adopt,
            _ => Verdict::Same,
        },
        ((Some(was_id), Some(is_id)), _) if was_id != is_id => {
            Verdict::Changed(Cause::OtherCluster {
                topic: topic_name,
                was,
                is,
            })
        }
        (_, (Some(_), Some(_))) => Verdict::Changed(Cause::Recreated {
            topic: topic_name,
            was,
            is,
        }),
        (_, (Some(id), None)) => untold("id", id),
        ((Some(id), None), (None, _)) => untold("cluster", id),
        (_, (None, Some(_))) | ((None, Some(_)), _) => Verdict::Adopt,
        ((_, _), (None, None)) => Verdict::Same,
    }
}

/// Says whether a stored position can be read on from; else names the hole (OFF-7). `parts_at` is where the log is known to part from the one that was read, however far it
/// goes by now.
pub(super) fn judge_position(
    topic_partition: &TopicPartition,
    committed: i64,
    marks: Watermarks,
    parts_at: Option<i64>,
) -> Option<Cause> {
    let topic_partition = topic_partition.clone();
    if committed < marks.low {
        return Some(Cause::Expired {
            topic_partition,
            committed,
            low: marks.low,
        });
    }
    let end = parts_at.or_else(|| (committed > marks.high).then_some(marks.high))?;
    Some(Cause::Truncated {
        topic_partition,
        committed,
        end,
    })
}

impl Cause {
    /// Stands for exactly this cause: a person who lifts it accepts no other.
    pub(super) fn id(&self) -> String {
        let shown = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
        match self {
            Cause::Recreated { topic, is, .. } => {
                format!("recreated/{topic}/{}", shown(&is.topic_id))
            }
            Cause::OtherCluster { topic, is, .. } => {
                format!("other-cluster/{topic}/{}", shown(&is.cluster_id))
            }
            Cause::Expired {
                topic_partition: at,
                committed,
                low,
            } => format!("expired/{}/{}/{committed}-{low}", at.topic, at.number),
            Cause::Truncated {
                topic_partition: at,
                committed,
                end,
            } => format!("truncated/{}/{}/{committed}-{end}", at.topic, at.number),
        }
    }

    /// What the config says to it.
    pub(super) fn response(&self, settings: &settings::Table) -> OnChange {
        match self {
            Cause::Recreated { .. } | Cause::OtherCluster { .. } => settings.on_source_change,
            Cause::Expired { .. } | Cause::Truncated { .. } => settings.on_lost_offsets,
        }
    }

    /// The sentence for the person who must decide.
    pub(super) fn sentence(&self) -> String {
        let shown = |id: &Option<String>| id.clone().unwrap_or_else(|| "unknown".to_owned());
        match self {
            Cause::Recreated { topic, was, is } => format!(
                "topic `{topic}` was deleted and created again: its id was {} and is {}, so the table's offsets are not its offsets; take the new topic from its start with `lakeward resume`, or always with on_source_change: continue",
                shown(&was.topic_id),
                shown(&is.topic_id)
            ),
            Cause::OtherCluster { topic, was, is } => format!(
                "topic `{topic}` is another cluster's: the cluster's id was {} and is {} (kafka.bootstrap_servers), so the table's offsets are not its offsets; take the new topic from its start with `lakeward resume`, or always with on_source_change: continue",
                shown(&was.cluster_id),
                shown(&is.cluster_id)
            ),
            Cause::Expired {
                topic_partition,
                committed,
                low,
            } => format!(
                "the table has read {topic_partition} up to offset {committed}, but the log now begins at {low}: offsets [{committed}, {low}) are gone (retention overtook the sink); record them as lost with `lakeward resume`, or always with on_lost_offsets: continue"
            ),
            Cause::Truncated {
                topic_partition,
                committed,
                end,
            } => format!(
                "the table has read {topic_partition} up to offset {committed}, but the log is another one from {end} on: it was truncated (unclean leader election, or a broker restored); rows of the lost offsets [{end}, {committed}) stay in the table; read on from {end} as the next incarnation with `lakeward resume`, or always with on_lost_offsets: continue"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: Option<&str>, topic: Option<&str>) -> TopicIdentity {
        TopicIdentity {
            cluster_id: cluster.map(str::to_owned),
            topic_id: topic.map(str::to_owned),
        }
    }

    fn check(
        pinned: (Option<&str>, Option<&str>),
        found: Option<(Option<&str>, Option<&str>)>,
        expected: &str,
    ) {
        let found = found.map(|(cluster, topic)| identity(cluster, topic));
        let verdict = judge_identity("t", &identity(pinned.0, pinned.1), found.as_ref());
        let shown = match &verdict {
            Verdict::Same => "same".to_owned(),
            Verdict::Adopt => "adopt".to_owned(),
            Verdict::Changed(cause) => cause.id(),
            Verdict::Untold(sentence) => sentence.clone(),
        };
        assert!(shown.starts_with(expected), "{verdict:?} is not {expected}");
    }

    #[test]
    fn off_8_a_topic_of_the_same_name_with_another_id_is_another_topic() {
        let pinned = (Some("c"), Some("a"));
        check(pinned, Some((Some("c"), Some("a"))), "same");
        check(pinned, Some((Some("c"), Some("b"))), "recreated/t/b");
        check(pinned, Some((None, Some("b"))), "recreated/t/b");
        check(pinned, Some((Some("d"), Some("b"))), "other-cluster/t/d");
        check(
            (Some("c"), None),
            Some((Some("d"), None)),
            "other-cluster/t/d",
        );
    }

    #[test]
    fn env_1_an_identity_that_is_not_told_where_one_is_pinned_is_waited_for() {
        check(
            (Some("c"), Some("a")),
            None,
            "the broker does not tell the id of topic `t`, which must be a",
        );
        check(
            (Some("c"), Some("a")),
            Some((Some("c"), None)),
            "the broker does not tell the id",
        );
        check(
            (Some("c"), None),
            Some((None, None)),
            "the broker does not tell the cluster",
        );
        // The topic's id is proof enough.
        check((Some("c"), Some("a")), Some((None, Some("a"))), "same");
    }

    #[test]
    fn an_identity_that_was_never_told_is_adopted_once_it_is() {
        check((None, None), None, "same");
        check((None, None), Some((None, None)), "same");
        check((None, None), Some((Some("c"), Some("a"))), "adopt");
        check((Some("c"), None), Some((Some("c"), Some("a"))), "adopt");
        check((None, Some("a")), Some((Some("c"), Some("a"))), "adopt");
    }

    fn position(committed: i64, expected: Option<&str>) {
        check_position(committed, None, expected);
    }

    fn check_position(committed: i64, parts_at: Option<i64>, expected: Option<&str>) {
        let marks = Watermarks { low: 10, high: 20 };
        let cause = judge_position(&TopicPartition::new("t", 3), committed, marks, parts_at);
        assert_eq!(cause.map(|cause| cause.id()).as_deref(), expected);
    }

    #[test]
    fn off_7_a_position_below_the_log_names_the_hole() {
        position(9, Some("expired/t/3/9-10"));
        let cause = Cause::Expired {
            topic_partition: TopicPartition::new("t", 3),
            committed: 9,
            low: 10,
        };
        assert!(cause.sentence().contains("offsets [9, 10) are gone"));
    }

    #[test]
    fn off_7_a_position_above_the_log_is_a_truncation() {
        position(21, Some("truncated/t/3/21-20"));
    }

    #[test]
    fn off_7_a_log_that_parts_from_what_was_read_is_truncated_however_far_it_goes() {
        check_position(15, Some(12), Some("truncated/t/3/15-12"));
        check_position(21, Some(12), Some("truncated/t/3/21-12"));
        // The log of before is wholly gone; what there is begins after it.
        check_position(15, Some(0), Some("truncated/t/3/15-0"));
        check_position(9, Some(5), Some("expired/t/3/9-10"));
    }

    #[test]
    fn off_7_a_position_inside_the_log_is_taken() {
        position(10, None);
        position(20, None);
    }
}
