//! A request's payload, kept in memory while it is read.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::dev;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

/// A payload that any number of readers can read from its beginning.
///
/// The extractor of the body reads it within its own limits and with its own errors. The rest of
/// the payload is read afterwards. A handler that took the payload without reading can still read
/// all of it.
#[derive(Clone)]
pub(crate) struct Shared(Rc<RefCell<State>>);

struct State {
    payload: dev::Payload,
    chunks: Vec<Bytes>,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// Every later read fails again: after its error, the payload itself would seem to be complete.
    Broken,
}

struct Reader {
    shared: Shared,
    /// The number of chunks that this reader has read.
    position: usize,
}

impl Shared {
    pub(crate) fn new(payload: dev::Payload) -> Self {
        Self(Rc::new(RefCell::new(State {
            payload,
            chunks: Vec::new(),
            end: None,
        })))
    }

    /// The payload, from its beginning.
    pub(crate) fn reader(&self) -> dev::Payload {
        let reader = Reader {
            shared: self.clone(),
            position: 0,
        };
        dev::Payload::Stream {
            payload: Box::pin(reader),
        }
    }

    /// Whether a reader has reached the end.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.borrow().end == Some(End::Whole)
    }

    /// The bytes that were read so far.
    pub(crate) fn bytes(&self) -> Bytes {
        match &self.0.borrow().chunks[..] {
            [all] => all.clone(),
            chunks => chunks.concat().into(),
        }
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = self.shared.clone();
        let mut state = shared.0.borrow_mut();
        if let Some(chunk) = state.chunks.get(self.position) {
            self.position += 1;
            return Poll::Ready(Some(Ok(chunk.clone())));
        }
        match state.end {
            Some(End::Whole) => return Poll::Ready(None),
            Some(End::Broken) => return Poll::Ready(Some(Err(PayloadError::Incomplete(None)))),
            None => {}
        }
        let polled = Pin::new(&mut state.payload).poll_next(context);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => {
                state.chunks.push(chunk.clone());
                self.position = state.chunks.len();
            }
            Poll::Ready(Some(Err(_))) => state.end = Some(End::Broken),
            Poll::Ready(None) => state.end = Some(End::Whole),
            Poll::Pending => {}
        }
        polled
    }
}
