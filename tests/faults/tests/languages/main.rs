//! X40: clients in other languages: those of `examples/clients`, and SDKs of real services as they are.

mod guide;
mod programs;
mod script;
mod sdks;
mod service;

use idem_faults::{Direction, Proxy};

const DIRECTIONS: [Direction; 2] = [Direction::Requests, Direction::Answers];

async fn proxy_to(server: std::net::SocketAddr) -> Proxy {
    Proxy::to((server.ip().to_string(), server.port())).await
}
