//! Ports over virtual devices that need no rights.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{bytes, chain, eal, packet, pool, receive, started, unique};
use rte::{Burst, Mbuf, Port, PortConfig, PortError, RxOffloads, TxOffloads};

#[test]
fn a_ring_brings_back_the_very_packets_in_order() {
    let pool = pool(1023);
    let name = unique("net_ring");
    let (port, mut rx, mut tx) = started(&name, pool);
    assert_eq!(
        (port.name(), port.driver().as_str()),
        (name.as_str(), "net_ring")
    );
    assert_eq!(
        (rx.port(), rx.id(), tx.port(), tx.id()),
        (port.id(), 0, port.id(), 0)
    );
    for round in 0..40_u8 {
        let mut burst = Burst::new();
        for n in 0..32 {
            assert!(burst.push(packet(&pool, &[round, n])).is_ok());
        }
        assert_eq!(tx.tx(&mut burst), 32);
        assert!(burst.is_empty());
        let mut back = receive(|burst| rx.rx(burst));
        assert_eq!(back.len(), 32);
        for (n, mbuf) in back.drain().enumerate() {
            assert_eq!(mbuf.head(), [round, n as u8]);
        }
    }
    let stats = port.stats();
    assert_eq!((stats.ipackets, stats.opackets), (1280, 1280));
    assert_eq!(pool.in_use(), 0);
    port.close(vec![rx], vec![tx]).expect("closed");
}

#[test]
fn what_a_full_ring_does_not_take_stays_owned_and_in_order() {
    let pool = pool(4095);
    let (port, rx, mut tx) = started(&unique("net_ring"), pool);
    let mut sent = 0;
    let mut burst = Burst::new();
    loop {
        while !burst.is_full() {
            let number = (sent + burst.len()) as u32;
            assert!(burst.push(packet(&pool, &number.to_be_bytes())).is_ok());
        }
        let now = tx.tx(&mut burst);
        sent += now;
        assert_eq!(burst.len(), 32 - now);
        if now < 32 {
            break;
        }
        assert!(sent < 4000, "a ring has an end");
    }
    assert!(!burst.is_empty());
    for (n, mbuf) in burst.as_slice().iter().enumerate() {
        assert_eq!(mbuf.head(), ((sent + n) as u32).to_be_bytes());
    }
    assert_eq!(pool.in_use() as usize, sent + burst.len());
    drop(burst);
    assert_eq!(pool.in_use() as usize, sent);
    port.close(vec![rx], vec![tx]).expect("closed");
}

#[test]
fn null_receives_without_end_and_swallows() {
    let pool = pool(1023);
    let (port, mut rx, mut tx) = started(&format!("{},size=80", unique("net_null")), pool);
    let mut burst = Burst::new();
    assert_eq!(rx.rx(&mut burst), 32);
    assert!(
        burst
            .as_slice()
            .iter()
            .all(|mbuf| mbuf.len() == 80 && mbuf.port() == port.id())
    );
    assert_eq!(
        rx.rx(&mut burst),
        0,
        "no room, nothing received, nothing lost"
    );
    assert_eq!(tx.prepare(&mut burst), 32);
    assert_eq!(tx.tx(&mut burst), 32);
    assert_eq!(tx.tx(&mut burst), 0, "an empty burst is nothing to send");
    assert_eq!(pool.in_use(), 0);
    let stats = port.stats();
    assert_eq!((stats.ipackets, stats.opackets, stats.imissed), (32, 32, 0));
    assert!(!port.xstats().is_empty());
    port.close(vec![rx], vec![tx]).expect("closed");
}

#[test]
fn pcap_writes_what_it_is_given_and_reads_it_again() {
    let pool = pool(1023);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("packets.pcap");
    let file = file.display();
    let none = directory.path().join("none.pcap");
    let name = unique("net_pcap");
    let frames: Vec<Vec<u8>> = (0..50).map(|n| vec![n as u8; 60 + n * 20]).collect();
    // Writing needs something to read from: the same file's directory has an empty one.
    std::fs::write(&none, EMPTY_PCAP).expect("a file");
    let devargs = format!("{name},rx_pcap={},tx_pcap={file}", none.display());
    let (port, rx, mut tx) = started(&devargs, pool);
    for pair in frames.chunks(2) {
        let mut burst = Burst::new();
        assert!(burst.push(packet(&pool, &pair[0])).is_ok());
        // A chain is written as one frame.
        let (front, back) = pair[1].split_at(30);
        assert!(burst.push(chain(&pool, &[front, back])).is_ok());
        assert_eq!(tx.tx(&mut burst), 2);
    }
    port.close(vec![rx], vec![tx]).expect("closed");
    assert_eq!(pool.in_use(), 0);

    let devargs = format!(
        "{},rx_pcap={file},tx_pcap={}",
        unique("net_pcap"),
        none.display()
    );
    let (port, mut rx, tx) = started(&devargs, pool);
    let mut read: Vec<Mbuf> = Vec::new();
    let mut burst = Burst::new();
    while rx.rx(&mut burst) > 0 {
        read.extend(burst.drain());
    }
    let read_bytes: Vec<Vec<u8>> = read.iter().map(bytes).collect();
    assert_eq!(read_bytes, frames);
    drop(read);
    assert_eq!(pool.in_use(), 0);
    port.close(vec![rx], vec![tx]).expect("closed");
}

/// A pcap file's header: version 2.4, snap length 65,535, Ethernet.
const EMPTY_PCAP: [u8; 24] = [
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
];

#[test]
fn what_does_not_exist_is_named() {
    let eal = eal();
    let missing = |devargs: &str| match Port::attach(eal, devargs) {
        Err(PortError::NoSuchDevice { device, reason }) => {
            assert_eq!(device, devargs);
            reason
        }
        other => panic!("{devargs}: {other:?}"),
    };
    assert!(missing("net_af_packet7,iface=nowhere0").contains("\"nowhere0\""));
    assert!(missing("net_af_packet7").contains("iface=NAME is missing"));
    missing("net_nonsense0");
    assert!(matches!(Port::attach(eal, ""), Err(PortError::Syntax(_))));
    assert!(matches!(
        Port::attach(eal, "a\0"),
        Err(PortError::Syntax(_))
    ));
    // The PCI bus was not looked at, or has no such device.
    let pci = Port::attach(eal, "0000:fe:1f.7");
    assert!(pci.is_err(), "{pci:?}");
    match Port::attach(
        eal,
        "net_pcap77,rx_pcap=/nonexistent/file.pcap,tx_pcap=/nonexistent/out",
    ) {
        Err(error) => assert!(error.to_string().contains("/nonexistent/"), "{error}"),
        Ok(port) => panic!("{port:?}"),
    }
    assert!(port_count_is_unchanged());
}

/// What failed to attach left nothing: the name can be used.
fn port_count_is_unchanged() -> bool {
    let port = Port::attach(eal(), "net_null7788").expect("a port");
    port.close(Vec::new(), Vec::new()).is_ok()
}

#[test]
fn one_device_is_one_port() {
    let name = unique("net_null");
    let port = Port::attach(eal(), &name).expect("a port");
    assert_eq!(
        Port::attach(eal(), &name).err(),
        Some(PortError::AlreadyAttached(name.clone()))
    );
    port.close(Vec::new(), Vec::new()).expect("closed");
    let port = Port::attach(eal(), &name).expect("a port again");
    port.close(Vec::new(), Vec::new()).expect("closed");
}

#[test]
fn a_start_says_what_the_device_cannot() {
    let pool = pool(1023);
    let mut port = Port::attach(eal(), &unique("net_null")).expect("a port");
    let info = port.info();
    assert!(
        info.max_rx_queues >= 1 && info.max_tx_queues >= 1,
        "{info:?}"
    );
    assert!(!info.rx_offloads.contains(RxOffloads::TCP_LRO), "{info:?}");
    let mut refused = |config: PortConfig| port.start(&config, pool).err();
    let queues = refused(PortConfig {
        rx_queues: 0,
        ..PortConfig::default()
    });
    assert!(
        matches!(queues, Some(PortError::Queues { rx: 0, .. })),
        "{queues:?}"
    );
    let queues = refused(PortConfig {
        tx_queues: 9999,
        ..PortConfig::default()
    });
    assert!(
        matches!(queues, Some(PortError::Queues { tx: 9999, .. })),
        "{queues:?}"
    );
    let offloads = refused(PortConfig {
        rx_offloads: RxOffloads::TCP_LRO,
        tx_offloads: TxOffloads::TCP_TSO | TxOffloads::MULTI_SEGMENT,
        ..PortConfig::default()
    });
    match offloads {
        Some(PortError::Offloads { rx, tx, .. }) => {
            assert_eq!(rx, RxOffloads::TCP_LRO);
            assert_eq!(
                tx,
                (TxOffloads::TCP_TSO | TxOffloads::MULTI_SEGMENT).without(info.tx_offloads)
            );
        }
        other => panic!("{other:?}"),
    }
    // It starts after all that, twice with a stop between, but not twice at once.
    let (rx, tx) = port.start(&PortConfig::default(), pool).expect("a start");
    let again = port.start(&PortConfig::default(), pool).err();
    assert!(
        matches!(again, Some(PortError::AlreadyStarted(_))),
        "{again:?}"
    );
    port.stop(rx, tx).expect("stopped");
    let (rx, tx) = port
        .start(
            &PortConfig {
                mtu: Some(9000),
                ..PortConfig::default()
            },
            pool,
        )
        .expect("a second start");
    port.close(rx, tx).expect("closed");
}

#[test]
fn several_queues_are_several_owners() {
    let pool = pool(1023);
    let mut port = Port::attach(eal(), &unique("net_null")).expect("a port");
    let config = PortConfig {
        rx_queues: 3,
        tx_queues: 2,
        ..PortConfig::default()
    };
    let (rx, tx) = port.start(&config, pool).expect("a start");
    assert_eq!(
        rx.iter().map(|queue| queue.id()).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let threads: Vec<_> = rx
        .into_iter()
        .map(|mut queue| {
            std::thread::spawn(move || {
                let mut burst = Burst::new();
                let received = queue.rx(&mut burst);
                (queue, received)
            })
        })
        .collect();
    let mut rx = Vec::new();
    for thread in threads {
        let (queue, received) = thread.join().expect("a thread");
        assert_eq!(received, 32);
        rx.push(queue);
    }
    port.close(rx, tx).expect("closed");
    assert_eq!(pool.in_use(), 0);
}

/// A port stays open while somebody may poll it.
#[test]
fn queues_of_another_port_or_too_few_do_not_close_it() {
    let pool = pool(1023);
    let (one, one_rx, one_tx) = started(&unique("net_null"), pool);
    let (other, other_rx, other_tx) = started(&unique("net_null"), pool);
    let name = one.name().to_owned();
    let held = Some(PortError::QueuesHeld(name));
    assert_eq!(one.close(vec![other_rx], vec![one_tx]).err(), held);
    let mut polled = one_rx;
    assert_eq!(polled.rx(&mut Burst::new()), 32, "it is still there");
    assert!(matches!(
        other.close(Vec::new(), vec![other_tx]),
        Err(PortError::QueuesHeld(_))
    ));
}

#[test]
fn control_answers() {
    let pool = pool(1023);
    let mut port = Port::attach(eal(), &unique("net_ring")).expect("a port");
    assert!(!port.link().up);
    let (rx, tx) = port
        .start(
            &PortConfig {
                promiscuous: true,
                ..PortConfig::default()
            },
            pool,
        )
        .expect("a start");
    assert!(port.link().up);
    assert!(port.link().mbit.is_some());
    assert_eq!(port.mtu(), 1500);
    assert_eq!(port.mac().len(), 6);
    port.set_promiscuous(false).expect("ring can");
    // Its own address is all zeroes, which DPDK takes for a free place: the new one becomes the default.
    port.add_mac([2, 0, 0, 0, 0, 1], 0).expect("ring can");
    let refused = port.remove_mac([2, 0, 0, 0, 0, 1]);
    assert!(refused.is_err(), "the default stays");
    let refused = port
        .set_mac([1, 0, 0, 0, 0, 1])
        .expect_err("a group address");
    assert!(
        matches!(&refused, PortError::Dpdk { cause, .. } if cause.errno > 0),
        "{refused}"
    );
    port.close(rx, tx).expect("closed");
}

/// Twenty times each, while another thread polls another port.
#[test]
fn devices_come_and_go_while_another_is_polled() {
    let shared = pool(2047);
    let (steady, mut steady_rx, mut steady_tx) = started(&unique("net_ring"), shared);
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("empty.pcap");
    std::fs::write(&empty, EMPTY_PCAP).expect("a file");
    let stop = AtomicBool::new(false);
    let polled = AtomicU64::new(0);
    let (steady_rx, steady_tx) = std::thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let mut burst = Burst::new();
            while !stop.load(Ordering::Relaxed) {
                assert!(burst.push(packet(&shared, b"steady")).is_ok());
                assert_eq!(steady_tx.tx(&mut burst), 1);
                assert_eq!(steady_rx.rx(&mut burst), 1);
                assert_eq!(burst.as_slice()[0].head(), b"steady");
                burst.clear();
                polled.fetch_add(1, Ordering::Relaxed);
            }
            (steady_rx, steady_tx)
        });
        let (null, ring, pcap) = (unique("net_null"), unique("net_ring"), unique("net_pcap"));
        for round in 0..20 {
            let pcap = format!(
                "{pcap},rx_pcap={},tx_pcap={}",
                empty.display(),
                directory.path().join("out.pcap").display()
            );
            for devargs in [&null, &ring, &pcap] {
                let (port, mut rx, mut tx) = started(devargs, shared);
                let mut burst = Burst::new();
                assert!(burst.push(packet(&shared, &[round; 60])).is_ok());
                assert_eq!(tx.tx(&mut burst), 1);
                rx.rx(&mut burst);
                drop(burst);
                // Something is left in the ring when it is closed.
                let mut left = Burst::new();
                assert!(left.push(packet(&shared, &[round; 60])).is_ok());
                assert_eq!(tx.tx(&mut left), 1);
                let before = polled.load(Ordering::Relaxed);
                port.close(vec![rx], vec![tx]).expect("closed");
                while polled.load(Ordering::Relaxed) == before {
                    std::thread::yield_now();
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        poller.join().expect("the poller")
    });
    steady
        .close(vec![steady_rx], vec![steady_tx])
        .expect("closed");
    assert!(polled.load(Ordering::Relaxed) > 60);
    assert_eq!(shared.in_use(), 0, "closing frees what is in the queues");
}

#[test]
fn who_has_no_hardware_has_none_for_traffic_classes() {
    for driver in ["net_ring", "net_null"] {
        let port = Port::attach(eal(), &unique(driver)).expect("a port");
        let none = rte::ClassHardware::default();
        assert_eq!(port.class_hardware(), none, "{driver}");
        port.close(vec![], vec![]).expect("closed");
    }
}
