//! vhost-user: a socket's life, and a loop with DPDK's own virtio_user port as the guest.
//!
//! Without hugepages `--single-file-segments` and `--no-huge` go together: DPDK's memory is one memfd, which virtio_user hands to
//! vhost in the same process.

mod common;

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use common::{bytes, chain, eal, packet, pool, receive, unique};
use rte::{
    Bell, Burst, Gso, GsoKind, L4Checksum, L4Kind, Pool, Port, PortConfig, RxOffloads, RxQueue,
    TxOffloads, TxQueue, TxRequest, VhostError, VhostFeatures, VhostMode, VhostPort, VhostRx,
    VhostTx, Woken,
};

fn open(
    path: &str,
    mode: VhostMode,
    pool: Pool,
) -> Result<(VhostPort, VhostRx, VhostTx), VhostError> {
    VhostPort::open(eal(), path, mode, VhostFeatures::default(), pool)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "waited for {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_socket_comes_and_goes_with_its_port() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vm.sock");
    let name = path.to_str().expect("a path");
    let pool = pool(255);
    for _ in 0..20 {
        let (port, mut rx, mut tx) = open(name, VhostMode::Server, pool).expect("a port");
        assert!(path.exists() && !port.link_up());
        assert_eq!(port.path(), name);
        let mut burst = Burst::new();
        assert_eq!(rx.rx(&mut burst), 0);
        assert!(burst.push(packet(&pool, b"nobody")).is_ok());
        assert_eq!((tx.tx(&mut burst), burst.len()), (0, 1));
        assert!(matches!(
            open(name, VhostMode::Server, pool),
            Err(VhostError::AlreadyOpen(_))
        ));
        port.close(rx, tx).expect("closed");
        assert!(!path.exists());
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_stale_socket_is_replaced_a_live_one_and_a_file_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vm.sock");
    let name = path.to_str().expect("a path");
    let pool = pool(255);
    let listener = UnixListener::bind(&path).expect("a socket");
    assert_eq!(
        open(name, VhostMode::Server, pool).err(),
        Some(VhostError::SocketInUse(name.to_owned()))
    );
    drop(listener);
    assert!(path.exists(), "stale");
    let (port, rx, tx) = open(name, VhostMode::Server, pool).expect("replaced");
    port.close(rx, tx).expect("closed");

    std::fs::write(&path, "precious").expect("a file");
    assert_eq!(
        open(name, VhostMode::Server, pool).err(),
        Some(VhostError::NotASocket(name.to_owned()))
    );
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "precious");
}

#[test]
fn bad_paths_are_named() {
    let pool = pool(255);
    for path in ["", "a\0b", &"x".repeat(108)] {
        let refused = open(path, VhostMode::Server, pool).err();
        assert_eq!(refused, Some(VhostError::Path(path.to_owned())));
    }
    let refused = open("/nonexistent/vm.sock", VhostMode::Server, pool).err();
    assert!(
        matches!(refused, Some(VhostError::Socket { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_client_waits_or_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("qemu.sock");
    let name = path.to_str().expect("a path");
    let pool = pool(255);
    let at_once = VhostMode::Client { reconnect: false };
    let refused = open(name, at_once, pool).err();
    assert!(
        matches!(refused, Some(VhostError::Dpdk { .. })),
        "{refused:?}"
    );
    let patient = VhostMode::Client { reconnect: true };
    let (port, rx, tx) = open(name, patient, pool).expect("a port");
    assert!(!port.link_up());
    port.close(rx, tx).expect("closed");
}

#[test]
fn ends_of_another_port_do_not_close_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| {
        directory
            .path()
            .join(name)
            .to_str()
            .expect("a path")
            .to_owned()
    };
    let pool = pool(255);
    let (one, _one_rx, one_tx) = open(&path("one"), VhostMode::Server, pool).expect("a port");
    let (_two, two_rx, _two_tx) = open(&path("two"), VhostMode::Server, pool).expect("a port");
    assert_eq!(
        one.close(two_rx, one_tx),
        Err(VhostError::EndsHeld(path("one")))
    );
}

/// A guest: a virtio_user port that connects to `path`.
fn guest(
    path: &str,
    pool: Pool,
    rx_offloads: RxOffloads,
    tx_offloads: TxOffloads,
) -> (Port, RxQueue, TxQueue) {
    let devargs = format!(
        "{},path={path},queues=1,queue_size=256",
        unique("net_virtio_user")
    );
    let mut port = Port::attach(eal(), &devargs).expect("a guest");
    let config = PortConfig {
        rx_descriptors: 256,
        tx_descriptors: 256,
        rx_offloads,
        tx_offloads,
        ..PortConfig::default()
    };
    let (mut rx, mut tx) = port.start(&config, pool).expect("a start");
    (port, rx.remove(0), tx.remove(0))
}

#[test]
fn frames_pass_both_ways_and_guests_come_and_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vm.sock");
    let name = path.to_str().expect("a path");
    let (host, vm) = (pool(1023), pool(2047));
    let (port, mut rx, mut tx) = open(name, VhostMode::Server, host).expect("a port");
    for round in 0..3_u8 {
        let (guest, mut guest_rx, mut guest_tx) =
            guest(name, vm, RxOffloads::NONE, TxOffloads::NONE);
        wait_for("the guest", || port.link_up());
        assert_eq!(tx.offloads(), TxOffloads::MULTI_SEGMENT);
        for n in 0..100_u8 {
            let frame = vec![n; 60 + usize::from(n) * 10];
            let mut burst = Burst::new();
            assert!(burst.push(packet(&vm, &frame)).is_ok());
            assert_eq!(guest_tx.tx(&mut burst), 1);
            let mut came = receive(|burst| rx.rx(burst));
            assert_eq!(bytes(&came.as_slice()[0]), frame);
            came.clear();

            let (front, back) = frame.split_at(30);
            assert!(burst.push(chain(&host, &[front, back])).is_ok());
            assert_eq!(tx.tx(&mut burst), 1);
            assert_eq!(host.in_use(), 0, "vhost copies");
            let came = receive(|burst| guest_rx.rx(burst));
            assert_eq!(bytes(&came.as_slice()[0]), frame);
        }
        let stats = port.stats();
        let rounds = u64::from(round) + 1;
        assert_eq!(
            (stats.rx_frames, stats.tx_frames),
            (100 * rounds, 100 * rounds)
        );
        assert_eq!(stats.rx_bytes, stats.tx_bytes);
        assert_eq!(stats.connects, rounds);
        guest.close(vec![guest_rx], vec![guest_tx]).expect("closed");
        wait_for("the guest's end", || !port.link_up());
        assert_eq!(rx.rx(&mut Burst::new()), 0);
    }
    port.close(rx, tx).expect("closed");
    assert_eq!((host.in_use(), vm.in_use()), (0, 0));
}

#[test]
fn a_guest_kicks_while_it_is_to_and_not_else() {
    const FOR_EVER: Duration = Duration::from_secs(3600);
    const BRIEFLY: Duration = Duration::from_millis(2);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vm.sock");
    let name = path.to_str().expect("a path");
    let (host, vm) = (pool(1023), pool(2047));
    let (port, mut rx, tx) = open(name, VhostMode::Server, host).expect("a port");
    let bell = Bell::new().expect("a bell");
    let sleeps = |rx: &VhostRx, time| bell.sleep(rx.called().into_iter(), time);
    // Nobody is there to kick, and nothing comes.
    rx.arm().expect("nobody");
    assert!(rx.is_armed() && rx.called().is_none());
    rx.disarm();
    for _ in 0..2 {
        let (guest, guest_rx, mut guest_tx) = guest(name, vm, RxOffloads::NONE, TxOffloads::NONE);
        wait_for("the guest", || port.link_up());
        let mut send = || {
            let mut burst = Burst::new();
            assert!(burst.push(packet(&vm, b"hello")).is_ok());
            assert_eq!(guest_tx.tx(&mut burst), 1);
        };
        let receives = |rx: &mut VhostRx| rx.rx(&mut Burst::new());
        rx.arm().expect("it kicks");
        // Setting up a queue may have kicked once.
        sleeps(&rx, BRIEFLY);
        let woken = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(BRIEFLY);
                send();
            });
            sleeps(&rx, FOR_EVER)
        });
        assert_eq!((woken.by_queue, woken.broken), (true, None));
        assert_eq!(sleeps(&rx, BRIEFLY), Woken::default(), "it was heard");
        rx.disarm();
        assert!(!rx.is_armed() && rx.called().is_none());
        assert_eq!(receives(&mut rx), 1);
        // While it is polled the guest need not.
        send();
        rx.arm().expect("it kicks");
        assert_eq!(sleeps(&rx, BRIEFLY), Woken::default());
        assert_eq!(receives(&mut rx), 1);
        // It leaves, and is not missed.
        guest.close(vec![guest_rx], vec![guest_tx]).expect("closed");
        wait_for("the guest's end", || !port.link_up());
        assert_eq!(sleeps(&rx, BRIEFLY), Woken::default());
        rx.disarm();
    }
    port.close(rx, tx).expect("closed");
    assert_eq!((host.in_use(), vm.in_use()), (0, 0));
}

/// What the guest sends while the host polls on another thread, and the guest leaves in the midst of it.
#[test]
fn a_guest_that_leaves_while_it_is_polled_harms_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vm.sock");
    let name = path.to_str().expect("a path");
    let (host, vm) = (pool(1023), pool(2047));
    let (port, mut rx, mut tx) = open(name, VhostMode::Server, host).expect("a port");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (rx, tx) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut burst = Burst::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                rx.rx(&mut burst);
                burst.clear();
            }
            rx
        });
        let sender = scope.spawn(|| {
            let mut burst = Burst::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = burst.push(packet(&host, &[7; 200]));
                tx.tx(&mut burst);
                burst.clear();
            }
            tx
        });
        for _ in 0..10 {
            let (guest, mut guest_rx, mut guest_tx) =
                guest(name, vm, RxOffloads::NONE, TxOffloads::NONE);
            wait_for("the guest", || port.link_up());
            let before = port.stats();
            let mut burst = Burst::new();
            wait_for("frames both ways", || {
                let _ = burst.push(packet(&vm, &[1; 100]));
                guest_tx.tx(&mut burst);
                burst.clear();
                guest_rx.rx(&mut burst);
                burst.clear();
                let now = port.stats();
                now.rx_frames > before.rx_frames && now.tx_frames > before.tx_frames
            });
            guest.close(vec![guest_rx], vec![guest_tx]).expect("closed");
            wait_for("the guest's end", || !port.link_up());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (
            receiver.join().expect("a thread"),
            sender.join().expect("a thread"),
        )
    });
    assert!(port.stats().connects == 10);
    port.close(rx, tx).expect("closed");
    assert_eq!((host.in_use(), vm.in_use()), (0, 0));
}

/// A guest that was offered checksums leaves them to us, and takes ours.
#[test]
fn unfinished_checksums_pass_if_they_were_offered() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vm.sock");
    let name = path.to_str().expect("a path");
    let (host, vm) = (pool(255), pool(2047));
    let features = VhostFeatures {
        checksum: true,
        ..VhostFeatures::default()
    };
    let (port, mut rx, tx) =
        VhostPort::open(eal(), name, VhostMode::Server, features, host).expect("a port");
    let (guest, guest_rx, mut guest_tx) =
        guest(name, vm, RxOffloads::UDP_CHECKSUM, TxOffloads::UDP_CHECKSUM);
    wait_for("the guest", || port.link_up());
    assert!(
        tx.offloads().contains(TxOffloads::UDP_CHECKSUM),
        "{:?}",
        tx.offloads()
    );
    assert!(!tx.offloads().contains(TxOffloads::TCP_TSO));
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&46_u16.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[38..40].copy_from_slice(&26_u16.to_be_bytes());
    let mut mbuf = packet(&vm, &frame);
    mbuf.request_tx(TxRequest {
        l2_len: 14,
        l3_len: 20,
        l4_checksum: Some(L4Kind::Udp),
        ..TxRequest::default()
    });
    let mut burst = Burst::new();
    assert!(burst.push(mbuf).is_ok());
    assert_eq!(guest_tx.prepare(&mut burst), 1);
    assert_eq!(guest_tx.tx(&mut burst), 1);
    let came = receive(|burst| rx.rx(burst));
    assert_eq!(came.as_slice()[0].l4_checksum(), L4Checksum::Partial);
    drop(came);
    guest.close(vec![guest_rx], vec![guest_tx]).expect("closed");
    port.close(rx, tx).expect("closed");
    assert_eq!((host.in_use(), vm.in_use()), (0, 0));
}

/// A guest's large TCP frame comes whole, with its segment size, if that was offered; and can be given on to another guest.
#[test]
fn segmentation_passes_if_it_was_offered() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("vm.sock");
    let name = path.to_str().expect("a path");
    let (host, vm) = (pool(255), pool(2047));
    let features = VhostFeatures {
        tso: true,
        ..VhostFeatures::default()
    };
    let (port, mut rx, mut tx) =
        VhostPort::open(eal(), name, VhostMode::Server, features, host).expect("a port");
    let receives = RxOffloads::TCP_CHECKSUM | RxOffloads::TCP_LRO;
    let sends = TxOffloads::TCP_CHECKSUM | TxOffloads::TCP_TSO | TxOffloads::MULTI_SEGMENT;
    let (guest, mut guest_rx, mut guest_tx) = guest(name, vm, receives, sends);
    wait_for("the guest", || port.link_up());
    assert!(
        tx.offloads().contains(TxOffloads::TCP_TSO),
        "{:?}",
        tx.offloads()
    );
    // Ethernet, IPv4 and TCP headers without options before 5,000 bytes.
    let mut front = vec![0; 54];
    front[12..14].copy_from_slice(&[0x08, 0x00]);
    front[14] = 0x45;
    front[16..18].copy_from_slice(&5040_u16.to_be_bytes());
    front[22..24].copy_from_slice(&[64, 6]);
    front[46] = 0x50;
    let data = [0x77; 1250];
    let request = TxRequest {
        l2_len: 14,
        l3_len: 20,
        l4_len: 20,
        tso: Some(1400),
        ..TxRequest::default()
    };
    let large = |pool| {
        let mut mbuf = chain(pool, &[&front, &data, &data, &data, &data]);
        mbuf.request_tx(request);
        mbuf
    };
    let expected = Some(Gso {
        segment_size: 1400,
        kind: GsoKind::Tcp4,
    });
    let mut burst = Burst::new();
    assert!(burst.push(large(&vm)).is_ok());
    assert_eq!(guest_tx.prepare(&mut burst), 1);
    assert_eq!(guest_tx.tx(&mut burst), 1);
    let came = receive(|burst| rx.rx(burst));
    let mbuf = &came.as_slice()[0];
    assert_eq!((mbuf.len(), mbuf.gso()), (5054, expected));
    assert_eq!(mbuf.l4_checksum(), L4Checksum::Partial);

    assert!(burst.push(large(&host)).is_ok());
    assert_eq!(tx.tx(&mut burst), 1);
    let back = receive(|burst| guest_rx.rx(burst));
    let mbuf = &back.as_slice()[0];
    assert_eq!((mbuf.len(), mbuf.gso()), (5054, expected));
    drop((came, back));
    guest.close(vec![guest_rx], vec![guest_tx]).expect("closed");
    port.close(rx, tx).expect("closed");
    assert_eq!((host.in_use(), vm.in_use()), (0, 0));
}
