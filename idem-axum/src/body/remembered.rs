//! A request's body, kept in memory while its extractor reads it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// A body that any number of readers can read from its beginning.
///
/// The extractor reads it within its own limits and with its own errors. The rest of the body is read
/// afterwards. A handler that took the request without reading can still read all of it.
#[derive(Clone)]
pub(crate) struct Remembered(Arc<Mutex<State>>);

struct State {
    body: Body,
    /// The chunks read so far; `None` if they are not kept.
    chunks: Option<Vec<Bytes>>,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// Every later read fails again: after its error, the body itself would seem to be complete.
    Broken,
}

struct Reader {
    remembered: Remembered,
    /// The number of chunks that this reader has read.
    position: usize,
    /// Whether it has just given a chunk that is not kept.
    rests: bool,
}

impl Remembered {
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(State {
            body,
            chunks: Some(Vec::new()),
            end: None,
        })))
    }

    /// The body, from its beginning.
    pub(crate) fn reader(&self) -> Body {
        Body::new(Reader {
            remembered: self.clone(),
            position: 0,
            rests: false,
        })
    }

    /// Keeps no chunk from now on. A reader that has begun reads on; no other can begin. It gives one
    /// chunk at a time: a parser of multipart bodies keeps in memory all that is ready.
    #[cfg(feature = "multipart")]
    pub(crate) fn forget(&self) {
        self.state().chunks = None;
    }

    /// Whether a reader has reached the end, or the chunks are not kept.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state();
        state.chunks.is_none() || state.end == Some(End::Whole)
    }

    /// The bytes that were read so far; `None` if they are not kept.
    pub(crate) fn bytes(&self) -> Option<Bytes> {
        Some(match &self.state().chunks.as_ref()?[..] {
            [all] => all.clone(),
            chunks => chunks.concat().into(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of bytes in memory that a reader has not read yet.
    fn left(&self, position: usize) -> usize {
        let chunks = self.chunks.iter().flatten();
        chunks.skip(position).map(Bytes::len).sum()
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    // As the body would have it without this reader around it: axum looks for the error of a limit
    // at a certain depth.
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let remembered = self.remembered.clone();
        let mut state = remembered.state();
        let known = state.chunks.as_ref();
        if let Some(chunk) = known.and_then(|chunks| chunks.get(self.position)) {
            self.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        match state.end {
            Some(End::Whole) => return Poll::Ready(None),
            Some(End::Broken) => return Poll::Ready(Some(Err("the body broke off".into()))),
            None => {}
        }
        if std::mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut state.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match (frame.data_ref(), &mut state.chunks) {
                (Some(chunk), Some(chunks)) => {
                    chunks.push(chunk.clone());
                    self.position = chunks.len();
                }
                (Some(_), None) => self.rests = true,
                (None, _) => {}
            },
            Poll::Ready(Some(Err(_))) => state.end = Some(End::Broken),
            Poll::Ready(None) => state.end = Some(End::Whole),
            Poll::Pending => {}
        }
        polled.map_err(axum::Error::into_inner)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.remembered.state();
        let is_at_end =
            state.end == Some(End::Whole) || (state.end.is_none() && state.body.is_end_stream());
        is_at_end && state.left(self.position) == 0
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.remembered.state();
        let left = u64::try_from(state.left(self.position)).unwrap_or(u64::MAX);
        let rest = state.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint.set_lower(rest.lower().saturating_add(left));
        hint
    }
}
