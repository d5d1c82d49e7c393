//! Traffic of the tenants' real kernels: ping and iperf3, and what they say.

use super::command::{Guarded, run};
use super::stop::{Halt, Stop};
use super::world::World;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

/// The rate that iperf3's UDP sender aims at, in Mbit/s. Two daemons, two kernels and iperf3 share two cores well at it.
pub const UDP_MBIT: u32 = 100;
/// Bytes of a UDP datagram: with NVGRE around it it still fits the underlay.
const UDP_BYTES: u32 = 1400;
/// iperf3's port, and the same as the kernel's tables show it.
const PORT: (u16, &str) = (5201, ":1451 ");

/// What ping has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pings {
    /// Questions sent.
    pub sent: u32,
    /// Answers received.
    pub answered: u32,
}

/// Pings `to` from a VM, `count` times. `extra`: more of ping's options.
pub fn ping(
    world: &World,
    stop: &Stop,
    from: &str,
    to: &str,
    count: u32,
    extra: &str,
) -> Result<Pings, Halt> {
    let line = format!("ping -q -n -c {count} -i 0.1 -W 1 {extra} {to}");
    let patience = Duration::from_secs(10 + u64::from(count));
    let done = run(stop, &mut world.inside(from, &line), patience)?;
    pings(&done.stdout).ok_or_else(|| {
        let said = format!("{}{}", done.stdout, done.stderr);
        Halt::failed(format!("ping from {from} to {to}: {}", said.trim()))
    })
}

/// Reads ping's summary: `5 packets transmitted, 5 received, ...`.
fn pings(text: &str) -> Option<Pings> {
    let line = text
        .lines()
        .find(|line| line.contains(" packets transmitted"))?;
    let number = |part: &str| part.split_whitespace().next()?.parse().ok();
    let mut parts = line.split(',');
    Some(Pings {
        sent: number(parts.next()?)?,
        answered: number(parts.next()?)?,
    })
}

/// What iperf3 has measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// What arrived, in Mbit/s of payload.
    pub mbit: f64,
    /// Datagrams that did not arrive, in percent; none for TCP.
    pub loss_percent: Option<f64>,
    /// TCP segments sent again; none for UDP.
    pub retransmits: Option<u64>,
}

/// The transport that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// With the congestion control cubic, where the kernel has it.
    Tcp,
    /// At [`UDP_MBIT`].
    Udp,
}

impl Transport {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        }
    }
}

/// Measures for `seconds` from one VM to another's address.
pub fn iperf(
    world: &World,
    stop: &Stop,
    transport: Transport,
    (from, to, address): (&str, &str, &str),
    seconds: u32,
) -> Result<Rate, Halt> {
    let port = PORT.0;
    let mut server = world.inside(to, &format!("iperf3 --server --one-off --port {port}"));
    server.stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Guarded::spawn(&mut server)?;
    let listening = stop.wait_for(Duration::from_secs(10), || {
        let listens = world.enter(to, || listens(PORT.1));
        Ok(listens.unwrap_or(false).then_some(()))
    })?;
    if listening.is_none() {
        return Err(Halt::failed(format!("iperf3 does not listen in {to}")));
    }
    let how = match transport {
        Transport::Tcp if world.enter(from, has_cubic).unwrap_or(false) => "-C cubic".to_string(),
        Transport::Tcp => String::new(),
        Transport::Udp => format!("--udp --bitrate {UDP_MBIT}M --length {UDP_BYTES}"),
    };
    let line = format!(
        "iperf3 --client {address} --port {port} --json --connect-timeout 3000 --time {seconds} {how}"
    );
    let patience = Duration::from_secs(u64::from(seconds) + 20);
    let done = run(stop, &mut world.inside(from, &line), patience)?;
    rate(transport, &done.stdout).map_err(|why| {
        Halt::failed(format!(
            "iperf3 from {from} to {to}: {why} {}",
            done.stderr.trim()
        ))
    })
}

/// Whether something listens on the TCP port, in the calling thread's namespace.
fn listens(port: &str) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}"));
        // `sl local_address rem_address st`; state 0A is LISTEN.
        text.unwrap_or_default()
            .lines()
            .any(|line| line.contains(port) && line.split_whitespace().nth(3) == Some("0A"))
    })
}

fn has_cubic() -> bool {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let names = std::fs::read_to_string(path).unwrap_or_default();
    names.split_whitespace().any(|name| name == "cubic")
}

/// Reads iperf3's report.
fn rate(transport: Transport, text: &str) -> Result<Rate, String> {
    let report: Value = serde_json::from_str(text)
        .map_err(|error| format!("its report cannot be read: {error}"))?;
    if let Some(error) = report["error"].as_str() {
        return Err(error.to_string());
    }
    let end = &report["end"];
    let bits = |sum: &Value| {
        sum["bits_per_second"]
            .as_f64()
            .ok_or_else(|| "its report has no rate".to_string())
    };
    match transport {
        Transport::Tcp => Ok(Rate {
            mbit: bits(&end["sum_received"])? / 1e6,
            loss_percent: None,
            retransmits: end["sum_sent"]["retransmits"].as_u64(),
        }),
        Transport::Udp => {
            let loss = end["sum"]["lost_percent"]
                .as_f64()
                .ok_or("its report has no loss")?;
            Ok(Rate {
                mbit: bits(&end["sum"])? * (1.0 - loss / 100.0) / 1e6,
                loss_percent: Some(loss),
                retransmits: None,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_summary_reads() {
        let text = "PING 10.1.0.12 (10.1.0.12) 56(84) bytes of data.\n\n--- 10.1.0.12 ping statistics ---\n\
            3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 2042ms\npipe 3\n";
        let (sent, answered) = (3, 0);
        assert_eq!(pings(text), Some(Pings { sent, answered }));
        assert_eq!(pings("ping: connect: Network is unreachable"), None);
    }

    #[test]
    fn an_iperf3_report_reads() {
        let tcp =
            r#"{"end":{"sum_sent":{"retransmits":4},"sum_received":{"bits_per_second":2.5e8}}}"#;
        let read = rate(Transport::Tcp, tcp).unwrap();
        assert_eq!((read.mbit, read.retransmits), (250.0, Some(4)));
        let udp = r#"{"end":{"sum":{"bits_per_second":1e8,"lost_percent":10.0}}}"#;
        let read = rate(Transport::Udp, udp).unwrap();
        assert_eq!((read.mbit, read.loss_percent), (90.0, Some(10.0)));
        let error = r#"{"end":{},"error":"unable to connect"}"#;
        assert_eq!(
            rate(Transport::Tcp, error),
            Err("unable to connect".to_string())
        );
    }
}
