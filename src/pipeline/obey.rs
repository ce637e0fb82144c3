//! How the control thread obeys orders: a table that rests has committed what it read and holds its topic partitions without reading them. Owns what an order means and
//! when it is done; a rest is no suspension, and no cause is judged here.

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::model::epoch::Epoch;
use crate::model::offset::TopicPartition;
use crate::pipeline::control::Control;
use crate::pipeline::error::Error;
use crate::pipeline::flusher::FlusherCommand;
use crate::pipeline::orders::{Answer, Order, Ordered};
use crate::pipeline::status::TableState;

/// An order that waits for a commit.
pub(super) struct Obeying {
    ordered: Ordered,
    committed: oneshot::Receiver<()>,
}

impl Control {
    /// Takes the orders that wait, and answers those that are done.
    pub(super) fn obey(&mut self) -> Result<(), Error> {
        while let Some(ordered) = self.orders.take() {
            self.begin_order(ordered)?;
        }
        for mut obeying in std::mem::take(&mut self.obeying) {
            match obeying.committed.try_recv() {
                Err(TryRecvError::Empty) => self.obeying.push(obeying),
                Ok(()) | Err(TryRecvError::Closed) => self.end_order(obeying.ordered)?,
            }
        }
        Ok(())
    }

    fn begin_order(&mut self, ordered: Ordered) -> Result<(), Error> {
        let Some(table) = self.tables.get_mut(&ordered.table) else {
            answer(ordered, Answer::UnknownTable);
            return Ok(());
        };
        if let Some(reason) = table
            .suspended
            .clone()
            .filter(|_| ordered.order != Order::Resume)
        {
            answer(
                ordered,
                Answer::Refused(format!("it is suspended: {reason}")),
            );
            return Ok(());
        }
        match ordered.order {
            Order::Resume => {
                if std::mem::take(&mut table.rests) {
                    table.reopen_at = Some(self.clock.now());
                    tracing::info!(table = ordered.table, "goes on by order");
                    self.status
                        .table(&ordered.table, |table| table.state = TableState::Starting);
                }
                answer(ordered, Answer::Done);
                return Ok(());
            }
            Order::Pause => {
                table.rests = true;
                let owned: Vec<TopicPartition> = table.owned.iter().cloned().collect();
                self.pause(&owned)?;
            }
            Order::Flush => {}
        }
        let (reply, committed) = oneshot::channel();
        let live = self
            .tables
            .get(&ordered.table)
            .filter(|table| table.epoch.as_ref().is_some_and(Epoch::is_live));
        // Without an epoch there is nothing to commit; then the reply is dropped here, and the order is done.
        if let Some(table) = live
            && table
                .flusher
                .try_send(FlusherCommand::Drain { reply })
                .is_err()
        {
            let reason = "its flusher is busy; try again".to_owned();
            answer(ordered, Answer::Refused(reason));
            return Ok(());
        }
        self.obeying.push(Obeying { ordered, committed });
        Ok(())
    }

    fn end_order(&mut self, ordered: Ordered) -> Result<(), Error> {
        let name = ordered.table.clone();
        // It may have been told to go on meanwhile.
        let rests = self
            .tables
            .get(&name)
            .is_some_and(|table| table.rests && table.suspended.is_none());
        if ordered.order == Order::Pause && rests {
            self.end_epoch(&name);
            let owned = self.tables.get_mut(&name).map(|table| {
                table.parked.clear();
                table.reopen_at = None;
                table.owned.iter().cloned().collect::<Vec<_>>()
            });
            let owned = owned.unwrap_or_default();
            if let Some(pending) = &mut self.pending {
                pending.forget(&owned);
            }
            self.pause(&owned)?;
            tracing::info!(table = name, "rests by order");
            self.status
                .table(&name, |table| table.state = TableState::Paused);
        }
        answer(ordered, Answer::Done);
        Ok(())
    }
}

fn answer(ordered: Ordered, answer: Answer) {
    if ordered.reply.send(answer).is_err() {
        tracing::debug!(
            table = ordered.table,
            "nobody waits for this order any more"
        );
    }
}
