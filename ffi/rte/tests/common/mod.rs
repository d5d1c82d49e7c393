//! One EAL a process: with `cargo test` the tests of a file share it, with `cargo nextest` each has its own.
#![allow(dead_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rte::{
    Burst, Eal, EalConfig, LogLevel, Mbuf, Memory, Pool, Port, PortConfig, RxQueue, TxQueue,
};

/// EAL without hugepages, PCI or root.
pub fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| Eal::init(config()).expect("EAL starts"))
}

pub fn config() -> EalConfig {
    EalConfig {
        memory: Memory::NoHuge { megabytes: 128 },
        pci: false,
        log_level: Some(LogLevel::Silent),
        ..EalConfig::default()
    }
}

/// A pool of the caller's own: its counts are not disturbed by other tests. 2,048 bytes of data beside the headroom.
pub fn pool(mbufs: u32) -> Pool {
    Pool::create(eal(), &unique("pool"), mbufs, 0, 2176, 16, None).expect("a pool")
}

/// A name that no other test of this process has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An mbuf with these bytes.
pub fn packet(pool: &Pool, bytes: &[u8]) -> Mbuf {
    let mut mbuf = pool.alloc().expect("an mbuf");
    mbuf.append(bytes.len())
        .expect("tailroom")
        .copy_from_slice(bytes);
    mbuf
}

/// An mbuf with a segment for each slice.
pub fn chain(pool: &Pool, segments: &[&[u8]]) -> Mbuf {
    let mut segments = segments.iter();
    let mut mbuf = packet(pool, segments.next().expect("a segment"));
    for segment in segments {
        mbuf.chain(packet(pool, segment))
            .expect("room for a segment");
    }
    mbuf
}

/// The bytes of the whole chain.
pub fn bytes(mbuf: &Mbuf) -> Vec<u8> {
    mbuf.segments_iter().flatten().copied().collect()
}

/// A started port with one queue each way.
pub fn started(devargs: &str, pool: Pool) -> (Port, RxQueue, TxQueue) {
    let mut port = Port::attach(eal(), devargs).expect("a port");
    let (mut rx, mut tx) = port.start(&PortConfig::default(), pool).expect("a start");
    (port, rx.remove(0), tx.remove(0))
}

/// Receives until something comes, at most a second.
pub fn receive(mut rx: impl FnMut(&mut Burst) -> usize) -> Burst {
    let mut burst = Burst::new();
    let start = std::time::Instant::now();
    while rx(&mut burst) == 0 && start.elapsed().as_secs() < 1 {
        std::thread::yield_now();
    }
    burst
}
