//! The other end of the API: HTTP/1 over the daemon's socket, one connection a request.

use crate::failure::{Errors, Failure, reason};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
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
