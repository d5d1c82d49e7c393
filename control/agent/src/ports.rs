//! Opening and closing what packets come from and go to. Workers never see a port, only its queues.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rte::{Eal, Flow, FlowMatch, Pool, PortConfig, PortStats, VhostFeatures, VhostMode, VhostPort};
use weir_tables::offloads::Offloads;
use weir_wire::Mac;
use weir_worker::device::{Rx, Tx, passed_on};
use weir_worker::rig::Source;
use weir_worker::rig::arrivals;
use weir_worker::rig::senders;
use weir_worker::rig::sink::{Log, Sink};
use weir_worker::rig::wire;

use crate::aims::choice::{self, Choice, Means};
use crate::config::device::Device;
use crate::config::host::SteerBy;
use crate::offloads::{Asked, ask, tags_are_its_pfs};
use crate::{memif, packet_socket, patience};

/// Packets that a device's queue holds.
pub(crate) const DESCRIPTORS: u16 = 1024;
/// What a driver says that cannot choose ([`rte::Port::set_promiscuous`]).
const ENOTSUP: i32 = 95;
/// MTU of a device that has none of its own, in bytes.
const MTU: u16 = 1500;

/// The MAC of the rig's devices, which have none: an uplink needs one.
const SINK_MAC: Mac = Mac::new([2, b'r', b'i', b'g', 0, 0]);

/// A device that is open. Its queues are with the workers.
pub enum Handle {
    /// A DPDK port.
    Eth(rte::Port),
    /// A vhost-user socket.
    Vhost(VhostPort),
    /// A source for measurements, which is no device at all.
    Rig,
    /// Many of them; control's end of it.
    Senders(senders::Control),
    /// A sink for measurements, and what it logs.
    Sink(Arc<Log>),
    /// The wire of an uplink of several queues.
    Wire(Arc<wire::Wire>),
}

/// What opening a device gives.
pub struct Opened {
    /// What closes it.
    pub handle: Handle,
    /// Its receive queues.
    pub rx: Vec<Rx>,
    /// Its transmit queues.
    pub tx: Vec<Tx>,
    /// Its MAC; zero where a device has none.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Whether frames from it may carry an unfinished checksum that the driver does not tell of.
    pub suspect_checksums: bool,
    /// What its device does to frames on their way out.
    pub offloads: Offloads,
    /// Whether who sends through it keeps what is not taken.
    pub pushes_back: bool,
    /// How long an idle worker may leave it alone.
    pub patience: Duration,
    /// By what it gives vNICs' frames to workers' queues.
    pub steer: Choice,
}

/// How a device is to be opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// MTU in bytes; the device's own if `None`.
    pub mtu: Option<u16>,
    /// MAC; the device's own if `None`.
    pub mac: Option<Mac>,
    /// Whether it also takes what is addressed to others: true for what VMs are behind.
    pub promiscuous: bool,
    /// Whether it takes what is addressed to groups: true for an uplink with IPv6 addresses, which are asked for there.
    pub all_multicast: bool,
    /// Queues each way, where the device has so many: a PCI device is shared by all workers, others are not but a tap with rules.
    pub queues: u16,
    /// How many workers there are to steer to.
    pub workers: u16,
    /// Whether everything is done in software, whatever the device can do.
    pub software: bool,
    /// Whether its network is in a VLAN whose tags are on the wire.
    pub tagged: bool,
    /// By what it is to give vNICs' frames to workers' queues; nothing where `queues` is 1.
    pub steering: SteerBy,
}

/// What could not be opened, and the mend.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub mend: String,
}

/// Numbers for vdevs that Weir names itself, out of the way of those that people write.
static NEXT_VDEV: AtomicU32 = AtomicU32::new(1000);

/// Opens a device and starts it.
pub fn open(eal: &Arc<Eal>, pool: Pool, device: &Device, wish: Wish) -> Result<Opened, Refused> {
    match device {
        Device::VhostClient(path) => {
            vhost(eal, pool, path, VhostMode::Client { reconnect: true }, wish)
        }
        Device::VhostServer(path) => vhost(eal, pool, path, VhostMode::Server, wish),
        Device::Pci(address) => eth(eal, pool, address, wish),
        Device::Vdev(devargs) => {
            let queues = queues_of_vdev(devargs, wish);
            eth(eal, pool, devargs, Wish { queues, ..wish })
        }
        Device::Tap(name) => {
            let devargs = format!("net_tap{},iface={name}", next());
            let queues = queues_of_vdev(&devargs, wish);
            eth(eal, pool, &devargs, Wish { queues, ..wish })
        }
        Device::Memif(path) => {
            remove_stale(path)?;
            let socket = path.display();
            let devargs = format!(
                "net_memif{},role=server,id=0,socket={socket},socket-abstract=no",
                next()
            );
            eth(eal, pool, &devargs, Wish { queues: 1, ..wish })
        }
        Device::Rig(frames) => Ok(Opened {
            handle: Handle::Rig,
            rx: vec![Rx::Rig(Source::new(*frames, pool))],
            tx: vec![Tx::Rig],
            ..rig(wish)
        }),
        Device::Senders(of) => {
            let (source, told) = senders::Source::new(*of, pool, rte::clock::hz());
            Ok(Opened {
                handle: Handle::Senders(told),
                rx: vec![Rx::Senders(source)],
                tx: vec![Tx::Rig],
                // What a trunk brings is of many: it is polled whoever of them has no room.
                pushes_back: false,
                ..rig(wish)
            })
        }
        Device::Sink(of) => {
            let (sink, log) = Sink::new(*of);
            Ok(Opened {
                handle: Handle::Sink(log),
                tx: vec![Tx::Sink(sink)],
                ..rig(wish)
            })
        }
        Device::Arrivals(of) => Ok(Opened {
            rx: vec![Rx::Arrivals(arrivals::Source::new(*of, pool))],
            tx: (0..of.queues).map(|_| Tx::Rig).collect(),
            mac: of.own.mac,
            ..rig(wish)
        }),
        Device::Void(_) => Ok(Opened {
            rx: vec![Rx::Arrivals(arrivals::Source::none(pool))],
            tx: vec![Tx::Rig],
            ..rig(wish)
        }),
        Device::Wire(of) => {
            let (queues, wire) = wire::open(*of);
            Ok(Opened {
                handle: Handle::Wire(wire),
                tx: queues.into_iter().map(Tx::Wire).collect(),
                ..rig(wish)
            })
        }
    }
}

/// How many queues a virtual device is opened with: one, but for a tap of which rules are wanted. By itself the kernel changes a flow's
/// queue of a tap when its other direction does, and frames overtake each other then.
fn queues_of_vdev(devargs: &str, wish: Wish) -> u16 {
    match devargs.starts_with("net_tap") && wish.steering == SteerBy::Flow {
        true => wish.queues,
        false => 1,
    }
}

/// What the rig's devices have in common.
fn rig(wish: Wish) -> Opened {
    Opened {
        handle: Handle::Rig,
        rx: Vec::new(),
        tx: Vec::new(),
        mac: wish.mac.unwrap_or(SINK_MAC),
        mtu: wish.mtu.unwrap_or(MTU),
        suspect_checksums: false,
        offloads: Offloads::default(),
        pushes_back: true,
        patience: patience::of_guest(),
        steer: Choice::none(),
    }
}

fn next() -> u32 {
    NEXT_VDEV.fetch_add(1, Ordering::Relaxed)
}

/// A memif server finds its old socket file in its way ("Address already in use").
fn remove_stale(path: &Path) -> Result<(), Refused> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::UnixStream;
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    let problem = if !metadata.file_type().is_socket() {
        format!("{} is there and is not a socket", path.display())
    } else if UnixStream::connect(path).is_ok() {
        format!("another process listens at {}", path.display())
    } else {
        match std::fs::remove_file(path) {
            Ok(()) => return Ok(()),
            Err(error) => format!(
                "the stale socket {} cannot be removed: {error}",
                path.display()
            ),
        }
    };
    Err(Refused {
        problem,
        mend: "choose another path, or remove what is there".into(),
    })
}

fn vhost(
    eal: &Eal,
    pool: Pool,
    path: &Path,
    mode: VhostMode,
    wish: Wish,
) -> Result<Opened, Refused> {
    let path = path.to_string_lossy();
    // UFO is a datagram to be fragmented, which no uplink carries so; USO, which cuts UDP, 22.11's library does not know.
    let features = VhostFeatures {
        checksum: !wish.software,
        tso: !wish.software,
        ufo: false,
    };
    let opened = VhostPort::open(eal, &path, mode, features, pool);
    let (port, rx, tx) = opened.map_err(|error| Refused {
        problem: error.to_string(),
        mend: "make the socket's folder, choose a path that nobody uses, and check the rights"
            .into(),
    })?;
    Ok(Opened {
        handle: Handle::Vhost(port),
        rx: vec![Rx::Vhost(rx)],
        tx: vec![Tx::Vhost(tx)],
        mac: Mac::ZERO,
        mtu: wish.mtu.unwrap_or(MTU),
        suspect_checksums: false,
        // What is offered; what the guest that is there has agreed to its queue knows.
        offloads: Offloads::CHECKSUM
            .union(Offloads::SEGMENTS)
            .when(!wish.software),
        pushes_back: true,
        patience: patience::of_guest(),
        steer: Choice::none(),
    })
}

fn eth(eal: &Eal, pool: Pool, devargs: &str, mut wish: Wish) -> Result<Opened, Refused> {
    // Drivers that refuse an MTU above 1500 and carry more: it is asked for elsewhere, and not of them.
    let socket = devargs.starts_with("net_af_packet");
    let own_mtu = match socket {
        true => Some(packet_socket::mtu(devargs, wish.mtu.take())?),
        false if devargs.starts_with("net_memif") => Some(memif::mtu(devargs, wish.mtu.take())?),
        false => None,
    };
    let mut port = rte::Port::attach(eal, devargs).map_err(|error| refused(&error))?;
    let asked = match wish.software {
        true => Asked::default(),
        false => ask(&port.driver(), &port.info(), wish.promiscuous),
    };
    let (info, driver) = (port.info(), port.driver());
    let steer = choice::Asked {
        wish: wish.steering,
        driver: &driver,
        info: &info,
        mtu: wish.mtu.or(own_mtu).unwrap_or_else(|| port.mtu()),
        queues: wish.queues.clamp(1, info.max_rx_queues.max(1)),
        workers: wish.workers,
    };
    let pools = match steer.pools() {
        Ok(pools) => pools,
        Err(cannot) => return Err(give_up(port, Queues::default(), cannot)),
    };
    let mut started = start(&mut port, pool, wish, asked, pools);
    if let Ok((rx, _)) = &mut started
        && socket
        && !packet_socket::forget(devargs, rx, pool)
    {
        let (rx, tx) = started.unwrap_or_default();
        if let Err(error) = port.close(rx, tx) {
            tracing::warn!("{error}");
        }
        return Err(Refused {
            problem: "no free mbuf to empty its ring with".into(),
            mend: "raise dataplane.mbufs in host.toml and restart".into(),
        });
    }
    match started {
        Ok((rx, tx)) => Ok(Opened {
            steer: match choose(&port, &steer, pools) {
                Ok(choice) => choice,
                Err(cannot) => return Err(give_up(port, (rx, tx), cannot)),
            },
            mac: Mac::new(port.mac()),
            mtu: own_mtu.unwrap_or(match port.mtu() {
                0 => MTU,
                mtu => mtu,
            }),
            suspect_checksums: port.driver() == "net_af_packet",
            pushes_back: pushes_back(&port.driver()),
            patience: patience::of_port(&port.driver(), devargs, DESCRIPTORS, port.link().mbit),
            offloads: asked.offloads,
            rx: match tags_are_its_pfs(&port.driver(), wish) {
                true => rx.into_iter().map(Rx::Vf).collect(),
                false => rx.into_iter().map(Rx::Eth).collect(),
            },
            tx: tx.into_iter().map(Tx::Eth).collect(),
            handle: Handle::Eth(port),
        }),
        Err(error) => {
            let refused = refused(&error);
            if let Err(error) = port.close(Vec::new(), Vec::new()) {
                tracing::warn!("{error}");
            }
            Err(refused)
        }
    }
}

/// What a started device steers by: it is asked about rules.
fn choose(
    port: &rte::Port,
    steer: &choice::Asked<'_>,
    pools: bool,
) -> Result<Choice, choice::Cannot> {
    // An address that is nobody's.
    const SOME: [u8; 6] = [2, 0, 0, 0, 0, 1];
    let takes = |of| match steer.asks_flows() && !pools {
        true => port.takes_flow(of, 0),
        false => Err(String::new()),
    };
    let (to, nvgre) = (takes(FlowMatch::To(SOME)), takes(FlowMatch::NvgreTo(SOME)));
    steer.choose(pools, to, nvgre)
}

/// Closes a device that cannot do what is wished.
fn give_up(port: rte::Port, (rx, tx): Queues, cannot: choice::Cannot) -> Refused {
    if let Err(error) = port.close(rx, tx) {
        tracing::warn!("{error}");
    }
    Refused {
        problem: cannot.problem,
        mend: cannot.mend.into(),
    }
}

/// Whether what a driver is not asked for stays with its sender: behind a ring in memory it does. A kernel drops what a packet
/// socket or a tap has no room for (tun_net_xmit), a NIC what it has no descriptor for.
fn pushes_back(driver: &str) -> bool {
    matches!(
        driver,
        "net_memif" | "net_vhost" | "net_ring" | "net_null" | "net_pcap"
    )
}

type Queues = (Vec<rte::RxQueue>, Vec<rte::TxQueue>);

fn start(
    port: &mut rte::Port,
    pool: Pool,
    wish: Wish,
    asked: Asked,
    pools: bool,
) -> Result<Queues, rte::PortError> {
    let info = port.info();
    if let Some(mac) = wish.mac {
        port.set_mac(mac.octets())?;
    }
    let queues = wish.queues.max(1);
    let config = PortConfig {
        rx_queues: queues.min(info.max_rx_queues),
        tx_queues: queues.min(info.max_tx_queues),
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        mtu: wish.mtu,
        rx_offloads: asked.rx,
        tx_offloads: asked.tx,
        promiscuous: wish.promiscuous,
        all_multicast: wish.all_multicast,
        rss: if queues > 1 {
            info.rss
        } else {
            rte::RssTypes::NONE
        },
        pools,
    };
    port.start(&config, pool)
}

fn refused(error: &rte::PortError) -> Refused {
    use rte::PortError as E;
    let mend = match error {
        E::NoSuchDevice { .. } => {
            "create the interface or check its name; `weir doctor` lists what this machine lacks"
        }
        E::AlreadyAttached(_) => "give each device to one port, and each vdev a number of its own",
        E::TooManyPorts { .. } => {
            "put many vNICs on one port with a trunk, or use vhost-user, which takes no DPDK port"
        }
        E::Syntax(_) => "write a PCI address or a DPDK vdev such as \"net_af_packet1,iface=blue1\"",
        E::Dpdk { .. } => {
            "see the daemon's log for what DPDK said; `weir doctor` checks rights and hugepages"
        }
        _ => "lower the MTU or leave it out, and check what the device can do",
    };
    Refused {
        problem: error.to_string(),
        mend: mend.into(),
    }
}

impl Handle {
    /// Closes the device. Every queue that [`open`] gave must be there: that proves that nobody polls.
    pub fn close(self, rx: Vec<Rx>, tx: Vec<Tx>) -> Result<(), String> {
        let (mut eth_rx, mut vhost_rx, mut rig) = (Vec::new(), None, false);
        let mut sink = false;
        for queue in rx {
            match queue {
                Rx::Eth(queue) | Rx::Vf(queue) => eth_rx.push(queue),
                Rx::Vhost(queue) => vhost_rx = Some(queue),
                Rx::Rig(_) | Rx::Senders(_) | Rx::Arrivals(_) => rig = true,
            }
        }
        let (mut eth_tx, mut vhost_tx) = (Vec::new(), None);
        for queue in tx {
            match queue {
                Tx::Eth(queue) => eth_tx.push(queue),
                Tx::Vhost(queue) => vhost_tx = Some(queue),
                Tx::Rig => {}
                Tx::Sink(_) | Tx::Wire(_) => sink = true,
            }
        }
        match (self, vhost_rx, vhost_tx) {
            (Handle::Eth(port), None, None) => {
                port.close(eth_rx, eth_tx).map_err(|e| e.to_string())
            }
            (Handle::Vhost(port), Some(rx), Some(tx)) => {
                port.close(rx, tx).map_err(|e| e.to_string())
            }
            (Handle::Rig | Handle::Senders(_), None, None) if rig => Ok(()),
            (Handle::Sink(_) | Handle::Wire(_), None, None) if sink => Ok(()),
            _ => Err("the queues given back are another device's".into()),
        }
    }

    /// Whether the link is up (a guest is there), and its speed in Mbit/s where the device knows it.
    pub fn link(&self) -> (bool, Option<u32>) {
        match self {
            Handle::Eth(port) => {
                let link = port.link();
                (link.up, link.mbit)
            }
            Handle::Vhost(port) => (port.link_up(), None),
            Handle::Rig | Handle::Senders(_) | Handle::Sink(_) | Handle::Wire(_) => (true, None),
        }
    }

    /// What its hardware has for traffic classes.
    pub fn class_hardware(&self) -> rte::ClassHardware {
        match self {
            Handle::Eth(port) => port.class_hardware(),
            _ => rte::ClassHardware::default(),
        }
    }

    /// The NUMA node of its device, if it has one.
    pub fn node(&self) -> Option<u8> {
        match self {
            Handle::Eth(port) => u8::try_from(port.info().socket?).ok(),
            _ => None,
        }
    }

    /// Has it receive what is addressed to others too, or no longer. A device that cannot choose receives it anyway.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), String> {
        match self {
            Handle::Eth(port) => match port.set_promiscuous(on) {
                Err(rte::PortError::Dpdk { cause, .. }) if cause.errno == ENOTSUP => Ok(()),
                other => other.map_err(|error| error.to_string()),
            },
            Handle::Vhost(_)
            | Handle::Rig
            | Handle::Senders(_)
            | Handle::Sink(_)
            | Handle::Wire(_) => Ok(()),
        }
    }

    /// Has it give frames to a receive queue: to the pool of that number, or by a rule, which is what it returns.
    pub fn aim(&mut self, of: FlowMatch, queue: u16, means: Means) -> Result<Option<Flow>, String> {
        let said = |error: rte::PortError| error.to_string();
        match (self, means, of) {
            (Handle::Eth(port), Means::Pools, FlowMatch::To(mac)) => {
                port.add_mac(mac, u32::from(queue)).map_err(said)?;
                Ok(None)
            }
            (Handle::Eth(port), Means::Flows { .. }, _) => {
                port.add_flow(of, queue).map(Some).map_err(said)
            }
            _ => Err("the device steers nothing".into()),
        }
    }

    /// Undoes [`Handle::aim`].
    pub fn unaim(&mut self, of: FlowMatch, flow: Option<Flow>) {
        let Handle::Eth(port) = self else { return };
        let undone = match (flow, of) {
            (Some(flow), _) => port.remove_flow(flow),
            (None, FlowMatch::To(mac) | FlowMatch::NvgreTo(mac)) => port.remove_mac(mac),
        };
        if let Err(error) = undone {
            tracing::warn!("a device goes on steering what it should not: {error}");
        }
    }

    /// What the guest that is on a socket has agreed to take; `None` for any other device.
    pub fn guest_offloads(&self) -> Option<Offloads> {
        match self {
            Handle::Eth(_)
            | Handle::Rig
            | Handle::Senders(_)
            | Handle::Sink(_)
            | Handle::Wire(_) => None,
            Handle::Vhost(port) => Some(passed_on(port.offloads())),
        }
    }

    /// Has it receive what is for these groups, and for no others. `false` if it cannot choose among groups.
    pub fn set_groups(&mut self, groups: &[Mac]) -> bool {
        let groups: Vec<[u8; 6]> = groups.iter().map(|group| group.octets()).collect();
        match self {
            Handle::Eth(port) => port.set_groups(&groups).is_ok(),
            Handle::Vhost(_)
            | Handle::Rig
            | Handle::Senders(_)
            | Handle::Sink(_)
            | Handle::Wire(_) => true,
        }
    }

    /// What the device itself counts; nothing for vhost-user, whose copies fail only into `tx_full`, and for a source.
    pub fn stats(&self) -> PortStats {
        match self {
            Handle::Eth(port) => port.stats(),
            Handle::Vhost(_)
            | Handle::Rig
            | Handle::Senders(_)
            | Handle::Sink(_)
            | Handle::Wire(_) => PortStats::default(),
        }
    }
}
