//! `ovs-appctl` without a process a question: JSON-RPC over a Unix socket, ovs-appctl(8).

use serde_json::{Deserializer, Value, json};
use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks a daemon of Open vSwitch; its text.
pub fn ask(socket: &Path, method: &str, arguments: &[&str]) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let question = json!({"id": 0, "method": method, "params": arguments});
    stream.write_all(question.to_string().as_bytes())?;
    let mut answers = Deserializer::from_reader(BufReader::new(stream)).into_iter::<Value>();
    let answer = answers
        .next()
        .ok_or_else(|| io::Error::other("no answer"))?
        .map_err(io::Error::other)?;
    match (answer.get("result"), answer.get("error")) {
        (Some(Value::String(text)), _) => Ok(text.clone()),
        (_, Some(Value::String(text))) => {
            Err(io::Error::other(format!("{method}: {}", text.trim())))
        }
        _ => Err(io::Error::other(format!("{method}: {answer}"))),
    }
}

/// The packets that a port has sent and received, from the text of `dpctl/show -s`.
pub fn port_packets(show: &str, port: &str) -> Option<(u64, u64)> {
    let head = format!(": {port} (");
    let mut lines = show
        .lines()
        .skip_while(|line| !(line.starts_with("  port ") && line.contains(&head)))
        .skip(1);
    let mut after = |name: &str| {
        let line = lines.find(|line| line.trim_start().starts_with(name))?;
        line.trim_start()
            .strip_prefix(name)?
            .split(' ')
            .next()?
            .parse::<u64>()
            .ok()
    };
    let received = after("RX packets:")?;
    Some((after("TX packets:")?, received))
}

/// The number of datapath flows, from the text of `dpctl/show`.
pub fn flows(show: &str) -> Option<u64> {
    show.lines()
        .find_map(|line| line.trim().strip_prefix("flows: "))?
        .parse()
        .ok()
}

/// Packets received and processing cycles of the worker, from the text of `dpif-netdev/pmd-stats-show`.
pub fn worker_cycles(show: &str, core: u32) -> Option<(u64, u64)> {
    let [packets, cycles] = of_worker(show, core, ["packets received:", "processing cycles:"])?;
    Some((packets, cycles))
}

/// Packets for which the worker had no datapath flow, from the same text.
pub fn worker_misses(show: &str, core: u32) -> Option<u64> {
    let names = ["miss with success upcall:", "miss with failed upcall:"];
    Some(of_worker(show, core, names)?.iter().sum())
}

/// The numbers behind these names, in this order, of a core's worker.
fn of_worker<const N: usize>(show: &str, core: u32, names: [&str; N]) -> Option<[u64; N]> {
    let head = format!("core_id {core}:");
    let mut lines = show
        .lines()
        .skip_while(|line| !line.ends_with(&head))
        .skip(1);
    let mut numbers = [0; N];
    for (number, name) in numbers.iter_mut().zip(names) {
        let rest = lines.find_map(|line| line.trim().strip_prefix(name))?;
        *number = rest.split_whitespace().next()?.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_ovs_3_1_are_read() {
        let show = "netdev@ovs-netdev:\n  lookups: hit:6439803 missed:1003 lost:1089\n  flows: 1003\n  \
            port 0: ovs-netdev (tap)\n    RX packets:0 errors:0\n    TX packets:0 errors:0\n  \
            port 1: sink (dpdk: configured_rx_queues=1, mtu=1500)\n    \
            RX packets:7 errors:0 dropped:0 overruns:? frame:?\n    TX packets:4590071 errors:0 dropped:0\n    \
            RX bytes:0  TX bytes:0\n";
        assert_eq!(
            (flows(show), port_packets(show, "sink")),
            (Some(1003), Some((4_590_071, 7)))
        );
        assert_eq!(port_packets(show, "source"), None);
        let stats = "pmd thread numa_id 0 core_id 11:\n  packets received: 1\n  processing cycles: 2 (100.00%)\n\
            pmd thread numa_id 0 core_id 1:\n  packets received: 3479168\n  miss with success upcall: 1000\n  \
            miss with failed upcall: 24\n  idle cycles: 0 (0.00%)\n  \
            processing cycles: 5273046259 (100.00%)\nmain thread:\n  packets received: 0\n";
        assert_eq!(worker_cycles(stats, 1), Some((3_479_168, 5_273_046_259)));
        assert_eq!(worker_misses(stats, 1), Some(1024));
    }
}
