//! What any program on DPDK says of its ports: <https://doc.dpdk.org/guides-22.11/howto/telemetry.html>.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket,
    sockopt,
};
use serde_json::Value;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer, as DPDK itself says in its greeting.
const LARGEST: usize = 16 * 1024;

/// A connection to a program's telemetry.
pub struct Telemetry {
    socket: OwnedFd,
}

impl Telemetry {
    /// Connects to the socket in the program's runtime folder.
    pub fn connect(path: &Path) -> io::Result<Telemetry> {
        let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let telemetry = Telemetry { socket };
        telemetry.receive()?;
        Ok(telemetry)
    }

    fn receive(&self) -> io::Result<Value> {
        let mut answer = vec![0; LARGEST];
        let (_, len) = recv(&self.socket, answer.as_mut_slice(), RecvFlags::empty())?;
        serde_json::from_slice(answer.get(..len).unwrap_or_default()).map_err(io::Error::other)
    }

    /// A counter of a port, such as `opackets`.
    pub fn port(&self, port: u16, counter: &str) -> io::Result<u64> {
        send(
            &self.socket,
            format!("/ethdev/stats,{port}").as_bytes(),
            SendFlags::NOSIGNAL,
        )?;
        let answer = self.receive()?;
        let count = answer
            .get("/ethdev/stats")
            .and_then(|stats| stats.get(counter)?.as_u64());
        count.ok_or_else(|| io::Error::other(format!("port {port} has no {counter}: {answer}")))
    }
}
