//! How the control thread obeys orders: a table that rests has committed what it read and holds its topic partitions without reading them, and its family rests with it.
//! Owns what an order means and when it is done; a rest is no suspension, and no cause is judged here.

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::pipeline::control::Control;
use crate::pipeline::error::Error;
use crate::pipeline::family::{TableControl, reason_of};
use crate::pipeline::orders::{Answer, Order, Ordered};
use crate::pipeline::status::TableState;

/// An order that waits for commits.
pub(super) struct Obeying {
    ordered: Ordered,
    waiting: Vec<oneshot::Receiver<()>>,
}

impl Control {
    /// Takes the orders that wait, and answers those that are done.
    pub(super) fn obey(&mut self) -> Result<(), Error> {
        while let Some(ordered) = self.orders.take() {
            self.begin_order(ordered)?;
        }
        for mut obeying in std::mem::take(&mut self.obeying) {
            obeying
                .waiting
                .retain_mut(|answer| matches!(answer.try_recv(), Err(TryRecvError::Empty)));
            if obeying.waiting.is_empty() {
                self.end_order(obeying.ordered)?;
            } else {
                self.obeying.push(obeying);
            }
        }
        Ok(())
    }

    fn begin_order(&mut self, ordered: Ordered) -> Result<(), Error> {
        let name = self.family_of(&ordered.table).unwrap_or_default();
        let Some(family) = self.families.get_mut(&name) else {
            answer(ordered, Answer::UnknownTable);
            return Ok(());
        };
        if let Some((culprit, reason)) = &family.suspended
            && ordered.order != Order::Resume
        {
            let reason = reason_of(&ordered.table, culprit, reason);
            answer(
                ordered,
                Answer::Refused(format!("it is suspended: {reason}")),
            );
            return Ok(());
        }
        match ordered.order {
            Order::Resume => {
                if std::mem::take(&mut family.rests) {
                    family.reopen_at = Some(self.clock.now());
                    tracing::info!(table = ordered.table, "goes on by order");
                    self.show_state(&name, &TableState::Starting);
                }
                answer(ordered, Answer::Done);
                return Ok(());
            }
            Order::Pause | Order::Flush => {}
        }
        // Without an epoch there is nothing to commit, and the order is done.
        let live = self.families.get(&name).filter(|family| family.is_live());
        let tables = live.into_iter().flat_map(|family| &family.tables);
        let concerned =
            tables.filter(|(table, _)| ordered.order == Order::Pause || **table == ordered.table);
        let drained: Option<Vec<_>> = concerned
            .map(|(_, table)| TableControl::drain(table))
            .collect();
        let Some(waiting) = drained else {
            let reason = "its flusher is busy; try again".to_owned();
            answer(ordered, Answer::Refused(reason));
            return Ok(());
        };
        // Only now: a pause that is refused must leave the table at work.
        if ordered.order == Order::Pause
            && let Some(family) = self.families.get_mut(&name)
        {
            family.rests = true;
            let owned = family.all_owned();
            self.pause(&owned)?;
        }
        self.obeying.push(Obeying { ordered, waiting });
        Ok(())
    }

    fn end_order(&mut self, ordered: Ordered) -> Result<(), Error> {
        let name = self.family_of(&ordered.table).unwrap_or_default();
        // It may have been told to go on meanwhile.
        let rests = self
            .families
            .get(&name)
            .is_some_and(|family| family.rests && family.suspended.is_none());
        if ordered.order == Order::Pause && rests {
            self.end_epoch(&name);
            let owned = self.families.get_mut(&name).map(|family| {
                family.parked.clear();
                family.reopen_at = None;
                family.all_owned()
            });
            let owned = owned.unwrap_or_default();
            if let Some(pending) = &mut self.pending {
                pending.forget(&owned);
            }
            self.pause(&owned)?;
            tracing::info!(table = ordered.table, "rests by order");
            self.show_state(&name, &TableState::Paused);
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
