//! The beginning of an epoch: reads the table afresh, settles it with its topics, and says where its topic partitions go on. Owns what follows from a settled table;
//! the settling is `settle`'s.

use std::collections::BTreeMap;

use crate::model::epoch::Epoch;
use crate::model::offset::TopicPartition;
use crate::pipeline::control::FromWorker;
use crate::pipeline::flusher::{Flusher, trouble};
use crate::pipeline::settle::{Accept, Settling};

impl Flusher {
    /// Reads the table afresh (OFF-5), settles it with its topics and answers with the offsets; what is away is waited for, what is wrong suspends.
    pub(super) async fn begin(&mut self, epoch: Epoch, topic_partitions: Vec<TopicPartition>) {
        let settling = Settling {
            table: &mut self.table,
            lookup: &self.lookup,
            settings: &self.share.plan.settings,
            app_name: &self.app_name,
            clock: &self.clock,
            epoch: &epoch,
            accept: Accept::ByConfig,
            trouble: &|sentence| trouble(&self.status, &self.to_control, sentence),
        };
        let settled = match settling.settle(&topic_partitions).await {
            Ok(Some(settled)) => settled,
            Ok(None) => return,
            Err(reason) => return self.halted(&epoch, reason),
        };
        // What the last owner named and did not come to show.
        if let Err(reason) = self.publish().await {
            return self.halted(&epoch, reason);
        }
        let is_same = |current: &Epoch| current.same_as(&epoch);
        if !self.epoch().as_ref().is_some_and(is_same)
            && let Err(reason) = self.share.begin_schemas(&self.table, &self.clock)
        {
            return self.halted(&epoch, reason);
        }
        self.state.suspended = None;
        self.show_table();
        self.status.table(self.share.name(), |table| {
            for (topic_partition, start) in &settled.starts {
                table
                    .topic_partitions
                    .entry(topic_partition.clone())
                    .or_default()
                    .end = Some(start.end);
            }
        });
        let starts: BTreeMap<TopicPartition, i64> = settled
            .starts
            .iter()
            .map(|(topic_partition, start)| (topic_partition.clone(), start.offset))
            .collect();
        self.share.set_committed(starts.clone());
        self.state.epoch = Some(epoch.clone());
        self.tell(FromWorker::Opened {
            table: self.share.name().to_owned(),
            epoch,
            starts,
        })
        .await;
    }
}
