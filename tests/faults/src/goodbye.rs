//! Clients that leave in different ways.

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use idem_tests::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::checker::Answered;

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goodbye {
    /// It closes its connection.
    Fin,
    /// It closes its sending side, and continues to read.
    HalfClose,
    /// It resets its connection.
    Reset,
    /// HTTP/2: it resets the stream, and keeps the connection.
    StreamReset,
    /// HTTP/2: it loses its connection.
    ConnectionLoss,
}

impl Goodbye {
    /// All ways.
    pub const ALL: [Self; 5] = [
        Self::Fin,
        Self::HalfClose,
        Self::Reset,
        Self::StreamReset,
        Self::ConnectionLoss,
    ];

    fn is_http2(self) -> bool {
        matches!(self, Self::StreamReset | Self::ConnectionLoss)
    }
}

/// A client that has sent a request and is going to leave.
#[derive(Debug)]
pub struct Client {
    request: Request,
    goodbye: Goodbye,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    Http1(TcpStream),
    Http2(Stream),
}

/// A stream of HTTP/2, and its connection, which has no other streams.
#[derive(Debug)]
struct Stream {
    sends: SendStream<Bytes>,
    receives: Receives,
    connection: JoinHandle<()>,
}

#[derive(Debug)]
enum Receives {
    Head(ResponseFuture),
    Body(#[allow(dead_code, reason = "kept open")] RecvStream),
}

impl Client {
    /// Sends a request without this many of its last bytes.
    pub async fn send(request: &Request, missing: usize, goodbye: Goodbye) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // The kernel takes only a little of an answer that nobody reads.
        socket.set_recv_buffer_size(4096).expect("a size");
        let stream = socket.connect(request.address()).await;
        let stream = stream.expect("the instance listens");
        let wire = if goodbye.is_http2() {
            Wire::Http2(Stream::send(stream, request, missing).await)
        } else {
            let (mut stream, bytes) = (stream, request.bytes());
            let sent = stream.write_all(&bytes[..bytes.len() - missing]).await;
            sent.expect("the instance reads");
            Wire::Http1(stream)
        };
        Self {
            request: request.clone(),
            goodbye,
            wire,
        }
    }

    /// Waits for the first bytes of the answer, and reads few more.
    pub async fn begin_to_read(&mut self) {
        match &mut self.wire {
            Wire::Http1(stream) => {
                stream.peek(&mut [0]).await.expect("an answer");
            }
            Wire::Http2(stream) => stream.begin_to_read().await,
        }
    }

    /// Leaves. A client that half-closes may still be answered: the task returns the answer.
    pub async fn leave(self) -> JoinHandle<Answered> {
        let Self {
            request,
            goodbye,
            wire,
        } = self;
        match wire {
            Wire::Http1(mut stream) if goodbye == Goodbye::HalfClose => {
                stream.shutdown().await.expect("the connection is open");
                return tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    let read = stream.read_to_end(&mut bytes).await;
                    let answer = read.ok().and_then(|_| request.whole(&bytes));
                    answer.map_or(Answered::Nothing, Answered::Answer)
                });
            }
            Wire::Http1(stream) => {
                if goodbye == Goodbye::Reset {
                    stream.set_zero_linger().expect("an open connection");
                }
            }
            Wire::Http2(mut stream) => {
                if goodbye == Goodbye::StreamReset {
                    stream.sends.send_reset(Reason::CANCEL);
                    // The connection's task continues, and ends with the instance.
                    drop(stream.connection);
                } else {
                    stream.connection.abort();
                    drop(stream.connection.await);
                }
            }
        }
        tokio::spawn(std::future::ready(Answered::Nothing))
    }
}

impl Stream {
    async fn send(stream: TcpStream, request: &Request, missing: usize) -> Self {
        let handshake = h2::client::handshake(stream).await;
        let (mut client, connection) = handshake.expect("the instance speaks HTTP/2");
        let connection = tokio::spawn(async move { drop(connection.await) });
        let (method, target) = request.target();
        let address = request.address();
        let mut head = http::Request::builder()
            .method(method)
            .uri(format!("http://{address}{target}"));
        for (name, value) in request.headers() {
            head = head.header(name, value.as_slice());
        }
        let sent = client.send_request(head.body(()).expect("a request"), false);
        let (response, mut sends) = sent.expect("the request is sent");
        let body = request.content();
        let body = Bytes::copy_from_slice(&body[..body.len() - missing]);
        sends.send_data(body, missing == 0).expect("it is sent");
        Self {
            sends,
            receives: Receives::Head(response),
            connection,
        }
    }

    /// The window has the protocol's default size; no capacity is released.
    async fn begin_to_read(&mut self) {
        if let Receives::Head(head) = &mut self.receives {
            let mut body = head.await.expect("an answer").into_body();
            body.data().await.expect("a body").expect("its bytes");
            self.receives = Receives::Body(body);
        }
    }
}
