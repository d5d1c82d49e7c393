//! What tenants' kernels do to one another.

use super::{Ns, PATIENCE, text};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket, sockopt,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pings `count` times, 50 ms apart; gives how many were answered. Not ping(8): once it has had an answer it waits for
/// no more than two round trips (its `-W`), and on a busy machine calls lost what is only late.
pub fn ping(from: &Ns, to: &str, count: u16) -> u16 {
    let to = SocketAddrV4::new(to.parse().expect("an IPv4 address"), 0);
    let socket = from.inside(|| {
        socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).expect("a raw socket")
    });
    let pause = Duration::from_millis(50);
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(pause)).expect("SO_RCVTIMEO");
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let id = (std::process::id() as u16 ^ NEXT.fetch_add(1, Ordering::Relaxed).rotate_left(8))
        .to_be_bytes();
    let mut answered = vec![false; usize::from(count)];
    let mut listen = |until: Instant| {
        let mut packet = [0; 2048];
        while Instant::now() < until && !answered.iter().all(|&answered| answered) {
            let Ok((length, _)) = recv(&socket, &mut packet[..], RecvFlags::empty()) else {
                continue;
            };
            // An IPv4 header of 20 bytes, type 0 (answer), our id, the sequence number.
            if length >= 28 && packet[20] == 0 && packet[24..26] == id {
                let sequence = usize::from(u16::from_be_bytes([packet[26], packet[27]]));
                if let Some(answered) = answered.get_mut(sequence) {
                    *answered = true;
                }
            }
        }
        answered.iter().filter(|&&answered| answered).count() as u16
    };
    for sequence in 0..count {
        let mut echo = [
            &[8, 0, 0, 0][..],
            &id[..],
            &sequence.to_be_bytes()[..],
            &[0x55; 56][..],
        ]
        .concat();
        let sum = super::frames::checksum(&echo);
        echo[2..4].copy_from_slice(&sum.to_be_bytes());
        // A neighbour that does not answer ARP shows as an error of a later send.
        let _ = sendto(&socket, &echo, SendFlags::empty(), &to);
        listen(Instant::now() + pause);
    }
    listen(Instant::now() + Duration::from_secs(3))
}

/// `ping` with these arguments; gives how many were answered.
pub fn pinged(from: &Ns, args: &str) -> u32 {
    let output = from.try_run(&format!("ping -n -q {args}"));
    let printed = text(&output.stdout);
    let received = printed.lines().find_map(|line| {
        line.split(", ")
            .find_map(|part| part.strip_suffix(" received"))
    });
    received
        .unwrap_or_else(|| panic!("ping {args}: {printed}{}", text(&output.stderr)))
        .trim()
        .parse()
        .expect("a number")
}

/// Panics unless `ping` with these arguments has an answer to all of `count`; twice it may call late what is not lost.
pub fn all_answered(from: &Ns, count: u32, args: &str) {
    let answers = || pinged(from, &format!("-c {count} -i 0.1 -W 2 {args}"));
    assert!(
        (0..3).any(|_| answers() == count),
        "{} pings {args}",
        from.name
    );
}

/// Panics unless every one of ten pings is answered.
pub fn reaches(from: &Ns, to: &str) {
    assert_eq!(ping(from, to, 10), 10, "{} pings {to}", from.name);
}

/// Bytes that tell whether they came whole and in order.
fn pattern(tag: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i as u8) ^ (i >> 8) as u8 ^ (i >> 16) as u8 ^ tag)
        .collect()
}

/// A TCP connection that carries `length` bytes there and back, every one checked.
pub fn tcp(from: &Ns, to: &Ns, address: &str, tag: u8, length: usize) {
    let listener = to.inside(|| TcpListener::bind((address, 7000)).expect("bind"));
    let mut client = from.inside(|| {
        let address = SocketAddr::new(address.parse().expect("an address"), 7000);
        TcpStream::connect_timeout(&address, PATIENCE).expect("connect")
    });
    let (mut server, _) = listener.accept().expect("accept");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    }
    let bytes = pattern(tag, length);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut got = vec![0; length];
            server.read_exact(&mut got).expect("all of it");
            assert!(
                got == pattern(tag, length),
                "TCP there: bytes are not those that were sent"
            );
            server.write_all(&got).expect("back");
        });
        client.write_all(&bytes).expect("there");
        let mut got = vec![0; length];
        client.read_exact(&mut got).expect("all of it");
        assert!(got == bytes, "TCP back: bytes are not those that were sent");
    });
}

/// A UDP socket in a namespace.
pub fn udp_socket(ns: &Ns, address: &str, port: u16) -> UdpSocket {
    let socket = ns.inside(|| {
        UdpSocket::bind((address, port)).unwrap_or_else(|error| panic!("{address}:{port}: {error}"))
    });
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20)
        .expect("SO_RCVBUFFORCE");
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("timeout");
    socket
}

/// Sends `word` until the other side has said its own word back; gives that.
pub fn udp_ask(socket: &UdpSocket, to: &str, port: u16, word: &str) -> String {
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    while Instant::now() < end {
        socket.send_to(word.as_bytes(), (to, port)).expect("send");
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            return text(&buffer[..length]);
        }
    }
    panic!("nobody at {to}:{port} answers {word:?}");
}

/// A thread that answers every datagram with a word; ends when dropped.
pub struct Says {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Datagrams that came and did not say what they should.
    pub strange: Arc<AtomicU64>,
    /// Datagrams that came.
    pub heard: Arc<AtomicU64>,
}

impl Says {
    /// Answers at `address:port` with `word`, and counts what comes and does not start with `expected`.
    pub fn start(ns: &Ns, address: &str, port: u16, word: &str, expected: &str) -> Says {
        let socket = udp_socket(ns, address, port);
        let stop = Arc::new(AtomicBool::new(false));
        let (strange, heard) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (word, expected) = (word.to_owned(), expected.to_owned());
        let (ended, odd, all) = (stop.clone(), strange.clone(), heard.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                all.fetch_add(1, Ordering::Relaxed);
                if !buffer[..length].starts_with(expected.as_bytes()) {
                    odd.fetch_add(1, Ordering::Relaxed);
                }
                let _ = socket.send_to(word.as_bytes(), from);
            }
        });
        Says {
            stop,
            thread: Some(thread),
            strange,
            heard,
        }
    }
}

impl Drop for Says {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a load has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that arrived.
    pub received: u64,
    /// Datagrams that arrived and say another word.
    pub strange: u64,
}

/// A steady one-way load of UDP at a rate that two busy cores carry; ends when asked.
pub struct Load {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<u64>>,
    receiver: Option<JoinHandle<(u64, u64)>>,
    /// Datagrams that have arrived so far.
    pub arrived: Arc<AtomicU64>,
}

impl Load {
    /// `from` to `to` at `address`, one datagram that says `word` every `pause`.
    pub fn start(from: &Ns, to: &Ns, address: &str, word: &str, pause: Duration) -> Load {
        let receiver = udp_socket(to, address, 7100);
        let sender = udp_socket(from, "0.0.0.0", 0);
        sender.connect((address, 7100)).expect("connect");
        let stop = Arc::new(AtomicBool::new(false));
        let arrived = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let payload = format!("{word} {}", "x".repeat(200)).into_bytes();
        let (ended, sent_all) = (stop.clone(), done.clone());
        let sender = std::thread::spawn(move || {
            let mut sent = 0;
            let mut next = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                // ENOBUFS is no loss of the switch.
                if sender.send(&payload).is_ok() {
                    sent += 1;
                }
                next += pause;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            sent_all.store(true, Ordering::Relaxed);
            sent
        });
        let (word, count) = (word.to_owned(), arrived.clone());
        let receiver = std::thread::spawn(move || {
            let (mut received, mut strange) = (0, 0);
            let mut buffer = [0; 2048];
            // The last ones have a second of silence to arrive in.
            let mut silent = 0;
            while !done.load(Ordering::Relaxed) || silent < 10 {
                match receiver.recv(&mut buffer) {
                    Ok(length) => {
                        silent = 0;
                        received += 1;
                        count.store(received, Ordering::Relaxed);
                        strange += u64::from(!buffer[..length].starts_with(word.as_bytes()));
                    }
                    Err(_) => silent += 1,
                }
            }
            (received, strange)
        });
        Load {
            stop,
            sender: Some(sender),
            receiver: Some(receiver),
            arrived,
        }
    }

    /// Ends it, and gives what it did.
    pub fn end(mut self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self
            .sender
            .take()
            .map(|thread| thread.join().expect("the sender"));
        let received = self
            .receiver
            .take()
            .map(|thread| thread.join().expect("the receiver"));
        let ((received, strange), sent) = (received.unwrap_or_default(), sent.unwrap_or_default());
        Done {
            sent,
            received,
            strange,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.sender.take().map(JoinHandle::join);
        let _ = self.receiver.take().map(JoinHandle::join);
    }
}
