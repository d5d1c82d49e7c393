//! Opening and closing what packets come from and go to. Workers never see a port, only its queues.

mod eth;
mod handle;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rte::{Eal, Pool, VhostFeatures, VhostMode, VhostPort};
use weir_tables::offloads::Offloads;
use weir_wire::Mac;
use weir_worker::device::{Rx, Tx};
use weir_worker::rig::Source;
use weir_worker::rig::arrivals;
use weir_worker::rig::senders;
use weir_worker::rig::sink::Sink;
use weir_worker::rig::wire;

use crate::aims::choice::Choice;
use crate::config::device::Device;
use crate::config::host::SteerBy;
use crate::patience::{self, Pace};
use crate::rest::Rest;

pub(crate) use eth::DESCRIPTORS;
pub use handle::Handle;

/// MTU of a device that has none of its own, in bytes.
const MTU: u16 = 1500;

/// The MAC of the rig's devices, which have none: an uplink needs one.
const SINK_MAC: Mac = Mac::new([2, b'r', b'i', b'g', 0, 0]);

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
    /// Packets that each receive queue of a device holds.
    pub places: u16,
    /// How fast it fills what it holds.
    pub pace: Pace,
    /// How an idle worker knows that it has something.
    pub rest: Rest,
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
    /// Whether it is to have transmit queues for DCB traffic classes, if it can choose among them.
    pub classes: bool,
    /// Whether workers sleep when nothing comes.
    pub adaptive: bool,
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
        Device::Pci(address) => eth::open(eal, pool, address, wish),
        Device::Vdev(devargs) => {
            let queues = queues_of_vdev(devargs, wish);
            eth::open(eal, pool, devargs, Wish { queues, ..wish })
        }
        Device::Tap(name) => {
            let devargs = format!("net_tap{},iface={name}", next());
            let queues = queues_of_vdev(&devargs, wish);
            eth::open(eal, pool, &devargs, Wish { queues, ..wish })
        }
        Device::Memif(path) => {
            remove_stale(path)?;
            let socket = path.display();
            let devargs = format!(
                "net_memif{},role=server,id=0,socket={socket},socket-abstract=no",
                next()
            );
            eth::open(eal, pool, &devargs, Wish { queues: 1, ..wish })
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
            let (sink, log) = Sink::new(*of, rte::clock::hz());
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
        places: DESCRIPTORS,
        pace: patience::of_guest(),
        rest: Rest::of_guest(wish.adaptive, "the rig's devices have no interrupts"),
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
        places: DESCRIPTORS,
        pace: patience::of_guest(),
        rest: Rest::choose(wish.adaptive, patience::of_guest(), Ok("its guest kicks")),
        steer: Choice::none(),
    })
}
