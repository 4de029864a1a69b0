//! A wire between an instance and PostgreSQL that breaks where the test says.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// COMMIT as sqlx sends it, and as a message with a record ends.
const COMMITS: [&[u8]; 2] = [b"COMMIT\0", b"COMMIT AND CHAIN\0"];

/// What PostgreSQL reports when a claim fails because there is a record.
const RECORDED: &[u8] = b"CID002\0";

/// Forwards every connection, until it is told to break one.
#[derive(Debug)]
pub struct Wire {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

/// What the wire does with the next COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It does not reach the server.
    Before,
    /// It reaches the server, and the answer does not come back.
    Behind,
}

#[derive(Debug, Default)]
struct State {
    cut: Mutex<Option<Cut>>,
    down: watch::Sender<bool>,
    cuts: watch::Sender<usize>,
    recorded: AtomicUsize,
    /// Whether the wire goes down with the cut.
    stay_down: Mutex<bool>,
}

impl Wire {
    /// A wire to a server.
    pub async fn to(server: (String, u16)) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let state = Arc::new(State::default());
        // It outlives the test, whose instances are ended later.
        tokio::spawn(accept(listener, server, Arc::clone(&state)));
        Self { address, state }
    }

    /// Breaks the connection at its next COMMIT.
    pub fn cut(&self, cut: Cut) {
        *lock(&self.state.cut) = Some(cut);
    }

    /// Breaks the connection at its next COMMIT, and all others with it until [`up`](Self::up).
    pub fn cut_and_go_down(&self, cut: Cut) {
        *lock(&self.state.stay_down) = true;
        self.cut(cut);
    }

    /// Breaks all connections, and refuses new ones until [`up`](Self::up).
    pub fn down(&self) {
        self.state.down.send_replace(true);
    }

    /// Forwards again.
    pub fn up(&self) {
        *lock(&self.state.stay_down) = false;
        self.state.down.send_replace(false);
    }

    /// How many COMMITs were cut.
    pub fn cuts(&self) -> usize {
        *self.state.cuts.borrow()
    }

    /// How many claims have failed because there is a record.
    pub fn recorded(&self) -> usize {
        self.state.recorded.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, server: (String, u16), state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if *state.down.borrow() {
            continue;
        }
        let (state, server) = (Arc::clone(&state), server.clone());
        tokio::spawn(async move {
            let server = TcpStream::connect(server).await;
            let server = server.expect("the server can be reached");
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            let mut down = state.down.subscribe();
            tokio::select! {
                () = requests(client_reads, server_writes, &state) => {}
                () = answers(server_reads, client_writes, &state) => {}
                _ = down.wait_for(|down| *down) => {}
            }
        });
    }
}

/// From the instance to the server.
async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        let has = |text: &&[u8]| bytes.windows(text.len()).any(|window| window == *text);
        let commits = COMMITS.iter().any(has);
        if commits && lock(&state.cut).is_some_and(|cut| cut == Cut::Before) {
            broken(state);
            return;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// From the server to the instance.
async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    // What PostgreSQL says when a COMMIT is done.
    const COMMITTED: &[u8] = b"COMMIT\0Z";
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        let recorded = bytes.windows(RECORDED.len()).filter(|w| *w == RECORDED);
        state.recorded.fetch_add(recorded.count(), Ordering::SeqCst);
        let committed = bytes
            .windows(COMMITTED.len())
            .any(|window| window == COMMITTED);
        if committed && lock(&state.cut).is_some_and(|cut| cut == Cut::Behind) {
            broken(state);
            return;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

fn broken(state: &State) {
    *lock(&state.cut) = None;
    state.cuts.send_modify(|cuts| *cuts += 1);
    if *lock(&state.stay_down) {
        state.down.send_replace(true);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
