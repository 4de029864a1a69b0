//! A sign of life during long work.

use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// Shows the seconds on the error output, if that is a terminal.
pub(crate) async fn shown<T>(doing: &str, work: impl Future<Output = T>) -> T {
    let mut errors = std::io::stderr();
    if !errors.is_terminal() {
        return work.await;
    }
    let start = Instant::now();
    let mut work = std::pin::pin!(work);
    // A terminal that is gone does not end the work.
    loop {
        if let Ok(done) = timeout(Duration::from_secs(1), &mut work).await {
            let _ = write!(errors, "\r\x1b[K");
            return done;
        }
        let _ = write!(errors, "\r{doing}: {} s", start.elapsed().as_secs());
        let _ = errors.flush();
    }
}
