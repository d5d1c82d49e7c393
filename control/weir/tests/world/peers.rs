//! Other people's programs as peers: DPDK's testpmd, tcpdump, tshark.

use super::{Ns, World, text, wait_for, wait_within};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with this value.
pub struct Peer {
    what: String,
    log: PathBuf,
    child: Child,
}

impl Peer {
    /// Starts a command whose output goes to a file.
    pub fn start(what: &str, log: &Path, command: &mut Command) -> Peer {
        let out = std::fs::File::create(log).expect("a log");
        // A pipe as standard input that nobody writes: testpmd ends when its input does.
        let child = command
            .stdin(Stdio::piped())
            .stdout(out.try_clone().expect("dup"))
            .stderr(out)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{what}: {error}"));
        Peer {
            what: what.into(),
            log: log.into(),
            child,
        }
    }

    /// What it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has printed `word`.
    pub fn wait_log(&mut self, word: &str) {
        wait_within(
            Duration::from_secs(60),
            &format!("{} says {word:?}", self.what),
            || {
                if let Ok(Some(status)) = self.child.try_wait() {
                    panic!("{} ended: {status}\n{}", self.what, self.log());
                }
                self.log().contains(word).then_some(())
            },
        );
    }

    /// Ends it as Ctrl-C does, and waits.
    pub fn end(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.what, self.log());
        }
        self.end();
    }
}

impl World {
    /// testpmd in a namespace, forwarding by `mode` on these vdevs, when it forwards. Its memory is shared, as
    /// vhost-user and memif need it.
    pub fn testpmd(&self, ns: &Ns, name: &str, vdevs: &[&str], mode: &str) -> Peer {
        let mut command = ns.command("dpdk-testpmd");
        command.args([
            "--no-pci",
            "--in-memory",
            "--single-file-segments",
            "-m",
            "64",
            "-l",
            "0,1",
            "--log-level=lib.eal:error",
        ]);
        for vdev in vdevs {
            command.arg(format!("--vdev={vdev}"));
        }
        command.args([
            "--",
            "--total-num-mbufs=4096",
            "--no-mlockall",
            "--nb-cores=1",
            "--rxd=256",
            "--txd=256",
        ]);
        command.args([
            format!("--forward-mode={mode}"),
            "--auto-start".into(),
            "--no-lsc-interrupt".into(),
        ]);
        let mut peer = Peer::start(
            "dpdk-testpmd",
            &self.path(&format!("{name}.log")),
            &mut command,
        );
        // What it says later stays in its buffer.
        peer.wait_log("Checking link statuses");
        peer
    }

    /// tcpdump on an interface, when it listens.
    pub fn tcpdump(&self, ns: &Ns, interface: &str, file: &Path) -> Peer {
        let mut command = ns.command("tcpdump");
        command
            .args([
                "-i", interface, "-s", "0", "-U", "-B", "16384", "-Z", "root", "-w",
            ])
            .arg(file);
        let log = self.path(&format!("tcpdump-{interface}.log"));
        let mut peer = Peer::start("tcpdump", &log, &mut command);
        peer.wait_log("listening on");
        peer
    }
}

/// Frames of a capture that are wrong in this way. Not those whose TCP checksum is written as 0xffff: so Linux writes one that is zero
/// (skb_checksum_help), which is the same in ones' complement, and tshark calls it bad. One TCP packet in 65,536 has it.
pub fn wrongs(file: &Path, filter: &str) -> String {
    let filter = format!("({filter}) && !(tcp.checksum == 0xffff)");
    tshark(file, &["-Y", &filter])
}

/// tshark's answer about a capture.
pub fn tshark(file: &Path, args: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args([
        "-n",
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
        // A retransmission that overlaps is TCP's business, and no malformed field.
        "-o",
        "tcp.desegment_tcp_streams:FALSE",
    ]);
    let output = command.args(args).output().expect("tshark");
    assert!(
        output.status.success(),
        "tshark {args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Waits until a capture holds at least `least` packets that `filter` says.
pub fn wait_captured(file: &Path, filter: &str, least: usize) {
    wait_for(
        &format!("{least} packets of {filter} in the capture"),
        || {
            (tshark(file, &["-Y", filter, "-T", "fields", "-e", "frame.number"])
                .lines()
                .count()
                >= least)
                .then_some(())
        },
    );
}
