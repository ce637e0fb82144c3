//! What a person asks of a running process: rest, go on, flush. Owns the bounded way from whoever hears it to the control thread and back; obeying is the control
//! thread's. An order is this process's alone and is forgotten with it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

/// Orders that wait for the control thread's next turn.
const WAITING_MAX: usize = 16;

/// What is asked for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Commit what was read, then read no more.
    Pause,
    /// Read on from the table.
    Resume,
    /// Commit what was read.
    Flush,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// This process does not run such a table.
    UnknownTable,
    /// Not as the table stands; the reason is a sentence.
    Refused(String),
}

/// An order on its way.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) table: String,
    pub(super) order: Order,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// Both ends of the way.
#[derive(Debug, Clone)]
pub struct Orders {
    sender: mpsc::Sender<Ordered>,
    inbox: Arc<Mutex<mpsc::Receiver<Ordered>>>,
}

impl Default for Orders {
    fn default() -> Self {
        let (sender, inbox) = mpsc::channel(WAITING_MAX);
        Orders {
            sender,
            inbox: Arc::new(Mutex::new(inbox)),
        }
    }
}

impl Orders {
    /// Waits until the control thread has answered. `None`: it takes no more orders, or ended before it answered.
    pub async fn give(&self, table: &str, order: Order) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        let ordered = Ordered {
            table: table.to_owned(),
            order,
            reply,
        };
        self.sender.try_send(ordered).ok()?;
        answer.await.ok()
    }

    /// The next order that waits.
    pub(super) fn take(&self) -> Option<Ordered> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.try_recv().ok()
    }
}
