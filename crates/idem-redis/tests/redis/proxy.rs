//! A proxy that knows commands from answers, sends commands twice, holds them back, cuts connections, and leads to
//! another server, or to one with another clock.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::Notify;

/// What happens to commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Each is executed twice, and the second answer is lost.
    FirstOfTwo,
    /// Each is executed twice, and the first answer is lost.
    SecondOfTwo,
    /// The connection breaks before the script with this number, counted from zero.
    CutBefore(usize),
    /// The connection breaks after this script was executed, and before its answer.
    CutAfter(usize),
    /// The connection breaks after so many bytes in this direction. It happens once.
    CutAt(Direction, usize),
    /// This script and all later ones wait for another fault.
    HoldFrom(usize),
    /// The server's clock is 9,000 s behind.
    ClockBehind,
    /// A copy of each command is kept, until [`Proxy::send_again`].
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Commands,
    Answers,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    server: String,
    fault: Fault,
    scripts: usize,
    /// The bytes of commands and of answers.
    bytes: [usize; 2],
    cuts: usize,
    kept: Vec<Vec<u8>>,
    connections: usize,
    /// The connections before this one have become silent.
    first_alive: usize,
    /// Wakes what is held back.
    changed: Arc<Notify>,
}

impl State {
    /// Counts the bytes of a message. Returns after how many of them the connection breaks.
    fn cut(&mut self, direction: Direction, length: usize) -> Option<usize> {
        let bytes = &mut self.bytes[direction as usize];
        let before = *bytes;
        *bytes += length;
        match self.fault {
            Fault::CutAt(of, after) if of == direction && after < *bytes => {
                self.fault = Fault::None;
                self.cuts += 1;
                after.checked_sub(before)
            }
            _ => None,
        }
    }
}

impl Proxy {
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = State {
            server: server_of(url),
            fault: Fault::None,
            scripts: 0,
            bytes: [0; 2],
            cuts: 0,
            kept: Vec::new(),
            connections: 0,
            first_alive: 0,
            changed: Arc::default(),
        };
        let state = Arc::new(Mutex::new(state));
        let accepting = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = lock(&accepting).server.clone();
                if let Ok(server) = TcpStream::connect(server).await {
                    tokio::spawn(forward(client, server, Arc::clone(&accepting)));
                }
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// From now on, with all counts at zero.
    pub(crate) fn set(&self, fault: Fault) {
        let mut state = lock(&self.state);
        state.fault = fault;
        state.scripts = 0;
        state.bytes = [0; 2];
        state.cuts = 0;
        state.changed.notify_waiters();
    }

    pub(crate) fn bytes(&self, direction: Direction) -> usize {
        lock(&self.state).bytes[direction as usize]
    }

    /// How many connections were cut at a byte.
    pub(crate) fn cuts(&self) -> usize {
        lock(&self.state).cuts
    }

    /// The number of scripts that clients have sent.
    pub(crate) fn scripts(&self) -> usize {
        lock(&self.state).scripts
    }

    /// Nothing comes through on the connections that there are, as after the loss of a machine.
    pub(crate) fn silence(&self) {
        let mut state = lock(&self.state);
        state.first_alive = state.connections;
    }

    /// Sends the commands again that were kept. Returns their number.
    pub(crate) async fn send_again(&self) -> usize {
        let (server, kept) = {
            let state = lock(&self.state);
            (state.server.clone(), state.kept.clone())
        };
        let server = TcpStream::connect(server).await.expect("connects");
        let (mut answers, mut commands) = server.into_split();
        let mut buffer = Vec::new();
        for command in &kept {
            commands.write_all(command).await.expect("it is sent");
            let answer = message(&mut answers, &mut buffer).await;
            assert_ne!(answer.expect("an answer").first(), Some(&b'-'));
        }
        kept.len()
    }

    /// New connections lead to another server.
    pub(crate) fn lead_to(&self, url: &str) {
        lock(&self.state).server = server_of(url);
    }
}

fn server_of(url: &str) -> String {
    let address = url.strip_prefix("redis://").expect("a URL of Redis");
    address.trim_end_matches('/').to_owned()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer that arrives of those to one command.
#[derive(Clone, Copy)]
enum Expected {
    First,
    Second,
    Only,
    /// None: the connection breaks in its place.
    Cut,
}

async fn forward(client: TcpStream, server: TcpStream, state: Arc<Mutex<State>>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let expected = Arc::new(Mutex::new(VecDeque::new()));
    // Either end closes both connections.
    select! {
        () = commands(from_client, to_server, &state, &expected) => {}
        () = answers(from_server, to_client, &state, &expected) => {}
    }
}

async fn commands(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    state: &Mutex<State>,
    expected: &Mutex<VecDeque<Expected>>,
) {
    let number = {
        let mut state = lock(state);
        state.connections += 1;
        state.connections - 1
    };
    let mut buffer = Vec::new();
    while let Some(mut command) = message(&mut client, &mut buffer).await {
        if number < lock(state).first_alive {
            continue;
        }
        let is_script = command.windows(7).any(|part| part == b"EVALSHA");
        let (script, cut) = {
            let mut state = lock(state);
            state.scripts += usize::from(is_script);
            let cut = state.cut(Direction::Commands, command.len());
            (state.scripts - usize::from(is_script), cut)
        };
        if let Some(length) = cut {
            drop(server.write_all(&command[..length]).await);
            return;
        }
        if is_script {
            released(state, script).await;
        }
        let expects = {
            let mut state = lock(state);
            match state.fault {
                Fault::ClockBehind => set_back(&mut command),
                Fault::Keep => state.kept.push(command.clone()),
                _ => {}
            }
            match state.fault {
                Fault::FirstOfTwo => Expected::First,
                Fault::SecondOfTwo => Expected::Second,
                Fault::CutBefore(cut) if is_script && cut == script => return,
                Fault::CutAfter(cut) if is_script && cut == script => Expected::Cut,
                _ => Expected::Only,
            }
        };
        expected.lock().expect("no panic").push_back(expects);
        let is_twice = matches!(expects, Expected::First | Expected::Second);
        let copies = if is_twice { 2 } else { 1 };
        if server.write_all(&command.repeat(copies)).await.is_err() {
            return;
        }
    }
}

async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    state: &Mutex<State>,
    expected: &Mutex<VecDeque<Expected>>,
) {
    let mut buffer = Vec::new();
    while let Some(first) = message(&mut server, &mut buffer).await {
        let expects = expected.lock().expect("no panic").pop_front();
        let answer = match expects {
            Some(Expected::Only) => first,
            Some(both @ (Expected::First | Expected::Second)) => {
                let Some(second) = message(&mut server, &mut buffer).await else {
                    return;
                };
                match both {
                    Expected::First => first,
                    _ => second,
                }
            }
            Some(Expected::Cut) | None => return,
        };
        let cut = lock(state).cut(Direction::Answers, answer.len());
        let length = cut.unwrap_or(answer.len());
        if client.write_all(&answer[..length]).await.is_err() || cut.is_some() {
            return;
        }
    }
}

/// Waits until the script is not held back.
async fn released(state: &Mutex<State>, script: usize) {
    loop {
        let changed = Arc::clone(&lock(state).changed);
        let mut changed = pin!(changed.notified());
        changed.as_mut().enable();
        match lock(state).fault {
            Fault::HoldFrom(first) if script >= first => {}
            _ => return,
        }
        changed.await;
    }
}

/// Has the script read another clock. The server may know its digest, so a digest is made unknown.
fn set_back(command: &mut [u8]) {
    let parts: [(&[u8], &[u8]); 2] = [
        (b"time[1] * 1000000", b"(time[1]-9e3)*1e6"),
        (b"EVALSHA\r\n$40\r\n", b"EVALSHA\r\n$40\r\n00000000"),
    ];
    for (part, other) in parts {
        let at = command.windows(part.len()).position(|bytes| bytes == part);
        if let Some(at) = at {
            command[at..at + other.len()].copy_from_slice(other);
        }
    }
}

/// The next whole message; `None` at the end of the connection.
async fn message(stream: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(length) = length(buffer) {
            let rest = buffer.split_off(length);
            return Some(std::mem::replace(buffer, rest));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The length of the message at the beginning, if all of it is there.
fn length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")? + 2;
    let number = std::str::from_utf8(&bytes[1..line - 2]).ok();
    let number = number.and_then(|text| text.parse::<usize>().ok());
    match (bytes[0], number) {
        (b'$', Some(number)) => {
            let end = line + number + 2;
            (bytes.len() >= end).then_some(end)
        }
        (b'*', Some(number)) => {
            (0..number).try_fold(line, |at, _| Some(at + length(&bytes[at..])?))
        }
        _ => Some(line),
    }
}
