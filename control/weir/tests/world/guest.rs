//! A VM whose kernel has a virtio device's offloads: a tap with IFF_VNET_HDR in its namespace, and between it and Weir's vhost-user
//! socket what QEMU would be, DPDK's virtio_user in this process. Checksums and segments (GSO) that the kernel leaves to its device
//! pass as virtio's header says, both ways.
#![allow(unsafe_code)]

use super::{Ns, PATIENCE, Vm, World};
use rte::{
    Burst, Eal, EalConfig, GsoKind, IpVersion, L4Checksum, L4Kind, LogLevel, Mbuf, Memory, Pool,
    Port, PortConfig, RxOffloads, TxOffloads, TxRequest,
};
use rustix::ioctl::{IntegerSetter, Setter, ioctl};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// `_IOW('T', 202, int)` and `_IOW('T', 208, unsigned int)` of linux/if_tun.h.
const TUNSETIFF: u32 = 0x4004_54ca;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
/// IFF_TAP | IFF_NO_PI | IFF_VNET_HDR.
const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;
/// TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6.
const OFFLOADS: usize = 1 | 2 | 4;
/// `struct virtio_net_hdr` (virtio 1.1 §5.1.6): flags, GSO type, header length, GSO size, checksum's start and offset.
const HEADER: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// A frame of the VM's MTU.
const ORDINARY: usize = 1514;

/// A VM on vhost-user; its device goes when it is dropped.
pub struct Guest {
    /// What is in it.
    pub vm: Vm,
    /// Weir's end, which Weir makes.
    pub socket: PathBuf,
    /// Frames larger than its MTU that its kernel sent, and that it got.
    pub sent_whole: Arc<AtomicU64>,
    /// See above.
    pub got_whole: Arc<AtomicU64>,
    tap: Option<File>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Guest {
    /// A VM whose eth0 is up and leads nowhere until it is [connected](Guest::connect).
    pub fn new(world: &mut World, name: &str, mac: [u8; 6], address: &str) -> Guest {
        let ns = world.ns(name);
        let tap = ns.inside(open_tap);
        ns.ip(&format!("link set eth0 address {}", super::mac(mac)));
        ns.ip("link set eth0 up");
        ns.ip(&format!("addr add {address} dev eth0"));
        Guest {
            vm: Vm {
                ns,
                tap: name.into(),
                mac,
                ca: address.split('/').next().unwrap_or_default().into(),
            },
            socket: world.path(&format!("{name}.vhost")),
            sent_whole: Arc::default(),
            got_whole: Arc::default(),
            tap: Some(tap),
            stop: Arc::default(),
            thread: None,
        }
    }

    /// Its `attach` in policy.toml.
    pub fn attach(&self) -> String {
        format!("vhost-user-server:{}", self.socket.display())
    }

    /// Its namespace.
    pub fn ns(&self) -> &Ns {
        &self.vm.ns
    }

    /// Plugs its device into the socket, which the daemon has made.
    pub fn connect(&mut self) {
        let cable = Cable::new(
            self.tap.take().expect("connected once"),
            &self.socket,
            [self.sent_whole.clone(), self.got_whole.clone()],
        );
        let stop = self.stop.clone();
        self.thread = Some(std::thread::spawn(move || cable.run(&stop)));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open_tap() -> File {
    let tap = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open("/dev/net/tun")
        .expect("/dev/net/tun");
    let mut request = [0_u8; 40];
    request[..4].copy_from_slice(b"eth0");
    request[16..18].copy_from_slice(&FLAGS.to_ne_bytes());
    // SAFETY: TUNSETIFF reads a `struct ifreq`, of 40 bytes, and TUNSETOFFLOAD an integer.
    unsafe {
        ioctl(&tap, Setter::<TUNSETIFF, _>::new(request)).expect("TUNSETIFF");
        ioctl(&tap, IntegerSetter::<TUNSETOFFLOAD>::new_usize(OFFLOADS)).expect("TUNSETOFFLOAD");
    }
    tap
}

/// Without hugepages: DPDK's memory is one memfd, which virtio_user hands to the daemon.
fn pool() -> (&'static Eal, Pool) {
    static MADE: OnceLock<(Eal, Pool)> = OnceLock::new();
    let (eal, pool) = MADE.get_or_init(|| {
        let config = EalConfig {
            memory: Memory::NoHuge { megabytes: 128 },
            pci: false,
            log_level: Some(LogLevel::Silent),
            ..EalConfig::default()
        };
        let eal = Eal::init(config).expect("EAL starts");
        let pool = Pool::create(&eal, "guests", 16_383, 0, 2176, 0, None).expect("a pool");
        (eal, pool)
    });
    (eal, *pool)
}

/// Between tap and socket.
struct Cable {
    tap: File,
    port: Port,
    rx: rte::RxQueue,
    tx: rte::TxQueue,
    whole: [Arc<AtomicU64>; 2],
}

impl Cable {
    fn new(tap: File, socket: &Path, whole: [Arc<AtomicU64>; 2]) -> Cable {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (eal, pool) = pool();
        let devargs = format!(
            "net_virtio_user{},path={},queues=1,queue_size=1024",
            NEXT.fetch_add(1, Ordering::Relaxed),
            socket.display()
        );
        let mut port = Port::attach(eal, &devargs).expect("the daemon's socket");
        let config = PortConfig {
            rx_offloads: RxOffloads::TCP_LRO | RxOffloads::TCP_CHECKSUM | RxOffloads::UDP_CHECKSUM,
            tx_offloads: TxOffloads::TCP_CHECKSUM
                | TxOffloads::UDP_CHECKSUM
                | TxOffloads::TCP_TSO
                | TxOffloads::MULTI_SEGMENT,
            ..PortConfig::default()
        };
        let (mut rx, mut tx) = port.start(&config, pool).expect("a start");
        Cable {
            tap,
            port,
            rx: rx.remove(0),
            tx: tx.remove(0),
            whole,
        }
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; HEADER + (1 << 16) + 64];
        let mut burst = Burst::new();
        while !stop.load(Ordering::Relaxed) {
            let mut moved = false;
            while let Ok(length) = self.tap.read(&mut buffer) {
                moved = true;
                let (header, frame) = buffer[..length].split_at(HEADER);
                self.send(header, frame);
            }
            self.rx.rx(&mut burst);
            for mbuf in burst.drain() {
                moved = true;
                self.deliver(&mbuf);
            }
            if !moved {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        let _ = self.port.close(vec![self.rx], vec![self.tx]);
    }

    /// From the kernel to Weir.
    fn send(&mut self, header: &[u8], frame: &[u8]) {
        let mut mbuf: Option<Mbuf> = None;
        for part in frame.chunks(2048) {
            // The kernel sends again what found no room.
            let Some(mut next) = pool().1.alloc() else {
                return;
            };
            next.append(part.len()).expect("room").copy_from_slice(part);
            match &mut mbuf {
                None => mbuf = Some(next),
                Some(all) => all.chain(next).expect("few segments"),
            }
        }
        let Some(mut mbuf) = mbuf else { return };
        let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        if header[0] & NEEDS_CSUM != 0 {
            let start = usize::from(word(6));
            let is_tcp = word(8) == 16;
            let tso = matches!(header[1] & 0x7f, GSO_TCPV4 | GSO_TCPV6).then(|| word(4));
            mbuf.request_tx(TxRequest {
                l2_len: 14,
                l3_len: (start - 14) as u16,
                l4_len: if is_tcp {
                    (frame[start + 12] >> 4) * 4
                } else {
                    8
                },
                ip_version: if frame[12..14] == [0x86, 0xdd] {
                    IpVersion::V6
                } else {
                    IpVersion::V4
                },
                l4_checksum: Some(if is_tcp { L4Kind::Tcp } else { L4Kind::Udp }),
                tso,
                ..TxRequest::default()
            });
        }
        if frame.len() > ORDINARY {
            self.whole[0].fetch_add(1, Ordering::Relaxed);
        }
        let mut burst = Burst::new();
        assert!(burst.push(mbuf).is_ok());
        self.tx.prepare(&mut burst);
        let end = Instant::now() + PATIENCE;
        while self.tx.tx(&mut burst) == 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// From Weir to the kernel.
    fn deliver(&mut self, mbuf: &Mbuf) {
        let mut out = vec![0; HEADER];
        mbuf.segments_iter().for_each(|part| out.extend(part));
        let frame = &out[HEADER..];
        let gso = mbuf.gso();
        if frame.len() > ORDINARY {
            self.whole[1].fetch_add(1, Ordering::Relaxed);
        }
        if gso.is_some() || mbuf.l4_checksum() == L4Checksum::Partial {
            let (start, protocol) = match frame[12..14] {
                [0x86, 0xdd] => (54, frame[20]),
                _ => (14 + usize::from(frame[14] & 0x0f) * 4, frame[23]),
            };
            let (at, headers) = match protocol {
                6 => (16, start + usize::from(frame[start + 12] >> 4) * 4),
                _ => (6, start + 8),
            };
            let kind = match gso.map(|gso| gso.kind) {
                Some(GsoKind::Tcp4) => GSO_TCPV4,
                Some(GsoKind::Tcp6) => GSO_TCPV6,
                Some(_) => panic!("nobody asked for UFO"),
                None => 0,
            };
            let size = gso.map_or(0, |gso| gso.segment_size);
            (out[0], out[1]) = (NEEDS_CSUM, kind);
            for (place, word) in [(2, headers as u16), (4, size), (6, start as u16), (8, at)] {
                out[place..place + 2].copy_from_slice(&word.to_ne_bytes());
            }
        }
        // A full socket buffer loses it, as a NIC would.
        let _ = self.tap.write(&out);
    }
}
