//! The rig's ports, and the core on which it polls them.

use super::trial::{self, Account, Order};
use crate::eal::eal;
use crate::halt::{Halt, Stop};
use rte::{Eal, Lcore, Pool, Port, PortConfig, RxQueue, TxQueue};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a switch may take until it takes the rig's ports on.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take until a port has a link.
const GREETS_WITHIN: Duration = Duration::from_millis(500);
/// How often it is tried.
const AGAIN: Duration = Duration::from_millis(20);
/// Mbufs: what both ports' rings and a burst hold, eight times over. Each has 2,048 bytes for a frame.
const MBUFS: u32 = 16_383;
const CACHE: u32 = 256;
const DATA_ROOM: u16 = 2176;

/// What a port may be, for mends.
pub const FORMS: &str = "write a PCI address such as 0000:03:00.0, memif:PATH (the switch is the server) or memif-server:PATH, \
    vhost-user:PATH (the switch listens) or vhost-user-server:PATH, or a DPDK vdev such as net_af_packet0,iface=NAME";

/// The two devices of `--ports A,B`. Commas are part of a vdev, too: a part without `=` begins a new device.
pub fn two_devices(text: &str) -> Result<(String, String), String> {
    let mut devices: Vec<String> = Vec::new();
    for part in text.split(',') {
        match devices.last_mut() {
            Some(device) if part.contains('=') => {
                device.push(',');
                device.push_str(part);
            }
            _ => devices.push(part.to_string()),
        }
    }
    match <[String; 2]>::try_from(devices) {
        Ok([out, back]) if !out.is_empty() && !back.is_empty() && out != back => Ok((out, back)),
        _ => Err(format!("name two devices, OUT,BACK: {FORMS}")),
    }
}

/// A device as DPDK takes it.
fn devargs(device: &str) -> Result<String, Halt> {
    static NEXT: AtomicU32 = AtomicU32::new(2000);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let memif = |role: &str, path: &str| {
        format!("net_memif{number},role={role},id=0,socket={path},socket-abstract=no")
    };
    let virtio = |path: &str, more: &str| {
        format!("net_virtio_user{number},path={path},queues=1,queue_size=1024{more}")
    };
    Ok(match device.split_once(':') {
        Some(("memif", path)) => memif("client", path),
        Some(("memif-server", path)) => memif("server", path),
        Some(("vhost-user", path)) => virtio(path, ""),
        Some(("vhost-user-server", path)) => virtio(path, ",server=1"),
        _ if is_pci(device) || device.starts_with("net_") => device.to_string(),
        _ => {
            let problem = format!("{device:?} is not a device");
            return Err(Halt::failed("--ports", problem, FORMS));
        }
    })
}

/// Whether it begins with a hexadecimal number and a colon.
fn is_pci(device: &str) -> bool {
    let number = device.split_once(':').map(|(number, _)| number);
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A port of the rig's, started, with one queue to send by.
pub struct Gate {
    port: Port,
    /// One for each queue by which the switch may send.
    pub(super) rx: Vec<RxQueue>,
    pub(super) tx: TxQueue,
    /// Whether its ring is in memory shared with the switch, which then has lost what does not fit. A wire takes frames at its
    /// own pace.
    pub(super) shared: bool,
    device: String,
}

impl Gate {
    /// The most frames a second that the line carries, if it has a rate: each with FCS, preamble and gap (RFC 2544 §20).
    pub fn line_rate(&self, mean_bytes: f64) -> Option<f64> {
        let mbit = self.port.link().mbit.filter(|_| !self.shared)?;
        Some(f64::from(mbit) * 1e6 / ((mean_bytes + 24.0) * 8.0))
    }

    /// Whether it has a link.
    pub fn is_up(&self) -> bool {
        self.port.link().up
    }

    /// Closes it. The switch at its other end should still run.
    pub fn close(self) -> Result<(), Halt> {
        let closed = self.port.close(self.rx, vec![self.tx]);
        closed.map_err(|error| Halt::failed(&self.device, error.to_string(), ""))
    }
}

/// The rig as a tester: DPDK in this process, a pool, a core.
pub struct Tester {
    eal: &'static Eal,
    pool: Pool,
    core: u32,
    next_trial: AtomicU16,
}

impl Tester {
    /// Starts DPDK, once a process, for these devices. `core` is where trials run.
    pub fn start(core: u32, huge: bool, devices: &[&str]) -> Result<Tester, Halt> {
        let pci: Vec<String> = devices
            .iter()
            .filter(|device| is_pci(device))
            .map(ToString::to_string)
            .collect();
        let eal = eal(huge, &pci)?;
        let pool = Pool::create(eal, "rig", MBUFS, CACHE, DATA_ROOM, 0, None);
        let pool = pool.map_err(|error| {
            let mend = "weir doctor says how many hugepages are free";
            Halt::failed("the rig", error.to_string(), mend)
        })?;
        Ok(Tester {
            eal,
            pool,
            core,
            next_trial: AtomicU16::new(1),
        })
    }

    /// Opens a device, starts it and waits until it has a link. A switch that does not listen yet is tried again; and so is one
    /// that does and has not started its port, since memif's driver sends a client away then, for good.
    pub fn connect(
        &self,
        device: &str,
        rx_queues: u16,
        mtu: Option<u16>,
        stop: &Stop,
    ) -> Result<Gate, Halt> {
        let until = Instant::now() + CONNECTS_WITHIN;
        loop {
            let refused = match self.open(device, rx_queues, mtu) {
                Ok(gate) => {
                    let up = || Ok(gate.is_up().then_some(()));
                    if stop.wait_for(GREETS_WITHIN, up)?.is_some() {
                        return Ok(gate);
                    }
                    gate.close()?;
                    let mend = "see whether the switch has its other end, and has started it";
                    Halt::failed(device, "has no link", mend)
                }
                Err(halt) => halt,
            };
            if Instant::now() > until {
                return Err(refused);
            }
            stop.sleep(AGAIN)?;
        }
    }

    /// Opens a device and starts it.
    pub fn open(&self, device: &str, rx_queues: u16, mtu: Option<u16>) -> Result<Gate, Halt> {
        let devargs = devargs(device)?;
        let refused = |error: rte::PortError| {
            let mend = match device.split_once(':') {
                Some(("memif" | "vhost-user", _)) => {
                    "start the switch first, as the server of this socket"
                }
                _ if is_pci(device) => "bind it to vfio-pci; weir doctor says what is missing",
                _ => FORMS,
            };
            Halt::failed(device, error.to_string(), mend)
        };
        let mut port = Port::attach(self.eal, &devargs).map_err(refused)?;
        let config = PortConfig {
            promiscuous: true,
            rx_queues,
            // Drivers that refuse more (memif, packet sockets) carry what their rings hold all the same.
            mtu: mtu.map(|mtu| {
                mtu.min(
                    u16::try_from(port.info().max_frame)
                        .unwrap_or(u16::MAX)
                        .saturating_sub(18),
                )
            }),
            ..PortConfig::default()
        };
        let (rx, mut tx) = match port.start(&config, self.pool) {
            Ok(queues) => queues,
            Err(error) => {
                // What is told is why it did not start.
                let _ = port.close(Vec::new(), Vec::new());
                return Err(refused(error));
            }
        };
        let driver = port.driver();
        let shared = ["net_memif", "net_virtio", "net_ring"]
            .iter()
            .any(|name| driver.starts_with(name));
        match tx.pop() {
            Some(tx) => Ok(Gate {
                port,
                rx,
                tx,
                shared,
                device: device.to_string(),
            }),
            _ => Err(Halt::failed(device, "has no queues", FORMS)),
        }
    }

    /// Runs a trial on the tester's core; its number is one that the trials before it did not have.
    pub fn trial(
        &self,
        out: &mut Gate,
        back: &mut Gate,
        order: &Order,
        stop: &Stop,
    ) -> Result<Account, Halt> {
        let order = Order {
            trial: self.next_trial.fetch_add(1, Ordering::Relaxed),
            ..*order
        };
        let work = || {
            let refused = |error: rte::LcoreError| Halt::failed("the rig", error.to_string(), "");
            rte::pin_current(self.core).map_err(refused)?;
            let _lcore = Lcore::register(self.eal).map_err(refused)?;
            trial::run(out, back, self.pool, &order, rte::clock::hz(), stop)
        };
        let done = thread::scope(|scope| scope.spawn(work).join());
        done.unwrap_or_else(|_| Err(Halt::failed("the rig", "its thread died", "")))
    }

    /// Its mbufs.
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// Mbufs that are in use: none when no port is open.
    pub fn mbufs_in_use(&self) -> u32 {
        self.pool.in_use()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_devices_are_told_apart_although_vdevs_have_commas() {
        let two = |text| two_devices(text).ok();
        let pair = |a: &str, b: &str| Some((a.to_string(), b.to_string()));
        assert_eq!(
            two("0000:03:00.0,0000:03:00.1"),
            pair("0000:03:00.0", "0000:03:00.1")
        );
        assert_eq!(
            two("net_af_packet0,iface=a,qpairs=1,net_af_packet1,iface=b"),
            pair("net_af_packet0,iface=a,qpairs=1", "net_af_packet1,iface=b")
        );
        assert_eq!(
            two("memif:/run/a.sock,vhost-user:/run/b.sock"),
            pair("memif:/run/a.sock", "vhost-user:/run/b.sock")
        );
        for wrong in [
            "",
            "net_null0",
            "a,b,c",
            "net_null0,net_null0",
            "net_null0,",
        ] {
            let said = two_devices(wrong).unwrap_err();
            assert!(
                said.contains("OUT,BACK") && said.contains("memif:PATH"),
                "{said}"
            );
        }
    }

    #[test]
    fn devices_are_as_dpdk_takes_them() {
        let of = |device| devargs(device).unwrap();
        let memif = of("memif:/run/a.sock");
        assert!(memif.contains("role=client") && memif.contains("socket=/run/a.sock,"));
        assert_ne!(memif, of("memif:/run/a.sock"), "a number of its own");
        assert!(of("memif-server:/a").contains("role=server"));
        assert!(of("vhost-user-server:/a").ends_with(",server=1"));
        assert_eq!(of("0000:03:00.0"), "0000:03:00.0");
        assert_eq!(of("net_ring0"), "net_ring0");
        let said = devargs("eth0").unwrap_err().to_string();
        assert!(
            said.contains("eth0") && said.contains("PCI address"),
            "{said}"
        );
    }
}
