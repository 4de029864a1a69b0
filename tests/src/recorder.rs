//! A wire between an instance and PostgreSQL that records the traffic.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Forwards every connection and records its exchanges. Use it for one connection at a time: it
/// does not separate the messages of several.
#[derive(Debug)]
pub struct Recorder {
    /// The address of the wire.
    pub address: SocketAddr,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

/// One round trip: all messages of the client before it waited, and the answer to all of them.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// The messages of the client.
    pub messages: Vec<Message>,
    /// The number of bytes that were sent.
    pub sent: usize,
    /// The number of bytes that came back.
    pub received: usize,
    owed: usize,
}

/// One message of the client.
#[derive(Debug, Clone)]
pub struct Message {
    /// The protocol's letter for it: `Q` for a query as text, `P` for a statement that is prepared,
    /// `B` for bound values, `S` for the end of a batch.
    pub kind: char,
    /// All bytes after the length.
    pub content: Vec<u8>,
}

impl Recorder {
    /// A wire to a server.
    pub async fn to(server: (String, u16)) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let exchanges = Arc::default();
        // The task outlives the test, whose instances end later.
        tokio::spawn(accept(listener, server, Arc::clone(&exchanges)));
        Self { address, exchanges }
    }

    /// All exchanges since the last call, without the pool's own pings.
    pub fn take(&self) -> Vec<Exchange> {
        let mut exchanges = std::mem::take(&mut *lock(&self.exchanges));
        exchanges.retain(|exchange| !exchange.is_ping());
        exchanges
    }
}

impl Exchange {
    /// sqlx sends an empty batch as a ping, when a connection leaves the pool and when it returns.
    fn is_ping(&self) -> bool {
        self.messages.iter().all(|message| message.kind == 'S')
    }

    /// The kinds of the messages, and the text of the first query.
    pub fn summary(&self) -> String {
        let kinds: String = self.messages.iter().map(|message| message.kind).collect();
        let query = self.messages.iter().find(|message| message.kind == 'Q');
        let text = query.map(|query| String::from_utf8_lossy(&query.content).into_owned());
        let text = text.unwrap_or_default();
        format!("{kinds} {}", text.trim_end_matches('\0'))
    }
}

impl Message {
    /// Whether a message contains these bytes.
    pub fn has(&self, bytes: &[u8]) -> bool {
        let mut windows = self.content.windows(bytes.len());
        windows.any(|window| window == bytes)
    }
}

async fn accept(
    listener: TcpListener,
    server: (String, u16),
    exchanges: Arc<Mutex<Vec<Exchange>>>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, exchanges) = (server.clone(), Arc::clone(&exchanges));
        tokio::spawn(async move {
            let server = TcpStream::connect(server).await;
            let server = server.expect("the server can be reached");
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            tokio::select! {
                () = forward(client_reads, server_writes, Frames::of_client(), |frames, bytes| {
                    sent(&mut lock(&exchanges), frames, bytes);
                }) => {}
                () = forward(server_reads, client_writes, Frames::default(), |frames, bytes| {
                    received(&mut lock(&exchanges), frames, bytes);
                }) => {}
            }
        });
    }
}

/// Records the bytes before it forwards them, so an answer is never recorded before its request.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut frames: Frames,
    record: impl Fn(&mut Frames, &[u8]),
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        record(&mut frames, &buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

fn sent(exchanges: &mut Vec<Exchange>, frames: &mut Frames, bytes: &[u8]) {
    if exchanges.last().is_none_or(|last| last.owed == 0) {
        exchanges.push(Exchange::default());
    }
    let Some(exchange) = exchanges.last_mut() else {
        return;
    };
    exchange.sent += bytes.len();
    for message in frames.read(bytes) {
        exchange.owed += usize::from(matches!(message.kind, 'Q' | 'S'));
        exchange.messages.push(message);
    }
}

fn received(exchanges: &mut [Exchange], frames: &mut Frames, bytes: &[u8]) {
    let ready = frames.read(bytes);
    let ready = ready.iter().filter(|message| message.kind == 'Z').count();
    if let Some(exchange) = exchanges.last_mut() {
        exchange.received += bytes.len();
        exchange.owed = exchange.owed.saturating_sub(ready);
    }
}

/// One direction, cut into messages.
#[derive(Debug, Default)]
struct Frames {
    rest: Vec<u8>,
    /// A client's first message has no kind byte.
    starts: bool,
}

impl Frames {
    fn of_client() -> Self {
        Self {
            starts: true,
            ..Self::default()
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.rest.extend_from_slice(bytes);
        let mut messages = Vec::new();
        loop {
            let head = usize::from(!self.starts);
            let Some(length) = self.rest[head.min(self.rest.len())..].first_chunk() else {
                return messages;
            };
            let end = head + u32::from_be_bytes(*length) as usize;
            if self.rest.len() < end {
                return messages;
            }
            let frame: Vec<u8> = self.rest.drain(..end).collect();
            if !std::mem::take(&mut self.starts) {
                messages.push(Message {
                    kind: char::from(frame[0]),
                    content: frame[5..].to_vec(),
                });
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
