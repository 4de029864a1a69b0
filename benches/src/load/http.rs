use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use anyhow::{Result, ensure};
use axum::Router;
use axum::http::header::{CONTENT_TYPE, COOKIE, HOST};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Answer, Ask, Client};
use crate::business::{CUSTOMERS, NewPayment};
use crate::contestant::{KEY, PATH, REPLAYED, TENANT, peer};

/// A contestant's service on a socket; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn start(router: Router) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, task })
    }

    /// `count` clients, each with a connection of its own.
    pub(crate) async fn clients(&self, count: usize) -> Result<Vec<HttpClient>> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(HttpClient::connect(self.address).await?);
        }
        Ok(clients)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client with one HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct HttpClient {
    sender: SendRequest<Full<Bytes>>,
}

impl HttpClient {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }
}

impl HttpClient {
    /// Sends a request to any path, and returns the status of the answer.
    ///
    /// # Errors
    ///
    /// If the connection breaks off.
    pub(crate) async fn status(&mut self, path: &str, ask: &Ask) -> Result<StatusCode> {
        let response = self.send(path, ask).await?;
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }

    async fn send(&mut self, path: &str, ask: &Ask) -> Result<Response<Incoming>> {
        let request = request(path, ask)?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

impl Client for HttpClient {
    async fn call(&mut self, ask: &Ask) -> Result<Answer> {
        let response = self.send(PATH, ask).await?;
        let status = response.status();
        let replayed = response.headers().contains_key(REPLAYED);
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status == StatusCode::CREATED,
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(if replayed {
            Answer::Replayed
        } else {
            Answer::Executed
        })
    }
}

/// A request as clients send it.
///
/// # Errors
///
/// If the path is not one.
pub(crate) fn request(path: &str, ask: &Ask) -> Result<Request<Full<Bytes>>> {
    let customer = &ALL[ask.customer];
    let request = Request::post(path)
        .header(HOST, "bench")
        .header(CONTENT_TYPE, "application/json")
        .header(TENANT, customer.tenant.clone())
        .header(COOKIE, customer.cookie.clone())
        .header(KEY, ask.key.as_str());
    Ok(request.body(Full::new(customer.body.clone()))?)
}

/// The headers of a customer, besides the key.
#[derive(Debug)]
struct Customer {
    tenant: HeaderValue,
    cookie: HeaderValue,
    body: Bytes,
}

static ALL: LazyLock<Vec<Customer>> = LazyLock::new(|| (0..CUSTOMERS).map(customer).collect());

fn customer(number: i64) -> Customer {
    let text = |text: String| HeaderValue::try_from(text).expect("digits and letters");
    let body = serde_json::to_vec(&NewPayment::of(number)).expect("strings and integers");
    Customer {
        tenant: text(tenant(number)),
        cookie: text(peer::cookie(number)),
        body: body.into(),
    }
}

/// The tenant of a customer.
pub(crate) fn tenant(customer: i64) -> String {
    format!("tenant-{customer}")
}
