//! A request's payload, remembered as it is read.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::dev;
use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;

/// A payload of which any number of readers read the whole.
///
/// The extractor of the body reads it within its own limits and with its own errors; what it left,
/// or took without reading, is read afterwards, and is still there for it.
#[derive(Clone)]
pub(crate) struct Shared(Rc<RefCell<State>>);

struct State {
    payload: dev::Payload,
    read: BytesMut,
    has_ended: bool,
}

struct Reader {
    shared: Shared,
    position: usize,
}

impl Shared {
    pub(crate) fn new(payload: dev::Payload) -> Self {
        Self(Rc::new(RefCell::new(State {
            payload,
            read: BytesMut::new(),
            has_ended: false,
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

    /// Whether somebody has read it to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.borrow().has_ended
    }

    /// What was read.
    pub(crate) fn bytes(&self) -> Bytes {
        self.0.borrow().read.clone().freeze()
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = self.shared.clone();
        let mut state = shared.0.borrow_mut();
        if self.position < state.read.len() {
            let bytes = Bytes::copy_from_slice(&state.read[self.position..]);
            self.position = state.read.len();
            return Poll::Ready(Some(Ok(bytes)));
        }
        if state.has_ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut state.payload).poll_next(context);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                state.read.extend_from_slice(bytes);
                self.position = state.read.len();
            }
            Poll::Ready(None) => state.has_ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }
}
