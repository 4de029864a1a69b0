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
    /// The chunks read so far; `None` if they are not kept.
    chunks: Option<Vec<Bytes>>,
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
    /// Whether it has just given a chunk that is not kept.
    rests: bool,
}

impl Shared {
    pub(crate) fn new(payload: dev::Payload) -> Self {
        Self(Rc::new(RefCell::new(State {
            payload,
            chunks: Some(Vec::new()),
            end: None,
        })))
    }

    /// The payload, from its beginning.
    pub(crate) fn reader(&self) -> dev::Payload {
        let reader = Reader {
            shared: self.clone(),
            position: 0,
            rests: false,
        };
        dev::Payload::Stream {
            payload: Box::pin(reader),
        }
    }

    /// Keeps no chunk from now on. A reader that has begun reads on; no other can begin. It gives one
    /// chunk at a time: a parser of multipart bodies keeps in memory all that is ready.
    #[cfg(feature = "multipart")]
    pub(crate) fn forget(&self) {
        self.0.borrow_mut().chunks = None;
    }

    /// Whether a reader has reached the end, or the chunks are not kept.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.0.borrow();
        state.chunks.is_none() || state.end == Some(End::Whole)
    }

    /// The bytes that were read so far; `None` if they are not kept.
    pub(crate) fn bytes(&self) -> Option<Bytes> {
        Some(match &self.0.borrow().chunks.as_ref()?[..] {
            [all] => all.clone(),
            chunks => chunks.concat().into(),
        })
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = self.shared.clone();
        let mut state = shared.0.borrow_mut();
        let known = state.chunks.as_ref();
        if let Some(chunk) = known.and_then(|chunks| chunks.get(self.position)) {
            self.position += 1;
            return Poll::Ready(Some(Ok(chunk.clone())));
        }
        match state.end {
            Some(End::Whole) => return Poll::Ready(None),
            Some(End::Broken) => return Poll::Ready(Some(Err(PayloadError::Incomplete(None)))),
            None => {}
        }
        if std::mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut state.payload).poll_next(context);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => {
                if let Some(chunks) = &mut state.chunks {
                    chunks.push(chunk.clone());
                    self.position = chunks.len();
                } else {
                    self.rests = true;
                }
            }
            Poll::Ready(Some(Err(_))) => state.end = Some(End::Broken),
            Poll::Ready(None) => state.end = Some(End::Whole),
            Poll::Pending => {}
        }
        polled
    }
}
