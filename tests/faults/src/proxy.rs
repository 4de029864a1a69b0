//! A wire to a database that breaks at a given byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards every connection to a server, counts the bytes, and does the harm for which it is
/// armed. It does not know any protocol.
#[derive(Debug)]
pub struct Proxy {
    /// The address of the proxy.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the server.
    Requests,
    /// From the server.
    Answers,
}

/// The harm to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Harm {
    /// The connection is closed on both sides.
    Cut,
    /// Nothing more is forwarded in this direction until the proxy is healed. Then everything is.
    HoldBack,
    /// Nothing more is ever forwarded in this direction.
    Stall,
    /// Nothing more is forwarded in either direction, and neither side can see it.
    BlackHole,
}

impl Harm {
    /// Whether the harm lasts until it is healed, from the sender's view.
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::Stall | Self::BlackHole)
    }
}

/// A harm, and its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The direction whose bytes are counted.
    pub direction: Direction,
    /// The number of bytes before the harm, counted since [`Proxy::arm`].
    pub after: usize,
    /// The harm, done to the connection of the next byte.
    pub harm: Harm,
}

/// Numbers of forwarded bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To the server.
    pub requests: usize,
    /// From the server.
    pub answers: usize,
}

impl Traffic {
    /// The number in one direction.
    pub fn of(&self, direction: Direction) -> usize {
        match direction {
            Direction::Requests => self.requests,
            Direction::Answers => self.answers,
        }
    }

    fn count(&mut self, direction: Direction) -> &mut usize {
        match direction {
            Direction::Requests => &mut self.requests,
            Direction::Answers => &mut self.answers,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// How many times the proxy was healed. Connections that were harmed before are closed.
    healed: watch::Sender<usize>,
    /// The number of harms that were done.
    harms: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    server: (String, u16),
    fault: Option<Fault>,
    traffic: Traffic,
}

/// One forwarded connection.
#[derive(Debug)]
struct Link {
    shared: Arc<Shared>,
    /// Set if nothing goes in either direction any more.
    is_dead: watch::Sender<Option<usize>>,
}

/// The decision about bytes that were read.
enum Verdict {
    Forward,
    /// The number of bytes to forward, the harm, and how many times the proxy had been healed by
    /// then.
    Harm(usize, Harm, usize),
}

impl Proxy {
    /// A wire to a server.
    pub async fn to(server: (String, u16)) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared = Arc::<Shared>::default();
        let this = Self { address, shared };
        this.point_to(server);
        tokio::spawn(accept(listener, Arc::clone(&this.shared)));
        this
    }

    /// Sends later connections to another server, as a virtual address does after a fail-over.
    pub fn point_to(&self, server: (String, u16)) {
        lock(&self.shared.state).server = server;
    }

    /// Counts from zero, and does the harm at its byte.
    pub fn arm(&self, fault: Fault) {
        let mut state = lock(&self.shared.state);
        state.traffic = Traffic::default();
        state.fault = Some(fault);
    }

    /// Counts from zero, and does no harm.
    pub fn count(&self) {
        let mut state = lock(&self.shared.state);
        state.traffic = Traffic::default();
        state.fault = None;
    }

    /// The bytes that were forwarded since it was armed or began to count.
    pub fn traffic(&self) -> Traffic {
        lock(&self.shared.state).traffic
    }

    /// The number of harms since the beginning.
    pub fn harms(&self) -> usize {
        *self.shared.harms.borrow()
    }

    /// Waits until this many harms were done since the beginning.
    pub async fn harmed(&self, times: usize) {
        let mut harms = self.shared.harms.subscribe();
        let reached = harms.wait_for(|harms| *harms >= times).await;
        drop(reached.expect("the proxy lives"));
    }

    /// Stops all harm: forwards the bytes that were held back, and closes every other connection
    /// that was harmed.
    pub fn heal(&self) {
        let mut state = lock(&self.shared.state);
        state.fault = None;
        self.shared.healed.send_modify(|healed| *healed += 1);
    }
}

impl Shared {
    fn judge(&self, direction: Direction, length: usize) -> Verdict {
        let mut state = lock(&self.state);
        let before = state.traffic.of(direction);
        let due = state
            .fault
            .filter(|fault| fault.direction == direction && fault.after < before + length);
        let Some(fault) = due else {
            *state.traffic.count(direction) += length;
            return Verdict::Forward;
        };
        let passed = fault.after.saturating_sub(before);
        *state.traffic.count(direction) += passed;
        state.fault = None;
        let healed = *self.healed.borrow();
        drop(state);
        self.harms.send_modify(|harms| *harms += 1);
        Verdict::Harm(passed, fault.harm, healed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let server = lock(&shared.state).server.clone();
        let Ok(server) = TcpStream::connect(server).await else {
            continue;
        };
        let link = Arc::new(Link {
            shared: Arc::clone(&shared),
            is_dead: watch::Sender::new(None),
        });
        tokio::spawn(async move {
            let nodelay = client.set_nodelay(true).and(server.set_nodelay(true));
            nodelay.expect("an open connection");
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            tokio::select! {
                () = link.forward(Direction::Requests, client_reads, server_writes) => {}
                () = link.forward(Direction::Answers, server_reads, client_writes) => {}
            }
        });
    }
}

impl Link {
    /// Returns when the connection is to be closed.
    async fn forward(&self, direction: Direction, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        let mut dead = self.is_dead.subscribe();
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read.ok(),
                () = is_some(&mut dead) => None,
            };
            let dead_since = *self.is_dead.borrow();
            if let Some(since) = dead_since {
                return self.healed(since).await;
            }
            let Some(length @ 1..) = read else { return };
            let (passed, harm) = match self.shared.judge(direction, length) {
                Verdict::Forward => (length, None),
                Verdict::Harm(passed, harm, since) => (passed, Some((harm, since))),
            };
            if to.write_all(&buffer[..passed]).await.is_err() {
                return;
            }
            match harm {
                None => {}
                Some((Harm::Cut, _)) => return,
                Some((Harm::HoldBack, since)) => {
                    self.healed(since).await;
                    if to.write_all(&buffer[passed..length]).await.is_err() {
                        return;
                    }
                }
                Some((Harm::Stall, since)) => return self.healed(since).await,
                Some((Harm::BlackHole, since)) => {
                    self.is_dead.send_replace(Some(since));
                    return self.healed(since).await;
                }
            }
        }
    }

    /// Neither reads nor closes until the proxy is healed.
    async fn healed(&self, since: usize) {
        let mut healed = self.shared.healed.subscribe();
        drop(healed.wait_for(|healed| *healed > since).await);
    }
}

async fn is_some(since: &mut watch::Receiver<Option<usize>>) {
    drop(since.wait_for(Option::is_some).await);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A server that answers every byte with two.
    async fn echo() -> (String, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(&[byte[0], byte[0]]).await.unwrap();
                    }
                });
            }
        });
        (address.ip().to_string(), address.port())
    }

    async fn client(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address).await.unwrap()
    }

    /// The bytes that arrive within a short time, and whether the connection has ended.
    async fn read(stream: &mut TcpStream) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let end = timeout(Duration::from_millis(200), stream.read_to_end(&mut all)).await;
        (all, end.is_ok())
    }

    #[tokio::test]
    async fn it_forwards_and_counts() {
        let proxy = Proxy::to(echo().await).await;
        proxy.count();
        let mut client = client(&proxy).await;
        client.write_all(b"abc").await.unwrap();
        assert_eq!(read(&mut client).await, (b"aabbcc".to_vec(), false));
        let traffic = proxy.traffic();
        assert_eq!((traffic.requests, traffic.answers), (3, 6));
    }

    #[tokio::test]
    async fn it_cuts_after_a_byte() {
        for (direction, after, answered) in [
            (Direction::Requests, 0, &b""[..]),
            (Direction::Requests, 2, b"aabb"),
            (Direction::Answers, 3, b"aab"),
        ] {
            let proxy = Proxy::to(echo().await).await;
            let harm = Harm::Cut;
            proxy.arm(Fault {
                direction,
                after,
                harm,
            });
            let mut client = client(&proxy).await;
            client.write_all(b"abc").await.unwrap();
            let (bytes, ended) = read(&mut client).await;
            // A server may be cut off before it answers.
            assert!(answered.starts_with(&bytes), "{bytes:?}");
            assert!(ended);
            assert_eq!(proxy.harms(), 1);
        }
    }

    #[tokio::test]
    async fn what_is_stalled_stays_open_until_it_is_healed() {
        for harm in [Harm::Stall, Harm::BlackHole] {
            let proxy = Proxy::to(echo().await).await;
            let direction = Direction::Requests;
            proxy.arm(Fault {
                direction,
                after: 1,
                harm,
            });
            let mut client = client(&proxy).await;
            client.write_all(b"ab").await.unwrap();
            proxy.harmed(1).await;
            let (_, ended) = read(&mut client).await;
            assert!(!ended, "{harm:?}");
            proxy.heal();
            assert!(read(&mut client).await.1, "{harm:?}");
        }
    }

    #[tokio::test]
    async fn what_is_held_back_arrives_in_the_end() {
        let proxy = Proxy::to(echo().await).await;
        let direction = Direction::Requests;
        let harm = Harm::HoldBack;
        proxy.arm(Fault {
            direction,
            after: 1,
            harm,
        });
        let mut client = client(&proxy).await;
        client.write_all(b"abc").await.unwrap();
        proxy.harmed(1).await;
        assert_eq!(read(&mut client).await, (b"aa".to_vec(), false));
        proxy.heal();
        assert_eq!(read(&mut client).await, (b"bbcc".to_vec(), false));
    }

    #[tokio::test]
    async fn only_one_connection_is_harmed() {
        let proxy = Proxy::to(echo().await).await;
        let (direction, harm) = (Direction::Requests, Harm::Cut);
        proxy.arm(Fault {
            direction,
            after: 0,
            harm,
        });
        let (mut one, mut other) = (client(&proxy).await, client(&proxy).await);
        one.write_all(b"a").await.unwrap();
        assert!(read(&mut one).await.1);
        other.write_all(b"b").await.unwrap();
        assert_eq!(read(&mut other).await, (b"bb".to_vec(), false));
    }
}
