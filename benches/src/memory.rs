//! The memory of duplicates that wait for a running handler.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::LocalBoxFuture;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use tokio::time::sleep;

use crate::load::{Answer, Ask};

mod actix;
mod axum;

/// How many duplicates wait.
const WAITERS: u16 = 1000;

/// The results.
pub(crate) struct Cost {
    /// A waiting duplicate's kilobytes, of 1,000 bytes, on the framework where they are more.
    pub(crate) kilobytes: f64,
    /// The section of the report.
    pub(crate) text: String,
}

/// A service in this process, which is sent a request.
type Service = Box<dyn Fn(&Ask) -> Result<LocalBoxFuture<'static, Result<Answer>>>>;

/// Lets duplicates wait on both frameworks, and counts the bytes that were allocated for them.
pub(crate) fn run() -> Result<Cost> {
    let mut cost = Cost {
        kilobytes: 0.0,
        text: format!(
            "A duplicate that waits for a running handler, with its request of ten fields and its task, and without a \
             connection to the client. Means of {WAITERS}.\n\n"
        ),
    };
    for (framework, service) in [
        ("axum", axum::service as fn(Arc<Semaphore>) -> _),
        ("actix-web", actix::service),
    ] {
        let bytes = measure(service)?;
        cost.kilobytes = cost.kilobytes.max(bytes / 1000.0);
        let _ = writeln!(cost.text, "- {framework}: {bytes:.0} bytes");
    }
    Ok(cost)
}

fn measure(service: fn(Arc<Semaphore>) -> LocalBoxFuture<'static, Result<Service>>) -> Result<f64> {
    // On this thread alone, because allocations are counted by threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = LocalSet::new();
    let gate = Arc::new(Semaphore::new(0));
    let ask = Ask::fresh();
    let service = tasks.block_on(&runtime, service(Arc::clone(&gate)))?;
    let first = tasks.block_on(&runtime, send(&service, &ask, 1))?;
    let mut duplicates = Ok(Vec::new());
    let memory = allocation_counter::measure(|| {
        duplicates = tasks.block_on(&runtime, send(&service, &ask, WAITERS));
    });
    gate.add_permits(1);
    let first = tasks.block_on(&runtime, answers(first))?;
    ensure!(first == [Answer::Executed], "{first:?}");
    let duplicates = tasks.block_on(&runtime, answers(duplicates?))?;
    let mut duplicates = duplicates.iter();
    let replayed = duplicates.all(|answer| *answer == Answer::Replayed);
    ensure!(replayed, "a duplicate was executed");
    let bytes = i32::try_from(memory.bytes_current)?;
    Ok(f64::from(bytes) / f64::from(WAITERS))
}

/// Sends a request so many times, and lets each come as far as it can.
async fn send(service: &Service, ask: &Ask, count: u16) -> Result<Vec<JoinHandle<Result<Answer>>>> {
    let mut requests = Vec::new();
    for _ in 0..count {
        requests.push(spawn_local(service(ask)?));
    }
    for _ in 0..100 {
        yield_now().await;
    }
    // SQLite's thread does its part.
    sleep(Duration::from_millis(100)).await;
    Ok(requests)
}

async fn answers(requests: Vec<JoinHandle<Result<Answer>>>) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await??);
    }
    Ok(answers)
}

/// The meaning of an answer.
fn answer(status: u16, is_replay: bool) -> Result<Answer> {
    ensure!(status == 201, "{status}");
    Ok(if is_replay {
        Answer::Replayed
    } else {
        Answer::Executed
    })
}
