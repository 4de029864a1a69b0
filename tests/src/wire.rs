//! A wire between an instance and a database server. It breaks where the test wants it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a test waits for an expected event.
const TIMEOUT: Duration = Duration::from_secs(20);

/// COMMIT as sqlx sends it, as the end of a message with a record, and as MySQL receives it.
const COMMITS: [&[u8]; 3] = [
    b"COMMIT\0",
    b"COMMIT AND CHAIN\0",
    b"; COMMIT; SET autocommit = 1",
];

/// The number of MySQL's answers to a COMMIT's message.
const COMMIT_ANSWERS: usize = 3;

/// PostgreSQL's error code for a claim that fails because there is a record.
const RECORDED: &[u8] = b"CID002\0";

/// Forwards every connection until the test breaks one.
#[derive(Debug)]
pub struct Wire {
    /// The address of the wire.
    pub address: SocketAddr,
    state: Arc<State>,
}

/// The point at which the wire breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The next COMMIT does not reach the server.
    Before,
    /// The next COMMIT reaches the server, but the answer does not come back.
    After,
}

#[derive(Debug, Default)]
struct State {
    cut: Mutex<Option<Cut>>,
    /// How many COMMITs pass before the cut.
    passes: AtomicUsize,
    down: watch::Sender<bool>,
    cuts: watch::Sender<usize>,
    recorded: AtomicUsize,
    sent: Mutex<Vec<Vec<u8>>>,
    hold: Mutex<Option<&'static [u8]>>,
    held: watch::Sender<bool>,
    /// Whether the cut also takes the wire down.
    stay_down: Mutex<bool>,
}

impl Wire {
    /// A wire to a server.
    pub async fn to(server: (String, u16)) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let state = Arc::new(State::default());
        // The task outlives the test, whose instances end later.
        tokio::spawn(accept(listener, server, Arc::clone(&state)));
        Self { address, state }
    }

    /// Breaks one connection.
    pub fn cut(&self, cut: Cut) {
        *lock(&self.state.cut) = Some(cut);
    }

    /// Breaks one connection at the COMMIT after this many others.
    pub fn cut_after(&self, passes: usize, cut: Cut) {
        self.state.passes.store(passes, Ordering::SeqCst);
        self.cut(cut);
    }

    /// Holds the next message that contains this text, and all later messages on its connection.
    pub fn hold(&self, text: &'static str) {
        *lock(&self.state.hold) = Some(text.as_bytes());
    }

    /// Waits until a message is held.
    pub async fn held(&self) {
        let mut held = self.state.held.subscribe();
        let held = timeout(TIMEOUT, held.wait_for(|held| *held)).await;
        drop(held.expect("a message is held").expect("the wire is there"));
    }

    /// Forwards the held messages.
    pub fn release(&self) {
        self.state.held.send_replace(false);
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

    /// The bytes that instances have sent since the last call, one entry for each wait for an
    /// answer. Use it for one connection at a time.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *lock(&self.state.sent))
    }

    /// The number of COMMITs that were cut.
    pub fn cuts(&self) -> usize {
        *self.state.cuts.borrow()
    }

    /// The number of claims that failed because there is a record.
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
            for stream in [&client, &server] {
                stream.set_nodelay(true).expect("a stream without delay");
            }
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            let mut down = state.down.subscribe();
            let cut_off = Mutex::default();
            tokio::select! {
                () = requests(client_reads, server_writes, &state, &cut_off) => {}
                () = answers(server_reads, client_writes, &state, &cut_off) => {}
                _ = down.wait_for(|down| *down) => {}
            }
        });
    }
}

/// From the instance to the server. `cut_off` collects the answer to a COMMIT that is to be cut
/// off.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    cut_off: &Mutex<Option<Vec<u8>>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        lock(&state.sent).push(bytes.to_vec());
        let commits = has(bytes, &COMMITS);
        let cut = *lock(&state.cut);
        let passed = |passes: usize| passes.checked_sub(1);
        let order = (Ordering::SeqCst, Ordering::SeqCst);
        if cut.is_some() && commits && state.passes.fetch_update(order.0, order.1, passed).is_ok() {
            if to.write_all(bytes).await.is_err() {
                return;
            }
            continue;
        }
        match cut {
            Some(Cut::Before) if commits => {
                broken(state);
                return;
            }
            Some(Cut::After) if commits => {
                *lock(cut_off) = Some(Vec::new());
            }
            _ => {}
        }
        let holds = lock(&state.hold).take_if(|text| has(bytes, &[text]));
        if holds.is_some() {
            state.held.send_replace(true);
            let mut held = state.held.subscribe();
            if held.wait_for(|held| !held).await.is_err() {
                return;
            }
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// From the server to the instance.
async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    cut_off: &Mutex<Option<Vec<u8>>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        let recorded = bytes.windows(RECORDED.len()).filter(|w| *w == RECORDED);
        state.recorded.fetch_add(recorded.count(), Ordering::SeqCst);
        if let Some(answer) = &mut *lock(cut_off) {
            answer.extend_from_slice(bytes);
            if !is_committed(answer) {
                continue;
            }
            broken(state);
            return;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Whether these bytes are the whole answer to a COMMIT.
fn is_committed(answer: &[u8]) -> bool {
    // PostgreSQL's answer to a completed COMMIT.
    const COMMITTED: &[u8] = b"COMMIT\0Z";
    if has(answer, &[COMMITTED]) {
        return true;
    }
    let (mut rest, mut packets) = (answer, 0);
    while let [low, middle, high, _, after @ ..] = rest {
        let length = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
        let Some((_, after)) = after.split_at_checked(length) else {
            break;
        };
        (rest, packets) = (after, packets + 1);
    }
    packets == COMMIT_ANSWERS
}

fn has(bytes: &[u8], texts: &[&[u8]]) -> bool {
    let stands = |text: &&[u8]| bytes.windows(text.len()).any(|window| window == *text);
    texts.iter().any(stands)
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
