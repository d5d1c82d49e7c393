//! The other end of the API: HTTP/1 over the daemon's socket, one connection a request.

use crate::failure::{Errors, Failure, reason};
use crate::watch_routes::NUMBER;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_agent::stats::Status;

/// How long an answer to a plain question may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a change may take: a policy of 100 MB is validated whole.
pub const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// A daemon's address.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

type Connection = tokio::task::JoinHandle<hyper::Result<()>>;

/// An answer that lasts.
#[derive(Debug)]
pub struct Stream {
    /// The number by which it can be ended.
    pub number: u32,
    body: Incoming,
    connection: Connection,
}

impl Stream {
    /// The next piece; `None` at the end. Fails if the daemon goes away before the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
                Some(Err(error)) => {
                    let problem = format!("the daemon has broken off: {error}");
                    return Err(Failure::one("", problem, "look at its log on stderr"));
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Who answers on a socket.
#[derive(Debug)]
pub enum Probe {
    /// A daemon of Weir.
    Daemon(Box<Status>),
    /// Nobody: no socket there, or a stale one.
    Nobody,
    /// Something that is no daemon, or one that does not tell.
    Other(String),
}

impl Client {
    /// Of the daemon on that socket; nothing is connected yet.
    pub fn new(socket: impl AsRef<Path>) -> Client {
        Client {
            socket: socket.as_ref().to_path_buf(),
        }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for `/v1/{path}`; the answer as the daemon wrote it.
    pub fn get(&self, path: &str) -> Result<Bytes, Failure> {
        self.request(Method::GET, path, Bytes::new(), PATIENCE)
    }

    /// Sends a request for `/v1/{path}` and returns the body of a good answer. Fails with the daemon's own reasons
    /// where it refuses, and with one that says how to start or to find a daemon where none answers.
    pub fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, Failure> {
        let (status, body) = self
            .exchange(method, path, body, patience)
            .map_err(|error| self.unreachable(error))?;
        self.good(status, body)
    }

    /// The body of a good answer, or the daemon's own reasons.
    fn good(&self, status: StatusCode, body: Bytes) -> Result<Bytes, Failure> {
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Errors>(&body) {
            Ok(Errors { errors }) if !errors.is_empty() => Err(Failure::Refused(errors)),
            _ => {
                let text = String::from_utf8_lossy(&body);
                Err(self.fault(
                    format!("the daemon answers {status}: {}", text.trim()),
                    "is it a daemon of another version?",
                ))
            }
        }
    }

    /// Finds out who answers on the socket.
    pub fn probe(&self, patience: Duration) -> Probe {
        match self.exchange(Method::GET, "status", Bytes::new(), patience) {
            Ok((StatusCode::OK, body)) => match serde_json::from_slice(&body) {
                Ok(status) => Probe::Daemon(Box::new(status)),
                Err(error) => Probe::Other(format!("its status cannot be read: {error}")),
            },
            Ok((status, body)) => match serde_json::from_slice::<Errors>(&body) {
                Ok(Errors { errors }) if !errors.is_empty() => {
                    Probe::Other(errors[0].problem.clone())
                }
                _ => Probe::Other(format!("it answers {status}")),
            },
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                Probe::Nobody
            }
            Err(error) => Probe::Other(error.to_string()),
        }
    }

    /// The same within a runtime.
    pub async fn request_async(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange_async(method, path, body)).await;
        let (status, body) = match answer {
            Ok(answer) => answer.map_err(|error| self.unreachable(error))?,
            Err(_) => return Err(self.unreachable(ErrorKind::TimedOut.into())),
        };
        self.good(status, body)
    }

    /// Posts a request for `/v1/{path}` whose answer lasts.
    pub async fn stream(&self, path: &str, body: Bytes) -> Result<Stream, Failure> {
        let response = tokio::time::timeout(PATIENCE, self.send(Method::POST, path, body)).await;
        let (response, connection) = match response {
            Ok(response) => response.map_err(|error| self.unreachable(error))?,
            Err(_) => return Err(self.unreachable(ErrorKind::TimedOut.into())),
        };
        let status = response.status();
        let number = response.headers().get(NUMBER);
        let number = number.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body();
        match number {
            Some(number) if status.is_success() => Ok(Stream {
                number,
                body,
                connection,
            }),
            _ => {
                let collected = body.collect().await.map_err(io::Error::other);
                let body = collected
                    .map_err(|error| self.unreachable(error))?
                    .to_bytes();
                self.good(status, body)?;
                Err(self.fault(
                    "the daemon answers without a number".into(),
                    "is it a daemon of another version?",
                ))
            }
        }
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> io::Result<(StatusCode, Bytes)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            match tokio::time::timeout(patience, self.exchange_async(method, path, body)).await {
                Ok(result) => result,
                Err(_) => {
                    let text = format!("no answer within {} s", patience.as_secs());
                    Err(io::Error::new(ErrorKind::TimedOut, text))
                }
            }
        })
    }

    async fn exchange_async(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> io::Result<(StatusCode, Bytes)> {
        let (response, connection) = self.send(method, path, body).await?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?
            .to_bytes();
        connection.abort();
        Ok((status, body))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> io::Result<(Response<Incoming>, Connection)> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header(hyper::header::HOST, "weir")
            .header(hyper::header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        Ok((response, connection))
    }

    fn unreachable(&self, error: io::Error) -> Failure {
        let path = self.socket.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::one(
                "",
                format!("no daemon at {path}"),
                "start one with `weir run --host host.toml`",
            ),
            ErrorKind::PermissionDenied => self.fault(
                "may not be opened by this user".to_string(),
                "run as the user that started the daemon, mostly root",
            ),
            ErrorKind::TimedOut => self.fault(
                format!("the daemon gives {error}"),
                "look at its log on stderr",
            ),
            _ => self.fault(
                format!("the daemon cannot be asked: {error}"),
                "look at its log on stderr",
            ),
        }
    }

    fn fault(&self, problem: String, mend: &str) -> Failure {
        Failure::one(format!("socket {}", self.socket.display()), problem, mend)
    }
}

/// Reads an answer as one of the contract's types.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let problem = format!("the daemon's answer cannot be read: {error}");
        Failure::Refused(vec![reason(
            "",
            problem,
            "use a `weir` of the daemon's version (`weir status`)",
        )])
    })
}

/// Text as one segment of a path or one value of a query (RFC 3986 §2.1): all but unreserved characters are encoded.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
