//! A network between the service and its database: a proxy that holds the clients' data back.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::database::{Bank, PoolOf};
use anyhow::Result;

/// The additional time of a round trip.
const ROUND_TRIP: Duration = Duration::from_micros(500);

/// A TCP proxy that adds a delay to every round trip.
///
/// It has threads of its own and sleeps in them: tokio's timers count milliseconds.
#[derive(Debug)]
pub(crate) struct Delay {
    address: SocketAddr,
    /// Nanoseconds; less than the delay, because the proxy itself takes time as well.
    hold: Arc<AtomicU64>,
    messages: Arc<AtomicU64>,
}

impl Delay {
    /// Starts a proxy in front of a server. It ends with the process.
    pub(crate) fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let hold = Arc::new(AtomicU64::new(nanoseconds(ROUND_TRIP)));
        let messages = Arc::new(AtomicU64::new(0));
        let shared = (Arc::clone(&hold), Arc::clone(&messages));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // If the server is gone, the client's connection ends, too.
                let _ = relay(client, server, &shared);
            }
        });
        Ok(Self {
            address,
            hold,
            messages,
        })
    }

    /// The address of the proxy.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often clients have sent something. With one client that waits for its answers these are round trips.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Shortens the hold by the proxy's own time, and returns the additional time of a round trip.
    pub(crate) async fn calibrate<C: Bank>(
        &self,
        direct: &PoolOf<C>,
        delayed: &PoolOf<C>,
    ) -> Result<Duration> {
        let mut added = self.measure::<C>(direct, delayed).await?;
        for _ in 0..2 {
            let hold = Duration::from_nanos(self.hold.load(Ordering::Relaxed));
            let hold = (hold + ROUND_TRIP).saturating_sub(added);
            self.hold.store(nanoseconds(hold), Ordering::Relaxed);
            added = self.measure::<C>(direct, delayed).await?;
        }
        Ok(added)
    }

    async fn measure<C: Bank>(&self, direct: &PoolOf<C>, delayed: &PoolOf<C>) -> Result<Duration> {
        let without = round_trip::<C>(direct).await?;
        Ok(round_trip::<C>(delayed).await?.saturating_sub(without))
    }
}

/// The median of many measurements.
async fn round_trip<C: Bank>(pool: &PoolOf<C>) -> Result<Duration> {
    const COUNT: usize = 201;
    let mut connection = pool.acquire().await?;
    let mut times = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let start = Instant::now();
        connection.run("SELECT 1").await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[COUNT / 2])
}

fn relay(
    client: TcpStream,
    server: SocketAddr,
    (hold, messages): &(Arc<AtomicU64>, Arc<AtomicU64>),
) -> Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (there, back) = (client.try_clone()?, server.try_clone()?);
    let (hold, messages) = (Arc::clone(hold), Arc::clone(messages));
    let delay = move || {
        messages.fetch_add(1, Ordering::Relaxed);
        Duration::from_nanos(hold.load(Ordering::Relaxed))
    };
    thread::spawn(move || forward(there, server, delay));
    thread::spawn(move || forward(back, client, || Duration::ZERO));
    Ok(())
}

/// Copies until one side ends, and ends the other.
fn forward(mut from: TcpStream, mut to: TcpStream, hold: impl Fn() -> Duration) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let hold = hold();
        if !hold.is_zero() {
            thread::sleep(hold);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_the_delay_longer() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let delay = Delay::start(echo.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut bytes = [0; 4];
            while stream.read_exact(&mut bytes).is_ok() {
                stream.write_all(&bytes).unwrap();
            }
        });
        let mut client = TcpStream::connect(delay.address()).unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            client.write_all(b"ping").unwrap();
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"ping");
            assert!(start.elapsed() >= ROUND_TRIP);
        }
    }
}
