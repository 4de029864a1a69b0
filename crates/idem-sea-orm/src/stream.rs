//! Results that are read row by row.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::{BoxFuture, Fuse};
use futures_util::{FutureExt as _, Stream, TryStreamExt as _};
use sea_orm::{DbBackend, DbErr, QueryResult, Statement, StreamTrait};
use tokio::sync::mpsc;

use crate::driver::{Backend, query_error};
use crate::savepoint::Below;
use crate::{SeaSavepoint, SeaTransaction};

/// The rows of a statement. It holds the connection until it is read to its end or dropped.
pub struct SeaStream {
    /// Reads rows into the channel. A stream that borrowed the connection could not be in one struct with it.
    reader: Fuse<BoxFuture<'static, ()>>,
    rows: mpsc::Receiver<Result<QueryResult, DbErr>>,
}

impl SeaStream {
    fn new<DB: Backend>(mut held: Below<DB>, statement: Statement) -> Self {
        let (sender, rows) = mpsc::channel(1);
        let reader = async move {
            let mut stream = DB::stream(held.connection(), statement).map_err(query_error);
            loop {
                let row = stream.try_next().await.transpose();
                let Some(row) = row else { return };
                if sender.send(row).await.is_err() {
                    return;
                }
            }
        };
        let reader = reader.boxed().fuse();
        Self { reader, rows }
    }
}

impl Stream for SeaStream {
    type Item = Result<QueryResult, DbErr>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Its end shows in the channel, after the last row.
        let _ = self.reader.poll_unpin(cx);
        let row = ready!(self.rows.poll_recv(cx));
        Poll::Ready(row)
    }
}

impl fmt::Debug for SeaStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaStream").finish_non_exhaustive()
    }
}

macro_rules! streams {
    ($type:ident) => {
        impl<DB: Backend> StreamTrait for $type<DB> {
            type Stream<'a>
                = SeaStream
            where
                Self: 'a;

            fn get_database_backend(&self) -> DbBackend {
                DB::BACKEND
            }

            fn stream_raw<'a>(
                &'a self,
                statement: Statement,
            ) -> Pin<Box<dyn Future<Output = Result<SeaStream, DbErr>> + 'a + Send>> {
                Box::pin(async move { Ok(SeaStream::new(self.lock().await?, statement)) })
            }
        }
    };
}

streams!(SeaTransaction);
streams!(SeaSavepoint);
