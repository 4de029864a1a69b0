//! A double of a carrier, in memory. It sends a message for each order, also for a repeated one, and can be asked what
//! became of a reference.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use idem_axum::{Recovered, StepKey};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// A message that was sent. `Deserialize` too, as it is the result of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) id: usize,
    pub(crate) to: String,
    pub(crate) text: String,
}

/// The carrier did not answer, or refused a late order.
#[derive(Debug)]
pub(crate) struct NoAnswer;

#[derive(Debug, Clone, Default)]
pub(crate) struct Carrier(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    sent: Vec<Sent>,
    references: HashMap<String, Sent>,
    /// The highest epoch that has asked for a reference. Lower ones come too late.
    asked: HashMap<String, u64>,
}

impl Carrier {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn send(&self, key: &StepKey, to: &str, text: &str) -> Result<Sent, NoAnswer> {
        sleep(Duration::from_millis(200)).await;
        let mut book = self.book();
        if book
            .asked
            .get(&**key)
            .is_some_and(|asked| key.epoch() < *asked)
        {
            return Err(NoAnswer);
        }
        let sent = Sent {
            id: book.sent.len() + 1,
            to: to.to_owned(),
            text: text.to_owned(),
        };
        book.sent.push(sent.clone());
        book.references.insert(key.to_string(), sent.clone());
        Ok(sent)
    }

    /// What became of an order. That there is none is a proof, since the carrier refuses a late order from now on.
    pub(crate) async fn recover(&self, key: &StepKey) -> Result<Recovered<Sent>, NoAnswer> {
        sleep(Duration::from_millis(50)).await;
        let mut book = self.book();
        book.asked.insert(key.to_string(), key.epoch());
        let sent = book.references.get(&**key).cloned();
        Ok(sent.map_or(Recovered::Absent, Recovered::Found))
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.book().sent.clone()
    }
}
