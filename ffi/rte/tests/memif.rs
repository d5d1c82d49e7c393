//! memif, whose driver handles its peer's messages on a thread of EAL's own.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{eal, packet, pool, unique};
use rte::{Burst, Port, PortConfig, RxQueue, TxQueue};

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "no {what}");
    }
}

struct End {
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
}

impl End {
    fn open(role: &str, socket: &str, pool: rte::Pool) -> End {
        let name = unique("net_memif");
        let devargs = format!("{name},role={role},id=0,socket={socket},socket-abstract=no");
        let mut port = Port::attach(eal(), &devargs).expect("a port");
        let (mut rx, mut tx) = port.start(&PortConfig::default(), pool).expect("a start");
        End {
            port,
            rx: rx.remove(0),
            tx: tx.remove(0),
        }
    }

    fn close(self) {
        self.port
            .close(vec![self.rx], vec![self.tx])
            .expect("closed");
    }
}

/// Without the care that `Port::close` takes, 4 of 30 runs of this ended in a segmentation fault of `eal-intr-thread`.
#[test]
fn a_port_closes_while_its_peer_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let pool = pool(4095);
    for cycle in 0..100 {
        let path = folder.path().join(format!("s{cycle}"));
        let socket = path.display().to_string();
        let mut server = End::open("server", &socket, pool);
        let mut client = End::open("client", &socket, pool);
        until("link", || server.port.link().up && client.port.link().up);
        let mut burst = Burst::new();
        assert!(
            burst
                .push(packet(&pool, b"hello from a memif client"))
                .is_ok()
        );
        assert_eq!(client.tx.tx(&mut burst), 1);
        until("packet", || server.rx.rx(&mut burst) > 0);
        assert_eq!(burst.len(), 1);
        burst.clear();
        // The first one's message is on its way to the other while that is closed, or not yet.
        if cycle % 2 == 0 {
            client.close();
            std::thread::sleep(Duration::from_micros(cycle));
            server.close();
        } else {
            server.close();
            std::thread::sleep(Duration::from_micros(cycle));
            client.close();
        }
        assert_eq!(pool.in_use(), 0, "an mbuf leaked");
    }
}

/// Without the guard that queues of net_memif have, 11 of 20 runs of this ended in a segmentation fault of the poller's.
#[test]
fn a_peer_leaves_a_port_that_is_polled() {
    let folder = tempfile::tempdir().expect("a folder");
    let pool = pool(8191);
    let path = folder.path().join("polled");
    let socket = path.display().to_string();
    let server = End::open("server", &socket, pool);
    let End {
        port,
        mut rx,
        mut tx,
    } = server;
    let stop = AtomicBool::new(false);
    let (received, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let (rx, tx) = thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let (mut burst, mut waiting) = (Burst::new(), Burst::new());
            while !stop.load(Ordering::Relaxed) {
                received.fetch_add(rx.rx(&mut burst) as u64, Ordering::Relaxed);
                burst.clear();
                while let Some(mut mbuf) = pool.alloc() {
                    mbuf.append(64).expect("tailroom").fill(0x5a);
                    if waiting.push(mbuf).is_err() || waiting.is_full() {
                        break;
                    }
                }
                sent.fetch_add(tx.tx(&mut waiting) as u64, Ordering::Relaxed);
            }
            (rx, tx)
        });
        for _ in 0..60 {
            let mut client = End::open("client", &socket, pool);
            // The driver does not survive a peer that leaves before it is greeted (docs/operations.md).
            until("link", || client.port.link().up);
            let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
            let before = (count(&received), count(&sent));
            let mut burst = Burst::new();
            until("traffic both ways", || {
                client.rx.rx(&mut burst);
                burst.clear();
                assert!(
                    burst
                        .push(packet(&pool, b"hello from a memif client"))
                        .is_ok()
                );
                client.tx.tx(&mut burst);
                burst.clear();
                count(&received) > before.0 && count(&sent) > before.1 + 100
            });
            client.close();
        }
        stop.store(true, Ordering::Relaxed);
        poller.join().expect("a poller")
    });
    End { port, rx, tx }.close();
    assert_eq!(pool.in_use(), 0, "an mbuf leaked");
}
